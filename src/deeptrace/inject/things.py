"""Objects of the footage: what moves against the background, and what stands out in it, each with a mask per frame.

`find_things` makes `Things` from frames; every category acts on them. Masks are soft and kept at work size (see
`footage`); `TrackedThing.matte` brings one to the pixels of the frame.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, overload

import cv2
import numpy as np
import numpy.typing as npt
from typing_extensions import override

from deeptrace.inject.footage import Floats, Image, Motion, grid, remap, to_full, watch
from deeptrace.inject.regions import SMALLEST, STILL, Backdrop, Region, regions_in, stands_alone
from deeptrace.records import Frames

Roi: TypeAlias = tuple[int, int, int, int]
"""``(x0, y0, x1, y1)`` in full pixels, within the frame."""

_MOST_THINGS = 5
_RIM = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
# Work pixels that a thing goes from one frame to the next, at most, to be found again by its look.
_SEARCH_PX = 9
# Frames, spread over a thing's time, in which it is looked at as a whole.
_LOOKS = 6
_CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))


@dataclass(frozen=True)
class TrackedThing:
    """One object of the footage over time. Coordinates are full pixels unless said otherwise."""

    masks: Image  # (T, h, w) 0..255, work size; zero where it is not visible
    visible: npt.NDArray[np.bool_]  # (T,), one run of True
    centres: npt.NDArray[np.float64]  # (T, 2) x, y; NaN where it is not visible
    sizes: npt.NDArray[np.float64]  # (T,) square root of the area in pixels; NaN where it is not visible
    moving: bool  # against the background
    rgb: tuple[float, float, float]  # mean colour, 0..255
    scale: tuple[float, float]  # full pixels per work pixel (x, y)
    whole: bool = True  # False: perhaps a part of something; nothing is done to it, but others may be drawn to it

    @classmethod
    def of(cls, motion: Motion, masks: Image, low: int, high: int, *, moving: bool) -> TrackedThing:
        """A thing whose masks are known, visible in the frames ``low`` to ``high`` (exclusive)."""
        count, height, width = masks.shape
        visible = np.zeros(count, np.bool_)
        visible[low:high] = True
        masks = masks.copy()
        masks[~visible] = 0
        sx, sy = motion.scale
        xs, ys = grid(height, width)
        centres, sizes = np.full((count, 2), np.nan), np.full(count, np.nan)
        for t in range(low, high):
            soft = masks[t].astype(np.float32)
            total = float(soft.sum())
            centres[t] = ((soft * xs).sum() / total + 0.5) * sx - 0.5, ((soft * ys).sum() / total + 0.5) * sy - 0.5
            sizes[t] = np.sqrt(total / 255.0 * sx * sy)
        middle = (low + high) // 2
        r, g, b = (float(v) for v in motion.small[middle][masks[middle] > 127].mean(0))
        return cls(masks, visible, centres, sizes, moving, (r, g, b), (sx, sy))

    @property
    def first(self) -> int:
        """Index of the first frame in which it is visible."""
        return int(np.argmax(self.visible))

    @property
    def last(self) -> int:
        """Index of the last frame in which it is visible."""
        return len(self.visible) - 1 - int(np.argmax(self.visible[::-1]))

    def matte(self, index: int, roi: Roi, *, grown: bool = False) -> Floats:
        """How much each pixel of ``roi`` belongs to the thing, ``(h, w)`` in [0, 1]; ``grown`` by two work pixels."""
        x0, y0, x1, y1 = roi
        place = to_full(self.scale)[:2].copy()
        place[:, 2] -= (x0, y0)
        mask = self.grown(index) if grown else self.masks[index]
        soft = cv2.warpAffine(mask, place, (x1 - x0, y1 - y0), flags=cv2.INTER_LINEAR)
        return np.asarray(soft, dtype=np.float32) / 255.0

    def grown(self, index: int) -> Image:
        """The mask with a rim of two work pixels: soft edges, and the mask's own error."""
        return np.asarray(cv2.dilate(self.masks[index], _RIM), dtype=np.uint8)

    def box_px(self, index: int) -> tuple[float, float, float, float]:
        """Its tight box ``(x0, y0, x1, y1)`` in full pixels; the thing must be visible."""
        ys, xs = np.nonzero(self.masks[index] > 127)
        sx, sy = self.scale
        return float(xs.min() * sx), float(ys.min() * sy), float((xs.max() + 1) * sx), float((ys.max() + 1) * sy)


