"""Rendered scenes for training: a still of the footage as a photograph, a moving camera, cut-outs on physical paths.

`scene_renderer` reads the cut-outs (PNG with alpha) once; every call renders one scene from its own random numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from deeptrace.errors import FileError
from deeptrace.models.embedded.inputs import Bytes
from deeptrace.train.embedded.footage import Clip
from deeptrace.train.embedded.recipe import EmbeddedRecipe

_MOST_SIDE = 160  # pixels of a cut-out kept in memory


def scene_renderer(
    recipe: EmbeddedRecipe, clips: Sequence[Clip], *, test: bool = False
) -> Callable[[np.random.Generator, tuple[int, int], int], Bytes]:
    """A function that renders scenes over stills of ``clips``; a quarter of the cut-outs is kept for tests.

    Raises:
        FileError: there are no cut-outs in the recipe's folder.
    """
    cutouts = _cutouts(Path(recipe.cutouts or ""), test=test)
    return lambda rng, size_hw, count: render(rng, size_hw, count, clips, cutouts)


def _cutouts(folder: Path, *, test: bool) -> list[Bytes]:
    found = []
    for number, path in enumerate(sorted(folder.rglob("*.png"))):
        if "symbols" in path.parts or (number % 4 == 0) != test:
            continue
        image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if image is None or image.ndim != 3 or image.shape[2] != 4 or image[..., 3].max() == 0:
            continue
        ys, xs = np.nonzero(image[..., 3] > 128)
        if len(ys) < 400:
            continue
        image = image[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1]
        scale = min(1.0, _MOST_SIDE / max(image.shape[:2]))
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        found.append(cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA))
    if not found:
        raise FileError(f"no cut-outs (PNG with alpha) in {str(folder)!r}")
    return found


def render(
    rng: np.random.Generator, size_hw: tuple[int, int], count: int, clips: Sequence[Clip], cutouts: Sequence[Bytes]
) -> Bytes:
    """``(count, H, W, 3)``: one to three cut-outs move over a photograph, seen by a hand-held camera."""
    height, width = size_hw
    still = _still(rng, clips, size_hw)
    canvas_h, canvas_w = still.shape[:2]
    bodies = [_body(rng, size_hw, cutouts, still) for _ in range(int(rng.integers(1, 4)))]
    pan = rng.normal(0, 0.004, 2) * height * float(rng.choice([0.0, 1.0, 2.5]))
    shake = np.cumsum(rng.normal(0, 0.15 * float(rng.random() < 0.6), (count, 2)), axis=0)
    zoom = 1 + float(rng.choice([0, 0, rng.uniform(-0.004, 0.004)])) * np.arange(count)
    frames = []
    for t in range(count):
        picture = still.astype(np.float32)
        for body in bodies:
            picture = body(picture, t)
        x = (canvas_w - width) / 2 + pan[0] * (t - count / 2) + shake[t, 0]
        y = (canvas_h - height) / 2 + pan[1] * (t - count / 2) + shake[t, 1]
        matrix = np.array([[zoom[t], 0, -x * zoom[t]], [0, zoom[t], -y * zoom[t]]], np.float32)
        frames.append(
            cv2.warpAffine(picture, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
        )
    video = np.stack(frames)
    grain = rng.normal(0, float(rng.uniform(0.5, 2.5)), video.shape[:3]).astype(np.float32)
    return np.clip(np.rint(video + grain[..., None]), 0, 255).astype(np.uint8)


def _still(rng: np.random.Generator, clips: Sequence[Clip], size_hw: tuple[int, int]) -> Bytes:
    clip = clips[int(rng.integers(len(clips)))]
    pool = clip.frames()
    image = np.asarray(pool[int(rng.integers(len(pool)))])
    height, width = round(size_hw[0] * 1.2), round(size_hw[1] * 1.2)
    scale = max(height / image.shape[0], width / image.shape[1])
    image = cv2.resize(image, None, fx=scale + 1e-3, fy=scale + 1e-3, interpolation=cv2.INTER_LINEAR)
    y, x = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    image = image[y : y + height, x : x + width]
    return np.ascontiguousarray(image[:, ::-1] if rng.random() < 0.5 else image)


def _body(
    rng: np.random.Generator, size_hw: tuple[int, int], cutouts: Sequence[Bytes], still: Bytes
) -> Callable[[npt.NDArray[np.float32], int], npt.NDArray[np.float32]]:
    """A cut-out with a path: it slides, swings, falls and bounces, or stands."""
    height = size_hw[0]
    rows, columns = still.shape[:2]
    cutout = cutouts[int(rng.integers(len(cutouts)))]
    size = float(rng.uniform(0.14, 0.42)) * height / max(cutout.shape[:2])
    if rng.random() < 0.5:
        cutout = cutout[:, ::-1]
    scaled = cv2.resize(np.ascontiguousarray(cutout), None, fx=size, fy=size, interpolation=cv2.INTER_AREA)
    scaled = np.pad(scaled.astype(np.float32), ((3, 3), (3, 3), (0, 0)))
    # Lit like the place: towards the photograph's own level and contrast.
    level = float(still.mean()) / max(40.0, float(scaled[..., :3][scaled[..., 3] > 128].mean()))
    scaled[..., :3] = np.clip(scaled[..., :3] * np.clip(level, 0.55, 1.4), 0, 255)
    softness = float(rng.uniform(0.3, 0.9))
    scaled = cv2.GaussianBlur(scaled, (0, 0), softness)
    start = np.array([rng.uniform(0.1, 0.9) * columns, rng.uniform(0.25, 0.85) * rows])
    velocity = rng.normal(0, 0.012, 2) * columns * np.array([1.0, 0.35])
    kind = rng.random()
    swing, rate, phase = rng.uniform(0, 0.05) * rows, rng.uniform(0.15, 0.6), rng.uniform(0, 6.3)
    fall = rng.uniform(0.15, 0.45)
    turn = float(rng.normal(0, 0.03)) if rng.random() < 0.3 else 0.0
    shadow = rng.random() < 0.5

    def draw(picture: npt.NDArray[np.float32], t: int) -> npt.NDArray[np.float32]:
        at = start + velocity * t
        if kind < 0.3:
            at = at + np.array([0, swing * np.sin(rate * t + phase)])
        elif kind < 0.5:
            period = 14 * fall + 6
            u = ((t + phase * 3) % period) / period
            at = at - np.array([0, 4 * u * (1 - u) * fall * rows])
        elif kind < 0.65:
            at = start
        angle = turn * t
        high, wide = scaled.shape[:2]
        cos, sin = np.cos(angle), np.sin(angle)
        matrix = np.array(
            [
                [cos, -sin, at[0] - cos * wide / 2 + sin * high / 2],
                [sin, cos, at[1] - sin * wide / 2 - cos * high / 2],
            ],
            np.float32,
        )
        layer = cv2.warpAffine(scaled, matrix, (columns, rows), flags=cv2.INTER_LINEAR)
        alpha = layer[..., 3:] / 255
        if shadow:
            dark = cv2.GaussianBlur(np.roll(alpha[..., 0], (4, 3), (0, 1)), (0, 0), 3)[..., None]
            picture = picture * (1 - 0.35 * dark)
        return np.asarray(picture * (1 - alpha) + layer[..., :3] * alpha, np.float32)

    return draw
