"""What the files of a dataset say: which are there, what their headers tell, what their pictures look like.

Records and a folder go in, a `Scan` comes out. Every file is read by `deeptrace.video`, apart from this process.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from deeptrace.data.audit.checks import AuditFinding, finding
from deeptrace.data.audit.duplicates import FRAMES, Fingerprint, fingerprint
from deeptrace.data.audit.features import FileFacts, read_facts
from deeptrace.data.audit.pixels import content_features, lowlevel_features
from deeptrace.data.paths import resolve
from deeptrace.errors import RecordError, VideoError
from deeptrace.records import Record, VideoInfo
from deeptrace.video import VIDEO_SUFFIXES

if TYPE_CHECKING:
    from deeptrace.records import Reading

Backbone = Callable[[npt.NDArray[np.uint8]], npt.ArrayLike]
"""Middle frames ``(N, 224, 224, 3)`` uint8 RGB -> features ``(N, D)``."""

BACKBONE_SIDE: Final = 224
THUMBNAIL_SIDE: Final = 176
_BACKBONE_BATCH: Final = 32
_ALL: Final = 1e6  # a rate no video has: with max_frames, evenly spread moments

T = TypeVar("T")


@dataclass(frozen=True)
class Pictures:
    """What one file's pictures showed. Everything is None where they could not be read."""

    sha256: str | None = None
    reading: Reading | None = None
    print: Fingerprint | None = None
    lowlevel: dict[str, float] | None = None
    content: dict[str, float] | None = None
    middle: npt.NDArray[np.uint8] | None = None
    thumbnail: bytes | None = None
    """The middle frame as a JPEG of at most `THUMBNAIL_SIDE` pixels a side: for the page."""


@dataclass(frozen=True)
class Scan:
    """What was read of each record's file, in order. ``errors`` holds the code of why a file could not be read."""

    headers: bool
    deep: bool
    facts: list[FileFacts | None]
    pictures: list[Pictures]
    errors: list[str | None]

    @classmethod
    def nothing(cls, count: int) -> Scan:
        """No file was opened."""
        return cls(False, False, [None] * count, [Pictures()] * count, [None] * count)

    @property
    def infos(self) -> list[VideoInfo | None]:
        """What each file says of itself."""
        return [None if fact is None else fact.info for fact in self.facts]

    @property
    def sha256(self) -> list[str | None]:
        """The hash of each file's bytes, where it was read as a whole."""
        return [picture.sha256 for picture in self.pictures]


# ── which files are there ───────────────────────────────────────────────────────────────────────────────────────────


def absences(records: Sequence[Record], root: Path) -> list[str | None]:
    """For each record NOT_FOUND or NO_USABLE_PATH where there is no file to read, else None; links are followed."""
    codes: list[str | None] = []
    for record in records:
        try:
            codes.append(None if resolve(root, record).is_file() else "NOT_FOUND")
        except RecordError:
            codes.append("NO_USABLE_PATH")
    return codes


def check_files(records: Sequence[Record], root: Path) -> list[AuditFinding]:
    """Files that records name and that are missing, files without a record, and paths that two records share.

    Looked at are the folders that the records' paths begin with, and all of ``root`` where some path has no folder.
    Nothing is opened.
    """
    total = len(records)
    paths = [record.path for record in records if record.path]
    there = dict.fromkeys(_video_files(root, {path.partition("/")[0] if "/" in path else "" for path in paths}))
    lacks = absences(records, root)
    missing = [str(record.path) for record, code in zip(records, lacks, strict=True) if code == "NOT_FOUND"]
    unusable = [record.video_id for record, code in zip(records, lacks, strict=True) if code == "NO_USABLE_PATH"]
    record_paths = {record.path for record in records}
    unmatched = (path for path in there if path not in record_paths)
    shared = [path for path, times in Counter(paths).items() if times > 1]
    return [
        *finding("file_missing", "error", missing, total, "the file is missing"),
        *finding("path_unusable", "error", unusable, total, "no path, or one that leads out of the folder"),
        *finding("path_shared", "warning", shared, total, "several records name one file"),
        *finding("file_unmatched", "note", unmatched, len(there), "file without a record"),
    ]


def _video_files(root: Path, tops: set[str]) -> Iterator[str]:
    """Video files below ``root`` in the folders named ("" for all of it), relative, with forward slashes, each once."""
    if "" in tops:
        tops = {""}
    for top in sorted(tops):
        for folder, folders, names in os.walk(root / top):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(names):
                if os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES and not name.startswith("."):
                    yield Path(folder, name).relative_to(root).as_posix()


