"""Our agreement statistics beside those of krippendorff and statsmodels."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from deeptrace.data.build.annotators import fleiss_kappa, krippendorff_alpha
from tests.data.interop.environments import REASON, WANTED, check, python_of

pytestmark = [pytest.mark.skipif(not WANTED, reason=REASON), pytest.mark.timeout(1800)]


def test_alpha_and_kappa_agree_with_the_libraries(tmp_path: Path) -> None:
    python = python_of("agreement", "krippendorff==0.9.0", "statsmodels==0.15.0")
    draw = random.Random(3)
    tables = []
    for case in range(40):
        raters, values = draw.randint(2, 5), ["fake", "real", "unsure"] + ([None] if case % 2 else [])
        tables.append([[draw.choice(values) for _ in range(raters)] for _ in range(draw.randint(8, 30))])
    (tmp_path / "cases.json").write_text(json.dumps(tables))
    for table, theirs in zip(
        tables, json.loads(check(python, "check_agreement.py", tmp_path / "cases.json")), strict=True
    ):
        units = [[value for value in row if value is not None] for row in table]
        assert krippendorff_alpha(units) == pytest.approx(theirs["alpha"], abs=1e-12)
        if "fleiss" in theirs:
            assert fleiss_kappa(units) == pytest.approx(theirs["fleiss"], abs=1e-12)
