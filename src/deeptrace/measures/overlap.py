"""How far two boxes or two spans of time agree. Boxes in any one unit (fractions, or pixels of the same frame)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from deeptrace.errors import MissingExtra, RecordError
from deeptrace.records import Box, check_bbox


def box_iou(a: Box, b: Box) -> float:
    """Intersection over union of two boxes ``(x0, y0, x1, y1)``, in [0, 1].

    By hand: (0, 0, .5, .5) and (.25, .25, .75, .75) share .0625 of .4375, so 1/7.
    """
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    if union <= 0:  # areas too small for a float
        return float(a == b)
    return min(1.0, shared / union)


def box_giou(a: Box, b: Box) -> float:
    """Generalised IoU of two boxes (arXiv 1902.09630), in (-1, 1]: IoU minus the share of their hull that neither has.

    Unlike IoU it tells how far apart boxes are that share nothing. By hand: (0, 0, .5, .5) and (.5, .5, 1, 1) share
    nothing and fill half of their hull, so -0.5.
    """
    hull = (max(a[2], b[2]) - min(a[0], b[0])) * (max(a[3], b[3]) - min(a[1], b[1]))
    iou = box_iou(a, b)
    if hull <= 0:  # areas too small for a float
        return iou
    areas = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    union = areas / (1 + iou)
    return iou - max(0.0, hull - union) / hull


def tiou(a: tuple[float, float], b: tuple[float, float]) -> float:
    """Temporal IoU of two spans ``(onset, offset)`` in seconds: overlap / union, in [0, 1].

    Two zero-length spans score 1.0 when equal, else 0.0. By hand: (0, 2) and (1, 4) share 1 of 4 seconds, so 0.25.
    """
    overlap = min(a[1], b[1]) - max(a[0], b[0])
    # Two spans that overlap have as their union the span from the first onset to the last offset.
    union = max(a[1], b[1]) - min(a[0], b[0])
    if union == 0:
        return 1.0
    return max(0.0, overlap) / union


def center_distance(a: Box, b: Box) -> float:
    """Distance of two box centres as a share of the frame's diagonal, in [0, 1] for boxes in fractions.

    The paper's "BBox Distance" (arXiv 2509.22646): distance of centres, coordinates as ratios of width and height,
    divided by sqrt(2).
    """
    dx = ((a[0] + a[2]) - (b[0] + b[2])) / 2
    dy = ((a[1] + a[3]) - (b[1] + b[3])) / 2
    return min(1.0, math.hypot(dx, dy) / math.sqrt(2))


def assign(table: Sequence[Sequence[float]]) -> list[tuple[int, int]]:
    """The one-to-one pairing of rows and columns with the largest sum; pairs of value 0 are left out.

    By hand: [[.6, .5], [.5, 0]] pairs row 0 with column 1 and row 1 with column 0 (1.0), not row 0 with column 0 (.6).

    Raises:
        MissingExtra: scipy is not installed.
    """
    try:
        from scipy.optimize import linear_sum_assignment
    except ImportError:
        raise MissingExtra("matching traces", "data") from None
    rows, columns = linear_sum_assignment(table, maximize=True)
    return [(int(i), int(j)) for i, j in zip(rows, columns, strict=True) if table[i][j] > 0]


def bbox_from_px(bbox_xyxy_px: tuple[float, float, float, float], *, width: int, height: int) -> Box:
    """Fractions of a frame of ``width`` x ``height`` pixels. Nothing is clipped.

    Raises:
        RecordError: the size is not positive, or the box is empty or leaves the frame.
    """
    if width <= 0 or height <= 0:
        raise RecordError("frame size", f"{width} x {height} is not positive")
    x0, y0, x1, y1 = bbox_xyxy_px
    return check_bbox((x0 / width, y0 / height, x1 / width, y1 / height))


def bbox_to_px(bbox_xyxy: Box, *, width: int, height: int) -> tuple[float, float, float, float]:
    """The box in pixels of a frame of ``width`` x ``height``, not rounded."""
    x0, y0, x1, y1 = bbox_xyxy
    return (x0 * width, y0 * height, x1 * width, y1 * height)
