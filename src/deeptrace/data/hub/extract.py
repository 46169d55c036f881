"""Files out of a zip that lies in byte-split parts (``videos.zip.001`` ...), straight from the parts.

Parts in, files in a folder out. Nothing is joined and nothing is deleted: the extra space needed is that of the file
being written. The list of contents is checked as a whole before the first byte is written, and a file gets its name
only when its length and CRC are right, so an interrupted run goes on where it stopped. Knows nothing of videos.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from deeptrace.data.hub.archive import (
    ArchiveEntry,
    Contents,
    Damage,
    Limits,
    read_contents,
)
from deeptrace.data.hub.parts import ExtractError, PartReader, find_parts
from deeptrace.errors import FileError
from deeptrace.files import make_folder, sync_folder
from deeptrace.lock import LockError, folder_lock


@dataclass(frozen=True)
class Extraction:
    """What was done: names written, names found there already with the right bytes, and entries that are damaged."""

    written: tuple[str, ...]
    skipped: tuple[str, ...]
    damaged: tuple[Damage, ...]
    bytes_written: int


Progress = Callable[[int, int, str], None]
"""Called with the bytes done, the bytes in all, and the file's name, after each file."""

ARCHIVES: Final = ("videos.zip", "real_videos.zip")
"""The archives of the RewardData release."""

_CHUNK: Final = 1024 * 1024
_TEMP: Final = ".deeptrace-extract.tmp"
_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def extract(
    archive: str | os.PathLike[str],
    dest: str | os.PathLike[str],
    *,
    limits: Limits | None = None,
    progress: Progress | None = None,
    wait_seconds: float | None = None,
) -> Extraction:
    """Write every file of an archive below ``dest``; files that are there with the right bytes are left alone.

    ``archive`` is a zip, the common name of its parts, or one of them. Run again after an interruption, it goes on. An
    entry whose bytes are damaged is listed in the result, the others are extracted. ``wait_seconds``: how long to wait
    for another process that works in ``dest`` (None: until it is done).

    Raises:
        ExtractError: the archive is refused as a whole (nothing is written), or writing failed (what is written stays).
    """
    root = Path(dest)
    with _reading(archive), contextlib.closing(PartReader(find_parts(archive))) as reader:
        contents = read_contents(reader, limits or Limits())
        try:
            with folder_lock(root, wait_seconds=wait_seconds):
                return _extract(reader, contents, root, progress)
        except LockError as error:
            raise ExtractError(error.code, str(error)) from None


@contextlib.contextmanager
def _reading(archive: str | os.PathLike[str]) -> Iterator[None]:
    """What the system refuses and nobody nearer to it has named: looking for parts, sizes, room."""
    try:
        yield
    except OSError as error:
        name = Path(archive).name if error.filename is None else Path(os.fsdecode(error.filename)).name
        raise ExtractError("READ_FAILED", f"cannot read {name}: {error.strerror or error}") from None


def extract_release(
    folder: str | os.PathLike[str], dest: str | os.PathLike[str] | None = None, *, progress: Progress | None = None
) -> dict[str, Extraction]:
    """Extract both archives of a downloaded RewardData release into ``dest`` (default: the same folder).

    The files end up under ``videos/`` and ``real_videos/``, whether or not the archive holds that folder itself.

    Raises:
        ExtractError: see `extract`. Both archives are checked before either is written.
    """
    root, to = Path(folder), Path(folder if dest is None else dest)
    places = {}
    for name in ARCHIVES:
        with _reading(root / name), contextlib.closing(PartReader(find_parts(root / name))) as reader:
            entries = read_contents(reader, Limits()).entries
        inside = Path(name).stem
        nested = all(entry.name.split("/")[0] == inside for entry in entries)
        places[name] = to if nested else to / inside
    return {name: extract(root / name, place, progress=progress) for name, place in places.items()}


