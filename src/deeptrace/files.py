"""Files of ours: strict JSON, whole-file writes that cannot leave half a file, JSON Lines, CSV. Knows no videos."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
import os
import re
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, Final

from deeptrace.errors import FileError, JsonError

MAX_INT_DIGITS: Final = 18
"""Whole numbers in JSON stay within 64 bits; longer ones are refused rather than rounded by the next reader."""

MAX_DEPTH: Final = 64

_LEFTOVER: Final = re.compile(r"\.(.*\.[0-9a-f]{16}\.tmp|[0-9a-f]{16}\.part)")
_YOUNG_SECONDS: Final = 1.0
"""A file that was written to so lately is not taken for one that a killed process left."""

MAX_FILE_BYTES: Final = 1 << 30
"""A file that must be read whole is at most 1 GiB; the RewardData release is 10.9 MB."""


# ── JSON in ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise JsonError(f"the key {key[:60]!r} stands twice in one object")
        result[key] = value
    return result


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise JsonError(f"{text[:20]} is beyond the range of a number")
    return value


def _short_int(text: str) -> int:
    if len(text.lstrip("-")) > MAX_INT_DIGITS:
        raise JsonError(f"the whole number {text[:20]}... has more than {MAX_INT_DIGITS} digits")
    return int(text)


def _no_constant(text: str) -> Any:
    raise JsonError(f"{text} is not a number in JSON")


def _depth(value: Any) -> int:
    deepest, stack = 0, [(value, 1)]
    while stack:
        item, depth = stack.pop()
        deepest = max(deepest, depth)
        if isinstance(item, dict):
            stack.extend((child, depth + 1) for child in item.values())
        elif isinstance(item, list):
            stack.extend((child, depth + 1) for child in item)
    return deepest


def loads(text: str | bytes, *, surrogates: bool = False) -> Any:
    """The JSON value in ``text``, strictly read. A byte-order mark is skipped.

    ``surrogates`` is for files of ours that name files: U+DC80 to U+DCFF may stand alone in a text, because Python puts
    them (and `dumps` writes them) for the bytes of a file name that is not UTF-8.

    Raises:
        JsonError: not JSON, not UTF-8, NaN or infinity (also as 1e999), a duplicate key, a whole number of more than
            18 digits, a lone surrogate, or nesting deeper than 64.
    """
    try:
        decoded = text.decode("utf-8-sig") if isinstance(text, bytes) else text.removeprefix("\ufeff")
        value = json.loads(
            decoded,
            object_pairs_hook=_no_duplicates,
            parse_float=_finite,
            parse_int=_short_int,
            parse_constant=_no_constant,
        )
    except json.JSONDecodeError as error:
        raise JsonError(f"not JSON: {error.msg} at line {error.lineno}, column {error.colno}") from None
    except UnicodeDecodeError as error:
        raise JsonError(f"not UTF-8: byte {error.start} is 0x{error.object[error.start]:02x}") from None
    except RecursionError:
        raise JsonError("nested too deeply") from None
    if _depth(value) > MAX_DEPTH:
        raise JsonError(f"nested deeper than {MAX_DEPTH}")
    # json accepts "\ud800"; written out again it is not UTF-8. Only an escape can bring one in.
    if "\\u" in decoded:
        try:
            json.dumps(value, ensure_ascii=False).encode(errors="surrogateescape" if surrogates else "strict")
        except UnicodeEncodeError:
            raise JsonError("a lone surrogate stands in a text") from None
    return value


def dumps(value: Any, *, indent: int | None = None) -> str:
    """``value`` as JSON. One line unless ``indent`` is given; ASCII only, so that any text survives any terminal.

    Raises:
        JsonError: NaN, infinity, or something that JSON cannot hold.
    """
    try:
        return json.dumps(value, allow_nan=False, indent=indent)
    except (TypeError, ValueError, RecursionError) as error:
        raise JsonError(f"cannot be written as JSON: {error}") from None


# ── whole files ─────────────────────────────────────────────────────────────────────────────────────────────────────


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """A binary file that takes the place of ``path`` when the block ends well; until then the old file stays.

    Temporary file in the same folder, fsync, rename, fsync of the folder where the system can.

    Raises:
        FileError: the system refused to write this file, with its reason; the old file is intact, or the new one whole
            (the folder could not be made durable). What goes wrong with another file or a pipe inside the block is
            raised as it is.
    """
    target = Path(path)
    name = target.with_name(f".{target.name[:40]}.{secrets.token_hex(8)}.tmp")
    placed = False
    try:
        with open(name, "xb") as file:
            mark_alive(file.fileno())
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, target)
        placed = True
        sync_folder(target.parent)
    except OSError as error:
        if isinstance(error, BrokenPipeError) or not _is_of(error, name, target, target.parent):
            raise
        rest = "The file that was there is kept" if os.path.lexists(target) else "Nothing of it is kept"
        if placed:
            rest = "It is there, but may not outlast a loss of power"
        raise FileError(f"cannot write {target.name!r}: {error.strerror or error}. {rest}") from None
    finally:
        with contextlib.suppress(OSError):
            os.unlink(name)


def clear_leftovers(folder: str | os.PathLike[str], *, below: bool = False) -> int:
    """Take away what killed processes left half written in a folder (``below``: and under it); how many files.

    It knows the names that `atomic_write` and `deeptrace.video.VideoWriter` give. A file that a living process still
    writes is left alone, and what the system does not let us remove is passed over.
    """
    count = 0
    with contextlib.suppress(OSError):
        for path in [*(Path(folder).rglob if below else Path(folder).glob)(".*")]:
            if _LEFTOVER.fullmatch(path.name) and _is_abandoned(path):
                with contextlib.suppress(OSError):
                    path.unlink()
                    count += 1
    return count


def mark_alive(descriptor: int) -> None:
    """Show other processes that this one lives and writes this file: see `clear_leftovers`.

    Windows refuses to remove an open file by itself.
    """
    if os.name != "nt":
        import fcntl

        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _is_abandoned(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except OSError:
        return False
    try:
        if time.time() - os.fstat(descriptor).st_mtime < _YOUNG_SECONDS:  # perhaps not held yet
            return False
        if os.name != "nt":
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def _is_of(error: OSError, *paths: Path) -> bool:
    """Whether an error may be of one of these files: it names it, or names none, as a write does."""
    return error.filename is None or os.fsdecode(error.filename) in map(str, paths)


@contextlib.contextmanager
def failing(path: str | os.PathLike[str], verb: str = "write") -> Iterator[None]:
    """Turn what the system refuses within the block into a `FileError` that names the file; the cause is kept."""
    try:
        yield
    except OSError as error:
        raise FileError(f"cannot {verb} {Path(path).name!r}: {error.strerror or error}") from error


def make_folder(path: str | os.PathLike[str]) -> Path:
    """The folder, made where it is missing, with those above it; their names are durable.

    Raises:
        FileError: the system refused, or something else has this name.
    """
    folder = Path(path)
    missing = [folder, *folder.parents]
    missing = missing[: next((index for index, each in enumerate(missing) if each.is_dir()), len(missing))]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for each in missing:
            sync_folder(each.parent)
    except OSError as error:  # with the folder that it is in: "out" alone would not tell which of several
        raise FileError(f"cannot make the folder {'/'.join(folder.parts[-2:])!r}: {error.strerror or error}") from error
    return folder


def copy_file(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
    """The same bytes under another name, durably; the folder is made. See `atomic_write`.

    Raises:
        FileError: the source cannot be read, or the copy not be written.
    """
    make_folder(Path(target).parent)
    with failing(source, "read"), open(open_regular(source), "rb") as file, atomic_write(target) as copy:
        shutil.copyfileobj(file, copy)


def sync_folder(folder: str | os.PathLike[str]) -> None:
    """Make names that were just given in ``folder`` durable. Raises `OSError` where the system refuses."""
    if os.name == "nt":  # a folder cannot be opened there; the rename is journaled by the file system
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def open_regular(path: str | os.PathLike[str]) -> int:
    """A descriptor of a regular file, opened for reading; never waits, as a pipe without a writer makes `open` wait.

    Every file that somebody names is opened with it: ``open(open_regular(path), "rb")``.

    Raises:
        FileError: no such file, not a regular file (a folder, pipe, socket or device), or the system refused.
    """
    name = Path(path).name
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except (OSError, ValueError) as error:
        raise FileError(f"cannot read {name!r}: {getattr(error, 'strerror', None) or error}") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileError(f"cannot read {name!r}: it is not a regular file")
    return descriptor


@contextlib.contextmanager
def in_memory_folder() -> Iterator[Path]:
    """A temporary folder, in memory where the system has a place for that, which goes with the block.

    Raises:
        FileError: it can be made neither there nor where other temporary files lie.
    """
    shared = "/dev/shm"
    try:
        folder = _temporary_folder(shared if os.access(shared, os.W_OK) else None)
    except OSError as error:
        raise FileError(f"cannot make a temporary folder: {error.strerror or error}. Set TMPDIR to one") from None
    with folder as path:
        yield Path(path)


def _temporary_folder(place: str | None) -> tempfile.TemporaryDirectory[str]:
    """One in ``place``, where that can be; else where TMPDIR and the system say."""
    if place is not None:
        with contextlib.suppress(OSError):
            return tempfile.TemporaryDirectory(prefix="deeptrace-", dir=place, ignore_cleanup_errors=True)
    return tempfile.TemporaryDirectory(prefix="deeptrace-", ignore_cleanup_errors=True)


def read_bytes(path: str | os.PathLike[str], *, limit: int = MAX_FILE_BYTES) -> bytes:
    """A whole regular file, of at most ``limit`` bytes.

    Raises:
        FileError: it cannot be opened, is not a regular file, or is larger.
    """
    name = Path(path).name
    with open(open_regular(path), "rb") as file:
        try:
            content = file.read(limit + 1)
        except OSError as error:
            raise FileError(f"cannot read {name!r}: {error.strerror}") from None
    if len(content) > limit:
        raise FileError(f"cannot read {name!r}: more than {limit} bytes")
    return content


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a whole UTF-8 file, atomically (see `atomic_write`)."""
    with atomic_write(path) as file:
        file.write(text.encode())


