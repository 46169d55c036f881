"""Sums and what is made of them: by hand, against scikit-learn, and alike however videos are ordered or repeated."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deeptrace.answer import FIELDS
from deeptrace.bench.score.dataset import Dataset
from deeptrace.bench.score.runs import RunTable, score_outcomes
from deeptrace.bench.score.totals import (
    FAIR_VERSION,
    OVERALL_PARTS,
    PLACE,
    fair,
    macro_f1,
    overall_fields,
    paper,
    probability,
)
from deeptrace.measures.video import Fields
from deeptrace.records import Outcome, Trace, Verdict

from .world import LEFT, RIGHT, answers, dataset, origin

TRAINED: Fields = frozenset({"box", "onset", "explanation"})


def run(outcomes: list[Outcome], *, fields: Fields | None = TRAINED, of: Dataset | None = None) -> RunTable:
    said = {str(outcome.origin.video_id): outcome for outcome in outcomes}
    return score_outcomes(of or dataset(), said, "m", fields=fields)


def test_the_papers_metrics_by_hand() -> None:
    """f1 has two rows (found), f2 one (unparsed), r1 is right, r2 wrong: 3 of 5. Boxes: IoU 1, 0 and 0.

    Onsets: said 3.0 on a video of 10 s where rows say 2.0 and 4.0: 0.1 each; f2: 1. Box distance: 0, half a frame's
    width over sqrt(2), and 1.
    """
    metrics = paper(run(answers()).total, judged=False)
    assert metrics["accuracy"] == pytest.approx(3 / 5)
    assert metrics["fake_accuracy"] == pytest.approx(2 / 3)
    assert metrics["real_accuracy"] == pytest.approx(1 / 2)
    assert metrics["bbox_iou"] == pytest.approx(1 / 3)
    assert metrics["bbox_distance"] == pytest.approx((0 + 0.5 / 2**0.5 + 1) / 3)
    assert metrics["time_distance"] == pytest.approx((0.1 + 0.1 + 1) / 3)
    assert np.isnan(metrics["explanation"])
    assert np.isnan(metrics["overall"])
    assert metrics["overall_without_judge"] == pytest.approx((3 / 5 + 1 / 3 + 1 - 0.4) / 3, abs=1e-7)


def test_overall_is_the_papers_formula() -> None:
    total = run(answers()).total
    total[PLACE["graded_rows"]], total[PLACE["grade"]] = 2, 1.5
    metrics = paper(total, judged=True)
    parts = metrics["accuracy"] + metrics["explanation"] + metrics["bbox_iou"] + 1 - metrics["time_distance"]
    assert metrics["explanation"] == 0.75
    assert metrics["overall"] == pytest.approx(parts / 4)


def test_explanation_is_nothing_without_a_judge_and_zero_where_it_was_not_asked_for() -> None:
    asked_without = run(answers(), fields=frozenset({"box", "onset"}))
    metrics = paper(asked_without.total, judged=False)
    assert metrics["explanation"] == 0
    assert not np.isnan(metrics["overall"])
    silent: list[Outcome] = [Verdict("real", origin=origin(name)) for name in ("f1", "f2", "r1", "r2")]
    assert paper(run(silent).total, judged=False)["explanation"] == 0


def test_fair_metrics_by_hand() -> None:
    """f1: its first trace is true on [2, 6), claimed on [3, 10): 30 of 80 points in both, F1 2 * 0.375 / 3 = 0.25.

    The mean is over f1, f2 (nothing claimed) and r2, of which a trace is claimed.
    """
    metrics = fair(run(answers()).total, fields=TRAINED, judged=False)
    assert metrics["viou_f1"] == pytest.approx(0.25 / 3)
    assert metrics["viou_f1_if_fake"] == pytest.approx(0.25)
    assert metrics["viou_recall"] == pytest.approx(0.375 / 2 / 2)
    assert metrics["viou_precision"] == pytest.approx(0.375)
    assert metrics["viou_precision_with_real"] == pytest.approx(0.375 / 2)
    assert metrics["claims_per_real_video"] == pytest.approx(1 / 2)
    assert metrics["onset_error_seconds"] == pytest.approx(1.0)
    assert metrics["onset_error"] == pytest.approx(0.1)
    assert (metrics["fake_accuracy"], metrics["balanced_accuracy"]) == (0.5, 0.5)
    assert (metrics["informedness"], metrics["fair_overall_without_judge"]) == (0, 0)
    assert metrics["false_alarms"] == 0.5
    assert metrics["whole_frame_share"] == 0
    for name in ("tiou", "category_f1", "category_f1_if_fake"):  # not asked for
        assert np.isnan(metrics[name])


def test_fair_overall_is_the_mean_of_what_was_asked_for() -> None:
    """Both fakes are called fake and one of two reals: (1 - 1 / 2) / 1 of the answers FAKE are not luck."""
    said: list[Outcome] = [
        Verdict(
            "fake", traces=(Trace(LEFT, 2.0, 6.0, ("Object Merging",)), Trace(RIGHT, 4.0, 8.0)), origin=origin("f1")
        ),
        Verdict("fake", traces=(Trace(RIGHT, 1.0, 3.0, ("Sudden Blurring",)),), origin=origin("f2")),
        Verdict("fake", traces=(Trace((0.0, 0.0, 1.0, 1.0)),), origin=origin("r1")),
        Verdict("real", origin=origin("r2")),
    ]
    everything: Fields = frozenset(FIELDS) - {"explanation"}
    metrics = fair(run(said, fields=everything).total, fields=everything, judged=False)
    assert metrics["viou_f1"] == pytest.approx(2 / 3)  # r1 counts, and is 0
    assert metrics["whole_frame_share"] == pytest.approx(1 / 4)
    # Object Merging: hit once, missed once: 2 / 3; Redundant Object: missed: 0. Sudden Blurring is not in the truth.
    assert metrics["category_f1"] == pytest.approx(1 / 3)
    assert metrics["tiou"] == pytest.approx(1)
    assert metrics["fair_overall"] == pytest.approx(0.5 * (2 / 3 + 1 / 3) / 2)
    assert overall_fields(everything) == ("box", "category")
    nothing = fair(run(said, fields=frozenset()).total, fields=frozenset(), judged=False)
    assert np.isnan(nothing["fair_overall"])
    assert set(OVERALL_PARTS) <= set(FIELDS)
    assert FAIR_VERSION == 2


@settings(max_examples=40)
@given(st.lists(st.tuples(*[st.lists(st.integers(0, 8), max_size=3)] * 2), min_size=1, max_size=20))
def test_macro_f1_is_scikit_learns_over_the_categories_of_the_truth(pairs: list[tuple[list[int], list[int]]]) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    true, said = np.zeros((len(pairs), 9), int), np.zeros((len(pairs), 9), int)
    for i, (own, claim) in enumerate(pairs):
        true[i, own], said[i, claim] = 1, 1
    hit, missed, wrong = (x.sum(0).astype(float) for x in (true & said, true & ~said & 1, said & ~true & 1))
    there = np.flatnonzero(true.any(0))
    found = macro_f1(hit, missed, wrong)
    if len(there):
        assert float(found) == pytest.approx(
            metrics.f1_score(true, said, labels=there, average="macro", zero_division=0.0)
        )
    else:
        assert np.isnan(found)


@given(st.lists(st.tuples(st.floats(0, 1), st.sampled_from(["f1", "f2", "r1", "r2"])), min_size=4, max_size=4,
                unique_by=lambda row: row[1]))  # fmt: skip
def test_brier_is_scikit_learns(rows: list[tuple[float, str]]) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    said: list[Outcome] = [Verdict("fake", p_fake=p, origin=origin(name)) for p, name in rows]
    expected = metrics.brier_score_loss([name[0] == "f" for _, name in rows], [p for p, _ in rows], pos_label=True)
    assert probability(run(said).total)["brier"] == pytest.approx(expected, abs=1e-6)


def test_a_video_without_a_probability_is_the_worst_one() -> None:
    said: list[Outcome] = [Verdict("fake", p_fake=1.0, origin=origin("f1")), Verdict("real", origin=origin("r1"))]
    found = run(said)
    assert found.p.tolist() == [1.0, 0.0, 1.0, 1.0]  # f1, f2 (missing), r1 (no p), r2 (missing)
    assert probability(found.total)["brier"] == pytest.approx(3 / 4)
    assert probability(found.total)["calibration_error"] == pytest.approx(3 / 4 * 2 / 3 + 1 / 4)


def test_ties_of_one_video_and_two() -> None:
    """A data set that stands twice has the same metrics."""
    once = run(answers()).total
    for twice in (paper(2 * once, judged=False), fair(2 * once, fields=TRAINED, judged=False)):
        assert twice["accuracy"] > 0
    for name, value in paper(once, judged=False).items():
        assert paper(2 * once, judged=False)[name] == pytest.approx(value, nan_ok=True)