@dataclass(frozen=True)
class Things(Sequence[TrackedThing]):
    """What was found in some footage, the most object-like first, with how the footage moves. Reuse it freely."""

    found: tuple[TrackedThing, ...]
    motion: Motion
    behind: Callable[[int], Image] | None = None  # of a rendered scene: a frame without any thing, (H, W, 3)

    @override
    @overload
    def __getitem__(self, index: int) -> TrackedThing: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[TrackedThing, ...]: ...
    def __getitem__(self, index: int | slice) -> TrackedThing | tuple[TrackedThing, ...]:
        return self.found[index]

    @override
    def __len__(self) -> int:
        return len(self.found)

    @override
    def __iter__(self) -> Iterator[TrackedThing]:
        return iter(self.found)


def find_things(frames: Frames, seed: int = 0) -> Things:
    """Moving objects of the footage, then things that stand out in it, tracked over all frames of their shot.

    At most five, each 1 to 30 % of the frame where it was found; whole objects first. There may be
    none. The same frames and seed give the
    same things. ``seed`` decides in which frames to look.
    """
    motion = watch(frames.images)
    rng = np.random.default_rng((seed, 11))
    count = len(frames.images)
    shots = [np.flatnonzero(motion.shot_of == k) for k in range(int(motion.shot_of[-1]) + 1)]
    shots = sorted((s for s in shots if len(s) >= 4), key=len, reverse=True)[:2]
    ranked: list[tuple[float, TrackedThing]] = []
    for shot in shots:
        backdrop = Backdrop.of(motion, shot)
        looks = sorted({int(shot[min(len(shot) - 2, int(p * len(shot)))]) for p in rng.uniform((0.1, 0.4), (0.4, 0.8))})
        candidates = [
            region for index in looks for region in regions_in(motion, index, shot, backdrop, colours=index == looks[0])
        ]
        for region in sorted(candidates, key=lambda one: (not one.whole, -one.score)):
            if len(ranked) >= (_MOST_THINGS if region.whole else _MOST_THINGS - 2) or _known(
                [thing for _, thing in ranked], region.index, region.mask
            ):
                continue
            thing = _follow(motion, region, shot, count)
            if thing is not None:
                ranked.append((region.score, thing))
    # Those that are seen longer first, but a whole object that comes and goes before a doubtful one that stays.
    ranked.sort(key=lambda pair: (not pair[1].whole, -pair[0] * float(pair[1].visible.mean()) ** 0.5))
    return Things(tuple(thing for _, thing in ranked), motion)


def _known(found: Sequence[TrackedThing], index: int, mask: Image) -> bool:
    new = mask > 127
    for thing in found:
        old = thing.masks[index] > 127
        shared = int((new & old).sum())
        if shared > 0.3 * min(int(new.sum()), max(int(old.sum()), 1)):
            return True
    return False


# ── following ───────────────────────────────────────────────────────────────────────────────────────────────────────


def guided(guide: Floats, mask: Floats, radius: int, epsilon: float) -> Floats:
    """A mask drawn to the edges of a grey guide in [0, 1] (He et al., guided filter), ``(h, w)`` in [0, 1]."""
    box = (2 * radius + 1, 2 * radius + 1)

    def mean(x: npt.NDArray[np.floating[Any]]) -> Floats:
        return np.asarray(cv2.boxFilter(x, -1, box), dtype=np.float32)

    mean_g, mean_m = mean(guide), mean(mask)
    slope = (mean(guide * mask) - mean_g * mean_m) / (mean(guide * guide) - mean_g * mean_g + epsilon)
    offset = mean_m - slope * mean_g
    return np.asarray(np.clip(mean(slope) * guide + mean(offset), 0, 1), dtype=np.float32)


def _refine(grey: Floats, mask: Floats) -> Floats:
    soft = guided(grey, mask, 3, 1e-3)
    # The filter softens: stretch, so that after many frames the edge is still an edge.
    return np.asarray(np.clip((soft - 0.5) * 1.8 + 0.5, 0, 1), dtype=np.float32)


