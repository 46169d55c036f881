"""One process at a time in a folder. Used by whatever fills a folder over hours: extraction, downloads, journals."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final, Literal

from deeptrace.errors import FileError

logger = logging.getLogger(__name__)

LOCK: Final = ".deeptrace.lock"
"""The file that is locked; it stays behind, empty."""

# What "somebody else holds it" looks like: flock, fcntl, and msvcrt.locking (EACCES; EDEADLK after its own tries).
_HELD: Final = {errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES} | ({errno.EDEADLK} if os.name == "nt" else set())


class LockError(FileError):
    """No lock: ``BUSY``, another process did not finish in time; ``WRITE_FAILED``, the system cannot lock there."""

    def __init__(self, code: Literal["BUSY", "WRITE_FAILED"], message: str) -> None:
        super().__init__(message)
        self.code: Literal["BUSY", "WRITE_FAILED"] = code


@contextlib.contextmanager
def folder_lock(folder: Path, *, wait_seconds: float | None = None) -> Iterator[None]:
    """Hold the folder's lock; other processes wait, for ever or for so long. The system frees it when we die.

    Raises:
        LockError: see there.
    """
    until = None if wait_seconds is None else time.monotonic() + wait_seconds
    said = False
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = open(folder / LOCK, "a+b")  # noqa: SIM115  closed below
    except OSError as error:
        raise LockError("WRITE_FAILED", f"cannot write in {folder.name!r}: {error.strerror or error}") from None
    with file:
        while not _try_lock(file, folder):
            if until is not None and time.monotonic() >= until:
                raise LockError("BUSY", f"another process is at work in {folder.name!r}")
            if not said:
                said = True
                logger.warning("another process is at work in %r; waiting until it is done", folder.name)
            time.sleep(0.05)
        yield


def _try_lock(file: IO[bytes], folder: Path) -> bool:
    try:
        if os.name == "nt":
            import msvcrt

            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        else:
            import fcntl

            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _HELD:
            return False
        raise LockError("WRITE_FAILED", f"cannot lock the folder {folder.name!r}: {error.strerror or error}") from None
    return True
