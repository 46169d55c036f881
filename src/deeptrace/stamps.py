"""Which file a result belongs to: its SHA-256, and where it lay when that was taken. Knows nothing of results.

Used by whatever goes on with earlier work: a result is of a file's bytes, not of its name. A stamp is JSON:
``{"sha256": 64 hex digits, "stat": text or null}``. While size, times and inode are those of ``stat``, the bytes need
not be read again; where they differ, the hash decides, so that a file copied elsewhere keeps its result.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Iterable
from typing import Any, Final

_CHUNK: Final = 1 << 20
_SETTLED_NS: Final = 2_000_000_000
"""A file changed less than 2 s ago may change once more within one tick of its clock (FAT: 2 s): `stat` stays null."""


def file_stamp(path: str | os.PathLike[str]) -> dict[str, str | None] | None:
    """The stamp of a regular file, which is read as a whole; None where there is none, or it cannot be read."""
    try:
        before = os.stat(path)
        if not stat.S_ISREG(before.st_mode):
            return None
        digest = hashlib.sha256()
        with open(path, "rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except OSError:
        return None
    settled = time.time_ns() - max(before.st_mtime_ns, before.st_ctime_ns) > _SETTLED_NS
    return {"sha256": digest.hexdigest(), "stat": _stat_text(before) if settled else None}


def known_stamp(path: str | os.PathLike[str], earlier: Iterable[Any]) -> dict[str, str | None] | None:
    """As `file_stamp`; one of ``earlier`` that was taken of the file, untouched since, spares reading it."""
    try:
        now = _stat_text(os.stat(path))
    except OSError:
        return None
    for stamp in earlier:
        if isinstance(stamp, dict) and isinstance(stamp.get("sha256"), str) and stamp.get("stat") == now:
            return stamp
    return file_stamp(path)


def is_stamped(stamp: Any, path: str | os.PathLike[str]) -> bool:
    """Whether the file at ``path`` is the one that ``stamp`` (as it came from JSON) was taken of."""
    if not isinstance(stamp, dict) or not isinstance(stamp.get("sha256"), str):
        return False
    try:
        now = _stat_text(os.stat(path))
    except OSError:
        return False
    if stamp.get("stat") == now:
        return True
    fresh = file_stamp(path)
    return fresh is not None and fresh["sha256"] == stamp["sha256"]


def _stat_text(status: os.stat_result) -> str:
    """Size, time of the bytes, time of the entry (which no program can set back; on Windows that of making), inode."""
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino}"
