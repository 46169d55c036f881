"""Opening a stranger's file with the media library, and what its header says. Worker side.

The library would follow references to other files and to the network, guess formats from names, and allocate what a
header asks for. Every option here closes one of these; each is needed.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any, NoReturn

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from deeptrace.records import VideoInfo
from deeptrace.video._boxes import Layout, Matrix, scan
from deeptrace.video._limits import ReadLimits
from deeptrace.video._open import container_kind
from deeptrace.video._picture import display_hw, frame_matrix
from deeptrace.video._refusal import Refusal

_FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi"
_BUFFER_BYTES = 64 * 1024
_MAX_TRACKS = 100
_REPEATS = 2  # an edit list may show pictures twice, not a thousand times


class SourceFile:
    """A file as the media library sees it: bytes without a name.

    ``read_at(offset, count)`` may return fewer bytes than asked for only at the end of the file.
    """

    def __init__(self, read_at: Callable[[int, int], bytes], size: int) -> None:
        self._read_at = read_at
        self._size = size
        self._position = 0

    def read(self, count: int = -1) -> bytes:
        """The next bytes."""
        if count < 0:
            count = max(0, self._size - self._position)
        data = self._read_at(self._position, count)
        self._position += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move; the new position."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise io.UnsupportedOperation("before the start of the file")
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        """The position."""
        return self._position


def _refuse_to_open(*_: Any) -> NoReturn:
    raise PermissionError("a video may not refer to other files")


@dataclass
class Video:
    """An opened file with the one stream of pictures that is read."""

    container: InputContainer
    stream: VideoStream
    layout: Layout
    read_at: Callable[[int, int], bytes]
    size_bytes: int
    limits: ReadLimits

    @property
    def time_base(self) -> Fraction:
        """Seconds per tick of the stream's times."""
        return self.stream.time_base or Fraction(1, 1_000_000)

    @property
    def declared_pictures(self) -> int | None:
        """How many pictures the header declares; None where it does not say, or speaks of the first fragment only."""
        return None if self.layout.fragmented else self.stream.frames or None

    @property
    def indexed_packets(self) -> int | None:
        """How many packets the file's index promises, hidden ones included; None where there is no full index."""
        if self.layout.kind != "mov" or self.layout.fragmented:
            return None
        return len(self.stream.index_entries)

    def close(self) -> None:
        """Close the container."""
        self.container.close()


def open_video(
    read_at: Callable[[int, int], bytes], size: int, limits: ReadLimits, *, ignore_edits: bool = False
) -> Video:
    """Open the file and choose its stream of pictures. ``ignore_edits`` shows what an edit list of an mp4 hides.

    Raises:
        Refusal: with the code of what is wrong.
    """
    kind = container_kind(read_at(0, 16))
    if kind is None:
        raise Refusal("NOT_A_VIDEO", "it is not MP4, MOV, MKV, WebM or AVI.")
    layout = scan(kind, read_at, size)
    _check_tables(layout, limits)
    container = _open_container(SourceFile(read_at, size), layout, limits, ignore_edits)
    try:
        stream = _choose_stream(container, layout)
        _check_stream(stream, layout, limits)
    except BaseException:
        container.close()
        raise
    return Video(container, stream, layout, read_at, size, limits)


def _check_tables(layout: Layout, limits: ReadLimits) -> None:
    """Refuse an mp4 whose tables would become gigabytes inside the library."""
    if len(layout.tracks) > _MAX_TRACKS:
        raise Refusal("VIDEO_DAMAGED", f"it has {len(layout.tracks)} tracks; at most {_MAX_TRACKS} are read.")
    for track in layout.tracks:
        if track.edits > limits.max_edits:
            raise Refusal("TOO_MANY_FRAMES", f"its edit list has {track.edits} entries; at most {limits.max_edits}.")
        if track.is_video and track.samples > limits.max_frames:
            raise Refusal("TOO_MANY_FRAMES", f"it declares {track.samples} pictures; at most {limits.max_frames}.")
    if layout.largest_run > limits.max_frames:
        raise Refusal("TOO_MANY_FRAMES", f"a fragment declares {layout.largest_run} samples.")


