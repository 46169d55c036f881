"""Where an object may be: regions of one frame that move, that differ from the background, or that stand out in it.

In goes the motion of a shot, out come `Region`s with a score of how much each looks like one whole object. Work pixels
throughout (see `footage`); masks are 0/255.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import cv2
import numpy as np
import numpy.typing as npt

from deeptrace.inject.footage import Floats, Image, Motion, grid

Flags = npt.NDArray[np.bool_]
Origin = Literal["background", "flow", "contrast"]

# Shares of the frame's area that a person would call an object rather than a detail of one or a backdrop.
SMALLEST, LARGEST = 0.010, 0.30
# Work pixels a frame: below, "motion" is the flow's own noise.
STILL = 0.35
# Distance in Lab (OpenCV's 8-bit scale) from the surroundings, below which nothing stands out.
_LEAST_CONTRAST = 10.0
# A background needs so many frames that show a place; more than these add little and cost time.
_FEWEST_VIEWS, _MOST_VIEWS = 4, 11
# Grey levels over the background: what grain and coding leave stays below.
_LEAST_DIFFERENCE = 16.0
# Of a convex outline's area: a person with an arm out has 0.6, a net of cracks or a frame of background less.
_LEAST_SOLID = 0.55
# Distance in CIELAB between the two sides of an outline, from which it is one: four just-noticeable differences.
_LEAST_STEP = 9.0
# Work pixels to both sides of an outline at which they are compared: clear of the mask's own error of one or two.
_BESIDE_PX = 3.0
# Of an outline: the part without a step across it. Background and parts of bodies have a third and more where nothing
# in the picture bounds them; a whole object has some where it happens to stand before its own colour.
_MOST_OPEN, _MOST_OPEN_WHOLE = 0.40, 0.15
# The same before the region is drawn to the outline: flow is wider than what moves, colour ends where the object does.
_MOST_OPEN_ROUGH: Final[Mapping[Origin, float]] = {"background": 0.6, "flow": 0.7, "contrast": 0.3}
# Times its own area that moves on with it beyond the flow's own smoothness: from there on it is a part of that.
_MOST_COMPANY = 2.0
# Work pixels by which flow spreads over the edge of what moves.
_FLOW_SPREAD = 8
# Of its frames in which a thing must move, for its company to say anything: what passes by drags the flow along once.
_OFTEN_MOVES = 0.3
# Hellinger distance (0..1) between the colours inside and those of the ring round it.
_LEAST_DISTINCT = 0.42
# Length over width beyond which something of one colour is a strip: a shelf, an edge, a road.
_MOST_LONG = 2.8
# Distance in Lab's a and b (8-bit scale) below which a dark patch is a shadow.
_SAME_HUE = 7.0
# Grey levels of deviation round a thing that stands on one ground.
_MOST_VARIETY = 45.0
# Colours a frame is divided into, and the distance from its ring that makes a part of one colour worth a look.
_COLOURS, _LEAST_PLAIN = 8, 0.6
_RIM = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))


@dataclass(frozen=True)
class Region:
    """A candidate for an object in one frame. ``score`` is in [0, 1], higher where it looks more like one whole."""

    index: int
    mask: Image  # (h, w) 0/255
    origin: Origin
    score: float
    whole: bool = True  # False: plain to see, but perhaps a part of something; good enough to stand beside an object


@dataclass(frozen=True)
class Backdrop:
    """What a shot shows behind its moving things, in the view of frame ``home``: the median over its frames."""

    home: int
    picture: Image  # (h, w, 3)
    known: Flags  # (h, w): seen in enough frames

    @classmethod
    def of(cls, motion: Motion, shot: npt.NDArray[np.int64]) -> Backdrop | None:
        """None where the shot is too short, or the camera moves on too far."""
        home = int(shot[len(shot) // 2])
        chosen = sorted({int(t) for t in np.linspace(shot[0], shot[-1], min(len(shot), _MOST_VIEWS))})
        if len(chosen) < _FEWEST_VIEWS:
            return None
        height, width = motion.small.shape[1:3]
        views, shown = [], np.zeros((height, width), np.uint8)
        for t in chosen:
            step = (motion.camera[home] @ np.linalg.inv(motion.camera[t]))[:2]
            views.append(cv2.warpAffine(motion.small[t], step, (width, height), borderMode=cv2.BORDER_REPLICATE))
            shown += np.asarray(cv2.warpAffine(np.ones((height, width), np.uint8), step, (width, height)), np.uint8)
        known = shown >= _FEWEST_VIEWS
        if known.mean() < 0.3:
            return None
        return cls(home, np.median(np.stack(views), axis=0).astype(np.uint8), known)

    def seen_from(self, motion: Motion, index: int) -> tuple[Image, Flags]:
        """The background in the view of frame ``index``, and where it is known."""
        height, width = self.known.shape
        step = (motion.camera[index] @ np.linalg.inv(motion.camera[self.home]))[:2]
        picture = cv2.warpAffine(self.picture, step, (width, height), borderMode=cv2.BORDER_REPLICATE)
        known = cv2.warpAffine(self.known.astype(np.uint8), step, (width, height), flags=cv2.INTER_NEAREST)
        return np.asarray(picture), np.asarray(known > 0)


def regions_in(
    motion: Motion, index: int, shot: npt.NDArray[np.int64], backdrop: Backdrop | None, *, colours: bool = True
) -> list[Region]:
    """The regions of frame ``index`` that look like whole objects, the best first; of those that overlap, the best.

    Without ``colours`` parts of one colour are not looked for: in one frame of a shot they are much as in the next.
    """
    scored = []
    tried: list[Image] = []
    for origin, rough in _rough(motion, index, shot, backdrop, colours):
        if any(_alike(rough, other) > 0.6 for other in tried):
            continue
        tried.append(rough)
        if not _worth_cutting(motion.small[index], rough > 127, origin):
            continue
        mask = cut_out(motion.small[index], rough)
        region = _judged(motion, index, mask, origin, backdrop)
        if region is not None:
            scored.append(region)
    scored.sort(key=lambda region: (not region.whole, -region.score))
    best: list[Region] = []
    for region in scored:
        if all(_shared(region.mask, other.mask) < 0.3 for other in best):
            best.append(region)
    return best


def _rough(
    motion: Motion, index: int, shot: npt.NDArray[np.int64], backdrop: Backdrop | None, colours: bool
) -> Iterator[tuple[Origin, Image]]:
    if backdrop is not None:
        for mask in _before_backdrop(motion, index, backdrop):
            yield "background", mask
    for mask in _moving(motion, index, shot):
        yield "flow", mask
    for mask in (*_salient(motion, index), *(_coloured(motion, index) if colours else ())):
        if (shape := _shape_of(mask > 127)) is not None and not any(shape[2]):
            yield "contrast", mask


def _alike(a: Image, b: Image) -> float:
    """Intersection over union of two masks."""
    first, second = a > 127, b > 127
    return float((first & second).sum()) / max(1, int((first | second).sum()))


def _shared(a: Image, b: Image) -> float:
    """The part of the smaller of two masks that they share."""
    first, second = a > 127, b > 127
    return float((first & second).sum()) / max(1, min(int(first.sum()), int(second.sum())))


# ── rough regions ───────────────────────────────────────────────────────────────────────────────────────────────────


def _parts(mask: Flags, weight: Floats, most: int) -> list[Image]:
    """Connected parts of a mask that are about an object's size, the heaviest first, as 0/255."""
    labels_of: Image = mask.astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(labels_of, connectivity=4)
    kept = []
    for k in range(1, count):
        share = stats[k, cv2.CC_STAT_AREA] / mask.size
        if 0.6 * SMALLEST <= share <= 1.4 * LARGEST:
            part = labels == k
            kept.append((float(weight[part].sum()), part))
    kept.sort(key=lambda pair: -pair[0])
    return [(part * 255).astype(np.uint8) for _, part in kept[:most]]


