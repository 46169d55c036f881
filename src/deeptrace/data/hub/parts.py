"""Files that are one file cut into pieces of bytes (``videos.zip.001`` ...): finding them, and reading them as one.

Used by `deeptrace.data.hub.archive`. Knows where a zip ends, and nothing else of zips.
"""

from __future__ import annotations

import os
import re
import struct
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import IO, Final, Literal

from deeptrace.errors import DeepTraceError

_NAMED: Final = 5  # missing parts that are named; the rest are counted

ExtractCode = Literal[
    "NOT_FOUND",  # no such archive
    "NOT_A_ZIP",  # something else, or bytes in front of or behind the zip
    "SPLIT_ZIP",  # made by `zip -s`: another format than byte-split parts
    "PART_MISSING",  # a number is left out
    "PART_TRUNCATED",  # a part is shorter than it was
    "PARTS_SWAPPED",  # parts stand in each other's place
    "BAD_LIST",  # the list of contents is damaged
    "HOSTILE_NAME",  # a name that leaves the folder, collides, or means something else on another system
    "SPECIAL_FILE",  # a link or a device
    "BOMB",  # more entries or bytes than allowed, or entries that share bytes
    "UNSUPPORTED",  # encrypted, or packed in a way that is not read
    "DISK_FULL",  # no room, before or during
    "WRITE_FAILED",  # the system refused to write
    "READ_FAILED",  # the system refused to read a part
    "BUSY",  # another process is at work in the folder
]


class ExtractError(DeepTraceError):
    """An archive that is refused, or cannot be extracted. ``code`` is an `ExtractCode`."""

    def __init__(self, code: ExtractCode, message: str) -> None:
        super().__init__(message)
        self.code: str = code


def find_parts(archive: str | os.PathLike[str]) -> tuple[Path, ...]:
    """The files of an archive in order: ``videos.zip``, or ``videos.zip.001`` and its successors.

    ``archive`` is the common name (``videos.zip``) or any one of the parts.

    Raises:
        ExtractError: ``NOT_FOUND``, ``PART_MISSING``, ``PART_TRUNCATED``, ``PARTS_SWAPPED`` or ``SPLIT_ZIP``.
    """
    path = Path(archive)
    if match := re.fullmatch(r"(.+)\.([0-9]{2,5})", path.name):
        path = path.with_name(match[1])
    if re.fullmatch(r"(?i)\.z[0-9]{2,}", path.suffix) or path.with_suffix(".z01").exists():
        raise ExtractError("SPLIT_ZIP", split_advice(path.with_suffix(".zip").name))
    if path.is_file() and match is None:
        return (path,)
    numbered: dict[int, Path] = {}
    siblings = path.parent.iterdir() if path.parent.is_dir() else iter(())
    for sibling in sorted(siblings):
        part_match = re.fullmatch(re.escape(path.name) + r"\.([0-9]{2,5})", sibling.name)
        if part_match and sibling.is_file():
            if int(part_match[1]) in numbered:
                raise ExtractError(
                    "PART_MISSING", f"both {numbered[int(part_match[1])].name} and {sibling.name} are there"
                )
            numbered[int(part_match[1])] = sibling
    if not numbered:
        raise ExtractError("NOT_FOUND", f"neither {path.name!r} nor {path.name + '.001'!r} is there")
    missing = [number for number in range(1, max(numbered) + 1) if number not in numbered]
    if missing or 0 in numbered:
        names = (
            ", ".join(f"{path.name}.{number:03d}" for number in missing[:_NAMED])
            or f"{path.name}.001 (counting starts at 1)"
        )
        names += f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        raise ExtractError("PART_MISSING", f"missing: {names}")
    parts = tuple(numbered[number] for number in sorted(numbered))
    sizes = [part.stat().st_size for part in parts]
    for part, size in zip(parts, sizes, strict=True):
        if size == 0 or (size < max(sizes) and part is not parts[-1]):
            if has_end(part):
                raise ExtractError("PARTS_SWAPPED", f"{part.name} holds the archive's end, but is not the last part")
            expected = f"{max(sizes):,}" if part is not parts[-1] else "more than 0"
            raise ExtractError("PART_TRUNCATED", f"{part.name} has {size:,} bytes, expected {expected}. Fetch it again")
    return parts


def split_advice(name: str) -> str:
    """What to do with the parts of `zip -s`."""
    return f"{name} was split by `zip -s`, which is another format. Join it first: zip -s 0 {name} --out joined.zip"


def has_end(part: Path) -> bool:
    """Whether this file ends the way a zip archive ends."""
    with open(part, "rb") as file:
        tail_at = max(part.stat().st_size - 65557, 0)
        file.seek(tail_at)
        return find_end(file.read()) is not None


def find_end(tail: bytes) -> int | None:
    """Where the end record starts in the archive's last bytes; its comment must reach exactly to the end."""
    at = tail.rfind(b"PK\x05\x06")
    while at >= 0:
        if at + 22 <= len(tail) and at + 22 + struct.unpack_from("<H", tail, at + 20)[0] == len(tail):
            return at
        at = tail.rfind(b"PK\x05\x06", 0, at)
    return None


class PartReader:
    """Several files read as if they were one. One of them is open at a time."""

    def __init__(self, parts: Sequence[Path]) -> None:
        self.parts = tuple(parts)
        self._ends = tuple(accumulate(part.stat().st_size for part in self.parts))
        self.length = self._ends[-1]
        self._open: int = -1
        self._file: IO[bytes] | None = None

    def part_at(self, position: int) -> Path:
        """The part that holds this position."""
        return self.parts[min(bisect_right(self._ends, position), len(self.parts) - 1)]

    def parts_ending_in(self, start: int, stop: int) -> list[str]:
        """Names of the parts, but for the last, that end within ``[start, stop]``."""
        ends = zip(self.parts[:-1], self._ends, strict=False)
        return [part.name for part, end in ends if start <= end <= stop]

    def read_at(self, position: int, count: int) -> bytes:
        """Up to ``count`` bytes from ``position`` on; fewer only at the end.

        Raises:
            ExtractError: ``READ_FAILED``; names the part.
        """
        pieces = []
        while count > 0 and 0 <= position < self.length:
            index = bisect_right(self._ends, position)
            begin = self._ends[index - 1] if index else 0
            try:
                if index != self._open:
                    self.close()
                    self._file, self._open = open(self.parts[index], "rb"), index  # noqa: SIM115  closed by close
                assert self._file is not None
                self._file.seek(position - begin)
                piece = self._file.read(min(count, self._ends[index] - position))
            except OSError as error:
                name = self.parts[index].name
                raise ExtractError("READ_FAILED", f"cannot read {name}: {error.strerror}") from None
            if not piece:
                break
            pieces.append(piece)
            position, count = position + len(piece), count - len(piece)
        return b"".join(pieces)

    def close(self) -> None:
        """Close the file that is open."""
        if self._file is not None:
            self._file.close()
        self._file, self._open = None, -1
