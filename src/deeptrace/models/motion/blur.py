"""Places that lose their fine detail at once and stay without it, while the rest of the picture stays sharp.

A `SteadyShot` goes in, `Vanishing`s of kind "blur" come out, in the same terms of strength as in `_vanish`.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from deeptrace.models.motion.flow import Image, SteadyShot
from deeptrace.models.motion.vanish import Rect, Vanishing

Floats = npt.NDArray[np.float32]

_HOLD = 4  # samples on each side over which the detail must have been steady
_CELL = 8  # pixels of one cell of the grid on which detail is compared
_DETAIL = 3.0  # mean absolute Laplacian, grey levels, below which there is nothing to lose
_COLLAPSE = 0.40  # share of its detail that may be left, relative to the whole frame's change
_STEADY = 0.70  # share of its detail that a place must have kept over the samples before
_SAME = 16.0  # grey levels by which the smoothed picture may differ: else the content changed, not its sharpness
_CELLS = 6  # cells, connected
_STILL = 0.03  # heights of the frame that a place may move between samples: faster, it is motion that blurs


def find_blurring(shot: SteadyShot) -> list[Vanishing]:
    """Every sample at which a place collapses, with its strength; weak ones too."""
    height, width = shot.images.shape[1:3]
    if len(shot) < 2 * _HOLD or min(height, width) < 8 * _CELL:
        return []
    greys = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in shot.images]
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
    empty = np.zeros((height, width, 2), np.float32)
    detail = [_detail(grey) for grey in greys]
    smooth = [
        cv2.resize(grey, detail[0].shape[::-1], interpolation=cv2.INTER_AREA).astype(np.float32) for grey in greys
    ]
    # Cells of the next sample, looked up where each cell's content goes: (rows, columns) per quantity.
    ways = [_cell_flow(flow.calc(before, after, empty)) for before, after in pairwise(greys)]
    findings = []
    for index in range(_HOLD, len(shot) - _HOLD + 1):
        finding = _at(index, detail, smooth, ways, height)
        if finding is not None:
            findings.append(finding)
    return findings


def _detail(grey: Image) -> Floats:
    """Mean absolute Laplacian of each cell, ``(h // 8, w // 8)``."""
    rows, columns = grey.shape[0] // _CELL, grey.shape[1] // _CELL
    laplacian = np.abs(cv2.Laplacian(grey, cv2.CV_32F))
    return np.asarray(cv2.resize(laplacian, (columns, rows), interpolation=cv2.INTER_AREA), dtype=np.float32)


def _cell_flow(flow: npt.NDArray[Any]) -> Floats:
    rows, columns = flow.shape[0] // _CELL, flow.shape[1] // _CELL
    return np.asarray(cv2.resize(flow, (columns, rows), interpolation=cv2.INTER_AREA), dtype=np.float32)


def _follow(grid: Floats, xs: Floats, ys: Floats) -> Floats:
    return np.asarray(cv2.remap(grid, xs, ys, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), dtype=np.float32)


def _at(index: int, detail: list[Floats], smooth: list[Floats], ways: list[Floats], height: int) -> Vanishing | None:
    rows, columns = detail[0].shape
    ys, xs = np.mgrid[0:rows, 0:columns].astype(np.float32)
    # The grid of sample ``index - 1``, followed forwards; backwards the inverse way is near enough for slow places.
    here = index - 1
    before = [detail[here]]
    x, y = xs, ys
    for i in range(here - 1, here - _HOLD, -1):
        way = _follow(ways[i], x, y) / _CELL
        x, y = x - way[..., 0], y - way[..., 1]
        before.append(_follow(detail[i], x, y))
    after: list[Floats] = []
    x, y = xs, ys
    same = np.zeros_like(detail[0])
    speed = np.zeros_like(detail[0])
    for i in range(here, min(here + _HOLD, len(ways))):
        way = _follow(ways[i], x, y) / _CELL
        speed = np.maximum(speed, np.hypot(way[..., 0], way[..., 1]) * _CELL / height)
        x, y = x + way[..., 0], y + way[..., 1]
        after.append(_follow(detail[i + 1], x, y))
        same = np.maximum(same, np.abs(_follow(smooth[i + 1], x, y) - smooth[here]))
    had, low_before, high_after = detail[here], np.minimum.reduce(before), np.maximum.reduce(after)
    high_before = np.maximum.reduce(before)
    busy = had > _DETAIL
    if busy.mean() < 0.05:
        return None
    # A defocus, a keyframe or a change of coding takes detail everywhere: what the median cell keeps is the measure.
    common = float(np.clip(np.median((high_after / np.maximum(had, 1e-3))[busy]), 0.05, 1.0))
    left = high_after / np.maximum(low_before, 1e-3) / common
    ratios = {
        "collapse": _COLLAPSE / np.maximum(left, 1e-3),
        "detail": low_before / _DETAIL,
        "steady": (low_before / np.maximum(high_before, 1e-3)) / _STEADY,
        "same content": _SAME / np.maximum(same, 1e-3),
        "still": _STILL / np.maximum(speed, 1e-3),
    }
    strength = np.minimum.reduce(list(ratios.values()))
    strength[[0, -1]] = 0.0  # at the frame's edge, content comes and goes
    strength[:, [0, -1]] = 0.0
    # A whole neighbourhood must collapse: the weakest cell of a connected group counts, at several levels.
    best: Vanishing | None = None
    for level in (1.6, 1.3, 1.0, 0.8, 0.6):
        count, labels, stats, _ = cv2.connectedComponentsWithStats((strength >= level).astype(np.uint8), connectivity=4)
        if count < 2:
            continue
        i = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
        area = int(stats[i, cv2.CC_STAT_AREA])
        if area < _CELLS or area > 0.25 * rows * columns:
            continue
        x0, y0, w, h = (int(number) * _CELL for number in stats[i, :4])
        member = labels == i
        criteria = {name: float(values[member].min()) for name, values in ratios.items()}
        criteria["size"] = area / _CELLS
        best = Vanishing("blur", index, Rect(x0, y0, w, h), (0.0, 0.0), criteria)
        break
    return best
