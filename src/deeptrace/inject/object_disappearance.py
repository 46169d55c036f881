"""Object Disappearance: a thing in plain view is gone from one moment to the next."""

from __future__ import annotations

from typing import Final

import numpy as np

from deeptrace.errors import RecordError
from deeptrace.inject.clean import require_background
from deeptrace.inject.pair import InjectedPair, direction_words
from deeptrace.inject.scene import Scene
from deeptrace.inject.shot import CategoryEdit, Edit, EditFrame, Picture, Placement, Shot, compose, region, shift
from deeptrace.inject.things import Roi, TrackedThing
from deeptrace.pages.words import place_words
from deeptrace.records import KeyBox, Trace, check_number

# A person sees a fade of half a second as slow; at strength 0 the object would take that long.
_LONGEST_FADE_SECONDS = 0.5


def object_disappearance(scene: Scene, *, strength: float = 1.0) -> InjectedPair:
    """The scene twice: as it is (``clean``), and with its target vanishing at ``scene.onset_seconds`` (``fake``).

    At strength s in (0, 1] the target fades, from the onset on and over (1 - s) * 0.5 s, to a share of 1 - s of its
    opacity; at 1 it is gone at once.

    The trace's onset is the time of the first frame in which something is missing, its box the one the target would
    have in that frame, its offset the moment the target would have left the frame, or the end of the video. The track
    follows where the target would be, one key a frame.

    Raises:
        RecordError: strength is not in (0, 1].
    """
    strength = check_number(strength, "strength", low=0.0, high=1.0, above=0.0)
    name, onset = scene.target, scene.onset_seconds
    fade_seconds = (1.0 - strength) * _LONGEST_FADE_SECONDS
    step = 1.0 / scene.fps

    def opacity(thing: str, time: float) -> float:
        if thing != name or time < onset:
            return 1.0
        # The onset frame itself already misses one frame's worth.
        done = 1.0 if fade_seconds < step else min(1.0, (time - onset + step) / fade_seconds)
        return 1.0 - strength * done

    times = [float(t) for t in scene.pts_seconds if t >= onset]
    keys: list[KeyBox] = []
    for time in times:
        box = scene.box_at(name, time)
        if box is None:
            break
        keys.append(KeyBox(time, box))
    if not keys or keys[0].bbox_xyxy is None:
        raise RecordError("onset_seconds", f"the target is not in the frame at {onset:g} s")
    offset = times[len(keys)] if len(keys) < len(times) else max(scene.duration_seconds, times[-1] + step)
    trace = Trace(
        bbox_xyxy=keys[0].bbox_xyxy,
        onset_seconds=keys[0].time_seconds,
        offset_seconds=offset,
        categories=("Object Disappearance",),
        explanation=_explain(scene, strength),
        track=tuple(keys),
    )
    params = {
        "category": "Object Disappearance",
        "strength": strength,
        "seed": scene.seed,
        "size_hw": list(scene.size_hw),
        "fps": scene.fps,
        "duration_seconds": scene.duration_seconds,
        "onset_seconds": onset,
    }
    return InjectedPair("Object Disappearance", scene.render(opacity), scene.render(), trace, params)


def _explain(scene: Scene, strength: float) -> str:
    """For example: "A red ball moving right at the centre vanishes in mid-air at 2.0 s."."""
    thing, onset = scene.thing(scene.target), scene.onset_seconds
    box = scene.box_at(scene.target, onset)
    assert box is not None
    # Up to a sixth of the frame's height is small, from a quarter on large.
    share = 2 * thing.radius_px / scene.size_hw[0]
    size = "small " if share < 1 / 6 else "large " if share > 1 / 4 else ""
    article = "An" if not size and thing.look.colour[0] in "aeiou" else "A"
    lifted = thing.ground_y_px - (thing.path(onset)[1] + thing.radius_px) > 0.3 * thing.radius_px
    verb = "vanishes" if strength == 1.0 else "fades away" if strength >= 0.8 else "turns into a ghost of itself"
    return (
        f"{article} {size}{thing.look.colour} {thing.look.shape} {direction_words(thing.velocity(onset))} "
        f"{place_words(box)} {verb} {'in mid-air' if lifted else 'on the floor'} at {onset:.1f} s."
    )


# ── in footage ──────────────────────────────────────────────────────────────────────────────────────────────────────


def disappearance(shot: Shot, thing: TrackedThing, rng: np.random.Generator) -> Edit:
    """The object is gone from one moment to the next, or fades: what lies behind it shows in its place.

    Of the object's opacity the level's share of 1.4 is lost, all at most.
    """
    del rng  # nothing to choose
    plate = shot.plate([thing])
    require_background(shot, plate, thing)

    def kept(moment: EditFrame) -> list[Placement]:
        share = 1.0 - min(1.0, 1.4 * moment.level)
        return [Placement(thing, moment.index, shift((0.0, 0.0)), share)] if share > 0 else []

    def roi(moment: EditFrame) -> Roi:
        return region(shot, moment, [thing], [])

    def paint(moment: EditFrame, where: Roi) -> Picture:
        return compose(shot, moment, where, plate=plate, lifted=[thing], placed=[] if moment.sham else kept(moment))

    return Edit(thing, roi, paint, "vanishes while in plain view", {})


CATEGORY_EDIT: Final = CategoryEdit(disappearance)
