"""From a path or bytes to one checked, open file. The caller's side; no media library is involved.

A path is opened once, here; everything later goes through that descriptor, so that what was checked is what is read.
"""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from dataclasses import dataclass
from typing import Literal, NoReturn

from deeptrace.errors import VideoError
from deeptrace.video._limits import ReadLimits
from deeptrace.video._streams import transport_packet

Kind = Literal["mov", "matroska", "avi", "gif", "webp", "mpegts", "mpeg", "asf", "flv", "ogg"]

SNIFF_BYTES = 1024
KINDS_IN_WORDS = "MP4, MOV, MKV, WebM, AVI, GIF, WebP, MPEG-TS, MPEG-PS (MPG, VOB), WMV, FLV or OGV"
_TOO_SHORT = 64  # bytes; no container with a picture in it is this small

# Boxes that an mp4 or mov may begin with; all but "ftyp" occur in old or fragmented files only.
_MOV_FIRST_BOXES = frozenset(
    {b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp", b"sidx", b"moof", b"uuid", b"udta"}
)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_NONBLOCK", 0)  # a pipe that was swapped in must not hang us
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NOCTTY", 0)
    | getattr(os, "O_BINARY", 0)
    | getattr(os, "O_NOINHERIT", 0)
)


def printable(text: str, limit: int = 200) -> str:
    """The text with control and other unprintable characters escaped and its length bounded, for a message."""
    text = text if len(text) <= limit else text[: limit - 1] + "…"
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape", "backslashreplace").decode()
        for character in text
    )


@dataclass
class OpenedSource:
    """A regular file of a kind that we read, open for reading. Close it after use (a context manager does).

    ``name`` is the last part of the path, printable, or ``<bytes>``; it is for messages only.
    """

    fd: int
    name: str
    size_bytes: int
    modified_ns: int

    def __enter__(self) -> OpenedSource:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the descriptor; more than once does no harm."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def read_at(self, offset: int, count: int) -> bytes:
        """Up to ``count`` bytes at ``offset``; fewer at the end of the file."""
        if hasattr(os, "pread"):
            return os.pread(self.fd, count, offset)
        os.lseek(self.fd, offset, os.SEEK_SET)
        return os.read(self.fd, count)

    def has_changed(self) -> bool:
        """Whether the file's size or modification time differ from when it was opened."""
        now = os.fstat(self.fd)
        return now.st_size != self.size_bytes or now.st_mtime_ns != self.modified_ns


def open_source(source: str | os.PathLike[str] | bytes | bytearray | memoryview, limits: ReadLimits) -> OpenedSource:
    """Open and check a path, or put bytes where a descriptor can reach them.

    Raises:
        VideoError: ``NOT_FOUND``, ``NOT_A_REGULAR_FILE``, ``NOT_READABLE``, ``TOO_LARGE`` or ``NOT_A_VIDEO``.
    """
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _open_bytes(source, limits)
    try:
        path = os.fsdecode(source)
    except TypeError:
        raise TypeError(f"a video is a path, bytes or Frames, not {type(source).__name__}") from None
    name = printable(os.path.basename(path.rstrip("/" if os.sep == "/" else "/\\")) or path)
    fd = _open_path(path, name, limits.follow_links)
    opened = OpenedSource(fd, name, 0, 0)
    try:
        _check(opened, limits)
    except BaseException:
        opened.close()
        raise
    return opened


def _open_path(path: str, name: str, follow_links: bool) -> int:
    try:
        # Looking before opening: merely opening a device can act on it.
        _check_kind(os.stat(path, follow_symlinks=follow_links).st_mode, name)
        return os.open(path, _FLAGS if follow_links else _FLAGS | _NO_LINK)
    except ValueError as error:  # a NUL character, or text that no file name can hold
        raise VideoError("NOT_FOUND", f"no such file: '{name}'. No file can have this name.") from error
    except OSError as error:
        if isinstance(error, FileNotFoundError) and os.path.islink(path):
            reason = f"'{name}' is a symbolic link to a file that is not there."
            raise VideoError("NOT_FOUND", reason) from error
        _raise_open_error(error, name)


