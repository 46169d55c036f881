"""The middle of the picture at the file's own size: what a generator leaves behind is finer than 144 pixels.

A video goes in; out comes the centre of its pictures, 256 pixels wide and high, coded anew, so that how well a file was
coded tells little. The same code for training and for inference.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from deeptrace.errors import DeepTraceError
from deeptrace.files import in_memory_folder
from deeptrace.models.embedded.inputs import FPS, Bytes
from deeptrace.video import DEFAULT_LIMITS, ReadLimits, VideoSource, VideoWriter, iter_frames, sample_frames

# All chosen, as `benchmarks/generated_heads.py` measures them.
SIDE: Final = 256
"""Pixels of a side of a crop, where the picture has as many."""
LEAST_SIDE: Final = 176
"""Of smaller pictures there is no crop: their whole is seen at nearly their own size. No smaller one was fitted on."""
COUNT: Final = 16
"""Pictures of a crop: 2 s."""
FEWEST: Final = 6
"""Of fewer there is no crop."""

_CRF: Final = 23  # x264's default
_MULTIPLE: Final = 16  # of a side, in pixels
_CHUNK: Final = 2  # pictures at their own size that are held at once


def crop_hw(height: int, width: int) -> int | None:
    """The side in pixels of the crop of pictures of this size: a multiple of 16; None where they are too small."""
    side = min(SIDE, height, width) // _MULTIPLE * _MULTIPLE
    return side if side >= LEAST_SIDE else None


def read_crop(
    video: VideoSource, *, fps: float, start_seconds: float = 0.0, limits: ReadLimits = DEFAULT_LIMITS
) -> Bytes | None:
    """The centre of the pictures from ``start_seconds`` on, ``fps`` a second, ``(T, S, S, 3)`` uint8 with T up to 16.

    None where the pictures are too small or too few.

    Raises:
        VideoError: the video cannot be read there.
    """
    parts: list[Bytes] = []
    with iter_frames(video, fps=fps, start_seconds=start_seconds, chunk=_CHUNK, limits=limits) as stream:
        for part in stream:
            height, width = part.images.shape[1:3]
            side = crop_hw(height, width)
            if side is None:
                return None
            y, x = (height - side) // 2, (width - side) // 2
            parts.append(part.images[:, y : y + side, x : x + side].copy())
            if sum(map(len, parts)) >= COUNT:
                break
    crop = np.concatenate(parts)[:COUNT]
    return recode(crop, _CRF) if len(crop) >= FEWEST else None


def recode(images: Bytes, crf: int, keep: Path | None = None, *, preset: str = "veryfast") -> Bytes:
    """Frames ``(T, H, W, 3)`` uint8 of even sides after H.264 at this quality, and our reader.

    ``keep`` is where the file is to stay.

    Raises:
        DeepTraceError: it could not be written, or other frames came back.
    """
    with in_memory_folder() as folder:
        path = keep or folder / "clip.mp4"
        with VideoWriter(path, fps=FPS, crf=crf, preset=preset) as writer:
            writer.add(images)
        read = sample_frames(path, fps=FPS)
    if len(read) != len(images):
        raise DeepTraceError(f"{len(images)} frames were written and {len(read)} read")
    return read.images
