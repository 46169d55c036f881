"""Which pictures to show and which packets they need. Arithmetic on times and flags; no video is touched.

Decoding is what reading costs, so the plan is to decode as little as gives exactly the same pixels: per picture from
the last place where decoding can begin, leaving out pictures that nothing refers to.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

_MAX_ROUNDING_SECONDS = 0.0005


@dataclass(frozen=True)
class TimeWindow:
    """Which moments of a video are asked for, in seconds from its first picture.

    ``fps`` None asks for every picture on screen in the window. ``end_seconds`` None is the end of the video.
    """

    fps: float | None
    start_seconds: float = 0.0
    end_seconds: float | None = None
    max_frames: int | None = None


def rounding_seconds(time_base: Fraction) -> float:
    """How much earlier than its picture a moment may be: times in the file are rounded to ticks.

    Half a tick, so that asking at a video's own rate gives every picture, and never more than half a millisecond.
    """
    return min(float(time_base) / 2, _MAX_ROUNDING_SECONDS)


def choose(
    times: npt.NDArray[np.float64], end_of_video: float, window: TimeWindow, rounding: float
) -> npt.NDArray[np.intp]:
    """Indices into ``times`` of the pictures that are on screen at the moments asked for, each once, increasing.

    ``times`` (K,) are seconds from the first picture, strictly increasing. A picture is on screen from its time to the
    next one's. The cost grows with the number of pictures, not of moments.
    """
    start = window.start_seconds
    end = end_of_video if window.end_seconds is None else min(window.end_seconds, end_of_video)
    if start >= end or not len(times):
        return np.empty(0, np.intp)
    appears = times - rounding
    if window.fps is None:
        first = max(0, int(np.searchsorted(appears, start, side="right")) - 1)
        # A picture that appears with the end of the window is outside it, with the same tolerance.
        last = max(first, int(np.searchsorted(times, end - rounding, side="left")) - 1)
        chosen = np.arange(first, last + 1, dtype=np.intp)
        return chosen if window.max_frames is None else chosen[: window.max_frames]
    moments = math.ceil((end - start) * window.fps - 1e-9)
    if window.max_frames is not None and moments > window.max_frames:
        moment_seconds = start + np.arange(window.max_frames) * ((end - start) / window.max_frames)
        chosen = np.searchsorted(appears, moment_seconds, side="right") - 1
        return np.unique(chosen[chosen >= 0])
    # Picture i is wanted when a moment start + k / fps falls into the time it is on screen.
    disappears = np.minimum(np.append(appears[1:], math.inf), end)
    k = np.maximum(np.ceil((appears - start) * window.fps - 1e-9), 0.0)
    return np.flatnonzero(start + k / window.fps < disappears - 1e-12)


def shrink(height: int, width: int, short_side: int | None) -> tuple[int, int]:
    """``(height, width)`` scaled so that the shorter side is ``short_side``; never larger than it was, at least 1."""
    shorter = min(height, width)
    if short_side is None or short_side >= shorter:
        return height, width
    return max(1, round(height * short_side / shorter)), max(1, round(width * short_side / shorter))


@dataclass(frozen=True)
class PacketRun:
    """Packets ``first..last`` (inclusive) to decode in one go; ``wanted`` are those whose pictures are shown."""

    first: int
    last: int
    wanted: frozenset[int]


def plan_runs(
    wanted: npt.NDArray[np.intp], starts: npt.NDArray[np.intp], pts: npt.NDArray[np.int64]
) -> list[PacketRun]:
    """The packets to decode for the wanted ones (ordinals of packets), as disjoint runs in order.

    ``starts`` (increasing ordinals) are where decoding can begin. A picture shown *before* its start picture refers to
    the group before it too (an open group of pictures), so it needs the start before.
    """
    places = [0, *(int(start) for start in starts if start > 0)]
    spans: list[tuple[int, int]] = []
    for ordinal in sorted(int(ordinal) for ordinal in wanted):
        at = bisect_right(places, ordinal) - 1
        if at > 0 and pts[ordinal] < pts[places[at]]:
            at -= 1
        spans.append((places[at], ordinal))
    runs: list[list[int]] = []
    for first, last in sorted(spans):
        # Runs that touch are one: the decoder need not be emptied in between.
        if runs and first <= runs[-1][1] + 1:
            runs[-1][1] = max(runs[-1][1], last)
        else:
            runs.append([first, last])
    ordinals = sorted(int(ordinal) for ordinal in wanted)
    return [
        PacketRun(first, last, frozenset(ordinals[bisect_right(ordinals, first - 1) : bisect_right(ordinals, last)]))
        for first, last in runs
    ]
