"""Which frames of a video the embedded model is shown: whole steps near 8 a second, in parts, however long it is.

With the first part come crops of its pictures at their own size.
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
_CROP_SECONDS: Final = 32.0
_MOST_CROPS: Final = 8
"""One crop for so many seconds of a video, and so many at most. Both chosen: crops cost a short clip little and a long
one next to nothing. All are read before the frames, so that one decoder does both."""


@dataclass(frozen=True)
class VideoPart(Frames):
    """Frames of a part of a video, and what is seen of the video at its own size: with the first part alone."""

    crops: tuple[Bytes, ...] = ()  # (T, S, S, 3) each: the middle of some pictures
    crop_problems: tuple[str, ...] = ()  # why crops that were wanted are not there


def read_parts(video: VideoSource, *, crops: bool = True, limits: ReadLimits = DEFAULT_LIMITS) -> Iterator[VideoPart]:
    """Every k-th picture of the video, as near to 8 fps as that comes, in parts; the last one has the `Reading`.

    The first one has crops too, unless they are not wanted.

    Raises:
        VideoError: the video cannot be read.
    """
    fps, start, duration = whole_steps(video, limits=limits)
    found, problems = read_crops(video, fps, duration, limits) if crops else ((), ())
    held: VideoPart | None = None
    with iter_frames(video, fps=fps, start_seconds=start, short_side=SHORT_SIDE, chunk=_PART, limits=limits) as stream:
        for number, frames in enumerate(stream):
            if held is not None:
                yield held
            held = _part(frames, found if number == 0 else (), problems if number == 0 else ())
        assert held is not None, "a stream without a picture raises"
        yield replace(held, reading=stream.reading)


def as_part(frames: Frames, *, crops: bool = True, limits: ReadLimits = DEFAULT_LIMITS) -> VideoPart:
    """Frames ``(T, H, W, 3)`` that somebody chose, with crops of theirs where they are large enough, and wanted."""
    fps = sampled_fps(frames) or FPS
    return _part(frames, *(read_crops(frames, fps, frames.duration_seconds, limits) if crops else ((), ())))


def read_crops(
    video: VideoSource, fps: float, duration: float | None, limits: ReadLimits
) -> tuple[tuple[Bytes, ...], tuple[str, ...]]:
    """Crops ``(T, S, S, 3)`` uint8 from all over a video of ``duration`` seconds, and why some are not there.

    One where the length is not known. After one that cannot be read no other is tried: each may take as long as the
    reader's patience lasts.
    """
    count = 1 if duration is None else min(_MOST_CROPS, max(1, round(duration / _CROP_SECONDS)))
    crops, problems = [], []
    for place in range(count):
        start = 0.0 if duration is None else place * duration / count
        try:
            crop = read_crop(video, fps=fps, start_seconds=start, limits=limits)
        except DeepTraceError as error:
            problems.append(str(error))
            break
        if crop is not None:
            crops.append(crop)
    return tuple(crops), tuple(problems)


def _part(frames: Frames, crops: tuple[Bytes, ...], problems: tuple[str, ...]) -> VideoPart:
    return VideoPart(
        frames.images,
        frames.pts_seconds,
        frames.source_hw,
        frames.duration_seconds,
        frames.reading,
        crops=crops,
        crop_problems=problems,
    )


def whole_steps(video: VideoSource, *, limits: ReadLimits = DEFAULT_LIMITS) -> tuple[float, float, float | None]:
    """The rate of every k-th picture that is nearest to 8 a second, the moment to begin with, and the length (seconds).

    Half a picture in: a rate that the file states a little wrongly then gives the same pictures. The length is None
    where it is not known.

    Raises:
        VideoError: the file cannot be opened, or is not a video that we read.
    """
    info = probe(video, limits=limits)
    length = info.duration_seconds
    if info.fps is None or info.fps <= FPS:
        return FPS, 0.0, length
    steps = max(1, round(info.fps / FPS))
    start = 0.5 / info.fps
    return info.fps / steps, start if length is None else min(start, length / 2), length
