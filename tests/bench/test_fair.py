"""The fair score cannot be had by an answer that looks at no video: by simulated models, and by algebra."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deeptrace.answer import FIELDS
from deeptrace.bench.score.dataset import Dataset, dataset_of
from deeptrace.bench.score.grades import GradeBook
from deeptrace.bench.score.runs import score_outcomes
from deeptrace.bench.score.totals import COLUMNS, PLACE, fair
from deeptrace.categories import CATEGORIES
from deeptrace.records import Label, Outcome, Trace, Verdict

from .world import LEFT, fake, origin, real

ALL = frozenset(FIELDS)
NEAR = (0.1, 0.0, 0.6, 1.0)  # IoU 0.4 / 0.6 with LEFT
GRADE = 0.5


def videos(fakes: int, reals: int) -> Dataset:
    kinds = [CATEGORIES[i % 3] for i in range(fakes)]
    known = [fake(f"f{i}", Trace(LEFT, 2.0, 6.0, (kind,), "it melts")) for i, kind in enumerate(kinds)]
    return dataset_of([*known, *(real(f"r{i}") for i in range(reals))], "test")


def claim_of(video_id: str, rng: np.random.Generator) -> Trace:
    """What every simulated model claims of a video that it calls fake: equal grounding, right in two cases of three."""
    own = CATEGORIES[int(video_id[1:]) % 3]
    kind = own if rng.random() < 2 / 3 else CATEGORIES[int(rng.integers(3))]
    return Trace(NEAR, 2.0, 6.0, (kind,), "it bends")


def fair_of(of: Dataset, labels: Mapping[str, Label], seed: int = 0) -> tuple[float, float]:
    """fair_overall with a judge that gives everyone the same grade, and without a judge."""
    rng = np.random.default_rng(seed)
    said: dict[str, Outcome] = {
        truth.video_id: Verdict(
            labels[truth.video_id],
            traces=(claim_of(truth.video_id, rng),),  # listed behind REAL too: it is no claim there
            origin=origin(truth.video_id),
        )
        for truth in of.truths
    }
    book = GradeBook()
    for truth in of.truths:
        if truth.label == "fake":
            book.add({"video_id": truth.video_id, "row": 0, "grade": GRADE, "model": "m"})
    run = score_outcomes(of, said, "m", fields=ALL, grades=book)
    metrics = fair(run.total, fields=ALL, judged=True)
    return float(metrics["fair_overall"]), float(metrics["fair_overall_without_judge"])


def honest_labels(of: Dataset, tpr: float, fpr: float) -> dict[str, Label]:
    """FAKE of exactly these shares of the fakes and of the reals."""
    labels: dict[str, Label] = {}
    for label, share in (("fake", tpr), ("real", fpr)):
        names = [truth.video_id for truth in of.truths if truth.label == label]
        labels |= {name: "fake" if i < round(share * len(names)) else "real" for i, name in enumerate(names)}
    return labels


def changed(labels: Mapping[str, Label], to: Label, share: float, rng: np.random.Generator) -> dict[str, Label]:
    """A share of the labels made ``to``, without a look at the video."""
    return {name: to if rng.random() < share else label for name, label in labels.items()}


@pytest.mark.parametrize("counts", [(30, 30), (50, 10), (10, 50)])
@pytest.mark.parametrize(("tpr", "fpr"), [(0.95, 0.05), (0.8, 0.2), (0.6, 0.4), (0.5, 0.1), (0.9, 0.6)])
def test_no_constant_answer_and_no_change_of_labels_beats_an_honest_model(
    counts: tuple[int, int], tpr: float, fpr: float
) -> None:
    """Honest models good and poor, balanced and unbalanced data; all with the same boxes, categories and words."""
    of, rng = videos(*counts), np.random.default_rng(0)
    labels = honest_labels(of, tpr, fpr)
    honest = fair_of(of, labels)
    assert min(honest) > 0.01
    for label in ("fake", "real"):
        assert fair_of(of, dict.fromkeys(labels, label)) == (0, 0)
    to: Literal["fake", "real"]
    for to in ("fake", "real"):
        for share in (0.25, 0.5):
            found = [fair_of(of, changed(labels, to, share, rng), seed) for seed in range(12)]
            assert np.mean(found, axis=0)[0] < honest[0]
            assert np.mean(found, axis=0)[1] < honest[1]


def test_the_case_that_showed_the_fault() -> None:
    """Right on 80 %, against "always FAKE" with the same boxes: version 1 had it the other way."""
    of = videos(60, 60)
    assert fair_of(of, honest_labels(of, 0.8, 0.2))[0] > 0.2
    assert fair_of(of, honest_labels(of, 1.0, 1.0))[0] == 0


def total(tpr: float, fpr: float, good: float, ratio: float) -> np.ndarray:
    """Sums of one fake and ``ratio`` reals, as expected; one claim an answer FAKE, good to a degree ``good``."""
    sums = np.zeros(len(COLUMNS))
    values = {
        "fake_videos": 1, "fake_right": tpr, "real_videos": ratio, "real_right": ratio * (1 - fpr),
        "box_videos": 1, "f1": tpr * good, "real_claiming": ratio * fpr, "real_claims": ratio * fpr,
        "hit_0": tpr * good, "missed_0": 1 - tpr * good, "wrong_0": tpr * (1 - good), "real_wrong_0": ratio * fpr,
    }  # fmt: skip
    for name, value in values.items():
        sums[PLACE[name]] = value
    return sums


share = st.floats(0.02, 0.98)


@given(share, share, share, share, st.floats(0.05, 20))
def test_in_expectation_a_change_of_labels_never_helps(
    tpr: float, fpr: float, good: float, part: float, ratio: float
) -> None:
    def score(t: float, f: float) -> float:
        fields = ALL - {"explanation"}
        return float(fair(total(t, f, good, ratio), fields=fields, judged=False)["fair_overall"])

    own = score(tpr, fpr)
    assert score(tpr + part * (1 - tpr), fpr + part * (1 - fpr)) <= own + 1e-12  # more FAKE
    assert score((1 - part) * tpr, (1 - part) * fpr) <= own + 1e-12  # more REAL
    assert score(1, 1) == pytest.approx(0, abs=1e-12)
    assert score(0, 0) == 0
    assert score(tpr, fpr * (1 - part)) >= own - 1e-12  # fewer false alarms do help
    assert score(tpr + part * (1 - tpr), fpr) >= own - 1e-12  # and so do more fakes that are seen


def test_without_real_videos_there_is_no_fair_overall() -> None:
    """FAKE would cost nothing there."""
    of = videos(3, 0)
    assert all(np.isnan(fair_of(of, honest_labels(of, 1.0, 0.0))))
