"""The calls by which Python changes a folder, seen one by one: each is announced before it happens, and after.

Used by `tests.failing_os`, which lets the k-th one fail, and `tests.power_loss`, which remembers all of them. What C
code opens by itself (a tensor library, Arrow given a name) is not seen; the project writes through Python's files.
"""

from __future__ import annotations

import builtins
import contextlib
import errno
import io
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock


@dataclass(frozen=True)
class OsCall:
    """One call. ``kind`` is open, read, write, fsync, rename, mkdir, truncate, remove or list.

    ``path`` is what it acts on; ``new`` the other name of a rename; ``data`` and ``at`` what a write puts where (at
    None: where the file ends); ``size`` the length a truncation leaves; ``made`` whether an open may make the file.
    """

    kind: str
    path: str
    new: str | None = None
    data: bytes = b""
    at: int | None = None
    size: int = 0
    made: bool = False


_NAMES = (
    "open", "write", "close", "fsync", "fdatasync", "replace", "rename", "mkdir", "rmdir", "unlink", "remove",
    "ftruncate", "listdir", "scandir", "sendfile", "link", "lseek",
)  # fmt: skip


class Observer:
    """What is told of each call below the folder. ``before`` may raise OSError, and a write may be cut short by it."""

    def before(self, call: OsCall) -> int | None:
        """Raise to refuse; for a write, a number of bytes: only so many are taken."""
        return None

    def after(self, call: OsCall) -> None:
        """The call has been done."""


@contextlib.contextmanager
def observed(folder: Path, observer: Observer) -> Iterator[None]:
    """Tell ``observer`` of every call below ``folder`` (and of those that make the folder itself)."""
    calls = _Calls(os.path.realpath(folder), observer)
    with contextlib.ExitStack() as patched:
        for module, name, replacement in calls.replacements():
            if hasattr(module, name):
                patched.enter_context(mock.patch.object(module, name, replacement))
        yield


