"""Footage from nothing: a photograph (or a painted room) seen by a moving camera, with things on physical paths in it.

`render_scene` makes frames and the exact `Things` in them, so that `inject` needs to find nothing. Things may enter and
leave the frame and pass in front of each other, as in any video: none of that is a trace.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from deeptrace.errors import FileError, VideoError
from deeptrace.inject.assets import Asset, Image, cutout, photo
from deeptrace.inject.draw import Appearance, Floats, draw_ball, draw_crate, paint_room
from deeptrace.inject.footage import WORK_SIDE, Motion, Transform, to_full
from deeptrace.inject.things import Things, TrackedThing
from deeptrace.records import Frames

_COLOURS = ((0.80, 0.10, 0.09), (0.10, 0.28, 0.75), (0.93, 0.75, 0.10), (0.10, 0.55, 0.22), (0.93, 0.45, 0.06))
# Spare picture round the frame for the camera to move in, share of the frame on each side.
_MARGIN = 0.16
_ASSET_TRIES = 8


@dataclass(frozen=True)
class RenderedScene:
    """Frames, the things in them with exact masks, and what the scene was made of (JSON values)."""

    frames: Frames
    things: Things
    params: dict[str, Any]


@dataclass(frozen=True)
class _Actor:
    """A sprite and its life: at a time in seconds, its foot's place (x, y in frame pixels), size and tilt."""

    sprite: Floats  # (h, w, 4) RGBA, 0..1, colours not premultiplied
    path: Callable[[float], tuple[float, float]]  # the middle of its base
    grow: Callable[[float], float]
    tilt: Callable[[float], float]  # radians
    height_px: float
    ground: float | None  # y of its shadow, None when it flies
    depth: float
    moving: bool


def render_scene(
    rng_seed: int,
    *,
    photos: Sequence[Asset] = (),
    cutouts: Sequence[Asset] = (),
    size_hw: tuple[int, int] = (126, 224),
    fps: float = 8.0,
    seconds: float = 3.0,
) -> RenderedScene:
    """A scene of that seed, ``seconds`` long; the same arguments give the same frames on the same machine.

    Without ``photos`` the background is a painted room, without ``cutouts`` things are painted balls and crates.
    Assets may be files (read when needed) or arrays. At least one thing moves and at least one stands still. A file
    that cannot serve is passed over for another one; ``params`` names those that were used.

    Raises:
        VideoError: ``BAD_WINDOW`` for a size below 64 x 64 or fewer than 4 frames.
        FileError: eight files in a row are not pictures, or are cut-outs without transparency.
    """
    height, width = size_hw
    count = round(seconds * fps) if math.isfinite(seconds * fps) else 0
    if min(size_hw) < 64 or count < 4:
        raise VideoError("BAD_WINDOW", f"a scene needs 64 x 64 pixels and 4 frames, got {width} x {height} and {count}")
    rng = np.random.default_rng((rng_seed, 21))
    times = np.arange(count, dtype=np.float64) / fps
    canvas, margin, backdrop = _backdrop(rng, photos, size_hw)
    actors, names = _cast(rng, cutouts, size_hw, seconds, float(canvas.mean()))
    view = _camera(rng, size_hw, seconds)
    exposure, grain = float(rng.uniform(0.0, 0.03)), float(rng.uniform(0.5, 4.0))
    ratio = min(1.0, WORK_SIDE / max(size_hw))
    work = (max(16, round(width * ratio)), max(16, round(height * ratio)))  # (w, h)
    scale = (width / work[0], height / work[1])
    down = np.linalg.inv(to_full(scale))
    images = np.empty((count, height, width, 3), np.uint8)
    masks = np.zeros((len(actors), count, work[1], work[0]), np.uint8)
    camera = np.empty((count, 3, 3))
    home = np.array([[1, 0, -margin[0]], [0, 1, -margin[1]], [0, 0, 1]], np.float64)  # canvas to frame at rest

    def backdrop_at(t: int) -> Floats:
        seen = cv2.warpAffine(
            canvas,
            (view(float(times[t])) @ home)[:2],
            (width, height),
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REFLECT,
        )
        return np.asarray(seen, dtype=np.float32)

    def developed(picture: Floats, t: int) -> Image:
        """A painted picture with the exposure and the grain of its frame."""
        noise = np.random.default_rng((rng_seed, 22, t)).standard_normal((height, width, 1), dtype=np.float32)
        gain = 1.0 + exposure * math.sin(1.7 * float(times[t]) + rng_seed)
        return np.clip(picture * (255.0 * gain) + grain * noise + 0.5, 0, 255).astype(np.uint8)

    for t, time in enumerate(times):
        look = view(float(time))
        camera[t] = down @ look @ np.linalg.inv(down)
        picture = backdrop_at(t)
        for actor in actors:
            if actor.ground is not None:
                _shadow(picture, actor, float(time), look)
        for k, actor in enumerate(actors):
            place = look @ _placement(actor, float(time))
            mask = _paint(picture, actor.sprite, place)
            if mask is None:
                continue
            for nearer in range(k):
                masks[nearer, t] = (masks[nearer, t] * (1 - _small(mask, work))).astype(np.uint8)
            masks[k, t] = (_small(mask, work) * 255 + 0.5).astype(np.uint8)
        images[t] = developed(picture, t)
    camera = camera @ np.linalg.inv(camera[0])
    small = images
    if work != (width, height):
        small = np.stack([cv2.resize(image, work, interpolation=cv2.INTER_AREA) for image in images])
    # The flow is not needed: what moves, and how the camera does, is known.
    none = np.zeros((0, work[1], work[0], 2), np.float32)
    motion = Motion(small, none, none, camera, np.zeros(count, np.int64), size_hw, exact=True)
    things = [_thing(motion, masks[k], actor) for k, actor in enumerate(actors)]
    found = sorted((thing for thing in things if thing is not None), key=lambda one: not one.moving)
    frames = Frames(images, times, size_hw, count / fps)
    params = {"scene_seed": rng_seed, "backdrop": backdrop, "cutouts": names, "fps": fps, "seconds": seconds}
    return RenderedScene(frames, Things(tuple(found), motion, lambda t: developed(backdrop_at(t), t)), params)


