"""An object of footage in words: colour, size, place, direction. Knows pixels, not meanings: "a small red object"."""

from __future__ import annotations

import colorsys

import numpy as np

from deeptrace.inject.pair import direction_words
from deeptrace.inject.shot import Shot
from deeptrace.inject.things import TrackedThing
from deeptrace.words import place_words

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
    size = "small " if share < 0.02 else "large " if share > 0.10 else ""
    x0, y0, x1, y1 = thing.box_px(index)
    box = (max(0.0, x0 / width), max(0.0, y0 / height), min(1.0, x1 / width), min(1.0, y1 / height))
    times = shot.frames.pts_seconds
    rate = (len(times) - 1) / float(times[-1] - times[0])
    velocity = shot.own_velocity(thing, index) * rate  # pixels a second
    # Slower than a twentieth of the frame a second is what flow makes of standing still.
    still = float(np.hypot(*velocity)) < 0.05 * min(height, width)
    motion = "standing still" if still else direction_words((float(velocity[0]), float(velocity[1])))
    colour = colour_word(thing.rgb)
    article = "An" if not size and colour[0] in "aeiou" else "A"
    return f"{article} {size}{colour} object {motion} {place_words(box)}"
