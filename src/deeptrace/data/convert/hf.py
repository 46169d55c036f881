"""Hugging Face ``videofolder`` metadata to records: metadata.jsonl or metadata.parquet. The writer is in `hf_write`.

One row a video, with ``file_name`` relative to the metadata's folder; a folder is a split. Times are seconds, boxes
fractions: our own form, so every field comes back as it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, Final

from deeptrace.data.convert._common import (
    ConvertLog,
    Where,
    clean_path,
    find_clip,
    finish,
    flags_of,
    items,
    number,
    obj,
    read_box,
    read_categories,
    read_label,
    read_lines,
    record_fields,
    report_bad,
    report_if_bad,
    stem,
    text,
)
from deeptrace.data.read.problems import Problem
from deeptrace.data.read.tolerant import is_text
from deeptrace.errors import FileError, JsonError, MissingExtra, RecordError
from deeptrace.files import loads, open_regular
from deeptrace.records import Annotation, Box, KeyBox, Record, Trace, VideoInfo

NAMES: Final = ("metadata.jsonl", "metadata.parquet")

_KNOWN: Final = (
    "file_name",
    "video_id",
    "label",
    "source",
    "split",
    "prompt",
    "width",
    "height",
    "fps",
    "num_frames",
    "duration",
    "traces",
    "annotations",
    "flags",
    "extra",
)
_TRACE_FIELDS: Final = tuple(Trace.__dataclass_fields__)


def metadata_files(path: Path) -> list[Path]:
    """The metadata files of a file or folder: in the folder itself, or one in each split's folder."""
    if not path.is_dir():
        return [path]
    own = [path / name for name in NAMES if (path / name).is_file()]
    inner = [child / name for child in sorted(path.iterdir()) if child.is_dir() for name in NAMES]
    return own + [file for file in inner if file.is_file()]


def read(path: Path, infos: Mapping[str, VideoInfo] | None) -> tuple[list[Record], list[Problem]]:
    """The records of a folder or of one metadata file. See `deeptrace.data.convert.read`."""
    files = metadata_files(path)
    if not files:
        raise FileError(f"{path.name!r} holds no {' or '.join(NAMES)}, nor does a folder in it")
    log, problems = ConvertLog(path.name), []
    drafts: list[tuple[Record, bool]] = []
    for file in files:
        folder = file.parent.name if path.is_dir() and file.parent != path else None
        one = ConvertLog(file.name if folder is None else f"{folder}/{file.name}")
        drafts += _file(file, folder, infos, one)
        problems += one.problems
    log.problems += problems
    return finish(drafts, log), log.problems


def _file(
    file: Path, folder: str | None, infos: Mapping[str, VideoInfo] | None, log: ConvertLog
) -> Iterator[tuple[Record, bool]]:
    for row_number, row in _parquet(file) if file.suffix == ".parquet" else read_lines(file):
        where = log.at(row_number)
        file_name = text(obj(row).get("file_name"))
        clean = None if file_name is None else clean_path(file_name, where, "file_name")
        if clean is None:
            where.add("file_name", "is missing", "set_aside")
            continue
        path = clean if folder is None else str(PurePosixPath(folder, clean))
        own_id = text(row.get("video_id"))
        where, start = log.at(row_number, own_id or stem(path)), len(log.problems)
        record = _record(row, path, folder, infos, where)
        report_bad(row, where)
        flags = (*_flags(row.get("flags"), where), *flags_of(log.problems[start:]))
        yield replace(record, flags=tuple(dict.fromkeys(flags))), own_id is not None


def _parquet(file: Path) -> Iterator[tuple[int, Any]]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise MissingExtra("reading Parquet", "data") from None
    try:
        with open(open_regular(file), "rb") as opened:
            rows = parquet.ParquetFile(opened).read().to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        raise FileError(f"cannot read {file.name!r}: {error}") from None
    yield from enumerate(rows)


def _record(
    row: Mapping[str, Any], path: str, folder: str | None, infos: Mapping[str, VideoInfo] | None, where: Where
) -> Record:
    video_id = where.video_id or ""
    clip = find_clip(infos, video_id, path, row, where)
    fields = record_fields(row, where)
    fields.setdefault("split", folder)
    extra = {key: value for key, value in row.items() if key not in _KNOWN and value is not None}
    extra.update(_extra(row.get("extra"), where))
    annotations = _annotations(row, where)
    return Record(video_id, path, info=clip.info, annotations=annotations, extra=extra, **fields)


def _extra(value: object, where: Where) -> Mapping[str, Any]:
    if not isinstance(value, str):
        return {} if value is None else {"extra": value}
    try:
        return obj(loads(value))
    except JsonError as error:
        where.add("extra", str(error), "emptied")
        return {}


def _flags(value: object, where: Where) -> list[str]:
    """The flags that a record had when it was written: a JSON list as text, or a list."""
    try:
        flags = loads(value) if isinstance(value, str) else value
    except JsonError as error:
        where.add("flags", str(error), "emptied")
        return []
    if flags is None:
        return []
    if not isinstance(flags, list) or not all(is_text(flag) for flag in flags):
        where.add("flags", "is not a list of texts", "emptied")
        return []
    return flags


