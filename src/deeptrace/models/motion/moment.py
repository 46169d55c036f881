"""One moment of a shot: what stands out from the background that follows, and where else it can be found.

`_vanish` asks the questions; here are the moment, its things and the search for a thing in another frame.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from deeptrace.models.motion.flow import Image, SteadyShot, beyond, median_of

Mask = npt.NDArray[np.uint8]

LEVELS = 14  # grey levels beyond the background that make a pixel foreground; grain and coding noise stay below
RESEMBLES = 0.25  # matching error up to which plain background counts as the thing
_FUTURE = 8  # samples over which the background after the moment is taken: one second
_COARSE = 16  # pixels from which on a thing is searched for coarsely first


class ForegroundPiece(NamedTuple):
    """A connected piece of foreground."""

    x: int
    y: int
    w: int
    h: int
    area: int
    mask: Mask  # (h, w) 0 or 1


class BestFit(NamedTuple):
    """Where a thing fits best. ``error``: squared difference there over that to plain background; 0 = the same."""

    error: float
    x: int
    y: int


class ShotMoment:
    """The frames around one moment, all in the coordinates of the last sample before it."""

    def __init__(self, shot: SteadyShot, index: int) -> None:
        self.shot, self.index, self.here = shot, index, index - 1
        last = min(len(shot) - 1, index + _FUTURE)
        spread = np.unique(np.linspace(index, last, min(5, last - index + 1)).round().astype(int))
        views = [shot.seen_from(self.here, int(sample)) for sample in spread]
        self.background = median_of([image for image, _ in views])
        self.valid: npt.NDArray[np.bool_] = np.ones(self.background.shape[:2], bool)
        for _, inside in views:
            if inside is not None:
                self.valid &= inside
        self.last_seen = shot.images[self.here]
        self.after = views[0][0]
        self._frames: dict[int, Image] = {self.here: self.last_seen, index: self.after}
        self._soft: dict[int, npt.NDArray[np.float32]] = {}
        self._foregrounds: dict[int, Mask] = {}
        self._soft_background: npt.NDArray[np.float32] | None = None

    def frame(self, index: int) -> Image:
        """That sample in the common coordinates, ``(H, W, 3)`` uint8."""
        if index not in self._frames:
            self._frames[index] = self.shot.seen_from(self.here, index)[0]
        return self._frames[index]

    def soft(self, index: int | None) -> npt.NDArray[np.float32]:
        """That sample (None: the background), blurred a little, so that grain and half pixels do not count."""
        if index is None:
            if self._soft_background is None:
                self._soft_background = _soften(self.background)
            return self._soft_background
        if index not in self._soft:
            self._soft[index] = _soften(self.frame(index))
        return self._soft[index]

    def foreground(self, index: int) -> Mask:
        """Where that sample differs from the later background, ``(h, w)`` of 0 and 1."""
        if index not in self._foregrounds:
            self._foregrounds[index] = self._foreground(index)
        return self._foregrounds[index]

    def _foreground(self, index: int) -> Mask:
        image = same_light(self.frame(index), self.background)
        mask = (beyond(image, self.background) > LEVELS) & self.valid
        opened = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
        return np.asarray(cv2.morphologyEx(opened, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8)), dtype=np.uint8)


def _soften(image: Image) -> npt.NDArray[np.float32]:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), 1.5), dtype=np.float32)


def same_light(image: Image, reference: Image) -> Image:
    """The image with its exposure brought to that of the reference, by the median ratio of every 16th pixel."""
    a = image[::4, ::4].astype(np.float32) + 8.0
    b = reference[::4, ::4].astype(np.float32) + 8.0
    gain = float(np.median(b / a))
    if abs(gain - 1.0) < 0.02:
        return image
    return np.asarray(np.clip((image.astype(np.float32) + 8.0) * gain - 8.0, 0, 255), dtype=np.uint8)


def things_in(mask: Mask) -> list[ForegroundPiece]:
    """The connected pieces of a mask ``(H, W)`` uint8, 1 inside; places and sizes in pixels."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    things = []
    for i in range(1, count):
        x, y, w, h, area = (int(number) for number in stats[i])
        things.append(ForegroundPiece(x, y, w, h, area, (labels[y : y + h, x : x + w] == i).astype(np.uint8)))
    return things