def cleaned(mask: Flags) -> Flags:
    """Without specks, and with small gaps closed."""
    opened = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, _RIM)
    return np.asarray(cv2.morphologyEx(opened, cv2.MORPH_CLOSE, _RIM) > 0)


def _before_backdrop(motion: Motion, index: int, backdrop: Backdrop) -> list[Image]:
    """What differs from the background: things that go by are seen whole, though only a part of them moves."""
    behind, known = backdrop.seen_from(motion, index)
    difference: Floats = cv2.absdiff(motion.small[index], behind).max(-1).astype(np.float32)
    difference = np.asarray(cv2.GaussianBlur(difference, (0, 0), 1.2), np.float32)
    threshold = max(_LEAST_DIFFERENCE, 4.0 * float(np.median(difference)))
    return _parts(_filled(cleaned((difference > threshold) & known)), difference, most=3)


def _moving(motion: Motion, index: int, shot: npt.NDArray[np.int64]) -> list[Image]:
    """What moves against the background around frame ``index``."""
    near = [t for t in range(index - 2, index + 2) if shot[0] <= t < shot[-1]]
    speed: Floats = np.median(np.stack([motion.residual(t) for t in near]), axis=0).astype(np.float32)
    speed = np.asarray(cv2.GaussianBlur(speed, (0, 0), 1.2), np.float32)
    calm = float(np.median(speed))
    threshold = max(STILL, 3.0 * calm, 0.25 * float(np.percentile(speed, 99)))
    return _parts(_filled(cleaned(speed > threshold)), speed, most=3)


