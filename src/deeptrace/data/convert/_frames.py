"""Frame numbers to seconds and back. Every format with frame numbers goes through here.

A trace becomes segments: stretches of frames on which it is visible, with boxes at some of these frames and straight
lines between them. Frames count from 0, ``first`` and ``last`` are both visible. Frame k is shown at ``k / fps``, so a
trace visible on frames 10..45 of a video with 25 frames a second is visible on [0.40 s, 1.84 s).
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from deeptrace.errors import RecordError
from deeptrace.records import Box, KeyBox, Trace

SNAP_FRAMES: Final = 0.05
"""A time this close to a frame's own is that frame's: times rounded to milliseconds keep their frame."""


MAX_FRAME: Final = 10**7
"""Frame numbers beyond this (46 hours at 60 a second) are taken for mistakes."""


@dataclass(frozen=True)
class FrameBox:
    """A box (fractions of the frame) at a frame, counted from 0."""

    frame: int
    bbox_xyxy: Box


@dataclass(frozen=True)
class Segment:
    """Frames ``first``..``last`` (both visible, from 0). ``keys`` has a box at ``first``, or is empty: only a time."""

    first: int
    last: int
    keys: tuple[FrameBox, ...] = ()

    def boxes(self) -> Iterator[FrameBox]:
        """The box of every frame, linear between keys, constant after the last."""
        for here, after in pairwise(self.keys):
            for frame in range(here.frame, after.frame):
                yield FrameBox(frame, between(here, after, frame))
        if self.keys:
            for frame in range(self.keys[-1].frame, self.last + 1):
                yield FrameBox(frame, self.keys[-1].bbox_xyxy)

    def closed(self) -> tuple[FrameBox, ...]:
        """The keys, with one at the last frame too."""
        if not self.keys or self.keys[-1].frame == self.last:
            return self.keys
        return (*self.keys, FrameBox(self.last, self.keys[-1].bbox_xyxy))


def between(a: FrameBox, b: FrameBox, frame: int) -> Box:
    """The box at a frame on the straight line from ``a`` to ``b``."""
    share = (frame - a.frame) / (b.frame - a.frame)
    p, q = a.bbox_xyxy, b.bbox_xyxy
    return (
        p[0] + (q[0] - p[0]) * share,
        p[1] + (q[1] - p[1]) * share,
        p[2] + (q[2] - p[2]) * share,
        p[3] + (q[3] - p[3]) * share,
    )


# ── seconds to frames ───────────────────────────────────────────────────────────────────────────────────────────────


def _in_frames(seconds: float, fps: float) -> float:
    value = seconds * fps
    nearest = round(value)
    return float(nearest) if abs(value - nearest) <= SNAP_FRAMES else value


def segments_of(trace: Trace, *, fps: float, num_frames: int | None) -> tuple[Segment, ...]:
    """The segments of a trace; none where it is visible on no frame.

    Frame k is visible when ``onset <= k / fps < offset`` and the track is not hidden there. An onset that is not said
    counts as the start of the video, an offset that is not said as its end. Frames beyond the video are left out.
    Boxes are exact at every frame, also where a key of the track lies between two frames.

    Raises:
        RecordError: the offset is not said and the number of frames is not known.
    """
    first = 0 if trace.onset_seconds is None else math.ceil(_in_frames(trace.onset_seconds, fps))
    if trace.offset_seconds is not None:
        last = math.ceil(_in_frames(trace.offset_seconds, fps)) - 1
    elif num_frames is not None:
        last = num_frames - 1
    else:
        raise RecordError("offset_seconds", "is not said, and the number of frames of the video is not known")
    if num_frames is not None:
        last = min(last, num_frames - 1)
    if last < first:
        return ()
    if not trace.track:
        keys = () if trace.bbox_xyxy is None else (FrameBox(first, trace.bbox_xyxy),)
        return (Segment(first, last, keys),)
    return tuple(_visible(trace.track, first, last, fps))


def _visible(track: Sequence[KeyBox], first: int, last: int, fps: float) -> Iterator[Segment]:
    # The same track with frames as its unit of time. Between two neighbouring frames of ``wanted`` it is one line.
    framed = {_in_frames(key.time_seconds, fps): key for key in track}
    moving = Trace(track=tuple(KeyBox(time, key.bbox_xyxy, key.visible) for time, key in sorted(framed.items())))
    frames = {first, last}
    for time, key in framed.items():
        up = math.ceil(time)
        frames.update((math.floor(time), up) if key.visible else (up - 1, up))
    open_keys: list[FrameBox] = []
    end = first
    for frame in sorted(frame for frame in frames if first <= frame <= last):
        box = moving.box_at(float(frame))
        if box is not None:
            open_keys.append(FrameBox(frame, box))
            end = frame
        elif open_keys:
            yield Segment(open_keys[0].frame, end, tuple(open_keys))
            open_keys = []
    if open_keys:
        yield Segment(open_keys[0].frame, end, tuple(open_keys))


# ── frames to seconds ───────────────────────────────────────────────────────────────────────────────────────────────


def place(segments: Sequence[Segment], fps: float) -> dict[str, Any]:
    """The fields of a `Trace` that say where and when: ``bbox_xyxy``, ``onset_seconds``, ``offset_seconds``, ``track``.

    Segments are in time order and do not overlap. One box that never changes needs no track.
    """
    if not segments:
        return {}
    fields: dict[str, Any] = {
        "onset_seconds": segments[0].first / fps,
        "offset_seconds": (segments[-1].last + 1) / fps,
    }
    with_boxes = [segment for segment in segments if segment.keys]
    if not with_boxes:
        return fields
    fields["bbox_xyxy"] = with_boxes[0].keys[0].bbox_xyxy
    if len(with_boxes) > 1 or len({key.bbox_xyxy for key in with_boxes[0].keys}) > 1:
        keys: list[KeyBox] = []
        for index, segment in enumerate(with_boxes):
            keys += [KeyBox(key.frame / fps, key.bbox_xyxy) for key in segment.keys]
            if index + 1 == len(with_boxes) or with_boxes[index + 1].first > segment.last + 1:
                keys.append(KeyBox((segment.last + 1) / fps, None, visible=False))
        fields["track"] = tuple(keys)
    return fields


def cover(ranges: Iterable[tuple[int, int]], keys: Sequence[FrameBox]) -> tuple[tuple[Segment, ...], int]:
    """Segments over the given visible ranges, from keys in frame order; and how many ranges had no key of their own.

    Between keys of one range the box moves in a line, never across ranges. Before the first key of a range that key's
    box holds; a range without keys holds the box of the nearest key.
    """
    merged: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    segments, borrowed = [], 0
    frames = [key.frame for key in keys]
    for first, last in merged:
        own = list(keys[bisect.bisect_left(frames, first) : bisect.bisect_right(frames, last)])
        if not own and keys:
            borrowed += 1
            at = bisect.bisect_left(frames, first)
            beside = keys[max(0, at - 1) : at + 1]
            own = [min(beside, key=lambda key: min(abs(key.frame - first), abs(key.frame - last)))]
        if own and own[0].frame != first:
            own = [FrameBox(first, own[0].bbox_xyxy), *(key for key in own if first < key.frame <= last)]
        segments.append(Segment(first, last, tuple(own)))
    return tuple(segments), borrowed


def clip(segments: Sequence[Segment], num_frames: int) -> tuple[Segment, ...]:
    """The segments without the frames that the video does not have."""
    inside = []
    for segment in segments:
        last = min(segment.last, num_frames - 1)
        if segment.first > last:
            continue
        keys = [key for key in segment.keys if key.frame <= last]
        after = [key for key in segment.keys if key.frame > last]
        if after and keys and keys[-1].frame < last:
            keys.append(FrameBox(last, between(keys[-1], after[0], last)))
        inside.append(Segment(segment.first, last, tuple(keys)))
    return tuple(inside)


_MOST_WORK_PER_KEY: Final = 40
"""How often `thin` looks at a key on average before it keeps what is left; footage takes less than 20."""


def thin(keys: Sequence[FrameBox], marked: Iterable[int], tolerance: float) -> list[FrameBox]:
    """Only the keys that are needed: the ends, the marked frames, and those off the line between their neighbours.

    A file that holds every frame becomes the key frames it was drawn with. ``tolerance`` is in fractions of the frame.
    """
    if len(keys) <= 2:
        return list(keys)
    key_frames = set(marked)
    indices = {0, len(keys) - 1} | {index for index, key in enumerate(keys) if key.frame in key_frames}
    spans = list(pairwise(sorted(indices)))
    work = _MOST_WORK_PER_KEY * len(keys)
    while spans:
        low, high = spans.pop()
        work -= high - low
        if work < 0:  # drawn so as to cost the square of its length: kept as it is
            indices.update(range(low, high))
            continue
        far, where = tolerance, None
        for index in range(low + 1, high):
            line = between(keys[low], keys[high], keys[index].frame)
            off = max(abs(a - b) for a, b in zip(line, keys[index].bbox_xyxy, strict=True))
            if off > far:
                far, where = off, index
        if where is not None:
            indices.add(where)
            spans += [(low, where), (where, high)]
    return [keys[index] for index in sorted(indices)]
