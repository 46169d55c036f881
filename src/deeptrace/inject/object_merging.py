"""Object Merging: two things fuse into one."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from deeptrace.errors import InjectionError
from deeptrace.inject.clean import along_edge, require_background
from deeptrace.inject.shot import CategoryEdit, Edit, EditFrame, Picture, Placement, Shot, about, compose, region, shift
from deeptrace.inject.things import Roi, TrackedThing

# Gap of the boxes, in mean sizes, across which two things can still be seen to be drawn together.
_FARTHEST = 4.0


def object_merging(shot: Shot, thing: TrackedThing, rng: np.random.Generator) -> Edit:
    """The object is drawn to another one near it and sinks into it, until one mass of both is left.

    Where they meet, the object takes the other's size and half of its look: one outline, two textures. The level sets
    how soon that is: at 1 within 0.4 to 0.9 s, at a half in twice the time. They always meet.
    """
    other = _neighbour(shot, thing)
    seconds = float(rng.uniform(0.4, 0.9))
    plate = shot.plate([thing])
    require_background(shot, plate, thing)

    def placed(moment: EditFrame) -> Placement:
        joined = min(1.0, 0.25 + moment.level * moment.since_seconds / seconds)
        index = moment.index
        gap: npt.NDArray[np.float64] = other.centres[index] - thing.centres[index]
        size = (float(other.sizes[index]) / float(thing.sizes[index])) ** joined
        look = about(thing.centres[index], scale=float(np.clip(size, 0.6, 1.6)))
        return Placement(thing, index, shift(gap * joined) @ look, 1.0 - 0.4 * max(0.0, joined - 0.5) * 2)

    def roi(moment: EditFrame) -> Roi:
        return region(shot, moment, [thing], [placed(moment)])

    def paint(moment: EditFrame, where: Roi) -> Picture:
        return compose(shot, moment, where, plate=plate, lifted=[thing], placed=[placed(moment)])

    return Edit(thing, roi, paint, "is drawn to the one beside it and melts into it", {"joining_seconds": seconds})


def _neighbour(shot: Shot, thing: TrackedThing) -> TrackedThing:
    """The nearest other thing that is there as long as the trace is, apart from this one at its start."""
    near: list[tuple[float, int]] = []
    for k, other in enumerate(shot.things):
        if other is thing or not other.visible[shot.start : shot.stop].all():
            continue
        mean = (float(thing.sizes[shot.start]) + float(other.sizes[shot.start])) / 2
        gap = other.centres[shot.start] - thing.centres[shot.start]
        if float(np.hypot(*gap)) - mean < _FARTHEST * mean and _reachable(gap, mean, along_edge(shot, thing)):
            near.append((float(np.hypot(*gap)), k))
    if not near:
        raise InjectionError("NO_OBJECT", "no second object near enough to fuse with")
    return shot.things[min(near)[1]]


def _reachable(gap: npt.NDArray[np.float64], size: float, free: npt.NDArray[np.float64]) -> bool:
    """A thing that the frame cuts off moves along that edge only: what is left of the gap must be small."""
    return float(np.abs(gap * (1 - free)).max()) < 0.5 * size


CATEGORY_EDIT: Final = CategoryEdit(object_merging)
