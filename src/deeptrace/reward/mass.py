"""How much of a video a model holds to be a visible fake trace: a map over time and place, and its mean, the mass.

``map[t, y, x]`` is the confidence that a trace is visible there then: the largest over the traces of confidence times
the share of the cell that the trace's box covers. The trace mass is its mean over the picture and the time,

    mass = 1/D * integral over time of (integral over the picture of map),

which for a single trace is confidence x area of its box x share of the time in which it is visible. It lies in [0, 1]:
the expected share of the picture-time that is wrong. The reward ``trace_free`` is ``1 - mass``. The formula is this
package's own; it follows the wish that a smaller, shorter or less certain trace costs less.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from deeptrace.records import Box, Trace

GRID: Final = (9, 16)
"""Rows and columns of a map."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class DenseMap:
    """Trace confidence by time and region, ``values (S, 9, 16)`` in [0, 1], at ``times_seconds (S,)``.

    Each value holds from its time to the next one, the last until ``end_seconds``.
    """

    times_seconds: Floats
    values: Floats
    end_seconds: float

    def at(self, times_seconds: npt.ArrayLike) -> Floats:
        """The map at other moments, as those of the input's frames: ``(T,)`` seconds in, ``(T, 9, 16)`` out."""
        times = np.asarray(times_seconds, np.float64)
        index = np.searchsorted(self.times_seconds, times + 1e-9, side="right") - 1
        return np.asarray(self.values[np.clip(index, 0, len(self.values) - 1)])

    @property
    def mass(self) -> float:
        """The mean over the picture and the time, in [0, 1]."""
        ends = np.append(self.times_seconds[1:], max(self.end_seconds, self.times_seconds[-1]))
        spans = ends - self.times_seconds
        spans = spans if spans.sum() > 0 else np.ones_like(spans)
        return float(np.average(self.values.mean(axis=(1, 2)), weights=spans))

    @property
    def per_frame(self) -> Floats:
        """The share of the picture that is wrong at each moment, ``(S,)`` in [0, 1]."""
        return np.asarray(self.values.mean(axis=(1, 2)))


@dataclass(frozen=True)
class WindowTrace:
    """The one trace that a window of frames shows most clearly: its confidence in [0, 1], its box in each frame."""

    confidence: float
    boxes: Mapping[int, Box]  # frame of the clip -> box


def coverage(box: Box, grid: tuple[int, int] = GRID) -> Floats:
    """The share of each cell that a box covers, ``(rows, columns)`` in [0, 1]. The mean is the area of the box."""
    rows, columns = grid
    across = _overlap(box[0], box[2], columns)
    down = _overlap(box[1], box[3], rows)
    return np.outer(down, across)


def _overlap(low: float, high: float, cells: int) -> Floats:
    edges = np.arange(cells + 1) / cells
    return np.asarray(np.clip(np.minimum(high, edges[1:]) - np.maximum(low, edges[:-1]), 0, None) * cells)


def map_of_windows(windows: Sequence[WindowTrace], times_seconds: Sequence[float], end_seconds: float) -> DenseMap:
    """The map of a clip that was looked at in windows, at the times of its frames in seconds."""
    values = np.zeros((len(times_seconds), *GRID))
    for window in windows:
        for frame, box in window.boxes.items():
            if frame < len(values):
                np.maximum(values[frame], window.confidence * coverage(box), out=values[frame])
    return DenseMap(np.asarray(times_seconds, np.float64), values, end_seconds)


_WHOLE: Final[Box] = (0.0, 0.0, 1.0, 1.0)
_STEP_SECONDS: Final = 0.125


def map_of_traces(traces: Sequence[Trace], duration_seconds: float, *, confidence: float) -> DenseMap:
    """The map of traces that were told of a video, at 8 moments a second.

    What is not told counts against the video: a trace without a box fills the picture, one without times lasts as long
    as the video. ``confidence`` in [0, 1] is that of traces which state none.
    """
    count = max(1, int(np.ceil(duration_seconds / _STEP_SECONDS - 1e-9)))
    times: Floats = np.arange(count, dtype=np.float64) * _STEP_SECONDS
    values = np.zeros((len(times), *GRID))
    for trace in traces:
        sure = confidence if trace.confidence is None else trace.confidence
        placeless = trace.bbox_xyxy is None and not trace.track
        placed = Trace(_WHOLE, trace.onset_seconds, trace.offset_seconds) if placeless else trace
        for index, time in enumerate(times):
            box = placed.box_at(float(time) + _STEP_SECONDS / 2)
            if box is not None:
                np.maximum(values[index], sure * coverage(box), out=values[index])
    return DenseMap(times, values, duration_seconds)
