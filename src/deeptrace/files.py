"""Files of ours: strict JSON, whole-file writes that cannot leave half a file, JSON Lines. Knows nothing of videos."""

from __future__ import annotations

import contextlib
import json
import math
import os
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, Final

from deeptrace.errors import FileError, JsonError

MAX_INT_DIGITS: Final = 18
"""Whole numbers in JSON stay within 64 bits; longer ones are refused rather than rounded by the next reader."""

MAX_DEPTH: Final = 64


# ── JSON in ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise JsonError(f"the key {key!r} stands twice in one object")
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
        FileError: the system refused, with its reason; the old file is intact.
    """
    target = Path(path)
    name = target.with_name(f".{target.name[:40]}.{secrets.token_hex(8)}.tmp")
    try:
        with open(name, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, target)
        sync_folder(target.parent)
    except OSError as error:
        raise FileError(f"cannot write {target.name!r}: {error.strerror or error}") from None
    finally:
        with contextlib.suppress(OSError):
            os.unlink(name)


def sync_folder(folder: str | os.PathLike[str]) -> None:
    """Make names that were just given in ``folder`` durable. Raises `OSError` where the system refuses."""
    if os.name == "nt":  # a folder cannot be opened there; the rename is journaled by the file system
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_bytes(path: str | os.PathLike[str], *, limit: int = 1 << 30) -> bytes:
    """A whole file, of at most ``limit`` bytes.

    Raises:
        FileError: it cannot be opened, or is larger.
    """
    name = Path(path).name
    try:
        with open(path, "rb") as file:
            content = file.read(limit + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise FileError(f"cannot read {name!r}: {reason}") from None
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
        FileError: the file cannot be opened.
        JsonError: a line is not the JSON we accept; names the file and the line.
    """
    name = Path(path).name
    try:
        with open(path, "rb") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                try:
                    value = loads(line, surrogates=surrogates)
                except JsonError as error:
                    raise JsonError(f"{name} line {number}: {error}") from None
                yield number, value
    except OSError as error:
        raise FileError(f"cannot read {name!r}: {error.strerror}") from None
