"""Loss of power, replayed: a flow is watched, and after every call of it the disk is shown as it could be found.

What a disk may hold after a loss of power is less than what was written: bytes are there for sure once their file was
synced, names once their folder was (POSIX; "All File Systems Are Not Created Equal", OSDI 2014). Of each prefix of the
calls four disks are built: with the unsynced bytes gone, as zeros, cut in half, or there; and of each of those one with
the unsynced names and one without.

    for disk in disks_after_power_loss(folder, flow): ...

Calls that were synced stay; nothing here is random.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from tests.os_calls import Observer, OsCall, observed

Bytes = Literal["gone", "zeros", "half", "there"]
ALL_BYTES: Final[tuple[Bytes, ...]] = ("gone", "zeros", "half", "there")


@dataclass
class Inode:
    """A file's bytes: as programs see them, and as they are on the disk for sure."""

    now: bytes = b""
    safe: bytes = b""

    def on_disk(self, kind: Bytes) -> bytes:
        if kind == "there" or self.now == self.safe:
            return self.now
        if kind == "gone":
            return self.safe
        pairs = zip(self.now, self.safe, strict=False)
        shared = next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(self.now), len(self.safe)))
        if kind == "zeros":
            return self.now[:shared] + bytes(len(self.now) - shared)
        return self.now[: shared + (len(self.now) - shared) // 2]


@dataclass
class Disk:
    """Names below the folder: None for a folder. ``names`` as programs see them, ``safe`` as they are for sure."""

    names: dict[str, Inode | None] = field(default_factory=dict)
    safe: dict[str, Inode | None] = field(default_factory=dict)

    def apply(self, call: OsCall) -> None:
        """One call that has been done."""
        path, names = call.path, self.names
        node = names.get(path)
        match call.kind:
            case "open" if call.made and path not in names:
                names[path] = Inode()
            case "write" if node is not None:
                at = len(node.now) if call.at is None else call.at
                node.now = node.now[:at].ljust(at, b"\0") + call.data + node.now[at + len(call.data) :]
            case "truncate" if node is not None:
                node.now = node.now[: call.size].ljust(call.size, b"\0")
            case "fsync" if node is not None:
                node.safe = node.now
            case "fsync":
                self._sync_names(path)
            case "mkdir":
                names[path] = None
            case "remove":
                names.pop(path, None)
            case "rename":
                assert call.new is not None
                for name in [n for n in names if n == path or n.startswith(path + os.sep)]:
                    names[call.new + name[len(path) :]] = names.pop(name)

    def _sync_names(self, folder: str) -> None:
        inside = {n: node for n, node in self.names.items() if os.path.dirname(n) == folder}
        self.safe = {n: node for n, node in self.safe.items() if os.path.dirname(n) != folder} | inside

    def write(self, root: str, target: Path, kind: Bytes, *, names_safe: bool) -> None:
        """Build the folder as it could be found."""
        names = self.safe if names_safe else self.names
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        for name, node in sorted(names.items()):
            parents = [str(p) for p in Path(name).parents]
            if any(p.startswith(root + os.sep) and names.get(p, 0) is not None for p in parents):
                continue  # a folder above it is not there
            place = target / os.path.relpath(name, root)
            if node is None:
                place.mkdir(exist_ok=True)
            else:
                place.write_bytes(node.on_disk(kind))


@dataclass(frozen=True)
class Found:
    """A folder as it could be found; ``step``: after how many calls; ``marks``: what the flow had said till then."""

    folder: Path
    step: int
    words: str
    marks: tuple[str, ...]


class _Recorder(Observer):
    def __init__(self, marks: list[str]) -> None:
        self.calls: list[tuple[OsCall, tuple[str, ...]]] = []
        self._marks = marks

    def after(self, call: OsCall) -> None:
        if call.kind not in ("list", "read"):
            self.calls.append((call, tuple(self._marks)))


def disks_after_power_loss(
    work: Path, flow: Callable[[Path, Callable[[str], None]], object], *, before: Callable[[Path], object] | None = None
) -> Iterator[Found]:
    """Each folder that could be found after each call of ``flow(folder, mark)``; ``mark`` notes what is promised."""
    folder, target = work / "watched", work / "found"
    folder.mkdir(parents=True)
    if before is not None:
        before(folder)
    disk, root = Disk(), os.path.realpath(folder)
    for path in folder.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        disk.names[os.path.realpath(path)] = None if path.is_dir() else Inode(content, content)
    disk.safe = dict(disk.names)
    marks: list[str] = []
    with observed(folder, recorder := _Recorder(marks)):
        flow(folder, marks.append)
    promised = [marks_then for _, marks_then in recorder.calls[1:]] + [tuple(marks)]
    for step, ((call, _), said) in enumerate(zip(recorder.calls, promised, strict=True), 1):
        disk.apply(call)
        for kind in ALL_BYTES:
            for names_safe in (True, False):
                disk.write(root, target, kind, names_safe=names_safe)
                words = f"after {call.kind} of {os.path.basename(call.path)} (call {step}), unsynced bytes {kind}"
                yield Found(target, step, words + (", unsynced names gone" if names_safe else ""), said)
