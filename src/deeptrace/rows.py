"""The JSON forms of the core types: one row shape for verdicts everywhere, exact both ways.

`outcome_to_row` and `outcome_from_row` are inverse; so are `trace_to_json` and `trace_from_json`. Absent = null.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from deeptrace.errors import RecordError
from deeptrace.records import Box, Failed, KeyBox, Origin, Outcome, Trace, Unparsed, Verdict

SCHEMA: Final = "deeptrace.verdict"
SCHEMA_VERSION: Final = 1

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
    "traces",
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
    row = _object(value, "trace", tuple(Trace.__dataclass_fields__))
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


def _object(value: object, field: str, known: tuple[str, ...]) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise RecordError(field, f"{value!r} is not an object")
    unknown = [key for key in value if key not in known]
    if unknown:
        raise RecordError(field, f"has no field {unknown[0]!r}. Known: {', '.join(known)}")
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
            row["traces"] = [trace_to_json(trace) for trace in outcome.traces]
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
    if fields.get("schema") != SCHEMA or fields.get("schema_version") != SCHEMA_VERSION:
        got = f"{fields.get('schema')} {fields.get('schema_version')}"
        raise RecordError("schema", f"the row is {got!r}, this version reads '{SCHEMA} {SCHEMA_VERSION}'")
    origin = _origin(fields)
    match fields.get("status"):
        case "verdict":
            traces = _list(fields, "traces")
            said: dict[str, Any] = {name: fields.get(name) for name in _VERDICT_FIELDS if name != "flags"}
            return Verdict(
                **said,
                traces=tuple(trace_from_json(trace) for trace in traces),
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
    said: dict[str, Any] = {name: fields.get(name) for name in _ORIGIN_FIELDS}
    return Origin(**said)


def _list(fields: Mapping[str, Any], name: str) -> list[Any]:
    value = fields.get(name)
    if not isinstance(value, list):
        raise RecordError(name, f"{value!r} is not a list")
    return value


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str):
        raise RecordError(name, f"{value!r} is not text")
    return value


def _text_or_none(fields: Mapping[str, Any], name: str) -> str | None:
    return None if fields.get(name) is None else _text(fields, name)