def _salient(motion: Motion, index: int) -> list[Image]:
    """What differs from its wider surroundings in frame ``index``, the middle of the frame first."""
    image = motion.small[index]
    height, width = image.shape[:2]
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB).astype(np.float32)
    fine = cv2.GaussianBlur(lab, (0, 0), 2.0)
    xs, ys = grid(height, width)
    centred = np.exp(-(((xs / width - 0.5) / 0.45) ** 2 + ((ys / height - 0.5) / 0.45) ** 2))
    coarse = cv2.GaussianBlur(lab, (0, 0), width / 8)
    score: Floats = (np.linalg.norm(fine - coarse, axis=-1) * centred).astype(np.float32)
    stands_out = score > max(float(np.percentile(score, 85)), _LEAST_CONTRAST)
    return _parts(_filled(cleaned(stands_out)), score, most=2)


def _coloured(motion: Motion, index: int) -> list[Image]:
    """Parts of one colour in frame ``index`` (k-means in Lab) clear of the frame's edge, the plainest first."""
    image = motion.small[index]
    lab = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2LAB), (0, 0), 1.0).astype(np.float32)
    lab[..., 0] *= 0.7  # light and shade on one thing differ more than its colour does
    pixels = lab.reshape(-1, 3)
    cv2.setRNGSeed(0)
    stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 8, 1.0)
    _, _, colours = cv2.kmeans(pixels[::7], _COLOURS, np.empty(0), stop, 1, cv2.KMEANS_PP_CENTERS)
    nearest = ((pixels[:, None] - colours[None]) ** 2).sum(-1).argmin(1).reshape(lab.shape[:2])
    found = []
    for k in range(_COLOURS):
        for part in _parts(_filled(cleaned(nearest == k)), np.ones(nearest.shape, np.float32), most=4):
            inside = part > 127
            if _shape_of(inside) is not None and (plain := _distinct(image, inside)) >= _LEAST_PLAIN:
                found.append((plain, part))
    found.sort(key=lambda pair: -pair[0])
    return [part for _, part in found[:4]]


def _filled(mask: Flags) -> Flags:
    """Holes that are small beside their region are filled: a bright shirt in a dark body is a part of it."""
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    whole = np.zeros(mask.shape, np.uint8)
    cv2.drawContours(whole, outlines, -1, 1, cv2.FILLED)
    holes: Image = ((whole > 0) & ~mask).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(holes, connectivity=4)
    filled = mask.copy()
    for k in range(1, count):
        if stats[k, cv2.CC_STAT_AREA] < 0.15 * mask.sum():
            filled |= labels == k
    return filled