# ── what there is ───────────────────────────────────────────────────────────────────────────────────────────────────


def _name(asset: Asset) -> str:
    return "array" if isinstance(asset, np.ndarray) else Path(asset).name


def _backdrop(
    rng: np.random.Generator, photos: Sequence[Asset], size_hw: tuple[int, int]
) -> tuple[Floats, tuple[float, float], str]:
    """The background with its margin (x, y) in pixels, ``(H + 2 my, W + 2 mx, 3)`` in 0..1, and its name."""
    height, width = size_hw
    if not photos:
        margin = math.ceil(_MARGIN * max(size_hw))
        return paint_room(rng, size_hw, margin), (float(margin), float(margin)), "painted room"
    asset, picture = _usable(rng, photos, photo)
    mx, my = math.ceil(_MARGIN * width), math.ceil(_MARGIN * height)
    want_w, want_h = width + 2 * mx, height + 2 * my
    cover = max(want_w / picture.shape[1], want_h / picture.shape[0])
    scale = cover * float(rng.uniform(1.0, 1.5)) if cover < 0.7 else cover
    size = (max(want_w, round(picture.shape[1] * scale)), max(want_h, round(picture.shape[0] * scale)))
    sized = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    x, y = int(rng.integers(size[0] - want_w + 1)), int(rng.integers(size[1] - want_h + 1))
    part = sized[y : y + want_h, x : x + want_w]
    if rng.uniform() < 0.5:
        part = part[:, ::-1]
    return np.ascontiguousarray(part).astype(np.float32) / 255.0, (float(mx), float(my)), _name(asset)


