"""A trace as a tube: its box at every tenth of a second of the video, and how far two tubes agree.

A `Trace` and the video's length go in. Used wherever a place *and* a time are compared: the benchmark, the reward.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from deeptrace.measures.overlap import box_iou
from deeptrace.records import Box, KeyBox, Trace

GRID_PER_SECOND: Final = 10
"""Points of the time grid a second: k / 10 for whole k."""

MAX_SECONDS: Final = 100_000.0
"""Longer videos are compared on their first 100,000 s, so that a wrong length cannot ask for any amount of memory."""

_SLACK: Final = 6  # decimals: 0.7 s is grid point 7, although 0.7 * 10 is a little more than 7

Boxes = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Tube:
    """The grid points ``start <= k < stop`` at which a trace is there, and its box at each.

    ``bbox_xyxy`` where it stands still, else ``boxes``: ``(stop - start, 4)`` fractions of the frame, NaN where the
    trace is hidden.
    """

    start: int
    stop: int
    bbox_xyxy: Box | None = None
    boxes: Boxes | None = None


def tube_of(trace: Trace, length_seconds: float) -> Tube | None:
    """The tube of a trace in a video of that many seconds; None where it has no box, or is not visible within it.

    An onset that is not said is the start of the video, an offset that is not said its end. A trace that lies between
    two grid points takes the one before it, so that no trace is too short to be compared.
    """
    span = _span(trace, length_seconds)
    if span is None or (trace.bbox_xyxy is None and trace.track is None):
        return None
    start, stop = span
    if trace.track is None:
        return Tube(start, stop, bbox_xyxy=trace.bbox_xyxy)
    times = np.arange(start, stop) / GRID_PER_SECOND
    boxes = _boxes(trace.track, np.maximum(times, trace.onset_seconds or 0.0))
    return None if np.isnan(boxes).all() else Tube(start, stop, boxes=boxes)


def _span(trace: Trace, length_seconds: float) -> tuple[int, int] | None:
    length = min(length_seconds, MAX_SECONDS)
    onset = trace.onset_seconds or 0.0
    if onset >= length:
        return None
    end = max(1, _point(length))
    start = _point(onset)
    stop = end if trace.offset_seconds is None else _point(min(trace.offset_seconds, length))
    if start >= stop:  # between two grid points
        start = max(0, min(start, end) - 1)
        stop = start + 1
    return start, stop


def _point(seconds: float) -> int:
    """The first grid point that is not before this time."""
    return math.ceil(round(seconds * GRID_PER_SECOND, _SLACK))


def _boxes(track: tuple[KeyBox, ...], times: npt.NDArray[np.float64]) -> Boxes:
    """`Trace.box_at` for many moments of a track at once: ``(T, 4)``, NaN where hidden."""
    at = np.array([key.time_seconds for key in track])
    key_boxes = np.array([key.bbox_xyxy or (np.nan,) * 4 for key in track], np.float64)
    visible = np.array([key.visible for key in track])
    here = np.clip(np.searchsorted(at, times, side="right") - 1, 0, None)
    after = np.minimum(here + 1, len(track) - 1)
    step = np.where(after > here, at[after] - at[here], 1.0)
    share = np.clip((times - at[here]) / step, 0.0, None)[:, None]
    share = np.where((after > here)[:, None] & ~np.isnan(key_boxes[after]), share, 0.0)  # else the last box holds
    moved = key_boxes[here] + np.where(share > 0, key_boxes[after] - key_boxes[here], 0.0) * share
    return np.where(visible[here][:, None], moved, np.nan)


def viou(a: Tube, b: Tube) -> float:
    """Volume IoU of two tubes: sum of the boxes' IoU over times in both / number of times in either, in [0, 1].

    By hand: one box shown at points 0 to 9, the same box at points 5 to 14: 5 points in both, each of IoU 1, and 15 in
    either, so 1/3. With half of the box in the second tube it is 5 * 0.5 / 15 = 1/6.
    """
    overlap = min(a.stop, b.stop) - max(a.start, b.start)
    if a.bbox_xyxy is not None and b.bbox_xyxy is not None:
        if overlap <= 0:
            return 0.0
        either = (a.stop - a.start) + (b.stop - b.start) - overlap
        return box_iou(a.bbox_xyxy, b.bbox_xyxy) * overlap / either
    if overlap <= 0:
        return 0.0
    first, last = min(a.start, b.start), max(a.stop, b.stop)
    left, right = _spread(a, first, last), _spread(b, first, last)
    in_either = int((~np.isnan(left[:, 0]) | ~np.isnan(right[:, 0])).sum())
    return float(_box_ious(left, right).sum()) / in_either


def _spread(tube: Tube, first: int, last: int) -> Boxes:
    boxes = np.full((last - first, 4), np.nan)
    boxes[tube.start - first : tube.stop - first] = tube.boxes if tube.boxes is not None else tube.bbox_xyxy
    return boxes


def _box_ious(a: Boxes, b: Boxes) -> npt.NDArray[np.float64]:
    """`box_iou` row by row, ``(T, 4)`` each; 0 where one of them is NaN."""
    shared = np.clip(np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2]), 0.0, None).prod(1)
    union = (a[:, 2:] - a[:, :2]).prod(1) + (b[:, 2:] - b[:, :2]).prod(1) - shared
    ious: npt.NDArray[np.float64] = np.divide(shared, union, out=np.zeros(len(a)), where=union > 0)
    return ious
