"""The RewardData release: ``all_data.json``, a list of rows, one per trace and one per real video, into records.

Rows of one ``video_id`` join into one `Record` with one `Annotation` a row, so that the paper's counts of rows hold.
Frame numbers and pixels end here. Called by `deeptrace.data.load_records`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from deeptrace.categories import Category, read_tags
from deeptrace.data.paths import check_path
from deeptrace.data.read.log import Log, RowLog
from deeptrace.data.read.problems import Problem
from deeptrace.data.read.release_fields import (
    KNOWN_FIELDS,
    TRACE_FIELDS,
    TRACK_FIELD,
    VIDEO_FIELDS,
    bbox_px,
    frame_index,
    seconds,
    track_keys,
)
from deeptrace.data.read.release_fields import label as read_label
from deeptrace.data.read.release_fields import tags as read_raw_tags
from deeptrace.data.read.release_fields import video_id as read_video_id
from deeptrace.data.read.tolerant import json_problem, loads, show, show_name, text_or_none
from deeptrace.errors import JsonError, RecordError
from deeptrace.files import read_bytes
from deeptrace.measures.overlap import bbox_from_px
from deeptrace.records import Annotation, Box, KeyBox, Record, RecordLabel, Trace, VideoInfo

T = TypeVar("T")

# A sum of two rounded times may miss the video's end by this much without anything being wrong.
_SLACK_SECONDS: Final = 1e-6


# ── one video ───────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(slots=True)
class _Row:
    values: Mapping[str, Any]
    log: RowLog
    path: str
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class _Video:
    """All rows of one ``video_id``, on the way to one record."""

    video_id: str
    rows: list[_Row] = field(default_factory=list)
    flags: dict[str, None] = field(default_factory=dict)
    unreadable: frozenset[str] = frozenset()  # fields of the video that are bad in some row

    def record(self) -> Record:
        self._keep_one_path()
        labels = self._values("video_type", read_label)
        values = {name: self._agreed(name, reader) for name, reader in VIDEO_FIELDS.items()}
        self.unreadable = frozenset().union(*(row.log.bad_fields for row in self.rows))
        extra = self._video_extra()
        info = self._info(values, extra)
        end = _end_seconds(info)
        annotations = tuple(
            _annotation(row, label, info, end, self) for row, label in zip(self.rows, labels, strict=True)
        )
        stated = {label for label in labels if label is not None}
        return Record(
            video_id=self.video_id,
            path=self.rows[0].path,
            label=stated.pop() if len(stated) == 1 else None,
            info=info,
            source=values["video_source"],
            split=values["split"],
            prompt=values["video_prompt"],
            annotations=annotations,
            flags=tuple(self.flags),
            extra=extra,
        )

    def _keep_one_path(self) -> None:
        """Rows that name another file than most rows do speak of another video: set aside."""
        path = _majority([row.path for row in self.rows])
        for row in self.rows:
            if row.path != path:
                row.log.add("video_path", f"{show(row.path)} is not the video's path {show(path)}", "set_aside")
        self.rows = [row for row in self.rows if row.path == path]

    def _values(self, name: str, reader: Callable[[object, str], T]) -> list[T | None]:
        """The field's value in each row; a row that disagrees with most rows is listed."""
        values = [row.log.read(name, reader, row.values.get(name)) for row in self.rows]
        stated = [value for value in values if value is not None]
        if len(set(stated)) > 1:
            right = _majority(stated)
            for row, value in zip(self.rows, values, strict=True):
                if value is not None and value != right:
                    row.log.add(name, f"{show(value)} disagrees with {show(right)} in another row of the video")
        return values

    def _agreed(self, name: str, reader: Callable[[object, str], T]) -> T | None:
        """The field's value; where rows disagree, most rows (then the first) are right."""
        if len(self.rows) == 1:
            row = self.rows[0]
            return row.log.read(name, reader, row.values.get(name))
        stated = [value for value in self._values(name, reader) if value is not None]
        return _majority(stated) if stated else None

    def _video_extra(self) -> dict[str, Any]:
        """Unknown ``video_`` fields on which all rows agree; every other unknown field goes to its row."""
        first = self.rows[0]
        for row in self.rows:
            for name, value in row.values.items():
                if name in KNOWN_FIELDS:
                    continue
                if problem := json_problem(value) or json_problem(name):
                    row.log.add(show_name(name), problem)
                else:
                    row.extra[name] = value
        shared = {
            name: value
            for name, value in first.extra.items()
            if name.startswith("video_") and all(_holds(row.extra, name, value) for row in self.rows)
        }
        for row in self.rows:
            for name in shared:
                del row.extra[name]
        return shared

    def _info(self, values: Mapping[str, Any], extra: dict[str, Any]) -> VideoInfo | None:
        width, height = values["video_width"], values["video_height"]
        if width is None or height is None:
            # What is known cannot stand in a VideoInfo without a size; it is kept as it was written.
            for name in ("video_width", "video_height", "video_frame_rate", "video_frame_count", "video_duration"):
                if values[name] is not None:
                    extra[name] = values[name]
            return None
        return VideoInfo(
            width=width,
            height=height,
            fps=values["video_frame_rate"],
            num_frames=values["video_frame_count"],
            duration_seconds=values["video_duration"],
        )


