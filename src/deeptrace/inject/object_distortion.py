"""Object Distortion: an object's shape bends, bulges or melts as no body of its kind does."""

from __future__ import annotations

from typing import Final

import numpy as np

from deeptrace.inject.blend import feather, over, resampled
from deeptrace.inject.shot import CategoryEdit, Edit, EditFrame, Picture, Shot, layer_matte
from deeptrace.inject.things import Roi, TrackedThing
from deeptrace.inject.warp import Bend, offsets_in, pull

_SAYS = {
    "bend": "bends like rubber",
    "bulge": "swells and shrinks as if it were soft",
    "melt": "sags as if it were melting",
    "ripple": "ripples as if seen through water",
}


def object_distortion(shot: Shot, thing: TrackedThing, rng: np.random.Generator) -> Edit:
    """The object bends, bulges, sags or ripples, moving with it, over a picture of what lies behind it.

    At level 1 its parts are displaced by about two fifths of its size. The second implementation displaces by a random
    net of control points instead of a formula.
    """
    bend = Bend.draw(rng, shot.implementation)
    plate = shot.plate([thing])
    reach = 0.85

    def roi(moment: EditFrame) -> Roi:
        return shot.around(thing, moment.index, 0.6 * reach * float(thing.sizes[moment.index]) + 8 * shot.px)

    def paint(moment: EditFrame, where: Roi) -> Picture:
        index = moment.index
        picture, matte = shot.patch(index, where), layer_matte(shot, thing, index, where)
        offsets = offsets_in(bend, thing, where, moment, reach=reach)
        hole = plate.hole(index, where).astype(np.float32)
        warped_matte = pull(matte, offsets, shot.implementation)
        # What shows is the object's old and new outline.
        alpha = feather(np.maximum(hole, (warped_matte > 0.05).astype(np.float32)), 0.8 * shot.px)
        if moment.sham:
            image = over(plate.patch(index, where), resampled(picture), matte)
        else:
            image = over(plate.patch(index, where), pull(picture, offsets, shot.implementation), warped_matte)
        return Picture(image, alpha)

    return Edit(thing, roi, paint, _SAYS[bend.kind], bend.params())


CATEGORY_EDIT: Final = CategoryEdit(
    object_distortion, least_noticed=1.6
)  # most of the box may stay as it is: the outline moves
