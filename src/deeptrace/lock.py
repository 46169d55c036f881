"""One process at a time in a folder. Used by whatever fills a folder over hours: extraction, downloads, journals."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

from filelock import FileLock, Timeout

from deeptrace.errors import FileError
from deeptrace.files import clear_leftovers, make_folder

logger = logging.getLogger(__name__)

LOCK: Final = ".deeptrace.lock"
"""The file that is locked; it stays behind, empty."""


class LockError(FileError):
    """No lock: ``BUSY``, another process did not finish in time; ``WRITE_FAILED``, the system cannot lock there."""

    def __init__(self, code: Literal["BUSY", "WRITE_FAILED"], message: str) -> None:
        super().__init__(message)
        self.code: Literal["BUSY", "WRITE_FAILED"] = code


@contextlib.contextmanager
def folder_lock(folder: Path, *, wait_seconds: float | None = None) -> Iterator[None]:
    """Hold the folder's lock, waiting for it at most ``wait_seconds``; None: for ever. The system frees it when we die.

    The folder is made where it is missing; what a killed process left half written in it is taken away.

    Raises:
        LockError: see there.
    """
    with contextlib.ExitStack() as stack:
        try:
            make_folder(folder)
            # No soft lock where the file system has no real one: a soft one outlives whoever is killed.
            lock = FileLock(folder / LOCK, thread_local=False, fallback_to_soft=False, preserve_lock_file=True)
            if not _take(lock, 0):
                if wait_seconds != 0:
                    logger.warning("another process is at work in %r; waiting until it is done", folder.name)
                if wait_seconds == 0 or not _take(lock, -1 if wait_seconds is None else wait_seconds):
                    raise LockError("BUSY", f"another process is at work in {folder.name!r}")
            stack.callback(lock.release)
            clear_leftovers(folder)
        except FileError as error:
            if isinstance(error, LockError):
                raise
            raise LockError("WRITE_FAILED", str(error)) from None
        except (OSError, NotImplementedError) as error:
            reason = getattr(error, "strerror", None) or error
            raise LockError("WRITE_FAILED", f"cannot lock the folder {folder.name!r}: {reason}") from None
        yield


def _take(lock: FileLock, seconds: float) -> bool:
    try:
        lock.acquire(timeout=seconds)
    except Timeout:
        return False
    return True
