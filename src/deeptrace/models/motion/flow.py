"""What the motion model sees: frames at a common rate and size, split into shots, with the camera's motion undone.

`Frames` go in, `SteadyShot`s come out. Pixels here are those of the shrunk frames; transforms are ``(2, 3)`` affine.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

Image: TypeAlias = npt.NDArray[np.uint8]
Affine: TypeAlias = npt.NDArray[np.float64]

IDENTITY: Affine = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])

# Frames of one shot still correlate after the camera is undone: fast pans and hand-held walks stay above 0.8 in a
# thumbnail, cuts fall below 0.5. A cut only forbids comparing, so the threshold errs towards seeing one.
_CUT_CORRELATION = 0.65
_THUMB = (32, 24)
# Grey levels below which a thumbnail holds no pattern that a correlation could speak of.
_FLAT_STD = 3.0
_FLAT_DIFFERENCE = 10.0


@dataclass(frozen=True)
class SteadyShot:
    """Frames between two cuts. ``steps[k]`` maps pixels of frame k onto frame k + 1 as the camera moved."""

    images: Image  # (T, h, w, 3) RGB
    pts_seconds: npt.NDArray[np.float64]  # (T,)
    steps: npt.NDArray[np.float64]  # (T - 1, 2, 3)

    def __len__(self) -> int:
        return len(self.images)

    def reversed(self) -> SteadyShot:
        """The same shot played backwards; its times count down from zero, so they are negative."""
        steps = [cv2.invertAffineTransform(step) for step in self.steps[::-1]]
        return SteadyShot(
            self.images[::-1], -self.pts_seconds[::-1], np.asarray(steps, dtype=np.float64).reshape(-1, 2, 3)
        )

    def mapping(self, start: int, end: int) -> Affine:
        """Pixels of frame ``start`` onto frame ``end``, in either direction."""
        if end < start:
            return np.asarray(cv2.invertAffineTransform(self.mapping(end, start)), dtype=np.float64)
        total = np.eye(3)
        for step in self.steps[start:end]:
            total = np.vstack([step, [0.0, 0.0, 1.0]]) @ total
        return total[:2]

    def seen_from(self, index: int, other: int) -> tuple[Image, npt.NDArray[np.bool_] | None]:
        """Frame ``other`` drawn in the coordinates of frame ``index``, and where it has pixels (None: everywhere)."""
        mapping = self.mapping(index, other)
        image = self.images[other]
        height, width = image.shape[:2]
        corners = np.array([[0, 0, 1], [width, 0, 1], [0, height, 1], [width, height, 1]], dtype=np.float64).T
        # Below a sixth of a pixel the resampling would blur more than it aligns.
        if np.abs((mapping - IDENTITY) @ corners).max() < 1 / 6:
            return image, None
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        warped = cv2.warpAffine(image, mapping, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)
        inside = cv2.warpAffine(
            np.ones((height, width), np.uint8), mapping, (width, height), flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
        )
        return warped.astype(np.uint8, copy=False), inside > 0


def split_shots(images: Image, pts_seconds: npt.NDArray[np.float64]) -> list[SteadyShot]:
    """The shots of a clip ``(T, H, W, 3)`` uint8 RGB, each with the camera's step in pixels from frame to frame."""
    greys = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in images]
    steps = [camera_step(before, after) for before, after in pairwise(greys)]
    starts = [0]
    for i, step in enumerate(steps):
        if _is_cut(greys[i], greys[i + 1], step):
            starts.append(i + 1)
    shots = []
    for start, end in pairwise([*starts, len(images)]):
        inner = np.asarray(steps[start : end - 1], dtype=np.float64).reshape(-1, 2, 3)
        shots.append(SteadyShot(images[start:end], pts_seconds[start:end], inner))
    return shots


def camera_step(before: npt.NDArray[np.uint8], after: npt.NDArray[np.uint8]) -> Affine:
    """The affine motion that most corners of the grey frame ``before`` share on the way to ``after``.

    The identity when there is too little to hold on to, or when what was found is no camera's motion.
    """
    height, width = before.shape
    if min(height, width) < 32:
        return IDENTITY
    # Corners spread over the frame: a moving object then holds few of them.
    corners = cv2.goodFeaturesToTrack(before, 200, 0.01, max(4, min(height, width) / 20))
    if corners is None or len(corners) < 12:
        return IDENTITY
    guess = np.zeros_like(corners)  # filled by OpenCV
    moved, status, _ = cv2.calcOpticalFlowPyrLK(before, after, corners, guess, winSize=(15, 15), maxLevel=3)
    good = status.ravel() == 1
    if good.sum() < 12:
        return IDENTITY
    source, target = corners[good].reshape(-1, 2), moved[good].reshape(-1, 2)
    estimate, inliers = cv2.estimateAffine2D(source, target, method=cv2.RANSAC, ransacReprojThreshold=1.0)
    if estimate is None or not np.isfinite(estimate).all():
        return IDENTITY
    # A third of the corners must agree, and between two samples no camera zooms or rolls by a quarter.
    if inliers.mean() < 1 / 3 or np.abs(estimate[:, :2] - np.eye(2)).max() > 0.25:
        return IDENTITY
    return np.asarray(estimate, dtype=np.float64)


def _is_cut(before: npt.NDArray[np.uint8], after: npt.NDArray[np.uint8], step: Affine) -> bool:
    height, width = before.shape
    warped = cv2.warpAffine(
        after, step, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE
    )
    a, b = (
        cv2.resize(grey, _THUMB, interpolation=cv2.INTER_AREA).astype(np.float64).ravel() for grey in (before, warped)
    )
    if a.std() < _FLAT_STD or b.std() < _FLAT_STD:
        # To or from a flat frame: a cut when it changes in brightness or only one of them is flat.
        return bool(abs(a.mean() - b.mean()) > _FLAT_DIFFERENCE or max(a.std(), b.std()) > 2 * _FLAT_STD)
    return float(np.corrcoef(a, b)[0, 1]) < _CUT_CORRELATION


def median_of(images: list[Image]) -> Image:
    """The pixelwise median of one to five images, of the lower two middles' kind when the count is even."""
    if len(images) < 3:
        return images[0]
    if len(images) < 5:
        a, b, c = images[:3]
        return np.maximum(np.minimum(a, b), np.minimum(np.maximum(a, b), c))
    a, b, c, d, e = images[:5]
    # The smallest and the largest of four cannot be the median of five: what is left of them is joined by the fifth.
    low = np.maximum(np.minimum(a, b), np.minimum(c, d))
    high = np.minimum(np.maximum(a, b), np.maximum(c, d))
    return np.maximum(np.minimum(low, high), np.minimum(np.maximum(low, high), e))


def beyond(image: Image, background: Image) -> npt.NDArray[np.uint8]:
    """By how many grey levels each pixel lies outside what the background shows within one pixel, ``(h, w)``.

    The tolerance of one pixel forgives a camera motion that was estimated a little wrong.
    """
    kernel = np.ones((3, 3), np.uint8)
    smooth = cv2.blur(image, (3, 3))
    above = cv2.subtract(smooth, cv2.dilate(background, kernel))
    below = cv2.subtract(cv2.erode(background, kernel), smooth)
    red, green, blue = cv2.split(cv2.max(above, below))
    return np.asarray(cv2.max(cv2.max(red, green), blue), dtype=np.uint8)