def _worth_cutting(image: Image, rough: Flags, origin: Origin) -> bool:
    """Whether a rough region may come out as an object: cutting one out costs ten times as much as looking at it.

    The limits are those that hold after the cut, with room for what the cut mends. On half of the clips the injector
    was tuned on, no whole object was lost by them.
    """
    if _distinct(image, rough) < 0.9 * _LEAST_DISTINCT or open_share(image, rough) > _MOST_OPEN_ROUGH[origin]:
        return False
    return origin != "contrast" or _variety(image, rough) <= _MOST_VARIETY


# ── outlines ────────────────────────────────────────────────────────────────────────────────────────────────────────


def cut_out(image: Image, rough: Image) -> Image:
    """The region drawn to the object's outline by its colours (GrabCut), where that finds a region like it.

    The region's core is the object, a wide ring round it may be either: flow is smooth and contrast is patchy, so a
    rough region is larger than its object here and smaller there.
    """
    inside = rough > 127
    ys, xs = np.nonzero(inside)
    reach = max(3, round(0.16 * float(np.sqrt(inside.sum()))))
    pad = 3 * reach
    y0, y1 = max(0, int(ys.min()) - pad), min(rough.shape[0], int(ys.max()) + 1 + pad)
    x0, x1 = max(0, int(xs.min()) - pad), min(rough.shape[1], int(xs.max()) + 1 + pad)
    part, within = np.ascontiguousarray(image[y0:y1, x0:x1]), inside[y0:y1, x0:x1]
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    core = cv2.erode(within.astype(np.uint8), kernel, borderType=cv2.BORDER_REPLICATE) > 0
    near = cv2.dilate(within.astype(np.uint8), kernel) > 0
    label = np.where(core, cv2.GC_PR_FGD, np.where(near, cv2.GC_PR_BGD, cv2.GC_BGD)).astype(np.uint8)
    if not core.any() or not (label == cv2.GC_BGD).any():
        return rough
    cv2.setRNGSeed(0)
    cv2.grabCut(part, label, (0, 0, 1, 1), np.zeros((1, 65)), np.zeros((1, 65)), 1, cv2.GC_INIT_WITH_MASK)
    cut = _heaviest(_filled(cleaned((label == cv2.GC_FGD) | (label == cv2.GC_PR_FGD))))
    if not 0.4 * within.sum() <= cut.sum() <= 2.0 * within.sum():
        return rough
    mask = np.zeros_like(rough)
    mask[y0:y1, x0:x1] = cut * np.uint8(255)
    return mask


def _heaviest(mask: Flags) -> Flags:
    """The largest connected part of a mask."""
    labels_of: Image = mask.astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(labels_of, connectivity=4)
    if count <= 2:
        return mask
    return np.asarray(labels == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA])))


def _judged(motion: Motion, index: int, mask: Image, origin: Origin, backdrop: Backdrop | None) -> Region | None:
    """The region with its score; None where it cannot be an object."""
    inside = mask > 127
    share = float(inside.mean())
    if not SMALLEST <= share <= LARGEST:
        return None
    shape = _shape_of(inside)
    if shape is None:
        return None
    outline, solid, at_edges = shape
    image = motion.small[index]
    opening = open_share(image, inside)
    if opening > _MOST_OPEN or (distinct := _distinct(image, inside)) < _LEAST_DISTINCT:
        return None
    if origin == "background" and backdrop is not None:
        behind, _ = backdrop.seen_from(motion, index)
        # Where something stood most of the time and has left, the "background" shows it and the frame does not.
        if open_share(behind, inside) < opening:
            return None
    if origin == "contrast":
        if any(at_edges) or solid < 0.7 or _long(outline) > _MOST_LONG or _shaded(image, inside):
            return None
        # Nothing but its look speaks for it: a print on cloth and a bush before grass look so too. Others may be drawn
        # to it.
        alone = False
    else:
        alone = opening <= 1.5 * _MOST_OPEN_WHOLE  # in this frame; over all of them it must be less
    whole = {"background": 1.0, "flow": 0.85, "contrast": 0.6}[origin] * (0.75 if any(at_edges) else 1.0)
    score = whole * min(1.0, solid / 0.85) * (1 - opening) * distinct * min(1.0, (share / 0.03) ** 0.5)
    return Region(index, mask, origin, score, alone)


