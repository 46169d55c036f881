"""Records to a Hugging Face ``videofolder``: a folder for each split with its metadata, and a card.

Videos stay files (``to_parquet`` of ``datasets`` would store absolute paths, not pictures); ``file_name`` is relative.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final, Literal

from deeptrace.characters import visible
from deeptrace.data.convert._common import ConvertLog
from deeptrace.data.paths import resolve
from deeptrace.data.read.problems import Problem
from deeptrace.data.read.tolerant import is_text
from deeptrace.errors import FileError, MissingExtra, RecordError
from deeptrace.files import atomic_write, dumps, make_folder, open_regular, write_jsonl, write_text
from deeptrace.records import Record
from deeptrace.rows import trace_to_json

_SIZES: Final = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


def write(
    path: Path,
    records: Sequence[Record],
    *,
    layout: Literal["jsonl", "parquet"] = "jsonl",
    videos: Path | str | None = None,
    title: str = "Fake traces",
    license: str = "other",
) -> list[Problem]:
    """Write ``<split>/metadata.jsonl`` (or ``.parquet``) and ``README.md`` into the folder ``path``.

    ``videos`` is the folder that records' paths are relative to: their files are copied beside the metadata. Without it
    only the metadata is written, and each video belongs at ``<split>/<file_name>``. Records without a split are written
    to ``path`` itself. ``license`` is of the annotations, as an identifier of the Hub.

    Raises:
        RecordError: some records have a split and others none; a split or path leaves the folder, also by a symbolic
            link; two records come to one file.
        FileError: a video is not there or cannot be copied.
    """
    log, splits = ConvertLog(path.name), _splits(records)
    rows: dict[str | None, list[dict[str, Any]]] = {split: [] for split in splits}
    places: dict[Path, Record] = {}
    for number, record in enumerate(records):
        where = log.at(number, record.video_id)
        if record.path is None:
            where.add("path", "is not said, and a row here needs a file: not written", "set_aside")
            continue
        if layout == "parquet" and not is_text(record.path):
            where.add("path", "is not UTF-8, and Parquet cannot hold it: not written", "set_aside")
            continue
        name = _file_name(record)
        other = places.setdefault(Path(path, record.split or "", name), record)
        if other is not record:
            raise RecordError("path", f"{other.path!r} and {record.path!r} would be one file, {name!r}")
        rows[record.split].append(_row(record, name))
    # All before the first byte: a file that is missing or lies elsewhere must not leave half a dataset behind.
    copies = [] if videos is None else [(_source(videos, record), target) for target, record in places.items()]
    if layout == "jsonl":
        _warn_of_untyped(rows, log)
    for split, split_rows in rows.items():
        folder = path / split if split else path
        make_folder(folder)
        if layout == "parquet":
            _write_parquet(folder / "metadata.parquet", split_rows)
        else:
            write_jsonl(folder / "metadata.jsonl", split_rows)
    for source, target in copies:
        _copy(source, target)
    counts: Mapping[str, int] = getattr(records, "counts", {})
    write_text(path / "README.md", _card(rows, layout, title, license, counts))
    return log.problems


def _splits(records: Sequence[Record]) -> list[str | None]:
    splits = list(dict.fromkeys(record.split for record in records)) or [None]
    if None in splits and len(splits) > 1:
        raise RecordError("split", "is said of some records and not of others: name one for all, or for none")
    for split in splits:
        if split is not None and (not split or split.startswith(".") or set(split) & set('/\\:"\n')):
            raise RecordError("split", f"{split!r} cannot be the name of a folder")
    return splits


def _file_name(record: Record) -> str:
    path = PurePosixPath(record.path or "")
    if path.is_absolute() or ".." in path.parts or "\\" in str(path):
        raise RecordError("path", f"{record.path!r} (video {record.video_id!r}) is not a path inside the data's folder")
    inside = record.split is not None and len(path.parts) > 1 and path.parts[0] == record.split
    return str(PurePosixPath(*path.parts[1:])) if inside else str(path)


def _row(record: Record, file_name: str) -> dict[str, Any]:
    info = record.info
    return {
        "file_name": file_name,
        "video_id": record.video_id,
        "label": record.label,
        "source": record.source,
        "prompt": record.prompt,
        "width": None if info is None else info.width,
        "height": None if info is None else info.height,
        "fps": None if info is None else info.fps,
        "num_frames": None if info is None else info.num_frames,
        "duration": None if info is None else info.duration_seconds,
        "traces": [trace_to_json(trace) for trace in record.traces],
        "annotations": [
            {
                "annotator": annotation.annotator,
                "label": annotation.label,
                "num_traces": len(annotation.traces),
                "extra": dumps(dict(annotation.extra)) if annotation.extra else None,
            }
            for annotation in record.annotations
        ],
        # A text that is always there: of lists that are empty in one split `datasets` would guess another type.
        "flags": dumps(list(record.flags)),
        "extra": dumps(dict(record.extra)) if record.extra else None,
    }


def _warn_of_untyped(rows: dict[str | None, list[dict[str, Any]]], log: ConvertLog) -> None:
    """JSON has no types: `datasets` guesses them for each split, and refuses splits that differ."""
    columns = {split: _columns(split_rows) for split, split_rows in rows.items() if split_rows}
    everywhere = set.intersection(*columns.values()) if columns else set()
    for column in sorted(set[str]().union(*columns.values()) - everywhere):
        problem = "has values in some splits only, so `datasets` refuses to load them together: use layout='parquet'"
        log.at(None).add(column, problem, "kept")


def _columns(value: Any, name: str = "") -> set[str]:
    """The names of all values that are not null, nested ones with dots."""
    if isinstance(value, dict):
        return set[str]().union(*(_columns(part, f"{name}.{key}" if name else key) for key, part in value.items()))
    if isinstance(value, list):
        return set[str]().union(*(_columns(part, name) for part in value))
    return set() if value is None else {name}


def _write_parquet(target: Path, rows: list[dict[str, Any]]) -> None:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        raise MissingExtra("writing Parquet", "data") from None
    text, number, box = pa.string(), pa.float64(), pa.list_(pa.float64())
    key = pa.struct([("time_seconds", number), ("bbox_xyxy", box), ("visible", pa.bool_())])
    trace = pa.struct(
        [
            ("bbox_xyxy", box),
            ("onset_seconds", number),
            ("offset_seconds", number),
            ("categories", pa.list_(text)),
            ("explanation", text),
            ("track", pa.list_(key)),
            ("confidence", number),
        ]
    )
    annotation = pa.struct([("annotator", text), ("label", text), ("num_traces", pa.int64()), ("extra", text)])
    types = {"width": pa.int64(), "height": pa.int64(), "fps": number, "num_frames": pa.int64(), "duration": number}
    types |= {"traces": pa.list_(trace), "annotations": pa.list_(annotation)}
    names = ("file_name", "video_id", "label", "source", "prompt", *types, "flags", "extra")
    schema = pa.schema([(name, types.get(name, text)) for name in names])
    with atomic_write(target) as file:
        parquet.write_table(pa.Table.from_pylist(rows, schema=schema), file)


def _source(videos: Path | str, record: Record) -> Path:
    """Where a record's video lies, which `resolve` has checked: what is copied here is going to be published."""
    source = resolve(videos, record)
    if not source.is_file():
        raise FileError(f"cannot copy {record.path!r}: there is no such file in {Path(videos).name!r}")
    return source


