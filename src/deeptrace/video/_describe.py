"""What the header of an opened video says. Worker side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import av
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from deeptrace.records import VideoInfo
from deeptrace.video._boxes import Matrix
from deeptrace.video._container import Video
from deeptrace.video._length import declared_seconds, listed_times
from deeptrace.video._picture import display_hw, frame_matrix
from deeptrace.video._refusal import Refusal


def describe(video: Video, reopen: Callable[[], Video]) -> dict[str, Any]:
    """The fields of `VideoInfo`, from the header and the index alone; no packet of ``video`` is used up."""
    stream, context = video.stream, video.stream.codec_context
    coded_hw, matrix = (context.height, context.width), _header_matrix(video)
    if 0 in coded_hw or (video.layout.may_be_turned and video.layout.kind != "mov"):
        first = _first_picture(reopen)
        coded_hw, matrix = (first.height, first.width), frame_matrix(first)
    height, width = display_hw(*coded_hw, stream.sample_aspect_ratio, matrix)
    if width * height > video.limits.max_pixels:
        raise Refusal("FRAME_TOO_LARGE", f"its pictures are shown as {width} x {height}.")
    listed = listed_times(video)
    info = VideoInfo(
        width=width,
        height=height,
        fps=_rate(stream),
        num_frames=(len(listed.ticks) if listed else 0) or video.declared_pictures,
        duration_seconds=declared_seconds(video, reopen),
        codec=context.name,
        has_audio=any(stream.type == "audio" for stream in video.container.streams),
        variable_frame_rate=listed.steps_differ() if listed else None,
    )
    return asdict(info)


def _rate(stream: VideoStream) -> float | None:
    for rate in (stream.average_rate, stream.guessed_rate):
        if rate and rate > 0:
            return float(rate)
    return None


def _header_matrix(video: Video) -> Matrix | None:
    """How an mp4 says that pictures are to be turned."""
    return next((track.matrix for track in video.layout.tracks if track.track_id == video.stream.id), None)


def _first_picture(reopen: Callable[[], Video]) -> VideoFrame:
    """The first picture that can be decoded, where the header does not tell how large or how turned it is."""
    video = reopen()
    too_large = False
    try:
        for packet in video.demux():
            try:
                for frame in video.stream.codec_context.decode(packet):
                    return frame
            except av.error.ArgumentError:
                too_large = True  # so the decoder reports a size beyond its limit; damage is another error
                break
            except av.error.FFmpegError:
                continue
    except (av.error.FFmpegError, EOFError):
        pass
    finally:
        video.close()
    if too_large:
        raise Refusal("FRAME_TOO_LARGE", f"its pictures have more than {video.limits.max_pixels} pixels.")
    raise Refusal("VIDEO_TRUNCATED" if video.layout.cut else "VIDEO_DAMAGED", "no picture in it can be decoded.")
