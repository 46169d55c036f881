"""Per-video metrics: by hand, against other libraries, and laws that hold whatever a model says."""

from __future__ import annotations

import math
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deeptrace.answer import FIELDS
from deeptrace.measures.overlap import box_iou
from deeptrace.measures.tubes import tube_of, viou
from deeptrace.measures.video import (
    Fields,
    Truth,
    claimed_fields,
    first_claim,
    needs_grade,
    score_video,
    truth_of,
)
from deeptrace.records import Annotation, Box, Failed, Outcome, Record, Trace, Unparsed, Verdict, VideoInfo

from .strategies import boxes, outcomes, traces

TRAINED: Fields = frozenset({"box", "onset", "explanation"})
LEFT: Box = (0.0, 0.0, 0.5, 1.0)
RIGHT: Box = (0.5, 0.0, 1.0, 1.0)
QUARTER: Box = (0.0, 0.0, 0.5, 0.5)


def fake(*rows: Trace, seconds: float | None = 10.0) -> Truth:
    info = VideoInfo(100, 100, duration_seconds=seconds)
    annotations = tuple(Annotation(() if row == Trace() else (row,)) for row in rows)
    truth = truth_of(Record("v", label="fake", info=info, annotations=annotations))
    assert truth is not None
    return truth


def real() -> Truth:
    truth = truth_of(Record("r", label="real", info=VideoInfo(100, 100, duration_seconds=10.0)))
    assert truth is not None
    return truth


def says(*claims: Trace) -> Verdict:
    return Verdict("fake", traces=claims)


# ── the paper's rows ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_row_by_hand() -> None:
    truth = fake(Trace(LEFT, 2.0, 4.0, explanation="the kettle melts"))
    score = score_video(truth, says(Trace(QUARTER, 4.5, explanation="it melts")), fields=TRAINED, grades={0: 0.5})
    (row,) = score.rows
    assert row.bbox_iou == pytest.approx(0.5)
    assert row.bbox_distance == pytest.approx(0.25 / 2**0.5)
    assert row.time_distance == pytest.approx(0.25)
    assert (row.explained, row.grade) == (True, 0.5)


def test_every_row_is_scored_against_the_first_trace_of_the_one_answer() -> None:
    truth = fake(Trace(LEFT, 0.0), Trace(RIGHT, 5.0), Trace())
    score = score_video(truth, says(Trace(LEFT, 0.0), Trace(RIGHT, 5.0)), fields=TRAINED)
    assert [row.bbox_iou for row in score.rows] == [1.0, 0.0, None]
    assert [row.time_distance for row in score.rows] == [0.0, 0.5, None]


@pytest.mark.parametrize(
    "outcome",
    [
        None,
        Unparsed("it repeats the options", "REAL or FAKE"),
        Failed("DECODER_TIMEOUT", "no answer"),
        Verdict("real", traces=(Trace(LEFT, 2.0, 4.0, explanation="but look"),)),
        Verdict("fake"),
    ],
    ids=["missing", "unparsed", "failed", "real with a trace", "fake without a trace"],
)
def test_what_is_missing_is_the_worst(outcome: Outcome | None) -> None:
    score = score_video(fake(Trace(LEFT, 2.0, 4.0, explanation="melts")), outcome, fields=TRAINED, grades={0: 1.0})
    (row,) = score.rows
    assert (row.bbox_iou, row.bbox_distance, row.time_distance, row.grade) == (0.0, 1.0, 1.0, 0.0)
    assert score.viou_f1 == 0.0


def test_a_time_far_away_costs_no_more_than_the_length() -> None:
    score = score_video(fake(Trace(LEFT, 2.0)), says(Trace(LEFT, 1e6)), fields=TRAINED)
    assert score.rows[0].time_distance == 1.0


