"""An object of footage in words: colour, size, place, direction. Knows pixels, not meanings: "a small red object"."""

from __future__ import annotations

import colorsys

import cv2
import numpy as np

from deeptrace.inject.pair import direction_words
from deeptrace.inject.regions import STILL
from deeptrace.inject.shot import Shot
from deeptrace.inject.things import TrackedThing
from deeptrace.pages.words import place_words

# Of the frame's shorter side a second: from the first on a thing goes somewhere, below the second its centre stays.
_GOES, _STAYS = 0.08, 0.04
# The share of a thing's pixels that must be near the colour that is named, and what is near: in CIELAB, across and up.
_LEAST_OF_COLOUR, _SAME_HUE, _SAME_LIGHT = 0.55, 20.0, 25.0
# Grey levels by which a pixel of a still thing may change from one frame to the next: light, grain and coding.
_OTHER_LEVELS = 20
_HUES = (
    (15, "red"),
    (45, "orange"),
    (70, "yellow"),
    (165, "green"),
    (200, "cyan"),
    (260, "blue"),
    (320, "purple"),
    (345, "pink"),
    (361, "red"),
)


def colour_word(rgb: tuple[float, float, float]) -> str:
    """The nearest plain colour word for a mean colour (0..255 each); brown and grey count as colours."""
    hue, saturation, value = colorsys.rgb_to_hsv(*(channel / 255.0 for channel in rgb))
    if value < 0.2:
        return "black"
    if saturation < 0.18:
        return "white" if value > 0.8 else "light grey" if value > 0.6 else "grey" if value > 0.35 else "dark grey"
    degrees = hue * 360
    if 10 <= degrees < 50 and value < 0.7:
        return "brown"
    word = next(name for limit, name in _HUES if degrees < limit)
    return f"dark {word}" if value < 0.4 else word


def thing_words(shot: Shot, thing: TrackedThing, index: int) -> str:
    """For example: "A small dark red object moving left in the lower right"."""
    height, width = shot.size_hw
    share = float(thing.sizes[index]) ** 2 / (height * width)
    size = "small" if share < 0.02 else "large" if share > 0.10 else ""
    x0, y0, x1, y1 = thing.box_px(index)
    box = (max(0.0, x0 / width), max(0.0, y0 / height), min(1.0, x1 / width), min(1.0, y1 / height))
    words = " ".join(
        word for word in (size, _colour(shot, thing, index), "object", _motion(shot, thing, index)) if word
    )
    return f"{'An' if words[0] in 'aeiou' else 'A'} {words} {place_words(box)}"


def _colour(shot: Shot, thing: TrackedThing, index: int) -> str:
    """The colour word, where most of the thing is of that colour; "" where it is of many."""
    pixels = shot.motion.small[index][thing.masks[index] > 127]
    word = colour_word((float(pixels[:, 0].mean()), float(pixels[:, 1].mean()), float(pixels[:, 2].mean())))
    scaled = np.vstack([pixels.mean(0, keepdims=True), pixels]).astype(np.float32)[None] / np.float32(255.0)
    lab = cv2.cvtColor(scaled, cv2.COLOR_RGB2LAB)[0]
    off = np.abs(lab[1:] - lab[0])
    like = (np.hypot(off[:, 1], off[:, 2]) < _SAME_HUE) & (off[:, 0] < _SAME_LIGHT)
    return word if like.mean() >= _LEAST_OF_COLOUR else ""


def _motion(shot: Shot, thing: TrackedThing, index: int) -> str:
    """Which way the thing goes against the background; "moving" where it moves in its place, "" in doubt.

    "Standing still" needs both a centre that stays and, in footage, pixels that do: a man who waves his arms stays
    where he is and does not stand still.
    """
    height, width = shot.size_hw
    times = shot.frames.pts_seconds
    rate = (len(times) - 1) / float(times[-1] - times[0])
    velocity = shot.own_velocity(thing, index) * rate  # pixels a second
    pace = float(np.hypot(*velocity)) / min(height, width)
    if pace >= _GOES:
        return direction_words((float(velocity[0]), float(velocity[1])))
    if shot.motion.exact:
        return "standing still" if pace < _STAYS else ""
    stirs = _stirring(shot, thing, index)
    if pace < _STAYS and stirs < 0.1:
        return "standing still"
    return "moving" if stirs > 0.3 else ""


def _stirring(shot: Shot, thing: TrackedThing, index: int) -> float:
    """The share of the thing's pixels that move, or change, against the background around a frame, in [0, 1]."""
    motion, shares = shot.motion, [0.0]
    height, width = motion.small.shape[1:3]
    for t in range(max(thing.first, index - 2), min(thing.last, index + 2)):
        inside = cv2.erode(thing.masks[t], np.ones((3, 3), np.uint8)) > 127
        if not inside.any():
            continue
        back = (motion.camera[t] @ np.linalg.inv(motion.camera[t + 1]))[:2]
        after = cv2.warpAffine(motion.small[t + 1], back, (width, height), borderMode=cv2.BORDER_REPLICATE)
        change = cv2.GaussianBlur(cv2.absdiff(motion.small[t], after), (0, 0), 1.0).max(-1)
        stirs = (motion.residual(t) > 1.5 * STILL) | (change > _OTHER_LEVELS)
        shares.append(float(stirs[inside].mean()))
    return max(shares)