def _raise_open_error(error: OSError, name: str) -> NoReturn:
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EINVAL):
        raise VideoError("NOT_FOUND", f"no such file: '{name}'.") from error
    if error.errno in (errno.ELOOP, errno.ENXIO, errno.EISDIR, errno.ENODEV):
        raise VideoError("NOT_A_REGULAR_FILE", f"'{name}' is not a regular file.") from error
    raise VideoError("NOT_READABLE", f"cannot open '{name}': {os.strerror(error.errno or 0)}.") from error


def _check_kind(mode: int, name: str) -> None:
    if stat.S_ISREG(mode):
        return
    kinds = (
        (stat.S_ISLNK, "a symbolic link. Pass the file it points to, or allow links (follow_links)"),
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISFIFO, "a pipe"),
        (stat.S_ISSOCK, "a socket"),
    )
    kind = next((text for is_kind, text in kinds if is_kind(mode)), "a device")
    raise VideoError("NOT_A_REGULAR_FILE", f"'{name}' is not a regular file but {kind}.")


def _check(opened: OpenedSource, limits: ReadLimits) -> None:
    status = os.fstat(opened.fd)
    _check_kind(status.st_mode, opened.name)
    opened.size_bytes, opened.modified_ns = status.st_size, status.st_mtime_ns
    if opened.size_bytes > limits.max_bytes:
        raise VideoError(
            "TOO_LARGE", f"'{opened.name}' has {opened.size_bytes} bytes; at most {limits.max_bytes} are read."
        )
    try:
        first = opened.read_at(0, SNIFF_BYTES)
    except OSError as error:
        raise VideoError("NOT_READABLE", f"cannot read '{opened.name}': {os.strerror(error.errno or 0)}.") from error
    if opened.size_bytes <= _TOO_SHORT or container_kind(first) is None:
        what = "it is empty" if opened.size_bytes == 0 else f"it is not {KINDS_IN_WORDS}"
        raise VideoError("NOT_A_VIDEO", f"'{opened.name}' is not a video: {what}.")


_FIRST_BYTES: dict[bytes, Kind] = {
    b"\x1a\x45\xdf\xa3": "matroska",
    b"GIF87a": "gif",
    b"GIF89a": "gif",
    b"\x00\x00\x01\xba": "mpeg",
    bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"): "asf",
    b"FLV\x01": "flv",
    b"OggS\x00": "ogg",
}
_RIFF: dict[bytes, Kind] = {b"AVI ": "avi", b"WEBP": "webp"}


def container_kind(first: bytes) -> Kind | None:
    """Which container begins with these `SNIFF_BYTES` bytes; None for anything that is not read."""
    if first[4:8] in _MOV_FIRST_BOXES:
        return "mov"
    if first[:4] == b"RIFF":
        return _RIFF.get(first[8:12])
    for signature, kind in _FIRST_BYTES.items():
        if first.startswith(signature):
            return kind
    return "mpegts" if transport_packet(first) is not None else None


def _open_bytes(data: bytes | bytearray | memoryview, limits: ReadLimits) -> OpenedSource:
    view = memoryview(data)
    # A view may have gaps, or items that are no bytes.
    view = view.cast("B") if view.c_contiguous and view.nbytes else memoryview(view.tobytes())
    name = "<bytes>"
    if len(view) > limits.max_bytes:
        raise VideoError("TOO_LARGE", f"{name} has {len(view)} bytes; at most {limits.max_bytes} are read.")
    if len(view) <= _TOO_SHORT or container_kind(bytes(view[:SNIFF_BYTES])) is None:
        what = "there are none" if not view else f"they are not {KINDS_IN_WORDS}"
        raise VideoError("NOT_A_VIDEO", f"{name} are not a video: {what}.")
    opened = OpenedSource(-1, name, len(view), 0)
    try:
        opened.fd = _anonymous_file()
        while view:
            view = view[os.write(opened.fd, view) :]
        opened.modified_ns = os.fstat(opened.fd).st_mtime_ns
    except OSError as error:
        opened.close()
        raise VideoError("NOT_READABLE", f"cannot hold {name}: {os.strerror(error.errno or 0)}.") from error
    return opened


def _anonymous_file() -> int:
    """A file without a name: in memory on Linux, in the temporary folder elsewhere."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("video", os.MFD_CLOEXEC)
    with tempfile.TemporaryFile() as file:  # unlinked, or deleted on close
        return os.dup(file.fileno())