def test_what_was_not_asked_for_does_not_count() -> None:
    truth = fake(Trace(LEFT, 2.0, explanation="melts"))
    said = says(Trace(LEFT, 2.0, explanation="melts"))
    (row,) = score_video(truth, said, fields=frozenset({"onset"}), grades={0: 1.0}).rows
    assert (row.bbox_iou, row.bbox_distance, row.time_distance, row.grade) == (0.0, 1.0, 0.0, 0.0)
    assert needs_grade(truth, said, frozenset({"onset"})) == ()
    assert needs_grade(truth, said, TRAINED) == ((0, "melts", "melts"),)
    assert first_claim(said, frozenset({"box"})) == Trace(LEFT)


def test_only_written_explanations_are_graded() -> None:
    truth = fake(Trace(LEFT, explanation=" "), Trace(LEFT, explanation="melts"), Trace(LEFT, explanation="bends"))
    rows = score_video(truth, says(Trace(explanation="it melts")), grades={1: 1.0, 2: None}).rows
    assert [(row.explained, row.grade) for row in rows] == [(False, None), (True, 1.0), (True, None)]


def test_unsure_is_no_truth() -> None:
    assert truth_of(Record("v", label="unsure")) is None
    assert truth_of(Record("v")) is None


# ── all traces ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_f1_by_hand() -> None:
    truth = fake(Trace(LEFT, 0.0, 5.0), Trace(RIGHT, 0.0, 5.0))
    score = score_video(truth, says(Trace(LEFT, 0.0, 3.0)), fields=frozenset(FIELDS))
    assert score.viou_sum == pytest.approx(0.6)
    assert score.viou_f1 == pytest.approx(0.4)
    (pair,) = score.pairs
    assert (pair.truth, pair.claim, pair.tiou, pair.onset_error_seconds) == (0, 0, 0.6, 0.0)


def test_times_are_filled_in_where_the_format_has_none() -> None:
    truth = fake(Trace(LEFT, 5.0, 10.0))
    score = score_video(truth, says(Trace(LEFT, 5.0)), fields=TRAINED)
    (pair,) = score.pairs
    assert (score.filled, pair.viou, pair.tiou, pair.onset_error_seconds) == (("offset",), 1.0, None, 0.0)
    score = score_video(truth, says(Trace(LEFT)), fields=frozenset({"box"}))
    (pair,) = score.pairs
    assert (score.filled, pair.tiou, pair.onset_error_seconds) == (("onset", "offset"), None, None)
    assert pair.viou == pytest.approx(0.5)
    # Asked for and not said: the tube is filled in likewise, the times are the worst.
    score = score_video(truth, says(Trace(LEFT)), fields=frozenset(FIELDS))
    (pair,) = score.pairs
    assert (score.filled, pair.viou, pair.tiou, pair.onset_error_seconds) == ((), 0.5, 0.0, 10.0)
    # Asked nothing: what a trace does not say is not carried.
    (pair,) = score_video(truth, says(Trace(LEFT)), fields=None).pairs
    assert (pair.tiou, pair.onset_error_seconds) == (None, None)


def test_without_a_box_times_are_matched() -> None:
    truth = fake(Trace(LEFT, 0.0, 2.0, ("Object Merging",)), Trace(RIGHT, 5.0, 9.0, ("Object Splitting",)))
    fields: Fields = frozenset({"onset", "offset", "category"})
    score = score_video(truth, says(Trace(None, 5.0, 9.0, ("Object Splitting",))), fields=fields)
    (pair,) = score.pairs
    assert (pair.truth, pair.tiou, pair.viou) == (1, 1.0, 0.0)
    assert sum(score.categories_hit) == sum(score.pair_categories_hit) == 1
    assert (sum(score.categories_missed), sum(score.pair_categories_missed)) == (1, 0)
    assert score_video(truth, says(Trace(categories=("Object Merging",))), fields=frozenset({"category"})).pairs == ()


def test_categories_by_hand() -> None:
    truth = fake(Trace(LEFT, categories=("Object Merging", "Sudden Blurring")), Trace(RIGHT))
    score = score_video(truth, says(Trace(LEFT, categories=("Object Merging", "Unexpected Move")), Trace(QUARTER)))
    assert [sum(score.categories_hit), sum(score.categories_missed), sum(score.categories_wrong)] == [1, 1, 1]
    # The true trace on the right has no category: whatever is said of it counts nowhere.
    score = score_video(truth, says(Trace(RIGHT, categories=("Unexpected Move",))))
    assert [sum(score.categories_hit), sum(score.categories_missed), sum(score.categories_wrong)] == [0, 2, 0]