def _shape_of(inside: Flags) -> tuple[npt.NDArray[np.int32], float, tuple[bool, bool, bool, bool]] | None:
    """Outline, share of its convex hull, and the frame's edges it touches; None for what is no whole object's shape."""
    height, width = inside.shape
    outlines, _ = cv2.findContours(inside.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    outline = np.asarray(max(outlines, key=cv2.contourArea), dtype=np.int32)
    x, y, w, h = cv2.boundingRect(outline)
    at_edges = _edges_touched((x, y, x + w, y + h), (height, width))
    solid = float(inside.sum()) / max(1.0, float(cv2.contourArea(cv2.convexHull(outline))))
    # A thing may stand on the lower edge of the picture; one that two edges cut off is not seen whole.
    if sum(at_edges) > 1 or at_edges[1] or w > 0.7 * width or solid < _LEAST_SOLID:
        return None
    return outline, solid, at_edges


def _long(outline: npt.NDArray[np.int32]) -> float:
    """Length over width of the smallest rectangle round an outline."""
    _, (wide, high), _ = cv2.minAreaRect(outline)
    return float(max(wide, high) / max(1.0, min(wide, high)))


def _shaded(image: Image, inside: Flags) -> bool:
    """Whether a region is its surroundings in the shade: darker, and of the same hue."""
    near = cv2.dilate(inside.astype(np.uint8), np.ones((13, 13), np.uint8)) > 0
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB).astype(np.float32)
    darker = lab[inside].mean(0) - lab[near & ~inside].mean(0)
    return bool(darker[0] < 0 and np.hypot(darker[1], darker[2]) < _SAME_HUE)


def stands_alone(motion: Motion, masks: Sequence[tuple[int, Flags]]) -> bool:
    """Whether a region (a mask each of some frames) is bounded all round, and not carried by something larger.

    What has no edge over a part of its outline is a part of something, or of the background. So is what moves as much
    more around it does: a hand with its arm, a window with its house.
    """
    openings = [open_share(motion.small[index], inside) for index, inside in masks]
    if float(np.mean(openings)) > _MOST_OPEN_WHOLE:
        return False
    company = [near for index, inside in masks if (near := _company(motion, index, inside)) is not None]
    return len(company) < _OFTEN_MOVES * len(masks) or float(np.median(company)) <= _MOST_COMPANY


