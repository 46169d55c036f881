"""Replies on disk: JSON with a checksum, one file per key, written atomically. Only whole answers are kept."""

from __future__ import annotations

import hashlib
import logging
import os
import stat
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

from typing_extensions import override

from deeptrace.chat.replies import Reply, Usage
from deeptrace.errors import FileError, JsonError
from deeptrace.files import dumps, loads, write_text

logger = logging.getLogger("deeptrace.chat")

SCHEMA: Final = "deeptrace.chat.reply/1"
_MAX_BYTES: Final = 64 * 1024 * 1024
_FIELDS: Final = ("text", "finish_reason", "usage", "cost", "model", "flags", "reasoning", "logprobs")
_FLAGS: Final = ("think_tags", "usage_missing", "no_finish_reason")


def _checksum(key: str, reply: Any) -> str:
    return hashlib.sha256(dumps([SCHEMA, key, reply]).encode()).hexdigest()


def _is_count(value: object) -> bool:
    return value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 0)


def _reply_of(row: dict[str, Any]) -> Reply:
    """The reply of a cache row.

    Raises:
        ValueError: a field of the wrong type, or a reply that should never have been kept.
    """
    usage = row["usage"]
    fine = (
        set(row) == set(_FIELDS)
        and isinstance(row["text"], str)
        and row["text"].strip()
        and all(row[name] is None or isinstance(row[name], str) for name in ("finish_reason", "model", "reasoning"))
        and isinstance(usage, dict)
        and set(usage) == {"prompt_tokens", "completion_tokens"}
        and all(map(_is_count, usage.values()))
        and (row["cost"] is None or (isinstance(row["cost"], int | float) and row["cost"] >= 0))
        and isinstance(row["flags"], list)
        and all(flag in _FLAGS for flag in row["flags"])
    )
    if not fine:
        raise ValueError("its fields are not those of a whole reply")
    return Reply(
        text=row["text"],
        finish_reason=row["finish_reason"],
        usage=Usage(**usage),
        cost=0.0 if row["cost"] is not None else None,
        model=row["model"],
        cached=True,
        flags=tuple(row["flags"]),
        reasoning=row["reasoning"],
        logprobs=row["logprobs"],
    )


class Cache:
    """Replies by key. A damaged entry is ignored, logged and counted in ``ignored``; it is then written anew."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._folder = Path(folder)
        self.ignored = 0

    @override
    def __repr__(self) -> str:
        return f"Cache({self._folder.name!r})"

    def _path(self, key: str) -> Path:
        return self._folder / key[:2] / f"{key}.json"

    def get(self, key: str) -> Reply | None:
        """The reply kept under ``key``, or None."""
        try:
            descriptor = os.open(self._path(key), os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        except FileNotFoundError:
            return None
        except OSError as error:
            self._ignore(key, error.strerror or "cannot be opened")
            return None
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode) or status.st_size > _MAX_BYTES:
                self._ignore(key, "not a file of a size that was ever written")
                return None
            data = file.read(_MAX_BYTES)
        try:
            entry = loads(data)
            if not isinstance(entry, dict) or entry.get("schema") != SCHEMA or entry.get("key") != key:
                raise ValueError("it is not an entry for this key")
            row = entry.get("reply")
            if not isinstance(row, dict) or entry.get("sha256") != _checksum(key, row):
                raise ValueError("its checksum does not match")
            return _reply_of(row)
        except (JsonError, ValueError, KeyError) as error:
            self._ignore(key, str(error))
            return None

    def _ignore(self, key: str, reason: str) -> None:
        self.ignored += 1
        logger.warning("cache entry %s is ignored: %s", key[:12], reason)

    def put(self, key: str, reply: Reply) -> None:
        """Keep a whole reply; anything else is not kept. A cache that cannot be written is logged, not fatal."""
        if not reply.ok or reply.cached:
            return
        row = {name: value for name, value in asdict(replace(reply, attempts=())).items() if name in _FIELDS}
        row["flags"] = list(reply.flags)
        path = self._path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, dumps({"schema": SCHEMA, "key": key, "sha256": _checksum(key, row), "reply": row}) + "\n")
        except (OSError, FileError, JsonError) as error:
            logger.warning("a reply could not be cached: %s", error)
