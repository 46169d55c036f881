"""Displacement fields that move with an object: smooth formulas (first), or a net of random control points (second)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from deeptrace.inject.blend import Implementation
from deeptrace.inject.footage import Floats, grid
from deeptrace.inject.shot import EditFrame
from deeptrace.inject.things import Roi, TrackedThing

Kind = Literal["bend", "bulge", "melt", "ripple"]
_KINDS: tuple[Kind, ...] = ("bend", "bulge", "melt", "ripple")


@dataclass(frozen=True)
class Bend:
    """How something deforms. ``rate`` is in radians a second; ``net`` the control points' displacements, or None."""

    kind: Kind
    phase: float
    rate: float
    waves: float
    sign: int
    net: npt.NDArray[np.float32] | None  # (2, n, n, 2): two states between which the net swings

    @classmethod
    def draw(cls, rng: np.random.Generator, implementation: Implementation) -> Bend:
        """A random way to deform."""
        kind = _KINDS[int(rng.integers(len(_KINDS)))]
        phase, rate = float(rng.uniform(0.5, 1.3)), float(rng.uniform(1.0, 4.5))
        waves, sign = float(rng.uniform(0.8, 1.5)), int(rng.choice([-1, 1]))
        net = rng.normal(0, 0.55, (2, 5, 5, 2)).astype(np.float32) if implementation == "second" else None
        return cls(kind, phase, rate, waves, sign, net)

    def params(self) -> dict[str, Any]:
        """The numbers, as JSON values."""
        return {"warp": "net" if self.net is not None else self.kind, "rate": self.rate, "waves": self.waves}

    def at(self, u: Floats, v: Floats, since: float) -> tuple[Floats, Floats]:
        """Displacement at places ``(u, v)`` (in sizes of the object from its centre), about 1 at the strongest."""
        turn = self.phase + self.rate * since
        if self.net is not None:
            swing = 0.5 + 0.5 * np.cos(turn)
            net = self.net[0] * np.float32(swing) + self.net[1] * np.float32(1 - swing)
            column, row = (u + 1.2) / 2.4 * 4, (v + 1.2) / 2.4 * 4
            moved = cv2.remap(net, column, row, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
            return np.asarray(moved[..., 0], np.float32), np.asarray(moved[..., 1], np.float32)
        # The swing never stops at zero: a body that is bent stays bent while it wobbles.
        swing = self.sign * (0.7 + 0.3 * np.sin(turn))
        if self.kind == "bend":
            dx, dy = np.sin(np.pi * self.waves * v + self.phase) * swing, 0.3 * np.sin(3 * u) * swing
        elif self.kind == "bulge":
            fall = 1.6 * np.exp(-(u**2 + v**2) / 0.35) * swing
            dx, dy = u * fall, v * fall
        elif self.kind == "melt":
            drip = 0.55 + 0.45 * np.sin(7 * u * self.waves + turn)
            dx, dy = 0.35 * np.sin(4 * v + turn), abs(swing) * drip * np.clip(v + 0.6, 0, 1.2)
        else:
            dx, dy = 0.6 * np.sin(9 * self.waves * v + 2 * turn), 0.6 * np.sin(9 * self.waves * u + 2 * turn)
        return dx.astype(np.float32), dy.astype(np.float32)


def offsets_in(bend: Bend, thing: TrackedThing, roi: Roi, moment: EditFrame, *, reach: float) -> Floats:
    """Pull offsets ``(h, w, 2)`` in pixels for ``roi``: ``reach`` sizes of the object at level 1,
    a third of that at least."""
    index = moment.index
    x0, y0, x1, y1 = roi
    xs, ys = grid(y1 - y0, x1 - x0)
    size, (cx, cy) = float(thing.sizes[index]), thing.centres[index]
    u, v = (xs + np.float32(x0 - cx)) / np.float32(size), (ys + np.float32(y0 - cy)) / np.float32(size)
    dx, dy = bend.at(u, v, moment.since_seconds)
    amount = np.float32(-0.5 * reach * size * (0.3 + 0.7 * moment.level))
    return np.asarray(np.stack([dx * amount, dy * amount], -1), dtype=np.float32)


def pull(image: Floats, offsets: Floats, implementation: Implementation) -> Floats:
    """``out(p) = image(p + offsets(p))``: cubic (first) or linear (second)."""
    xs, ys = grid(*offsets.shape[:2])
    smooth = cv2.INTER_CUBIC if implementation == "first" else cv2.INTER_LINEAR
    edge = cv2.BORDER_REPLICATE if image.ndim == 3 else cv2.BORDER_CONSTANT
    moved = cv2.remap(image, xs + offsets[..., 0], ys + offsets[..., 1], smooth, borderMode=edge)
    return np.clip(moved, 0, 255 if image.ndim == 3 else 1).astype(np.float32)
