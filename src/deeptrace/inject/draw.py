"""Drawing for scenes: a room, balls, crates, pillars, soft shadows, as float RGB in [0, 1] on a canvas.

Every outline is softened over one pixel (coverage from the distance to it), so things move smoothly by parts of a
pixel. All sizes are pixels of the canvas.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float32]

# Where the light comes from (x right, y down, z towards the viewer): over the viewer's left shoulder.
_LIGHT = np.array([-0.45, -0.65, 0.61], dtype=np.float32)


@dataclass(frozen=True)
class Appearance:
    """Shape, colour word, colour (RGB in [0, 1]) and, for a ball, the tilt of its stripes in radians."""

    shape: Literal["ball", "crate", "pillar"]
    colour: str
    rgb: tuple[float, float, float]
    tilt: float


# ── the room ────────────────────────────────────────────────────────────────────────────────────────────────────────


def paint_room(rng: np.random.Generator, size_hw: tuple[int, int], margin: int) -> Floats:
    """A plastered wall with two pictures, a wooden floor and light from a window.

    Returns ``(H + 2 margin, W + 2 margin, 3)``.
    """
    height, width = size_hw
    shape = (height + 2 * margin, width + 2 * margin)
    ys, xs = np.mgrid[0 : shape[0], 0 : shape[1]].astype(np.float32)
    ys, xs = ys - margin, xs - margin
    horizon = 0.60 * height

    tint = np.array([0.70, 0.68, 0.63], dtype=np.float32) + rng.uniform(-0.07, 0.07, 3).astype(np.float32)
    plaster = _noise(rng, shape, (3, 8, 40, 120))
    room = tint * (1.0 + 0.10 * plaster[..., None])
    for k in range(2):
        at = ((0.14 + 0.50 * k + float(rng.uniform(0, 0.2))) * width, 0.24 * height)
        _picture(room, rng, (xs, ys), at, 0.13 * min(height, width))
    room[(ys > horizon - 0.035 * height) & (ys <= horizon)] = np.array([0.86, 0.84, 0.80], dtype=np.float32)

    below = ys > horizon
    depth = 0.25 * height / np.maximum(ys - horizon + 0.12 * height, 1.0)  # farther = smaller plank
    plank = (xs - width / 2) * depth / (0.11 * height)
    shade = rng.uniform(-1, 1, 64).astype(np.float32)[np.floor(plank).astype(np.int64) % 64]
    seam = np.clip(np.abs(plank - np.floor(plank) - 0.5) * 2 - 0.94, 0, 1) / 0.06
    grain = cv2.remap(
        _noise(rng, (512, 512), (2, 5, 30)),
        np.mod(plank * 60, 512).astype(np.float32),
        np.mod(depth * 160, 512).astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_WRAP,
    )
    wood = np.array([0.52, 0.37, 0.24], dtype=np.float32) * (1 + 0.14 * shade + 0.22 * grain - 0.45 * seam)[..., None]
    room[below] = wood[below]

    light = 1.12 - 0.45 * np.hypot((xs - 0.30 * width) / width, (ys - 0.25 * height) / height)
    corner = np.exp(-(((ys - horizon) / (0.05 * height)) ** 2))  # the darker fold between wall and floor
    painted: Floats = np.clip(room * (light - 0.10 * corner)[..., None], 0, 1).astype(np.float32)
    return painted


def _noise(rng: np.random.Generator, shape: tuple[int, int], scales_px: tuple[int, ...]) -> Floats:
    """Smooth noise of several scales, zero mean, about unit deviation."""
    total = np.zeros(shape, dtype=np.float32)
    for scale in scales_px:
        small = rng.standard_normal((shape[0] // scale + 2, shape[1] // scale + 2)).astype(np.float32)
        total += cv2.resize(small, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)
    return np.asarray(total / math.sqrt(len(scales_px)), dtype=np.float32)


def _picture(
    room: Floats, rng: np.random.Generator, grid: tuple[Floats, Floats], at: tuple[float, float], half: float
) -> None:
    x, y = at
    xs, ys = grid
    wide = half * float(rng.uniform(0.8, 1.4))
    reach = np.maximum(np.abs(xs - x) / wide, np.abs(ys - y) / half)
    room[reach < 1.16] *= 0.93  # a trace of shade around the frame
    room[reach < 1.10] = rng.uniform(0.12, 0.4, 3)
    inside = reach < 0.95
    waves = np.sin(xs * 12 / wide + rng.uniform(0, 6)) * 0.15 * half
    sky, hill = rng.uniform(0.35, 0.9, 3), rng.uniform(0.15, 0.6, 3)
    room[inside] = np.where((ys > y + waves)[inside][:, None], hill, sky)


# ── things ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def draw_shadow(canvas: Floats, at: tuple[float, float], ground_y: float, radius: float, opacity: float) -> None:
    """Darken the floor below a thing, in place: the higher it is, the wider and fainter.

    ``at`` is the thing's centre (x, y), ``ground_y`` the floor below it, both pixels; ``opacity`` lies in [0, 1].
    """
    x, y = at
    lift = max(0.0, ground_y - (y + radius)) / radius
    wide, flat = radius * (1.05 + 0.12 * lift), radius * (0.24 + 0.04 * lift)
    centre_x = x + 0.35 * radius * (1 + 0.3 * lift)
    patch = _patch(canvas, centre_x, ground_y, 2.0 * wide, 2.0 * flat)
    if patch is None:
        return
    region, xs, ys = patch
    distance = np.hypot((xs - centre_x) / wide, (ys - ground_y) / flat)
    dark = 0.55 / (1 + 0.5 * lift) * opacity * np.clip(1.25 - 0.75 * distance, 0, 1)  # nothing beyond 1.67 radii
    region *= (1 - np.minimum(dark, 0.6))[..., None]


def draw_ball(
    canvas: Floats, at: tuple[float, float], radius: float, *, turn: float, look: Appearance, opacity: float
) -> None:
    """A striped ball, turned in the picture's plane by ``turn`` radians, lit from the upper left."""
    patch = _patch(canvas, at[0], at[1], radius + 1, radius + 1)
    if patch is None:
        return
    region, xs, ys = patch
    nx, ny = (xs - at[0]) / radius, (ys - at[1]) / radius
    distance = np.hypot(nx, ny)
    cover = np.clip((1 - distance) * radius + 0.5, 0, 1) * opacity
    nz = np.sqrt(np.clip(1 - distance**2, 0, 1))
    # The ball's own axes: turned in the plane, then tilted, so that the stripes meet at a pole that goes round.
    px = math.cos(turn) * nx + math.sin(turn) * ny
    py = -math.sin(turn) * nx + math.cos(turn) * ny
    qy = math.cos(look.tilt) * py - math.sin(look.tilt) * nz
    qz = math.sin(look.tilt) * py + math.cos(look.tilt) * nz
    stripe = np.clip(np.sin(3 * np.arctan2(qy, px)) * radius * 0.15 + 0.5, 0, 1)
    cap = np.clip((np.abs(qz) - 0.90) * radius * 0.5, 0, 1)
    stripe = stripe * (1 - cap)
    colour = np.asarray(look.rgb, dtype=np.float32)
    pale = 0.55 * colour + 0.42
    surface = stripe[..., None] * pale + (1 - stripe)[..., None] * colour
    lit = np.clip(nx * _LIGHT[0] + ny * _LIGHT[1] + nz * _LIGHT[2], 0, 1)
    shine = np.clip(lit, 0, 1) ** 24 * 0.35
    bounce = 0.10 * np.clip(ny, 0, 1)  # light back from the floor
    shaded = surface * (0.34 + 0.74 * lit + bounce)[..., None] + shine[..., None]
    region += cover[..., None].astype(np.float32) * (np.clip(shaded, 0, 1) - region)


