"""The folder of ``inspect --out``: one writer at a time, every row that ever came, and which of them still hold.

``journal.jsonl`` only grows; ``verdicts.jsonl`` holds the rows of the last run and takes the place of the one before
when it is whole. A row holds for the same bytes, asked of the same model with the same settings. That the bytes are
the same is known from the file's stamp, else from its SHA-256.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeAlias

from deeptrace.errors import RecordError
from deeptrace.files import dumps, read_jsonl, write_jsonl
from deeptrace.journal import Journal
from deeptrace.models.base import origin_of
from deeptrace.records import Failed, Outcome
from deeptrace.rows import outcome_from_row, outcome_to_row
from deeptrace.shards import shards_in

ROWS_NAME: Final = "verdicts.jsonl"
JOURNAL_NAME: Final = "journal.jsonl"

_SYNC_SECONDS: Final = 1.0
"""A kill loses no row that was noted; a loss of power those of the last second."""

_SETTLED_SECONDS: Final = 0.1
"""A file touched so shortly ago may be touched again within one tick of its clock: its stamp is no proof yet."""

Stamp: TypeAlias = str


class RunFolder:
    """The folder, locked until it is closed. Use it with ``with``.

    ``settings`` is everything besides the file that a row depends on.

    Raises:
        LockError: another process is at work in it (``BUSY``).
        FileError: it cannot be written.
        JsonError: a line of its journal is no row.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self._folder = folder
        self._run = hashlib.sha256(dumps(settings).encode()).hexdigest()[:16]
        earlier = _rows_without_journal(folder)
        self._journal = Journal(folder / JOURNAL_NAME, lock=True, sync_seconds=_SYNC_SECONDS)
        self._by_place: dict[str, dict[str, Any]] = {}
        self._by_bytes: dict[tuple[str, str], dict[str, Any]] = {}
        self._ids: set[str] = set()
        try:
            for number, row in enumerate(earlier):
                self._journal.add(f"earlier-{number}", {"run": None, "row": row})
            self._take_parts()
        except BaseException:
            self._journal.close()
            raise
        for line in self._journal.rows.values():
            self._remember(line)

    def _take_parts(self) -> None:
        """Note the rows of parts of the job that are not here yet; each has one key wherever it was asked."""
        for part in shards_in(self._folder):
            if not (part / JOURNAL_NAME).exists():
                continue
            with Journal(part / JOURNAL_NAME, lock=True, sync_seconds=_SYNC_SECONDS) as theirs:
                for key, line in theirs.rows.items():
                    if key not in self._journal.rows or _failed(self._journal.rows[key]) > _failed(line):
                        self._journal.add(key, line)

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *_: object) -> None:
        self._journal.close()

    def held(self, path: str) -> Outcome | None:
        """The outcome that this file has already, with these settings; None: it is to be asked about."""
        origin = origin_of(path)
        stamp = stamp_of(path)
        line = self._by_place.get(_place(path))
        if line is None or stamp is None or line.get("stamp") != stamp:
            if origin.video_id not in self._ids or (sha256 := sha256_of(path)) is None:
                return None
            line = self._by_bytes.get((origin.video_id or "", sha256))
        if line is None:
            return None
        try:
            outcome = outcome_from_row(line["row"])
        except (RecordError, KeyError):
            return None  # of another version: asked again
        if isinstance(outcome, Failed):
            return None
        if line.get("stamp") != stamp or line.get("place") != _place(path):
            self._note(path, outcome, stamp)
        return replace(outcome, origin=replace(outcome.origin, path=origin.path))

    def note(self, path: str, outcome: Outcome, before: Stamp | None) -> None:
        """Keep one outcome: no kill takes the row back. ``before``: the file's stamp before it was read."""
        self._note(path, outcome, before if before == stamp_of(path) else None)

    def _note(self, path: str, outcome: Outcome, stamp: Stamp | None) -> None:
        row = outcome_to_row(outcome)
        line = {"run": self._run, "place": _place(path), "stamp": stamp, "row": row}
        key = hashlib.sha256(dumps([self._run, line["place"], row["sha256"]]).encode()).hexdigest()[:24]
        self._journal.add(key, line)
        self._remember(line)

    def _remember(self, line: Mapping[str, Any]) -> None:
        row = line.get("row")
        if line.get("run") != self._run or not isinstance(row, dict):
            return
        self._by_place[str(line.get("place"))] = dict(line)
        if row.get("sha256") is not None:
            self._by_bytes[str(row.get("video_id")), str(row["sha256"])] = dict(line)
            self._ids.add(str(row.get("video_id")))

    def write_rows(self, outcomes: Iterable[Outcome]) -> None:
        """``verdicts.jsonl`` of these outcomes, in the place of the one before."""
        write_jsonl(self._folder / ROWS_NAME, map(outcome_to_row, outcomes))


def _rows_without_journal(folder: Path) -> list[Any]:
    """The rows of a folder from before there was a journal: they are kept in the new one."""
    if (folder / JOURNAL_NAME).exists() or not (folder / ROWS_NAME).is_file():
        return []
    return [row for _, row in read_jsonl(folder / ROWS_NAME, surrogates=True)]


def _failed(line: Mapping[str, Any]) -> bool:
    row = line.get("row")
    return isinstance(row, dict) and row.get("status") == "failed"


def _place(path: str) -> str:
    """Which file, by its path; not the path itself, which is nobody else's business."""
    return hashlib.sha256(os.fsencode(os.path.abspath(path))).hexdigest()[:16]


def stamp_of(path: str) -> Stamp | None:
    """What tells that a file was not touched: device, inode, size, times of change; None where that is no proof."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    newest = max(status.st_mtime_ns, status.st_ctime_ns)
    if not stat.S_ISREG(status.st_mode) or time.time_ns() - newest < _SETTLED_SECONDS * 1e9:
        return None
    return f"{status.st_dev}-{status.st_ino}-{status.st_size}-{status.st_mtime_ns}-{status.st_ctime_ns}"


def sha256_of(path: str) -> str | None:
    """The SHA-256 of a regular file's bytes; None where it cannot be read, which inspecting it will say."""
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    with contextlib.suppress(OSError, ValueError):
        if not stat.S_ISREG(os.stat(path).st_mode):
            return None
        with open(os.open(path, flags), "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    return None