def _open_container(file: SourceFile, layout: Layout, limits: ReadLimits, ignore_edits: bool) -> InputContainer:
    try:
        return av.open(
            file,
            mode="r",
            metadata_errors="replace",
            buffer_size=_BUFFER_BYTES,
            io_open=_refuse_to_open,
            options={"max_pixels": str(limits.max_pixels)},
            container_options={
                "format_whitelist": _FORMATS,
                "protocol_whitelist": "none",
                "ignore_editlist": str(int(ignore_edits)),
                "max_pixels": str(limits.max_pixels),
            },
        )
    except MemoryError:
        raise
    except (av.error.FFmpegError, EOFError, ValueError, LookupError, OSError) as error:
        if layout.cut:
            raise Refusal("VIDEO_TRUNCATED", "it is cut off before anything that could be shown.") from error
        if not layout.has_header:
            raise Refusal("NOT_A_VIDEO", "it begins like a video, but its description is missing.") from error
        raise Refusal("VIDEO_DAMAGED", "its header is damaged.") from error


def _choose_stream(container: InputContainer, layout: Layout) -> VideoStream:
    cover = Disposition.attached_pic | Disposition.timed_thumbnails
    moving = [s for s in container.streams.video if not s.disposition & cover]
    usable = [s for s in moving if getattr(s, "codec_context", None) is not None]
    if not usable and (layout.header_cut or (layout.cut and not container.streams)):
        raise Refusal("VIDEO_TRUNCATED", "it is cut off within the description of its streams.")
    if not moving:
        kinds = " and ".join(sorted({s.type for s in container.streams})) or "nothing"
        only = "cover art" if container.streams.video else kinds
        raise Refusal("NO_VIDEO_STREAM", f"no video stream. It has only {only}.")
    if not usable:
        raise Refusal("UNSUPPORTED_CODEC", "its video codec is not one that is built in.")
    return usable[0]


def _check_stream(stream: VideoStream, layout: Layout, limits: ReadLimits) -> None:
    context = stream.codec_context
    if context.width * context.height > limits.max_pixels:
        raise Refusal(
            "FRAME_TOO_LARGE",
            f"its pictures are {context.width} x {context.height}; at most {limits.max_pixels} pixels are read.",
        )
    if stream.frames > limits.max_frames:
        raise Refusal("TOO_MANY_FRAMES", f"it declares {stream.frames} pictures; at most {limits.max_frames}.")
    if layout.kind == "mov" and not layout.fragmented:
        shown = len(stream.index_entries)
        if shown > limits.max_frames or (stream.frames and shown > _REPEATS * stream.frames + 16):
            raise Refusal("TOO_MANY_FRAMES", f"its edit list shows {stream.frames} pictures {shown} times.")
    # The container's option does not reach the decoder.
    context.options = {"max_pixels": str(limits.max_pixels)}
    context.thread_count = 1


# ── what the header says ──


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
    shown, variable = _read_index(video)
    info = VideoInfo(
        width=width,
        height=height,
        fps=_rate(stream),
        num_frames=shown or video.declared_pictures,
        duration_seconds=_declared_seconds(video),
        codec=context.name,
        has_audio=any(s.type == "audio" for s in video.container.streams),
        variable_frame_rate=variable,
    )
    return asdict(info)


def _rate(stream: VideoStream) -> float | None:
    for rate in (stream.average_rate, stream.guessed_rate):
        if rate and rate > 0:
            return float(rate)
    return None


def _declared_seconds(video: Video) -> float | None:
    stream, container = video.stream, video.container
    if stream.duration is not None and stream.duration > 0:
        seconds = float(stream.duration * video.time_base)
    elif container.duration is not None and container.duration > 0:
        # Matroska counts from zero, not from the first picture.
        start = max(0, container.start_time or 0) if video.layout.kind == "matroska" else 0
        seconds = max(0, container.duration - start) / av.time_base
    else:
        return None
    return seconds if math.isfinite(seconds) else None


def _read_index(video: Video) -> tuple[int | None, bool | None]:
    """How many pictures the index shows, and whether their steps differ; (None, None) without an index."""
    if video.indexed_packets is None:
        return None, None
    times = [e.timestamp for e in video.stream.index_entries if not e.is_discard]
    steps = {b - a for a, b in pairwise(times)}
    if not steps:
        return len(times), None
    spread = max(steps) - min(steps)
    mean = (times[-1] - times[0]) / (len(times) - 1)
    # Steps of a constant rate differ by one tick when the tick does not divide them.
    return len(times), spread > 1 or (spread == 1 and mean < 10)


def _header_matrix(video: Video) -> Matrix | None:
    """How an mp4 says that pictures are to be turned."""
    return next((t.matrix for t in video.layout.tracks if t.track_id == video.stream.id), None)


def _first_picture(reopen: Callable[[], Video]) -> VideoFrame:
    """The first picture that can be decoded, where the header does not tell how large or how turned it is."""
    video = reopen()
    too_large = False
    try:
        for packet in video.container.demux(video.stream):
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
