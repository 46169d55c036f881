"""The paper's own numbers agree with its formulas, and with ours."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal

import numpy as np
import pytest

from deeptrace.bench.score.published import RELEASE_COUNTS, Published, as_printed, is_release, published, whole_counts
from deeptrace.bench.score.totals import COLUMNS, PLACE, paper
from deeptrace.measures.video import Truth
from deeptrace.records import Trace

ROWS = [(split, row) for split in ("test", "val") for row in published(split)]


def test_all_forty_two_rows_are_there() -> None:
    assert len(ROWS) == 42
    assert published("train") == ()
    assert published("test")[0].model == "DeeptraceReward (VideoLLaMA 3 7B)"


@pytest.mark.parametrize(("split", "row"), ROWS, ids=lambda value: getattr(value, "model", value))
def test_every_overall_follows_from_its_parts(split: str, row: Published) -> None:
    assert row.recomputed_overall == pytest.approx(row.overall, abs=0.08)


def test_forty_one_rows_are_whole_counts() -> None:
    without = [(split, row.model) for split, row in ROWS if not whole_counts(row, split)]
    assert without == [("val", "Gemini 2.5 Pro")]  # it repeats its test row but for the explanation


def test_one_rounding_alone_explains_fewer() -> None:
    def once(right: int, of: int) -> Decimal:
        return (Decimal(100 * right) / Decimal(of)).quantize(Decimal("0.1"), ROUND_HALF_UP)

    found = 0
    for split, row in ROWS:
        rows, _, reals = RELEASE_COUNTS[split]
        said = [Decimal(str(value)) for value in (row.fake_accuracy, row.real_accuracy, row.accuracy)]
        found += any(
            once(f, rows) == said[0] and once(r, reals) == said[1] and once(f + r, rows + reals) == said[2]
            for f in range(rows + 1)
            if once(f, rows) == said[0]
            for r in range(reals + 1)
            if once(r, reals) == said[1]
        )
    assert found == 36


def test_our_sums_give_the_published_accuracies() -> None:
    """Whole counts put into our table come out as the paper printed them."""
    for split, row in ROWS:
        rows, fakes, reals = RELEASE_COUNTS[split]
        for f, r in whole_counts(row, split)[:1]:
            total = np.zeros(len(COLUMNS))
            for name, value in (("rows", rows), ("rows_right", f), ("real_videos", reals), ("real_right", r),
                                ("fake_videos", fakes)):  # fmt: skip
                total[PLACE[name]] = value
            metrics = paper(total, judged=False)
            for key in ("accuracy", "fake_accuracy", "real_accuracy"):
                assert 100 * float(metrics[key]) == pytest.approx(getattr(row, key), abs=0.0551)


def test_rounding_by_hand() -> None:
    assert as_printed(33, 332) == Decimal("9.9")
    assert as_printed(67, 332) == Decimal("20.2")
    assert as_printed(1, 2000) == Decimal("0.1")  # 0.05 is 0.05 and then 0.1


def test_always_fake_is_right_on_57_percent() -> None:
    rows, _, reals = RELEASE_COUNTS["test"]
    assert as_printed(rows, rows + reals) == Decimal("57.0")


def test_which_videos_are_the_releases() -> None:
    def truth(label: str, rows: int) -> Truth:
        return Truth("v", "fake" if label == "fake" else "real", 5.0, (Trace(),) * rows, (), ())

    fakes = [truth("fake", 2)] * 108 + [truth("fake", 1)] * 224
    assert is_release([*fakes, *[truth("real", 0)] * 332], "test")
    assert not is_release([*fakes, *[truth("real", 0)] * 331], "test")
    assert not is_release(fakes, "train")
