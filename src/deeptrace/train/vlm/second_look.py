"""The second turn of `deeptrace.models.two_pass`, to be learned: a short window of a video, looked at closely.

The first look says when something is wrong; the second sees a window around that moment, at more frames a second and
larger, and says where, when and what. Its times are those of the whole video, as `TwoPass` asks for them. A first look
errs, so windows are off by chance, and some show nothing wrong: there the right answer is REAL.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from deeptrace.models.base import Sampling
from deeptrace.models.two_pass import closer
from deeptrace.records import Annotation, Record, Trace
from deeptrace.schema import Count, Positive, Share
from deeptrace.train.vlm.examples import Example

logger = logging.getLogger(__name__)

LEAST_SECONDS: Final = 0.25
"""A trace that a window shows for less than this is not spoken of: it may fall between two frames. Chosen."""


@dataclass(frozen=True)
class SecondLookTable:
    """How much of what is shown is a second look, and at what.

    ``share`` of all examples; 0: none. ``window_seconds`` and the sampling (``fps``, ``short_side``; None: four times
    the frames a second and twice the short side of the first look) are those that `TwoPass` is to be asked with.
    ``error``: how far the middle of a window may lie from a trace's onset, as a share of half the window.
    ``elsewhere``: the share of a fake's windows that lie anywhere.
    """

    share: Share = 0.0
    window_seconds: Positive = 2.0
    fps: Positive | None = None
    short_side: Count | None = None
    error: Share = 0.5
    elsewhere: Share = 0.25

    def sampling(self, first: Sampling) -> Sampling:
        """That of the second look, after a first look with this one."""
        near = closer(first)
        return Sampling(self.fps or near.fps, near.max_frames, self.short_side or near.short_side)


def with_second_looks(examples: Sequence[Example], table: SecondLookTable, *, seed: int) -> tuple[Example, ...]:
    """The examples, and behind them second looks at their videos, so many that they are ``table.share`` of all.

    The same seed gives the same windows. A video whose length the record does not say gets none, and neither does a
    fake without traces, or with one whose onset is not said: no window of it is known to be REAL. They are counted in
    the log.
    """
    usable = [example for example in examples if _can_be_looked_at(example.record)]
    count = round(len(examples) * table.share / (1 - table.share)) if table.share < 1 else 0
    if not count:
        return tuple(examples)
    if len(usable) < len(examples):
        logger.warning(
            "%d videos get no second look: no length, or a trace without an onset", len(examples) - len(usable)
        )
    if not usable:
        return tuple(examples)
    order = random.Random(f"{seed} second looks").sample(usable, len(usable))
    looks = [second_look(order[k % len(order)], table, seed=f"{seed} {k}") for k in range(count)]
    fake = sum(look.record.label == "fake" for look in looks)
    logger.info("%d second looks, %d of them at a trace", len(looks), fake)
    return (*examples, *looks)


def second_look(example: Example, table: SecondLookTable, *, seed: str) -> Example:
    """One second look at an example's video."""
    rng = random.Random(f"{seed} {example.record.video_id}")
    length = example.seconds
    assert length is not None, "the caller leaves such videos out"
    half = table.window_seconds / 2
    onsets = [trace.onset_seconds for trace in example.record.traces if trace.onset_seconds is not None]
    if onsets and rng.random() >= table.elsewhere:
        middle = rng.choice(onsets) + table.error * half * rng.uniform(-1, 1)
    else:
        middle = rng.uniform(0, length)
    middle = min(max(middle, 0.0), length)
    window = max(0.0, middle - half), middle + half  # as `TwoPass` takes it around an onset
    return Example(example.path, in_window(example.record, window), window)


def in_window(record: Record, window: tuple[float, float]) -> Record:
    """The record as the window shows it: traces that are visible in it, from when on they are; REAL without any."""
    length = record.info.length_seconds if record.info is not None else None
    end = window[1] if length is None else min(window[1], length)
    shown = []
    for annotation in record.annotations:
        traces = tuple(clipped for trace in annotation.traces if (clipped := _clip(trace, window[0], end)) is not None)
        if traces:
            shown.append(Annotation(traces, annotation.label, annotation.annotator))
    return replace(record, label="fake" if shown else "real", annotations=tuple(shown))


def _clip(trace: Trace, start: float, end: float) -> Trace | None:
    if trace.onset_seconds is None:
        return None
    onset = trace.onset_seconds if trace.onset_seconds >= start else _first_seen(trace, start, end)
    offset = end if trace.offset_seconds is None else min(trace.offset_seconds, end)
    if offset - onset < LEAST_SECONDS:
        return None
    if onset == trace.onset_seconds and trace.offset_seconds in (None, offset):
        return trace
    return replace(
        trace,
        bbox_xyxy=trace.box_at(onset) or trace.bbox_xyxy,
        onset_seconds=onset,
        offset_seconds=None if trace.offset_seconds is None else offset,
    )


def _first_seen(trace: Trace, start: float, end: float) -> float:
    """When a trace that had begun before ``start`` is on screen first from then on; ``end`` where it stays hidden."""
    if not trace.track or trace.box_at(start) is not None:
        return start
    return next((key.time_seconds for key in trace.track if start < key.time_seconds < end and key.visible), end)


def _can_be_looked_at(record: Record) -> bool:
    if record.info is None or record.info.length_seconds is None:
        return False
    onsets = [trace.onset_seconds for trace in record.traces]
    return record.label != "fake" or (bool(onsets) and None not in onsets)
