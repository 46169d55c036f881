"""How footage moves: dense flow both ways, the camera's motion, and cuts, on small grey frames.

In goes an array of frames, out comes `Motion`. "Work pixels" are those of the shrunk frames, at most `WORK_SIDE` on the
longer side; transforms are ``(3, 3)`` and act on work pixels, centres at whole numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

Image: TypeAlias = npt.NDArray[np.uint8]
Floats: TypeAlias = npt.NDArray[np.float32]
Transform: TypeAlias = npt.NDArray[np.float64]

WORK_SIDE = 224

# A cut: after undoing the flow, frames of one shot differ by a few grey levels; unrelated ones by tens.
_CUT_DIFFERENCE = 22.0
_CUT_TIMES_MEDIAN = 4.0
_INLIER_PX = 0.5


@dataclass(frozen=True)
class Motion:
    """Motion of T frames at work size.

    ``forward[t]`` maps pixels of frame t onto t + 1, ``backward[t]`` those of t + 1 onto t, both ``(h, w, 2)`` float32
    offsets (x, y); both are empty where they were left out. ``camera[t]`` maps work pixels of frame 0's view onto frame
    t as the background moves; within one shot only. ``shot_of[t]`` numbers the shots between cuts.
    """

    small: Image  # (T, h, w, 3)
    forward: Floats  # (T - 1, h, w, 2)
    backward: Floats  # (T - 1, h, w, 2)
    camera: Transform  # (T, 3, 3)
    shot_of: npt.NDArray[np.int64]  # (T,)
    size_hw: tuple[int, int]  # of the full frames
    exact: bool = False  # of a rendered scene: the camera and the things are known, the flow is left out
    _own: dict[int, Floats] = field(default_factory=dict, repr=False, compare=False)
    _speeds: dict[int, Floats] = field(default_factory=dict, repr=False, compare=False)

    @property
    def scale(self) -> tuple[float, float]:
        """Full pixels per work pixel, (x, y)."""
        return self.size_hw[1] / self.small.shape[2], self.size_hw[0] / self.small.shape[1]

    def between(self, source: int, target: int) -> Transform:
        """FULL pixels of frame ``source`` onto frame ``target``, as the background moves."""
        work = self.camera[target] @ np.linalg.inv(self.camera[source])
        up = to_full(self.scale)
        mapped: Transform = up @ work @ np.linalg.inv(up)
        return mapped

    def own(self, index: int) -> Floats:
        """Motion of each pixel against the camera from frame ``index`` on, work pixels a frame, ``(h, w, 2)``."""
        if index not in self._own:  # each region and each thing asks again
            flow = self.forward[index] if len(self.forward) else self._flow(index)
            step = self.camera[index + 1] @ np.linalg.inv(self.camera[index])
            self._own[index] = flow - _flow_of(step, flow.shape[:2])
        return self._own[index]

    def _flow(self, index: int) -> Floats:
        before, after = (cv2.cvtColor(self.small[t], cv2.COLOR_RGB2GRAY) for t in (index, index + 1))
        start = np.zeros((*before.shape, 2), np.float32)
        return np.asarray(_flow_engine().calc(before, after, start), dtype=np.float32)

    def without_pictures(self) -> Motion:
        """The same without frames and flow, which follow from the frames: small enough to be remembered."""
        flow = np.zeros((0, *self.small.shape[1:3], 2), np.float32)
        return replace(self, small=self.small[:0], forward=flow, backward=flow, _own={}, _speeds={})

    def with_pictures(self, images: Image) -> Motion:
        """What `without_pictures` left, with its frames ``(T, H, W, 3)`` again; flow is found where it is asked for."""
        return replace(self, small=_shrunk(images), _own={}, _speeds={})

    def residual(self, index: int) -> Floats:
        """How fast that is, work pixels a frame, ``(h, w)``."""
        if index not in self._speeds:
            own = self.own(index)
            self._speeds[index] = np.hypot(own[..., 0], own[..., 1])
        return self._speeds[index]


def to_full(scale: tuple[float, float]) -> Transform:
    """Work pixels onto full pixels: pixel centres are at whole numbers in both."""
    sx, sy = scale
    return np.array([[sx, 0, 0.5 * sx - 0.5], [0, sy, 0.5 * sy - 0.5], [0, 0, 1]], dtype=np.float64)


def watch(images: Image) -> Motion:
    """The motion of frames ``(T, H, W, 3)``; T may be 1."""
    height, width = images.shape[1:3]
    small = _shrunk(images)
    size = small.shape[2], small.shape[1]
    grey = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in small]
    engine = _flow_engine()
    count = len(images)
    forward = np.zeros((max(count - 1, 0), size[1], size[0], 2), np.float32)
    backward = np.zeros_like(forward)
    still = np.zeros((size[1], size[0], 2), np.float32)
    camera = np.tile(np.eye(3), (count, 1, 1))
    left_over = np.zeros(max(count - 1, 0))
    for t in range(count - 1):
        forward[t] = engine.calc(grey[t], grey[t + 1], still.copy())
        backward[t] = engine.calc(grey[t + 1], grey[t], still.copy())
        left_over[t] = np.abs(remap(grey[t], backward[t]).astype(np.float32) - grey[t + 1]).mean()
        camera[t + 1] = _camera_step(forward[t]) @ camera[t]
    usual = float(np.median(left_over)) if count > 1 else 0.0
    cut: npt.NDArray[np.bool_] = left_over > max(_CUT_DIFFERENCE, _CUT_TIMES_MEDIAN * usual)
    shot_of = np.concatenate([[0], np.cumsum(cut)]).astype(np.int64)
    for t in (np.flatnonzero(cut) + 1).tolist():  # camera paths start anew after a cut
        camera[t:] = camera[t:] @ np.linalg.inv(camera[t])
    return Motion(small, forward, backward, camera, shot_of, (height, width))


def _flow_engine() -> cv2.DISOpticalFlow:
    return cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)


def _shrunk(images: Image) -> Image:
    height, width = images.shape[1:3]
    ratio = min(1.0, WORK_SIDE / max(height, width))
    size = (max(16, round(width * ratio)), max(16, round(height * ratio)))  # (w, h)
    if size == (width, height):
        return images
    return np.stack([cv2.resize(image, size, interpolation=cv2.INTER_AREA) for image in images])


def remap(image: npt.NDArray[Any], offsets: Floats) -> npt.NDArray[Any]:
    """``out(p) = image(p + offsets(p))``, linear, edges repeated."""
    height, width = offsets.shape[:2]
    xs, ys = grid(height, width)
    return np.asarray(
        cv2.remap(image, xs + offsets[..., 0], ys + offsets[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    )


@lru_cache(maxsize=16)
def grid(height: int, width: int) -> tuple[Floats, Floats]:
    """The x and y of each pixel, float32 ``(H, W)``, not to be written to."""
    xs, ys = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    xs.flags.writeable = ys.flags.writeable = False
    return xs, ys


def _flow_of(step: Transform, shape: tuple[int, ...]) -> Floats:
    xs, ys = grid(shape[0], shape[1])
    flow = np.stack(
        [step[0, 0] * xs + step[0, 1] * ys + step[0, 2], step[1, 0] * xs + step[1, 1] * ys + step[1, 2]], -1
    )
    return np.asarray(flow - np.stack([xs, ys], -1), dtype=np.float32)


def _camera_step(flow: Floats) -> Transform:
    """The simplest motion that most of the frame shares: none, a shift, or an affine one."""
    height, width = flow.shape[:2]
    ys, xs = np.mgrid[4 : height - 4 : 7, 4 : width - 4 : 7]
    start = np.stack([xs.ravel(), ys.ravel()], -1).astype(np.float32)
    moved = flow[ys.ravel(), xs.ravel()]
    shift = np.median(moved, axis=0)
    shifted = np.array([[1, 0, shift[0]], [0, 1, shift[1]], [0, 0, 1]], dtype=np.float64)

    def explained(step: Transform) -> float:
        """The share of points that land within half a pixel of where the flow takes them."""
        miss = start @ step[:2, :2].T + step[:2, 2] - start - moved
        return float((np.hypot(miss[:, 0], miss[:, 1]) < _INLIER_PX).mean())

    cv2.setRNGSeed(0)
    found, _ = cv2.estimateAffine2D(start, start + moved, method=cv2.RANSAC, ransacReprojThreshold=0.7, maxIters=200)
    choices: list[Transform] = [np.eye(3), shifted]
    if found is not None and abs(np.linalg.det(found[:, :2]) - 1) < 0.4:
        choices.append(np.vstack([found, [0.0, 0.0, 1.0]]))
    shares = [explained(step) for step in choices]
    if max(shares) < 0.2:  # nothing is shared
        return shifted
    # A freer model always explains a little more, noise included.
    return next(step for step, share in zip(choices, shares, strict=True) if share >= max(shares) - 0.04)
