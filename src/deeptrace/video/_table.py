"""The list of all packets of a video, made by a first pass that decodes nothing. Worker side.

From it follow the times at which pictures are shown, which packets a picture needs, and whether pictures are missing.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import cast

import av
import numpy as np
import numpy.typing as npt
from av.packet import Packet
from av.video.stream import VideoStream

from deeptrace.video._bitstream import BitstreamReader
from deeptrace.video._container import Video
from deeptrace.video._ebml import is_intact
from deeptrace.video._length import tagged_seconds
from deeptrace.video._refusal import Refusal
from deeptrace.video._streams import WALKS

KEY, START, SHOWN, CORRUPT = 1, 2, 4, 8
NO_TIME = -(2**63)
_KEEP_BYTES = 16 * 2**20  # packets of a file up to this size stay in memory; larger files are read a second time
_MAX_SPAN_SECONDS = 30 * 24 * 3600.0
_SOUND_SECONDS = 0.05  # by which the ends of sound are uncertain: encoders add and hide samples


@dataclass
class PacketTable:
    """One row per packet, in the order of the file (decode order).

    ``flags``: KEY the container calls it a keyframe; START decoding can begin here; SHOWN a picture is shown for it
    (not hidden by an edit list, not empty, not cut off); CORRUPT the file ends or breaks inside it.
    """

    time_base: Fraction
    pts: array[int] = field(default_factory=lambda: array("q"))
    dts: array[int] = field(default_factory=lambda: array("q"))
    durations: array[int] = field(default_factory=lambda: array("q"))
    flags: bytearray = field(default_factory=bytearray)
    packets: list[Packet[VideoStream]] | None = field(default_factory=list)
    by_order: bool = False  # pts are not to be trusted: pictures are shown in the order of decoding times (AVI)
    durations_are_steps: bool = False
    empty: int = 0  # packets without data: AVI says with them that a picture stays on screen
    unreadable: bool = False  # the file could not be read to its end
    other_end_seconds: float = 0.0  # when the last packet of any other stream ends, from the file's zero

    def __len__(self) -> int:
        return len(self.flags)

    def flag(self, bit: int) -> npt.NDArray[np.bool_]:
        """``(N,)``: which packets have this flag."""
        return (np.frombuffer(self.flags, np.uint8) & bit).astype(bool)

    def pts_array(self) -> npt.NDArray[np.int64]:
        """``(N,)`` presentation times in ticks."""
        return np.frombuffer(self.pts, np.int64)

    def times_known(self) -> bool:
        """Whether every shown packet has a presentation time of its own."""
        if self.by_order:
            return False
        pts = self.pts_array()[self.flag(SHOWN)]
        return bool(len(pts)) and bool((pts != NO_TIME).all()) and len(np.unique(pts)) == len(pts)

    def shown_ticks(self) -> npt.NDArray[np.int64]:
        """``(K,)`` times of the shown pictures in ticks, increasing.

        Where presentation times are missing (AVI), pictures are shown in the order of decoding times, one each.

        Raises:
            Refusal: ``VIDEO_DAMAGED`` when the times make no sense.
        """
        is_shown = self.flag(SHOWN)
        ticks = self.pts_array()[is_shown]
        if self.by_order or (ticks == NO_TIME).any():
            ticks = np.frombuffer(self.dts, np.int64)[is_shown]
            if (ticks == NO_TIME).any():
                ticks = np.flatnonzero(is_shown).astype(np.int64) * self.usual_step()
        ticks = np.unique(ticks)
        if len(ticks) and (int(ticks[-1]) - int(ticks[0])) * self.time_base > _MAX_SPAN_SECONDS:
            raise Refusal("VIDEO_DAMAGED", "its pictures are more than a month apart.")
        return ticks

    def usual_step(self) -> int:
        """The most frequent duration of a packet in ticks; at least 1."""
        durations = np.frombuffer(self.durations, np.int64)
        durations = durations[durations > 0]
        if not len(durations):
            return 1
        values, counts = np.unique(durations, return_counts=True)
        return int(values[counts.argmax()])

    def last_step(self, ticks: npt.NDArray[np.int64]) -> int:
        """How long the last picture is shown, in ticks: as the file says, else like the one before it.

        In an mp4 the durations of packets are steps of decoding times; only their sum says when the video ends.
        """
        is_shown = self.flag(SHOWN)
        if self.durations_are_steps:
            rest = int(np.frombuffer(self.durations, np.int64)[is_shown].sum()) - int(ticks[-1] - ticks[0])
            if rest > 0:
                return rest
        last = np.flatnonzero(is_shown & (self.pts_array() == ticks[-1]))
        if len(last) and self.durations[int(last[0])] > 0:
            return self.durations[int(last[0])]
        if len(ticks) < 2:
            return self.usual_step()
        steps = np.diff(ticks)
        # A rate that ticks do not divide has steps of two lengths; the mean is nearer than either.
        return round(float(steps.mean())) if steps.max() - steps.min() <= 1 else int(steps[-1])


def read_table(video: Video, busy: Callable[[], None]) -> PacketTable:
    """Read all packets of the video.

    ``busy`` is called now and then.

    Raises:
        Refusal: ``TOO_MANY_FRAMES``.
    """
    table = PacketTable(video.time_base, durations_are_steps=video.layout.kind == "mov")
    # AVI stores no presentation times; those the library makes up are wrong where pictures are reordered.
    table.by_order = video.layout.kind == "avi" and bool(video.stream.codec_context.has_b_frames)
    bitstream = BitstreamReader(video.stream)
    kept_bytes = 0
    for packet in _packets_of_all_streams(video, table):
        if packet.stream_index != video.stream.index:
            _note_other(packet, table)
            continue
        ordinal = len(table)
        if ordinal >= video.limits.max_frames:
            raise Refusal("TOO_MANY_FRAMES", f"it has more than {video.limits.max_frames} pictures.")
        if ordinal % 1024 == 0:
            busy()
        _add(table, packet, bitstream)
        kept_bytes += packet.size
        if table.packets is not None:
            if kept_bytes > _KEEP_BYTES:
                table.packets = None
            else:
                table.packets.append(packet)
    _check_repeats(table, video)
    return table


def _add(table: PacketTable, packet: Packet[VideoStream], bitstream: BitstreamReader) -> None:
    key = packet.is_keyframe
    flags = KEY if key else 0
    if packet.is_corrupt:
        flags |= CORRUPT
    elif packet.size == 0:
        table.empty += 1
    else:
        if not packet.is_discard and bitstream.shows_picture(packet):
            flags |= SHOWN
        if key and bitstream.can_start(packet):
            flags |= START
    table.pts.append(NO_TIME if packet.pts is None else packet.pts)
    table.dts.append(NO_TIME if packet.dts is None else packet.dts)
    table.durations.append(packet.duration or 0)
    table.flags.append(flags)


def _check_repeats(table: PacketTable, video: Video) -> None:
    # In fragments the header counts the first one's pictures only, so the lists of all of them are added up.
    declared = video.layout.listed if video.layout.fragmented else video.declared_pictures
    if video.layout.kind == "mov" and declared and len(table) > 2 * declared + 16:
        raise Refusal("TOO_MANY_FRAMES", f"it declares {declared} pictures and shows {len(table)}.")


def _note_other(packet: Packet[VideoStream], table: PacketTable) -> None:
    if packet.pts is not None:
        end = float((packet.pts + (packet.duration or 0)) * packet.time_base)
        table.other_end_seconds = max(table.other_end_seconds, end)


def _packets_of_all_streams(video: Video, table: PacketTable) -> Iterator[Packet[VideoStream]]:
    """Packets until the file ends or cannot be read any further; the library's closing marks are left out."""
    # Where one length is declared for all streams, the others are needed to tell whether pictures are missing.
    all_streams = video.layout.kind in ("matroska", *WALKS) or video.layout.fragmented
    try:
        for packet in video.demux(all_streams=all_streams):
            if packet.size == 0 and packet.pts is None and packet.dts is None:
                continue
            yield cast("Packet[VideoStream]", packet)
    except (av.error.FFmpegError, EOFError, OSError):
        table.unreadable = True


