"""Which files a dataset was made from, so that a run which goes on with others is refused by their names."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from deeptrace.errors import FileError, JsonError
from deeptrace.files import loads

_END_BYTES: Final = 1 << 16
_NAMED: Final = 3


def identify(paths: Iterable[str | os.PathLike[str]]) -> dict[str, str]:
    """By name: the size of each file and the SHA-256 of its first and last 64 KiB, as ``"SIZE:HEX"``.

    A name that comes twice gets its folder before it. A file that cannot be read is ``"unreadable"``.
    """
    known: dict[str, str] = {}
    for path in map(Path, paths):
        name = path.name if path.name not in known else f"{path.parent.name}/{path.name}"
        known[name] = _identity(path)
    return known


def _identity(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            digest = hashlib.sha256(file.read(_END_BYTES))
            file.seek(max(0, size - _END_BYTES))
            digest.update(file.read(_END_BYTES))
    except OSError:  # the run will say so of this clip
        return "unreadable"
    return f"{size}:{digest.hexdigest()}"


def require_same_inputs(journal: Path, settings: Mapping[str, Any], names: Sequence[str]) -> None:
    """Refuse to go on in a folder that was begun with other files under the settings ``names``.

    Raises:
        FileError: it was; names the files.
    """
    try:
        with open(journal, "rb") as file:
            head = loads(file.readline())
    except (OSError, JsonError):  # there is none yet, or the journal says itself what is wrong
        return
    before = head.get("settings") if isinstance(head, dict) else None
    if not isinstance(before, dict):
        return
    changes = []
    for name in names:
        old, new = before.get(name), settings[name]
        if not isinstance(old, dict):
            continue  # of an older version: the journal compares the rest
        changes += [f"{key} is another file now" for key in new if key in old and old[key] != new[key]]
        changes += [f"{key} is new" for key in new if key not in old]
        changes += [f"{key} is no longer named" for key in old if key not in new]
    if changes:
        more = f", and {len(changes) - _NAMED} more" if len(changes) > _NAMED else ""
        raise FileError(
            f"{journal.parent.name} was begun with other inputs: {'; '.join(changes[:_NAMED])}{more}. Use the same, or"
            " another folder"
        )
