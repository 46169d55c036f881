"""A file of JSON lines that only grows: one row a finished piece of work, on the disk at once. Resume: skip those.

Used where a piece of work takes long or costs money: asking a language model, encoding a video. A last line that a
kill or a full disk left unfinished is dropped, and said; any other line that is not right is an error.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from deeptrace.errors import FileError, JsonError
from deeptrace.files import dumps, loads, make_folder, sync_folder
from deeptrace.lock import folder_lock

logger = logging.getLogger(__name__)


class Journal:
    """Rows by their ``key``; the last row of a key counts. ``dropped`` is 1 where an unfinished last line was dropped.

    ``settings`` stand in the first line; None: the file has no such line. With ``lock`` no other process can open a
    journal in the same folder before this one is closed. Use it with ``with``, or close it.

    A row has left this process when `add` returns, so no kill can take it back. Against a loss of power it is safe
    ``sync_seconds`` later at most, while rows keep coming, and when the journal is closed; 0: at once.

    Raises:
        FileError: the file cannot be read or written, or was begun with other ``settings``: two runs do not mix.
        LockError: another process is at work in the folder (``BUSY``).
        JsonError: a line, other than an unfinished last one, is no row; names the file and the line.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        settings: Mapping[str, Any] | None = None,
        *,
        lock: bool = False,
        sync_seconds: float = 0.0,
    ) -> None:
        self._path = Path(path)
        self._sync_seconds, self._synced = sync_seconds, time.monotonic()
        self.rows: dict[str, dict[str, Any]] = {}
        self.dropped = 0
        self._head: dict[str, Any] | None = None
        head = None if settings is None else loads(dumps(dict(settings)))
        with contextlib.ExitStack() as opened:
            if lock:
                opened.enter_context(folder_lock(self._path.parent, wait_seconds=0))
            make_folder(self._path.parent)
            with self._failing("use"):
                self._size = self._read() if self._path.exists() else 0
                if (self.rows or self._head is not None) and self._head != head:
                    raise FileError(self._mixed(head))
                self._file = opened.enter_context(open(self._path, "ab", buffering=0))
                self._file.truncate(self._size)
                sync_folder(self._path.parent)
            if head is not None and self._head is None:
                self._write({"settings": head})
            self._opened = opened.pop_all()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file and free the folder.

        Raises:
            FileError: the last rows could not be made durable.
        """
        with self._opened:
            if not self._file.closed:
                with self._failing("write"):
                    os.fsync(self._file.fileno())

    def add(self, key: str, row: Mapping[str, Any]) -> None:
        """Note a finished piece of work. It is in the file when this returns."""
        full = {"key": key, **row} | {"key": key}
        self._write(full)
        self.rows[key] = full

    # ── reading ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _read(self) -> int:
        """Take every row; the length of the file without an unfinished last line."""
        size = 0
        with open(self._path, "rb") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    self.dropped = 1
                    logger.warning("%s line %d is unfinished and dropped", self._path.name, number)
                elif line.strip():
                    self._take(number, line)
                    size += len(line)
                else:
                    size += len(line)
        return size

    def _take(self, number: int, line: bytes) -> None:
        try:
            row = loads(line)
        except JsonError as error:
            raise JsonError(f"{self._path.name} line {number}: {error}. Repair the line, or take it out") from None
        if isinstance(row, dict) and isinstance(row.get("key"), str):
            self.rows[row["key"]] = row
        elif isinstance(row, dict) and isinstance(row.get("settings"), dict) and not self.rows and self._head is None:
            self._head = row["settings"]
        else:
            raise JsonError(f"{self._path.name} line {number}: is no row with a key. Repair the line, or take it out")

    def _mixed(self, head: Mapping[str, Any] | None) -> str:
        there, here = self._head or {}, head or {}
        names = sorted(name for name in {*there, *here} if there.get(name) != here.get(name))
        return (
            f"{self._path.name} was begun with other settings ({', '.join(names)}). Use the same, or another folder,"
            " or delete it"
        )

    # ── writing ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _write(self, row: Mapping[str, Any]) -> None:
        data = dumps(row).encode() + b"\n"
        with self._failing("write"):
            try:
                rest = memoryview(data)
                while rest:
                    rest = rest[self._file.write(rest) or 0 :]
                if time.monotonic() - self._synced >= self._sync_seconds:
                    os.fsync(self._file.fileno())
                    self._synced = time.monotonic()
            except OSError:
                with contextlib.suppress(OSError):  # half a row must not stand in front of the next one
                    self._file.truncate(self._size)
                raise
            self._size += len(data)

    @contextlib.contextmanager
    def _failing(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            rows = f"The {len(self.rows)} rows in it are kept"
            raise FileError(f"cannot {what} {self._path.name!r}: {error.strerror or error}. {rows}") from None