def second_pass(video: Video, first: int, last: int) -> Iterator[Packet[VideoStream]]:
    """Packets ``first..last`` (inclusive, by ordinal) of a freshly opened video, in the same order as the table."""
    ordinal = 0
    for packet in video.demux():
        if packet.size == 0 and packet.pts is None and packet.dts is None:
            continue
        if ordinal > last:
            return
        if ordinal >= first:
            yield packet
        ordinal += 1


# ── is all of it there? ──


def is_short(table: PacketTable, video: Video, reopen: Callable[..., Video], busy: Callable[[], None]) -> bool:
    """Whether pictures that the file promises are not in it. ``reopen`` takes the options of `open_video`."""
    if table.unreadable or any(table.flag(CORRUPT)) or video.layout.header_cut:
        return True
    if table.empty and video.layout.kind != "avi":
        return True  # in AVI a packet without bytes repeats the picture before it
    if video.layout.kind == "matroska":
        return _matroska_is_short(table, video, busy)
    if video.layout.kind in WALKS:
        return _stream_is_short(table, video)
    if video.indexed_packets is not None:
        return len(table) < video.indexed_packets or _index_is_short(video, reopen)
    if video.declared_pictures is not None and len(table) < video.declared_pictures:
        return True
    return video.layout.cut or (video.layout.fragmented and _fragments_are_missing(table, video))