def _painted_sprite(rng: np.random.Generator) -> Floats:
    """A ball or a crate of our own drawing, RGBA 0..1: its alpha is what differs on black and on white."""
    rgb = _COLOURS[int(rng.integers(len(_COLOURS)))]
    on = [np.zeros((96, 96, 3), np.float32), np.ones((96, 96, 3), np.float32)]
    ball, turn = bool(rng.uniform() < 0.65), float(rng.uniform(0, 6))
    look = (
        Appearance("ball", "", rgb, float(rng.uniform(0.2, 1.2)))
        if ball
        else Appearance("crate", "", (0.55, 0.36, 0.18), 0.0)
    )
    for canvas in on:
        if ball:
            draw_ball(canvas, (47.5, 47.5), 46, turn=turn, look=look, opacity=1.0)
        else:
            draw_crate(canvas, (47.5, 47.5), 46, look=look, opacity=1.0)
    alpha = 1.0 - (on[1] - on[0]).mean(-1)
    colours = on[0] / np.maximum(alpha, 1e-3)[..., None]
    return np.dstack([np.clip(colours, 0, 1), np.clip(alpha, 0, 1)]).astype(np.float32)


def _usable(rng: np.random.Generator, assets: Sequence[Asset], read: Callable[[Asset], Image]) -> tuple[Asset, Image]:
    """An asset drawn at random; folders hold some that cannot serve, and another one is drawn instead."""
    for attempt in range(_ASSET_TRIES):
        asset = assets[int(rng.integers(len(assets)))]
        try:
            return asset, read(asset)
        except FileError:
            if attempt == _ASSET_TRIES - 1:
                raise
    raise AssertionError("unreachable")


def _cast(
    rng: np.random.Generator,
    cutouts: Sequence[Asset],
    size_hw: tuple[int, int],
    seconds: float,
    light: float,
) -> tuple[list[_Actor], list[str]]:
    """Two to four actors from far to near; the first drawn moves, the second stands. ``light``: the backdrop's mean."""
    height, width = size_hw
    actors, names = [], []
    for k in range(int(rng.integers(2, 5))):
        if cutouts:
            asset, pixels = _usable(rng, cutouts, cutout)
            sprite = pixels.astype(np.float32) / 255.0
            names.append(_name(asset))
        else:
            sprite = _painted_sprite(rng)
        if rng.uniform() < 0.5:
            sprite = sprite[:, ::-1]
        tall = float(np.clip(rng.lognormal(math.log(0.30), 0.35), 0.14, 0.6)) * height
        tall *= min(1.0, 0.4 * width / (tall * sprite.shape[1] / sprite.shape[0]))
        # Shrunk to what is needed, once, and lit half-way like the place it stands in.
        ratio = 1.3 * tall / sprite.shape[0]
        if ratio < 1:
            size = (max(4, round(sprite.shape[1] * ratio)), max(4, round(sprite.shape[0] * ratio)))
            flat = np.dstack([sprite[..., :3] * sprite[..., 3:], sprite[..., 3]])
            flat = cv2.resize(np.ascontiguousarray(flat), size, interpolation=cv2.INTER_AREA)
            sprite = np.dstack([flat[..., :3] / np.maximum(flat[..., 3:], 1e-3), flat[..., 3]])
        sprite = np.ascontiguousarray(sprite, dtype=np.float32)
        solid = sprite[..., 3] > 0.5
        own = float(sprite[..., :3][solid].mean()) if solid.any() else 0.5
        gain = float(np.clip((0.5 * light + 0.5 * own) / max(own, 0.05), 0.6, 1.5))
        sprite[..., :3] = np.clip(sprite[..., :3] * gain, 0, 1)
        moving = k == 0 or (k > 1 and bool(rng.uniform() < 0.6))
        actors.append(_actor(rng, sprite, tall, size_hw, seconds, moving=moving))
    return sorted(actors, key=lambda actor: actor.depth), names


