"""Opening a stranger's file with the media library. Worker side.

The library would follow references to other files and to the network, guess formats from names, and allocate what a
header asks for. Every option here closes one of these; each is needed.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NoReturn

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.stream import VideoStream

from deeptrace.video._boxes import Layout, scan
from deeptrace.video._hiding import hide
from deeptrace.video._limits import ReadLimits
from deeptrace.video._open import KINDS_IN_WORDS, SNIFF_BYTES, Kind, container_kind
from deeptrace.video._refusal import Refusal

# What the media library may take a file of each kind for; the first is its demuxer.
_FORMATS: dict[Kind, str] = {
    "mov": "mov,mp4,m4a,3gp,3g2,mj2",
    "matroska": "matroska,webm",
    "avi": "avi",
    "gif": "gif",
    "mpegts": "mpegts",
    "mpeg": "mpeg",
    "asf": "asf",
    "flv": "flv",
    "ogg": "ogg",
}
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

    def demux(self, *, all_streams: bool = False) -> Iterator[Packet[Any]]:
        """Packets from where the last reading stopped, of the stream of pictures or of all streams."""
        while True:
            try:
                yield from self.container.demux() if all_streams else self.container.demux(self.stream)
                return
            except IndexError:
                continue  # in MPEG streams another may begin in the middle, which the library does not expect

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
    kind = container_kind(read_at(0, SNIFF_BYTES))
    if kind is None or kind not in _FORMATS:
        raise Refusal("NOT_A_VIDEO", f"it is not {KINDS_IN_WORDS}.")
    layout = scan(kind, read_at, size)
    _check_tables(layout, limits)
    container = _open_container(SourceFile(hide(read_at, layout.hidden), size), kind, layout, limits, ignore_edits)
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
    if layout.kind == "gif" and layout.listed is not None and layout.listed > limits.max_frames:
        raise Refusal("TOO_MANY_FRAMES", f"it has {layout.listed} pictures; at most {limits.max_frames} are read.")
    if layout.largest_run > limits.max_frames:
        raise Refusal("TOO_MANY_FRAMES", f"a fragment declares {layout.largest_run} samples.")


def _open_container(
    file: SourceFile, kind: Kind, layout: Layout, limits: ReadLimits, ignore_edits: bool
) -> InputContainer:
    try:
        return av.open(
            file,
            mode="r",
            format=_FORMATS[kind].partition(",")[0],
            metadata_errors="replace",
            buffer_size=_BUFFER_BYTES,
            io_open=_refuse_to_open,
            options={"max_pixels": str(limits.max_pixels)},
            container_options={
                "format_whitelist": _FORMATS[kind],
                "max_streams": str(_MAX_TRACKS),
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
    moving = [stream for stream in container.streams.video if not stream.disposition & cover]
    usable = [stream for stream in moving if getattr(stream, "codec_context", None) is not None]
    if not usable and (layout.header_cut or (layout.cut and not container.streams)):
        raise Refusal("VIDEO_TRUNCATED", "it is cut off within the description of its streams.")
    if not moving:
        kinds = " and ".join(sorted({stream.type for stream in container.streams})) or "nothing"
        only = "cover art" if container.streams.video else kinds
        raise Refusal("NO_VIDEO_STREAM", f"no video stream. It has only {only}.")
    if not usable:
        raise Refusal("UNSUPPORTED_CODEC", "its video codec is not one that is built in.")
    return next((stream for stream in usable if _is_enabled(stream, layout)), usable[0])


def _is_enabled(stream: VideoStream, layout: Layout) -> bool:
    """Whether a player shows this stream without being told to. Where none is enabled, the first is taken."""
    if layout.kind == "mov":
        return all(track.is_enabled for track in layout.tracks if track.track_id == stream.id)
    return stream.index not in layout.disabled


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
        num_shown = len(stream.index_entries)
        if num_shown > limits.max_frames or (stream.frames and num_shown > _REPEATS * stream.frames + 16):
            raise Refusal("TOO_MANY_FRAMES", f"its edit list shows {stream.frames} pictures {num_shown} times.")
    # The container's option does not reach the decoder.
    context.options = {"max_pixels": str(limits.max_pixels)}
    context.thread_count = 1
