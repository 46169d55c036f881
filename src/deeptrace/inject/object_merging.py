"""Object Merging: two things fuse into one."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from deeptrace.errors import InjectionError
from deeptrace.inject.shot import Edit, Moment, Picture, Placed, Shot, compose, region, shift
from deeptrace.inject.things import Roi, TrackedThing


def object_merging(shot: Shot, thing: TrackedThing, rng: np.random.Generator) -> Edit:
    """The object is drawn to another one near it and sinks into it, until one mass of both is left.

    At level 1 their centres come to a quarter of their first distance, the one half seen through the other.
    """
    other = _neighbour(shot, thing)
    seconds = float(rng.uniform(0.3, 0.9))
    plate = shot.plate([thing])

    def placed(moment: Moment) -> Placed:
        gone = 0.75 * moment.level * min(1.0, 0.3 + moment.since_seconds / seconds)
        gap: npt.NDArray[np.float64] = other.centres[moment.index] - thing.centres[moment.index]
        return Placed(thing, moment.index, shift(gap * gone), 1.0 - 0.35 * gone)

    def roi(moment: Moment) -> Roi:
        return region(shot, moment, [thing], [placed(moment)])

    def paint(moment: Moment, where: Roi) -> Picture:
        return compose(shot, moment, where, plate=plate, lifted=[thing], placed=[placed(moment)])

    return Edit(thing, roi, paint, "melts into the one beside it", {"joining_seconds": seconds})


def _neighbour(shot: Shot, thing: TrackedThing) -> TrackedThing:
    """The nearest other thing that is visible as long as the trace is."""
    near: list[tuple[float, int]] = []
    for k, other in enumerate(shot.things):
        if other is thing or not other.visible[shot.start : shot.stop].all():
            continue
        gap = float(np.hypot(*(other.centres[shot.start] - thing.centres[shot.start])))
        if gap < 3.5 * (float(thing.sizes[shot.start]) + float(other.sizes[shot.start])) / 2:
            near.append((gap, k))
    if not near:
        raise InjectionError("NO_OBJECT", "no second object near enough to fuse with")
    return shot.things[min(near)[1]]
