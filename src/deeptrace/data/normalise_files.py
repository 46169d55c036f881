"""The files of a normalisation: a journal of what was done, and what is needed to do it again."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import deeptrace
from deeptrace import files
from deeptrace.data.paths import resolve
from deeptrace.errors import FileError, RecordError
from deeptrace.records import Record
from deeptrace.rows import record_to_json

SCHEMA: Final = "deeptrace.normalise"
SCHEMA_VERSION: Final = 1


def journal_key(record: Record, src: Path) -> str:
    """Changes when the record or its file does: size and time of change, not content."""
    stamp: list[int] | None = None
    with contextlib.suppress(OSError, RecordError):
        stat = os.stat(resolve(src, record))
        stamp = [stat.st_size, stat.st_mtime_ns]
    text = files.dumps([record_to_json(record), stamp])
    return hashlib.sha256(text.encode()).hexdigest()


def is_done(row: dict[str, Any], dst: Path) -> bool:
    """Whether a row need not be done again: its video is there, or it was left out for good."""
    if row["excluded"] is not None:
        return not str(row["excluded"]).startswith("unreadable")
    return (dst / str(row["record"]["path"])).is_file()


class Journal:
    """Rows appended one at a time, each on disk before the next video is begun."""

    def __init__(self, dst: Path) -> None:
        self._path = dst / "journal.jsonl"

    def __enter__(self) -> Journal:
        with failing(self._path):
            self._file = open(self._path, "ab")
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, row: dict[str, Any]) -> None:
        """Append one row."""
        with failing(self._path):
            self._file.write(files.dumps(row).encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())


def read_journal(dst: Path) -> dict[str, dict[str, Any]]:
    """The last row of each video. A last line that was cut off by a crash is taken away."""
    path = dst / "journal.jsonl"
    if not path.exists():
        return {}
    with failing(path):
        data = path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole != len(data):
            os.truncate(path, whole)
    rows = [files.loads(line) for line in data[:whole].splitlines() if line.strip()]
    return {row["video_id"]: row for row in rows}


def start_run(dst: Path, form: Any) -> None:
    """Begin a run in an empty folder, or go on with one of the same form (a dataclass of plain values).

    Raises:
        FileError: the folder holds something else, or a run in another form.
    """
    path = dst / "run.json"
    if path.exists():
        there = files.loads(path.read_bytes()).get("form")
        if there != json.loads(files.dumps(asdict(form))):
            raise FileError(f"{dst.name!r} holds videos in another form; choose another folder or the same options")
        with failing(dst):
            for leftover in dst.rglob(".*.part"):  # of a run that was killed while it wrote
                leftover.unlink()
        return
    with failing(dst):
        left = [entry.name for entry in os.scandir(dst)]
    if left:
        raise FileError(f"{dst.name!r} is not empty and holds no run.json; choose another folder")
    write_run(dst, form, None)


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
