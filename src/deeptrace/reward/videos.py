"""What a trainer hands over as videos, as what a model takes: paths, bytes, `Frames`, arrays and tensors.

Arrays are checked here, before any model sees them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, TypeAlias

import numpy as np

from deeptrace.errors import VideoError
from deeptrace.records import Failed, Frames
from deeptrace.video import VideoSource

Videos: TypeAlias = Any
"""One video or several: a path, bytes, `Frames`; an array or tensor ``(T, H, W, 3)``, ``(N, T, H, W, 3)`` or
``(N, F, C, H, W)``; or an iterable of these."""


def as_videos(videos: Videos, *, fps: float | None = None) -> list[VideoSource | Failed]:
    """The videos in order, a `Failed` for each that is none.

    An array is uint8 in 0..255 or float in [0, 1], channels last or, in a batch, third: ``(N, F, 3, H, W)``. ``fps``
    is the rate of arrays, in frames per second. Tensors come from any device; a float of any width is taken.
    """
    return [item for video in _separate(videos) for item in _items(video, fps)]


def _separate(videos: Videos) -> Iterable[Any]:
    one = isinstance(videos, str | os.PathLike | bytes | bytearray | memoryview | Frames) or hasattr(videos, "shape")
    if one:
        return [videos]
    if not isinstance(videos, Iterable):
        return [videos]
    return videos


def _items(video: Any, fps: float | None) -> list[VideoSource | Failed]:
    if not hasattr(video, "shape"):
        return [video]
    try:
        array = _array(video)
        if array.ndim == 5:
            return [_frames(item, fps) for item in _channels_last(array)]
        return [_frames(array, fps)]
    except VideoError as error:
        return [Failed(error.code, str(error))]


def _array(video: Any) -> np.ndarray[Any, Any]:
    """The values on this machine's own memory; bfloat16 and half as float32."""
    if hasattr(video, "detach"):
        video = video.detach().cpu()
        if video.is_floating_point():
            video = video.float()
    try:
        return np.asarray(video)
    except (TypeError, ValueError, RuntimeError) as error:
        raise VideoError("BAD_FRAMES", f"cannot be read as an array: {error}") from None


def _channels_last(batch: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    if batch.shape[2] == 3 and batch.shape[-1] != 3:
        return np.moveaxis(batch, 2, -1)
    if batch.shape[-1] == 3 and batch.shape[2] != 3:
        return batch
    what = "is ambiguous" if batch.shape[2] == batch.shape[-1] == 3 else "has no three channels"
    raise VideoError("BAD_FRAMES", f"a batch (N, F, 3, H, W) or (N, T, H, W, 3) is expected, {batch.shape} {what}")


def _frames(array: np.ndarray[Any, Any], fps: float | None) -> Frames | Failed:
    if fps is None:
        return Failed("BAD_FRAMES", "frames in an array need their rate: give fps")
    try:
        return Frames.from_array(array, fps)
    except VideoError as error:
        return Failed(error.code, str(error))
