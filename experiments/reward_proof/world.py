"""A rendered world of its own: discs over a textured ground, with or without a trace; and the oracle of its rules.

A clip is ``(T, H, W, 3)`` uint8. Shares no code with `deeptrace.inject`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

SIZE: Final = 64  # pixels, both ways
FRAMES: Final = 16
FPS: Final = 8.0
COLOURS: Final = ((225, 60, 50), (50, 110, 230))
RADIUS: Final = 7.0
TRACES: Final = ("vanish", "jump", "appear")

Clip = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Course:
    """Where the discs are, ``positions (T, D, 2)`` in pixels, how plain each is drawn, ``opacity (T, D)`` in [0, 1]."""

    positions: Floats
    opacity: Floats
    ground: int  # seed of the ground


def ground(seed: int) -> Clip:
    """The ground ``(H, W, 3)``: smooth noise in greys and greens."""
    rng = np.random.default_rng((seed, 77))
    coarse = rng.uniform(70, 150, (8, 8)).astype(np.float32)
    grey = cv2.resize(coarse, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
    image = np.stack([grey * 0.85, grey * 1.0, grey * 0.8], -1) + rng.normal(0, 4, (SIZE, SIZE, 3))
    return np.clip(image, 0, 255).astype(np.uint8)


def course(rng: np.random.Generator, trace: str | None) -> Course:
    """Two discs that bounce off the walls, with one trace of the kind named."""
    start = rng.uniform(RADIUS + 2, SIZE - RADIUS - 2, (2, 2))
    speed = rng.uniform(1.2, 3.0, 2)
    angle = rng.uniform(0, 2 * np.pi, 2)
    velocity = np.stack([np.cos(angle), np.sin(angle)], -1) * speed[:, None]
    positions = np.zeros((FRAMES, 2, 2))
    here = start.copy()
    for t in range(FRAMES):
        positions[t] = here
        here = here + velocity
        over = (here < RADIUS) | (here > SIZE - RADIUS)
        velocity = np.where(over, -velocity, velocity)
        here = np.clip(here, RADIUS, SIZE - RADIUS)
    opacity = np.ones((FRAMES, 2))
    if trace is not None:
        at, which = int(rng.integers(5, FRAMES - 4)), int(rng.integers(0, 2))
        if trace == "vanish":
            opacity[at:, which] = 0
        elif trace == "appear":
            opacity[:at, which] = 0
        elif trace == "jump":
            shift = rng.choice([-1, 1], 2) * rng.uniform(14, 22, 2)
            span = SIZE - 2 * RADIUS
            offset = np.mod(positions[at:, which] + shift - RADIUS, 2 * span)  # folded back at the walls
            positions[at:, which] = RADIUS + np.where(offset > span, 2 * span - offset, offset)
    return Course(positions, opacity, int(rng.integers(0, 1 << 30)))


def render(path: Course) -> Clip:
    """The clip of a course, with soft edges."""
    back = ground(path.ground).astype(np.float64)
    ys, xs = np.mgrid[:SIZE, :SIZE] + 0.5
    clip = np.empty((FRAMES, SIZE, SIZE, 3), np.uint8)
    for t in range(FRAMES):
        image = back.copy()
        for disc in range(2):
            x, y = path.positions[t, disc]
            cover = np.clip(RADIUS - np.hypot(xs - x, ys - y) + 0.5, 0, 1) * path.opacity[t, disc]
            image += (np.array(COLOURS[disc]) - image) * cover[..., None]
        clip[t] = np.clip(np.rint(image), 0, 255)
    return clip


def sample_world(count: int, seed: int, trace_share: float = 0.5) -> tuple[list[Course], list[str | None]]:
    """Courses and the kind of trace in each (None: none)."""
    rng = np.random.default_rng((seed, 5))
    kinds = [str(rng.choice(TRACES)) if rng.uniform() < trace_share else None for _ in range(count)]
    return [course(rng, kind) for kind in kinds], kinds


# ── the oracle ──


def discs_of(image: Clip, colour: int) -> list[tuple[float, float, float]]:
    """Centre and area in pixels of each patch of a disc's colour."""
    values = image.astype(np.int32)
    red, green, blue = values[..., 0], values[..., 1], values[..., 2]
    mask = (red - np.maximum(green, blue) > 60) if colour == 0 else (blue - np.maximum(red, green) > 60)
    _, _, stats, centres = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    return [
        (float(x), float(y), float(area))
        for (x, y), area in zip(centres[1:], stats[1:, cv2.CC_STAT_AREA], strict=True)
        if area >= 12
    ]


FASTEST: Final = 6.5  # pixels a frame: more is a jump
SMALLEST: Final = 0.4  # of a disc's area; covered by the other one it is not judged


def breaks_rules(clip: Clip) -> bool:
    """Whether a disc vanishes, appears or jumps, as the world's rules do not let it."""
    whole = np.pi * RADIUS**2
    seen: list[list[tuple[float, float] | None]] = []
    for image in clip:
        here: list[tuple[float, float] | None] = []
        for colour in range(2):
            patches = discs_of(image, colour)
            total = sum(area for *_, area in patches)
            if total < SMALLEST * whole:
                here.append(None)
                continue
            x = sum(px * area for px, _, area in patches) / total
            y = sum(py * area for _, py, area in patches) / total
            here.append((x, y))
        seen.append(here)
    return any(_breaks([frame[colour] for frame in seen], [frame[1 - colour] for frame in seen]) for colour in range(2))


def _breaks(track: list[tuple[float, float] | None], other: list[tuple[float, float] | None]) -> bool:
    first = next((t for t, here in enumerate(track) if here is not None), None)
    if first is None:
        return True
    last = track[first]
    assert last is not None
    if first > 0 and not _covered(last, other[first - 1]):
        return True  # it comes from nothing
    last_time = first
    for t in range(first, len(track)):
        here = track[t]
        if here is None:
            if not _covered(last, other[t]):
                return True
            continue
        if np.hypot(here[0] - last[0], here[1] - last[1]) > FASTEST * max(1, t - last_time):
            return True
        last_time, last = t, here
    return False


def _covered(place: tuple[float, float], other: tuple[float, float] | None) -> bool:
    """Whether the other disc may stand before one that is there."""
    return other is not None and bool(np.hypot(place[0] - other[0], place[1] - other[1]) < 2 * RADIUS)
