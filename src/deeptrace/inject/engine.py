"""One trace put into footage: frames and a category in, the fake, its sham and the truth out. See `inject`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any, Final, get_args

import cv2
import numpy as np
import numpy.typing as npt

from deeptrace.categories import CATEGORIES, Category
from deeptrace.errors import InjectionError, RecordError
from deeptrace.inject.blend import Implementation, blend, regrain, to_pixels
from deeptrace.inject.describe import thing_words
from deeptrace.inject.shot import CategoryEdit, Edit, EditFrame, Shot
from deeptrace.inject.things import Things, TrackedThing, find_things
from deeptrace.inject.visibility import noticed
from deeptrace.records import Box, Frames, KeyBox, Trace, check_number

IMPLEMENTATIONS: Final[tuple[Implementation, ...]] = get_args(Implementation)
"""``second`` uses another inpainting, another blend and another warp; it is never used to train."""

EDITS: Final[Mapping[Category, CategoryEdit]] = {
    category: import_module(f"deeptrace.inject.{category.lower().replace(' ', '_')}").CATEGORY_EDIT
    for category in CATEGORIES
}
"""How each category is put into footage, from the file that is called after it."""

# A pixel counts as changed from this many grey levels on (after a blur of one pixel), a frame from so much of it on;
# the mean change inside the box, over the frames of the trace, must reach the floor.
VISIBLE_LEVELS: Final = 8.0
FLOOR_LEVELS: Final = 3.0
_SMALLEST_SHARE = 0.0006
# Of the frame, in the middle frame of the trace by size: less is a detail that nobody looks at.
_SMALLEST_TRACE = 0.004
# Of the frame: a box that holds most of the picture names no place.
_LARGEST_BOX = 0.6

_MOST_LOOKS = 8
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
    rng = np.random.default_rng((seed, 12, CATEGORIES.index(category)))
    plan, wants = EDITS[category].plan, EDITS[category].wants
    usable = [
        k for k, thing in enumerate(things) if thing.whole and (wants == "any" or thing.moving == (wants == "moving"))
    ]
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
        moment = EditFrame(index, since, strength * grown, sham=False)
        roi = edit.roi(moment)
        x0, y0, x1, y1 = roi
        before = shot.patch(index, roi)
        for target, as_sham in ((fake, False), (sham, True)):
            made = edit.paint(replace(moment, sham=as_sham), roi)
            noise = np.random.default_rng((seed, 13, index))
            grained = regrain(made.image, made.alpha, shot.grain, noise)
            target[index, y0:y1, x0:x1] = to_pixels(blend(before, grained, made.alpha, shot.implementation))
            if not as_sham:
                mask[index, y0:y1, x0:x1] = _visible(fake[index, y0:y1, x0:x1], before)
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
    visible = _noticed(fake, images, keys, shot)
    _require_plain(category, visible, mask[start:stop], keys)
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
        "noticed_jnd": round(visible, 2),
        **edit.params,
    }
    clean = shot.frames
    return Injection(category, replace(clean, images=fake), replace(clean, images=sham), clean, trace, mask, params)


def _visible(after: npt.NDArray[np.uint8], before: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """How much each pixel changed, 0..255: the place that a thing left counts like the one it came to."""
    change = np.abs(after.astype(np.float32) - before).max(-1)
    change = cv2.GaussianBlur(change, (0, 0), 1.0)
    return np.asarray(np.clip(change / (4 * VISIBLE_LEVELS), 0, 1) * 255, dtype=np.uint8)


def _seen(mask: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    area = mask.shape[1] * mask.shape[2]
    shown = (mask > 63).reshape(len(mask), -1).sum(1)
    return np.asarray(shown >= max(6, _SMALLEST_SHARE * area))


def _tight(mask: npt.NDArray[np.uint8], rim: int) -> Box:
    """The box of all that changed but specks, with a rim in pixels: coding spreads a change by a little."""
    height, width = mask.shape
    shown: npt.NDArray[np.uint8] = (mask > 63).astype(np.uint8)
    count, _, stats, _ = cv2.connectedComponentsWithStats(shown, connectivity=8)
    parts = stats[1:count]
    parts = parts[parts[:, cv2.CC_STAT_AREA] >= max(3, 0.01 * shown.sum())] if count > 2 else parts
    x0, y0 = parts[:, cv2.CC_STAT_LEFT].min() - rim, parts[:, cv2.CC_STAT_TOP].min() - rim
    x1 = (parts[:, cv2.CC_STAT_LEFT] + parts[:, cv2.CC_STAT_WIDTH]).max() + rim
    y1 = (parts[:, cv2.CC_STAT_TOP] + parts[:, cv2.CC_STAT_HEIGHT]).max() + rim
    return max(0.0, x0 / width), max(0.0, y0 / height), min(1.0, x1 / width), min(1.0, y1 / height)


def _track(
    shot: Shot, mask: npt.NDArray[np.uint8], seen: npt.NDArray[np.bool_], start: int, stop: int
) -> tuple[KeyBox, ...]:
    """One key a frame; where nothing shows for a while, one hidden key."""
    keys: list[KeyBox] = []
    for t in range(start, stop):
        time = float(shot.frames.pts_seconds[t])
        if seen[t]:
            keys.append(KeyBox(time, _tight(mask[t], round(shot.px))))
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


def _noticed(fake: npt.NDArray[np.uint8], images: npt.NDArray[np.uint8], keys: tuple[KeyBox, ...], shot: Shot) -> float:
    """How plainly the trace shows, just-noticeable differences: root mean square over the box, median over frames."""
    height, width = shot.size_hw
    shown = [key for key in keys if key.visible and key.bbox_xyxy is not None]
    looks = []
    for k in sorted({round(k) for k in np.linspace(0, len(shown) - 1, min(len(shown), _MOST_LOOKS))}):
        t = int(np.searchsorted(shot.frames.pts_seconds, shown[k].time_seconds))
        x0, y0, x1, y1 = shot.clip(*np.multiply(shown[k].bbox_xyxy or (), (width, height) * 2))
        size = (max(8, round((x1 - x0) / shot.px)), max(8, round((y1 - y0) / shot.px)))
        before, after = (cv2.resize(i[t, y0:y1, x0:x1], size, interpolation=cv2.INTER_AREA) for i in (images, fake))
        looks.append(float(np.sqrt((noticed(before, after) ** 2).mean())))
    return float(np.median(looks))


def _require_plain(category: Category, visible: float, mask: npt.NDArray[np.uint8], keys: tuple[KeyBox, ...]) -> None:
    """Refuse what a person would not see, or could not point at."""
    if visible < EDITS[category].least_noticed:
        raise InjectionError(
            "TOO_FAINT",
            f"{visible:.1f} just-noticeable differences; {category} needs {EDITS[category].least_noticed:g} to be seen",
        )
    shares = (mask > 63).reshape(len(mask), -1).mean(1)
    if float(np.median(shares[shares > 0])) < _SMALLEST_TRACE:
        raise InjectionError("TOO_FAINT", f"the change covers less than {_SMALLEST_TRACE:.1%} of the frame")
    boxes = np.array([key.bbox_xyxy for key in keys])
    if float(np.median((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))) > _LARGEST_BOX:
        raise InjectionError("NO_ROOM", "the trace would take up most of the frame")


def _end(frames: Frames) -> float:
    """When the last frame is gone."""
    times = frames.pts_seconds
    step = float(times[-1] - times[-2]) if len(times) > 1 else 0.1
    return max(frames.duration_seconds or 0.0, float(times[-1]) + step)
