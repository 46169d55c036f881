"""What a browser sees of a dataset's clips: posters, small previews, and copies to step through, made when asked for.

A browser never gets a stranger's bytes: every clip is decoded by our reader and written anew (`deeptrace.pages.media`).
What was written is used again as long as the file's size and times are the same. At most two clips are decoded at once.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from deeptrace.data.paths import resolve
from deeptrace.errors import DeepTraceError, FileError, RecordError
from deeptrace.files import make_folder
from deeptrace.pages.media import Media, MediaFolder, ReportItem
from deeptrace.pages.overlay import FrameSink, write_jpeg
from deeptrace.records import Origin, Record, Unparsed
from deeptrace.stamps import file_stamp
from deeptrace.video import iter_frames, sample_frames

__all__ = ["ClipPictures", "ShownClip"]

POSTER_SHORT_SIDE: Final = 216
PREVIEW_SECONDS: Final = 8.0
_AT_ONCE: Final = 2
_PREVIEW_CRF: Final = 28


class ShownClip:
    """A copy that a browser plays, with the times of its frames. ``sha256`` is of the file it was made of."""

    def __init__(self, media: Media, sha256: str) -> None:
        self.media, self.sha256 = media, sha256


class ClipPictures:
    """The pictures of the clips under ``root``, kept in ``folder``.

    Raises:
        FileError: the folder cannot be made.
    """

    def __init__(self, folder: Path, root: Path) -> None:
        self.folder, self._root = make_folder(folder), root
        make_folder(folder / "posters")
        make_folder(folder / "previews")
        self._media = MediaFolder(folder / "media")
        self._clips: dict[str, ShownClip] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()
        self._slots = threading.BoundedSemaphore(_AT_ONCE)

    @contextlib.contextmanager
    def _alone(self, name: str) -> Iterator[None]:
        """One at a time for each picture, a few at a time over all."""
        with self._lock:
            lock = self._locks.setdefault(name, threading.Lock())
        with lock, self._slots:
            yield

    def poster(self, record: Record) -> str:
        """The name below the folder of a still picture, a third into the clip.

        Raises:
            VideoError, RecordError, FileError: the clip cannot be read, has no usable path, or nothing can be written.
        """
        source, key = self._source(record)
        name = f"posters/{key}.jpg"
        if not (self.folder / name).is_file():
            with self._alone(name):
                if not (self.folder / name).is_file():
                    length = (record.info.length_seconds if record.info is not None else None) or 0.0
                    frames = sample_frames(
                        source, fps=1000.0, start_seconds=length / 3, max_frames=1, short_side=POSTER_SHORT_SIDE
                    )
                    write_jpeg(self.folder / name, frames.images[0], quality=80)
        return name

    def preview(self, record: Record) -> str:
        """The name below the folder of a small clip, its first eight seconds.

        Raises:
            VideoError, RecordError, FileError: see `poster`.
        """
        source, key = self._source(record)
        name = f"previews/{key}.mp4"
        if not (self.folder / name).is_file():
            with self._alone(name):
                if not (self.folder / name).is_file():
                    self._write_preview(source, self.folder / name)
        return name

    def _write_preview(self, source: Path, target: Path) -> None:
        with (
            FrameSink(target, crf=_PREVIEW_CRF) as sink,
            iter_frames(source, short_side=POSTER_SHORT_SIDE) as stream,
        ):
            for frames in stream:
                sink.write(frames)
                if frames.pts_seconds[-1] > PREVIEW_SECONDS:
                    break

    def clip(self, record: Record) -> ShownClip:
        """The copy to step through.

        Raises:
            VideoError, RecordError, FileError: see `poster`.
        """
        source, key = self._source(record)
        if key not in self._clips:
            with self._alone(f"media/{key}"):
                if key not in self._clips:
                    self._clips[key] = self._copy(source, record)
        return self._clips[key]

    def _copy(self, source: Path, record: Record) -> ShownClip:
        stamp = file_stamp(source)
        if stamp is None or stamp["sha256"] is None:
            raise FileError(f"cannot read {source.name!r}")
        origin = Origin(video_id=record.video_id, path=record.path, sha256=stamp["sha256"])
        media = self._media.write(ReportItem(source, Unparsed("not asked", "", origin)), 0)
        if media.error is not None:
            raise FileError(media.error)
        return ShownClip(media, stamp["sha256"])

    def _source(self, record: Record) -> tuple[Path, str]:
        """The file, and a name of its pictures that changes when the file does."""
        if record.path is None:
            raise RecordError("path", "this video has no file")
        path = resolve(self._root, record)
        try:
            status = os.stat(path)
        except OSError as error:
            raise FileError(f"cannot read {path.name!r}: {error.strerror}") from None
        facts = f"{record.path}\0{status.st_size}\0{status.st_mtime_ns}\0{status.st_ino}"
        return path, hashlib.sha256(facts.encode("utf-8", "surrogateescape")).hexdigest()[:24]

    def problem(self, record: Record) -> str | None:
        """Why there is no picture of a clip; None where there is one."""
        try:
            self.poster(record)
        except DeepTraceError as error:
            return str(error)
        return None
