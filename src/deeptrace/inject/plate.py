"""The picture behind an object: other frames seen through the camera's motion, then a fill where none ever shows it.

Two ways, by ``implementation``. *first*: each pixel from the frame nearest in time that shows it; never seen ones from
the best matching place of the frame, its brightness carried over from the rim. *second*: the median of all frames
that show it; never seen ones by OpenCV's inpainting (Telea).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
import numpy.typing as npt

from deeptrace.inject.blend import Implementation, feather, over, widen
from deeptrace.inject.footage import Floats, Motion, Transform, to_full
from deeptrace.inject.things import Roi, TrackedThing

# Places looked at in full, of those that fit best at work size.
_MOST_PLACES = 24
_STEPS = (2, -2, 4, -4, 7, -7, 11, -11, 16, -16, 23, -23)


class Plate:
    """What lies behind ``things`` in the frames ``first`` to ``last`` of some footage."""

    def __init__(
        self,
        images: npt.NDArray[np.uint8],
        motion: Motion,
        things: Sequence[TrackedThing],
        implementation: Implementation,
        *,
        passers: Sequence[TrackedThing] = (),
        behind: Callable[[int], npt.NDArray[np.uint8]] | None = None,
    ) -> None:
        self._images, self._motion, self._things, self._implementation = images, motion, things, implementation
        self._passers, self._behind = passers, behind
        self.misfit = 0.0  # grey levels by which the rim of a made-up part misses the picture round it; 0: none needed
        self._in_the_way: dict[int, npt.NDArray[np.uint8]] = {}
        self._masks: dict[int, npt.NDArray[np.uint8]] = {}
        self._last: tuple[int, Roi, Floats] | None = None
        self._reference: tuple[int, npt.NDArray[np.uint8]] | None = None

    def hole(self, index: int, roi: Roi) -> npt.NDArray[np.bool_]:
        """The pixels of ``roi`` that the things cover in frame ``index``, with a margin for soft edges and shadows."""
        place = to_full(self._motion.scale)[:2].copy()
        place[:, 2] -= roi[:2]
        size = (roi[2] - roi[0], roi[3] - roi[1])
        return np.asarray(cv2.warpAffine(self._covered(index), place, size, flags=cv2.INTER_LINEAR) > 76)  # 0.3

    def _standing(self, index: int, roi: Roi) -> npt.NDArray[np.bool_]:
        """The pixels of ``roi`` that any known thing covers in frame ``index``."""
        place = to_full(self._motion.scale)[:2].copy()
        place[:, 2] -= roi[:2]
        size = (roi[2] - roi[0], roi[3] - roi[1])
        return np.asarray(cv2.warpAffine(self._hidden(index), place, size, flags=cv2.INTER_LINEAR) > 76)

    def _covered(self, index: int) -> npt.NDArray[np.uint8]:
        """The things' grown masks together, work size."""
        if index not in self._masks:
            shown = [thing.grown(index) for thing in self._things if thing.visible[index]]
            blank = np.zeros(self._motion.small.shape[1:3], np.uint8)
            self._masks[index] = np.maximum.reduce([blank, *shown])
        return self._masks[index]

    def _hidden(self, index: int) -> npt.NDArray[np.uint8]:
        """What of frame ``index`` is no background: the things', and those of others that pass by. Work size."""
        if index not in self._in_the_way:
            shown = [thing.grown(index) for thing in self._passers if thing.visible[index]]
            self._in_the_way[index] = np.maximum.reduce([self._covered(index), *shown])
        return self._in_the_way[index]

    def unseen(self, index: int) -> float:
        """The share of the hole in frame ``index`` that no other frame shows, in [0, 1]."""
        height, width = self._motion.small.shape[1:3]
        hole = self._covered(index) > 76
        if not hole.any() or self._behind is not None:
            return 0.0
        need = hole.copy()
        for other in self._others(index):
            step = (self._motion.camera[index] @ np.linalg.inv(self._motion.camera[other]))[:2]
            free = cv2.warpAffine(np.where(self._hidden(other) > 38, 0, 255).astype(np.uint8), step, (width, height))
            need &= free < 250
        return float(need.sum() / hole.sum())

    def patch(self, index: int, roi: Roi) -> Floats:
        """The region ``roi`` of frame ``index`` without the things, ``(h, w, 3)`` float32; not to be written to."""
        if self._last is None or self._last[:2] != (index, roi):  # fake and sham ask for the same one in turn
            self._last = (index, roi, self._patch(index, roi))
        return self._last[2]

    def _patch(self, index: int, roi: Roi) -> Floats:
        x0, y0, x1, y1 = roi
        picture = self._images[index, y0:y1, x0:x1].astype(np.float32)
        hole = self.hole(index, roi)
        if not hole.any():
            return picture
        seen = picture.copy()
        need = hole.copy()
        if self._behind is not None:
            self._fill_known(seen, need, index, roi)
        if self._implementation == "first":
            self._fill_nearest(seen, need, index, roi)
        else:
            self._fill_median(seen, need, index, roi)
        if need.any():
            self._fill_carried(seen, need, index, roi)
        soft = feather(hole.astype(np.float32), 1.0)
        # Only inside the hole: a feather outwards would touch pixels that are already right.
        return np.where(hole[..., None], over(picture, seen, np.maximum(soft, hole)), picture)

    def _seen_from(self, index: int, other: int, roi: Roi) -> tuple[Floats, npt.NDArray[np.bool_]]:
        """Frame ``other`` as the camera of frame ``index`` would see it, and where it shows background."""
        x0, y0, x1, y1 = roi
        size = (x1 - x0, y1 - y0)
        mapping: Transform = self._motion.between(index, other)[:2].copy()
        mapping[:, 2] += mapping[:, :2] @ np.array([x0, y0], np.float64)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        image = cv2.warpAffine(self._images[other], mapping, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
        height, width = self._images.shape[1:3]
        corners = mapping @ np.array([[0, 0, 1], [size[0], 0, 1], [0, size[1], 1], [size[0], size[1], 1]], np.float64).T
        if corners.min() >= 0 and (corners.max(1) <= (width - 1, height - 1)).all():
            inside = np.ones((size[1], size[0]), np.bool_)
        else:
            inside = cv2.warpAffine(np.full((height, width), 255, np.uint8), mapping, size, flags=flags) > 250
        down = np.linalg.inv(to_full(self._motion.scale))
        to_work = (down @ np.vstack([mapping, [0.0, 0.0, 1.0]]))[:2]
        covered = cv2.warpAffine(self._hidden(other), to_work, size, flags=flags) > 38  # half of the hole's threshold
        return image.astype(np.float32), inside & ~covered

    def _others(self, index: int) -> list[int]:
        """Frames to look behind the things in. One in which a thing was lost may show it still, unknown to us."""
        shot = self._motion.shot_of
        return [
            index + step
            for step in _STEPS
            if 0 <= index + step < len(self._images)
            and shot[index + step] == shot[index]
            and (self._motion.exact or all(thing.visible[index + step] for thing in self._things))
        ]

    def _fill_known(self, seen: Floats, need: npt.NDArray[np.bool_], index: int, roi: Roi) -> None:
        """What a scene was painted on, but where another thing stands behind: that is looked for in other frames."""
        assert self._behind is not None
        x0, y0, x1, y1 = roi
        others = [thing.matte(index, roi) for thing in self._passers if thing.visible[index]]
        new = need & (np.maximum.reduce([np.zeros(need.shape, np.float32), *others]) < 0.1)
        seen[new] = self._behind(index)[y0:y1, x0:x1][new]
        need &= ~new

    def _fill_nearest(self, seen: Floats, need: npt.NDArray[np.bool_], index: int, roi: Roi) -> None:
        for other in self._others(index):
            if not need.any():
                return
            image, shown = self._seen_from(index, other, roi)
            new = need & shown
            if new.any():
                seen[new] = (image + self._difference(seen, image, shown & ~need, new))[new]
                need &= ~shown

    def _fill_median(self, seen: Floats, need: npt.NDArray[np.bool_], index: int, roi: Roi) -> None:
        views = [self._seen_from(index, other, roi) for other in self._others(index)[:7]]
        if not views:
            return
        stack = np.stack([np.where(shown[..., None], image, np.nan)[need] for image, shown in views])  # (K, N, 3)
        known = ~np.isnan(stack[..., 0]).all(0)
        values = np.zeros(stack.shape[1:], np.float32)
        values[known] = np.nanmedian(stack[:, known], axis=0)
        where = np.argwhere(need)[known]
        seen[where[:, 0], where[:, 1]] = values[known]
        need[where[:, 0], where[:, 1]] = False

    @staticmethod
    def _difference(seen: Floats, image: Floats, rim: npt.NDArray[np.bool_], new: npt.NDArray[np.bool_]) -> Floats:
        """How much brighter the footage is than ``image`` near the hole, spread smoothly into it, at most 20 levels."""
        sigma = max(3.0, 0.35 * float(np.sqrt(new.sum())))
        weight = rim.astype(np.float32)
        size = (max(8, rim.shape[1] // 4), max(8, rim.shape[0] // 4))
        small = cv2.resize(np.dstack([(seen - image) * weight[..., None], weight]), size, interpolation=cv2.INTER_AREA)
        spread = cv2.GaussianBlur(small, (0, 0), max(1.0, sigma / 4))
        level = np.clip(spread[..., :3] / np.maximum(spread[..., 3:], 1e-3), -20, 20)
        wide = cv2.resize(level, (rim.shape[1], rim.shape[0]), interpolation=cv2.INTER_LINEAR)
        return np.asarray(wide, dtype=np.float32)

    def _fill_carried(self, seen: Floats, need: npt.NDArray[np.bool_], index: int, roi: Roi) -> None:
        """What no frame shows: invented once in one frame, and carried to the others with the camera."""
        shot = self._motion.shot_of
        if self._reference is None or shot[self._reference[0]] != shot[index]:
            self._reference = (index, self._invent(index))
        home, invented = self._reference
        x0, y0, x1, y1 = roi
        mapping: Transform = self._motion.between(index, home)[:2].copy()
        mapping[:, 2] += mapping[:, :2] @ np.array([x0, y0], np.float64)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        image = cv2.warpAffine(invented, mapping, (x1 - x0, y1 - y0), flags=flags, borderMode=cv2.BORDER_REPLICATE)
        picture = image.astype(np.float32)
        if self._implementation == "first":
            picture = picture + self._difference(seen, picture, ~need, need)
        seen[need] = np.clip(picture[need], 0, 255)

    def _invent(self, index: int) -> npt.NDArray[np.uint8]:
        """The whole frame with its hole filled from its surroundings."""
        height, width = self._images.shape[1:3]
        hole = self.hole(index, (0, 0, width, height))
        image = self._images[index]
        # The copy of a place in the frame whose rim fits best: real texture instead of a smear.
        rim = (widen(hole.astype(np.float32), 4) > 0.5) & ~hole
        ys, xs = np.nonzero(hole)
        ry, rx = np.nonzero(rim)
        # Not from the thing itself, nor from another one: that would put one more of them here.
        taken = hole | self._standing(index, (0, 0, width, height))
        best, shift = np.inf, (0, 0)
        for dx, dy in self._places_alike(index):
            if xs.min() + dx < 0 or ys.min() + dy < 0 or xs.max() + dx >= width or ys.max() + dy >= height:
                continue
            inside = (ry + dy >= 0) & (ry + dy < height) & (rx + dx >= 0) & (rx + dx < width)
            if inside.sum() < 8 or taken[ys + dy, xs + dx].any():
                continue
            a = image[ry[inside], rx[inside]].astype(np.float32)
            b = image[ry[inside] + dy, rx[inside] + dx].astype(np.float32)
            cost = float(((a - b) - 0.7 * (a - b).mean(0)).__abs__().mean())
            if cost < best:
                best, shift = cost, (dx, dy)
        self.misfit = best
        if self._implementation == "second" or not np.isfinite(best):
            return np.asarray(_telea(image, hole, 3.0 * max(1.0, self._motion.scale[0])))
        dx, dy = shift
        place = np.array([[1, 0, -dx], [0, 1, -dy]], np.float64)
        moved = cv2.warpAffine(image, place, (width, height), borderMode=cv2.BORDER_REFLECT).astype(np.float32)
        base = image.astype(np.float32)
        moved += self._difference(base, moved, rim, hole)
        return np.where(hole[..., None], np.clip(moved, 0, 255), base).astype(np.uint8)

    def _places_alike(self, index: int) -> list[tuple[int, int]]:
        """Shifts (x, y) in full pixels to the places of frame ``index`` whose picture is most like the hole's rim.

        By the squared difference over the rim, everywhere in the small frame (OpenCV's masked template matching).
        """
        small = self._motion.small[index]
        hole = self._covered(index) > 76
        rim = (cv2.dilate(hole.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0) & ~hole
        ys, xs = np.nonzero(hole | rim)
        if not len(ys):
            return []
        x0, x1, y0, y1 = int(xs.min()), int(xs.max()) + 1, int(ys.min()), int(ys.max()) + 1
        part = (slice(y0, y1), slice(x0, x1))
        costs = cv2.matchTemplate(small, small[part], cv2.TM_SQDIFF, mask=rim[part].astype(np.uint8))
        hidden = (self._hidden(index) > 76).astype(np.float32)
        costs[cv2.matchTemplate(hidden, hole[part].astype(np.float32), cv2.TM_CCORR) > 0.5] = np.inf
        sx, sy = self._motion.scale
        shifts = []
        for _ in range(_MOST_PLACES):
            y, x = (int(v) for v in np.unravel_index(int(np.argmin(costs)), costs.shape))
            if not np.isfinite(costs[y, x]):
                break
            shifts.append((round((x - x0) * sx), round((y - y0) * sy)))
            costs[max(0, y - 2) : y + 3, max(0, x - 2) : x + 3] = np.inf
        return shifts


def _telea(image: npt.NDArray[np.uint8], hole: npt.NDArray[np.bool_], radius: float) -> npt.NDArray[np.uint8]:
    """OpenCV's inpainting, on the part of the frame round the hole only: its cost is per pixel looked at."""
    ys, xs = np.nonzero(hole)
    pad = 12
    y0, y1 = max(0, int(ys.min()) - pad), min(hole.shape[0], int(ys.max()) + 1 + pad)
    x0, x1 = max(0, int(xs.min()) - pad), min(hole.shape[1], int(xs.max()) + 1 + pad)
    result = image.copy()
    part, mask = image[y0:y1, x0:x1], hole[y0:y1, x0:x1].astype(np.uint8)
    shrink = max(1.0, radius / 4)  # a smear has no detail to lose, so a large one is made small first
    if shrink > 1.0:
        size = (max(8, round((x1 - x0) / shrink)), max(8, round((y1 - y0) / shrink)))
        low = cv2.inpaint(
            cv2.resize(part, size, interpolation=cv2.INTER_AREA),
            (cv2.resize(mask * 255, size, interpolation=cv2.INTER_AREA) > 0).astype(np.uint8),
            4,
            cv2.INPAINT_TELEA,
        )
        filled = cv2.resize(low, (x1 - x0, y1 - y0), interpolation=cv2.INTER_CUBIC)
    else:
        filled = cv2.inpaint(part, mask, radius, cv2.INPAINT_TELEA)
    result[y0:y1, x0:x1] = np.where(mask[..., None] > 0, filled, part)
    return result
