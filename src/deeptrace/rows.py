"""The JSON forms of the core types: one row shape for verdicts, one for records, exact both ways.

`outcome_to_row` and `outcome_from_row` are inverse; so are `record_to_json` and `record_from_json`, `trace_to_json` and
`trace_from_json`. Absent = null.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from deeptrace.errors import RecordError
from deeptrace.records import (
    Annotation,
    Box,
    Failed,
    Highlight,
    KeyBox,
    Origin,
    Outcome,
    Record,
    Trace,
    Unparsed,
    Verdict,
    VideoInfo,
)

SCHEMA: Final = "deeptrace.verdict"
SCHEMA_VERSION: Final = 1

RECORD_SCHEMA: Final = "deeptrace.record"
RECORD_SCHEMA_VERSION: Final = 1
_RECORD_FIELDS: Final = tuple(Record.__dataclass_fields__)
_ANNOTATION_FIELDS: Final = tuple(Annotation.__dataclass_fields__)
_INFO_FIELDS: Final = tuple(VideoInfo.__dataclass_fields__)
_TRACE_FIELDS: Final = tuple(Trace.__dataclass_fields__)
_HIGHLIGHT_FIELDS: Final = tuple(Highlight.__dataclass_fields__)

_ORIGIN_FIELDS: Final = (
    "video_id",
    "path",
    "sha256",
    "model",
    "revision",
    "question",
    "sampling",
    "frames_declared",
    "frames_decoded",
    "partial",
)
_VERDICT_FIELDS: Final = (
    "label",
    "uncertain",
    "p_fake",
    "p_fake_raw",
    "calibration",
    "p_trace",
    "p_generated",
    "thresholds",
    "prior",
    "flags",
)

ROW_FIELDS: Final = (
    "schema",
    "schema_version",
    "status",
    "video_id",
    "path",
    "sha256",
    "model",
    "revision",
    "question",
    "sampling",
    "label",
    "uncertain",
    "p_fake",
    "p_fake_raw",
    "calibration",
    "p_trace",
    "p_generated",
    "thresholds",
    "prior",
    "traces",
    "highlights",
    "flags",
    "partial",
    "frames_declared",
    "frames_decoded",
    "text",
    "code",
    "reason",
)
"""Every key of a row, in the order in which they are written; all are always there."""


# ── traces ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _box_to_json(box: Box | None) -> list[float] | None:
    return None if box is None else list(box)


def trace_to_json(trace: Trace) -> dict[str, Any]:
    """A trace as JSON: boxes as lists of four fractions, times in seconds."""
    return {
        "bbox_xyxy": _box_to_json(trace.bbox_xyxy),
        "onset_seconds": trace.onset_seconds,
        "offset_seconds": trace.offset_seconds,
        "categories": None if trace.categories is None else list(trace.categories),
        "explanation": trace.explanation,
        "track": None
        if trace.track is None
        else [
            {"time_seconds": key.time_seconds, "bbox_xyxy": _box_to_json(key.bbox_xyxy), "visible": key.visible}
            for key in trace.track
        ],
        "confidence": trace.confidence,
    }


def trace_from_json(value: object) -> Trace:
    """The trace in a JSON object; keys that are not there are None.

    Raises:
        RecordError: not an object, an unknown key, or a value that no trace may hold.
    """
    row = _object(value, "trace", _TRACE_FIELDS)
    keys = row.get("track")
    if keys is not None and not isinstance(keys, list):
        raise RecordError("track", f"{keys!r} is not a list")
    track = None if keys is None else tuple(_key_from_json(key) for key in keys)
    return Trace(**{**row, "track": track})


def _key_from_json(value: object) -> KeyBox:
    row = _object(value, "track", ("time_seconds", "bbox_xyxy", "visible"))
    if "time_seconds" not in row:
        raise RecordError("track.time_seconds", "is missing")
    return KeyBox(row["time_seconds"], row.get("bbox_xyxy"), row.get("visible", True))


def highlight_to_json(highlight: Highlight) -> dict[str, Any]:
    """A part of a video that spoke for "fake", as JSON: seconds and fractions."""
    return {
        **{name: getattr(highlight, name) for name in _HIGHLIGHT_FIELDS},
        "bbox_xyxy": _box_to_json(highlight.bbox_xyxy),
    }


def highlight_from_json(value: object) -> Highlight:
    """The highlight in a JSON object.

    Raises:
        RecordError: not an object, an unknown key, no times, or a value that it may not hold.
    """
    row = _object(value, "highlights", _HIGHLIGHT_FIELDS)
    return Highlight(**{"start_seconds": None, "end_seconds": None, **row})


def _object(value: object, field: str, field_names: tuple[str, ...]) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise RecordError(field, f"{value!r} is not an object")
    unknown = [key for key in value if key not in field_names]
    if unknown:
        raise RecordError(field, f"has no field {unknown[0]!r}. Known: {', '.join(field_names)}")
    return value


# ── records ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def info_to_json(info: VideoInfo) -> dict[str, Any]:
    """What a video file says of itself, as JSON: pixels, frames, seconds."""
    return {name: getattr(info, name) for name in _INFO_FIELDS}


def info_from_json(value: object) -> VideoInfo:
    """The `VideoInfo` in a JSON object; keys that are not there are None.

    Raises:
        RecordError: not an object, an unknown key, no width or height, or a value that it may not hold.
    """
    row = _object(value, "info", _INFO_FIELDS)
    _text_or_none(row, "codec")
    for name in ("has_audio", "variable_frame_rate"):
        if row.get(name) is not None and not isinstance(row[name], bool):
            raise RecordError(name, f"{row[name]!r} is not true or false")
    return VideoInfo(**{"width": None, "height": None, **row})


def annotation_to_json(annotation: Annotation) -> dict[str, Any]:
    """One annotator's word on a video, as JSON."""
    return {
        "traces": [trace_to_json(trace) for trace in annotation.traces],
        "label": annotation.label,
        "annotator": annotation.annotator,
        "extra": dict(annotation.extra),
    }


