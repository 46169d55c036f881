"""Tubes: traces on the time grid, and their volume IoU, against `Trace.box_at` and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deeptrace.measures.overlap import box_iou
from deeptrace.measures.tubes import Tube, tube_of, viou
from deeptrace.records import Box, KeyBox, Trace

from .strategies import boxes

LENGTH = 6.0
BOX = (0.0, 0.0, 0.5, 1.0)
tenths = st.integers(0, 59).map(lambda k: k / 10)


@st.composite
def timed(draw: st.DrawFn) -> Trace:
    """Traces whose times lie on the grid, some of them moving."""
    start, length = draw(st.integers(0, 59)), draw(st.integers(1, 60))
    times = sorted(draw(st.lists(tenths, max_size=4, unique=True)))
    keys = [KeyBox(t, draw(boxes()), draw(st.booleans())) for t in times]
    return Trace(draw(boxes()), start / 10, (start + length) / 10, track=tuple(keys) or None)


def boxes_of(tube: Tube | None, points: int) -> list[Box | None]:
    shown: list[Box | None] = [None] * points
    for k in range(points if tube is not None else 0):
        assert tube is not None
        if tube.start <= k < tube.stop:
            row = tube.bbox_xyxy if tube.boxes is None else tube.boxes[k - tube.start]
            shown[k] = None if row is None or np.isnan(row[0]) else tuple(map(float, row))
    return shown


@given(timed())
def test_a_tube_is_the_box_at_every_tenth(trace: Trace) -> None:
    expected = [trace.box_at(k / 10) for k in range(60)]
    shown = boxes_of(tube_of(trace, LENGTH), 60)
    assert [box is None for box in shown] == [box is None for box in expected]
    for ours, theirs in zip(shown, expected, strict=True):
        if ours is not None and theirs is not None:
            assert ours == pytest.approx(theirs)


@given(timed(), timed())
def test_viou_is_the_sum_over_times_in_both_by_times_in_either(a: Trace, b: Trace) -> None:
    left, right = ([trace.box_at(k / 10) for k in range(60)] for trace in (a, b))
    both = sum(box_iou(p, q) for p, q in zip(left, right, strict=True) if p is not None and q is not None)
    either = sum(p is not None or q is not None for p, q in zip(left, right, strict=True))
    one, other = tube_of(a, LENGTH), tube_of(b, LENGTH)
    if one is not None and other is not None:
        assert viou(one, other) == pytest.approx(both / either)
        assert viou(one, other) == pytest.approx(viou(other, one))
        assert viou(one, one) == pytest.approx(1)
        assert 0 <= viou(one, other) <= 1


def test_by_hand() -> None:
    first = tube_of(Trace(BOX, 0.0, 1.0), LENGTH)
    second = tube_of(Trace(BOX, 0.5, 1.5), LENGTH)
    half = tube_of(Trace((0.0, 0.0, 0.25, 1.0), 0.5, 1.5), LENGTH)
    assert first is not None
    assert second is not None
    assert half is not None
    assert viou(first, second) == pytest.approx(5 / 15)
    assert viou(first, half) == pytest.approx(5 * 0.5 / 15)


def test_what_is_not_said_reaches_to_the_ends() -> None:
    assert tube_of(Trace(BOX), LENGTH) == Tube(0, 60, BOX)
    assert tube_of(Trace(BOX, 2.0), LENGTH) == Tube(20, 60, BOX)
    assert tube_of(Trace(BOX, offset_seconds=2.0), LENGTH) == Tube(0, 20, BOX)
    assert tube_of(Trace(BOX, 0.7, 5.1), 5.04) == Tube(7, 51, BOX)


def test_no_trace_is_too_short_but_one_may_lie_beyond_the_end() -> None:
    assert tube_of(Trace(BOX, 1.02, 1.04), LENGTH) == Tube(10, 11, BOX)
    assert tube_of(Trace(BOX, 5.03, 5.04), 5.04) == Tube(50, 51, BOX)
    assert tube_of(Trace(BOX, 6.0, 7.0), LENGTH) is None
    assert tube_of(Trace(BOX, 1e308, None), LENGTH) is None
    assert tube_of(Trace(onset_seconds=1.0), LENGTH) is None
    assert tube_of(Trace(track=(KeyBox(0.0, BOX, False),)), LENGTH) is None


def test_a_wrong_length_asks_for_no_memory() -> None:
    tube = tube_of(Trace(BOX, track=(KeyBox(0.0, BOX),)), 1e300)
    assert tube is not None
    assert tube.stop == 1_000_000
