"""A file of JSON lines that only grows: one row a finished piece of work, flushed at once. Resume = skip what is there.

Used where a language model is asked many times. A line that a kill or a full disk left unfinished is dropped.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deeptrace.errors import FileError, JsonError
from deeptrace.files import dumps, loads

logger = logging.getLogger(__name__)


class Journal:
    """Rows by their ``key``; the last row of a key counts. ``dropped`` counts lines that could not be read.

    Raises:
        FileError: the file cannot be read or written, or was begun with other ``settings``: two runs do not mix.
    """

    def __init__(self, path: str | os.PathLike[str], settings: Mapping[str, Any]) -> None:
        self._path = Path(path)
        self.rows: dict[str, dict[str, Any]] = {}
        self.dropped = 0
        head = {"key": "", "settings": loads(dumps(dict(settings)))}
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            data = self._path.read_bytes() if self._path.exists() else b""
            for line in data.split(b"\n"):
                self._take(line)
            if "" in self.rows and self.rows[""] != head:
                raise FileError(f"{self._path.name} was begun with other settings. Choose another folder, or delete it")
            if data and not data.endswith(b"\n"):
                with open(self._path, "ab") as file:  # close the broken line, so that the next row stands alone
                    file.write(b"\n")
        except OSError as error:
            raise FileError(f"cannot use {self._path.name!r}: {error.strerror}") from None
        if "" not in self.rows:
            self.add("", {"settings": head["settings"]})

    def _take(self, line: bytes) -> None:
        if not line.strip():
            return
        try:
            row = loads(line)
        except JsonError as error:
            row = str(error)
        if isinstance(row, dict) and isinstance(row.get("key"), str):
            self.rows[row["key"]] = row
        else:
            self.dropped += 1
            logger.warning("%s: a line that cannot be read is dropped", self._path.name)

    def add(self, key: str, row: Mapping[str, Any]) -> None:
        """Note a finished piece of work."""
        full = {"key": key, **row}
        try:
            with open(self._path, "ab", buffering=0) as file:
                file.write(dumps(full).encode() + b"\n")
        except OSError as error:
            raise FileError(f"cannot write {self._path.name!r}: {error.strerror}") from None
        self.rows[key] = full
