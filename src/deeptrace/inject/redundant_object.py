"""Redundant Object: one more of something appears where nothing was."""

from __future__ import annotations

from typing import Final

import numpy as np

from deeptrace.errors import InjectionError
from deeptrace.inject.clean import along_edge
from deeptrace.inject.shot import (
    CategoryEdit,
    Edit,
    EditFrame,
    Picture,
    Placement,
    Shot,
    about,
    compose,
    placed_box,
    region,
    shift,
)
from deeptrace.inject.things import Roi, TrackedThing


def redundant_object(shot: Shot, thing: TrackedThing, rng: np.random.Generator) -> Edit:
    """A copy of the object (smaller, larger or mirrored) comes into being beside it and moves as it does, or stays put.

    The copy's opacity is the level's share of 1.4, at most 1: it fades in while the trace grows.
    """
    scale, mirror = float(rng.uniform(0.75, 1.15)), bool(rng.uniform() < 0.5)
    free_x, free_y = along_edge(shot, thing)
    if not free_x:
        raise InjectionError("NO_ROOM", "the object is cut off at the side, and its copy would be too")
    scale = scale if free_y else 1.0  # what stands on the lower edge is cut off there, and so must its copy be
    stays = bool(rng.uniform() < 0.35)
    size, home = float(thing.sizes[shot.start]), thing.centres[shot.start]
    look = about(home, scale=scale, mirror=mirror)
    options = []
    height, width = shot.size_hw
    for angle in rng.permutation(np.arange(0, 2 * np.pi, np.pi / 8)):
        for share in (1.3, 1.8, 2.5):
            # Copies belong beside rather than above: what stands, stands on the same ground.
            away = np.array([np.cos(angle), 0.25 * free_y * np.sin(angle)]) * share * size
            x0, y0, x1, y1 = placed_box(shot, Placement(thing, shot.start, shift(away) @ look))
            inside = (min(x1, width) - max(x0, 0)) * (min(y1, height) - max(y0, 0)) / max((x1 - x0) * (y1 - y0), 1)
            apart = min(
                _apart((x0, y0, x1, y1), one.box_px(shot.start)) for one in shot.things if one.visible[shot.start]
            )
            if x0 < width and y0 < height and x1 > 0 and y1 > 0 and inside > 0.8:
                options.append((apart, inside, tuple(away)))
    if not options:
        raise InjectionError("NO_ROOM", "no place in the frame for a second one")
    free = [option for option in options if option[0] > 0.7] or [max(options)]
    away = np.array(free[int(rng.integers(len(free)))][2])
    plate = shot.plate([thing])

    def placed(moment: EditFrame) -> Placement:
        opacity = min(1.0, 1.4 * moment.level)
        if stays:
            carried = shot.motion.between(shot.start, moment.index)
            return Placement(thing, shot.start, carried @ shift(away) @ look, opacity)
        centred = about(thing.centres[moment.index], scale=scale, mirror=mirror)
        return Placement(thing, moment.index, shift(away) @ centred, opacity)

    def roi(moment: EditFrame) -> Roi:
        return region(shot, moment, [], [placed(moment)])

    def paint(moment: EditFrame, where: Roi) -> Picture:
        return compose(shot, moment, where, plate=plate, lifted=[], placed=[placed(moment)])

    says = "is there a second time: a copy of it appears " + ("and stands still" if stays else "beside it")
    return Edit(thing, roi, paint, says, {"copy_scale": scale, "mirrored": mirror, "stays": stays})


def _apart(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> float:
    """1 where two boxes do not touch, 0 where the smaller lies in the other."""
    wide, high = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(wide, 0) * max(high, 0)
    return 1.0 - shared / max(1.0, min((a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1])))


CATEGORY_EDIT: Final = CategoryEdit(redundant_object)