def draw_crate(canvas: Floats, at: tuple[float, float], radius: float, *, look: Appearance, opacity: float) -> None:
    """A wooden crate, seen from the front, in place: a frame of slats round three boards.

    ``at`` is its centre (x, y) and ``radius`` half its side, in pixels; ``opacity`` lies in [0, 1].
    """
    patch = _patch(canvas, at[0], at[1], radius + 1, radius + 1)
    if patch is None:
        return
    region, xs, ys = patch
    nx, ny = (xs - at[0]) / radius, (ys - at[1]) / radius
    reach = np.maximum(np.abs(nx), np.abs(ny))
    cover = np.clip((1 - reach) * radius + 0.5, 0, 1) * opacity
    frame = np.clip((reach - 0.74) * radius * 0.8, 0, 1)
    brace = np.clip((0.16 - np.abs(nx - ny) / 1.414) * radius * 0.8, 0, 1) * (1 - frame)
    gap = np.clip((0.05 - np.abs(np.mod(ny * 2.2, 1) - 0.5)) * 12, 0, 1) * (1 - frame) * (1 - brace)
    tone = 0.72 + 0.34 * frame + 0.22 * brace - 0.40 * gap + 0.12 * (-ny) + 0.05 * np.sin(ny * 40 + 3 * np.sin(nx * 3))
    shaded = np.asarray(look.rgb, dtype=np.float32) * tone[..., None]
    region += cover[..., None].astype(np.float32) * (np.clip(shaded, 0, 1) - region)


def draw_pillar(canvas: Floats, at: tuple[float, float], radius: float, *, look: Appearance, opacity: float) -> None:
    """A round pillar, in place, from the ceiling down to ``at``, the middle of its foot (x, y) in pixels.

    ``opacity`` lies in [0, 1].
    """
    x, ground_y = at
    half = (ground_y + 1) / 2
    patch = _patch(canvas, x, ground_y - half, radius + 1, half + 1)
    if patch is None:
        return
    region, xs, ys = patch
    nx = (xs - x) / radius
    cover = np.clip((1 - np.abs(nx)) * radius + 0.5, 0, 1) * np.clip(ground_y - ys + 0.5, 0, 1) * opacity
    nz = np.sqrt(np.clip(1 - nx**2, 0, 1))
    lit = np.clip(-0.55 * nx + 0.75 * nz, 0, 1)
    base = np.where(ys > ground_y - 0.5 * radius, 0.85, 1.0) + 0.02 * np.sin(ys * 0.9 + 2 * np.sin(xs * 0.35))
    shaded = np.asarray(look.rgb, dtype=np.float32) * ((0.35 + 0.80 * lit) * base)[..., None]
    region += cover[..., None].astype(np.float32) * (np.clip(shaded, 0, 1) - region)


def _patch(
    canvas: Floats, x: float, y: float, half_width: float, half_height: float
) -> tuple[Floats, Floats, Floats] | None:
    """The part of the canvas within reach (a view), with the x and y of its pixels; None when it lies outside."""
    rows, columns = canvas.shape[:2]
    x0, x1 = max(0, math.floor(x - half_width)), min(columns, math.ceil(x + half_width) + 1)
    y0, y1 = max(0, math.floor(y - half_height)), min(rows, math.ceil(y + half_height) + 1)
    if x0 >= x1 or y0 >= y1:
        return None
    ys, xs = np.mgrid[y0:y1, x0:x1].astype(np.float32)
    return canvas[y0:y1, x0:x1], xs, ys