def _holds(extra: Mapping[str, Any], name: str, value: object) -> bool:
    """Whether this very value stands there; 1 and true are two values."""
    return name in extra and extra[name] == value and type(extra[name]) is type(value)


def _majority(values: list[T]) -> T:
    """The most frequent value (all are hashable); the first of those that are equally frequent."""
    return values[0] if len(values) == 1 else Counter(values).most_common(1)[0][0]


def _end_seconds(info: VideoInfo | None) -> float | None:
    """The end of the video: the later of its duration and its frames' end, since either may be rounded."""
    if info is None:
        return None
    ends = [info.duration_seconds] if info.duration_seconds else []
    if info.fps and info.num_frames:
        ends.append(info.num_frames / info.fps)
    return max(ends, default=None)


# ── one annotation ──────────────────────────────────────────────────────────────────────────────────────────────────


def _annotation(
    row: _Row, label: RecordLabel | None, info: VideoInfo | None, end: float | None, video: _Video
) -> Annotation:
    if label == "real":
        _refuse_traces(row)
        return Annotation(label=label, extra=row.extra)
    onset = _onset(row, info, end, video)
    categories, tags = _categories(row)
    trace = Trace(
        bbox_xyxy=_bbox(row, info, video),
        onset_seconds=onset,
        offset_seconds=_offset(row, onset, end, video),
        categories=categories,
        explanation=row.log.read("faketrace_explanations", text_or_none, row.values.get("faketrace_explanations")),
        track=_track(row),
    )
    if tags is not None:
        row.extra["faketrace_check_applies"] = tags
    return Annotation(traces=() if trace == Trace() else (trace,), label=label, extra=row.extra)


def _refuse_traces(row: _Row) -> None:
    """A real video has no trace. Nulls, zeros and empty values say nothing; anything else contradicts the label."""
    for name in TRACE_FIELDS:
        value = row.values.get(name)
        says_nothing = not value or (isinstance(value, Mapping) and not any(value.values()))
        if not says_nothing:
            row.log.add(name, "is filled in on a real video")
            if json_problem(value) is None:
                row.extra[name] = value


def _bbox(row: _Row, info: VideoInfo | None, video: _Video) -> Box | None:
    name = "faketrace_bbox"
    raw = row.values.get(name)
    box = row.log.read(name, bbox_px, raw)
    if box is None:
        return None
    if info is None:
        row.extra[name] = raw
        if not video.unreadable & {"video_width", "video_height"}:  # else that is the problem, and it is listed
            row.log.add(name, "cannot be placed: the row has no video_width or video_height")
        return None
    clipped = (max(box[0], 0.0), max(box[1], 0.0), min(box[2], info.width), min(box[3], info.height))
    if not (clipped[0] < clipped[2] and clipped[1] < clipped[3]):
        row.log.add(name, f"lies outside the frame of {info.width} x {info.height}")
        return None
    if clipped != box:
        row.log.add(name, f"{_px(box)} was clipped to the frame of {info.width} x {info.height}", "repaired")
    try:
        return bbox_from_px(clipped, width=info.width, height=info.height)
    except RecordError:  # thinner than two neighbouring fractions
        row.log.add(name, f"{_px(box)} is empty")
        return None


