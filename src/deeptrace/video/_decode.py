"""Decoding the chosen pictures of a video, by plan where that is safe and from the beginning where it is not.

Worker side. Both ways give the same pixels; a test holds them against decoding everything.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
import numpy.typing as npt
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from deeptrace.video._bitstream import PLANNED_CODECS
from deeptrace.video._container import Video
from deeptrace.video._plan import PacketRun, TimeWindow, choose, plan_runs, rounding_seconds
from deeptrace.video._refusal import Refusal
from deeptrace.video._table import CORRUPT, NO_TIME, SHOWN, START, PacketTable, second_pass

Picture = tuple[float, VideoFrame]
"""Seconds from the first picture shown, and the decoded picture."""

_DECODE_ERRORS = (av.error.FFmpegError, EOFError, ValueError)


class PlanFailed(Exception):
    """A picture that the plan counts on did not come out, without an error: this stream is not what it seems."""


@dataclass
class Tally:
    """What happened while decoding."""

    decoded: int = 0  # pictures that came out
    lost: int = 0  # pictures that should have come out and did not
    corrupt: int = 0  # pictures decoded, shown or not, that the decoder flagged
    errors: int = 0  # packets that the decoder refused
    too_large: bool = False  # a picture beyond the limit was met


@dataclass
class Selection:
    """The pictures asked for: their times in ticks and in seconds, and what is known of the whole video."""

    ticks: npt.NDArray[np.int64]  # (K,) of all shown pictures
    times: npt.NDArray[np.float64]  # (K,) seconds from the first one
    chosen: npt.NDArray[np.intp]  # (M,) indices into the two above
    end_seconds: float
    window: TimeWindow
    rounding: float


def select(table: PacketTable, window: TimeWindow) -> Selection:
    """Which of the table's pictures are asked for."""
    ticks = table.shown_ticks()
    base = table.time_base
    times = (ticks - ticks[:1]).astype(np.float64) * base.numerator / base.denominator
    last = float(table.last_step(ticks) * base) if len(ticks) else 0.0
    end = float(times[-1]) + last if len(ticks) else 0.0
    rounding = rounding_seconds(base)
    return Selection(ticks, times, choose(times, end, window, rounding), end, window, rounding)