def write_jsonl(path: str | os.PathLike[str], rows: Iterable[Any]) -> None:
    """Write one JSON value a line, atomically (see `atomic_write`)."""
    with atomic_write(path) as file:
        for row in rows:
            file.write(dumps(row).encode() + b"\n")


def read_jsonl(path: str | os.PathLike[str], *, surrogates: bool = False) -> Iterator[tuple[int, Any]]:
    """Each line's number (from 1) and value; empty lines are skipped. The file is streamed. See `loads`.

    Raises:
        FileError: the file cannot be read, or is not a regular file.
        JsonError: a line is not the JSON we accept; names the file and the line.
    """
    name = Path(path).name
    with open(open_regular(path), "rb") as file:
        lines = enumerate(file, 1)
        while True:
            try:
                number, line = next(lines, (0, b""))
            except OSError as error:
                raise FileError(f"cannot read {name!r}: {error.strerror}") from None
            if not number:
                return
            if not line.strip():
                continue
            try:
                value = loads(line, surrogates=surrogates)
            except JsonError as error:
                raise JsonError(f"{name} line {number}: {error}") from None
            yield number, value


# ── CSV ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

_FORMULA: Final = tuple("=+-@\t\r\n＝＋－＠")
"""What makes a spreadsheet take a text for a formula at its start (OWASP, "CSV Injection")."""


