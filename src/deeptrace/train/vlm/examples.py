"""Records -> examples: which video is shown, and what the right answer to it is. Knows no model and opens no video."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeAlias

from deeptrace.data import Records, resolve
from deeptrace.errors import DeepTraceError, TrainError
from deeptrace.records import Annotation, Record

logger = logging.getLogger(__name__)

Answers: TypeAlias = Literal["per-video", "per-trace"]


@dataclass(frozen=True)
class Example:
    """One video and the truth about it. ``record.traces`` are those that the answer speaks of.

    ``window``: only these seconds of it are shown, closely, see `deeptrace.train.vlm.second_look`.
    """

    path: Path
    record: Record
    window: tuple[float, float] | None = None

    @property
    def seconds(self) -> float | None:
        """The video's length, where the record says it."""
        return None if self.record.info is None else self.record.info.length_seconds


@dataclass(frozen=True)
class Examples:
    """Examples of one split, and by reason how many records gave none."""

    examples: tuple[Example, ...]
    left_out: Mapping[str, int] = field(default_factory=dict)


def make_examples(records: Records, *, split: str, answers: Answers = "per-video") -> Examples:
    """The examples of a split, in the order of the records.

    ``per-video``: all traces of a video in one answer. ``per-trace``: an example for each trace of a fake video, as in
    the paper, where one video with two traces was shown twice with two answers. A video without a label, or with the
    label "unsure", has no right answer and is left out; so is a real video that has traces, which says both.

    Raises:
        TrainError: nothing is left.
    """
    examples: list[Example] = []
    left_out: Counter[str] = Counter()
    for record in records:
        if record.split != split:
            continue
        reason = _unusable(record)
        path = None
        if reason is None:
            try:
                path = resolve(records.root, record)
            except DeepTraceError as error:  # a link that leads elsewhere, a path outside: other than no file
                logger.warning("left out: video %r: %s", record.video_id, error)
                reason = _reason(error)
        if reason is not None or path is None:
            left_out[reason or "no file at its path"] += 1
            continue
        examples += [Example(path, part) for part in _split_record(record, answers)]
    if not examples:
        splits = ", ".join(sorted({str(record.split) for record in records})) or "none"
        reasons = "".join(f"; {count} x {reason}" for reason, count in left_out.items())
        raise TrainError(f"the split {split!r} gives no example (splits of the records: {splits}{reasons})")
    return Examples(tuple(examples), dict(left_out.most_common()))


def _reason(error: DeepTraceError) -> str:
    """Why a record's path was not taken, in a few words that many records can share."""
    return re.sub(r"^path: ('[^']*'|\"[^\"]*\"|\S+) ", "its path ", str(error))


def _unusable(record: Record) -> str | None:
    if record.label not in ("fake", "real"):
        return f"label {record.label or 'not said'}"
    if record.label == "real" and record.traces:
        return "labelled real, with traces"
    return None if record.path is not None else "no path"


def _split_record(record: Record, answers: Answers) -> Iterable[Record]:
    if answers == "per-video" or len(record.traces) < 2:
        return [record]
    return [
        replace(record, annotations=(Annotation((trace,), annotation.label, annotation.annotator),))
        for annotation in record.annotations
        for trace in annotation.traces
    ]
