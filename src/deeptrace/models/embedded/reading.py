"""Which frames of a video the embedded model is shown: whole steps near 8 a second, in parts, however long it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from deeptrace.models.embedded.inputs import FPS, SHORT_SIDE
from deeptrace.records import Frames
from deeptrace.video import DEFAULT_LIMITS, ReadLimits, VideoSource, iter_frames, probe

_PART: Final = 64
"""Frames that are read at once: 8 s."""


def read_parts(video: VideoSource, *, limits: ReadLimits = DEFAULT_LIMITS) -> Iterator[Frames]:
    """Every k-th picture of the video, as near to 8 fps as that comes, in parts; the last one has the `Reading`.

    Raises:
        VideoError: the video cannot be read.
    """
    fps, start = whole_steps(video, limits=limits)
    held: Frames | None = None
    with iter_frames(video, fps=fps, start_seconds=start, short_side=SHORT_SIDE, chunk=_PART, limits=limits) as stream:
        for part in stream:
            if held is not None:
                yield held
            held = part
        assert held is not None, "a stream without a picture raises"
        yield replace(held, reading=stream.reading)


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
