"""Background Distortion: what lies round an object warps as it passes."""

from __future__ import annotations

from typing import Final

import numpy as np

from deeptrace.inject.blend import feather, over, resampled, widen
from deeptrace.inject.footage import Floats
from deeptrace.inject.shot import CategoryEdit, Edit, EditFrame, Picture, Shot, layer_matte
from deeptrace.inject.things import Roi, TrackedThing
from deeptrace.inject.warp import Bend, offsets_in, pull


def background_distortion(shot: Shot, thing: TrackedThing, rng: np.random.Generator) -> Edit:
    """The surroundings of the object bend and ripple round it, while the object itself stays whole.

    At level 1 they are displaced by up to 0.45 of its size, in a band 0.7 sizes wide.
    """
    bend = Bend.draw(rng, shot.implementation)
    plate = shot.plate([thing])
    band = 0.7

    def roi(moment: EditFrame) -> Roi:
        return shot.around(thing, moment.index, band * float(thing.sizes[moment.index]) + 8 * shot.px)

    def paint(moment: EditFrame, where: Roi) -> Picture:
        index, size = moment.index, float(thing.sizes[moment.index])
        picture, matte = shot.patch(index, where), layer_matte(shot, thing, index, where)
        near = widen((matte > 0.3).astype(np.float32), 0.5 * band * size)
        near = feather(near, 0.2 * band * size)
        edge = _edge_fade(near.shape, 6 * shot.px)
        offsets = offsets_in(bend, thing, where, moment, reach=0.9) * (near * edge)[..., None]
        behind = plate.patch(index, where)
        warped = resampled(behind) if moment.sham else pull(behind, offsets, shot.implementation)
        alpha = np.minimum(1, 2 * near) * edge
        image = over(over(picture, warped, alpha), picture, matte)
        return Picture(image, alpha * (1 - matte))

    return Edit(thing, roi, paint, "bends what lies round it: the background warps with it", bend.params())


def _edge_fade(shape: tuple[int, ...], width_px: float) -> Floats:
    """1 inside, falling to 0 at the region's own edge."""
    rows = np.minimum(np.arange(shape[0]), np.arange(shape[0])[::-1])
    columns = np.minimum(np.arange(shape[1]), np.arange(shape[1])[::-1])
    return np.clip(np.minimum(rows[:, None], columns[None, :]) / width_px, 0, 1).astype(np.float32)


CATEGORY_EDIT: Final = CategoryEdit(background_distortion, least_noticed=1.2)