# ── reading ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def scan(
    records: Sequence[Record],
    root: Path,
    *,
    deep: bool,
    backbone: Backbone | None = None,
    jobs: int = 1,
    progress: Callable[[str, int, int], None] | None = None,
) -> Scan:
    """Read the header of every file, and with ``deep`` all of its pictures."""
    facts: list[FileFacts | None] = []
    errors: list[str | None] = []
    for fact, error in _each(partial(_facts, root), records, "headers", jobs, progress):
        facts.append(fact)
        errors.append(error)
    if not deep:
        return Scan(True, False, facts, [Pictures()] * len(records), errors)
    readable = [record if fact is not None else None for record, fact in zip(records, facts, strict=True)]
    look = partial(_look, root, keep_middle=backbone is not None)
    pictures: list[Pictures] = []
    for i, (video_pictures, error) in enumerate(_each(look, readable, "pictures", jobs, progress)):
        pictures.append(video_pictures)
        errors[i] = errors[i] or error
    if backbone is not None:
        pictures = _with_backbone(pictures, backbone)
    return Scan(True, True, facts, pictures, errors)


def _each(
    work: Callable[[Record | None], T],
    items: Sequence[Record | None],
    stage: str,
    jobs: int,
    progress: Callable[[str, int, int], None] | None,
) -> Iterator[T]:
    """The work on each item, in order, several at a time."""
    from deeptrace import video

    with ThreadPoolExecutor(max_workers=max(1, jobs)) as pool:
        try:
            for done, result in enumerate(pool.map(work, items)):
                if progress is not None:
                    progress(stage, done, len(items))
                yield result
        except BaseException:
            video.close()  # ends reads under way, which the pool would wait for
            pool.shutdown(cancel_futures=True)
            raise
    if progress is not None:
        progress(stage, len(items), len(items))


def _facts(root: Path, record: Record | None) -> tuple[FileFacts | None, str | None]:
    assert record is not None
    try:
        return read_facts(resolve(root, record)), None
    except VideoError as error:
        return None, error.code
    except RecordError:
        return None, "NO_USABLE_PATH"


def _look(root: Path, record: Record | None, *, keep_middle: bool) -> tuple[Pictures, str | None]:
    """Decode all of a video once, small, to learn whether it is whole; then a few frames at native size."""
    from deeptrace import video

    if record is None:
        return Pictures(), None
    path = resolve(root, record)
    try:
        with video.iter_frames(path, short_side=16, chunk=256) as stream:
            for _ in stream:
                pass
            reading = stream.reading
        images = video.sample_frames(path, fps=_ALL, max_frames=FRAMES).images
    except VideoError as error:
        return Pictures(), error.code
    middle = images[len(images) // 2]
    return Pictures(
        sha256=None if reading is None else reading.sha256,
        reading=reading,
        print=fingerprint(images),
        lowlevel=lowlevel_features(images),
        content=content_features(middle),
        middle=_square(middle) if keep_middle else None,
        thumbnail=_thumbnail(middle),
    ), None


def _thumbnail(image: npt.NDArray[np.uint8]) -> bytes:
    scale = min(1.0, THUMBNAIL_SIDE / max(image.shape[:2]))
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    small = cv2.cvtColor(cv2.resize(image, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 75])[1].tobytes()


def _square(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    side = (BACKBONE_SIDE, BACKBONE_SIDE)
    return np.asarray(cv2.resize(image, side, interpolation=cv2.INTER_AREA), np.uint8)


def _with_backbone(pictures: list[Pictures], backbone: Backbone) -> list[Pictures]:
    there = [i for i, picture in enumerate(pictures) if picture.middle is not None]
    new_pictures = list(pictures)
    for at in range(0, len(there), _BACKBONE_BATCH):
        part = there[at : at + _BACKBONE_BATCH]
        batch = np.stack([image for i in part if (image := pictures[i].middle) is not None])
        values = np.asarray(backbone(batch), float)
        if values.ndim != 2 or len(values) != len(part):
            raise RecordError("backbone", f"gave {values.shape} for {len(part)} frames, not ({len(part)}, D)")
        for i, row in zip(part, values, strict=True):
            features = {f"backbone_{k}": float(value) for k, value in enumerate(row)}
            new_pictures[i] = replace(pictures[i], content=features, middle=None)
    return new_pictures


def check_reading(records: Sequence[Record], file_scan: Scan, lacks: Sequence[str | None]) -> list[AuditFinding]:
    """Files that could not be read, that are damaged or cut off, and ones with sound.

    Whatever was not read is a finding here, but for what ``lacks`` (of `absences`) has named already.
    """
    total = len(records)
    findings: list[AuditFinding] = []
    codes = [None if lack is not None else error for error, lack in zip(file_scan.errors, lacks, strict=True)]
    for code in sorted({code for code in codes if code is not None}):
        who = [record.video_id for record, error in zip(records, codes, strict=True) if error == code]
        findings += finding(f"unreadable_{code.lower()}", "error", who, total, f"the file cannot be read: {code}")
    partly = [
        f"{record.video_id} ({picture.reading.frames_decoded} of {picture.reading.frames_declared} frames)"
        for record, picture in zip(records, file_scan.pictures, strict=True)
        if picture.reading is not None and picture.reading.partial
    ]
    findings += finding(
        "partial", "error", partly, total, "the file is damaged or cut off; only part of it can be read"
    )
    heard = [
        record.video_id
        for record, info in zip(records, file_scan.infos, strict=True)
        if info is not None and info.has_audio
    ]
    return findings + finding("audio", "note", heard, total, "the file has sound")
