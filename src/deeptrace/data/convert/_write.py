"""What all writers share: which records can be written, their traces on frames, and what gets lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deeptrace.data.convert._common import ConvertLog, VideoFacts, Where, rate_or_refuse
from deeptrace.data.convert._frames import Segment, segments_of
from deeptrace.records import Annotation, Record, Trace


@dataclass(frozen=True)
class FrameTrace:
    """A trace on its frames, ready to be written."""

    trace: Trace
    segments: tuple[Segment, ...]


@dataclass(frozen=True)
class Ready:
    """A record whose video's size and rate are known wherever it has traces."""

    row: int
    record: Record
    where: Where
    fps: float
    width: int
    height: int
    num_frames: int | None

    def place(self, annotation: Annotation, *, boxless: bool = False) -> list[FrameTrace]:
        """The traces of an annotation on their frames; reports those that cannot be written.

        ``boxless``: the format can hold a trace without a box.
        """
        placed = []
        for trace in annotation.traces:
            if trace.bbox_xyxy is None and not trace.track and not boxless:
                self.where.add("trace", "has no box, and this format has only boxes: not written", "emptied")
                continue
            for name in ("onset_seconds", "offset_seconds"):
                if getattr(trace, name) is None:
                    end = "first" if name == "onset_seconds" else "last"
                    self.where.add(name, f"is not said: written as the {end} frame", "repaired")
            segments = segments_of(trace, fps=self.fps, num_frames=self.num_frames)
            if not segments:
                self.where.add("trace", "is visible on no frame of the video: not written", "emptied")
                continue
            if trace.offset_seconds is not None and self.num_frames is not None:
                beyond = trace.offset_seconds * self.fps - self.num_frames
                if beyond > 0.5:
                    self.where.add("offset_seconds", "is after the end of the video: cut off there", "repaired")
            placed.append(FrameTrace(trace, segments))
        return placed


def prepare(
    records: Sequence[Record], target: Path, format_name: str, *, confidence: bool = False
) -> tuple[ConvertLog, list[Ready]]:
    """Records ready for a format with frame numbers, and the log of what it cannot carry.

    Raises:
        RecordError: videos with a variable frame rate, or with traces and no size, rate or length in ``Record.info``.
    """
    log, ready = ConvertLog(target.name), []
    for row, record in enumerate(records):
        where, info = log.at(row, record.video_id), record.info
        count = None
        if info is not None and info.fps is not None:
            count = info.num_frames
            if count is None and info.duration_seconds is not None:
                count = round(info.duration_seconds * info.fps)
        facts = VideoFacts(info.width, info.height, info.fps, count, info) if info is not None else VideoFacts()
        if record.traces and not rate_or_refuse(facts, where, needs_size=True):
            continue
        report_lost(record, where, format_name, confidence=confidence)
        size = (info.width, info.height) if info is not None else (1, 1)
        ready.append(Ready(row, record, where, facts.fps or 1.0, *size, count))
    log.check()
    return log, ready


def report_lost(record: Record, where: Where, format_name: str, *, confidence: bool) -> None:
    """Report the fields of a record that a format has no place for."""
    if record.extra or any(annotation.extra for annotation in record.annotations):
        where.add("extra", f"has no place in {format_name}", "emptied")
    if record.flags:
        where.add("flags", f"has no place in {format_name}", "emptied")
    if not confidence and any(trace.confidence is not None for trace in record.traces):
        where.add("confidence", f"has no place in {format_name}", "emptied")
