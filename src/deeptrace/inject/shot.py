"""What a category works on: the footage with its things and motion, and how an edit is told to the engine.

A category's function gets a `Shot`, plans once (which object, which way) and returns an `Edit`; the engine then asks
the edit for a `Picture` of each frame twice: as a trace, and as a sham.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from deeptrace.inject.blend import Implementation, feather, grain_of, over, resampled
from deeptrace.inject.footage import Floats, Motion, Transform
from deeptrace.inject.plate import Plate
from deeptrace.inject.things import Roi, Things, TrackedThing
from deeptrace.records import Frames


@dataclass(frozen=True)
class EditFrame:
    """One frame of an edit. At level 0 nothing would show, at 1 all of the strongest trace."""

    index: int
    since_seconds: float  # since the onset
    level: float  # strength times how far the trace has grown, (0, 1]
    sham: bool  # the null version: the same pixels go through the same steps, and nothing shows


@dataclass(frozen=True)
class Picture:
    """A region of a frame after an edit."""

    image: Floats  # (h, w, 3), equal to the frame where alpha is 0
    alpha: Floats  # (h, w): how much of it replaces the frame


@dataclass(frozen=True)
class Edit:
    """A planned trace. ``says`` completes "<the object> ..." in the explanation."""

    thing: TrackedThing
    roi: Callable[[EditFrame], Roi]
    paint: Callable[[EditFrame, Roi], Picture]
    says: str
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Shot:
    """Footage, what was found in it, and the frames ``start`` to ``stop`` (exclusive) in which a trace may show."""

    frames: Frames
    things: Things
    implementation: Implementation
    start: int
    stop: int

    @property
    def motion(self) -> Motion:
        """How the footage moves."""
        return self.things.motion

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width of the frames, pixels."""
        return int(self.frames.images.shape[1]), int(self.frames.images.shape[2])

    @property
    def px(self) -> float:
        """Pixels per work pixel: the unit of margins and feathers, so that they look alike at any size."""
        return max(1.0, self.motion.scale[0])

    @cached_property
    def grain(self) -> float:
        """The footage's grain at the start of the trace, grey levels."""
        return grain_of(self.frames.images[self.start].astype(np.float32))

    def patch(self, index: int, roi: Roi) -> Floats:
        """A region of a frame, ``(h, w, 3)`` float32."""
        x0, y0, x1, y1 = roi
        return self.frames.images[index, y0:y1, x0:x1].astype(np.float32)

    def plate(self, things: Sequence[TrackedThing]) -> Plate:
        """What lies behind some things."""
        others = [thing for thing in self.things if all(thing is not one for one in things)]
        return Plate(
            self.frames.images, self.motion, things, self.implementation, passers=others, behind=self.things.behind
        )

    def clip(self, x0: float, y0: float, x1: float, y1: float) -> Roi:
        """The whole-pixel region round a box, within the frame and at least 8 x 8."""
        height, width = self.size_hw
        left, top = min(max(0, int(np.floor(x0))), width - 8), min(max(0, int(np.floor(y0))), height - 8)
        return left, top, max(left + 8, min(width, int(np.ceil(x1)))), max(top + 8, min(height, int(np.ceil(y1))))

    def around(self, thing: TrackedThing, index: int, pad_px: float) -> Roi:
        """The region round a thing in a frame."""
        x0, y0, x1, y1 = thing.box_px(index)
        return self.clip(x0 - pad_px, y0 - pad_px, x1 + pad_px, y1 + pad_px)

    def own_velocity(self, thing: TrackedThing, index: int) -> npt.NDArray[np.float64]:
        """The thing's motion against the background at a frame, pixels a frame (x, y), over up to four frames."""
        before, after = max(thing.first, index - 2), min(thing.last, index + 2)
        if after == before:
            return np.zeros(2)
        carried = self.motion.between(before, after) @ np.append(thing.centres[before], 1.0)
        return np.asarray((thing.centres[after] - carried[:2]) / (after - before), dtype=np.float64)

    def seconds(self, index: int) -> float:
        """The time of a frame since the start of the trace."""
        return float(self.frames.pts_seconds[index] - self.frames.pts_seconds[self.start])


# ── lifting things and putting them down ────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Placement:
    """A thing, as it looks in frame ``source``, painted elsewhere: ``transform`` maps full pixels there to here."""

    thing: TrackedThing
    source: int
    transform: Transform  # (3, 3)
    opacity: float = 1.0


def layer_matte(shot: Shot, thing: TrackedThing, index: int, roi: Roi) -> Floats:
    """The thing's matte in ``roi``, ``(h, w)`` in [0, 1], with the rim of the hole that the plate leaves.

    At the hole's edge it is about a half.
    """
    grown = thing.matte(index, roi, grown=True)
    return feather(np.clip((grown - 0.1) / 0.4, 0, 1).astype(np.float32), 0.7 * shot.px)