class Decoder:
    """Decodes the chosen pictures of one video, in time order.

    ``reopen`` opens the file anew, for a second pass over a file too large to keep and for starting over.
    """

    def __init__(self, video: Video, table: PacketTable, reopen: Callable[[], Video], busy: Callable[[], None]) -> None:
        self.video = video
        self.table = table
        self.tally = Tally()
        self._reopen = reopen
        self._busy = busy
        self._context = video.stream.codec_context
        # The library's AV1 decoder takes this setting once, when it starts.
        self._can_skip = self._context.codec.canonical_name != "av1"

    @property
    def aspect(self) -> Fraction | None:
        """Width by height of a pixel, where the file says it."""
        return self.video.stream.sample_aspect_ratio

    @property
    def is_indexed(self) -> bool:
        """Whether a full index says which pictures there are; then no count needs to be compared."""
        return self.video.indexed_packets is not None

    def pictures(self, selection: Selection) -> Iterator[Picture]:
        """The chosen pictures that can be decoded."""
        done = -1.0
        if self._context.codec.canonical_name in PLANNED_CODECS and self.table.times_known():
            try:
                for time, frame in self._by_plan(selection):
                    yield time, frame
                    done = time
                return
            except PlanFailed:
                self._start_over()
        left = sum(1 for index in selection.chosen if selection.times[index] > done)
        for time, frame in self._from_the_beginning(selection):
            # The caller was told how many there will be; a decoder that makes more out of a damaged file is stopped.
            if time > done and left:
                left -= 1
                yield time, frame

    def _start_over(self) -> None:
        self.video.close()
        self.video = self._reopen()
        self.table.packets = None
        self._context = self.video.stream.codec_context
        self.tally = Tally()

    def _packets(self, first: int, last: int) -> Iterator[Packet[VideoStream]]:
        if self.table.packets is not None:
            yield from self.table.packets[first : last + 1]
            return
        video = self._reopen()
        try:
            yield from second_pass(video, first, last)
        finally:
            video.close()

    # ── by plan ──

    def _by_plan(self, selection: Selection) -> Iterator[Picture]:
        table = self.table
        pts = table.pts_array()
        ordinals = np.flatnonzero(table.flag(SHOWN))
        ordinals = ordinals[np.argsort(pts[ordinals], kind="stable")]  # packet of picture i
        wanted = ordinals[selection.chosen]
        runs = plan_runs(wanted, np.flatnonzero(table.flag(START)), pts)
        time_of = dict(zip(selection.ticks[selection.chosen].tolist(), selection.times[selection.chosen], strict=True))
        packets = self._packets(runs[0].first, runs[-1].last) if runs else iter(())
        position = runs[0].first if runs else 0
        shown_before = -1.0
        for run in runs:
            for _ in range(run.first - position):
                next(packets, None)
            position = run.last + 1
            errors, lost = self.tally.errors, self.tally.lost
            order = sorted(int(pts[ordinal]) for ordinal in run.wanted)
            came = 0  # of these, how many were given or given up
            missing = 0
            for frame in self._decode_run(packets, run):
                # Pictures before the one at which decoding began may refer to some that were not decoded.
                if frame.is_corrupt and (frame.pts is None or frame.pts >= pts[run.first]):
                    self.tally.corrupt += 1
                at = bisect_left(order, frame.pts) if frame.pts is not None else len(order)
                if at == len(order) or order[at] != frame.pts:
                    continue
                # Noticed before a later picture is given: then the others can still be had from the beginning.
                if at < came or (at > came and self.tally.errors == errors):
                    raise PlanFailed
                missing += at - came
                came = at + 1
                time = float(time_of[frame.pts])
                if time <= shown_before:
                    raise PlanFailed
                shown_before = time
                yield time, frame
            missing += len(order) - came
            if missing and self.tally.errors == errors:
                raise PlanFailed
            self.tally.lost = max(self.tally.lost, lost + missing)

    def _decode_run(self, packets: Iterator[Packet[VideoStream]], run: PacketRun) -> Iterator[VideoFrame]:
        context, flags = self._context, self.table.flags
        broken = False
        for ordinal in range(run.first, run.last + 1):
            packet = next(packets, None)
            if packet is None:
                self.tally.errors += 1  # the file became shorter since the first pass
                break
            if ordinal % 32 == 0:
                self._busy()
            if packet.size == 0 or (broken and not flags[ordinal] & START):
                self.tally.lost += broken and bool(flags[ordinal] & SHOWN)
                continue
            broken = False
            if self._can_skip:
                context.skip_frame = "DEFAULT" if ordinal in run.wanted else "NONREF"
            frames, broken = self._decode(packet)
            self.tally.lost += broken and bool(flags[ordinal] & SHOWN)
            yield from frames
        context.skip_frame = "DEFAULT"
        yield from self._drain()

    # ── from the beginning ──

    def _from_the_beginning(self, selection: Selection) -> Iterator[Picture]:
        """Decode everything up to the end of the window; show what is on screen at the moments asked for."""
        until = float(selection.times[selection.chosen[-1]]) if len(selection.chosen) else 0.0
        held: Picture | None = None
        came = 0
        for picture in self._timed(self._decode_all(), selection):
            if held is not None:
                yield from self._if_chosen(held, picture[0], selection)
            held = picture
            self.tally.corrupt += bool(picture[1].is_corrupt)
            if picture[0] > until + selection.rounding:
                held = None
                break
            came += 1
        if held is not None:
            yield from self._if_chosen(held, max(selection.end_seconds, held[0] + 1e-6), selection)
        # A decoder may drop a damaged picture without a word.
        expected = int((selection.times <= until + selection.rounding).sum())
        self.tally.lost = max(self.tally.lost, expected - came)

    def _if_chosen(self, picture: Picture, next_time: float, selection: Selection) -> Iterator[Picture]:
        span = np.array([picture[0], next_time])
        window = selection.window
        if window.fps is not None and window.max_frames is not None:
            # The moments were spread over the whole window: they are those of the pictures chosen by the table.
            chosen = selection.times[selection.chosen]
            wanted = bool(((chosen >= picture[0] - selection.rounding) & (chosen < next_time - 1e-9)).any())
        else:
            wanted = 0 in choose(span, max(selection.end_seconds, next_time), window, selection.rounding)
        if wanted:
            yield picture

    def _timed(self, frames: Iterator[tuple[int, VideoFrame]], selection: Selection) -> Iterator[Picture]:
        """Frames with their times, strictly increasing.

        Frames without a presentation time (AVI) take the decoding times in order: the k-th picture since the decoder
        was started at packet p is shown at the k-th time from p on.
        """
        first = int(selection.ticks[0]) if len(selection.ticks) else 0
        base = self.table.time_base
        is_shown = self.table.flag(SHOWN).astype(np.int64)
        pictures_before: npt.NDArray[np.int64] = np.cumsum(is_shown) - is_shown  # pictures before each packet
        pts = self.table.pts_array()
        by_order = self.table.by_order or bool((pts[self.table.flag(SHOWN)] == NO_TIME).any())
        not_shown = frozenset(pts[self.table.flag(CORRUPT)].tolist()) - frozenset(selection.ticks.tolist())
        start, count = -1, 0
        before = -1.0
        for started_at, frame in frames:
            if not by_order and frame.pts in not_shown:
                continue  # what is left of a packet that is not whole
            count = count + 1 if started_at == start else 0
            start = started_at
            index = int(pictures_before[started_at]) + count
            if frame.pts is not None and not by_order:
                time = float((frame.pts - first) * base)
            elif index < len(selection.times):
                time = float(selection.times[index])
            else:
                continue
            if time > before and time >= 0:
                before = time
                yield time, frame
            else:
                self.tally.lost += 1  # two pictures cannot be shown at one time, nor one before the other

    def _decode_all(self) -> Iterator[tuple[int, VideoFrame]]:
        """All pictures in display order, each with the ordinal of the packet where the decoder was last started."""
        flags = self.table.flags
        broken, start = False, 0
        for ordinal, packet in enumerate(self._packets(0, len(self.table) - 1)):
            if ordinal % 32 == 0:
                self._busy()
            if packet.size == 0 or (broken and not flags[ordinal] & START):
                self.tally.lost += broken and bool(flags[ordinal] & SHOWN)
                continue
            if broken:
                broken, start = False, ordinal
            frames, broken = self._decode(packet)
            self.tally.lost += broken and bool(flags[ordinal] & SHOWN)
            for frame in frames:
                yield start, frame
        for frame in self._drain():
            yield start, frame

    # ── the decoder itself ──

    def _decode(self, packet: Packet[VideoStream]) -> tuple[list[VideoFrame], bool]:
        """What comes out for this packet, and whether the decoder refused it and was emptied."""
        try:
            frames = self._context.decode(packet)
        except MemoryError:
            raise
        except _DECODE_ERRORS as error:
            self._note(error)
            return self._drain(), True
        self.tally.decoded += len(frames)
        return frames, False

    def _drain(self) -> list[VideoFrame]:
        """The pictures that the decoder still holds back; it is empty and ready to start anew afterwards."""
        try:
            frames = self._context.decode(None)
        except MemoryError:
            raise
        except EOFError:
            frames = []
        except _DECODE_ERRORS as error:
            self._note(error)
            frames = []
        self._context.flush_buffers()
        self.tally.decoded += len(frames)
        return frames

    def _note(self, error: BaseException) -> None:
        self.tally.errors += 1
        # The decoder reports a size beyond its limit as an invalid argument; damaged data is another error.
        if isinstance(error, av.error.ArgumentError):
            self.tally.too_large = True


def nothing_decoded(table: PacketTable, tally: Tally, short: bool) -> Refusal:
    """Why there is no picture at all."""
    if tally.too_large:
        return Refusal("FRAME_TOO_LARGE", "a picture in it is larger than the reader takes.")
    if short:
        return Refusal("VIDEO_TRUNCATED", "it is cut off before the first picture that could be shown.")
    if not len(table):
        return Refusal("VIDEO_DAMAGED", "it holds no pictures.")
    return Refusal("VIDEO_DAMAGED", "none of the pictures asked for can be decoded.")
