"""Which frames of a video the embedded model is shown: whole steps near 8 a second, in parts, however long it is.

With one part in four comes a crop of its pictures at their own size.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from deeptrace.errors import DeepTraceError
from deeptrace.models.base import sampled_fps
from deeptrace.models.embedded.detail import read_crop
from deeptrace.models.embedded.inputs import FPS, SHORT_SIDE, Bytes
from deeptrace.records import Frames
from deeptrace.video import DEFAULT_LIMITS, ReadLimits, VideoSource, iter_frames, probe

_PART: Final = 64
"""Frames that are read at once: 8 s."""
_CROPS_EVERY: Final = 4
"""Parts: 32 s. Chosen, so that a crop costs a short clip little and a long one next to nothing."""


@dataclass(frozen=True)
class VideoPart(Frames):
    """Frames of a part of a video, and what is seen of them at their own size."""

    crop: Bytes | None = None  # (T, S, S, 3): the middle of the first pictures; None: of this part none was taken
    crop_problem: str | None = None  # why one that was wanted is not there


def read_parts(video: VideoSource, *, limits: ReadLimits = DEFAULT_LIMITS) -> Iterator[VideoPart]:
    """Every k-th picture of the video, as near to 8 fps as that comes, in parts; the last one has the `Reading`.

    Raises:
        VideoError: the video cannot be read.
    """
    fps, start = whole_steps(video, limits=limits)
    held: VideoPart | None = None
    with iter_frames(video, fps=fps, start_seconds=start, short_side=SHORT_SIDE, chunk=_PART, limits=limits) as stream:
        for number, frames in enumerate(stream):
            if held is not None:
                yield held
            held = _part(frames, video, fps, limits, with_crop=number % _CROPS_EVERY == 0)
        assert held is not None, "a stream without a picture raises"
        yield replace(held, reading=stream.reading)


def as_part(frames: Frames, *, limits: ReadLimits = DEFAULT_LIMITS) -> VideoPart:
    """Frames that somebody chose, with a crop of theirs where they are large enough."""
    return _part(frames, frames, sampled_fps(frames) or FPS, limits, with_crop=True)


def _part(frames: Frames, video: VideoSource, fps: float, limits: ReadLimits, *, with_crop: bool) -> VideoPart:
    crop, problem = None, None
    if with_crop:
        at = float(frames.pts_seconds[0])
        try:
            crop = read_crop(video, fps=fps, start_seconds=at, limits=limits)
        except DeepTraceError as error:
            problem = str(error)
    return VideoPart(
        frames.images,
        frames.pts_seconds,
        frames.source_hw,
        frames.duration_seconds,
        frames.reading,
        crop=crop,
        crop_problem=problem,
    )


def whole_steps(video: VideoSource, *, limits: ReadLimits = DEFAULT_LIMITS) -> tuple[float, float]:
    """The rate of every k-th picture that is nearest to 8 a second, and the moment to begin with, in seconds.

    Half a picture in: a rate that the file states a little wrongly then gives the same pictures.

    Raises:
        VideoError: the file cannot be opened, or is not a video that we read.
    """
    info = probe(video, limits=limits)
    if info.fps is None or info.fps <= FPS:
        return FPS, 0.0
    steps = max(1, round(info.fps / FPS))
    start = 0.5 / info.fps
    return info.fps / steps, start if info.duration_seconds is None else min(start, info.duration_seconds / 2)
