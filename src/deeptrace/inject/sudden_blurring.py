"""Sudden Blurring: an object, or a part of it, loses its definition from one moment to the next."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from deeptrace.inject.blend import feather, over, resampled, widen
from deeptrace.inject.footage import Floats, grid
from deeptrace.inject.shot import CategoryEdit, Edit, EditFrame, Picture, Shot
from deeptrace.inject.things import Roi, TrackedThing


def sudden_blurring(shot: Shot, thing: TrackedThing, rng: np.random.Generator) -> Edit:
    """The object, or one half of it, is smeared while the rest of the picture stays sharp.

    At level 1 the blur's deviation is a fifth of the object's size. The first implementation is a Gaussian blur, the
    second a loss of resolution (shrink and enlarge) followed by a median.
    """
    part = float(rng.uniform()) < 0.4
    angle = float(rng.uniform(0, 2 * np.pi))

    def roi(moment: EditFrame) -> Roi:
        return shot.around(thing, moment.index, 0.25 * float(thing.sizes[moment.index]) + 6 * shot.px)

    def paint(moment: EditFrame, where: Roi) -> Picture:
        index, size = moment.index, float(thing.sizes[moment.index])
        picture = shot.patch(index, where)
        alpha = feather(widen(thing.matte(index, where), 1.5 * shot.px), 1.5 * shot.px)
        if part:
            xs, ys = grid(*alpha.shape)
            cx, cy = thing.centres[index]
            along = (xs + where[0] - cx) * np.cos(angle) + (ys + where[1] - cy) * np.sin(angle)
            alpha = alpha * np.clip(along / (0.12 * size) + 0.5, 0, 1).astype(np.float32)
        sigma = 0.0 if moment.sham else max(0.2 * size, 2.5 * shot.px) * (0.3 + 0.7 * moment.level)
        blurred = resampled(picture) if sigma < 0.3 else _blur(shot, picture, sigma)
        return Picture(over(picture, blurred, alpha), alpha)

    says = "is suddenly blurred on one side" if part else "is suddenly blurred, while the rest stays sharp"
    return Edit(thing, roi, paint, says, {"part": part})


def _blur(shot: Shot, picture: Floats, sigma: float) -> Floats:
    if shot.implementation == "first":
        return np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma), np.float32)
    height, width = picture.shape[:2]
    size = (max(2, round(width / (1.8 * sigma))), max(2, round(height / (1.8 * sigma))))
    coarse = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    back = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(cv2.medianBlur(np.clip(back, 0, 255).astype(np.float32), 5), np.float32)


CATEGORY_EDIT: Final = CategoryEdit(sudden_blurring, least_noticed=1.5)
