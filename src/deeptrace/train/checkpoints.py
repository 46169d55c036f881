"""Checkpoint folders that are whole or not there: a new one is complete on the disk before an old one goes.

``checkpoint-<step>`` is the only name that counts. What is being written, and what is being deleted, has another. In
each lies a manifest: the size and the SHA-256 of every file, and what the run was made of when it was written.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from deeptrace.errors import FileError, JsonError, TrainError
from deeptrace.files import dumps, loads, read_bytes, sync_folder
from deeptrace.models.hf.library import refusal
from deeptrace.models.hf.staging import room, sync_tree

STAGING: Final = ".saving"
MANIFEST: Final = "manifest.json"
SCHEMA: Final = "deeptrace.manifest"
_GOING: Final = ".deleting-"
_NAME: Final = re.compile(r"checkpoint-(\d{1,12})")
_ASIDE: Final = "damaged-"
_CHUNK: Final = 1 << 20

TRAINER_STATE: Final = "trainer_state.json"
TRAINER_FILES: Final = (
    re.compile(r"trainer_state\.json"),
    re.compile(r"optimizer(\.pt|\.bin|_0/.*)"),
    re.compile(r"scheduler\.pt"),
    re.compile(r"rng_state(_0)?\.pth"),
    re.compile(r"(adapter_)?model.*\.safetensors"),
)
"""What a run of transformers' Trainer cannot go on without. The library passes over a state that is not there, and goes
on from other numbers."""


def checkpoints(out: Path) -> list[Path]:
    """The checkpoints in a run's folder, oldest first.

    Raises:
        FileError: the system does not list it.
    """
    try:
        if not out.is_dir():
            return []
        numbered = [(int(match[1]), path) for path in out.iterdir() if (match := _NAME.fullmatch(path.name))]
    except OSError as error:
        raise FileError(f"cannot list {out.name!r}: {error.strerror or error}") from None
    return [path for _, path in sorted(numbered)]


def latest(out: Path) -> Path | None:
    """The newest checkpoint; None where there is none."""
    folders = checkpoints(out)
    return folders[-1] if folders else None


def step_of(checkpoint: Path) -> int:
    """The step after which it was written."""
    match = _NAME.fullmatch(checkpoint.name)
    assert match is not None
    return int(match[1])


# ── writing ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def begin(out: Path) -> Path:
    """An empty folder to write into; what a killed run left half done is removed."""
    staging = out / STAGING
    try:
        for leftover in (staging, *out.glob(f"{_GOING}*")):
            shutil.rmtree(leftover, ignore_errors=True)
        staging.mkdir(parents=True)
    except OSError as error:
        raise FileError(f"cannot make a folder in {out.name!r}: {error.strerror or error}") from None
    return staging


@contextmanager
def saving(out: Path, name: str, nbytes: int) -> Iterator[None]:
    """Within, ``name`` is written into a run's folder: what the system refuses becomes one error, and leaves nothing.

    Raises:
        FileError: names what was being written, about how many bytes it takes, and what is kept.
    """
    newest = latest(out)
    fallback = f"The newest checkpoint is {newest.name!r}" if newest is not None else "There is no checkpoint yet"
    if 0 <= _free(out) < nbytes:
        raise FileError(f"cannot write {name!r}: the disk is too full for it{room(out, nbytes)}. {fallback}")
    try:
        yield
    except Exception as error:
        reason = str(error) if isinstance(error, FileError) else refusal(error)
        if reason is None:
            raise
        drop(out)
        raise FileError(f"cannot write {name!r}: {reason}{room(out, nbytes)}. {fallback}") from None


def _free(folder: Path) -> int:
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return -1


def drop(out: Path) -> None:
    """Remove what was begun and will not be finished."""
    shutil.rmtree(out / STAGING, ignore_errors=True)


def publish(staged: Path, target: Path) -> None:
    """Give a folder that was written in `begin`'s its name, once all of it is on the disk. An older one goes after.

    Raises:
        FileError: the system refused; what stood at ``target`` still does, and nothing is left of what was written.
    """
    going = target.with_name(f"{_GOING}{target.name}")
    try:
        sync_tree(staged)
        if target.exists():
            shutil.rmtree(going, ignore_errors=True)
            os.rename(target, going)
        try:
            os.rename(staged, target)
        except OSError:
            if going.exists():
                os.rename(going, target)
            raise
        sync_folder(target.parent)
    except OSError as error:
        drop(target.parent)
        raise FileError(f"cannot write {target.name!r}: {error.strerror or error}") from None
    shutil.rmtree(going, ignore_errors=True)
    drop(target.parent)


def prune(out: Path, keep: int) -> None:
    """Delete all but the newest ``keep`` checkpoints."""
    for checkpoint in checkpoints(out)[:-keep]:
        remove(checkpoint)


def remove(checkpoint: Path) -> None:
    """Delete a folder. Renamed first, so that a kill half-way leaves no half checkpoint under a name that counts.

    Raises:
        FileError: the system refused.
    """
    going = checkpoint.with_name(f"{_GOING}{checkpoint.name}")
    shutil.rmtree(going, ignore_errors=True)
    try:
        os.rename(checkpoint, going)
    except OSError as error:
        raise FileError(f"cannot delete {checkpoint.name!r}: {error.strerror or error}") from None
    shutil.rmtree(going, ignore_errors=True)


def put_aside(out: Path) -> Path | None:
    """Give the newest checkpoint a name that does not count, so that the one before it is the newest; its new place.

    Raises:
        TrainError: there is none before it.
        FileError: the system refused.
    """
    folders = checkpoints(out)
    if len(folders) < 2:
        raise TrainError(
            f"{out.name!r} holds {len(folders)} checkpoints: there is none before the newest to go on from"
        )
    aside = folders[-1].with_name(f"{_ASIDE}{folders[-1].name}")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        os.rename(folders[-1], aside)
    except OSError as error:
        raise FileError(f"cannot rename {folders[-1].name!r}: {error.strerror or error}") from None
    return aside


# ── manifests ───────────────────────────────────────────────────────────────────────────────────────────────────────


def write_manifest(folder: Path, step: int, facts: Mapping[str, Any]) -> None:
    """Sizes and SHA-256 of all files of a checkpoint that is complete, and ``facts`` of its run, as ``manifest.json``.

    Raises:
        FileError: the system refused.
    """
    try:
        files = {
            path.relative_to(folder).as_posix(): {"size": path.stat().st_size, "sha256": sha256_of(path)}
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path.name != MANIFEST
        }
        row = {"schema": SCHEMA, "schema_version": 1, "step": step, "facts": dict(facts), "files": files}
        (folder / MANIFEST).write_bytes(dumps(row, indent=1).encode() + b"\n")
    except OSError as error:
        raise FileError(f"cannot write the manifest of {folder.name!r}: {error.strerror or error}") from None


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal. Raises `OSError` where it cannot be read."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def verify(checkpoint: Path, needed: Sequence[re.Pattern[str]] = TRAINER_FILES) -> dict[str, Any]:
    """Read a checkpoint's files and compare them with its manifest; the facts of the run that wrote it.

    ``needed``: for each of these names the manifest must hold a file.

    Raises:
        TrainError: a file is missing, cut off or changed; says which, and what there is to go on from.
    """
    try:
        row = loads(read_bytes(checkpoint / MANIFEST, limit=1 << 22))
        files, facts, step = row["files"], dict(row["facts"]), row["step"]
        known = row["schema"] == SCHEMA and all(
            {"size", "sha256"} <= set(entry) and not Path(name).is_absolute() and ".." not in Path(name).parts
            for name, entry in files.items()
        )
    except (FileError, JsonError) as error:
        raise damaged(checkpoint, str(error)) from None
    except (KeyError, TypeError, AttributeError, ValueError):
        known = False
    if not known:
        raise damaged(checkpoint, f"{MANIFEST} is not one")
    if step != step_of(checkpoint):
        raise damaged(checkpoint, f"{MANIFEST} is of step {step}")
    for pattern in needed:
        if not any(pattern.fullmatch(name) for name in files):
            raise damaged(checkpoint, f"its manifest names no file like {pattern.pattern.replace(chr(92), '')}")
    for name, entry in files.items():
        _verify_file(checkpoint, name, entry)
    if TRAINER_STATE in files:
        _verify_trainer_step(checkpoint, step)
    return facts


def _verify_trainer_step(checkpoint: Path, step: int) -> None:
    try:
        state = loads(read_bytes(checkpoint / TRAINER_STATE, limit=1 << 28))
    except (FileError, JsonError) as error:
        raise damaged(checkpoint, f"{TRAINER_STATE}: {error}") from None
    if not isinstance(state, dict) or state.get("global_step") != step:
        raise damaged(checkpoint, f"{TRAINER_STATE} is of another step")


def _verify_file(checkpoint: Path, name: str, entry: Mapping[str, Any]) -> None:
    path = checkpoint / name
    try:
        if path.is_symlink() or not path.is_file():
            raise damaged(checkpoint, f"{name} is missing")
        size = path.stat().st_size
        if size != entry["size"]:
            raise damaged(checkpoint, f"{name} has {size} bytes of {entry['size']}")
        if sha256_of(path) != entry["sha256"]:
            raise damaged(checkpoint, f"{name} is not what was written (its SHA-256 differs)")
    except OSError as error:
        raise damaged(checkpoint, f"{name}: {error.strerror or error}") from None


def damaged(checkpoint: Path, reason: str) -> TrainError:
    """The error for a checkpoint that cannot be gone on from: which, why, and what there is instead."""
    older = [path.name for path in checkpoints(checkpoint.parent) if step_of(path) < step_of(checkpoint)]
    then = (
        f"The one before it is {older[-1]!r}: --resume previous goes on from there"
        if older
        else "There is none before it: take another folder to begin anew"
    )
    return TrainError(f"{checkpoint.name!r} cannot be gone on from: {reason}. {then}")
