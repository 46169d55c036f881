"""The folder of a run that makes new videos from old ones: who may write where, and what need not be made again.

Called by `deeptrace.data.normalise` and `deeptrace.data.build.filters.cut`; rows are kept in a `deeptrace.journal`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import deeptrace
from deeptrace import files
from deeptrace.data.paths import resolve
from deeptrace.errors import FileError, RecordError
from deeptrace.journal import Journal
from deeptrace.lock import LOCK
from deeptrace.records import Record
from deeptrace.rows import record_to_json
from deeptrace.stamps import file_stamp, is_stamped

SCHEMA: Final = "deeptrace.normalise"
SCHEMA_VERSION: Final = 1


# ── rows ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def journal_key(record: Record) -> str:
    """The record's id in ASCII, with whatever JSON escapes escaped: any id can be read back."""
    return files.dumps(record.video_id)[1:-1]


def work_stamp(record: Record, options: Sequence[object] = ()) -> str:
    """Changes when the record or the options (target path and the like) do."""
    return hashlib.sha256(files.dumps([record_to_json(record), *options]).encode()).hexdigest()


def earlier_row(journal: Journal, record: Record, stamp: str, src: Path, dst: Path) -> dict[str, Any] | None:
    """The row of a record that need not be done again: same record, options and source bytes, and its video is there.

    Raises:
        FileError: the journal's line is not of such a run.
    """
    line = journal.rows.get(journal_key(record))
    if line is None or line.get("stamp") != stamp:
        return None
    row = unpack(line)
    with contextlib.suppress(RecordError):  # a record without usable path is left out as before
        source = resolve(src, record)
        if line.get("file") is None:
            return None if source.exists() else row if is_done(row, dst) else None
        return row if is_stamped(line["file"], source) and is_done(row, dst) else None
    return row if is_done(row, dst) else None


def note_row(journal: Journal, record: Record, stamp: str, src: Path, dst: Path, *, row: dict[str, Any]) -> None:
    """Note what became of a record, with the stamp of the file it came from."""
    source = None
    with contextlib.suppress(RecordError):
        source = file_stamp(resolve(src, record))
    if row["excluded"] is None:
        with files.failing(dst / str(row["target"]), "read"):
            row["bytes"] = (dst / str(row["record"]["path"])).stat().st_size
    journal.add(journal_key(record), {"stamp": stamp, "file": source, **pack(row)})


def pack(row: Mapping[str, Any]) -> dict[str, str]:
    """The row as a text: a path may hold bytes that are not UTF-8, which strict JSON refuses."""
    return {"row": files.dumps(dict(row))}


def unpack(line: Mapping[str, Any]) -> dict[str, Any]:
    """What `pack` put into a line of the journal.

    Raises:
        FileError: the line holds something else.
    """
    try:
        row = json.loads(line["row"])
        if isinstance(row, dict) and {"target", "excluded"} <= row.keys():
            return row
    except (KeyError, TypeError, ValueError):
        pass
    raise FileError(f"journal.jsonl: the line of {line.get('key')!r} is not one of this run. Take it out")


def is_done(row: Mapping[str, Any], dst: Path) -> bool:
    """Whether a row need not be done again: its video is there as a whole, or it was left out for good."""
    if row["excluded"] is not None:
        return not str(row["excluded"]).startswith("unreadable")
    path = dst / str(row["record"]["path"])
    return path.is_file() and path.stat().st_size == row.get("bytes")


# ── paths of new videos ─────────────────────────────────────────────────────────────────────────────────────────────


def mp4_path(record: Record) -> str:
    """The record's path with ``.mp4``; one from its id where it has none."""
    if record.path is None:
        return f"videos/{hashlib.sha256(record.video_id.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}.mp4"
    stem, suffix = os.path.splitext(record.path)
    return record.path if suffix.lower() == ".mp4" else f"{stem}.mp4"


def held_targets(journal: Journal) -> dict[str, str]:
    """The path that each video, by its key, was given in earlier runs: no other video may have it."""
    return {key: str(unpack(row)["target"]) for key, row in journal.rows.items()}


def unique_targets(wishes: Iterable[tuple[str, str]], held_paths: Mapping[str, str]) -> dict[str, str]:
    """A path for each ``(video_id, path)``; a number is added where two would share one, also in another case.

    ``held_paths`` (by key) are paths that are taken: by the same video, which keeps it, or by another one.
    """
    used_paths = {path.casefold() for path in held_paths.values()}
    targets: dict[str, str] = {}
    for video_id, path in wishes:
        stem, suffix = os.path.splitext(path)
        mine = held_paths.get(files.dumps(video_id)[1:-1])
        if mine is None or not re.fullmatch(re.escape(stem) + r"(-\d+)?" + re.escape(suffix), mine):
            mine, number = path, 1
            while mine.casefold() in used_paths:
                number += 1
                mine = f"{stem}-{number}{suffix}"
        used_paths.add(mine.casefold())
        targets[video_id] = mine
    return targets


def readable_path(path: str | None) -> str | None:
    """The path as text that any JSON reader takes; bytes that are not UTF-8 as ``\\xff``."""
    return None if path is None else path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


# ── the folder ──────────────────────────────────────────────────────────────────────────────────────────────────────


def begin(src: Path, dst: Path, mark: str) -> None:
    """Make the folder, which must be empty or hold the file ``mark`` of an earlier run.

    Raises:
        FileError: it is the source's own, or holds something else.
    """
    if src.resolve() == dst.resolve():
        raise FileError(f"{dst.name!r} holds the source videos; new ones need a folder of their own")
    files.make_folder(dst)
    with files.failing(dst, "read"):
        there = [entry.name for entry in os.scandir(dst) if entry.name != LOCK]
    if there and mark not in there:
        raise FileError(f"{dst.name!r} is not empty and holds no {mark}; choose another folder")


def clear_leftovers(dst: Path) -> None:
    """Take away what a run that was killed left half written."""
    files.clear_leftovers(dst, below=True)
    with files.failing(dst):
        for leftover in dst.rglob(".*.part"):
            leftover.unlink()


def start_run(src: Path, dst: Path, form: Any) -> None:
    """Begin a run in an empty folder, or go on with one of the same form (a dataclass of plain values).

    Raises:
        FileError: the folder holds something else, or a run in another form.
    """
    begin(src, dst, "run.json")
    path = dst / "run.json"
    if not path.exists():
        write_run(dst, form, None)
        return
    there = files.loads(files.read_bytes(path))
    if not isinstance(there, dict) or there.get("form") != json.loads(files.dumps(asdict(form))):
        raise FileError(f"{dst.name!r} holds videos in another form; choose another folder or the same options")


def write_run(dst: Path, form: Any, result: dict[str, Any] | None) -> None:
    """Write ``run.json``; ``result`` is None while the run goes on."""
    row = {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "deeptrace": deeptrace.__version__,
        "form": asdict(form),
        "result": result,
    }
    files.write_text(dst / "run.json", files.dumps(row, indent=2) + "\n")