class _Calls:
    def __init__(self, root: str, observer: Observer) -> None:
        self.root, self.observer = root, observer
        self.paths: dict[int, str] = {}
        self.lock = threading.RLock()
        self.real = {name: getattr(os, name) for name in _NAMES if hasattr(os, name)}
        self.real_open = io.open

    def replacements(self) -> Iterator[tuple[Any, str, Callable[..., Any]]]:
        for module in (builtins, io):
            yield module, "open", self.open_file
        yield os, "open", self.os_open
        yield os, "close", self.os_close
        yield os, "write", self.os_write
        yield os, "sendfile", self.os_sendfile
        for name in ("fsync", "fdatasync"):
            yield os, name, self._by_descriptor("fsync", name)
        for name in ("replace", "rename", "link"):
            yield os, name, self._by_names(name)
        for kind, name in (("mkdir", "mkdir"), ("remove", "unlink"), ("remove", "remove"), ("remove", "rmdir")):
            yield os, name, self._by_name(kind, name)
        for name in ("listdir", "scandir"):
            yield os, name, self._by_name("list", name)
        yield os, "ftruncate", self.os_ftruncate

    # ── telling ──

    def inside(self, path: object, dir_fd: int | None = None) -> str | None:
        """The real path of what is named, where it lies below the folder."""
        if isinstance(path, int):
            return self.paths.get(path)
        if path is None or not isinstance(path, (str, bytes, os.PathLike)):
            return None
        text = os.fsdecode(path)
        if dir_fd is not None and dir_fd in self.paths:
            text = os.path.join(self.paths[dir_fd], text)
        head, tail = os.path.split(os.path.abspath(text))
        full = os.path.join(os.path.realpath(head), tail)
        return full if full == self.root or full.startswith(self.root + os.sep) else None

    @contextlib.contextmanager
    def told(self, call: OsCall) -> Iterator[int | None]:
        with self.lock:
            cut = self.observer.before(call)
            yield cut
            self.observer.after(call)

    # ── files ──

    def os_open(self, path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        full = self.inside(path, dir_fd)
        if full is None:
            return int(self.real["open"](path, flags, mode, dir_fd=dir_fd))
        with self.told(OsCall("open", full, made=bool(flags & os.O_CREAT))):
            descriptor = int(self.real["open"](path, flags, mode, dir_fd=dir_fd))
            self.paths[descriptor] = full
            if flags & os.O_TRUNC:
                self.observer.after(OsCall("truncate", full))
        return descriptor

    def os_close(self, descriptor: int) -> None:
        self.paths.pop(descriptor, None)
        self.real["close"](descriptor)

    def os_write(self, descriptor: int, data: Any) -> int:
        full = self.paths.get(descriptor)
        if full is None:
            return int(self.real["write"](descriptor, data))
        at = self.real["lseek"](descriptor, 0, os.SEEK_CUR)
        return self.put(full, data, at, lambda piece: self.real["write"](descriptor, piece))

    def put(self, full: str, data: Any, at: int | None, write: Callable[[Any], int]) -> int:
        piece = bytes(data)
        with self.lock:
            cut = self.observer.before(OsCall("write", full, data=piece, at=at))
            done = int(write(piece if cut is None else piece[:cut]) or 0)
            self.observer.after(OsCall("write", full, data=piece[:done], at=at))
        return done

    def os_sendfile(self, out_fd: int, in_fd: int, *args: Any, **kwargs: Any) -> int:
        if out_fd in self.paths:  # shutil goes on with plain reads and writes
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return int(self.real["sendfile"](out_fd, in_fd, *args, **kwargs))

    def os_ftruncate(self, descriptor: int, length: int) -> None:
        full = self.paths.get(descriptor)
        if full is None:
            self.real["ftruncate"](descriptor, length)
            return
        with self.told(OsCall("truncate", full, size=length)):
            self.real["ftruncate"](descriptor, length)

    def open_file(  # noqa: PLR0917  the builtin's signature
        self,
        file: Any,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        closefd: bool = True,
        opener: Any = None,
    ) -> Any:
        full = self.inside(file)
        if full is None or opener is not None:
            return self.real_open(file, mode, buffering, encoding, errors, newline, closefd, opener)
        raw_mode = mode.replace("b", "").replace("t", "")
        if isinstance(file, int):
            raw = _File(self, full, file, raw_mode, closefd)
        else:
            with self.told(OsCall("open", full, made=raw_mode[0] != "r")):
                raw = _File(self, full, file, raw_mode, closefd)
                self.paths[raw.fileno()] = full
                if raw_mode.startswith("w"):
                    self.observer.after(OsCall("truncate", full))
        return _stacked(raw, mode, raw_mode, buffering, encoding, errors, newline)

    # ── names ──

    def _by_descriptor(self, kind: str, name: str) -> Callable[..., Any]:
        def call(descriptor: Any) -> None:
            number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
            full = self.paths.get(number)
            if full is None:
                self.real[name](descriptor)
                return
            with self.told(OsCall(kind, full)):
                self.real[name](descriptor)

        return call

    def _by_name(self, kind: str, name: str) -> Callable[..., Any]:
        def call(path: Any = ".", *args: Any, dir_fd: int | None = None, **kwargs: Any) -> Any:
            full = self.inside(path, dir_fd)
            more = {} if dir_fd is None else {"dir_fd": dir_fd}
            if full is None:
                return self.real[name](path, *args, **more, **kwargs)
            with self.told(OsCall(kind, full)):
                return self.real[name](path, *args, **more, **kwargs)

        return call

    def _by_names(self, name: str) -> Callable[..., Any]:
        def call(old: Any, new: Any, **kwargs: Any) -> None:
            source, target = self.inside(old), self.inside(new)
            if source is None and target is None:
                self.real[name](old, new, **kwargs)
                return
            with self.told(OsCall("rename", source or os.fspath(old), new=target or os.fspath(new))):
                self.real[name](old, new, **kwargs)

        return call


class _File(io.FileIO):
    """A file whose writes are told; everything else is the real thing."""

    def __init__(self, calls: _Calls, full: str, file: Any, mode: str, closefd: bool) -> None:
        super().__init__(file, mode, closefd)
        self._calls, self._full, self._appends = calls, full, mode.startswith("a")

    def write(self, data: Any) -> int:  # type: ignore[override]
        at = None if self._appends else self.tell()
        return self._calls.put(self._full, data, at, super().write)

    def truncate(self, size: int | None = None) -> int:
        length = self.tell() if size is None else size
        with self._calls.told(OsCall("truncate", self._full, size=length)):
            return super().truncate(size)

    def close(self) -> None:
        if not self.closed and self._calls.paths.get(self.fileno()) == self._full:
            self._calls.paths.pop(self.fileno())
        super().close()


def _stacked(  # noqa: PLR0917
    raw: _File,
    mode: str,
    raw_mode: str,
    buffering: int,
    encoding: str | None,
    errors: str | None,
    newline: str | None,
) -> Any:
    """The layers that `open` puts on a raw file."""
    if buffering == 0:
        return raw
    size = buffering if buffering > 1 else io.DEFAULT_BUFFER_SIZE
    buffer: Any
    if "+" in raw_mode:
        buffer = io.BufferedRandom(raw, size)
    elif raw_mode[0] == "r":
        buffer = io.BufferedReader(raw, size)
    else:
        buffer = io.BufferedWriter(raw, size)
    if "b" in mode:
        return buffer
    return io.TextIOWrapper(buffer, encoding or "utf-8", errors, newline, line_buffering=buffering == 1)