def annotation_from_json(value: object) -> Annotation:
    """The annotation in a JSON object; keys that are not there are None or empty.

    Raises:
        RecordError: not an object, an unknown key, or a value that no annotation may hold.
    """
    row = _object(value, "annotation", _ANNOTATION_FIELDS)
    return Annotation(
        traces=tuple(trace_from_json(trace) for trace in _list_or_empty(row, "traces")),
        label=row.get("label"),
        annotator=_text_or_none(row, "annotator"),
        extra=_extra(row),
    )


def record_to_json(record: Record) -> dict[str, Any]:
    """The row of one record, as it stands in ``records.jsonl``."""
    return {
        "schema": RECORD_SCHEMA,
        "schema_version": RECORD_SCHEMA_VERSION,
        "video_id": record.video_id,
        "path": record.path,
        "label": record.label,
        "info": None if record.info is None else info_to_json(record.info),
        "source": record.source,
        "split": record.split,
        "prompt": record.prompt,
        "annotations": [annotation_to_json(annotation) for annotation in record.annotations],
        "flags": list(record.flags),
        "extra": dict(record.extra),
    }


def record_from_json(value: object) -> Record:
    """The record in a row; keys that are not there are None or empty.

    Raises:
        RecordError: another schema or version, an unknown key, or a value that no record may hold.
    """
    row = _object(value, "row", ("schema", "schema_version", *_RECORD_FIELDS))
    version = row.get("schema_version")
    if row.get("schema") != RECORD_SCHEMA or version != RECORD_SCHEMA_VERSION or isinstance(version, bool):
        got = f"{row.get('schema')} {version}"
        raise RecordError("schema", f"the row is {got!r}, this version reads '{RECORD_SCHEMA} {RECORD_SCHEMA_VERSION}'")
    flags = _list_or_empty(row, "flags")
    if not all(isinstance(flag, str) for flag in flags):
        raise RecordError("flags", "must hold texts")
    return Record(
        video_id=_text(row, "video_id"),
        path=_text_or_none(row, "path"),
        label=row.get("label"),
        info=None if row.get("info") is None else info_from_json(row["info"]),
        source=_text_or_none(row, "source"),
        split=_text_or_none(row, "split"),
        prompt=_text_or_none(row, "prompt"),
        annotations=tuple(annotation_from_json(annotation) for annotation in _list_or_empty(row, "annotations")),
        flags=tuple(flags),
        extra=_extra(row),
    )


def _extra(row: Mapping[str, Any]) -> Mapping[str, Any]:
    value = row.get("extra")
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise RecordError("extra", f"{value!r} is not an object")
    return value


# ── outcomes ────────────────────────────────────────────────────────────────────────────────────────────────────────


