"""Traces carried through a crop in space and a window in time. Arithmetic on boxes and seconds; no video is touched."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final, Literal

from deeptrace.records import Box, KeyBox, Trace

Dropped = Literal["outside_window", "cropped_away"]

_SMALLEST: Final = 1e-4
"""A box narrower than this share of the frame after the crop is gone."""


@dataclass(frozen=True)
class View:
    """What of a video is kept: ``crop_xyxy`` in fractions of the frame, and ``[start, start + length)`` in seconds."""

    crop_xyxy: Box
    start_seconds: float
    length_seconds: float

    @property
    def end_seconds(self) -> float:
        """The first moment that is not kept."""
        return self.start_seconds + self.length_seconds


def center_crop(width: int, height: int, aspect: float) -> Box:
    """The largest centred part of a frame that has the aspect (width by height), in fractions of the frame."""
    if width / height > aspect:
        share = aspect * height / width
        return ((1 - share) / 2, 0.0, (1 + share) / 2, 1.0)
    share = width / aspect / height
    return (0.0, (1 - share) / 2, 1.0, (1 + share) / 2)


def crop_box(box: Box, crop: Box) -> tuple[Box | None, float]:
    """The box in fractions of the crop, cut off at its edges, and which share of its area is left; None when gone."""
    width, height = crop[2] - crop[0], crop[3] - crop[1]
    x0, x1 = (min(1.0, max(0.0, (x - crop[0]) / width)) for x in (box[0], box[2]))
    y0, y1 = (min(1.0, max(0.0, (y - crop[1]) / height)) for y in (box[1], box[3]))
    if x1 - x0 < _SMALLEST or y1 - y0 < _SMALLEST:
        return None, 0.0
    whole = (box[2] - box[0]) * (box[3] - box[1])
    return (x0, y0, x1, y1), min(1.0, (x1 - x0) * (y1 - y0) * width * height / whole)


def carry_trace(trace: Trace, view: View, *, min_share: float) -> Trace | Dropped:
    """The trace as it is seen in the view, in the view's own fractions and seconds; or why it is not there any more.

    A trace that began before the view begins with it, and its box is then the one of that moment. Boxes are cut off at
    the crop. The share that is left is averaged over the keys of a track within the view; below ``min_share`` the trace
    is "cropped_away". A track stays linear between its cropped keys, which near the edge of the crop is close to the
    cropped track, not exactly it.
    """
    start, end = view.start_seconds, view.end_seconds
    onset, offset = trace.onset_seconds, trace.offset_seconds
    if (onset is not None and onset >= end) or (offset is not None and offset <= start):
        return "outside_window"
    first = start if onset is None else max(start, onset)
    new_trace = replace(
        trace,
        onset_seconds=None if onset is None else first - start,
        offset_seconds=None if offset is None else min(offset, end) - start,
    )
    if trace.track:
        return _carry_track(trace, new_trace, view, first, min_share)
    if trace.bbox_xyxy is None:
        return new_trace
    box, share = crop_box(trace.bbox_xyxy, view.crop_xyxy)
    if box is None or share < min_share:
        return "cropped_away"
    return replace(new_trace, bbox_xyxy=box)


def _carry_track(trace: Trace, new_trace: Trace, view: View, first: float, min_share: float) -> Trace | Dropped:
    assert trace.track
    keys, shares = [], []
    for key in _window(trace, view):
        box, share = (None, 0.0) if key.bbox_xyxy is None else crop_box(key.bbox_xyxy, view.crop_xyxy)
        if key.visible:
            shares.append(share)
        keys.append(KeyBox(max(0.0, key.time_seconds - view.start_seconds), box, key.visible and box is not None))
    if not shares:
        return "outside_window"
    if sum(shares) / len(shares) < min_share:
        return "cropped_away"
    # The box at onset; where it lies outside the crop then, the first that is in it.
    there = next(key.bbox_xyxy for key in keys if key.bbox_xyxy is not None)
    at_first = replace(trace, onset_seconds=None, offset_seconds=None).box_at(first)
    cropped = None if at_first is None else crop_box(at_first, view.crop_xyxy)[0]
    return replace(new_trace, bbox_xyxy=cropped or there, track=tuple(keys))


def _window(trace: Trace, view: View) -> list[KeyBox]:
    """The keys within the view, with one at each of its ends where the track goes on beyond; in the video's seconds."""
    assert trace.track
    start, end = view.start_seconds, view.end_seconds
    whole = replace(trace, onset_seconds=None, offset_seconds=None)
    inside = [key for key in trace.track if start <= key.time_seconds < end]
    before = trace.track[0].time_seconds < start
    after = trace.track[-1].time_seconds >= end
    keys = list(inside)
    if before and (not inside or inside[0].time_seconds > start):
        box = whole.box_at(start)
        keys.insert(0, KeyBox(start, box, box is not None))
    if not keys:  # the track begins after the view: its first box holds before
        box = whole.box_at(start)
        keys = [KeyBox(start, box, box is not None)]
    if after and keys[-1].visible and keys[-1].bbox_xyxy is not None:
        # Where the segment that crosses the end would be; a hidden key that ends it may carry a box too.
        nearly = end - 1e-9 * max(1.0, end)
        box = whole.box_at(nearly)
        if box is not None and nearly > keys[-1].time_seconds:
            keys.append(KeyBox(nearly, box))
    assert all(a.time_seconds < b.time_seconds for a, b in pairwise(keys))
    return keys