def touches_edge(thing: ForegroundPiece, shape: tuple[int, ...]) -> bool:
    """True for a thing within two pixels of the frame's edge."""
    return thing.x < 2 or thing.y < 2 or thing.x + thing.w > shape[1] - 2 or thing.y + thing.h > shape[0] - 2


def around(thing: ForegroundPiece, reach: int, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Rows and columns of its box, larger by ``reach`` on each side, inside the frame."""
    return (
        slice(max(0, thing.y - reach), min(shape[0], thing.y + thing.h + reach)),
        slice(max(0, thing.x - reach), min(shape[1], thing.x + thing.w + reach)),
    )


def match(
    moment: ShotMoment,
    thing: ForegroundPiece,
    index: int,
    at: tuple[int, int],
    reach: int,
    *,
    resembles: float = RESEMBLES,
) -> BestFit:
    """The best fit of the thing (as last seen) in that sample, within ``reach`` pixels of ``at``.

    Background may look like the thing by chance: where nothing stands out, only an error up to ``resembles`` counts.
    (Something must count there: a thing that has come to rest is part of the later background.)
    """
    height, width = moment.background.shape[:2]
    x0, y0 = max(0, min(at[0] - reach, width - thing.w)), max(0, min(at[1] - reach, height - thing.h))
    x1 = max(x0 + thing.w, min(width, at[0] + thing.w + reach))
    y1 = max(y0 + thing.h, min(height, at[1] + thing.h + reach))
    if min(thing.w, thing.h) >= _COARSE:
        # Every second pixel of blurred images finds the place in a sixteenth of the time, every pixel then refines it.
        rough = _search(moment, thing, index, (x0, y0, x1, y1), resembles, step=2)
        x0, y0 = max(x0, rough.x - 2), max(y0, rough.y - 2)
        x1, y1 = min(x1, rough.x + thing.w + 2), min(y1, rough.y + thing.h + 2)
    return _search(moment, thing, index, (x0, y0, x1, y1), resembles, step=1)


def _search(
    moment: ShotMoment,
    thing: ForegroundPiece,
    index: int,
    window: tuple[int, int, int, int],
    resembles: float,
    *,
    step: int,
) -> BestFit:
    """The best fit inside the window (x0, y0, x1, y1), looking at every ``step``-th pixel."""
    x0, y0, x1, y1 = window
    here = (slice(thing.y, thing.y + thing.h, step), slice(thing.x, thing.x + thing.w, step))
    there = (slice(y0, y1, step), slice(x0, x1, step))
    shape = np.ascontiguousarray(thing.mask[::step, ::step], dtype=np.float32)
    template, plain = np.ascontiguousarray(moment.soft(moment.here)[here]), moment.soft(None)[here]
    weight = np.repeat(shape[..., None], 3, axis=2)
    away = float((((template - plain) ** 2) * weight).sum())
    # Six grey levels of difference everywhere: grain must not make an error out of nothing.
    scale = max(away, 36.0 * float(weight.sum()), 1.0)
    image = np.ascontiguousarray(moment.soft(index)[there])
    errors = cv2.matchTemplate(image, template, cv2.TM_SQDIFF, mask=weight) / scale
    front = np.ascontiguousarray(moment.foreground(index)[there], dtype=np.float32)
    share = cv2.matchTemplate(front, shape, cv2.TM_CCORR) / max(float(shape.sum()), 1.0)
    errors = np.where((share < 0.5) & (errors > resembles), np.maximum(errors, 1.0), errors)
    y, x = np.unravel_index(int(errors.argmin()), errors.shape)
    return BestFit(max(0.0, float(errors[y, x])), x0 + step * int(x), y0 + step * int(y))
