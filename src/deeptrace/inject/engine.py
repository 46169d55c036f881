"""One trace put into footage: frames and a category in, the fake, its sham and the truth out. See `inject`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, TypeAlias, get_args

import cv2
import numpy as np
import numpy.typing as npt

from deeptrace.categories import Category
from deeptrace.errors import InjectionError, RecordError
from deeptrace.inject.background_distortion import background_distortion
from deeptrace.inject.blend import Implementation, blend, regrain, to_pixels
from deeptrace.inject.describe import thing_words
from deeptrace.inject.disappearance import disappearance
from deeptrace.inject.object_distortion import object_distortion
from deeptrace.inject.object_merging import object_merging
from deeptrace.inject.object_splitting import object_splitting
from deeptrace.inject.object_trajectory import object_trajectory
from deeptrace.inject.redundant_object import redundant_object
from deeptrace.inject.shot import Edit, Moment, Shot
from deeptrace.inject.sudden_blurring import sudden_blurring
from deeptrace.inject.things import Things, TrackedThing, find_things
from deeptrace.inject.unexpected_move import unexpected_move
from deeptrace.records import Box, Frames, KeyBox, Trace, check_number

IMPLEMENTATIONS: Final[tuple[Implementation, ...]] = get_args(Implementation)
"""``second`` uses another inpainting, another blend and another warp; it is never used to train."""

Planner: TypeAlias = Callable[[Shot, TrackedThing, np.random.Generator], Edit]
_Wants = Literal["moving", "still", "any"]

EDITS: Final[dict[Category, tuple[Planner, _Wants]]] = {
    "Object Distortion": (object_distortion, "any"),
    "Sudden Blurring": (sudden_blurring, "any"),
    "Object Trajectory": (object_trajectory, "moving"),
    "Redundant Object": (redundant_object, "any"),
    "Object Merging": (object_merging, "any"),
    "Object Splitting": (object_splitting, "any"),
    "Background Distortion": (background_distortion, "any"),
    "Object Disappearance": (disappearance, "any"),
    "Unexpected Move": (unexpected_move, "still"),
}

# A change counts as visible from this many grey levels on (after a blur of one pixel), over at least so much of the
# frame; the mean change inside the box, over the frames of the trace, must reach the floor.
VISIBLE_LEVELS: Final = 8.0
FLOOR_LEVELS: Final = 3.0
_SMALLEST_SHARE = 0.0006
_FEWEST_FRAMES = 3
_MOST_TRIES = 4


@dataclass(frozen=True)
class Injection:
    """A fake, its sham and its clean twin, with the truth. All three have the same times; ``clean`` is the input.

    ``mask`` is ``(T, H, W)`` uint8: where the trace shows, 0 outside ``[onset, offset)``. Outside that interval the
    pixels of all three are identical. ``params`` holds JSON values only.
    """

    category: Category
    fake: Frames
    sham: Frames
    clean: Frames
    trace: Trace
    mask: npt.NDArray[np.uint8]
    params: Mapping[str, Any]


def inject(
    frames: Frames,
    category: Category,
    *,
    seed: int,
    strength: float = 0.7,
    implementation: Implementation = "first",
    onset_seconds: float | None = None,
    offset_seconds: float | None = None,
    things: Things | None = None,
) -> Injection:
    """Put one trace of ``category`` into footage.

    It acts on one of ``things`` (default: ``find_things(frames, seed)``). ``strength`` in (0, 1] scales it; strengths
    are not calibrated on people. Without ``onset_seconds`` the seed chooses an onset; without ``offset_seconds`` the
    trace lasts until the object is lost or the frames end. The trace's onset is the first frame in which it shows.

    Raises:
        InjectionError: ``NO_OBJECT``, ``NO_ROOM`` or ``TOO_FAINT``: this footage offers nothing for this category.
        RecordError: an argument that makes no sense.
    """
    strength = check_number(strength, "strength", low=0.0, high=1.0, above=0.0)
    if category not in EDITS:
        raise RecordError("category", f"{category!r} is not one of {', '.join(EDITS)}")
    if implementation not in IMPLEMENTATIONS:
        raise RecordError("implementation", f"{implementation!r} is not one of {', '.join(IMPLEMENTATIONS)}")
    if min(frames.images.shape[1:3]) < 32:
        raise InjectionError("NO_ROOM", f"frames of {frames.images.shape[2]} x {frames.images.shape[1]} are too small")
    if things is None:
        things = find_things(frames, seed)
    rng = np.random.default_rng((seed, 12, list(EDITS).index(category)))
    plan, wants = EDITS[category]
    usable = [k for k, thing in enumerate(things) if wants == "any" or thing.moving == (wants == "moving")]
    if not usable:
        kind = {"moving": "moving ", "still": "still ", "any": ""}[wants]
        raise InjectionError("NO_OBJECT", f"{category} needs a {kind}object, and none was found in the footage")
    # Moving things come first in `things`; the first two of those that fit share the choice.
    order = [usable[int(k)] for k in rng.permutation(min(2, len(usable)))] + usable[2:]
    problem: InjectionError | None = None
    for which in order[:_MOST_TRIES]:
        try:
            start, stop = _span(frames, things[which], onset_seconds, offset_seconds, rng)
            shot = Shot(frames, things, implementation, start, stop)
            edit = plan(shot, things[which], rng)
            growth = 0.0 if rng.uniform() < 0.5 else float(rng.uniform(0.1, 0.5))
            facts = {"category": category, "strength": strength, "seed": seed, "thing": which}
            return _carry_out(shot, edit, category, facts, growth)
        except InjectionError as error:
            problem = error
    assert problem is not None
    raise problem


def _span(
    frames: Frames,
    thing: TrackedThing,
    onset: float | None,
    offset: float | None,
    rng: np.random.Generator,
) -> tuple[int, int]:
    """First frame of the trace and the one after its last, while the thing is there."""
    times = frames.pts_seconds
    low, high = thing.first, thing.last
    if onset is None:
        latest = max(low + 1, high + 1 - max(_FEWEST_FRAMES, (high - low) // 4))
        start = int(rng.integers(max(low, 1), max(latest, low, 1) + 1))
    else:
        start = int(np.searchsorted(times, check_number(onset, "onset_seconds", low=0.0) - 1e-6))
    stop = high + 1
    if offset is not None:
        stop = min(stop, int(np.searchsorted(times, check_number(offset, "offset_seconds", above=onset or 0.0) - 1e-6)))
    if not low <= start <= high:
        raise InjectionError("NO_OBJECT", "no object is in view at the onset asked for")
    if stop - start < _FEWEST_FRAMES:
        raise InjectionError("NO_ROOM", f"only {max(0, stop - start)} frames after the onset, {_FEWEST_FRAMES} needed")
    return start, stop


def _carry_out(shot: Shot, edit: Edit, category: Category, facts: dict[str, Any], growth: float) -> Injection:
    """Paint every frame of the trace twice, and measure what shows. ``facts`` go into the params as they are."""
    strength, seed = facts["strength"], facts["seed"]
    images = shot.frames.images
    fake, sham = images.copy(), images.copy()
    mask = np.zeros(images.shape[:3], np.uint8)
    # A ramp that starts above zero: the first frame of the trace already shows some of it.
    step = shot.seconds(shot.start + 1) if shot.stop > shot.start + 1 else 0.1
    for index in range(shot.start, shot.stop):
        since = shot.seconds(index)
        grown = 1.0 if growth <= 0 else min(1.0, (since + step) / (growth + step))
        moment = Moment(index, since, strength * grown, sham=False)
        roi = edit.roi(moment)
        x0, y0, x1, y1 = roi
        before = shot.patch(index, roi)
        for target, as_sham in ((fake, False), (sham, True)):
            made = edit.paint(replace(moment, sham=as_sham), roi)
            noise = np.random.default_rng((seed, 13, index))
            grained = regrain(made.image, made.alpha, shot.grain, noise)
            target[index, y0:y1, x0:x1] = to_pixels(blend(before, grained, made.alpha, shot.implementation))
            if not as_sham:
                mask[index, y0:y1, x0:x1] = _visible(fake[index, y0:y1, x0:x1], before, made.focus)
    seen = _seen(mask)
    start = next((t for t in range(shot.start, shot.stop) if seen[t]), None)
    if start is None or int(seen.sum()) < _FEWEST_FRAMES:
        raise InjectionError("TOO_FAINT", "the change is too small to see in this footage; raise the strength")
    stop = max(t for t in range(shot.start, shot.stop) if seen[t]) + 1
    for twin in (fake, sham):  # what does not show is not kept either
        twin[:start], twin[stop:] = images[:start], images[stop:]
    mask[:start], mask[stop:] = 0, 0
    keys = _track(shot, mask, seen, start, stop)
    change = _mean_change(fake, images, keys, shot)
    if change < FLOOR_LEVELS:
        raise InjectionError(
            "TOO_FAINT", f"a mean change of {change:.1f} grey levels is below the floor of {FLOOR_LEVELS:g}"
        )
    times = shot.frames.pts_seconds
    onset = float(times[start])
    trace = Trace(
        bbox_xyxy=keys[0].bbox_xyxy,
        onset_seconds=onset,
        offset_seconds=float(times[stop]) if stop < len(times) else _end(shot.frames),
        categories=(category,),
        explanation=f"{thing_words(shot, edit.thing, start)} {edit.says}, from {onset:.1f} s on.",
        track=keys,
    )
    params = {
        **facts,
        "implementation": shot.implementation,
        "onset_frame": start,
        "offset_frame": stop,
        "growth_seconds": growth,
        "thing_moving": edit.thing.moving,
        "mean_change_levels": round(change, 2),
        **edit.params,
    }
    clean = shot.frames
    return Injection(category, replace(clean, images=fake), replace(clean, images=sham), clean, trace, mask, params)


def _visible(after: npt.NDArray[np.uint8], before: npt.NDArray[np.float32], focus: npt.NDArray[np.float32]) -> Any:
    """How plainly the change shows, 0..255, within the focus."""
    change = np.abs(after.astype(np.float32) - before).max(-1)
    change = cv2.GaussianBlur(change, (0, 0), 1.0)
    return (np.clip(change / (4 * VISIBLE_LEVELS), 0, 1) * np.clip(3 * focus, 0, 1) * 255).astype(np.uint8)


def _seen(mask: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    area = mask.shape[1] * mask.shape[2]
    shown = (mask > 63).reshape(len(mask), -1).sum(1)
    return np.asarray(shown >= max(6, _SMALLEST_SHARE * area))


def _tight(mask: npt.NDArray[np.uint8]) -> Box:
    """The box of what shows; single stray pixels at the rim (under 1 % of it) do not widen it."""
    height, width = mask.shape
    shown = mask > 63
    columns, rows = np.cumsum(shown.sum(0)), np.cumsum(shown.sum(1))
    total = columns[-1]
    x0, x1 = np.searchsorted(columns, 0.01 * total, "right"), np.searchsorted(columns, 0.99 * total) + 1
    y0, y1 = np.searchsorted(rows, 0.01 * total, "right"), np.searchsorted(rows, 0.99 * total) + 1
    return float(x0) / width, float(y0) / height, min(1.0, float(x1) / width), min(1.0, float(y1) / height)


def _track(
    shot: Shot, mask: npt.NDArray[np.uint8], seen: npt.NDArray[np.bool_], start: int, stop: int
) -> tuple[KeyBox, ...]:
    """One key a frame; where nothing shows for a while, one hidden key."""
    keys: list[KeyBox] = []
    for t in range(start, stop):
        time = float(shot.frames.pts_seconds[t])
        if seen[t]:
            keys.append(KeyBox(time, _tight(mask[t])))
        elif keys[-1].visible:
            keys.append(KeyBox(time, keys[-1].bbox_xyxy, visible=False))
    return tuple(keys)


def _mean_change(
    fake: npt.NDArray[np.uint8], images: npt.NDArray[np.uint8], keys: tuple[KeyBox, ...], shot: Shot
) -> float:
    """How far the fake is from the clean frames inside the box, grey levels, mean over the visible keys."""
    height, width = shot.size_hw
    changes = []
    for key in keys:
        if key.visible and key.bbox_xyxy is not None:
            t = int(np.searchsorted(shot.frames.pts_seconds, key.time_seconds))
            x0, y0, x1, y1 = (round(v * side) for v, side in zip(key.bbox_xyxy, (width, height) * 2, strict=True))
            changes.append(float(np.abs(fake[t, y0:y1, x0:x1].astype(np.int16) - images[t, y0:y1, x0:x1]).mean()))
    return float(np.mean(changes))


def _end(frames: Frames) -> float:
    """When the last frame is gone."""
    times = frames.pts_seconds
    step = float(times[-1] - times[-2]) if len(times) > 1 else 0.1
    return max(frames.duration_seconds or 0.0, float(times[-1]) + step)
