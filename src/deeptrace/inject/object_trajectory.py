"""Object Trajectory: a moving object leaves its natural path."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from deeptrace.errors import InjectionError
from deeptrace.inject.clean import along_edge, require_background
from deeptrace.inject.shot import CategoryEdit, Edit, EditFrame, Picture, Placement, Shot, compose, region, shift
from deeptrace.inject.things import Roi, TrackedThing

_SAYS = {
    "jump": "jumps to another place from one moment to the next",
    "curve": "curves away from its path for no reason",
    "stop": "stops dead in mid-motion and slides with the view",
    "reverse": "turns round and goes back the way it came",
    "zigzag": "moves in a zigzag that nothing explains",
}


def object_trajectory(shot: Shot, thing: TrackedThing, rng: np.random.Generator) -> Edit:
    """The object's path deviates (a jump, a curve, a stop, a way back, a zigzag); behind it, the background shows.

    At level 1 it is up to 1.3 of its size away from its path; a stop or a way back is followed in full.
    """
    velocity = shot.own_velocity(thing, shot.start)
    pace = float(np.hypot(*velocity))
    travelled = _travelled(shot, thing)
    size = float(thing.sizes[shot.start])
    kinds = ["jump", "curve", "zigzag"] + (["stop", "reverse"] if np.hypot(*travelled[-1]) > 0.5 * size else [])
    kind = kinds[int(rng.integers(len(kinds)))]
    along = velocity / pace if pace > 0.2 else np.array([1.0, 0.0])
    across = np.array([-along[1], along[0]])
    way = roomier(shot, thing, across if kind in ("curve", "zigzag") else along, size)
    rate = float(rng.uniform(5.0, 9.0))

    def offset(moment: EditFrame) -> npt.NDArray[np.float64]:
        since = moment.since_seconds
        reach = size * (0.5 + 0.8 * moment.level)
        if kind == "jump":
            return np.asarray(way * reach)
        if kind == "curve":
            return np.asarray(way * reach * min(1.0, 0.15 + (since / 0.8) ** 1.5))
        if kind == "zigzag":
            return np.asarray(way * reach * 0.6 * np.sign(np.sin(rate * since + 1.0)))
        factor = 1.0 if kind == "stop" else 2.0
        return np.asarray(-factor * moment.level * travelled[moment.index - shot.start])

    return moved_edit(shot, thing, offset, _SAYS[kind], {"path": kind})


def moved_edit(shot: Shot, thing: TrackedThing, offset: object, says: str, params: dict[str, object]) -> Edit:
    """The edit that lifts a thing and puts it down ``offset(moment)`` pixels away."""
    plate = shot.plate([thing])
    require_background(shot, plate, thing)
    assert callable(offset)

    def placed(moment: EditFrame) -> Placement:
        return Placement(thing, moment.index, shift(_kept_in(shot, thing, moment.index, offset(moment))))

    def roi(moment: EditFrame) -> Roi:
        return region(shot, moment, [thing], [placed(moment)])

    def paint(moment: EditFrame, where: Roi) -> Picture:
        return compose(shot, moment, where, plate=plate, lifted=[thing], placed=[placed(moment)])

    return Edit(thing, roi, paint, says, params)


def _kept_in(shot: Shot, thing: TrackedThing, index: int, offset: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The offset, shortened so that at least half of the thing stays in the frame."""
    height, width = shot.size_hw
    cx, cy = thing.centres[index]
    low, high = np.array([-cx, -cy]), np.array([width - 1 - cx, height - 1 - cy])
    inside = np.clip(offset, np.minimum(low, 0), np.maximum(high, 0))
    return np.asarray(inside * along_edge(shot, thing))


def _travelled(shot: Shot, thing: TrackedThing) -> npt.NDArray[np.float64]:
    """How far the thing has gone against the background since the start, per frame of the trace, (n, 2) pixels."""
    home = np.append(thing.centres[shot.start], 1.0)
    return np.stack(
        [thing.centres[t] - (shot.motion.between(shot.start, t) @ home)[:2] for t in range(shot.start, shot.stop)]
    )


def roomier(shot: Shot, thing: TrackedThing, way: npt.NDArray[np.float64], size: float) -> npt.NDArray[np.float64]:
    """``way`` ``(2,)`` or its opposite, whichever keeps the thing further from the frame's edge.

    ``size`` times it is how far the thing goes, in pixels.
    """
    height, width = shot.size_hw

    def room(sign: int) -> float:
        x, y = thing.centres[shot.start] + sign * way * size
        return float(min(x, width - x, y, height - y))

    if max(room(1), room(-1)) < 0:
        raise InjectionError("NO_ROOM", "the object has no place to go within the frame")
    return way if room(1) >= room(-1) else -way


CATEGORY_EDIT: Final = CategoryEdit(object_trajectory, wants="moving")
