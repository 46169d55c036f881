"""Object Splitting: one thing becomes two."""

from __future__ import annotations

import numpy as np

from deeptrace.inject.object_trajectory import _roomier
from deeptrace.inject.shot import Edit, Moment, Picture, Placed, Shot, compose, region, shift
from deeptrace.inject.things import Roi, TrackedThing


def object_splitting(shot: Shot, thing: TrackedThing, rng: np.random.Generator) -> Edit:
    """A second one comes out of the object and parts from it, to the side, until they are two.

    At level 1 they end 1.3 sizes apart. Either the object keeps its path and its double leaves it, or the two part
    evenly and the background shows between them.
    """
    size = float(thing.sizes[shot.start])
    tilt = float(rng.uniform(-0.4, 0.4))
    way = _roomier(shot, thing, np.array([np.cos(tilt), np.sin(tilt)]), size)
    even = bool(rng.uniform() < 0.5)
    seconds = float(rng.uniform(0.4, 1.2))
    plate = shot.plate([thing])

    def placed(moment: Moment) -> list[Placed]:
        away = way * 1.3 * size * moment.level * min(1.0, 0.25 + moment.since_seconds / seconds)
        if even:
            halves = [Placed(thing, moment.index, shift(away * 0.5)), Placed(thing, moment.index, shift(away * -0.5))]
            return halves
        return [Placed(thing, moment.index, shift(away))]

    def roi(moment: Moment) -> Roi:
        return region(shot, moment, [thing], placed(moment))

    def paint(moment: Moment, where: Roi) -> Picture:
        lifted = [thing] if even else []
        return compose(shot, moment, where, plate=plate, lifted=lifted, placed=placed(moment))

    return Edit(thing, roi, paint, "splits into two that drift apart", {"even": even, "parting_seconds": seconds})
