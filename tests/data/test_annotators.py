"""Agreement by hand and beside scikit-learn; a consensus whose every field has a source."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from deeptrace.data.build.annotators import (
    CONSENSUS,
    NOT_MERGED,
    agreement,
    cohen_kappa,
    fleiss_kappa,
    krippendorff_alpha,
    majority,
    match_traces,
    merge,
)
from deeptrace.errors import RecordError
from deeptrace.records import Annotation, Box, KeyBox, Record, RecordLabel, Trace
from tests.strategies import traces as any_traces

LABELS: tuple[RecordLabel, ...] = ("fake", "real", "unsure")
LEFT: Box = (0.0, 0.0, 0.5, 0.5)
SHIFTED: Box = (0.25, 0.25, 0.75, 0.75)  # box IoU with LEFT is 1/7
FAR: Box = (0.8, 0.8, 1.0, 1.0)


def trace(box: Box | None = LEFT, onset: float | None = 0.0, offset: float | None = 2.0, **rest: Any) -> Trace:
    return Trace(bbox_xyxy=box, onset_seconds=onset, offset_seconds=offset, **rest)


def record(video_id: str = "v", **said: RecordLabel | Trace | list[Trace] | None) -> Record:
    """A record of annotators: each said a label, or marked traces and said fake."""
    annotations = []
    for name, value in said.items():
        marked = (value,) if isinstance(value, Trace) else tuple(value) if isinstance(value, list) else ()
        label: Any = "fake" if marked or isinstance(value, list) else value
        annotations.append(Annotation(marked, label, name))
    return Record(video_id, annotations=tuple(annotations))


# ── choices ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_cohen_by_hand() -> None:
    a, b = ["fake", "fake", "fake", "real"], ["fake", "fake", "real", "real"]
    assert cohen_kappa(a, b) == pytest.approx(0.5)
    assert cohen_kappa(["fake", "real"], ["real", "fake"]) == pytest.approx(-1.0)
    assert cohen_kappa(a, a) == pytest.approx(1.0)
    assert cohen_kappa(["fake"], ["fake"]) is None
    assert cohen_kappa([], []) is None
    with pytest.raises(RecordError, match="4 of one rater and 1 of the other"):
        cohen_kappa(a, ["fake"])


def test_fleiss_by_hand() -> None:
    assert fleiss_kappa(["fff", "ffr", "rrr"]) == pytest.approx(0.55)
    assert fleiss_kappa(["fff", "ff"]) is None  # not equally many
    assert fleiss_kappa(["f", "r"]) is None
    assert fleiss_kappa(["ff", "ff"]) is None
    assert fleiss_kappa([]) is None


def test_fleiss_of_the_published_example() -> None:
    # Fleiss 1971 as retold on Wikipedia: 10 units, 14 raters, 5 values; kappa 0.210.
    table = [
        [0, 0, 0, 0, 14],
        [0, 2, 6, 4, 2],
        [0, 0, 3, 5, 6],
        [0, 3, 9, 2, 0],
        [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0],
        [3, 2, 6, 3, 0],
        [2, 5, 3, 2, 2],
        [6, 5, 2, 1, 0],
        [0, 2, 2, 3, 7],
    ]
    units = ["".join(str(value) * count for value, count in enumerate(row)) for row in table]
    assert fleiss_kappa(units) == pytest.approx(0.210, abs=5e-4)


def test_alpha_by_hand() -> None:
    assert krippendorff_alpha(["ff", "fr", "rr"]) == pytest.approx(4 / 9)
    assert krippendorff_alpha(["ff", "fr", "rr", "f", ""]) == pytest.approx(4 / 9)  # single ratings pair with nothing
    assert krippendorff_alpha(["ff", "rr"]) == 1.0
    assert krippendorff_alpha(["ff", "f"]) is None
    assert krippendorff_alpha([]) is None


def test_alpha_of_the_published_example() -> None:
    # Krippendorff 2011, "Computing Krippendorff's alpha-reliability", nominal data with missing values: 0.743.
    rows = [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
        [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
    ]
    units = [[str(v) for v in column if v is not None] for column in zip(*rows, strict=True)]
    assert krippendorff_alpha(units) == pytest.approx(0.743, abs=5e-4)


@settings(max_examples=40, deadline=None)
@given(pairs=st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from(LABELS)), min_size=2, max_size=30))
def test_kappas_of_two_raters_agree_with_scikit_learn(pairs: list[tuple[str, str]]) -> None:
    a, b = [p for p, _ in pairs], [q for _, q in pairs]
    if len({*a, *b}) < 2:
        return
    kappa = cohen_kappa(a, b)
    assert kappa == pytest.approx(cohen_kappa_score(a, b))
    # Fleiss' kappa of two raters is Scott's pi: Cohen's kappa of the ratings and their mirror image.
    assert fleiss_kappa(pairs) == pytest.approx(cohen_kappa_score(a + b, b + a))


# ── traces ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_matching_takes_the_largest_sum_not_the_first_best() -> None:
    # By times: a0-b0 share 3 of 6 s, a0-b1 2 of 6, a1-b0 2 of 5, a1-b1 none.
    a = [trace(None, 2, 6), trace(None, 6, 8)]
    b = [trace(None, 3, 8), trace(None, 0, 4)]
    overlaps = [[m.overlap for m in match_traces([p], [q])] for p in a for q in b]
    assert overlaps == [[0.5], [pytest.approx(1 / 3)], [0.4], []]
    assert [(m.a, m.b) for m in match_traces(a, b)] == [(0, 1), (1, 0)]  # 1/3 + 2/5, more than 1/2
    (one,) = match_traces([trace(LEFT)], [trace(SHIFTED, 1.0, 4.0), trace(FAR, 5.0, 6.0)])
    assert (one.a, one.b) == (0, 0)
    assert one.box_iou == pytest.approx(1 / 7)
    assert one.tiou == pytest.approx(0.25)
    assert one.onset_difference_seconds == 1.0
    assert one.overlap == pytest.approx((1 / 7 + 0.25) / 2)
    assert match_traces([trace(LEFT, 0, 1)], [trace(FAR, 2, 3)]) == []
    assert match_traces([], [trace()]) == []


def test_matching_with_what_is_said() -> None:
    (one,) = match_traces([trace(None)], [trace(LEFT, 1.0, 2.0)])
    assert (one.box_iou, one.tiou) == (None, 0.5)
    (one,) = match_traces([trace(LEFT, None, None)], [trace(LEFT)])
    assert (one.tiou, one.onset_difference_seconds) == (None, None)
    assert match_traces([trace(None, None, None)], [trace()]) == []


@settings(max_examples=40, deadline=None)
@given(a=st.lists(any_traces(), max_size=3), b=st.lists(any_traces(), max_size=3))
def test_no_other_pairing_overlaps_more(a: list[Trace], b: list[Trace]) -> None:
    best = sum(match.overlap for match in match_traces(a, b))
    pairs = {(i, j): m.overlap for i, p in enumerate(a) for j, q in enumerate(b) for m in match_traces([p], [q])}
    short, long = (range(len(a)), range(len(b))) if len(a) <= len(b) else (range(len(b)), range(len(a)))
    swap = len(a) > len(b)
    for chosen in itertools.permutations(long, len(short)):
        total = sum(pairs.get((j, i) if swap else (i, j), 0.0) for i, j in zip(short, chosen, strict=True))
        assert total <= best + 1e-9


def test_agreement_of_two_by_hand() -> None:
    blur = ("Sudden Blurring",)
    found = agreement(
        [
            record("1", ann=trace(categories=blur), bob=[trace(SHIFTED, 1.0, 4.0, categories=blur), trace(FAR, 8, 9)]),
            record("2", ann="fake", bob="fake"),
            record("3", ann="fake", bob="real"),
            record("4", ann="real", bob="real"),
            record("5", ann="fake"),
            Record("6", annotations=(Annotation((trace(),)), Annotation((trace(),)))),
        ]
    )
    assert (found.videos, found.annotators, found.unnamed) == (4, ("ann", "bob"), 2)
    assert (found.label.units, found.label.raw) == (4, 0.75)
    assert found.label.cohen == pytest.approx(0.5)  # the table of the docstring of cohen_kappa
    assert found.label.fleiss == pytest.approx(cohen_kappa_score(list("fffrffrr"), list("ffrrfffr")))
    assert found.label.alpha == pytest.approx(1 - (2 / 8) / (2 * 5 * 3 / (8 * 7)))
    assert found.strata == {"fake": 2, "real": 1, "unsure": 0, "none": 1}
    assert (found.matched, found.unmatched) == (1, 1)
    assert found.box_iou.mean == pytest.approx(1 / 7)
    assert found.tiou.mean == pytest.approx(0.25)
    assert found.onset_difference_seconds == replace(found.box_iou, mean=1.0, median=1.0)
    assert found.tags["Sudden Blurring"].units == 1
    assert found.tags["Sudden Blurring"].alpha is None  # one value throughout
    assert found.tags_mean_alpha is None


def test_unsure_is_a_stratum_of_its_own() -> None:
    found = agreement(
        [
            record("1", ann="unsure", bob="unsure", eve="real"),
            record("2", ann="fake", bob="fake", eve="fake"),
            record("3", ann="real", bob="real", eve="real"),
            record("4", ann="unsure", bob="fake", eve="real"),
        ]
    )
    assert found.strata == {"fake": 1, "real": 1, "unsure": 1, "none": 1}
    assert found.label.units == 4
    assert found.label_decided.units == 2
    assert found.label_decided.fleiss == 1.0
    assert found.label.cohen is None  # three annotators
    # Pairs agree in 1/3, 1, 1, 0 of the cases: 7/12. Shares 4/12 fake, 5/12 real, 3/12 unsure: chance 50/144.
    assert found.label.raw == pytest.approx(7 / 12)
    assert found.label.fleiss == pytest.approx((7 / 12 - 50 / 144) / (1 - 50 / 144))


def test_tags_are_rated_by_those_who_tagged() -> None:
    def tagged(*categories: Any) -> Trace:
        return trace(categories=categories)

    found = agreement(
        [
            record("1", ann=tagged("Object Merging"), bob=tagged("Object Merging", "Sudden Blurring")),
            record("2", ann=tagged("Sudden Blurring"), bob=tagged("Sudden Blurring")),
            record("3", ann=tagged("Sudden Blurring"), bob=trace()),  # bob tagged nothing: not rated
            record("4", ann=tagged(), bob=tagged("Object Merging")),  # "none of the nine" is a rating
        ]
    )
    assert found.tags["Object Merging"].units == 3
    assert found.tags["Object Merging"].raw == pytest.approx(2 / 3)
    assert found.tags["Object Merging"].cohen == pytest.approx(cohen_kappa_score(list("ynn"), list("yny")))
    assert found.tags["Object Splitting"].raw == 1.0
    assert found.tags["Object Splitting"].alpha is None


def test_one_annotator_with_two_labels_is_counted_and_left_out() -> None:
    twice = record("1", ann="fake", bob="real")
    twice = replace(twice, annotations=(*twice.annotations, Annotation((), "unsure", "ann")))
    found = agreement([twice])
    assert found.contradictions == 1
    assert found.label.units == 0
    assert found.label.raw is None
    assert agreement([]).videos == 0


# ── consensus ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("labels", "meant"),
    [
        (["fake", "fake", "real"], "fake"),
        (["unsure", "unsure", "fake"], "unsure"),
        (["fake", "real"], None),
        (["fake", "real", "unsure"], None),
        (["fake", "fake", "real", "unsure"], None),  # half is not more than half
        ([], None),
    ],
)
def test_majority(labels: list[RecordLabel], meant: str | None) -> None:
    assert majority(labels) == meant


def test_merge_by_hand() -> None:
    blur = ("Sudden Blurring",)
    first = trace((0.1, 0.1, 0.3, 0.3), 1.0, 3.0, categories=blur, explanation="a smear")
    second = trace((0.12, 0.1, 0.34, 0.3), 1.2, 3.4, categories=(*blur, "Object Merging"), explanation="it blurs")
    third = trace((0.14, 0.1, 0.32, 0.3), 1.6, 3.2)
    lonely = trace(FAR, 8.0, 9.0, explanation="what is this")
    merged = merge(record(ann=[first, lonely], bob=second, eve=third, joe="real"))
    assert merged.label == "fake"
    (annotation,) = merged.annotations
    assert (annotation.annotator, annotation.label) == (CONSENSUS, "fake")
    (one,) = annotation.traces
    assert one == Trace(
        bbox_xyxy=(0.12, 0.1, 0.32, 0.3),
        onset_seconds=1.2,
        offset_seconds=3.2,
        categories=blur,
        explanation=one.explanation,
    )
    sources = annotation.extra["sources"]
    assert sources["label"] == {"fake": ["ann", "bob", "eve"], "real": ["joe"]}
    assert sources["traces"][0]["bbox_xyxy"] == ["ann", "bob", "eve"]
    assert sources["traces"][0]["categories"] == ["ann", "bob"]
    (author,) = sources["traces"][0]["explanation"]
    assert one.explanation == {"ann": "a smear", "bob": "it blurs"}[author]
    assert [(gone["annotator"], gone["trace"]["explanation"]) for gone in annotation.extra["dropped"]] == [
        ("ann", "what is this")
    ]
    assert len(merge(record(ann=[first, lonely], bob=second), min_support=1).traces) == 2


def test_merge_keeps_traces_only_of_fakes() -> None:
    merged = merge(record(ann=trace(), bob="real", eve="real"))
    assert (merged.label, merged.traces) == ("real", ())
    assert len(merged.annotations[0].extra["dropped"]) == 1
    merged = merge(record(ann=trace(), bob="unsure", eve="unsure"))
    assert (merged.label, merged.traces) == ("unsure", ())
    merged = merge(record(ann=trace(), bob="real"))
    assert merged.label is None
    assert merged.flags == ("label: no majority",)


def test_merge_of_tracks_is_the_median_at_every_key() -> None:
    end: Box = (0.4, 0.0, 0.9, 0.5)
    moving = trace(LEFT, 0.0, 2.0, track=(KeyBox(0.0, LEFT), KeyBox(2.0, end)))
    still = trace(LEFT, 0.0, 2.0)
    (one,) = merge(record(ann=moving, bob=still)).traces
    assert one.box_at(1.0) == pytest.approx((0.1, 0.0, 0.6, 0.5))  # half of what the moving one has moved by then, 0.2
    assert one.track is not None
    assert [(key.time_seconds, key.visible) for key in one.track] == [(0.0, True), (2.0, False)]
    held = trace(LEFT, 0.0, 2.0, track=(KeyBox(0.0, LEFT), KeyBox(1.0, (0.2, 0.0, 0.7, 0.5)), KeyBox(2.0, end)))
    (one,) = merge(record(ann=held, bob=still, eve=held)).traces
    assert one.box_at(1.0) == pytest.approx((0.2, 0.0, 0.7, 0.5))


def test_merge_refuses_what_cannot_be_merged() -> None:
    merged = merge(record(ann="fake", bob="fake"))
    with pytest.raises(RecordError, match="'v' is merged"):
        merge(merged)
    with pytest.raises(RecordError, match="'v' is merged"):
        agreement([merged])


def test_what_nobody_annotated_by_name_stays_and_is_flagged() -> None:
    alone = Record("v", label="fake", flags=("x",), annotations=(Annotation((trace(),)),))
    kept = merge(alone)
    assert kept == replace(alone, flags=("x", NOT_MERGED))
    assert merge(kept) == kept
    assert merge(Record("w", label="real")).flags == (NOT_MERGED,)


@settings(max_examples=40, deadline=None)
@given(said=st.dictionaries(st.sampled_from("abcd"), st.lists(any_traces(), max_size=3), min_size=1))
def test_any_traces_merge_into_valid_ones_and_none_is_lost(said: dict[str, list[Trace]]) -> None:
    merged = merge(record(**said), min_support=1)
    (annotation,) = merged.annotations
    assert len(annotation.extra["sources"]["traces"]) == len(annotation.traces)
    assert max(map(len, said.values())) <= len(merged.traces) <= sum(map(len, said.values()))
    for one, sources in zip(annotation.traces, annotation.extra["sources"]["traces"], strict=True):
        given_fields = {name for name in Trace.__dataclass_fields__ if getattr(one, name) is not None}
        assert given_fields == set(sources)
        assert all(set(names) <= set(said) for names in sources.values())
    assert "dropped" not in annotation.extra
    agreement([record(**said)])