def csv_line(cells: Iterable[object]) -> str:
    """One line of CSV (RFC 4180, with its line end) that no spreadsheet runs a part of.

    Numbers stand as they are, None is an empty cell. A text that begins like a formula, white space before it or not,
    gets a ``'`` before it, which spreadsheets take for "this is text". Text that is not UTF-8 (the bytes of a file
    name) is written with backslashes.
    """
    line = io.StringIO(newline="")
    csv.writer(line).writerow([_csv_cell(cell) for cell in cells])
    return line.getvalue().encode("utf-8", "backslashreplace").decode()


def _csv_cell(cell: object) -> object:
    if cell is None or isinstance(cell, bool | int | float):
        return "" if cell is None else str(cell).lower() if isinstance(cell, bool) else cell
    text = str(cell)
    return f"'{text}" if _is_formula(text) else text


def _is_formula(text: str) -> bool:
    """Whether it begins like a formula, or like what `csv_line` makes of one, so that `csv_text` loses no ``'``."""
    text = text.lstrip("'")
    return text.startswith(_FORMULA) or text.lstrip().startswith(_FORMULA)


def csv_text(cell: str) -> str:
    """The text that `csv_line` wrote into a cell: without the ``'`` before what looks like a formula."""
    return cell[1:] if cell.startswith("'") and _is_formula(cell[1:]) else cell


def write_csv(path: str | os.PathLike[str], rows: Iterable[Iterable[object]]) -> None:
    """Write rows of cells as CSV, the first of them the header, atomically (see `atomic_write`, `csv_line`)."""
    with atomic_write(path) as file:
        for row in rows:
            file.write(csv_line(row).encode())