def _extract(reader: PartReader, contents: Contents, root: Path, progress: Progress | None) -> Extraction:
    files = [entry for entry in contents.entries if not entry.is_folder]
    missing = sum(entry.size for entry in files if not _looks_there(root / entry.name, entry))
    _check_room(root, missing)
    written, skipped, damaged, done, bytes_written = [], [], list(contents.damaged), 0, 0
    for folder in (entry for entry in contents.entries if entry.is_folder):
        _make_folder(root, root / folder.name)
    for entry in sorted(files, key=lambda item: item.offset):
        target = root / entry.name
        if entry.name not in contents.data_at:
            continue
        if _looks_there(target, entry) and _crc_of(target) == entry.crc:
            skipped.append(entry.name)
        else:
            _make_folder(root, target.parent)
            reason = _write(reader, contents.data_at[entry.name], entry, root, missing)
            if reason is None:
                written.append(entry.name)
                bytes_written += entry.size
            else:
                damaged.append(Damage(entry.name, reader.part_at(entry.offset).name, reason))
            missing = max(missing - entry.size, 0)
        done += entry.size
        if progress is not None:
            progress(done, contents.total_bytes, entry.name)
    return Extraction(tuple(written), tuple(skipped), tuple(damaged), bytes_written)


def _looks_there(target: Path, entry: ArchiveEntry) -> bool:
    return target.is_file() and not target.is_symlink() and target.stat().st_size == entry.size


def _crc_of(path: Path) -> int | None:
    crc = 0
    try:
        with open(path, "rb") as file:
            while chunk := file.read(_CHUNK):
                crc = zlib.crc32(chunk, crc)
    except OSError:
        return None
    return crc


def _make_folder(root: Path, folder: Path) -> None:
    try:
        make_folder(folder)
    except FileError as error:
        full = isinstance(error.__cause__, OSError) and error.__cause__.errno in _FULL
        raise ExtractError("DISK_FULL" if full else "WRITE_FAILED", f"{error}. What is written stays") from None
    if not folder.resolve().is_relative_to(root.resolve()):
        raise ExtractError("WRITE_FAILED", f"{folder.name!r} in the destination is a link that leads out of it")


def _check_room(root: Path, needed: int) -> None:
    free = shutil.disk_usage(root).free
    if needed > free:
        raise ExtractError("DISK_FULL", _room(root, needed))


def _room(root: Path, needed: int) -> str:
    try:
        free = f"{shutil.disk_usage(root).free:,}"
    except OSError:
        free = "unknown"
    return f"{needed:,} more bytes are needed in {root.name!r}, {free} are free. Make room and run it again"


def _write(reader: PartReader, data_at: int, entry: ArchiveEntry, root: Path, missing: int) -> str | None:
    """Write one file under its name, or say why its bytes are not right. ``missing``: bytes still to write in all."""
    temp, target = root / _TEMP, root / entry.name
    try:
        try:
            # One fixed name: what a killed run leaves is overwritten, never collected.
            temp.unlink(missing_ok=True)
            with open(temp, "xb") as file:
                reason = _unpack(reader, data_at, entry, file)
                file.flush()
                os.fsync(file.fileno())
            if reason is None:
                os.replace(temp, target)
                sync_folder(target.parent)
            return reason
        finally:
            with contextlib.suppress(OSError):
                temp.unlink(missing_ok=True)
    except OSError as error:
        if error.errno in _FULL:
            raise ExtractError("DISK_FULL", f"writing {entry.name!r}: {_room(root, missing)}") from None
        raise ExtractError("WRITE_FAILED", f"cannot write {entry.name!r}: {error.strerror or error}") from None


def _unpack(reader: PartReader, data_at: int, entry: ArchiveEntry, file: IO[bytes]) -> str | None:
    """Write the entry's bytes, never more than it declares; the reason where length or CRC is not right."""
    crc, size, at, end = 0, 0, data_at, data_at + entry.packed
    inflate = zlib.decompressobj(-15) if entry.method else None
    while at < end:
        packed = reader.read_at(at, min(_CHUNK, end - at))
        if not packed:
            return "its bytes end early"
        at += len(packed)
        more = True
        while more:
            try:
                piece = packed if inflate is None else inflate.decompress(packed, _CHUNK)
            except zlib.error:
                return "its packed bytes are damaged"
            size, crc = size + len(piece), zlib.crc32(piece, crc)
            if size > entry.size:
                return f"it unpacks to more than the {entry.size:,} bytes declared"
            file.write(piece)
            packed = b"" if inflate is None else inflate.unconsumed_tail
            # A full piece may leave output inside the decompressor even when no input is left.
            more = inflate is not None and not inflate.eof and (bool(packed) or len(piece) == _CHUNK)
        if inflate is not None and inflate.eof and (inflate.unused_data or at < end):
            return "bytes are left over behind its end"
    if inflate is not None and not inflate.eof:
        return "its packed bytes end early"
    if size != entry.size:
        return f"it has {size:,} bytes, {entry.size:,} are declared"
    return None if crc == entry.crc else "its CRC is not the one declared"
