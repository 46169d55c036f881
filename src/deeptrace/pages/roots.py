"""Files that a web server may give out: those under its roots, whatever a request calls them.

A path is walked from its root one name at a time, each opened without following a symbolic link, so that nothing that
is swapped in between leads out. Where the system cannot open relative to a folder (Windows), the resolved path is
checked instead.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePath
from typing import Final

from deeptrace.errors import FileError, WebError

_RELATIVE_OPEN: Final = os.open in os.supports_dir_fd and hasattr(os, "O_NOFOLLOW")
_REFUSED: Final = "no readable file under the allowed folders has this path"


class Roots:
    """Folders whose files may be given out. Roots may be symbolic links themselves; nothing below them may.

    Raises:
        FileError: a root is not a folder.
    """

    def __init__(self, folders: Iterable[Path | str]) -> None:
        self.folders: tuple[Path, ...] = tuple(_folder(Path(folder)) for folder in folders)

    @contextlib.contextmanager
    def open(self, path: str) -> Iterator[int]:
        """A descriptor of the regular file at ``path``: absolute, or relative to the first root that has it.

        Raises:
            WebError: ``PATH_NOT_ALLOWED``, the same for what is absent, outside, a link, a folder or not readable.
        """
        descriptor = self._find(path)
        if descriptor is None:
            raise WebError(403, "PATH_NOT_ALLOWED", _REFUSED)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def read(self, path: str, *, max_bytes: int) -> bytes:
        """The bytes of the file at ``path``, see `open`.

        Raises:
            WebError: ``PATH_NOT_ALLOWED``; ``BODY_TOO_LARGE``, the file has more than ``max_bytes``.
        """
        with self.open(path) as descriptor:
            if os.fstat(descriptor).st_size > max_bytes:
                raise WebError(413, "BODY_TOO_LARGE", f"the file has more than {max_bytes:,} bytes")
            with os.fdopen(os.dup(descriptor), "rb") as stream:
                content = stream.read(max_bytes + 1)
        if len(content) > max_bytes:
            raise WebError(413, "BODY_TOO_LARGE", f"the file has more than {max_bytes:,} bytes")
        return content

    def _find(self, path: str) -> int | None:
        for root in self.folders:
            parts = _parts_below(root, path)
            descriptor = None if parts is None else _open_below(root, parts)
            if descriptor is not None:
                return descriptor
        return None


def _folder(folder: Path) -> Path:
    try:
        resolved = folder.resolve(strict=True)
    except (OSError, RuntimeError, ValueError):
        raise FileError(f"{folder.name!r} is not a folder that can be read") from None
    if not resolved.is_dir():
        raise FileError(f"{folder.name!r} is not a folder")
    return resolved


def _parts_below(root: Path, path: str) -> tuple[str, ...] | None:
    """The names from the root down to the file; None for a path that is not below the root by its words."""
    if not path or "\0" in path or len(path) > 4096:
        return None
    pure = PurePath(path)
    if pure.is_absolute() or pure.drive or pure.root:
        try:
            pure = pure.relative_to(root)
        except ValueError:
            return None
    parts = pure.parts
    return None if not parts or ".." in parts else parts


def _open_below(root: Path, parts: tuple[str, ...]) -> int | None:
    try:
        return _regular(_walk(root, parts) if _RELATIVE_OPEN else _open_resolved(root, parts))
    except (OSError, ValueError):  # also a name that the file system cannot spell
        return None


def _walk(root: Path, parts: tuple[str, ...]) -> int:
    here = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for name in parts[:-1]:
            below = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
            os.close(here)
            here = below
        # Not blocking: a pipe of that name must not hold the server up.
        return os.open(parts[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=here)
    finally:
        os.close(here)


def _open_resolved(root: Path, parts: tuple[str, ...]) -> int:
    resolved = root.joinpath(*parts).resolve(strict=True)
    if resolved != root.joinpath(*parts) or not resolved.is_relative_to(root):
        raise ValueError("a link, or outside of the root")
    return os.open(resolved, os.O_RDONLY | getattr(os, "O_BINARY", 0))


def _regular(descriptor: int) -> int:
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ValueError("not a regular file")
    return descriptor
