"""How long the pictures of a video last, and whether their steps differ, by what its file says. Worker side.

A file has several lengths: of its pictures one by one, of the stream of pictures, of the whole with its sound. Here is
the one rule which of them wins:

1. where an index lists the pictures with their times (MP4, MOV): from the first picture shown to the end of the last;
2. the length of the stream of pictures alone: a tag in Matroska, the header of the stream elsewhere;
3. the length of the whole file, when there are only pictures in it;
4. with sound beside them: the last picture that is found from the end of the file.

A source that contradicts one below it gives way: a tag cannot be longer than the whole file.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import islice

import av
import numpy as np
import numpy.typing as npt
from av.video.stream import VideoStream

from deeptrace.video._boxes import Track
from deeptrace.video._container import Video
from deeptrace.video._nearby import ReadAt

_LATE_PACKETS = 4096  # at most so many are looked at for the last picture
# Their header gives one length for all streams, or the library measures one at the end of the file.
_ONE_LENGTH_FOR_ALL = frozenset({"matroska", "asf", "flv"})


def declared_seconds(video: Video, reopen: Callable[[], Video]) -> float | None:
    """The length of the pictures in seconds; None where nothing says it."""
    if video.layout.kind == "mpeg":
        return None  # what the library says is an estimate from the last packs
    listed = listed_times(video)
    if listed is not None and len(listed.ticks):
        seconds: float | None = float((int(listed.ticks[-1]) - int(listed.ticks[0]) + listed.last) * video.time_base)
    else:
        seconds = _stream_seconds(video)
        if seconds is None:
            seconds = _file_seconds(video, reopen)
    return seconds if seconds is not None and math.isfinite(seconds) and seconds > 0 else None


def _stream_seconds(video: Video) -> float | None:
    stream, whole = video.stream, video.container.duration
    if video.layout.pictures_seconds is not None:
        return video.layout.pictures_seconds
    if video.layout.kind == "matroska":
        tag = tagged_seconds(stream)
        if tag is None or (whole is not None and tag > whole / av.time_base + 0.001):
            return None
        return tag - _start_seconds(video)
    if video.layout.kind in _ONE_LENGTH_FOR_ALL or not stream.duration or stream.duration < 0:
        return None
    return float(stream.duration * video.time_base)


def _file_seconds(video: Video, reopen: Callable[[], Video]) -> float | None:
    container = video.container
    if container.duration is None or container.duration <= 0:
        return None
    if video.layout.kind in _ONE_LENGTH_FOR_ALL and any(stream.type == "audio" for stream in container.streams):
        last = _last_picture_seconds(reopen)
        if last is not None:
            return last
    return max(0.0, container.duration / av.time_base - _start_seconds(video))


def _start_seconds(video: Video) -> float:
    """Where the first picture stands on a clock that counts from zero (Matroska, FLV)."""
    if video.layout.kind not in ("matroska", "flv"):
        return 0.0
    if video.stream.start_time is not None:
        return float(max(0, video.stream.start_time) * video.time_base)
    return max(0, video.container.start_time or 0) / av.time_base


def _last_picture_seconds(reopen: Callable[[], Video]) -> float | None:
    """From the first picture to the end of the last one, which is looked for from the end of the file."""
    video = reopen()
    stream, base = video.stream, video.time_base
    try:
        first = next((packet.pts for packet in video.demux() if packet.pts is not None), None)
        end = (video.container.start_time or 0) + (video.container.duration or 0)
        video.container.seek(int(end / av.time_base / base), stream=stream)
        times = sorted(
            (packet.pts, packet.duration or 0)
            for packet in islice(video.demux(), _LATE_PACKETS)
            if packet.pts is not None
        )
    except (av.error.FFmpegError, EOFError, OSError, ValueError):
        return None
    finally:
        video.close()
    if first is None or not times:
        return None
    last, held = times[-1]
    step = held or (last - times[-2][0] if len(times) > 1 else 0)
    return float((last + step - first) * base)


def tagged_seconds(stream: VideoStream) -> float | None:
    """The stream's own end in a Matroska tag, ``HH:MM:SS.nnnnnnnnn``, in seconds from the file's zero; None without."""
    for name, text in stream.metadata.items():
        if name.upper() == "DURATION":
            try:
                hours, minutes, seconds = text.strip("\0 ").split(":")
                return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
            except ValueError:
                return None
    return None


# ── where an index lists the pictures ──


class ListedTimes:
    """Times of the pictures shown, by the index: ``ticks`` (K,), increasing. The last is shown for ``last`` ticks."""

    def __init__(self, ticks: npt.NDArray[np.int64], last: int) -> None:
        self.ticks = ticks
        self.last = last

    def steps_differ(self) -> bool | None:
        """Whether the rate is variable; None for a single picture."""
        steps = np.diff(self.ticks)
        if not len(steps):
            return None
        spread = int(steps.max() - steps.min())
        # Steps of a constant rate differ by one tick when the tick does not divide them.
        return spread > 1 or (spread == 1 and float(steps.mean()) < 10)


def listed_times(video: Video) -> ListedTimes | None:
    """The times in the index of an mp4; None where there is no full index.

    The library's index holds decoding times. By how much later each picture is shown stands in a table of its own.
    """
    if video.indexed_packets is None:
        return None
    entries = video.stream.index_entries
    decoding = np.array([entry.timestamp for entry in entries], np.int64)
    is_shown = np.array([not entry.is_discard for entry in entries], bool)
    track = next((track for track in video.layout.tracks if track.track_id == video.stream.id), None)
    later = _composition_offsets(track, video.read_at, len(decoding))
    ticks = np.unique((decoding if later is None else decoding + later)[is_shown])
    if not len(ticks):
        return ListedTimes(ticks, 0)
    # The steps between decoding times add up to when the video ends, as a player counts it (see `Table.last_step`).
    steps = np.diff(decoding)
    usual = int(steps[-1]) if len(steps) else 0
    rest = int(np.append(steps, usual)[is_shown].sum()) - int(ticks[-1] - ticks[0])
    return ListedTimes(ticks, rest if rest > 0 else max(usual, 0))


def _composition_offsets(track: Track | None, read_at: ReadAt, count: int) -> npt.NDArray[np.int64] | None:
    """``(count,)`` ticks from decoding to showing; None without a table that fits."""
    if track is None or track.offsets is None:
        return None
    start, stop = track.offsets
    head = read_at(start, 8)
    entries = int.from_bytes(head[4:8], "big")
    if len(head) < 8 or not 0 < entries <= min(count, (stop - start - 8) // 8):
        return None
    table = np.frombuffer(read_at(start + 8, 8 * entries).ljust(8 * entries, b"\0"), ">i4").reshape(-1, 2)
    runs = table[:, 0].astype(np.int64)
    if (runs < 0).any() or int(runs.sum()) != count:
        return None
    return np.repeat(table[:, 1].astype(np.int64), runs)
