"""Objects of the footage: what moves against the background, and what stands out in it, each with a mask per frame.

`find_things` makes `Things` from frames; every category acts on them. Masks are soft and kept at work size (see
`footage`); `TrackedThing.matte` brings one to the pixels of the frame.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, overload

import cv2
import numpy as np
import numpy.typing as npt

from deeptrace.inject.footage import Floats, Image, Motion, grid, remap, to_full, watch
from deeptrace.records import Frames

Roi: TypeAlias = tuple[int, int, int, int]
"""``(x0, y0, x1, y1)`` in full pixels, within the frame."""

# Shares of the frame's area that a person would call an object rather than a speck or a background.
_SMALLEST, _LARGEST = 0.004, 0.25
# Work pixels a frame: below, "motion" is the flow's own noise.
_STILL = 0.35
# Distance in Lab (OpenCV's 8-bit scale) from the surroundings, below which nothing stands out.
_LEAST_CONTRAST = 10.0
_MOST_THINGS = 6
_RIM = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
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

    @overload
    def __getitem__(self, index: int) -> TrackedThing: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[TrackedThing, ...]: ...
    def __getitem__(self, index: int | slice) -> TrackedThing | tuple[TrackedThing, ...]:
        return self.found[index]

    def __len__(self) -> int:
        return len(self.found)

    def __iter__(self) -> Iterator[TrackedThing]:
        return iter(self.found)


def find_things(frames: Frames, seed: int = 0) -> Things:
    """Moving objects of the footage, then things that stand out in it, tracked over all frames of their shot.

    At most six, each 0.4 to 25 % of the frame where it was found. There may be none. The same frames and seed give the
    same things. ``seed`` decides in which frames to look.
    """
    motion = watch(frames.images)
    rng = np.random.default_rng((seed, 11))
    count = len(frames.images)
    shots = [np.flatnonzero(motion.shot_of == k) for k in range(int(motion.shot_of[-1]) + 1)]
    shots = sorted((s for s in shots if len(s) >= 4), key=len, reverse=True)[:2]
    found: list[TrackedThing] = []
    for shot in shots:
        looks = sorted({int(shot[min(len(shot) - 2, int(p * len(shot)))]) for p in rng.uniform((0.1, 0.4), (0.4, 0.8))})
        seeds: list[tuple[int, Image, bool]] = []
        for index in looks:
            seeds += [(index, mask, True) for mask in _moving_regions(motion, index, shot)]
        if len(seeds) < 3:
            seeds += [(looks[0], mask, False) for mask in _salient_regions(motion, looks[0])]
        for index, rough, by_motion in seeds:
            if len(found) >= _MOST_THINGS or _known(found, index, rough):
                continue
            mask = _cut_out(motion.small[index], rough)
            thing = _follow(motion, index, mask, shot, count, by_motion=by_motion)
            if thing is not None:
                found.append(thing)
    found.sort(key=lambda thing: (not thing.moving, -int(thing.visible.sum())))
    return Things(tuple(found), motion)


# ── where to look ───────────────────────────────────────────────────────────────────────────────────────────────────


def _regions(mask: npt.NDArray[np.bool_], weight: Floats, most: int, *, whole_width: bool) -> list[Image]:
    """Connected parts of a mask that are of an object's size, the heaviest first, as 0/255."""
    labels_of: Image = mask.astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(labels_of, connectivity=4)
    area = mask.size
    height, width = mask.shape
    kept = []
    for k in range(1, count):
        share = stats[k, cv2.CC_STAT_AREA] / area
        if not _SMALLEST <= share <= _LARGEST or stats[k, cv2.CC_STAT_WIDTH] > 0.9 * width:
            continue
        part = labels == k
        x0, y0, w, h = stats[k, :4]
        touching = int(x0 <= 1) + int(y0 <= 1) + int(x0 + w >= width - 1) + int(y0 + h >= height - 1)
        # A frame of background, or a ragged strip of it, rather than an object.
        if touching >= 3 or stats[k, cv2.CC_STAT_AREA] < 0.3 * w * h or (w > 0.6 * width and not whole_width):
            continue
        kept.append((float(weight[part].sum()) / (1 + touching), part))
    kept.sort(key=lambda pair: -pair[0])
    return [(part * 255).astype(np.uint8) for _, part in kept[:most]]