def outcome_to_row(outcome: Outcome) -> dict[str, Any]:
    """The row of one outcome: every key of `ROW_FIELDS`, ``status`` being verdict, unparsed or failed."""
    row: dict[str, Any] = dict.fromkeys(ROW_FIELDS)
    row.update(schema=SCHEMA, schema_version=SCHEMA_VERSION)
    row.update({name: getattr(outcome.origin, name) for name in _ORIGIN_FIELDS})
    match outcome:
        case Verdict():
            row["status"] = "verdict"
            row.update({name: getattr(outcome, name) for name in _VERDICT_FIELDS})
            row["flags"] = list(outcome.flags)
            row["thresholds"] = None if outcome.thresholds is None else list(outcome.thresholds)
            row["traces"] = [trace_to_json(trace) for trace in outcome.traces]
            row["highlights"] = [highlight_to_json(highlight) for highlight in outcome.highlights]
            row["text"] = outcome.text
        case Unparsed():
            row.update(status="unparsed", reason=outcome.reason, text=outcome.text)
        case Failed():
            row.update(status="failed", code=outcome.code, reason=outcome.reason)
    if row["sampling"] is not None:
        row["sampling"] = dict(row["sampling"])
    return row


def outcome_from_row(row: object) -> Outcome:
    """The outcome in a row.

    Raises:
        RecordError: another schema or version, an unknown status or key, a value that no verdict may hold.
    """
    fields = _object(row, "row", ROW_FIELDS)
    version = fields.get("schema_version")
    if fields.get("schema") != SCHEMA or isinstance(version, bool) or version != SCHEMA_VERSION:
        got = f"{fields.get('schema')} {fields.get('schema_version')}"
        raise RecordError("schema", f"the row is {got!r}, this version reads '{SCHEMA} {SCHEMA_VERSION}'")
    origin = _origin(fields)
    _refuse_other_status(fields)
    match fields.get("status"):
        case "verdict":
            traces = _list(fields, "traces")
            values: dict[str, Any] = {name: fields.get(name) for name in _VERDICT_FIELDS if name != "flags"}
            return Verdict(
                **values,
                traces=tuple(trace_from_json(trace) for trace in traces),
                highlights=tuple(highlight_from_json(part) for part in _list_or_empty(fields, "highlights")),
                flags=tuple(_text({"flags": flag}, "flags") for flag in _list(fields, "flags")),
                text=_text_or_none(fields, "text"),
                origin=origin,
            )
        case "unparsed":
            return Unparsed(_text(fields, "reason"), _text(fields, "text"), origin)
        case "failed":
            return Failed(_text(fields, "code"), _text(fields, "reason"), origin)
        case status:
            raise RecordError("status", f"{status!r} is not one of verdict, unparsed, failed")


_STATUS_FIELDS: Final = {
    "verdict": (*_VERDICT_FIELDS, "traces", "highlights", "text"),
    "unparsed": ("reason", "text"),
    "failed": ("code", "reason"),
}


def _refuse_other_status(fields: Mapping[str, Any]) -> None:
    """A failed row with a label would lose it on the next write: what belongs to another status must be null."""
    status = fields.get("status")
    if status not in _STATUS_FIELDS:
        return
    for name in {name for names in _STATUS_FIELDS.values() for name in names} - set(_STATUS_FIELDS[status]):
        if fields.get(name) is not None:
            raise RecordError(name, f"a row of status {status!r} has none, got {fields[name]!r}")


def _origin(fields: Mapping[str, Any]) -> Origin:
    for name in ("video_id", "path", "sha256", "model", "revision", "question"):
        _text_or_none(fields, name)
    for name in ("frames_declared", "frames_decoded"):
        value = fields.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
            raise RecordError(name, f"{value!r} is not a count")
    if not isinstance(fields.get("partial"), bool):
        raise RecordError("partial", f"{fields.get('partial')!r} is not true or false")
    if fields.get("sampling") is not None and not isinstance(fields["sampling"], Mapping):
        raise RecordError("sampling", f"{fields['sampling']!r} is not an object")
    values: dict[str, Any] = {name: fields.get(name) for name in _ORIGIN_FIELDS}
    return Origin(**values)


def _list(fields: Mapping[str, Any], name: str) -> list[Any]:
    value = fields.get(name)
    if not isinstance(value, list):
        raise RecordError(name, f"{value!r} is not a list")
    return value


def _list_or_empty(fields: Mapping[str, Any], name: str) -> list[Any]:
    return [] if fields.get(name) is None else _list(fields, name)


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str):
        raise RecordError(name, f"{value!r} is not text")
    return value


def _text_or_none(fields: Mapping[str, Any], name: str) -> str | None:
    return None if fields.get(name) is None else _text(fields, name)
