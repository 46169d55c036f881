"""Object Splitting: one thing becomes two."""

from __future__ import annotations

from typing import Final

import numpy as np

from deeptrace.errors import InjectionError
from deeptrace.inject.clean import along_edge, require_background
from deeptrace.inject.object_trajectory import roomier
from deeptrace.inject.shot import CategoryEdit, Edit, EditFrame, Picture, Placement, Shot, compose, region, shift
from deeptrace.inject.things import Roi, TrackedThing


def object_splitting(shot: Shot, thing: TrackedThing, rng: np.random.Generator) -> Edit:
    """A second one comes out of the object and parts from it, to the side, until they are two.

    They end 0.85 to 1.2 of its width apart, by level. Either the object keeps its path and its double leaves it, or the
    two part evenly and the background shows between them.
    """
    x0, _, x1, _ = thing.box_px(shot.start)
    wide, width = x1 - x0, shot.size_hw[1]
    if along_edge(shot, thing)[0] == 0 or wide > 0.4 * width:
        raise InjectionError("NO_ROOM", "no place beside the object for its double")
    way = roomier(shot, thing, np.array([1.0, 0.0]), wide)
    even = bool(rng.uniform() < 0.4)
    seconds = float(rng.uniform(0.4, 1.2))
    plate = shot.plate([thing])
    if even:
        require_background(shot, plate, thing)

    def placed(moment: EditFrame) -> list[Placement]:
        away = way * wide * (0.85 + 0.35 * moment.level) * min(1.0, 0.25 + moment.since_seconds / seconds)
        if even:
            halves = [
                Placement(thing, moment.index, shift(away * 0.5)),
                Placement(thing, moment.index, shift(away * -0.5)),
            ]
            return halves
        return [Placement(thing, moment.index, shift(away))]

    def roi(moment: EditFrame) -> Roi:
        return region(shot, moment, [thing], placed(moment))

    def paint(moment: EditFrame, where: Roi) -> Picture:
        lifted = [thing] if even else []
        return compose(shot, moment, where, plate=plate, lifted=lifted, placed=placed(moment))

    return Edit(thing, roi, paint, "splits into two that drift apart", {"even": even, "parting_seconds": seconds})


CATEGORY_EDIT: Final = CategoryEdit(object_splitting)