def _actor(
    rng: np.random.Generator, sprite: Floats, tall: float, size_hw: tuple[int, int], seconds: float, *, moving: bool
) -> _Actor:
    height, width = size_hw
    ground = float(rng.uniform(0.62, 0.97)) * height
    x0 = float(rng.uniform(0.15, 0.85)) * width
    side = 1.0 if x0 < width / 2 else -1.0
    if rng.uniform() < 0.25:
        side = -side
    kind = str(rng.choice(["glide", "glide", "hop", "fly", "sway", "throw"])) if moving else "stand"
    speed = side * float(rng.uniform(0.12, 0.45)) * height
    rise, period = float(rng.uniform(0.08, 0.3)) * height, float(rng.uniform(0.5, 1.1))
    phase, nod = float(rng.uniform(0, 6.28)), float(rng.uniform(0.02, 0.09))
    approach = float(rng.uniform(-0.12, 0.18)) if kind in ("glide", "fly") else 0.0
    pull = float(rng.uniform(-0.2, 0.2)) * abs(speed) * side
    throw_at = float(rng.uniform(0.2, 0.8)) * seconds
    gravity = float(rng.uniform(0.8, 1.6)) * height

    def path(t: float) -> tuple[float, float]:
        if kind == "stand":
            return x0, ground
        x = x0 + speed * t + 0.5 * pull * t * t
        if kind == "hop":
            u = (t / period + phase) % 1.0
            return x, ground - 4 * rise * u * (1 - u)
        if kind == "fly":
            return x, ground - 0.35 * height + 0.05 * height * math.sin(2.3 * t + phase)
        if kind == "sway":
            return x0 + 0.15 * width * math.sin(1.9 * t / max(period, 0.6) + phase), ground
        if kind == "throw":
            return x, min(ground, ground - 0.4 * height + 0.5 * gravity * (t - throw_at) ** 2)
        return x, ground

    def tilt(t: float) -> float:
        if kind == "stand":
            return 0.0
        if kind == "throw":
            return 1.2 * side * t + phase
        return nod * math.sin(7.0 * t + phase)

    return _Actor(
        sprite,
        path,
        lambda t: max(0.5, 1.0 + approach * t),
        tilt,
        tall,
        None if kind in ("fly", "throw") else ground,
        ground,
        moving,
    )


def _camera(rng: np.random.Generator, size_hw: tuple[int, int], seconds: float) -> Callable[[float], Transform]:
    """Frame at rest to frame at a time: a pan or a zoom or neither, with the unrest of a hand or without."""
    height, width = size_hw
    steady = bool(rng.uniform() < 0.25)
    room = 0.5 * _MARGIN * np.array([width, height])
    pan = rng.uniform(-1, 1, 2) * room * (0.0 if steady or rng.uniform() < 0.3 else 1.0)
    zoom = 0.0 if steady or rng.uniform() < 0.5 else float(rng.uniform(-0.02, 0.08))
    shake = 0.0 if steady else float(rng.uniform(0.0, 0.006)) * height
    phase = rng.uniform(0, 2 * np.pi, (2, 3))
    ease = bool(rng.uniform() < 0.5)

    def view(time: float) -> Transform:
        u = time / seconds
        u = 3 * u * u - 2 * u**3 if ease else u
        dx, dy = pan * (u - 0.5)
        if shake:
            waves = np.sin(2 * np.pi * np.array([0.7, 1.9, 3.3]) * time + phase) * np.array([1.0, 0.5, 0.3])
            dx, dy = dx + shake * waves[0].sum(), dy + shake * waves[1].sum()
        size = 1.0 + zoom * u
        cx, cy = width / 2, height / 2
        return np.array([[size, 0, cx - size * cx + dx], [0, size, cy - size * cy + dy], [0, 0, 1]], np.float64)

    return view


# ── painting ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _placement(actor: _Actor, time: float) -> Transform:
    """Sprite pixels onto frame pixels (camera at rest)."""
    h, w = actor.sprite.shape[:2]
    x, y = actor.path(time)
    size = actor.height_px * actor.grow(time) / h
    cos, sin = size * math.cos(actor.tilt(time)), size * math.sin(actor.tilt(time))
    # It turns round the middle of its body, which stands half its height above the base.
    cx, cy = (w - 1) / 2, (h - 1) / 2
    up = y - 0.5 * actor.height_px * actor.grow(time)
    return np.array([[cos, -sin, x - cos * cx + sin * cy], [sin, cos, up - sin * cx - cos * cy], [0, 0, 1]], np.float64)


