"""The clips that a report plays: a video and its outcome go in, copies and still pictures in ``media/`` come out.

A browser never gets a stranger's bytes: every clip is decoded by our reader and written anew. The copy is of the file
that was judged, by its SHA-256, or it is not there. Beside the files of each clip lies a note (``NAME.json``) of what
they are: a later run uses them again, and takes away those that no page shows any more, and no file of anyone else's.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import threading
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Final, TypeAlias, get_args

import cv2
import numpy as np
import numpy.typing as npt

from deeptrace import files
from deeptrace.errors import FileError, JsonError, RecordError, VideoCode, VideoError
from deeptrace.pages import overlay
from deeptrace.records import Failed, Frames, Outcome, Trace, Verdict, check_number
from deeptrace.rows import trace_to_json
from deeptrace.video import ReadLimits, iter_frames

__all__ = ["SHORT_SIDE", "Media", "MediaFolder", "ReportItem", "span"]

SHORT_SIDE: Final = 720
"""Copies in a report have at most this many pixels on their short side."""

THUMB_SHORT_SIDE: Final = 270

CHANGED: Final = "The file is not the one that was judged any more; it was replaced or changed meanwhile."

_SCHEMA: Final = "deeptrace.media"
_SCHEMA_VERSION: Final = 1
_ENDINGS: Final = (".mp4", ".overlay.mp4", ".jpg", ".thumb.jpg")
_NAME: Final = re.compile(r"[a-z0-9-]{1,80}")
_MAX_NOTE_BYTES: Final = 64 << 20  # half a million frames of uneven times fit

Image: TypeAlias = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class ReportItem:
    """One clip of a report: the video (path, bytes or frames) and what the model said of it."""

    source: str | os.PathLike[str] | bytes | Frames
    outcome: Outcome

    @property
    def path(self) -> str:
        """The path of the clip as it was given; empty for bytes and frames that have none."""
        path = self.outcome.origin.path
        if path is None and not isinstance(self.source, (bytes, Frames)):
            path = os.fsdecode(self.source)
        return path or ""


@dataclass(frozen=True)
class Media:
    """What was written for one clip; names are relative to the page. ``error`` is set where there is no picture.

    ``pts_seconds`` are the times of the frames of the copy, ``still_seconds`` that of the still picture. ``changed``:
    there is no picture because the file is not the one that was judged.
    """

    name: str = ""
    video: str | None = None
    overlay: str | None = None
    poster: str | None = None
    thumb: str | None = None
    width: int = 16
    height: int = 9
    source_hw: tuple[int, int] | None = None
    duration_seconds: float = 0.0
    pts_seconds: tuple[float, ...] = ()
    still_seconds: float = 0.0
    error: str | None = None
    changed: bool = False


_FIELDS: Final = tuple(field.name for field in fields(Media) if field.name not in ("error", "changed"))


class MediaFolder:
    """The folder ``media`` of a report. `write` may be called from several threads at once.

    Raises:
        FileError: the folder cannot be made.
    """

    def __init__(self, folder: Path, *, limits: ReadLimits | None = None) -> None:
        self._folder = folder
        self._limits = limits or ReadLimits()
        self._locks: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()
        files.make_folder(folder)

    def write(self, item: ReportItem, number: int) -> Media:
        """The pictures of one clip: those that are there already, else written now. Never raises for a bad clip."""
        outcome = item.outcome
        if isinstance(outcome, Failed) and outcome.code in get_args(VideoCode):
            return Media(error=outcome.reason)  # reading it failed once already
        name = _file_name(item, number)
        with self._lock:
            lock = self._locks.setdefault(name, threading.Lock())
        with lock:  # two files of the same bytes and name share their pictures
            if outcome.origin.sha256 is not None and (media := self._held(name)) is not None:
                return media
            return self._media_or_error(item, name)

    def sweep(self, clips: Iterable[Media]) -> None:
        """Take away the files of all clips but ``clips``: those that a note of ours names, and no other.

        Raises:
            FileError: the folder cannot be listed.
        """
        names = {media.name for media in clips if media.error is None}
        with files.failing(self._folder, "list the folder"):
            notes = list(self._folder.glob("*.json"))
        for note in notes:
            if note.stem not in names and _NAME.fullmatch(note.stem) and _read_note(note) is not None:
                _remove(self._folder, note.stem)

    def _held(self, name: str) -> Media | None:
        """What an earlier run wrote for the same bytes and the same verdict; None where it is not whole."""
        note = _read_note(self._folder / f"{name}.json")
        media = None if note is None or not note.get("complete") else _media_from_json(note)
        if media is None or media.name != name:
            return None
        parts = (media.video, media.overlay, media.poster, media.thumb)
        whole = all((self._folder.parent / part).is_file() for part in parts if part is not None)
        return media if whole and media.video is not None else None

    def _media_or_error(self, item: ReportItem, name: str) -> Media:
        try:
            files.write_text(self._folder / f"{name}.json", _note_json({"name": name, "complete": False}))
            media = _write_media(item, self._folder, name, self._limits)
            files.write_text(
                self._folder / f"{name}.json",
                _note_json({**{key: getattr(media, key) for key in _FIELDS}, "complete": True}),
            )
            return media
        except _ChangedError:
            _remove(self._folder, name)
            return Media(error=CHANGED, changed=True)
        except (VideoError, FileError) as error:
            _remove(self._folder, name)
            return Media(error=str(error))


class _ChangedError(Exception):
    """The bytes that were read are not those that were judged."""


# ── notes ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _note_json(values: dict[str, Any]) -> str:
    return files.dumps({"schema": _SCHEMA, "schema_version": _SCHEMA_VERSION, **values}) + "\n"


def _read_note(path: Path) -> dict[str, Any] | None:
    """The note in a file; None for anything that is none of ours."""
    try:
        if not path.is_file() or path.is_symlink():
            return None
        note = files.loads(files.read_bytes(path, limit=_MAX_NOTE_BYTES))
    except (FileError, JsonError, OSError):
        return None
    ours = isinstance(note, dict) and note.get("schema") == _SCHEMA and note.get("schema_version") == _SCHEMA_VERSION
    return note if ours else None


def _media_from_json(note: dict[str, Any]) -> Media | None:
    """The `Media` in a note; None where a value is not what we write."""
    try:
        name = note["name"]
        times = tuple(check_number(time, "pts_seconds", low=0.0) for time in note["pts_seconds"])
        width, height = int(note["width"]), int(note["height"])
        source = (int(note["source_hw"][0]), int(note["source_hw"][1]))
        duration = check_number(note["duration_seconds"], "duration_seconds", low=0.0)
        still = check_number(note["still_seconds"], "still_seconds", low=0.0)
        if not isinstance(name, str) or not _NAME.fullmatch(name) or min(width, height, *source) < 1 or not times:
            return None
        has_overlay = note["overlay"] is not None
    except (KeyError, TypeError, ValueError, IndexError, RecordError):
        return None
    return _media(
        name,
        has_overlay=has_overlay,
        size=(width, height),
        source_hw=source,
        duration=duration,
        times=times,
        still=still,
    )


def _media(
    name: str,
    *,
    has_overlay: bool,
    size: tuple[int, int],
    source_hw: tuple[int, int],
    duration: float,
    times: tuple[float, ...],
    still: float,
) -> Media:
    return Media(
        name=name,
        video=f"media/{name}.mp4",
        overlay=f"media/{name}.overlay.mp4" if has_overlay else None,
        poster=f"media/{name}.jpg",
        thumb=f"media/{name}.thumb.jpg",
        width=size[0],
        height=size[1],
        source_hw=source_hw,
        duration_seconds=duration,
        pts_seconds=times,
        still_seconds=still,
    )


def _remove(folder: Path, name: str) -> None:
    for ending in (*_ENDINGS, ".json"):
        with contextlib.suppress(OSError):
            (folder / f"{name}{ending}").unlink()


def _file_name(item: ReportItem, number: int) -> str:
    """A file name of ASCII letters, digits and dashes that no system minds: the clip's own, and what makes it unique.

    That is a digest of the judged bytes and the verdict drawn on them; the number, where the bytes are not known.
    """
    path = item.path
    stem = PureWindowsPath(path).stem if "\\" in path else PurePosixPath(path).stem
    plain = unicodedata.normalize("NFKD", stem).encode("ascii", "ignore").decode("ascii").lower()
    slug = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:40].strip("-") or "clip"
    sha256 = item.outcome.origin.sha256
    return f"{number:03d}-{slug}" if sha256 is None else f"{slug}-{_digest(item.outcome, sha256)}"


def _digest(outcome: Outcome, sha256: str) -> str:
    content: list[Any] = [_SCHEMA_VERSION, SHORT_SIDE, THUMB_SHORT_SIDE, sha256]
    if isinstance(outcome, Verdict):
        content += [overlay.chip_text(outcome), *(trace_to_json(trace) for trace in outcome.traces)]
    return hashlib.sha256(files.dumps(content).encode()).hexdigest()[:12]


# ── pictures ────────────────────────────────────────────────────────────────────────────────────────────────────────


def span(trace: Trace, duration_seconds: float) -> tuple[float, float]:
    """Onset and offset in seconds, with what is not said filled by the ends of the video."""
    onset = 0.0 if trace.onset_seconds is None else trace.onset_seconds
    offset = max(duration_seconds, onset) if trace.offset_seconds is None else trace.offset_seconds
    return onset, offset


def _still_time(verdict: Verdict | None, duration: float) -> float:
    """The moment that says most: the middle of the first trace with a box, else a third into the clip."""
    for trace in verdict.traces if verdict else ():
        if trace.bbox_xyxy or trace.track:
            onset, offset = span(trace, duration)
            middle = (onset + offset) / 2
            return middle if trace.box_at(middle) else onset
    return duration / 3


def _write_media(item: ReportItem, folder: Path, name: str, limits: ReadLimits) -> Media:
    """Write copy, overlay, poster and thumbnail of one clip, in one pass over its frames."""
    verdict = item.outcome if isinstance(item.outcome, Verdict) else None
    shown_verdict = verdict if verdict and verdict.traces else None
    times: list[float] = []
    still: tuple[float, Image] | None = None
    last: Frames | None = None
    with contextlib.ExitStack() as stack:
        copy = stack.enter_context(overlay.FrameSink(folder / f"{name}.mp4"))
        overlay_sink = stack.enter_context(overlay.FrameSink(folder / f"{name}.overlay.mp4")) if shown_verdict else None
        stream = stack.enter_context(iter_frames(item.source, short_side=SHORT_SIDE, limits=limits))
        for frames in stream:
            copy.write(frames)
            if overlay_sink and shown_verdict:
                overlay_sink.write(overlay.draw_frames(frames, shown_verdict))
            target = _still_time(verdict, frames.duration_seconds or 0.0)
            for time, image in zip(frames.pts_seconds, frames.images, strict=True):
                if still is None or time <= target:
                    still = (float(time), image)
            times.extend(float(time) for time in frames.pts_seconds)
            last = frames
        reading, judged = stream.reading, item.outcome.origin.sha256
        if reading is not None and judged is not None and reading.sha256 != judged:
            raise _ChangedError
    if still is None or last is None:
        raise VideoError("NO_FRAMES", "the video holds no picture")
    _write_stills(folder, name, still, verdict)
    height, width = last.images.shape[1:3]
    step = (times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else 0.04
    duration = max(times[-1] + step, last.duration_seconds or 0.0)
    return _media(
        name,
        has_overlay=shown_verdict is not None,
        size=(width, height),
        source_hw=last.source_hw,
        duration=duration,
        times=tuple(times),
        still=still[0],
    )


def _write_stills(folder: Path, name: str, still: tuple[float, Image], verdict: Verdict | None) -> None:
    time, image = still
    overlay.write_jpeg(folder / f"{name}.jpg", image)
    height, width = image.shape[:2]
    size = [max(1, round(side * min(1.0, THUMB_SHORT_SIDE / min(height, width)))) for side in (width, height)]
    small = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    marked_image = overlay.draw(small, verdict.traces if verdict else (), time, tags=False)
    overlay.write_jpeg(folder / f"{name}.thumb.jpg", marked_image)
