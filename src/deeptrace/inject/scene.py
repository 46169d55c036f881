"""A short scene drawn from nothing: a room, a hand-held camera, things that move as things do.

A seed makes a `Scene`; `Scene.render` makes its `Frames`. Nothing here is a trace: one ball leaves through the frame's
edge, another passes behind a pillar, as in any video. An injector renders the same scene a second time with one thing
changed. Coordinates are pixels of the scene, which is the frame of a camera at rest; y points down.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
import numpy.typing as npt

from deeptrace.errors import VideoError
from deeptrace.inject.draw import Appearance, Floats, draw_ball, draw_crate, draw_pillar, draw_shadow, paint_room
from deeptrace.records import Box, Frames

Path = Callable[[float], tuple[float, float]]
Along = Callable[[float], float]
Opacity = Callable[[str, float], float]

# The camera drifts by at most this share of the frame's height, so the painted room is larger than the frame by it.
_MARGIN = 0.06


@dataclass(frozen=True)
class SceneThing:
    """One thing of a scene. ``path`` gives its centre in scene pixels at a time in seconds.

    ``ground_y_px`` is where it stands or casts its shadow; things are drawn from far (small) to near (large).
    ``radius_px`` is half its width and half its height.
    """

    name: str
    look: Appearance
    radius_px: float
    ground_y_px: float
    path: Path
    turn: Callable[[float], float] = lambda _: 0.0  # radians at a time

    def velocity(self, time_seconds: float) -> tuple[float, float]:
        """Its velocity (x, y) in pixels a second, from the positions 10 ms apart."""
        (x0, y0), (x1, y1) = self.path(time_seconds - 0.01), self.path(time_seconds)
        return ((x1 - x0) / 0.01, (y1 - y0) / 0.01)


@dataclass(frozen=True)
class Scene:
    """A room with things in it, seen for ``duration_seconds`` by a camera that drifts like a hand-held one.

    ``target`` names the thing that an injector may change at ``onset_seconds``: then it is in full view and apart from
    everything else.
    """

    seed: int
    size_hw: tuple[int, int]
    fps: float
    duration_seconds: float
    things: tuple[SceneThing, ...]
    target: str
    onset_seconds: float

    @property
    def pts_seconds(self) -> npt.NDArray[np.float64]:
        """The time of each frame, ``(T,)``."""
        count = max(1, round(self.duration_seconds * self.fps))
        return np.arange(count, dtype=np.float64) / self.fps

    def thing(self, name: str) -> SceneThing:
        """The thing of that name."""
        return next(thing for thing in self.things if thing.name == name)

    def camera(self, time_seconds: float) -> npt.NDArray[np.float64]:
        """Scene pixels to frame pixels, ``(2, 3)`` affine: a slow drift, a slight roll and a breath of zoom."""
        height, width = self.size_hw
        phase = self._phases
        # Three slow sines a direction: hand-held drift is mostly below 1 Hz. Amplitudes in shares of the height.
        swing = [
            sum(
                a * math.sin(2 * math.pi * f * time_seconds + p)
                for a, f, p in zip((0.010, 0.006, 0.0025), (0.13, 0.31, 0.83), phase[k], strict=True)
            )
            for k in range(3)
        ]
        angle = 0.25 * swing[2]
        zoom = 1.0 + 0.3 * swing[0] * swing[1] * 10
        cos, sin = zoom * math.cos(angle), zoom * math.sin(angle)
        cx, cy = width / 2, height / 2
        dx, dy = swing[0] * height, swing[1] * height
        return np.array(
            [[cos, -sin, cx - cos * cx + sin * cy + dx], [sin, cos, cy - sin * cx - cos * cy + dy]], dtype=np.float64
        )

    def box_at(self, name: str, time_seconds: float) -> Box | None:
        """The box of a thing in fractions of the frame, cut off at the frame's edge; None when it is outside.

        It encloses the thing's outline (not its shadow) as the camera sees it, whatever stands in front.
        """
        thing = self.thing(name)
        (x, y), r = thing.path(time_seconds), thing.radius_px
        view = self.camera(time_seconds)
        # A ball's outline is a circle under this camera; a crate's corners reach sqrt(2) further when it is turned.
        u, v = view @ np.array([x, y, 1.0])
        # One pixel more on each side than the radius: the soft edge of the drawing and of the camera's resampling.
        reach = (r + 1.0) * math.hypot(view[0, 0], view[1, 0])
        height, width = self.size_hw
        x0, y0 = max(0.0, (u + 0.5 - reach) / width), max(0.0, (v + 0.5 - reach) / height)
        x1, y1 = min(1.0, (u + 0.5 + reach) / width), min(1.0, (v + 0.5 + reach) / height)
        return (float(x0), float(y0), float(x1), float(y1)) if x0 < x1 and y0 < y1 else None

    def render(self, opacity: Opacity = lambda _name, _time: 1.0) -> Frames:
        """The frames ``(T, H, W, 3)`` uint8 RGB.

        ``opacity`` says how much of a thing (with its shadow) is there at a time in seconds: 1 all, 0 nothing.

        Grain and camera depend on seed and time alone, so two renderings differ only where opacities differ.
        """
        times = self.pts_seconds
        height, width = self.size_hw
        images = np.empty((len(times), height, width, 3), dtype=np.uint8)
        for index, time in enumerate(times):
            images[index] = self._frame(index, float(time), opacity)
        return Frames(images, times, self.size_hw, float(self.duration_seconds))

    @cached_property
    def _phases(self) -> npt.NDArray[np.float64]:
        return np.random.default_rng((self.seed, 1)).uniform(0.0, 2 * math.pi, (3, 3))

    @cached_property
    def _margin_px(self) -> int:
        return math.ceil(_MARGIN * self.size_hw[0]) + 2

    @cached_property
    def _room(self) -> Floats:
        return paint_room(np.random.default_rng((self.seed, 2)), self.size_hw, self._margin_px)

    def _frame(self, index: int, time: float, opacity: Opacity) -> npt.NDArray[np.uint8]:
        canvas = self._room.copy()  # (H + 2m, W + 2m, 3)
        margin = self._margin_px
        shown = [(thing, opacity(thing.name, time)) for thing in sorted(self.things, key=lambda t: t.ground_y_px)]
        for thing, share in shown:
            x, y = thing.path(time)
            if share > 0.0:
                draw_shadow(canvas, (x + margin, y + margin), thing.ground_y_px + margin, thing.radius_px, share)
        for thing, share in shown:
            if share <= 0.0:
                continue
            x, y = thing.path(time)
            at = (x + margin, y + margin)
            if thing.look.shape == "ball":
                draw_ball(canvas, at, thing.radius_px, turn=thing.turn(time), look=thing.look, opacity=share)
            elif thing.look.shape == "crate":
                draw_crate(canvas, at, thing.radius_px, look=thing.look, opacity=share)
            else:
                foot = (at[0], thing.ground_y_px + margin)
                draw_pillar(canvas, foot, thing.radius_px, look=thing.look, opacity=share)
        view = self.camera(time)
        view[:, 2] -= view[:, :2] @ np.array([margin, margin], dtype=np.float64)
        height, width = self.size_hw
        seen = cv2.warpAffine(canvas, view, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        # Grain of about 2.5 grey levels, the same in all channels: a small sensor indoors.
        grain = np.random.default_rng((self.seed, 3, index)).standard_normal((height, width, 1), dtype=np.float32)
        return np.clip(seen * 255.0 + 2.5 * grain + 0.5, 0, 255).astype(np.uint8)


# ── from a seed to a scene ──────────────────────────────────────────────────────────────────────────────────────────


def make_scene(
    seed: int,
    *,
    duration_seconds: float = 4.0,
    fps: float = 24.0,
    size_hw: tuple[int, int] = (360, 640),
    onset_seconds: float | None = None,
) -> Scene:
    """The scene of that seed; the same arguments give the same pixels on the same machine.

    ``onset_seconds`` is when the bouncing ball is in full view at about the middle of the frame (default: a moment
    between 45 and 60 % of the duration); it is moved onto the next frame's time.

    Raises:
        VideoError: ``BAD_WINDOW`` for a size below 64 x 64 or no room for an onset (fewer than three frames).
    """
    height, width = size_hw
    count = round(duration_seconds * fps) if math.isfinite(duration_seconds * fps) else 0
    if min(height, width) < 64 or count < 3:
        raise VideoError(
            "BAD_WINDOW", f"a scene needs at least 64 x 64 pixels and 3 frames, got {width} x {height} and {count}"
        )
    rng = np.random.default_rng((seed, 0))
    share = rng.uniform(0.45, 0.60)
    wanted = share * duration_seconds if onset_seconds is None else onset_seconds
    # The first frame shows every thing and the last one the change.
    onset = min(max(math.ceil(wanted * fps - 1e-6), 1), count - 1) / fps
    # Nine tries in ten fail at most; a thousand fail only where the frame is too narrow for the things in it.
    for _ in range(1000):
        things = _things(rng, (height, width), onset, duration_seconds)
        if _apart(things, onset, (height, width)):
            return Scene(seed, (height, width), fps, duration_seconds, things, "target", onset)
    raise VideoError("BAD_WINDOW", f"no room for a scene in {width} x {height} pixels")


_BALL_COLOURS = {
    "red": (0.80, 0.10, 0.09),
    "blue": (0.10, 0.28, 0.75),
    "yellow": (0.93, 0.75, 0.10),
    "green": (0.10, 0.55, 0.22),
    "orange": (0.93, 0.45, 0.06),
    "purple": (0.46, 0.17, 0.60),
}


def _ball(
    rng: np.random.Generator,
    name: str,
    colour: str,
    radius: float,
    *,
    ground: float,
    x: Along,
    rise: float = 0.0,
    period: float = 1.0,
    top_at: float = 0.0,
) -> SceneThing:
    """A ball that rolls along ``x``, or hops ``rise`` pixels high every ``period`` seconds, on top at ``top_at``."""

    def path(t: float) -> tuple[float, float]:
        u = ((t - top_at) / period + 0.5) % 1.0
        return x(t), ground - radius - 4 * rise * u * (1 - u)

    # Without slipping, it turns by one radian for each radius of way.
    look = Appearance("ball", colour, _BALL_COLOURS[colour], float(rng.uniform(0.2, 1.2)))
    return SceneThing(name, look, radius, ground, path, lambda t: x(t) / radius)


def _things(
    rng: np.random.Generator, size_hw: tuple[int, int], onset: float, duration: float
) -> tuple[SceneThing, ...]:
    height, width = size_hw
    unit = min(height, width * 9 / 16)  # sizes and speeds, so that a portrait frame is not filled by one ball
    colours = [str(c) for c in rng.permutation(list(_BALL_COLOURS))]
    side = int(rng.choice([-1, 1]))  # the target moves to this side, the one that leaves to the other

    speed = side * float(rng.uniform(0.42, 0.62)) * unit
    middle_x = width * float(rng.uniform(0.40, 0.60))
    target = _ball(
        rng,
        "target",
        colours[0],
        float(rng.uniform(0.085, 0.115)) * unit,
        ground=0.93 * height,
        x=lambda t: middle_x + speed * (t - onset),
        rise=float(rng.uniform(0.28, 0.40)) * unit,
        period=float(rng.uniform(0.9, 1.2)),
        top_at=onset + float(rng.uniform(-0.2, 0.2)),  # plainly in mid-air at the onset
    )

    # Leaves through the edge at about two thirds of the clip, in both twins.
    gone = duration * float(rng.uniform(0.55, 0.75))
    leave_speed = -side * float(rng.uniform(0.35, 0.5)) * unit
    edge = 0.0 if side > 0 else float(width)
    leaver = _ball(
        rng,
        "leaver",
        colours[1],
        float(rng.uniform(0.05, 0.065)) * unit,
        ground=0.83 * height,
        x=lambda t: edge + leave_speed * (t - gone),
    )

    # Rolls behind the pillar and comes out again.
    pillar_x = width * (0.80 if side > 0 else 0.20)
    passing = duration * float(rng.uniform(0.4, 0.6))
    pass_speed = side * float(rng.uniform(0.22, 0.32)) * unit
    passer = _ball(
        rng,
        "passer",
        colours[2],
        float(rng.uniform(0.05, 0.06)) * unit,
        ground=0.74 * height,
        x=lambda t: pillar_x + pass_speed * (t - passing),
    )
    pillar_radius, foot = 0.075 * unit, 0.79 * height
    stone = Appearance("pillar", "grey", (0.62, 0.60, 0.57), 0.0)
    pillar = SceneThing("pillar", stone, pillar_radius, foot, lambda _: (pillar_x, foot - pillar_radius))

    # Slides to and fro on the floor, as if pulled.
    half, floor = 0.075 * unit, 0.86 * height
    crate_x = width * (0.30 if side > 0 else 0.70)
    swing, rate, phase = 0.10 * width, float(rng.uniform(0.18, 0.28)), float(rng.uniform(0, 2 * math.pi))
    wood = Appearance("crate", "brown", (0.55, 0.36, 0.18), 0.0)
    crate = SceneThing(
        "crate",
        wood,
        half,
        floor,
        lambda t: (crate_x + swing * math.sin(2 * math.pi * rate * t + phase), floor - half),
    )
    return (passer, pillar, leaver, crate, target)


def _apart(things: tuple[SceneThing, ...], onset: float, size_hw: tuple[int, int]) -> bool:
    """True when the target touches nothing and no edge for 0.3 s around the onset, and is well off the floor then."""
    height, width = size_hw
    target = things[-1]
    for time in (onset - 0.3, onset - 0.15, onset, onset + 0.15, onset + 0.3):
        x, y = target.path(time)
        r = 1.3 * target.radius_px
        if not (r < x < width - r and r < y < height - r / 1.3):
            return False
        for other in things[:-1]:
            ox, oy = other.path(time)
            if other.name == "pillar":
                if abs(x - ox) < r + other.radius_px:
                    return False
            elif max(abs(x - ox), abs(y - oy)) < r + 1.3 * other.radius_px:
                return False
    x, y = target.path(onset)
    return target.ground_y_px - (y + target.radius_px) > target.radius_px