def _px(box: tuple[float, float, float, float]) -> str:
    return "[{:g}, {:g}, {:g}, {:g}]".format(*box)


def _onset(row: _Row, info: VideoInfo | None, end: float | None, video: _Video) -> float | None:
    name = "faketrace_first_frame"
    frame = row.log.read(name, frame_index, row.values.get(name))
    if frame is None:
        return None
    if info is None or info.fps is None:
        row.extra[name] = frame
        if not video.unreadable & {"video_frame_rate", "video_width", "video_height"}:
            row.log.add(name, "has no time: the row has no video_frame_rate or no frame size")
        return None
    onset = frame / info.fps
    if end is not None and onset >= end - _SLACK_SECONDS:
        row.log.add(name, f"{frame} is at {onset:.3f} s, not before the video's end at {end:.3f} s")
        return None
    return onset


def _offset(row: _Row, onset: float | None, end: float | None, video: _Video) -> float | None:
    name = "faketrace_duration"
    length = row.log.read(name, seconds, row.values.get(name))
    if length is None:
        return None
    if onset is None:
        row.extra[name] = length
        explained = video.unreadable & {"video_frame_rate", "video_width", "video_height"}
        if not explained and "faketrace_first_frame" not in row.log.bad_fields:
            row.log.add(name, "has no start: the row has no faketrace_first_frame")
        return None
    offset = onset + length
    if end is None or offset <= end:
        return offset if offset > onset else None
    if offset > end + _SLACK_SECONDS:
        row.log.add(name, f"{length:g} s from {onset:.3f} s was cut at the video's end at {end:.3f} s", "repaired")
    return end


def _categories(row: _Row) -> tuple[tuple[Category, ...] | None, list[str] | None]:
    name = "faketrace_check_applies"
    tags = row.log.read(name, read_raw_tags, row.values.get(name))
    if tags is None:
        return None, None
    known_tags = read_tags(tags)
    if known_tags.unknown:
        row.log.add(name, f"has no category for {', '.join(show(tag) for tag in known_tags.unknown[:3])}", "kept")
    return known_tags.categories, tags


def _track(row: _Row) -> tuple[KeyBox, ...] | None:
    """The boxes over time that `deeptrace inject` wrote; what is no track stays with the unknown fields."""
    raw = row.extra.get(TRACK_FIELD)
    if not raw:
        return None
    track = row.log.read(TRACK_FIELD, track_keys, raw, "kept")
    if track is not None:
        del row.extra[TRACK_FIELD]
    return track


# ── the file ────────────────────────────────────────────────────────────────────────────────────────────────────────


def read_release(path: Path) -> tuple[list[Record], list[Problem]]:
    """The records of an ``all_data.json``, in the order in which their videos first appear, and what was wrong.

    Raises:
        FileError: the file cannot be read.
        JsonError: it is not JSON, or not a list.
    """
    try:
        rows = loads(read_bytes(path))
    except JsonError as error:
        raise JsonError(f"{path.name}: {error}") from None
    if not isinstance(rows, list):
        raise JsonError(f"{path.name}: expected a list of rows, got {show(rows)}")
    return read_rows(rows, path.name)


def read_rows(rows: list[Any], file: str) -> tuple[list[Record], list[Problem]]:
    """The records in rows of the release that were read already; ``file`` names them in problems."""
    log = Log(file)
    videos: dict[str, _Video] = {}
    for number, values in enumerate(rows):
        if not isinstance(values, dict):
            log.add(number, None, "row", f"{show(values)} is not an object", "set_aside")
            continue
        row = RowLog(log, number, None, {})
        video_id = row.read("video_id", read_video_id, values.get("video_id"), "set_aside")
        row.video_id = video_id
        path = row.read("video_path", check_path, values.get("video_path"), "set_aside")
        if video_id is None or path is None:
            continue
        video = videos.setdefault(video_id, _Video(video_id))
        row.flags = video.flags
        video.rows.append(_Row(values, row, path))
    records = [video.record() for video in videos.values()]
    log.problems.sort(key=lambda problem: problem.row or 0)
    return records, log.problems
