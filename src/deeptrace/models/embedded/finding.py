"""From the network's maps to traces: when it begins and ends, where it is in each frame, which kind.

One window's `Said` in, a `Finding` in frames and fractions out. All of it is arithmetic on the maps; nothing is drawn
where the maps show nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deeptrace.categories import CATEGORIES, Category
from deeptrace.models.embedded.inputs import Floats
from deeptrace.models.embedded.windows import Said
from deeptrace.records import Box


@dataclass(frozen=True)
class Finding:
    """A trace in one window: frames of the clip, boxes in fractions, probabilities of the nine categories."""

    onset: int  # first frame with the trace
    end: int  # first frame without it
    boxes: dict[int, Box]  # frame -> box, for every frame of [onset, end)
    categories: dict[Category, float]
    peak: float  # the highest trace probability after smoothing, in [0, 1]


def find(said: Said) -> Finding:
    """The one trace that this window shows most clearly. Always one: whether to believe it is the caller's question."""
    chance = _sigmoid(said.trace)  # (T, h, w)
    count = len(chance)
    onset = median(onset_chances(said))
    smooth = _over_time(chance)
    after = smooth[onset:]
    where = after.max(axis=0) * 0.5 + after.mean(axis=0)
    row, column = divmod(int(where.argmax()), where.shape[1])
    near = _near(where.shape, row, column)
    level = (smooth * near).reshape(count, -1).max(axis=1)
    top = float(level[onset:].max())
    # It lasts while its neighbourhood stays above half of its peak; a gap of up to three frames is bridged.
    end = onset + 1
    for t in range(onset + 1, count):
        if level[t] >= 0.5 * top and t - end < 4:
            end = t + 1
    boxes = _boxes(said, smooth * near, onset, end)
    odds = np.exp(said.category - said.category.max())
    shares = odds / odds.sum()
    categories = {name: float(share) for name, share in zip(CATEGORIES, shares, strict=True)}
    first = said.first
    return Finding(first + onset, first + end, {first + t: box for t, box in boxes.items()}, categories, top)


def onset_chances(said: Said) -> npt.NDArray[np.float64]:
    """How likely the trace begins in each frame, ``(T,)``, sum 1."""
    return np.asarray(np.exp(said.onset - np.logaddexp.reduce(said.onset)), np.float64)


def median(chances: npt.NDArray[np.float64]) -> int:
    """The median frame: of all single answers the one with the least expected error in time."""
    frame = int(np.searchsorted(np.cumsum(chances), 0.5 * chances.sum()))
    return min(frame, len(chances) - 1)


def _over_time(chance: Floats) -> Floats:
    """Smoothed over three frames."""
    padded = np.concatenate([chance[:1], chance, chance[-1:]])
    return np.asarray((padded[:-2] + 2 * padded[1:-1] + padded[2:]) / 4, np.float32)


def _near(shape: tuple[int, ...], row: int, column: int) -> Floats:
    """Weights that fall off with the distance from a cell: a trace moves, but not across the frame."""
    ys, xs = np.mgrid[: shape[0], : shape[1]]
    distance = np.hypot((ys - row) / shape[0], (xs - column) / shape[1])
    return np.asarray(np.exp(-0.5 * (distance / 0.25) ** 2), np.float32)


def _boxes(said: Said, chance: Floats, onset: int, end: int) -> dict[int, Box]:
    """The box of each frame: the mean of what the cells near the frame's peak say, weighed by their probability."""
    _, rows, columns = chance.shape
    ys, xs = np.mgrid[:rows, :columns] + 0.5
    found = []
    for t in range(onset, end):
        weight = chance[t] * (chance[t] >= 0.6 * chance[t].max())
        weight = weight**2 / (weight**2).sum()
        reach = said.box[t]
        found.append(
            [
                float((weight * (xs - reach[0])).sum()),
                float((weight * (ys - reach[1])).sum()),
                float((weight * (xs + reach[2])).sum()),
                float((weight * (ys + reach[3])).sum()),
            ]
        )
    smoothed = _running_median(np.array(found))
    boxes = {}
    for t, (x0, y0, x1, y1) in zip(range(onset, end), smoothed / [columns, rows, columns, rows], strict=True):
        left, right = np.clip([x0, x1], 0, 1)
        top, bottom = np.clip([y0, y1], 0, 1)
        if right - left > 1e-3 and bottom - top > 1e-3:
            boxes[t] = (float(left), float(top), float(right), float(bottom))
    return boxes


def _running_median(values: npt.NDArray[np.float64], half: int = 2) -> npt.NDArray[np.float64]:
    return np.stack([np.median(values[max(0, t - half) : t + half + 1], axis=0) for t in range(len(values))])


def _sigmoid(logits: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.clip(logits, -30, 30))), np.float32)