def _annotations(row: Mapping[str, Any], where: Where) -> tuple[Annotation, ...]:
    trace_rows = row.get("traces")
    if trace_rows is not None and not isinstance(trace_rows, list):
        where.add("traces", f"{str(trace_rows)[:40]!r} is not a list", "emptied")
    traces, unknown = [], {}
    for index, trace in enumerate(items(trace_rows)):
        read_, tags = _trace(trace, where, f"traces[{index}]")
        traces.append(read_)
        if tags:
            unknown[index] = list(tags)
    annotation_rows = items(row.get("annotations"))
    counts = [count for part in annotation_rows if isinstance(count := obj(part).get("num_traces"), int) and count >= 0]
    if len(counts) != len(annotation_rows) or sum(counts) != len(traces):
        if annotation_rows:
            where.add("annotations", f"do not add up to {len(traces)} traces: taken as one annotation", "repaired")
        annotation_rows, counts = ([{}], [len(traces)]) if traces else ([], [])
    annotations, start = [], 0
    for part, count in zip(annotation_rows, counts, strict=True):
        own = obj(part)
        extra = dict(_extra(own.get("extra"), where))
        tags_here = [{"trace": i - start, "tags": tags} for i, tags in unknown.items() if start <= i < start + count]
        if tags_here:
            extra["unknown_tags"] = tags_here
        label = read_label(own.get("label"))
        if label is None and own.get("label") is not None:
            where.add("annotations.label", f"{own['label']!r} is not a label", "emptied")
        own_traces = tuple(traces[start : start + count])
        annotations.append(Annotation(own_traces, label, text(own.get("annotator")), extra))
        start += count
    return tuple(annotations)


# ── traces, field by field ──────────────────────────────────────────────────────────────────────────────────────────


def _trace(value: object, where: Where, name: str) -> tuple[Trace, tuple[str, ...]]:
    """The trace in a JSON object. A bad field is emptied; the others stay."""
    row = obj(value)
    if not isinstance(value, Mapping):
        where.add(name, "is not an object", "emptied")
    strange = [key for key in row if key not in _TRACE_FIELDS and row[key] is not None]
    if strange:
        where.add(name, f"has unknown fields: {', '.join(map(str, strange))}", "emptied")
    fields: dict[str, Any] = {}
    unknown: tuple[str, ...] = ()
    for key in ("onset_seconds", "offset_seconds", "confidence"):
        if row.get(key) is not None:
            high = 1.0 if key == "confidence" else float("inf")
            try:
                fields[key] = number(row, key, low=0.0, high=high)
            except RecordError as error:
                where.add(f"{name}.{key}", error.problem, "emptied")
    if fields.get("offset_seconds") is not None and fields["offset_seconds"] <= fields.get("onset_seconds", 0.0):
        where.add(f"{name}.offset_seconds", f"{fields.pop('offset_seconds'):g} is not after the onset", "emptied")
    if row.get("bbox_xyxy") is not None and not report_if_bad(row["bbox_xyxy"], where, f"{name}.bbox_xyxy"):
        fields["bbox_xyxy"] = _box(row["bbox_xyxy"], where, f"{name}.bbox_xyxy")
    if row.get("categories") is not None and not report_if_bad(row["categories"], where, f"{name}.categories"):
        tags = [tag for tag in items(row["categories"]) if isinstance(tag, str)]
        if not isinstance(row["categories"], list) or len(tags) != len(row["categories"]):
            where.add(f"{name}.categories", "is not a list of texts", "repaired" if tags else "emptied")
        categories, unknown = read_categories(tags, where, f"{name}.categories")
        fields["categories"] = () if row["categories"] == [] else categories
    if row.get("explanation") is not None and not report_if_bad(row["explanation"], where, f"{name}.explanation"):
        if isinstance(row["explanation"], str):
            fields["explanation"] = row["explanation"]
        else:
            where.add(f"{name}.explanation", "is not text", "emptied")
    if row.get("track") is not None:
        fields["track"] = _track(row["track"], where, f"{name}.track")
    return Trace(**fields), unknown


def _box(value: object, where: Where, name: str) -> Box | None:
    try:
        if not isinstance(value, list) or len(value) != 4:
            raise RecordError(name, f"{str(value)[:60]!r} is not a box of four numbers")
        x0, y0, x1, y1 = (number({name: part}, name) for part in value)
    except RecordError as error:
        where.add(name, error.problem, "emptied")
        return None
    return read_box((x0, y0, x1, y1), where, name)


def _track(value: object, where: Where, name: str) -> tuple[KeyBox, ...] | None:
    keys: list[KeyBox] = []
    for index, item in enumerate(items(value)):
        row = obj(item)
        box = None if row.get("bbox_xyxy") is None else _box(row["bbox_xyxy"], where, f"{name}[{index}].bbox_xyxy")
        visible = True if row.get("visible") is None else row["visible"]
        try:
            key = KeyBox(number(row, "time_seconds"), box, visible)
            if keys and key.time_seconds <= keys[-1].time_seconds:
                raise RecordError("time_seconds", f"{key.time_seconds:g} is not after the key before it")
        except RecordError as error:
            where.add(f"{name}[{index}]", f"{error.field} {error.problem}", "emptied")
            continue
        keys.append(key)
    return tuple(keys) or None
