"""Whether an object can be taken away: is what shows in its place background, and not one more of the same?

Categories that lift a thing ask before they plan; what is refused here would be a false label.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from deeptrace.errors import InjectionError
from deeptrace.inject.footage import Floats
from deeptrace.inject.plate import Plate
from deeptrace.inject.regions import colour_distance
from deeptrace.inject.shot import Shot
from deeptrace.inject.things import TrackedThing

Flags = npt.NDArray[np.bool_]

LARGEST_UNSEEN: Final = 0.25
"""From this share of the hole on that no frame shows, the surroundings must be of one kind, or a place beside
them must fit: else the fill is a guess."""
MOST_VARIED: Final = 15.0
"""Grey levels: the deviation of the coarse picture round the hole, up to which its surroundings are of one kind."""
MOST_MISFIT: Final = 16.0
"""Grey levels: the mean miss at the rim, up to which a place copied from beside the object fits there."""
MOST_OF_CHANGE: Final = 0.4
"""The same as a share of what changes where the object was: beside a plain change a small seam is not looked at."""
MOST_OF_TEXTURE: Final = 1.3
"""The same as a share of the texture round the hole: two samples of one texture differ by 1.1 of its deviation."""
MOST_ALIKE: Final = 0.65
"""Correlation of the gradient histograms (HOG) of the fill and of what it replaces, from which they are alike."""
LEAST_UNLIKE: Final = 0.35
"""Hellinger distance of their colours, below which they are alike."""
MOST_FOREIGN: Final = 0.65
"""Hellinger distance of a made-up fill's colours to those of the ring round it, above which it comes from elsewhere."""
TEXTURE_RANGE: Final = (0.25, 2.5)
"""Texture of a made-up fill as a share of that of the ring: a smooth patch amid detail, or a busy one on plain ground,
is seen. The ring has the object's own edge in it, so that a fill may well have less."""

# Gradient histograms: so many cells a side, of so many pixels, in so many directions (0 to 180 degrees).
_CELLS, _CELL_PX, _DIRECTIONS = 5, 8, 9


def require_background(shot: Shot, plate: Plate, thing: TrackedThing) -> None:
    """Look at the fill at the start, in the middle and at the end of the trace.

    Raises:
        InjectionError: ``NO_BACKGROUND``.
    """
    for index in sorted({shot.start, (shot.start + shot.stop) // 2, shot.stop - 1}):
        if not thing.visible[index]:
            continue
        roi = shot.around(thing, index, 8 * shot.px)
        before, after = (_small(picture, shot) for picture in (shot.patch(index, roi), plate.patch(index, roi)))
        size = (before.shape[1], before.shape[0])
        hole = cv2.resize(plate.hole(index, roi).astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
        core = cv2.resize(thing.matte(index, roi), size, interpolation=cv2.INTER_AREA) > 0.5
        _require(before, after, hole, core, unseen=plate.unseen(index), misfit=plate.misfit)


def along_edge(shot: Shot, thing: TrackedThing) -> npt.NDArray[np.float64]:
    """The ways (x, y) in which a thing may be moved, 1 or 0 each: one that the frame cuts off moves along that edge."""
    height, width = shot.size_hw
    free = np.ones(2)
    for index in sorted({shot.start, (shot.start + shot.stop) // 2, shot.stop - 1}):
        if not thing.visible[index]:
            continue
        x0, y0, x1, y1 = thing.box_px(index)
        rim = 1.5 * shot.px
        if y0 <= rim or y1 >= height - rim:
            free[1] = 0.0
        if x0 <= rim or x1 >= width - rim:
            free[0] = 0.0
    return free


def _require(
    before: npt.NDArray[np.uint8],
    after: npt.NDArray[np.uint8],
    hole: Flags,
    core: Flags,
    *,
    unseen: float,
    misfit: float,
) -> None:
    near = cv2.dilate(hole.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    ring = near & ~hole
    if unseen > LARGEST_UNSEEN and ring.any():
        coarse = cv2.GaussianBlur(before, (0, 0), 3.0).astype(np.float32)
        varied = float(coarse[ring].std(0).max())
        removed = float(np.abs(before.astype(np.float32) - after)[core].mean()) if core.any() else 0.0
        texture = float((before.astype(np.float32) - coarse)[ring].std())
        if varied > MOST_VARIED and misfit > max(MOST_MISFIT, MOST_OF_CHANGE * removed, MOST_OF_TEXTURE * texture):
            raise InjectionError(
                "NO_BACKGROUND",
                f"no frame shows {unseen:.0%} of what lies behind the object, and no place beside it fits its rim",
            )
    alike = _correlation(_features(before, core), _features(after, core))
    unlike = colour_distance(before, core, after, core)
    if unlike < LEAST_UNLIKE or (alike > MOST_ALIKE and unlike < 1.7 * LEAST_UNLIKE):
        raise InjectionError("NO_BACKGROUND", "what would show in the object's place is too much like the object")
    if unseen > LARGEST_UNSEEN and ring.any() and core.any():
        texture = _texture(after, core) / _texture(before, ring)
        fits = TEXTURE_RANGE[0] <= texture <= TEXTURE_RANGE[1]
        if not fits or colour_distance(after, core, before, ring) > MOST_FOREIGN:
            raise InjectionError("NO_BACKGROUND", "what would show in the object's place is not like its surroundings")


def _texture(picture: npt.NDArray[np.uint8], where: Flags) -> float:
    """How far a masked picture is from its own blur (2 pixels), grey levels, plus one: no picture is quite plain."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return 1.0 + float(np.abs(grey - cv2.GaussianBlur(grey, (0, 0), 2.0))[where].mean())


def _small(picture: Floats, shot: Shot) -> npt.NDArray[np.uint8]:
    size = (max(8, round(picture.shape[1] / shot.px)), max(8, round(picture.shape[0] / shot.px)))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA).clip(0, 255), dtype=np.uint8)


def _features(picture: npt.NDArray[np.uint8], core: Flags) -> Floats:
    """Histograms of oriented gradients by cell in the core (Dalal and Triggs, 2005, without their blocks)."""
    side = _CELLS * _CELL_PX
    within = cv2.resize(cv2.erode(core.astype(np.uint8), np.ones((3, 3), np.uint8)), (side, side)) > 0
    grey = cv2.resize(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), (side, side), interpolation=cv2.INTER_AREA)
    dx, dy = (cv2.Sobel(grey, cv2.CV_32F, *order) for order in ((1, 0), (0, 1)))
    strength, angle = cv2.cartToPolar(dx, dy)
    strength = np.where(within, strength, 0.0)
    direction = (angle / np.pi * _DIRECTIONS).astype(np.int64) % _DIRECTIONS
    rows, columns = np.divmod(np.arange(side * side), side)
    cell = (rows // _CELL_PX * _CELLS + columns // _CELL_PX) * _DIRECTIONS + direction.ravel()
    counts = np.bincount(cell, strength.ravel(), _CELLS * _CELLS * _DIRECTIONS)
    return np.sqrt(counts).astype(np.float32)


def _correlation(first: Floats, second: Floats) -> float:
    a, b = first - first.mean(), second - second.mean()
    return float((a @ b) / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-6))
