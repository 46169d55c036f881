"""The folder of a run that makes new videos from old ones: who may write where, and what need not be made again.

Called by `deeptrace.data.normalise` and `deeptrace.data.filters.cut`; rows are kept in a `deeptrace.data.journal`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import deeptrace
from deeptrace import files
from deeptrace.data.journal import Journal
from deeptrace.data.lock import LOCK
from deeptrace.data.paths import resolve
from deeptrace.errors import FileError, RecordError
from deeptrace.records import Record
from deeptrace.rows import record_to_json

SCHEMA: Final = "deeptrace.normalise"
SCHEMA_VERSION: Final = 1


# ── rows ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def journal_key(record: Record) -> str:
    """The record's id in ASCII, with whatever JSON escapes escaped: any id can be read back."""
    return files.dumps(record.video_id)[1:-1]


def file_stamp(path: Path) -> str | None:
    """Size and time of change (ns), not content; None where there is no file."""
    try:
        stat = os.stat(path)
    except OSError:
        return None
    return f"{stat.st_size} {stat.st_mtime_ns}"


def record_stamp(record: Record, src: Path, options: Sequence[object] = ()) -> str:
    """Changes when the record, its file or the options (target path and the like) do."""
    stamp: str | None = None
    with contextlib.suppress(RecordError):
        stamp = file_stamp(resolve(src, record))
    text = files.dumps([record_to_json(record), stamp, *options])
    return hashlib.sha256(text.encode()).hexdigest()


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
    """Whether a row need not be done again: its video is there, or it was left out for good."""
    if row["excluded"] is not None:
        return not str(row["excluded"]).startswith("unreadable")
    return (dst / str(row["record"]["path"])).is_file()


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


def unique_targets(wanted: Iterable[tuple[str, str]], held: Mapping[str, str]) -> dict[str, str]:
    """A path for each ``(video_id, path)``; a number is added where two would share one, also in another case.

    ``held`` (by key) are paths that are taken: by the same video, which keeps it, or by another one.
    """
    taken = {path.casefold() for path in held.values()}
    found: dict[str, str] = {}
    for video_id, path in wanted:
        stem, suffix = os.path.splitext(path)
        mine = held.get(files.dumps(video_id)[1:-1])
        if mine is None or not re.fullmatch(re.escape(stem) + r"(-\d+)?" + re.escape(suffix), mine):
            mine, number = path, 1
            while mine.casefold() in taken:
                number += 1
                mine = f"{stem}-{number}{suffix}"
        taken.add(mine.casefold())
        found[video_id] = mine
    return found


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
    with failing(dst):
        dst.mkdir(parents=True, exist_ok=True)
        there = [entry.name for entry in os.scandir(dst) if entry.name != LOCK]
    if there and mark not in there:
        raise FileError(f"{dst.name!r} is not empty and holds no {mark}; choose another folder")


def clear_leftovers(dst: Path) -> None:
    """Take away what a run that was killed left half written."""
    with failing(dst):
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
    there = files.loads(path.read_bytes())
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


@contextlib.contextmanager
def failing(path: Path) -> Iterator[None]:
    """Turn what the system refuses into a `FileError` that names the file."""
    try:
        yield
    except OSError as error:
        raise FileError(f"cannot write {path.name!r}: {error.strerror or error}") from None