def open_share(image: Image, inside: Flags) -> float:
    """The part of a region's outline, in [0, 1], across which the picture shows no step; the frame's edge left out."""
    outlines, _ = cv2.findContours(inside.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    outline = max(outlines, key=cv2.contourArea)[:, 0, :]
    x0, y0 = (max(0, int(v) - 12) for v in outline.min(0))
    x1, y1 = (int(v) + 13 for v in outline.max(0))
    part, places = inside[y0:y1, x0:x1], outline - np.array([x0, y0])
    lab = cv2.cvtColor(image[y0:y1, x0:x1].astype(np.float32) / np.float32(255), cv2.COLOR_RGB2LAB)
    lab = np.asarray(cv2.GaussianBlur(lab, (0, 0), 1.5), np.float32)
    height, width = part.shape
    # The way inwards: the slope of the distance to the outline, positive inside.
    flags = part.astype(np.uint8)
    depth = cv2.distanceTransform(flags, cv2.DIST_L2, 5) - cv2.distanceTransform(1 - flags, cv2.DIST_L2, 5)
    smooth = cv2.GaussianBlur(depth, (0, 0), 2.0)
    slope = np.stack([cv2.Sobel(smooth, cv2.CV_32F, *order) for order in ((1, 0), (0, 1))], -1)
    inward = slope[places[:, 1], places[:, 0]]
    inward = inward / np.maximum(np.linalg.norm(inward, axis=-1, keepdims=True), 1e-6)
    sides = []
    # Where the frame cuts it off there is no outline.
    seen = ((outline > 1) & (outline < np.array(inside.shape[::-1]) - 2)).all(1)
    for reach in (_BESIDE_PX, -_BESIDE_PX):
        at = np.rint(places + reach * inward).astype(np.int64)
        seen &= (at >= 0).all(1) & (at[:, 0] < width) & (at[:, 1] < height)
        sides.append(lab[at[:, 1].clip(0, height - 1), at[:, 0].clip(0, width - 1)])
    step = np.linalg.norm(sides[0] - sides[1], axis=-1)
    near = np.convolve(np.concatenate([step[-2:], step, step[:2]]), np.ones(5) / 5, "valid")
    return float((near[seen] < _LEAST_STEP).mean()) if seen.any() else 1.0


def _company(motion: Motion, index: int, inside: Flags) -> float | None:
    """The area round a region that moves as it does, in areas of the region; None where it does not move."""
    own = motion.own(min(index, len(motion.forward) - 1))
    way = np.median(own[inside], axis=0)
    pace = float(np.hypot(*way))
    if pace < STILL:
        return None
    same = np.linalg.norm(own - way, axis=-1) < 0.5 * pace
    labels_of: Image = (same | inside).astype(np.uint8)
    _, labels = cv2.connectedComponents(labels_of, connectivity=4)
    group = int(np.bincount(labels[inside]).argmax())
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * _FLOW_SPREAD + 1, 2 * _FLOW_SPREAD + 1))
    beyond = cv2.dilate(inside.astype(np.uint8), kernel) == 0
    return float((same & beyond & (labels == group)).sum()) / max(1, int(inside.sum()))


def _edges_touched(box: Sequence[float], size_hw: tuple[int, int]) -> tuple[bool, bool, bool, bool]:
    """Whether a box (x0, y0, x1, y1) reaches the frame's left, top, right and bottom edge."""
    height, width = size_hw
    return box[0] <= 1, box[1] <= 1, box[2] >= width - 1, box[3] >= height - 1


def _distinct(image: Image, inside: Flags) -> float:
    """How far the colours inside are from those of the ring round it: Hellinger distance in [0, 1]."""
    reach = max(3, round(0.35 * float(np.sqrt(inside.sum()))))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    near = cv2.dilate(inside.astype(np.uint8), _RIM) > 0
    ring = (cv2.dilate(inside.astype(np.uint8), kernel) > 0) & ~near
    return colour_distance(image, inside, image, ring)


def _variety(image: Image, inside: Flags) -> float:
    """Deviation of the coarse picture in the ring round a region, grey levels: small where it lies on one ground."""
    reach = max(3, round(0.25 * float(np.sqrt(inside.sum()))))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    ring = (cv2.dilate(inside.astype(np.uint8), kernel) > 0) & ~(cv2.dilate(inside.astype(np.uint8), _RIM) > 0)
    pixels = cv2.GaussianBlur(image, (0, 0), 1.5)[ring].astype(np.float32)
    return float(pixels.std(0).max()) if len(pixels) else 0.0


def colour_distance(first: Image, inside: Flags, second: Image, beside: Flags) -> float:
    """Hellinger distance in [0, 1] between the Lab colours of two masked pictures; 1 where either mask is empty."""
    if not inside.any() or not beside.any():
        return 1.0
    sides = []
    for image, mask in ((first, inside), (second, beside)):
        lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
        counts = cv2.calcHist([lab], [0, 1, 2], mask.astype(np.uint8), [12, 16, 16], [0, 256, 64, 192, 64, 192])
        counts = cv2.GaussianBlur(counts.reshape(12, -1), (1, 3), 0).reshape(counts.shape)
        sides.append((counts / max(float(counts.sum()), 1.0)).astype(np.float32))
    return float(cv2.compareHist(sides[0].ravel(), sides[1].ravel(), cv2.HISTCMP_BHATTACHARYYA))
