"""Our own file of records, ``records.jsonl``: one `Record` a line, exact both ways, read as a stream.

A line that is right is read by `deeptrace.rows.record_from_json`. A line that is not goes through the slow road below,
which empties each bad field and says so. A first line of the schema ``deeptrace.records`` counts what was wrong where
the records were read before, so that every later report can say it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Final

from deeptrace.data.paths import check_path
from deeptrace.data.read.log import Log, RowLog
from deeptrace.data.read.problems import Problem
from deeptrace.data.read.tolerant import MAX_ID_CHARS, Bad, is_text, json_problem, loads, show, show_name
from deeptrace.errors import FileError, JsonError, RecordError
from deeptrace.files import atomic_write, dumps, make_folder, open_regular
from deeptrace.records import Annotation, Record, Trace, VideoInfo
from deeptrace.rows import (
    RECORD_SCHEMA,
    RECORD_SCHEMA_VERSION,
    info_from_json,
    record_from_json,
    record_to_json,
    trace_from_json,
)

FILE_NAME: Final = "records.jsonl"
COUNTS_SCHEMA: Final = "deeptrace.records"
COUNTS_SCHEMA_VERSION: Final = 1
MAX_LINE_BYTES: Final = 64 << 20


def write_records(
    path: str | os.PathLike[str], records: Iterable[Record], *, counts: Mapping[str, int] | None = None
) -> None:
    """Write one record a line, atomically: until all are written the old file stays. A missing folder is made.

    ``counts`` says what was wrong where the records come from, by ``field: action``; None: the ``counts`` of `Records`,
    and nothing for other records. They stand in the first line, and `load_records` adds them to its own.

    Raises:
        FileError: the system refused.
        JsonError: a record's ``extra`` holds what JSON cannot.
    """
    if counts is None:
        counts = getattr(records, "counts", {})
    make_folder(Path(path).parent)
    with atomic_write(path) as file:
        if counts:
            head = {"schema": COUNTS_SCHEMA, "schema_version": COUNTS_SCHEMA_VERSION, "problems": dict(counts)}
            file.write(dumps(head).encode() + b"\n")
        for record in records:
            file.write(dumps(record_to_json(record)).encode() + b"\n")


def iter_records(
    path: str | os.PathLike[str],
    *,
    on_problem: Callable[[Problem], None] | None = None,
    on_counts: Callable[[Mapping[str, int]], None] | None = None,
) -> Iterator[Record]:
    """The records of a ``records.jsonl``, one at a time; memory does not grow with the file.

    With ``on_problem``, each bad value is emptied and handed over (rows count from 1), and a line without usable id or
    path, or that is not JSON, is set aside. Without it the first one is an error. One id on two lines is not noticed
    here; `load_records` notices it. ``on_counts`` gets the counts of earlier problems, where the file has such a line.

    Raises:
        FileError: the file cannot be read.
        JsonError: no line holds a record.
        RecordError: a bad value, where there is no ``on_problem``.
    """
    file_path = Path(path)
    log = Log(file_path.name)
    any_record, first = False, None
    with open(open_regular(file_path), "rb") as file:
        for number, line in enumerate(_lines(file, log.file), 1):
            if not line.strip():
                continue
            record = _read_line(line, number, log, on_counts)
            for problem in log.problems:
                first = first or problem
                if on_problem is None:
                    raise RecordError(log.file, str(problem))
                on_problem(problem)
            log.problems.clear()
            if record is not None:
                any_record = True
                yield record
    if first is not None and not any_record:
        raise JsonError(f"{log.file}: no line holds a record. First: {first}")


def _lines(file: IO[bytes], name: str) -> Iterator[bytes]:
    while True:
        try:
            line = file.readline(MAX_LINE_BYTES + 1)
        except OSError as error:
            raise FileError(f"cannot read {name!r}: {error.strerror}") from None
        if len(line) > MAX_LINE_BYTES:
            raise JsonError(f"{name}: a line is longer than {MAX_LINE_BYTES >> 20} MiB")
        if not line:
            return
        yield line


def _read_line(
    line: bytes, number: int, log: Log, on_counts: Callable[[Mapping[str, int]], None] | None
) -> Record | None:
    try:
        value = loads(line)
    except JsonError as error:
        log.add(number, None, "line", f"is {error}", "set_aside")
        return None
    try:
        record = record_from_json(value)
    except RecordError:
        if isinstance(value, dict) and value.get("schema") == COUNTS_SCHEMA:
            counts = _counts(value, number, log)
            if on_counts is not None:
                on_counts(counts)
            return None
        return _repair(value, number, log)
    if _is_clean(record):
        return record
    return _repair(value, number, log)


def _counts(value: Mapping[str, Any], number: int, log: Log) -> dict[str, int]:
    """The counts of a first line; what is no count is noted and left out."""
    counts_by_name, version = value.get("problems"), value.get("schema_version")
    if not isinstance(counts_by_name, dict) or isinstance(version, bool) or version != COUNTS_SCHEMA_VERSION:
        problem = f"{show(version)} is not '{COUNTS_SCHEMA}' {COUNTS_SCHEMA_VERSION} with the counts of problems"
        log.add(number, None, "schema_version", problem, "emptied")
        return {}
    counts: dict[str, int] = {}
    for name, count in counts_by_name.items():
        if is_text(name) and isinstance(count, int) and not isinstance(count, bool) and count > 0:
            counts[name] = count
        else:
            log.add(number, None, "problems", f"{show(count)} of {show(name)} is not a count", "emptied")
    return counts


# ── what the strict reader does not look at ─────────────────────────────────────────────────────────────────────────


def _is_clean(record: Record) -> bool:
    """Whether the path is usable, every text can be written again, and ``extra`` holds nothing but JSON."""
    try:
        if record.path is not None and check_path(record.path) != record.path:
            return False
    except RecordError:
        return False
    texts = (record.video_id, record.source, record.split, record.prompt, *record.flags)
    if len(record.video_id) > MAX_ID_CHARS:
        return False
    if not all(text is None or is_text(text) for text in texts) or json_problem(record.extra):
        return False
    if record.info is not None and record.info.codec is not None and not is_text(record.info.codec):
        return False
    return all(_is_clean_annotation(annotation) for annotation in record.annotations)


def _is_clean_annotation(annotation: Annotation) -> bool:
    if annotation.annotator is not None and not is_text(annotation.annotator):
        return False
    explained = (trace.explanation for trace in annotation.traces)
    return all(text is None or is_text(text) for text in explained) and not json_problem(annotation.extra)


# ── the slow road: field by field ───────────────────────────────────────────────────────────────────────────────────


def _repair(value: object, number: int, log: Log) -> Record | None:
    if not isinstance(value, dict):
        log.add(number, None, "row", f"{show(value)} is not an object", "set_aside")
        return None
    schema, version = value.get("schema"), value.get("schema_version")
    if schema != RECORD_SCHEMA or version != RECORD_SCHEMA_VERSION or isinstance(version, bool):
        got = f"{show(schema)} {show(version)}"
        log.add(number, None, "schema", f"{got} is not '{RECORD_SCHEMA}' {RECORD_SCHEMA_VERSION}", "set_aside")
        return None
    try:
        video_id = _usable_id(value.get("video_id"), "video_id")
    except RecordError as error:
        log.add(number, None, "video_id", error.problem, "set_aside")
        return None
    path = value.get("path")
    try:
        path = None if path is None else check_path(path)
    except RecordError as error:
        log.add(number, video_id, "path", error.problem, "set_aside")
        return None
    flags: dict[str, None] = {}
    row = RowLog(log, number, video_id, flags)
    own_flags = row.read("flags", _flags, value.get("flags")) or ()
    flags.update(dict.fromkeys(own_flags))
    record = Record(
        video_id=video_id,
        path=path,
        label=row.read("label", _label, value.get("label")),
        info=_info(value.get("info"), row),
        source=row.read("source", _text, value.get("source")),
        split=row.read("split", _text, value.get("split")),
        prompt=row.read("prompt", _text, value.get("prompt")),
        annotations=tuple(_annotations(value.get("annotations"), row)),
        extra=_extra(value, tuple(Record.__dataclass_fields__), row, "", known=("schema", "schema_version")),
    )
    object.__setattr__(record, "flags", tuple(flags))
    return record


def _usable_id(value: object, field: str) -> str:
    text = _text(value, field)
    if not text:
        raise RecordError(field, "is missing or empty")
    if len(text) > MAX_ID_CHARS:
        raise RecordError(field, f"is longer than {MAX_ID_CHARS} characters")
    return text


def _text(value: object, field: str) -> str | None:
    if isinstance(value, Bad):
        raise RecordError(field, value.reason)
    if value is None:
        return None
    if not isinstance(value, str):
        raise RecordError(field, f"{show(value)} is not text")
    if not is_text(value):
        raise RecordError(field, f"{show(value)} holds a lone surrogate")
    return value


def _label(value: object, field: str) -> Any:
    label = _text(value, field)
    if label is not None and label not in ("fake", "real", "unsure"):
        raise RecordError(field, f"{show(label)} is not one of fake, real, unsure")
    return label


def _flags(value: object, field: str) -> list[str]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise RecordError(field, _reason(value, "is not a list"))
    if not all(isinstance(flag, str) and is_text(flag) for flag in value):
        raise RecordError(field, "holds something that is not text")
    return list(value)


def _reason(value: object, otherwise: str) -> str:
    return value.reason if isinstance(value, Bad) else f"{show(value)} {otherwise}"


def _info(value: object, row: RowLog) -> VideoInfo | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        row.add("info", _reason(value, "is not an object"))
        return None
    good = {"width": 1, "height": 1}
    for name, part in value.items():
        if part is not None and row.read(f"info.{show_name(name)}", _info_part, {name: part}) is not None:
            good[name] = part
    size = ("width", "height")
    if any(value.get(name) is None or f"info.{name}" in row.bad_fields for name in size):
        if not any(f"info.{name}" in row.bad_fields for name in size):
            row.add("info", "has no width or no height")
        return None
    return info_from_json(good)


def _info_part(value: object, field: str) -> VideoInfo:
    (part,) = value.values()  # type: ignore[attr-defined]
    if isinstance(part, Bad):
        raise RecordError(field, part.reason)
    if isinstance(part, str) and not is_text(part):
        raise RecordError(field, "holds a lone surrogate")
    return info_from_json({"width": 1, "height": 1, **value})  # type: ignore[dict-item]


def _annotations(value: object, row: RowLog) -> Iterator[Annotation]:
    if value is None:
        return
    if not isinstance(value, list):
        row.add("annotations", _reason(value, "is not a list"))
        return
    for i, item in enumerate(value):
        name = f"annotations[{i}]"
        if not isinstance(item, dict):
            row.add(name, _reason(item, "is not an object"))
            continue
        yield Annotation(
            traces=tuple(_traces(item.get("traces"), row, name)),
            label=row.read(f"{name}.label", _label, item.get("label")),
            annotator=row.read(f"{name}.annotator", _text, item.get("annotator")),
            extra=_extra(item, tuple(Annotation.__dataclass_fields__), row, f"{name}."),
        )


def _traces(value: object, row: RowLog, where: str) -> Iterator[Trace]:
    if value is None:
        return
    if not isinstance(value, list):
        row.add(f"{where}.traces", _reason(value, "is not a list"))
        return
    for i, item in enumerate(value):
        name = f"{where}.traces[{i}]"
        if not isinstance(item, dict):
            row.add(name, _reason(item, "is not an object"))
            continue
        good: dict[str, Any] = {}
        for key, part in item.items():
            if part is not None and row.read(f"{name}.{show_name(key)}", _trace_part, {key: part}) is not None:
                good[key] = part
        try:
            yield trace_from_json(good)
        except RecordError as error:  # each field is right, but the two times do not follow each other
            row.add(f"{name}.{error.field}", error.problem)
            good.pop("offset_seconds", None)
            yield trace_from_json(good)


def _trace_part(value: object, field: str) -> Trace:
    (part,) = value.values()  # type: ignore[attr-defined]
    if problem := json_problem(part):
        raise RecordError(field, problem)
    return trace_from_json(value)


def _extra(
    value: Mapping[str, Any], fields: tuple[str, ...], row: RowLog, where: str, *, known: tuple[str, ...] = ()
) -> dict[str, Any]:
    """The ``extra`` of a row, joined by fields that this version does not know."""
    own_extra = value.get("extra")
    extra: dict[str, Any] = {}
    if own_extra is not None and not isinstance(own_extra, dict):
        row.add(f"{where}extra", _reason(own_extra, "is not an object"))
        own_extra = None
    unknown = {name: part for name, part in value.items() if name not in fields and name not in known}
    for name, part in {**(own_extra or {}), **unknown}.items():
        if problem := json_problem(part) or json_problem(name):
            row.add(f"{where}{show_name(name)}", problem)
        else:
            extra[name] = part
            if name in unknown:
                row.add(f"{where}{show_name(name)}", "is not a field of this version; it is kept in extra", "kept")
    return extra