def _cleaned(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Without specks, and with small gaps closed."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    opened = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, kernel)
    return np.asarray(cv2.morphologyEx(opened, cv2.MORPH_CLOSE, kernel) > 0)


def _moving_regions(motion: Motion, index: int, shot: npt.NDArray[np.int64]) -> list[Image]:
    """What moves against the background around frame ``index``."""
    near = [t for t in (index - 1, index, index + 1) if shot[0] <= t < shot[-1]]
    speed: Floats = np.median(np.stack([motion.residual(t) for t in near]), axis=0).astype(np.float32)
    speed = np.asarray(cv2.GaussianBlur(speed, (0, 0), 1.2), np.float32)
    calm = float(np.median(speed))
    threshold = max(_STILL, 3.0 * calm, 0.25 * float(np.percentile(speed, 99)))
    return _regions(_cleaned(speed > threshold), speed, most=3, whole_width=True)


def _salient_regions(motion: Motion, index: int) -> list[Image]:
    """What differs from its wider surroundings in frame ``index``, the middle of the frame first."""
    image = motion.small[index]
    height, width = image.shape[:2]
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB).astype(np.float32)
    fine = cv2.GaussianBlur(lab, (0, 0), 2.0)
    coarse = cv2.GaussianBlur(lab, (0, 0), width / 8)
    stand_out = np.linalg.norm(fine - coarse, axis=-1)
    xs, ys = grid(height, width)
    centred = np.exp(-(((xs / width - 0.5) / 0.45) ** 2 + ((ys / height - 0.5) / 0.45) ** 2))
    score: Floats = (stand_out * centred).astype(np.float32)
    return _regions(
        _cleaned(score > max(float(np.percentile(score, 88)), _LEAST_CONTRAST)), score, most=4, whole_width=False
    )


def _known(found: Sequence[TrackedThing], index: int, mask: Image) -> bool:
    new = mask > 127
    for thing in found:
        old = thing.masks[index] > 127
        shared = int((new & old).sum())
        if shared > 0.3 * min(int(new.sum()), max(int(old.sum()), 1)):
            return True
    return False


# ── following ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _cut_out(image: Image, rough: Image) -> Image:
    """The region drawn to the object's outline by its colours (GrabCut), where that finds a part of the region.

    Flow is smooth, so what moves looks larger than it is.
    """
    ys, xs = np.nonzero(rough)
    pad = 8
    y0, y1 = max(0, int(ys.min()) - pad), min(rough.shape[0], int(ys.max()) + 1 + pad)
    x0, x1 = max(0, int(xs.min()) - pad), min(rough.shape[1], int(xs.max()) + 1 + pad)
    part, inside = np.ascontiguousarray(image[y0:y1, x0:x1]), rough[y0:y1, x0:x1] > 127
    reach = max(2, round(0.12 * float(np.sqrt(inside.sum()))))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    core = cv2.erode(inside.astype(np.uint8), kernel, borderType=cv2.BORDER_REPLICATE) > 0
    label = np.where(inside, cv2.GC_PR_FGD, cv2.GC_BGD).astype(np.uint8)
    if not core.any() or not (label == cv2.GC_BGD).any():
        return rough
    rim = inside & ~core
    label[rim] = cv2.GC_PR_BGD
    cv2.setRNGSeed(0)
    cv2.grabCut(part, label, (0, 0, 1, 1), np.zeros((1, 65)), np.zeros((1, 65)), 2, cv2.GC_INIT_WITH_MASK)
    cut = _cleaned((label == cv2.GC_FGD) | (label == cv2.GC_PR_FGD))
    if not 0.3 * inside.sum() <= cut.sum():
        return rough
    made = np.zeros_like(rough)
    made[y0:y1, x0:x1] = cut * np.uint8(255)
    return made


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


def _follow(
    motion: Motion, index: int, mask: Image, shot: npt.NDArray[np.int64], count: int, *, by_motion: bool
) -> TrackedThing | None:
    """Carry the mask along the flow to both ends of the shot; stop where it shrinks or grows out of proportion."""
    height, width = mask.shape
    greys = {int(t): cv2.cvtColor(motion.small[t], cv2.COLOR_RGB2GRAY).astype(np.float32) / 255.0 for t in shot}
    masks = np.zeros((count, height, width), np.uint8)
    start = _refine(greys[index], mask.astype(np.float32) / 255.0)
    area = float(start.sum())
    if area < 0.5 * _SMALLEST * mask.size:
        return None
    masks[index] = (start * 255 + 0.5).astype(np.uint8)
    for step in (1, -1):
        current, t = start, index
        while shot[0] <= t + step <= shot[-1]:
            offsets = motion.backward[t] if step == 1 else motion.forward[t - 1]
            moved = np.asarray(remap(current, offsets), dtype=np.float32)
            t += step
            seen = np.asarray(remap(greys[t - step], offsets), dtype=np.float32)
            weight = float(moved.sum())
            if not 0.5 * area <= weight <= 1.7 * area:
                break
            lost = float((np.abs(seen - greys[t]) * moved).sum()) / weight
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
    return TrackedThing.of(motion, masks, low, high + 1, moving=by_motion or float(np.mean(speeds)) > 2 * _STILL)