def test_claims_on_a_real_video_are_counted() -> None:
    score = score_video(real(), says(Trace(LEFT), Trace(RIGHT)))
    assert (score.claims, score.truths, score.viou_f1, score.rows, score.pairs) == (2, 0, 0.0, (), ())


def test_without_a_length_nothing_is_a_tube() -> None:
    score = score_video(fake(Trace(LEFT, 1.0), seconds=None), says(Trace(LEFT, 1.0)))
    assert (score.truths, score.viou_f1) == (0, None)
    assert (score.rows[0].bbox_iou, score.rows[0].time_distance) == (1.0, None)


placed = st.builds(Trace, boxes(), st.integers(0, 90).map(lambda k: k / 10))


@given(st.lists(placed, min_size=1, max_size=3), st.lists(placed, min_size=1, max_size=3))
def test_no_pairing_is_better(own: list[Trace], claims: list[Trace]) -> None:
    def overlap(a: Trace, b: Trace) -> float:
        left, right = tube_of(a, 10.0), tube_of(b, 10.0)
        return 0.0 if left is None or right is None else viou(left, right)

    few, many = sorted((own, claims), key=len)
    best = max(sum(map(overlap, few, chosen)) for chosen in permutations(many, len(few)))
    score = score_video(fake(*own), says(*claims))
    assert score.viou_sum == pytest.approx(best)
    assert len({pair.truth for pair in score.pairs}) == len({pair.claim for pair in score.pairs}) == len(score.pairs)


@given(
    st.lists(traces(), min_size=1, max_size=3),
    outcomes,
    st.none() | st.sets(st.sampled_from(FIELDS)).map(frozenset),
    st.floats(0.1, 1e4),
)
def test_every_number_is_in_its_range(
    own: list[Trace], outcome: Outcome, fields: Fields | None, seconds: float
) -> None:
    score = score_video(fake(*own, seconds=seconds), outcome, fields=fields, grades=dict.fromkeys(range(3), 0.5))
    for row in score.rows:
        assert all(
            value is None or 0 <= value <= 1
            for value in (row.bbox_iou, row.bbox_distance, row.time_distance, row.grade)
        )
    for pair in score.pairs:
        assert 0 <= pair.viou <= 1
        assert pair.tiou is None or 0 <= pair.tiou <= 1
        assert pair.onset_error_seconds is None or 0 <= pair.onset_error_seconds <= seconds
    assert score.viou_f1 is None or 0 <= score.viou_f1 <= 1 + 1e-9
    assert claimed_fields(outcome) <= frozenset(FIELDS)


@given(st.lists(placed, min_size=1, max_size=3))
def test_the_truth_itself_is_perfect(own: list[Trace]) -> None:
    score = score_video(fake(*own), says(*own))
    assert score.viou_f1 == pytest.approx(1)
    assert (score.rows[0].bbox_iou, score.rows[0].bbox_distance, score.rows[0].time_distance) == (
        pytest.approx(1),
        0.0,
        0.0,
    )


def test_box_iou_is_torchvisions() -> None:
    torch = pytest.importorskip("torch")
    torchvision = pytest.importorskip("torchvision")

    @given(st.lists(boxes(), min_size=1, max_size=5), st.lists(boxes(), min_size=1, max_size=5))
    def agree(a: list[Box], b: list[Box]) -> None:
        theirs = torchvision.ops.box_iou(torch.tensor(a, dtype=torch.float64), torch.tensor(b, dtype=torch.float64))
        ours = [[box_iou(p, q) for q in b] for p in a]
        for mine, row in zip(ours, theirs.tolist(), strict=True):
            for one, other in zip(mine, row, strict=True):
                assert one == pytest.approx(other, abs=1e-9) or math.isnan(other)  # areas too small for a float

    agree()