def _copy(source: Path, target: Path) -> None:
    if target.exists() and target.samefile(source):
        return
    make_folder(target.parent)
    try:
        with open(open_regular(source), "rb") as file, atomic_write(target) as copy:
            shutil.copyfileobj(file, copy)
    except OSError as error:
        raise FileError(f"cannot copy {source.name!r}: {error.strerror or error}") from None


def _card(
    rows: dict[str | None, list[dict[str, Any]]], layout: str, title: str, license_name: str, counts: Mapping[str, int]
) -> str:
    total = sum(map(len, rows.values()))
    size = next((name for limit, name in _SIZES if total < limit), "1M<n<10M")
    lines = ["---", f"license: {license_name}", "task_categories:", "- video-classification", "- video-text-to-text"]
    lines += ["tags:", "- ai-generated-video", "- fake-traces", "size_categories:", f"- {size}", "configs:"]
    lines += ["- config_name: default", "  data_files:"]
    for split in rows:
        lines += [f"  - split: {split or 'train'}", f"    path: {dumps(f'{split}/**' if split else '**')}"]
    lines += ["---", "", f"# {title}", ""]
    lines += [
        "| split | videos | fake | real | unsure | traces |",
        "|---|---|---|---|---|---|",
    ]
    for split, split_rows in rows.items():
        labels = [row["label"] for row in split_rows]
        by_label = [labels.count(label) for label in ("fake", "real", "unsure")]
        traces = sum(len(row["traces"]) for row in split_rows)
        lines.append(f"| {split or 'all'} | {len(split_rows)} | {' | '.join(map(str, by_label))} | {traces} |")
    lines += [
        "",
        f"One row a video in `metadata.{layout}`, with `file_name` relative to its folder. A trace is visible on",
        "`[onset_seconds, offset_seconds)`, seconds from the first frame; `bbox_xyxy` is the box at onset in",
        "fractions of the frame (x0, y0, x1, y1, origin top left); `track` moves it, linear between visible keys.",
        "`annotations` says who wrote which of the `traces`, in order. `flags`, a JSON list, names what was emptied or",
        "repaired when the annotations were read.",
        "",
        *_counted(counts),
        "The licence above is of the annotations. Say here under which terms the videos stand: of generated videos the",
        "generators' terms, of recorded ones those of their source.",
        "",
    ]
    return "\n".join(lines)


def _counted(counts: Mapping[str, int]) -> list[str]:
    """The lines of the card that count what was emptied, repaired or set aside where the records come from."""
    if not counts:
        return []
    # Field names come from strangers: in a span of code nothing of them is markup.
    lines = [f"- {count:,} x `{visible(what).replace('`', ' ')}`" for what, count in counts.items()]
    return ["When the annotations were read:", "", *lines, ""]
