"""Checkpoint folders that are whole or not there: a new one is complete on the disk before an old one goes.

``checkpoint-<step>`` is the only name that counts. What is being written, and what is being deleted, has another.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Final

from deeptrace.errors import FileError
from deeptrace.files import sync_folder

STAGING: Final = ".saving"
_GOING: Final = ".deleting-"
_NAME: Final = re.compile(r"checkpoint-(\d{1,12})")


def checkpoints(out: Path) -> list[Path]:
    """The checkpoints in a run's folder, oldest first."""
    if not out.is_dir():
        return []
    found = [(int(match[1]), path) for path in out.iterdir() if (match := _NAME.fullmatch(path.name))]
    return [path for _, path in sorted(found)]


def latest(out: Path) -> Path | None:
    """The newest checkpoint; None where there is none."""
    found = checkpoints(out)
    return found[-1] if found else None


def step_of(checkpoint: Path) -> int:
    """The step after which it was written."""
    match = _NAME.fullmatch(checkpoint.name)
    assert match is not None
    return int(match[1])


def begin(out: Path) -> Path:
    """An empty folder to write into; what a killed run left half done is removed."""
    staging = out / STAGING
    for leftover in (staging, *out.glob(f"{_GOING}*")):
        shutil.rmtree(leftover, ignore_errors=True)
    staging.mkdir(parents=True)
    return staging


def publish(staged: Path, target: Path) -> None:
    """Give a folder that was written in `begin`'s its name, once all of it is on the disk. An older one goes after.

    Raises:
        FileError: the system refused; what stood at ``target`` still does.
    """
    try:
        for folder, _, names in os.walk(staged):
            for name in names:
                with open(os.path.join(folder, name), "rb") as file:
                    os.fsync(file.fileno())
            sync_folder(folder)
        if target.exists():
            remove(target)
        os.rename(staged, target)
        sync_folder(target.parent)
    except OSError as error:
        raise FileError(f"cannot write {target.name!r}: {error.strerror or error}") from None
    shutil.rmtree(target.parent / STAGING, ignore_errors=True)


def prune(out: Path, keep: int) -> None:
    """Delete all but the newest ``keep`` checkpoints."""
    for checkpoint in checkpoints(out)[:-keep]:
        remove(checkpoint)


def remove(checkpoint: Path) -> None:
    """Delete a folder. Renamed first, so that a kill half-way leaves no half checkpoint under a name that counts."""
    going = checkpoint.with_name(f"{_GOING}{checkpoint.name}")
    shutil.rmtree(going, ignore_errors=True)
    os.rename(checkpoint, going)
    shutil.rmtree(going, ignore_errors=True)
