"""Which videos a command line means: files as they are named, and what is found in folders. Opens no video."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from typing import Final

import click

from deeptrace.characters import visible
from deeptrace.cli.inspect.folder import ROWS_NAME
from deeptrace.pages.html import MEDIA_NAME, PAGE_NAME
from deeptrace.shards import Shard
from deeptrace.video import VIDEO_SUFFIXES

WORK_MARK: Final = "annotations.sqlite"
"""What the folder holds in which the explorer keeps its work."""

_URL: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+://")
_APPLE_DOUBLE: Final = "._"  # what macOS leaves beside each file on a foreign disk: no video, whatever its ending
_TS_PACKET: Final = 188  # bytes; each packet of an MPEG transport stream begins with the same one
_TS_SUFFIXES: Final = frozenset({".ts", ".mts", ".m2ts"})


def find_videos(arguments: Sequence[str], *, follow_links: bool = False) -> Iterator[str]:
    """The files named, and the videos in the folders named, sorted by name; each path once.

    Raises:
        click.UsageError: an argument is an address on the internet.
    """
    listed_paths: set[str] = set()
    for argument in arguments:
        refuse_url(argument)
        in_folder = os.path.isdir(argument)
        for path in sorted(_videos_in(argument, follow_links)) if in_folder else [argument]:
            if path not in listed_paths:
                listed_paths.add(path)
                yield path


def common_folder(paths: Sequence[str]) -> str:
    """The folder that holds all of some files; as it was named where that says it."""
    folders = [os.path.dirname(path) or "." for path in paths]
    if len(set(folders)) == 1:
        return folders[0]
    try:
        return os.path.commonpath(folders)
    except ValueError:  # named partly from the root, or on several drives
        return os.path.commonpath([os.path.abspath(folder) for folder in folders])


def part_of(paths: Sequence[str], shard: Shard) -> list[str]:
    """The videos that fall in a part: by where they lie below the folder that holds all, wherever that lies here."""
    root = os.path.abspath(common_folder(paths))
    return [path for path in paths if shard.holds(os.path.relpath(os.path.abspath(path), root).replace(os.sep, "/"))]


def refuse_url(argument: str) -> None:
    """Say of an address on the internet that it is none of a file."""
    if _URL.match(argument) and not os.path.lexists(argument):
        raise click.UsageError(
            f"{visible(argument)} is an address, not a file: deeptrace downloads no videos. Save the video first, then "
            "name the file"
        )


def _videos_in(top: str, follow_links: bool) -> Iterator[str]:
    visited: set[tuple[int, int]] = set()
    for folder, inner, names in os.walk(top, onerror=_say_walk_error, followlinks=follow_links):
        if follow_links and not _first_visit(folder, visited):
            inner.clear()  # a link leads back to where we have been
            continue
        if {PAGE_NAME, ROWS_NAME} <= set(names) and MEDIA_NAME in inner:
            inner.remove(MEDIA_NAME)  # the copies that a report of ours plays
        if WORK_MARK in names:  # and those of the explorer, with its gold clips
            inner.clear()
            continue
        for name in names:
            path = os.path.join(folder, name)
            if _counts_as_video(path, name):
                yield path


def _first_visit(folder: str, visited: set[tuple[int, int]]) -> bool:
    try:
        status = os.stat(folder)
    except OSError:
        return False
    here = (status.st_dev, status.st_ino)
    first = here not in visited
    visited.add(here)
    return first


def _counts_as_video(path: str, name: str) -> bool:
    suffix = os.path.splitext(name)[1].lower()
    if suffix not in VIDEO_SUFFIXES or name.startswith(_APPLE_DOUBLE):
        return False
    if suffix in _TS_SUFFIXES:  # .ts is also what TypeScript ends with
        start = _first_bytes(path, 2 * _TS_PACKET + 5)
        return start is None or start[:1] == b"G" or start[4:5] == b"G"
    if suffix == ".webp":  # most are pictures
        start = _first_bytes(path, 21)
        return start is None or (start[:4] == b"RIFF" and start[12:16] == b"VP8X" and bool(start[20] & 2))
    return True


def _first_bytes(path: str, count: int) -> bytes | None:
    """The beginning of a regular file; None for what is none, which the reader then names as what it is."""
    try:
        if not os.path.isfile(path):
            return None
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        try:
            start = os.read(descriptor, count)
        finally:
            os.close(descriptor)
    except OSError:
        return None
    return start if len(start) == count else start.ljust(count, b"\0")


def _say_walk_error(error: OSError) -> None:
    click.echo(f"note: cannot look into {visible(str(error.filename))}: {error.strerror}", err=True)
