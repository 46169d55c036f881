"""Edits that do not show at their edge: two ways to blend, grain that matches, the blur that resampling leaves.

All images are float32 in grey levels 0..255, ``(h, w, 3)``; weights are ``(h, w)`` in [0, 1].
"""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from deeptrace.inject.footage import Floats

Implementation = Literal["first", "second"]

# What one linear resampling at a random part of a pixel does on average, as a 3-tap kernel.
_RESAMPLED = np.array([0.08, 0.84, 0.08], dtype=np.float32)


def feather(mask: Floats, radius_px: float) -> Floats:
    """A mask ``(H, W)`` in [0, 1] with an edge ``radius_px`` wide, float32."""
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), max(radius_px, 0.3)), dtype=np.float32)


def widen(mask: Floats, radius_px: float) -> Floats:
    """A mask ``(H, W)`` in [0, 1] grown by ``radius_px`` pixels (soft edges stay soft), float32."""
    size = 2 * max(1, round(radius_px)) + 1
    return np.asarray(cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))), dtype=np.float32)


def over(below: Floats, above: Floats, alpha: Floats) -> Floats:
    """``above`` painted over ``below``, both ``(H, W, 3)`` float32; ``alpha`` ``(H, W)`` in [0, 1]."""
    return np.asarray(below + alpha[..., None] * (above - below), dtype=np.float32)


def blend(below: Floats, above: Floats, alpha: Floats, implementation: Implementation) -> Floats:
    """``above`` over ``below``: by a feathered edge (first), or in two frequency bands (second).

    In two bands, the coarse picture passes over a wide edge and the fine one over a narrow edge.
    """
    if implementation == "first":
        return over(below, above, alpha)
    sigma = 2.0
    low_below, low_above = (np.asarray(cv2.GaussianBlur(x, (0, 0), sigma), np.float32) for x in (below, above))
    wide = np.minimum(feather(alpha, sigma), np.clip(3 * widen(alpha, 2), 0, 1))
    fine = over(below - low_below, above - low_above, np.clip((alpha - 0.5) * 1.5 + 0.5, 0, 1))
    return np.asarray(over(low_below, low_above, wide) + fine, dtype=np.float32)


def resampled(image: Floats) -> Floats:
    """The image as if moved by part of a pixel and back in place: what a sham has in common with a warp."""
    return np.asarray(cv2.sepFilter2D(image, -1, _RESAMPLED, _RESAMPLED, borderType=cv2.BORDER_REPLICATE), np.float32)


def _fine(image: Floats) -> Floats:
    grey = image.mean(-1)
    return np.asarray(grey - cv2.GaussianBlur(grey, (0, 0), 1.0), dtype=np.float32)


def grain_of(image: Floats) -> float:
    """The grain of an image ``(H, W, 3)``, in grey levels: the deviation of its flattest quarter's finest detail."""
    local = cv2.boxFilter(_fine(image) ** 2, -1, (7, 7))
    return float(np.sqrt(max(float(np.percentile(local, 25)), 0.0)))


def regrain(image: Floats, alpha: Floats, grain: float, rng: np.random.Generator) -> Floats:
    """Add grain where the edit is smoother than the footage's own grain, and there only.

    ``image`` ``(H, W, 3)`` float32 and ``grain`` (see `grain_of`) are grey levels, ``alpha`` ``(H, W)`` in [0, 1] says
    where the edit is.
    """
    noise = rng.standard_normal(image.shape[:2], dtype=np.float32)
    if grain < 0.2:
        return image
    here = cv2.boxFilter(_fine(image) ** 2, -1, (7, 7))
    missing = np.sqrt(np.clip(grain**2 - here, 0, None))
    # White noise keeps 0.85 of its deviation above the blur that `_fine` takes away.
    return np.asarray(image + (alpha * missing / 0.85 * noise)[..., None], dtype=np.float32)


def to_pixels(image: Floats) -> npt.NDArray[np.uint8]:
    """Grey levels as uint8 of the same shape, rounded and cut off at 0 and 255."""
    return np.asarray(np.clip(image + 0.5, 0, 255), dtype=np.uint8)
