"""What the network should say of a clip: dense maps from the trace's mask and boxes, on cells of 8 pixels."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from deeptrace.categories import CATEGORIES, Category
from deeptrace.models.embedded.inputs import CELL, Bytes, Floats

_COVERED = 0.2  # share of a cell that the mask must cover


@dataclass(frozen=True)
class Targets:
    """The truth of one clip with a trace, T frames of h x w cells."""

    trace: Floats  # (T, h, w): 1 where a trace is visible
    box: Floats  # (T, 4): x0, y0, x1, y1 in cells; zeros where there is none
    onset: int  # the first frame with a trace
    category: int  # index into CATEGORIES


def make_targets(mask: Bytes, boxes: npt.NDArray[np.float64], onset: int, category: Category) -> Targets:
    """From the mask ``(T, H, W)`` in 0..255 and per-frame boxes ``(T, 4)`` in fractions (NaN where there is none).

    A cell counts when the mask covers a fifth of it; where nothing is covered that much, the cell of the box's centre.
    """
    count, height, width = mask.shape
    rows, columns = height // CELL, width // CELL
    trace = np.zeros((count, rows, columns), np.float32)
    scaled = np.zeros((count, 4), np.float32)
    for t in range(onset, count):
        if np.isnan(boxes[t]).any():
            continue
        scaled[t] = boxes[t] * np.array([columns, rows, columns, rows])
        covered = cv2.resize((mask[t] > 32).astype(np.float32), (columns, rows), interpolation=cv2.INTER_AREA)
        trace[t] = covered >= _COVERED
        if not trace[t].any():
            x = int(np.clip((scaled[t, 0] + scaled[t, 2]) / 2, 0, columns - 1))
            y = int(np.clip((scaled[t, 1] + scaled[t, 3]) / 2, 0, rows - 1))
            trace[t, y, x] = 1
    return Targets(trace, scaled, onset, CATEGORIES.index(category))
