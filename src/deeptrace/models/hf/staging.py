"""A folder that appears when it is whole: written beside its place, made durable, renamed. Knows nothing of models."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from deeptrace.errors import FileError, ModelError
from deeptrace.files import sync_folder
from deeptrace.lock import LOCK, folder_lock
from deeptrace.models.hf.library import refusal


@contextlib.contextmanager
def staged(target: Path, doing: str, *, nbytes: int | None = None) -> Iterator[Path]:
    """An empty folder to fill; when the block ends well it becomes ``target``, else nothing is left of it.

    ``doing`` is part of its name meanwhile. ``nbytes``: about how much will be written, for the error when the disk is
    full. What a killed run left is removed; a second run with the same target is refused.

    Raises:
        ModelError: ``target`` is there already.
        LockError: another process is writing it.
        FileError: the system refused.
    """
    if target.exists():
        raise ModelError(f"{target.name!r} is there already.")
    work = target.with_name(f".{target.name}.{doing}")
    try:
        with folder_lock(work, wait_seconds=0):
            try:
                _clear(work)
                yield work
                sync_tree(work)
                (work / LOCK).unlink()
                os.replace(work, target)
                try:
                    sync_folder(target.parent)
                except OSError:
                    os.replace(target, work)  # a name that may not outlast the next power cut is none
                    raise
            finally:
                shutil.rmtree(work, ignore_errors=True)
    except Exception as error:
        with contextlib.suppress(OSError):
            work.rmdir()  # which no lock was got for; one that is in use is not empty
        reason = refusal(error)
        if reason is None:
            raise
        raise FileError(
            f"cannot write {target.name!r}: {reason}{room(target.parent, nbytes)}. Nothing is left of it"
        ) from None


def _clear(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != LOCK:
            path.unlink()


def sync_tree(folder: Path) -> None:
    """Make all files below a folder, and their names, durable. Raises `OSError` where the system refuses."""

    def refuse(error: OSError) -> None:
        raise error

    for inner, _, names in os.walk(folder, onerror=refuse):
        for name in names:
            with open(os.path.join(inner, name), "rb") as file:
                os.fsync(file.fileno())
        sync_folder(inner)


def room(folder: Path, nbytes: int | None) -> str:
    """In words, for an error: how many bytes are needed, where that is known, and how many are free."""
    try:
        free = shutil.disk_usage(folder).free
    except OSError:
        return ""
    needed = "" if nbytes is None else f"about {nbytes:,} bytes are needed, "
    return f" ({needed}{free:,} are free)"
