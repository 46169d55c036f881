"""From the network's maps to traces: when it begins and ends, where it is in each frame, which kind.

One window's `WindowOutputs` in, a `WindowFinding` in frames and fractions out. All of it is arithmetic on the maps;
nothing is drawn where the maps show nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from deeptrace.categories import CATEGORIES, Category
from deeptrace.measures.probabilities import sigmoid
from deeptrace.models.embedded.inputs import Floats
from deeptrace.models.embedded.windows import WindowOutputs
from deeptrace.records import Box

# How the maps are read. All chosen, none measured against other values; the median onset was, against the likeliest
# frame, by `benchmarks/embedded_choices.py onset` (docs/embedded.md).
_MAXIMUM_WEIGHT: Final = 0.5
"""What a cell's highest probability from the onset on weighs beside its mean, in where the trace is."""
_REACH: Final = 0.25
"""How far a trace moves: deviation of the weight around its cell, in fractions of the frame's height and width."""
_STILL_THERE: Final = 0.5
"""A trace lasts while its neighbourhood is above this share of its peak probability."""
_BRIDGED_FRAMES: Final = 3
"""Frames below that share that do not end it: 0.375 s at 8 a second."""
_SPEAKS: Final = 0.6
"""Cells whose probability is at least this share of the frame's highest give the box."""
_SHARPNESS: Final = 2
"""Power of the probability with which they weigh."""
_SMOOTHED_FRAMES: Final = 2
"""Frames before and after over which a box is a running median: 5 in all, 0.625 s."""
_LEAST_SIDE: Final = 1e-3
"""Of a box, in fractions of the frame: a narrower one has no place."""


@dataclass(frozen=True)
class WindowFinding:
    """A trace in one window: frames of the clip, boxes in fractions, probabilities of the nine categories."""

    onset: int  # first frame with the trace
    end: int  # first frame without it
    boxes: dict[int, Box]  # frame -> box, for every frame of [onset, end)
    categories: dict[Category, float]
    peak: float  # the highest trace probability after smoothing, in [0, 1]


def find(outputs: WindowOutputs) -> WindowFinding:
    """The one trace that this window shows most clearly. Always one: whether to believe it is the caller's question."""
    chance = sigmoid(outputs.trace.astype(np.float64)).astype(np.float32)  # (T, h, w)
    count = len(chance)
    onset = median(onset_chances(outputs))
    smooth = _over_time(chance)
    after = smooth[onset:]
    where = after.max(axis=0) * _MAXIMUM_WEIGHT + after.mean(axis=0)
    row, column = divmod(int(where.argmax()), where.shape[1])
    near = _near(where.shape, row, column)
    level = (smooth * near).reshape(count, -1).max(axis=1)
    top = float(level[onset:].max())
    end = onset + 1
    for t in range(onset + 1, count):
        if level[t] >= _STILL_THERE * top and t - end <= _BRIDGED_FRAMES:
            end = t + 1
    boxes = _boxes(outputs, smooth * near, onset, end)
    odds = np.exp(outputs.category - outputs.category.max())
    shares = odds / odds.sum()
    # Trained on the first so many categories; later ones stand behind them (see `deeptrace.categories.FACTS`).
    categories = {name: float(share) for name, share in zip(CATEGORIES, shares, strict=False)}
    first = outputs.first
    return WindowFinding(first + onset, first + end, {first + t: box for t, box in boxes.items()}, categories, top)


def onset_chances(outputs: WindowOutputs) -> npt.NDArray[np.float64]:
    """How likely the trace begins in each frame, ``(T,)``, sum 1."""
    return np.asarray(np.exp(outputs.onset - np.logaddexp.reduce(outputs.onset)), np.float64)


def median(chances: npt.NDArray[np.float64]) -> int:
    """The median frame of chances ``(T,)``: of all single answers the one with the least expected error in time."""
    frame = int(np.searchsorted(np.cumsum(chances), 0.5 * chances.sum()))
    return min(frame, len(chances) - 1)


def _over_time(chance: Floats) -> Floats:
    """Smoothed over three frames, with binomial weights 1, 2, 1; the first and the last stand for those beyond."""
    padded = np.concatenate([chance[:1], chance, chance[-1:]])
    return np.asarray((padded[:-2] + 2 * padded[1:-1] + padded[2:]) / 4, np.float32)


def _near(shape: tuple[int, ...], row: int, column: int) -> Floats:
    """Weights that fall off with the distance from a cell: a trace moves, but not across the frame."""
    ys, xs = np.mgrid[: shape[0], : shape[1]]
    distance = np.hypot((ys - row) / shape[0], (xs - column) / shape[1])
    return np.asarray(np.exp(-0.5 * (distance / _REACH) ** 2), np.float32)


def _boxes(outputs: WindowOutputs, chance: Floats, onset: int, end: int) -> dict[int, Box]:
    """The box of each frame: the mean of what the cells near the frame's peak say, weighed by their probability."""
    _, rows, columns = chance.shape
    ys, xs = np.mgrid[:rows, :columns] + 0.5
    edges = []
    for t in range(onset, end):
        weight = (chance[t] * (chance[t] >= _SPEAKS * chance[t].max())) ** _SHARPNESS
        weight = weight / weight.sum()
        reach = outputs.box[t]
        edges.append(
            [
                float((weight * (xs - reach[0])).sum()),
                float((weight * (ys - reach[1])).sum()),
                float((weight * (xs + reach[2])).sum()),
                float((weight * (ys + reach[3])).sum()),
            ]
        )
    smoothed = _running_median(np.array(edges))
    boxes = {}
    for t, (x0, y0, x1, y1) in zip(range(onset, end), smoothed / [columns, rows, columns, rows], strict=True):
        left, right = np.clip([x0, x1], 0, 1)
        top, bottom = np.clip([y0, y1], 0, 1)
        if min(right - left, bottom - top) > _LEAST_SIDE:
            boxes[t] = (float(left), float(top), float(right), float(bottom))
    return boxes


def _running_median(values: npt.NDArray[np.float64], half: int = _SMOOTHED_FRAMES) -> npt.NDArray[np.float64]:
    return np.stack([np.median(values[max(0, t - half) : t + half + 1], axis=0) for t in range(len(values))])
