"""From one video to another: the frames of a window, thinned, cropped, reduced, written. Knows no records.

Called by `deeptrace.data.normalise` and `deeptrace.data.build.filters`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from deeptrace.data.normalise.geometry import View
from deeptrace.files import make_folder
from deeptrace.records import VideoInfo

Window = Literal["spread", "start", "middle"]

_CHUNK: Final = 8


@dataclass(frozen=True)
class Form:
    """The form that every video gets.

    ``size_hw`` is height and width in pixels (even). ``length_seconds`` None keeps each video's own length, which then
    still tells of its origin. ``gop`` is the count of pictures in a group.
    """

    size_hw: tuple[int, int]
    fps: float
    length_seconds: float | None
    crf: int
    gop: int
    window: Window
    seed: int
    min_share: float

    @property
    def aspect(self) -> float:
        """Width by height."""
        return self.size_hw[1] / self.size_hw[0]


def stable_share(text: str, seed: int = 0) -> float:
    """A number in [0, 1) that depends on the text and the seed alone: the same on every machine, blind to labels."""
    digest = hashlib.sha256(f"{seed}:{text}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") / 2.0**64


class FrameMissing(Exception):
    """Two moments of the new rate show the same frame of the source, or none."""


def thin(
    chunks: Iterator[tuple[npt.NDArray[np.uint8], npt.NDArray[np.float64]]],
    *,
    start_seconds: float,
    fps: float,
    count: int,
) -> Iterator[npt.NDArray[np.uint8]]:
    """Of frames with their times those on screen at ``start + k / fps``, k = 0 .. count - 1; each at most once.

    ``chunks`` are frames ``(T, H, W, 3)`` and their times ``(T,)`` in seconds; frames ``(H, W, 3)`` come out.

    Raises:
        FrameMissing: a frame would have to be shown twice, or the video ends too early.
    """
    slack = min(0.0005, 0.25 / fps)  # times in a file are rounded to ticks
    on_screen: npt.NDArray[np.uint8] | None = None
    index = 0
    for images, times in chunks:
        for image, time in zip(images, times.tolist(), strict=True):
            if index < count and time > start_seconds + index / fps + slack:
                if on_screen is None:
                    raise FrameMissing
                yield on_screen
                on_screen, index = None, index + 1
                if index < count and time > start_seconds + index / fps + slack:
                    raise FrameMissing
            if index == count:
                return
            on_screen = image
    if on_screen is None or index != count - 1:
        raise FrameMissing
    yield on_screen


def write_view(source: Path, target: Path, info: VideoInfo, view: View, *, count: int, form: Form) -> bool:
    """Write the new video; whether the reading of the old one was partial."""
    from deeptrace import video

    make_folder(target.parent)
    high, wide = form.size_hw
    # The whole frame is reduced so that the crop has the wanted size, by the reader, in one step.
    crop = view.crop_xyxy
    scale = max(wide / ((crop[2] - crop[0]) * info.width), high / ((crop[3] - crop[1]) * info.height))
    short = min(info.width, info.height)
    short_side: int | None = math.ceil(min(1.0, scale) * short - 1e-6)
    if short_side is not None and short_side >= short:
        short_side = None
    with (
        video.iter_frames(
            source,
            start_seconds=view.start_seconds,
            end_seconds=view.end_seconds,
            short_side=short_side,
            chunk=_CHUNK,
        ) as stream,
        video.VideoWriter(target, fps=form.fps, crf=form.crf, gop=form.gop) as writer,
    ):
        chunks = ((frames.images, frames.pts_seconds) for frames in stream)
        for image in thin(chunks, start_seconds=view.start_seconds, fps=form.fps, count=count):
            writer.add(_cut(image, form.size_hw)[None])
        for _ in stream:  # only at the end is it known whether all could be read
            pass
        return stream.reading.partial if stream.reading is not None else False


def _cut(image: npt.NDArray[np.uint8], size_hw: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """The centre of the picture in that size; a row or column that rounding took away is repeated."""
    high, wide = size_hw
    pad_y, pad_x = max(0, high - image.shape[0]), max(0, wide - image.shape[1])
    if pad_y or pad_x:
        image = np.pad(image, ((0, pad_y), (0, pad_x), (0, 0)), mode="edge")
    top, left = (image.shape[0] - high) // 2, (image.shape[1] - wide) // 2
    return np.ascontiguousarray(image[top : top + high, left : left + wide])