def place(shot: Shot, placed: Placement, roi: Roi) -> tuple[Floats, Floats]:
    """A placed thing within ``roi``: colours ``(h, w, 3)`` float32 grey levels, and alpha ``(h, w)`` in [0, 1]."""
    source = shot.around(placed.thing, placed.source, 4 * shot.px)
    colours, matte = shot.patch(placed.source, source), layer_matte(shot, placed.thing, placed.source, source)
    matrix = placed.transform[:2].copy()
    matrix[:, 2] += matrix[:, :2] @ np.array(source[:2], np.float64) - np.array(roi[:2], np.float64)
    size = (roi[2] - roi[0], roi[3] - roi[1])
    smooth = cv2.INTER_LINEAR if shot.implementation == "first" else cv2.INTER_CUBIC
    image = cv2.warpAffine(colours, matrix, size, flags=smooth, borderMode=cv2.BORDER_REPLICATE)
    alpha = cv2.warpAffine(matte, matrix, size, flags=cv2.INTER_LINEAR)
    return np.clip(image, 0, 255).astype(np.float32), np.asarray(alpha * placed.opacity, dtype=np.float32)


def placed_box(shot: Shot, placed: Placement) -> tuple[float, float, float, float]:
    """Where a placed thing lies, pixels; parts may lie outside the frame."""
    x0, y0, x1, y1 = placed.thing.box_px(placed.source)
    corners = np.array([[x0, y0, 1], [x1, y0, 1], [x0, y1, 1], [x1, y1, 1]], np.float64).T
    moved = (placed.transform @ corners)[:2]
    return float(moved[0].min()), float(moved[1].min()), float(moved[0].max()), float(moved[1].max())


def region(shot: Shot, moment: EditFrame, lifted: Sequence[TrackedThing], placed: Sequence[Placement]) -> Roi:
    """The region that `compose` touches."""
    boxes = [thing.box_px(moment.index) for thing in lifted] + [placed_box(shot, one) for one in placed]
    pad = 8 * shot.px
    x0, y0 = min(b[0] for b in boxes) - pad, min(b[1] for b in boxes) - pad
    return shot.clip(x0, y0, max(b[2] for b in boxes) + pad, max(b[3] for b in boxes) + pad)


def compose(
    shot: Shot,
    moment: EditFrame,
    roi: Roi,
    *,
    plate: Plate,
    lifted: Sequence[TrackedThing],
    placed: Sequence[Placement],
) -> Picture:
    """``lifted`` things taken out of the frame (the plate shows instead), ``placed`` ones painted in.

    As a sham, the lifted things are put back where they were, and where ``placed`` ones would be the frame is
    resampled: the same pixels go through the same steps.
    """
    index = moment.index
    base = plate.patch(index, roi) if lifted else shot.patch(index, roi)
    alpha = feather(plate.hole(index, roi).astype(np.float32), 0.8) if lifted else np.zeros(base.shape[:2], np.float32)
    image = base
    if moment.sham:
        for thing in lifted:
            back = Placement(thing, index, np.eye(3))
            image = over(image, *_softened(place(shot, back, roi)))
    for one in placed:
        colours, matte = place(shot, one, roi)
        alpha = np.maximum(alpha, matte)
        image = over(image, resampled(image), matte) if moment.sham else over(image, colours, matte)
    return Picture(image, alpha)


def _softened(layer: tuple[Floats, Floats]) -> tuple[Floats, Floats]:
    return resampled(layer[0]), layer[1]


def shift(offset: npt.NDArray[np.float64] | tuple[float, float]) -> Transform:
    """A translation, (3, 3)."""
    return np.array([[1, 0, offset[0]], [0, 1, offset[1]], [0, 0, 1]], dtype=np.float64)


def about(centre: npt.NDArray[np.float64], *, scale: float = 1.0, mirror: bool = False) -> Transform:
    """A scaling (and mirroring left to right) round a point, (3, 3)."""
    wide = -scale if mirror else scale
    return np.array(
        [[wide, 0, centre[0] * (1 - wide)], [0, scale, centre[1] * (1 - scale)], [0, 0, 1]], dtype=np.float64
    )


Planner: TypeAlias = Callable[[Shot, TrackedThing, np.random.Generator], Edit]


@dataclass(frozen=True)
class CategoryEdit:
    """How a category is put into footage: the last name of its file, which is called after it.

    ``wants`` says what it acts on. ``least_noticed`` is the visible change that its trace must have, in just-noticeable
    differences: the root mean square over its box.
    """

    plan: Planner
    wants: Literal["moving", "still", "any"] = "any"
    least_noticed: float = 2.5
