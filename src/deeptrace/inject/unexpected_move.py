"""Unexpected Move: a thing that stands still moves by itself."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from deeptrace.inject.object_trajectory import moved_edit
from deeptrace.inject.shot import CategoryEdit, Edit, EditFrame, Shot
from deeptrace.inject.things import TrackedThing


def unexpected_move(shot: Shot, thing: TrackedThing, rng: np.random.Generator) -> Edit:
    """A still thing slides, hops or rocks with nothing touching it; the background shows where it stood.

    At level 1 it goes as far as its own size.
    """
    kind = ("slide", "hop", "rock")[int(rng.integers(3))]
    size = float(thing.sizes[shot.start])
    width = shot.size_hw[1]
    cx, _ = thing.centres[shot.start]
    side = 1.0 if cx < width / 2 else -1.0
    if abs(cx - width / 2) < 0.2 * width:
        side = float(rng.choice([-1.0, 1.0]))
    rate = float(rng.uniform(4.0, 8.0))
    pace = float(rng.uniform(0.5, 1.2))  # sizes a second

    def offset(moment: EditFrame) -> npt.NDArray[np.float64]:
        since, reach = moment.since_seconds, size * moment.level
        if kind == "slide":
            return np.array([side * reach * min(1.0, 0.12 + pace * since), 0.0])
        if kind == "hop":
            return np.array([0.2 * side * reach * min(1.0, since), -0.6 * reach * abs(np.sin(rate * since + 0.6))])
        return np.array([0.5 * reach * np.sin(rate * since + 0.9), 0.0])

    says = {
        "slide": "slides along by itself",
        "hop": "hops up and down by itself",
        "rock": "rocks to and fro by itself",
    }[kind]
    return moved_edit(shot, thing, offset, f"{says}, though nothing touches it", {"path": kind})


CATEGORY_EDIT: Final = CategoryEdit(unexpected_move, wants="still")