def _paint(picture: Floats, sprite: Floats, place: Transform) -> Floats | None:
    """Paint the sprite into the picture; returns its alpha over the whole frame, None when it is outside."""
    height, width = picture.shape[:2]
    h, w = sprite.shape[:2]
    corners = place @ np.array([[-1, -1, 1], [w, -1, 1], [-1, h, 1], [w, h, 1]], np.float64).T
    x0, y0 = max(0, int(corners[0].min()) - 1), max(0, int(corners[1].min()) - 1)
    x1, y1 = min(width, int(corners[0].max()) + 2), min(height, int(corners[1].max()) + 2)
    if x0 >= x1 or y0 >= y1:
        return None
    matrix = place[:2].copy()
    matrix[:, 2] -= (x0, y0)
    flat = np.dstack([sprite[..., :3] * sprite[..., 3:], sprite[..., 3]])
    moved = cv2.warpAffine(flat, matrix, (x1 - x0, y1 - y0), flags=cv2.INTER_LINEAR)
    part = picture[y0:y1, x0:x1]
    part *= 1.0 - moved[..., 3:]
    part += moved[..., :3]
    alpha = np.zeros((height, width), np.float32)
    alpha[y0:y1, x0:x1] = moved[..., 3]
    return alpha


def _shadow(picture: Floats, actor: _Actor, time: float, look: Transform) -> None:
    """A soft dark ellipse on the ground, wider and fainter the higher the thing is above it."""
    assert actor.ground is not None
    x, y = actor.path(time)
    lift = max(0.0, actor.ground - y) / actor.height_px
    at = look @ np.array([x + 0.1 * actor.height_px, actor.ground, 1.0])
    wide = 0.55 * actor.height_px * actor.sprite.shape[1] / actor.sprite.shape[0] * (1 + 0.3 * lift)
    flat = max(1.5, 0.16 * wide)
    height, width = picture.shape[:2]
    x0, x1 = max(0, int(at[0] - 2 * wide)), min(width, int(at[0] + 2 * wide) + 1)
    y0, y1 = max(0, int(at[1] - 3 * flat)), min(height, int(at[1] + 3 * flat) + 1)
    if x0 >= x1 or y0 >= y1:
        return
    xs = (np.arange(x0, x1, dtype=np.float32) - at[0]) / wide
    ys = (np.arange(y0, y1, dtype=np.float32) - at[1]) / flat
    dark = (0.5 / (1 + 2 * lift)) * np.exp(-1.5 * (xs[None, :] ** 2 + ys[:, None] ** 2))
    picture[y0:y1, x0:x1] *= (1.0 - dark)[..., None].astype(np.float32)


def _small(mask: Floats, size: tuple[int, int]) -> Floats:
    if (mask.shape[1], mask.shape[0]) == size:
        return mask
    return np.asarray(cv2.resize(mask, size, interpolation=cv2.INTER_AREA), dtype=np.float32)


def _thing(motion: Motion, masks: npt.NDArray[np.uint8], actor: _Actor) -> TrackedThing | None:
    """What `find_things` would say of an actor, had it perfect eyes; None when it is hardly ever in view."""
    count, height, width = masks.shape
    areas = masks.reshape(count, -1).astype(np.float64).sum(1) / 255.0
    shown = areas > max(0.003 * height * width, 0.35 * float(areas.max()))
    shown &= (masks > 127).reshape(count, -1).sum(1) > 0.5 * areas  # a cut-out that one sees through is no thing
    # The longest run in which it is in view.
    edges = np.flatnonzero(np.diff(np.concatenate([[0], shown.astype(np.int8), [0]])))
    runs = [(int(b - a), int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]
    if not runs or max(runs)[0] < 4:
        return None
    _, low, high = max(runs)
    return TrackedThing.of(motion, masks, low, high, moving=actor.moving)
