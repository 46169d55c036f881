"""One job cut into parts for several processes or machines: which part a video falls in, and how parts come together.

A part (a shard) keeps its own journal in a folder of its own, ``shard-2-of-8``, inside the job's folder. The same job
run without a shard takes the answers of all parts in, each once, and asks about what is left.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from typing_extensions import override

from deeptrace.errors import DeepTraceError, FileError

TORCHRUN: Final = "torchrun"
"""Says that the part is told by the variables that torchrun sets for each of its processes."""

MOST_SHARDS: Final = 4096

_FOLDER: Final = re.compile(r"shard-([1-9][0-9]{0,3})-of-([1-9][0-9]{0,3})", re.ASCII)


class ShardError(DeepTraceError):
    """What should name a part of a job names none."""


@dataclass(frozen=True)
class Shard:
    """Part ``number`` of ``count``, counted from 1. ``device``: which of the machine's GPUs is for it, from 0."""

    number: int
    count: int
    device: int | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count <= MOST_SHARDS:
            raise ShardError(
                f"shard {self.number}/{self.count}: give K/N with K from 1 to N, and N at most {MOST_SHARDS}"
            )

    @override
    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def holds(self, name: str) -> bool:
        """Whether a video of this name falls in this part: by a hash, so that videos that come later move no other.

        Parts differ a little in size, by about the square root of it.
        """
        digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()
        return int.from_bytes(digest[:8], "big") % self.count == self.number - 1

    def folder_in(self, folder: Path) -> Path:
        """Where this part is kept inside the folder of the job."""
        return folder / f"shard-{self.number}-of-{self.count}"


def parse_shard(text: str, environment: Mapping[str, str] = os.environ) -> Shard:
    """The part that ``2/8`` names, or that torchrun tells this process (``torchrun``).

    Raises:
        ShardError: it names none.
    """
    if text == TORCHRUN:
        rank, world, local = (_whole(environment, name) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
        return Shard(rank + 1, world, local)
    number, slash, count = text.partition("/")
    if not (slash and number.isascii() and number.isdecimal() and count.isascii() and count.isdecimal()):
        raise ShardError(f"shard {text[:40]!r}: give K/N, such as 2/8, or {TORCHRUN}")
    return Shard(int(number[:9]), int(count[:9]))


def _whole(environment: Mapping[str, str], name: str) -> int:
    value = environment.get(name, "")
    if not (value.isascii() and value.isdecimal() and len(value) < 10):
        raise ShardError(f"{TORCHRUN}: {name} is {value or 'not set'}; start this command with torchrun, or give K/N")
    return int(value)


def shards_in(folder: Path) -> Iterator[Path]:
    """The folders of the parts that lie in the folder of a job, in order.

    Raises:
        FileError: the system refused.
    """
    try:
        found = [
            (int(match[2]), int(match[1]), entry)
            for entry in (folder.iterdir() if folder.is_dir() else ())
            if (match := _FOLDER.fullmatch(entry.name)) and entry.is_dir() and not entry.is_symlink()
        ]
    except OSError as error:
        raise FileError(f"cannot look into {folder.name!r}: {error.strerror or error}") from None
    return (entry for _, _, entry in sorted(found))
