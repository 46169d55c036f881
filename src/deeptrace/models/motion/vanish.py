"""Things that are there in one frame and nowhere in the next.

A `SteadyShot` goes in, `Vanishing`s come out. Played backwards, the same search finds things that appear from nowhere.

A finding is as strong as the weakest of its criteria. Each criterion is a measured ratio to its own threshold, so 1 is
"just enough"; a finding of strength 1 or more passes all of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from deeptrace.models.motion.flow import SteadyShot, beyond
from deeptrace.models.motion.moment import (
    LEVELS,
    RESEMBLES,
    BestFit,
    ForegroundPiece,
    Mask,
    ShotMoment,
    around,
    match,
    same_light,
    things_in,
    touches_edge,
)

Kind = Literal["vanish", "appear", "jump", "blur"]

# Two frames before (to have been tracked) and four after (to see that it stays away).
_BEFORE, _AFTER = 2, 4
# Of the three to four source frames in (last sample before, first sample after], any may be the first that misses the
# thing, the last one included: at 24 to 30 frames a second, 0.6 of the way is the middle of what is possible.
ONSET_SHARE = 0.6
_CROWDED = 0.35  # share of foreground above which the camera was not undone, or the light changed
_BIG = 0.25  # share of the frame above which a change is not of one thing

# The thresholds, chosen on rendered scenes and on camera clips (docs/motion.md), all in the strength's denominator.
_CONTRAST = 25.0  # mean grey levels between thing and background
_AREA = 0.0015  # share of the frame: 12 x 12 pixels of 427 x 240
_COMPACT = 0.85  # share of its convex hull that a thing fills: limbs and ragged flicker fill less
_FOUND = 0.45  # matching error, relative to plain background, up to which a thing counts as found again
_LOST = 0.65  # and from which as not found
_MASS = 0.65  # share of its pixels that must be missing around it
_OWN_COLOUR = 0.10  # share of its difference to the background that no change of brightness explains
_OUTLINE = 1.3  # times the difference across its outline that the background has there
_SOLID = 0.4  # share of its difference to the background that outlasts smoothing
_SHRINK = 1.6  # one sample earlier at most this much larger, else something is sliding in front of it
_RESTORED = 0.75  # share of its place that shows the later background at once
_EMPTY = 0.12  # share of its place that may be anything but background over the next six samples
_CALM = 0.12  # share of changed pixels around it, up to which its surroundings stay
_ALONE = 0.15  # share of foreground around it, up to which it stands apart: parts of a body do not
_STEPS = 4  # samples before, over which it is followed: half a second
_STRAY = 0.6  # of its size: how far its path may stray from constant acceleration; a turning ball matches unevenly
_CEILING = 3.0
_HOPELESS = 0.6  # a criterion below it ends the search: nothing so weak is reported or counted


class Rect(NamedTuple):
    """A box in pixels of the shrunk frames."""

    x: float
    y: float
    w: float
    h: float


@dataclass(frozen=True)
class Vanishing:
    """Something that motion does not explain, between samples ``index - 1`` and ``index`` of its shot.

    ``rect`` is where it was or would be at `ONSET_SHARE` of the way between them, ``velocity`` its pixels a sample.
    ``criteria`` hold the measured ratios; ``strength`` is the smallest.
    """

    kind: Kind
    index: int
    rect: Rect
    velocity: tuple[float, float]
    criteria: Mapping[str, float]
    until: int | None = None  # for a blur: first sample at which it is over

    @property
    def strength(self) -> float:
        """The weakest criterion, in [0, 3]; 1 = just enough."""
        return float(min(_CEILING, *self.criteria.values()))


def find_vanishing(shot: SteadyShot) -> list[Vanishing]:
    """Everything in the shot that may have vanished or jumped, with its strength; weak ones too."""
    findings: list[Vanishing] = []
    if min(shot.images.shape[1:3]) < 48:
        return findings
    for index in range(_BEFORE, len(shot) - _AFTER + 1):
        findings += _at(shot, index)
    return findings


def _at(shot: SteadyShot, index: int) -> list[Vanishing]:
    moment = ShotMoment(shot, index)
    before, after = moment.foreground(index - 1), moment.foreground(index)
    total = before.size
    crowded = max(before.mean(), after.mean())
    if crowded > _CROWDED:
        return []
    plausible = []
    for thing in things_in(before):
        if thing.area < _HOPELESS * _AREA * total or thing.area > _BIG * total or touches_edge(thing, before.shape):
            continue
        looks = _looks(moment, thing, before, after)
        if min(looks.values()) >= _HOPELESS:
            plausible.append((looks, thing))
    # The searches cost most: only the six that look most like it are worth them.
    plausible.sort(key=lambda pair: -min(pair[0].values()))
    judged = [_judge(moment, thing, looks) for looks, thing in plausible[:6]]
    findings = [finding for finding in judged if finding is not None]
    # Several at once are a flicker, not several traces: each is weakened.
    strong = sum(finding.strength >= 0.8 for finding in findings)
    if strong > 2:
        return [replace(finding, criteria={**finding.criteria, "alone": 2 / strong}) for finding in findings]
    return findings


def _judge(moment: ShotMoment, thing: ForegroundPiece, looks: Mapping[str, float]) -> Vanishing | None:
    """How well "it vanished" fits this thing, the cheap criteria first; None when it plainly does not."""
    criteria = dict(looks)
    search = round(0.20 * min(moment.background.shape[:2]))
    then = match(moment, thing, moment.here - 1, (thing.x, thing.y), search)
    velocity = (float(thing.x - then.x), float(thing.y - then.y))
    criteria["tracked"] = _FOUND / max(then.error, 1e-3)
    criteria["same size"] = _SHRINK * thing.area / max(_area_at(moment, thing, then), 1.0)
    criteria["inside"] = _inside(thing, velocity, moment.background.shape)
    if min(criteria.values()) < _HOPELESS:
        return None
    on_path, way = _past(moment, thing, then)
    criteria.update(on_path)
    criteria["stays empty"] = _EMPTY / max(_place_taken(moment, thing), 1e-3)
    if min(criteria.values()) < _HOPELESS:
        return None
    going_to = (round(thing.x + velocity[0]), round(thing.y + velocity[1]))
    # A thing come to rest is matched as well as before; brown floor is only somewhat like a red ball.
    resembles = min(RESEMBLES, max(0.04, 2 * then.error))
    gone = match(moment, thing, moment.index, going_to, search, resembles=resembles)
    off = math.hypot(gone.x - thing.x, gone.y - thing.y)
    if gone.error < _LOST and off > 0.5 * max(thing.w, thing.h):
        # What looks like it and was there before, a picture on the wall, is not the thing come to rest.
        already = match(moment, thing, moment.here, (gone.x, gone.y), 1, resembles=np.inf)
        if already.error < 1.5 * gone.error + 0.02:
            gone = match(moment, thing, moment.index, going_to, search, resembles=0.0)
    criteria["not found"] = _share(gone.error, _LOST)
    if min(criteria.values()) < _HOPELESS:
        return None
    rect = Rect(thing.x + way[0], thing.y + way[1], thing.w, thing.h)
    jump = _jump(moment, thing, velocity)
    if jump is not None:
        elsewhere, _ = jump
        return Vanishing("jump", moment.index, rect, velocity, {**criteria, "found elsewhere": elsewhere})
    criteria["stays away"] = _share(_stays_away(moment, thing, velocity, search), _LOST)
    return Vanishing("vanish", moment.index, rect, velocity, criteria)


def _share(value: float, threshold: float) -> float:
    """A share, which ends at 1, as a criterion: 1 at its threshold like the others, and 3 where it is whole."""
    if value <= threshold:
        return value / threshold
    return 1.0 + (_CEILING - 1.0) * (min(value, 1.0) - threshold) / (1.0 - threshold)


def _looks(moment: ShotMoment, thing: ForegroundPiece, before: Mask, after: Mask) -> dict[str, float]:
    """The criteria that need no search: does it stand out, apart from all else, and is its place empty at once?"""
    here = (slice(thing.y, thing.y + thing.h), slice(thing.x, thing.x + thing.w))
    inside = thing.mask > 0
    difference = np.abs(moment.last_seen[here].astype(np.int16) - moment.background[here]).max(axis=2)
    near = around(thing, round(0.08 * min(before.shape) + 0.5 * max(thing.w, thing.h)), before.shape)
    outlines, _ = cv2.findContours(thing.mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    hull = np.zeros_like(thing.mask)
    cv2.fillConvexPoly(hull, cv2.convexHull(np.concatenate(outlines)), 1)
    criteria = {
        "contrast": float(difference[inside].mean()) / _CONTRAST,
        "area": thing.area / (_AREA * before.size),
        "compact": _share(thing.area / float(hull.sum()), _COMPACT),
        "missing": _share((float(before[near].sum()) - float(after[near].sum())) / thing.area, _MASS),
        "restored": _share(1.0 - float(after[here][inside].mean()), _RESTORED),
    }
    if min(criteria.values()) < _HOPELESS:
        return criteria
    changed_share, occupied_share = _ring(moment, thing, before)
    return criteria | {
        "calm": _CALM / max(changed_share, 1e-3),
        "alone": _ALONE / max(occupied_share, 1e-3),
        "outline": _outline(moment, thing) / _OUTLINE,
        "solid": _solid(moment, thing) / _SOLID,
        "own colour": _beyond_brightness(moment, thing) / _OWN_COLOUR,
    }


def _solid(moment: ShotMoment, thing: ForegroundPiece) -> float:
    """The share of its difference to the background that is left when both are smoothed over half its size.

    Of a place that only lost its fine detail, little is left.
    """
    here = (slice(thing.y, thing.y + thing.h), slice(thing.x, thing.x + thing.w))
    difference = (moment.soft(moment.here)[here] - moment.soft(None)[here]) * thing.mask[..., None]
    size = max(3, min(thing.w, thing.h) // 2)
    left = cv2.blur(difference, (size, size), borderType=cv2.BORDER_CONSTANT)
    return float(np.abs(left).sum()) / max(float(np.abs(difference).sum()), 1e-3)


def _outline(moment: ShotMoment, thing: ForegroundPiece) -> float:
    """How much more the two sides of its outline differ while it is there than in the background.

    It tells a thing from the hole that a thing leaves: played backwards, one looks like the other.
    """
    outer = around(thing, 6, moment.background.shape)
    inner = _pad(thing, outer).astype(np.float32)
    band = cv2.morphologyEx(inner, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    band &= (cv2.blur(inner, (9, 9)) > 0.05) & (cv2.blur(1 - inner, (9, 9)) > 0.05)
    if not band.any():
        return 1.0

    def step(image: npt.NDArray[np.float32]) -> float:
        """The mean difference between the averages of either side, within four pixels."""
        part = np.ascontiguousarray(image[outer])
        sides = [
            cv2.blur(part * side[..., None], (9, 9))[band] / cv2.blur(side, (9, 9))[band][:, None]
            for side in (inner, 1 - inner)
        ]
        return float(np.abs(sides[0] - sides[1]).mean())

    return step(moment.soft(moment.here)) / max(step(moment.soft(None)), 1e-3)


def _beyond_brightness(moment: ShotMoment, thing: ForegroundPiece) -> float:
    """The share of its difference to the background, squared, that no smooth change of brightness explains.

    A shadow is the background times a factor that varies slowly; it comes and goes as it likes.
    """
    here = (slice(thing.y, thing.y + thing.h), slice(thing.x, thing.x + thing.w))
    ys, xs = np.nonzero(thing.mask)
    colours = moment.soft(moment.here)[here][ys, xs].ravel()  # (pixels * 3,)
    background = moment.soft(None)[here][ys, xs].ravel()
    u = np.repeat(2 * xs / thing.w - 1, 3)
    v = np.repeat(2 * ys / thing.h - 1, 3)
    factors = np.stack([np.ones_like(u), u, v]) * background  # (3, pixels * 3)
    solution, *_ = np.linalg.lstsq(factors.T, colours, rcond=None)
    unexplained = float(((colours - solution @ factors) ** 2).sum())
    return unexplained / max(float(((colours - background) ** 2).sum()), 1.0)


def _past(moment: ShotMoment, thing: ForegroundPiece, then: BestFit) -> tuple[dict[str, float], tuple[float, float]]:
    """Its path over the samples before: the criteria of having been followed, and the way from now to the onset."""
    path = [(float(thing.x), float(thing.y)), (float(then.x), float(then.y))]
    worst, stray = 0.0, 0.0
    for i in range(2, 1 + min(_STEPS, moment.here)):
        guess = (2 * path[-1][0] - path[-2][0], 2 * path[-1][1] - path[-2][1])
        # Having bounced, it came from the other side.
        speed = math.hypot(path[-1][0] - path[-2][0], path[-1][1] - path[-2][1])
        reach = 4 + round(max(0.5 * max(thing.w, thing.h), 2.2 * speed))
        fit = match(moment, thing, moment.here - i, (round(guess[0]), round(guess[1])), reach)
        path.append((float(fit.x), float(fit.y)))
        # It turns and bends with time: half again the error at the farthest sample.
        worst = max(worst, fit.error / (1 + 0.125 * i))
    # At constant acceleration the third difference of the path vanishes. A bounce breaks it in one direction only, so
    # the smoother of the two counts.
    points = np.asarray(path)
    way = ONSET_SHARE * (points[0] - points[1])
    if len(points) >= 3:
        bend = points[0] - 2 * points[1] + points[2]
        if np.abs(bend).max() <= 0.5 * max(thing.w, thing.h):
            way = way + (ONSET_SHARE + ONSET_SHARE**2) / 2 * bend
    if len(points) >= 4:
        stray = float(np.abs(np.diff(points, 3, axis=0)).mean(axis=0).min()) / max(thing.w, thing.h)
    criteria = {"followed": _FOUND / max(worst, 1e-3), "smooth path": _STRAY / max(stray, 1e-3)}
    return criteria, (float(way[0]), float(way[1]))


def _place_taken(moment: ShotMoment, thing: ForegroundPiece) -> float:
    """The share of its place that stands out from the background, on average over the next six samples."""
    here = (slice(thing.y, thing.y + thing.h), slice(thing.x, thing.x + thing.w))
    last = min(len(moment.shot) - 1, moment.index + 6)
    shares = [moment.foreground(sample)[here][thing.mask > 0].mean() for sample in range(moment.index + 1, last + 1)]
    # Anything that passes by later takes the place for a moment: the median, not the mean.
    return float(np.median(shares))


def _ring(moment: ShotMoment, thing: ForegroundPiece, before: Mask) -> tuple[float, float]:
    """In a ring about as wide as half the thing: the share of pixels that change, and of those that are foreground."""
    gap, reach = 3, 3 + max(4, round(0.4 * min(thing.w, thing.h)))
    outer = around(thing, reach, before.shape)
    ring = cv2.dilate(_pad(thing, outer), np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)) > 0
    ring &= cv2.dilate(_pad(thing, outer), np.ones((2 * gap + 1, 2 * gap + 1), np.uint8)) == 0
    ring &= moment.valid[outer]
    if not ring.any():
        return 1.0, 1.0
    after = np.ascontiguousarray(moment.after[outer])
    last_seen = same_light(np.ascontiguousarray(moment.last_seen[outer]), after)
    changed = beyond(last_seen, after) > LEVELS
    return float(changed[ring].mean()), float(before[outer][ring].mean())


def _pad(thing: ForegroundPiece, outer: tuple[slice, slice]) -> Mask:
    mask = np.zeros((outer[0].stop - outer[0].start, outer[1].stop - outer[1].start), np.uint8)
    y, x = thing.y - outer[0].start, thing.x - outer[1].start
    mask[y : y + thing.h, x : x + thing.w] = thing.mask
    return mask


def _area_at(moment: ShotMoment, thing: ForegroundPiece, match: BestFit) -> float:
    """The size of the piece of foreground that the thing belonged to one sample earlier."""
    earlier = moment.foreground(moment.here - 1)
    _, labels = cv2.connectedComponents(earlier, connectivity=8)
    inner = labels[match.y : match.y + thing.h, match.x : match.x + thing.w]
    under = inner[(thing.mask[: inner.shape[0], : inner.shape[1]] > 0) & (inner > 0)]
    if not len(under):
        return float(thing.area)
    return float((labels == np.bincount(under).argmax()).sum())


def _inside(thing: ForegroundPiece, velocity: tuple[float, float], shape: tuple[int, ...]) -> float:
    """At least 1 when the thing, moving on as it did for one and a half samples, is still wholly inside the frame."""
    dx, dy = 1.5 * velocity[0], 1.5 * velocity[1]
    x0, y0, x1, y1 = thing.x + dx, thing.y + dy, thing.x + thing.w + dx, thing.y + thing.h + dy
    outside = max(0.0, 1 - x0, 1 - y0, x1 - shape[1] + 1, y1 - shape[0] + 1)
    return max(0.0, 0.7 - outside / min(thing.w, thing.h)) if outside else _CEILING


def _stays_away(moment: ShotMoment, thing: ForegroundPiece, velocity: tuple[float, float], search: int) -> float:
    """The smallest matching error over the next samples, along the way it was going: small = it comes out again."""
    errors = []
    for i in range(1, min(6, len(moment.shot) - moment.index)):
        at = (round(thing.x + (i + 1) * velocity[0]), round(thing.y + (i + 1) * velocity[1]))
        errors.append(match(moment, thing, moment.index + i, at, search, resembles=0.0).error)
    return min(errors, default=0.0)


def _jump(moment: ShotMoment, thing: ForegroundPiece, velocity: tuple[float, float]) -> tuple[float, float] | None:
    """Found again far from where it was going, at a place that was empty: (ratio, pixels off the way), or None."""
    height, width = moment.background.shape[:2]
    there = match(moment, thing, moment.index, (0, 0), max(height, width), resembles=0.0)
    off = float(np.hypot(there.x - thing.x - velocity[0], there.y - thing.y - velocity[1]))
    # Another thing of the same kind, which stood there already, is no proof.
    already = match(moment, thing, moment.here, (there.x, there.y), 2, resembles=np.inf)
    if off < max(thing.w, thing.h) or there.error > _FOUND or already.error < _LOST:
        return None
    return _FOUND / max(there.error, 1e-3), off
