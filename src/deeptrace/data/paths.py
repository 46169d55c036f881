"""Paths that stand in data: which may be used, and where they lead. Opens nothing."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from deeptrace.data.read.tolerant import Bad, show
from deeptrace.errors import RecordError
from deeptrace.records import Record

MAX_PATH_CHARS: Final = 1024
MAX_NAME_BYTES: Final = 255

# os.fsdecode writes each byte of a name that is not UTF-8 as one of U+DC80..U+DCFF; no other surrogate names a file.
_NOT_A_NAME: Final = re.compile("[\\ud800-\\udc7f\\udd00-\\udfff]")


def check_path(value: object, field: str = "path") -> str:
    """The path as it is kept: relative, forward slashes, without "." and empty parts.

    Raises:
        RecordError: not a text, empty, absolute, with "..", a drive, a scheme such as ``file:``, a backslash, a NUL, a
            lone surrogate, more than 1,024 characters, or a part of more than 255 bytes.
    """
    if isinstance(value, Bad):
        raise RecordError(field, value.reason)
    if not isinstance(value, str):
        raise RecordError(field, "is missing" if value is None else f"{show(value)} is not text")
    if problem := _path_problem(value):
        raise RecordError(field, f"{show(value)} {problem}")
    return "/".join(part for part in value.split("/") if part not in ("", "."))


def _path_problem(path: str) -> str | None:
    parts = path.split("/")
    if not path.strip():
        return "is empty"
    if len(path) > MAX_PATH_CHARS:
        return f"is longer than {MAX_PATH_CHARS} characters"
    if "\0" in path:
        return "holds a NUL"
    if "\\" in path:
        return "holds a backslash; paths are written with /"
    if path.startswith("/"):
        return "is absolute; paths are relative to the data's root"
    if ".." in parts:
        return "leaves its folder by '..'"
    if ":" in parts[0]:
        return "begins with a drive or a scheme"
    if parts[-1] in ("", "."):
        return "names a folder, not a file"
    if not path.isascii():
        if _NOT_A_NAME.search(path):
            return "holds a lone surrogate"
        if any(len(part.encode("utf-8", "surrogateescape")) > MAX_NAME_BYTES for part in parts):
            return f"has a part longer than {MAX_NAME_BYTES} bytes"
    elif any(len(part) > MAX_NAME_BYTES for part in parts):
        return f"has a part longer than {MAX_NAME_BYTES} bytes"
    return None


def resolve(root: str | os.PathLike[str], record: Record) -> Path:
    """Where a record's video lies: an absolute path under ``root`` without symbolic links in it.

    The file need not exist. Nothing is opened; whoever opens the path checks again that it is a regular file.

    Raises:
        RecordError: the record has no path, `check_path` refuses it, or a symbolic link leads out of the root.
    """
    relative = check_path(record.path)
    if os.name == "nt" and ":" in relative:  # a second stream of a file
        raise RecordError("path", f"{show(relative)} holds a colon")
    base = os.path.realpath(root)
    try:
        target = os.path.realpath(os.path.join(base, relative))
        inside = os.path.commonpath([base, target]) == base and target != base
    except (OSError, ValueError) as error:
        raise RecordError("path", f"{show(relative)} cannot be followed: {error}") from None
    if not inside:
        raise RecordError("path", f"{show(relative)} leads out of the data's root by a symbolic link")
    return Path(target)
