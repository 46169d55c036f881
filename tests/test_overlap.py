"""Overlap of boxes and of times: hand-computed cases and laws."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deeptrace.errors import RecordError
from deeptrace.measures.overlap import bbox_from_px, bbox_to_px, box_giou, box_iou, center_distance, tiou
from deeptrace.records import Box

from .strategies import boxes

spans = st.tuples(st.floats(0, 1e4), st.floats(0, 1e4)).map(lambda pair: (min(pair), max(pair)))


def test_by_hand() -> None:
    assert box_iou((0, 0, 0.5, 0.5), (0.25, 0.25, 0.75, 0.75)) == pytest.approx(1 / 7)
    assert box_iou((0, 0, 0.5, 0.5), (0.5, 0, 1, 0.5)) == 0
    assert box_giou((0, 0, 0.5, 0.5), (0.5, 0.5, 1, 1)) == pytest.approx(-0.5)
    # IoU 1/7; of the hull's 9/16 the two do not have 1/8.
    assert box_giou((0, 0, 0.5, 0.5), (0.25, 0.25, 0.75, 0.75)) == pytest.approx(1 / 7 - 2 / 9)
    assert tiou((0, 2), (1, 4)) == 0.25
    assert tiou((0, 1), (2, 3)) == 0
    assert tiou((1, 1), (1, 1)) == 1
    assert tiou((1, 1), (2, 2)) == 0
    assert tiou((1, 1), (0, 2)) == 0
    # Centres (0, 0) and (1, 1) are the diagonal apart; (.25, .25) and (.25, .75) half a side.
    assert box_iou((0, 0, 1e-200, 1e-200), (0, 0, 1e-200, 1e-200)) == 1
    assert center_distance((0, 0, 1e-9, 1e-9), (1 - 1e-9, 1 - 1e-9, 1, 1)) == pytest.approx(1)
    assert center_distance((0, 0, 0.5, 0.5), (0, 0.5, 0.5, 1)) == pytest.approx(0.5 / math.sqrt(2))


@given(a=boxes(), b=boxes())
def test_laws_of_boxes(a: Box, b: Box) -> None:
    assert box_iou(a, a) == pytest.approx(1)
    assert 0 <= box_iou(a, b) <= 1
    assert box_iou(a, b) == pytest.approx(box_iou(b, a))
    assert box_giou(a, a) == pytest.approx(1)
    assert -1 <= box_giou(a, b) <= box_iou(a, b)
    assert box_giou(a, b) == pytest.approx(box_giou(b, a))
    assert center_distance(a, a) == 0
    assert 0 <= center_distance(a, b) <= 1


@given(a=spans, b=spans)
def test_laws_of_times(a: tuple[float, float], b: tuple[float, float]) -> None:
    assert tiou(a, a) == 1
    assert 0 <= tiou(a, b) <= 1
    assert tiou(a, b) == tiou(b, a)


@given(box=boxes(), width=st.integers(1, 8000), height=st.integers(1, 8000))
def test_pixels_and_back(box: Box, width: int, height: int) -> None:
    assert bbox_from_px(bbox_to_px(box, width=width, height=height), width=width, height=height) == pytest.approx(box)


def test_pixels_outside_the_frame_are_refused() -> None:
    with pytest.raises(RecordError, match=r"x1: 1\.00078 is not in \[0, 1\]"):
        bbox_from_px((0, 0, 1281, 720), width=1280, height=720)
    with pytest.raises(RecordError, match="frame size"):
        bbox_from_px((0, 0, 1, 1), width=0, height=720)
