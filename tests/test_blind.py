"""The model that sees no pixels: it learns from train alone, and its constants are the best ones."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deeptrace.errors import RecordError
from deeptrace.measures.blind import best_box, fit_blind, metadata_row
from deeptrace.measures.overlap import box_iou, tiou
from deeptrace.records import Annotation, Box, Record, Trace, VideoInfo

from .strategies import boxes

pytest.importorskip("sklearn")


def video(name: str, label: str, *rows: Trace, split: str = "train", width: int = 1280, seconds: float = 5.0) -> Record:
    info = VideoInfo(width, 720, fps=24.0, duration_seconds=seconds)
    return Record(name, f"nowhere/{name}.mp4", "fake" if label == "fake" else "real", info, split=split,
                  annotations=tuple(Annotation((row,)) for row in rows))  # fmt: skip


def train() -> list[Record]:
    fakes = [
        video(f"f{i}", "fake", Trace((0.2, 0.2, 0.6, 0.7), 1.0 + i % 3, 4.0, ("Sudden Blurring",), "it blurs"))
        for i in range(9)
    ]
    other = video("f9", "fake", Trace((0.25, 0.2, 0.6, 0.7), 2.0, 4.5, ("Object Merging",), "  it \n melts "))
    return [*fakes, other, *(video(f"r{i}", "real", width=640) for i in range(10))]


def mean_iou(box: Box, known: list[Box]) -> float:
    return float(np.mean([box_iou(box, own) for own in known]))


@settings(max_examples=25, deadline=None)
@given(st.lists(boxes(), min_size=1, max_size=8))
def test_the_best_box_is_never_worse_than_the_plain_ones(known: list[Box]) -> None:
    found = best_box(known)
    assert found is not None
    middle = np.median(np.array(known), axis=0)
    plain: list[Box] = [(0.0, 0.0, 1.0, 1.0), (0.0, 0.0, 0.5, 1.0)]
    if middle[0] < middle[2] and middle[1] < middle[3]:
        plain.append((float(middle[0]), float(middle[1]), float(middle[2]), float(middle[3])))
    assert mean_iou(found, known) >= max(mean_iou(box, known) for box in plain) - 1e-9


def test_the_best_box_is_as_good_as_a_search_of_everything() -> None:
    rng = np.random.default_rng(0)
    known: list[Box] = []
    for _ in range(30):
        x, y = rng.uniform(0, 0.6, 2)
        w, h = rng.uniform(0.1, 0.4, 2)
        known.append((float(x), float(y), float(x + w), float(y + h)))
    grid = np.linspace(0, 1, 21)
    spans = [(float(a), float(b)) for a, b in product(grid, grid) if a < b]
    best = max(mean_iou((x0, y0, x1, y1), known) for (x0, x1), (y0, y1) in product(spans, spans))
    found = best_box(known)
    assert found is not None
    assert mean_iou(found, known) >= best - 0.002
    assert best_box([]) is None


def test_constants_are_the_best_on_train() -> None:
    blind = fit_blind(train())
    onsets = [trace.onset_seconds for record in train() for trace in record.traces if trace.onset_seconds is not None]

    def distance(onset: float) -> float:
        return float(np.mean([min(1.0, abs(onset - own) / 5.0) for own in onsets]))

    assert blind.onset_seconds is not None
    assert distance(blind.onset_seconds) == pytest.approx(min(distance(k / 10) for k in range(50)))
    spans = [(t.onset_seconds, t.offset_seconds) for record in train() for t in record.traces]

    def overlap(length: float) -> float:
        own = (blind.onset_seconds or 0.0, min(5.0, (blind.onset_seconds or 0.0) + length))
        return float(np.mean([tiou(own, (a or 0.0, b or 0.0)) for a, b in spans]))

    assert blind.trace_seconds is not None
    assert overlap(blind.trace_seconds) == pytest.approx(max(overlap(k / 10) for k in range(1, 51)))
    assert (blind.category, blind.explanation) == ("Sudden Blurring", "it blurs")
    assert blind.trained_on == {"fake": 10, "real": 10}


def test_the_verdict_is_from_the_header() -> None:
    blind = fit_blind(train())
    unseen = [video("a", "real", split="test", width=1280), video("b", "fake", split="test", width=640)]
    said = blind.verdicts(unseen)
    assert (said["a"].label, said["b"].label) == ("fake", "real")  # by width alone: wrong, and that is what it measures
    assert said["a"].p_fake is not None
    assert said["a"].p_fake > 0.9
    assert said["a"].traces == (blind.trace(),)
    assert said["b"].traces == ()
    assert blind.p_fake([]) == []


def test_only_train_is_learned_from() -> None:
    leak = [video(f"x{i}", "fake", Trace((0.8, 0.8, 1.0, 1.0), 4.0), split="test") for i in range(50)]
    assert fit_blind([*train(), *leak]).trace() == fit_blind(train()).trace()
    with pytest.raises(RecordError, match="'train' holds 0 fake and 0 real"):
        fit_blind(leak)
    with pytest.raises(RecordError, match="'train' holds 10 fake and 0 real"):
        fit_blind(train()[:10])


def test_rows_that_need_no_header() -> None:
    blind, videos = fit_blind(train()), [video("a", "real", split="test")]
    assert blind.verdicts(videos, "always FAKE")["a"].traces == (blind.trace(),)
    assert blind.verdicts(videos, "always REAL")["a"].label == "real"
    (trace,) = blind.verdicts(videos, "whole frame")["a"].traces
    assert (trace.bbox_xyxy, trace.onset_seconds, trace.explanation) == ((0, 0, 1, 1), 0.0, None)


def test_the_same_seed_says_the_same() -> None:
    mixed = [video(f"m{i}", "fake" if i % 2 else "real", width=600 + 10 * (i % 7)) for i in range(30)]
    assert fit_blind(mixed, seed=3).p_fake(mixed) == fit_blind(mixed, seed=3).p_fake(mixed)


def test_a_train_set_that_says_nothing_gives_an_empty_trace() -> None:
    mixed = [video(f"m{i}", "fake" if i % 2 else "real") for i in range(8)]
    blind = fit_blind(mixed)
    assert blind.trace() == Trace()
    assert all(verdict.traces == () for verdict in blind.verdicts(mixed, "always FAKE").values())
    assert np.isnan(metadata_row(None)).all()
