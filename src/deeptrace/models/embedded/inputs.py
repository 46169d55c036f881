"""What the embedded network sees of a window of frames; the same code for training and for inference.

`Frames` at about 8 a second go in; out come the pictures at the network's size, and maps of what motion does not
explain: residuals after motion compensation, sharpness and its change, flow relative to the camera's. OpenCV's DIS
optical flow does the work, about 1 ms a frame. Knows no network and no file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

Bytes: TypeAlias = npt.NDArray[np.uint8]
Floats: TypeAlias = npt.NDArray[np.float32]

FPS: Final = 8.0
"""Frames a second: onsets are then known to 1/16 s, and a thing moves by less than its size between two frames."""

SHORT_SIDE: Final = 144
"""Pixels of the shorter side."""

LONG_SIDE_MOST: Final = 320
CELL: Final = 8
"""Pixels of one cell of the network's maps."""

AUX_CHANNELS: Final = 13
_AUX_STRIDE: Final = 4


@dataclass(frozen=True)
class Inputs:
    """A window as the network takes it. H and W are multiples of 16."""

    rgb: Bytes  # (T, H, W, 3) uint8
    aux: Floats  # (T, 13, H / 4, W / 4), see `motion_maps`; zeros for the first frame
    flow: Floats  # (T, 2, H / 8, W / 8): from where in the frame before, in cells; zeros for the first frame


def network_hw(height: int, width: int) -> tuple[int, int]:
    """The size frames are brought to: 144 pixels on the shorter side, a multiple of 16 of at most 320 on the longer.

    The aspect is kept to within half a multiple of 16 (at most 5.6%); longer strips than 20:9 are squeezed.
    """
    ratio = max(height, width) / min(height, width)
    long_side = int(min(LONG_SIDE_MOST, max(SHORT_SIDE, 16 * round(SHORT_SIDE * ratio / 16))))
    return (SHORT_SIDE, long_side) if width >= height else (long_side, SHORT_SIDE)


def prepare(images: Bytes) -> Inputs:
    """The inputs of a window of frames ``(T, H, W, 3)`` uint8 RGB, in time order, at about 8 a second."""
    height, width = network_hw(*images.shape[1:3])
    if images.shape[1:3] != (height, width):
        images = np.stack([cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA) for image in images])
    aux, flow = motion_maps(images)
    return Inputs(images, aux, flow)


def motion_maps(images: Bytes) -> tuple[Floats, Floats]:
    """``(aux, flow)`` of frames whose sides are multiples of 16, as in `Inputs`.

    Channels of aux, each the mean over 4 x 4 pixels unless said otherwise; levels are in [0, 1] times 4:
    0-2 frame minus the motion-compensated frame before (R, G, B); 3 its absolute grey level, 4 the largest one;
    5 the frame before minus this one, compensated the other way (what is gone); 6 log sharpness (mean absolute
    Laplacian), 7 its change along the motion; 8-9 flow minus the camera's (x, y; 8 pixels = 1); 10-11 the camera's
    median flow; 12 how far forward and backward flow disagree (4 pixels = 1).
    """
    count, height, width, _ = images.shape
    rows, columns = height // _AUX_STRIDE, width // _AUX_STRIDE
    aux = np.zeros((count, AUX_CHANNELS, rows, columns), np.float32)
    flows = np.zeros((count, 2, height // CELL, width // CELL), np.float32)
    greys = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in images]
    sharp = [_sharpness(grey) for grey in greys]
    dis: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    xs, ys = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    cell_xs, cell_ys = np.meshgrid(np.arange(columns, dtype=np.float32), np.arange(rows, dtype=np.float32))
    size = (columns, rows)
    block = np.ones((_AUX_STRIDE, _AUX_STRIDE), np.uint8)
    for t in range(count):
        aux[t, 6] = sharp[t]
        if t == 0:
            continue
        back = dis.calc(greys[t], greys[t - 1], None)  # (H, W, 2): frame t at p is frame t-1 at p + back
        ahead = dis.calc(greys[t - 1], greys[t], None)
        before = cv2.remap(
            images[t - 1], xs + back[..., 0], ys + back[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        change = (images[t].astype(np.float32) - before) * (4 / 255)
        grey_change = (
            np.abs(change[..., 0] + change[..., 1] + change[..., 2]) / 3
        )  # much faster than a sum over the axis
        after = cv2.remap(
            greys[t], xs + ahead[..., 0], ys + ahead[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        gone = np.abs(greys[t - 1].astype(np.float32) - after) * (4 / 255)
        returned = cv2.remap(
            ahead, xs + back[..., 0], ys + back[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        apart = np.abs(back + returned)
        apart = (apart[..., 0] + apart[..., 1]) / 4
        small = cv2.resize(back, size, interpolation=cv2.INTER_AREA)
        camera = np.median(small.reshape(-1, 2), axis=0)
        aux[t, 0:3] = cv2.resize(change, size, interpolation=cv2.INTER_AREA).transpose(2, 0, 1)
        aux[t, 3] = cv2.resize(grey_change, size, interpolation=cv2.INTER_AREA)
        aux[t, 4] = cv2.dilate(grey_change, block, anchor=(0, 0))[::_AUX_STRIDE, ::_AUX_STRIDE]
        aux[t, 5] = cv2.resize(gone, size, interpolation=cv2.INTER_AREA)
        was = cv2.remap(
            sharp[t - 1],
            cell_xs + small[..., 0] / _AUX_STRIDE,
            cell_ys + small[..., 1] / _AUX_STRIDE,
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        aux[t, 7] = sharp[t] - was
        aux[t, 8:10] = (small - camera).transpose(2, 0, 1) / 8
        aux[t, 10:12] = camera[:, None, None] / 8
        aux[t, 12] = cv2.resize(np.minimum(apart, 4), size, interpolation=cv2.INTER_AREA)
        flows[t] = (
            cv2.resize(small, (width // CELL, height // CELL), interpolation=cv2.INTER_AREA).transpose(2, 0, 1) / CELL
        )
    return aux, flows


def motion_summary(aux: Floats) -> Floats:
    """``(78,)`` numbers of motion maps: mean, deviation, three percentiles, and how the mean varies in time."""
    maps = aux[1:] if len(aux) > 1 else aux
    percentiles = np.percentile(maps, [50, 90, 99], axis=(0, 2, 3))
    return np.concatenate(
        [maps.mean(axis=(0, 2, 3)), maps.std(axis=(0, 2, 3)), percentiles.ravel(), maps.mean(axis=(2, 3)).std(axis=0)]
    ).astype(np.float32)


def _sharpness(grey: Bytes) -> Floats:
    """Log of the mean absolute Laplacian over 4 x 4 pixels, about in [-2, 3]."""
    detail = np.abs(cv2.Laplacian(grey, cv2.CV_32F, ksize=1))
    size = (grey.shape[1] // _AUX_STRIDE, grey.shape[0] // _AUX_STRIDE)
    return np.asarray(np.log(cv2.resize(detail, size, interpolation=cv2.INTER_AREA) + 0.5) - 1.0, np.float32)