def _index_is_short(video: Video, reopen: Callable[..., Video]) -> bool:
    """Whether an mp4 declares more pictures than its tables can place in the file. An edit list may leave some out."""
    samples = [track.samples for track in video.layout.tracks if track.track_id == video.stream.id]
    declared = max(video.stream.frames, *samples, 0)
    if (video.indexed_packets or 0) >= declared:
        return False
    whole = reopen(ignore_edits=True)
    try:
        return (whole.indexed_packets or 0) < declared
    finally:
        whole.close()


def _fragments_are_missing(table: PacketTable, video: Video) -> bool:
    """Whether a fragmented mp4 declares a length that its fragments do not reach.

    A file cut between two fragments is well formed; if no length is declared anywhere, nothing can tell.
    """
    dts, pts = np.frombuffer(table.dts, np.int64), table.pts_array()
    known = (dts != NO_TIME) & (pts != NO_TIME)
    if not known.any():
        return True
    ends = np.maximum(dts, pts)[known] + np.frombuffer(table.durations, np.int64)[known]
    # Decoding times may begin below zero, where pictures are reordered or an edit list hides the first ones.
    end = float((int(ends.max()) - min(0, int(dts[known].min()))) * table.time_base)
    step = float(table.usual_step() * table.time_base)
    own = video.stream.duration
    if own is not None and end + step / 2 < own * table.time_base:
        return True
    # The library's length of the whole file is no promise: it counts a late start of a stream twice.
    declared = video.layout.fragments_seconds
    return declared is not None and max(end, table.other_end_seconds) + max(step, _SOUND_SECONDS) < declared


def _matroska_is_short(table: PacketTable, video: Video, busy: Callable[[], None]) -> bool:
    """A Matroska file declares no number of pictures: its declared length is compared with the last picture's time.

    The length covers all streams, so a longer sound track excuses an early last picture, unless the file is damaged.
    """
    whole = is_intact(video.read_at, video.size_bytes, busy)
    ticks = table.shown_ticks()
    if not len(ticks):
        return not whole
    steps = np.diff(ticks) if len(ticks) > 1 else np.array([table.usual_step()])
    # A large last step is to be trusted at a changing rate only: at a steady one it is where pictures are missing.
    step = float(np.median(steps))
    steady = float(np.mean(np.abs(steps - step) <= 1)) >= 0.5
    if whole and not steady:
        step = max(step, float(steps[-1]))
    last = np.flatnonzero(table.pts_array() == ticks[-1])
    held = table.durations[int(last[0])] if whole and len(last) else 0
    end = (float(ticks[-1]) + max(1.5 * step, 1.5, float(held))) * float(table.time_base)
    declared = tagged_seconds(video.stream)
    sound_excuses = False
    # A stream that goes on after its own end: one of the two is wrong, so the tag says nothing.
    if declared is None or float(ticks[-1]) * float(table.time_base) > declared:
        if video.container.duration is None:
            return not whole
        declared = video.container.duration / av.time_base
        sound_excuses = whole and table.other_end_seconds >= declared - 0.005
    if end < declared and not sound_excuses:
        return True
    # With pictures alone the length of the file is theirs: where tag and length disagree, one promise is broken.
    length = video.container.duration
    if length is not None and table.other_end_seconds <= 0 and end < length / av.time_base:
        return True
    # Damage in the middle leaves a hole; what is lost after the last picture costs none.
    return not whole and bool(steps.max() > 1.5 * step)


def _stream_is_short(table: PacketTable, video: Video) -> bool:
    """For containers that are a stream of parts (see `deeptrace.video._streams`)."""
    layout, container = video.layout, video.container
    ticks = table.shown_ticks()
    if layout.cut or layout.damaged or not len(ticks) or len(table) < (layout.listed or 0):
        return True
    steps = np.diff(ticks) if len(ticks) > 1 else np.array([table.usual_step()])
    step = float(np.median(steps))
    steady = float(np.mean(np.abs(steps - step) <= 1)) >= 0.5
    # These two have one rate from the first picture to the last, so a hole is a loss.
    if layout.kind in ("mpeg", "ogg") and steady and steps.max() > 1.5 * step:
        return True
    if container.duration is None or layout.kind == "gif":
        return False
    if not steady:
        step = max(step, float(steps[-1]))
    end = float(ticks[-1] * table.time_base) + 1.5 * step * float(table.time_base)
    declared = _declared_end(video)
    return end < declared and table.other_end_seconds < declared - _SOUND_SECONDS


def _declared_end(video: Video) -> float:
    """When the last stream of the file ends, on the clock of its packets."""
    container, own = video.container, video.stream.duration
    if video.layout.kind == "asf" and own:
        return float(own * video.time_base)
    start = 0 if video.layout.kind == "flv" else container.start_time or 0  # FLV counts from zero
    return (start + (container.duration or 0)) / av.time_base