def _carried(mask: Floats, before: Floats, now: Floats, offsets: Floats) -> tuple[Floats, float]:
    """The mask in the next frame, and how far the picture under it is from what it was, mean in [0, 1].

    Along the flow, or shifted as a whole where that explains the picture as well: flow is smooth and drags the edge of
    a fast thing behind it.
    """
    choices = []
    shifted = _shift_of(mask, before, now)
    for way in ([] if shifted is None else [shifted]) + [offsets]:
        moved, seen = (np.asarray(remap(image, way), dtype=np.float32) for image in (mask, before))
        # Over the thing and its rim: where a mask lags behind, the rim gives it away.
        wide = cv2.dilate(moved, _RIM)
        weight = max(float(wide.sum()), 1e-6)
        choices.append((float((np.abs(seen - now) * wide).sum()) / weight, moved))
    if len(choices) == 2 and choices[0][0] <= 1.15 * choices[1][0] + 0.004:
        return choices[0][1], choices[0][0]
    return choices[-1][1], choices[-1][0]


def _shift_of(mask: Floats, before: Floats, now: Floats) -> Floats | None:
    """Offsets (as of a flow) of the whole shift that takes the thing to the next frame; None without room to look."""
    ys, xs = np.nonzero(mask > 0.5)
    if len(ys) < 9:
        return None
    height, width = mask.shape
    x0, x1, y0, y1 = int(xs.min()), int(xs.max()) + 1, int(ys.min()), int(ys.max()) + 1
    left, right = min(_SEARCH_PX, x0), min(_SEARCH_PX, width - x1)
    up, down = min(_SEARCH_PX, y0), min(_SEARCH_PX, height - y1)
    area = now[y0 - up : y1 + down, x0 - left : x1 + right]
    weights = np.ascontiguousarray(mask[y0:y1, x0:x1])
    misses = cv2.matchTemplate(area, np.ascontiguousarray(before[y0:y1, x0:x1]), cv2.TM_SQDIFF, mask=weights)
    _, _, best, _ = cv2.minMaxLoc(misses)
    dx, dy = best[0] - left, best[1] - up
    offsets = np.empty((height, width, 2), np.float32)
    offsets[..., 0], offsets[..., 1] = -dx, -dy
    return offsets


def _follow(motion: Motion, region: Region, shot: npt.NDArray[np.int64], count: int) -> TrackedThing | None:
    """Carry the mask along the flow to both ends of the shot; stop where it shrinks or grows out of proportion."""
    index, mask = region.index, region.mask
    height, width = mask.shape
    greys = {int(t): cv2.cvtColor(motion.small[t], cv2.COLOR_RGB2GRAY).astype(np.float32) / 255.0 for t in shot}
    masks = np.zeros((count, height, width), np.uint8)
    start = _refine(greys[index], mask.astype(np.float32) / 255.0)
    area = float(start.sum())
    if area < 0.5 * SMALLEST * mask.size:
        return None
    masks[index] = (start * 255 + 0.5).astype(np.uint8)
    for step in (1, -1):
        current, t = start, index
        while shot[0] <= t + step <= shot[-1]:
            offsets = motion.backward[t] if step == 1 else motion.forward[t - 1]
            t += step
            moved, lost = _carried(current, greys[t - step], greys[t], offsets)
            weight = float(moved.sum())
            if not 0.5 * area <= weight <= 1.7 * area:
                break
            if lost > 0.12:  # the flow no longer explains what is there: hidden or torn
                break
            # The edge may follow the picture by one pixel a frame: in flat surroundings it would creep on and on.
            current = np.minimum(_refine(greys[t], moved), cv2.dilate(moved, _CROSS)).astype(np.float32)
            masks[t] = (current * 255 + 0.5).astype(np.uint8)
    sizes_work = masks.reshape(count, -1).astype(np.float64).sum(1) / 255.0
    # With a core, not only a haze: the edge that follows the picture can dissolve a thing of little contrast.
    cores_work = (masks > 127).reshape(count, -1).sum(1)
    visible = (sizes_work >= 0.3 * area) & (cores_work >= 0.15 * area)
    if not visible[index]:
        return None
    # One run only, the one that holds the frame in which it was found.
    low, high = index, index
    while low > 0 and visible[low - 1]:
        low -= 1
    while high + 1 < count and visible[high + 1]:
        high += 1
    if high - low < 3:
        return None
    speeds = [
        float((motion.residual(t) * masks[t]).sum() / max(int(masks[t].sum(dtype=np.int64)), 1))
        for t in range(low, high)
    ]
    thing = TrackedThing.of(motion, masks, low, high + 1, moving=float(np.median(speeds)) > STILL)
    some = sorted({int(t) for t in np.linspace(low, high, _LOOKS + 2)[1:-1]})
    return replace(thing, whole=region.whole and stands_alone(motion, [(t, masks[t] > 127) for t in some]))
