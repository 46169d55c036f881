"""What sites do to a video on its way to people, as a ladder of rungs: smaller, coded twice, cropped, framed, branded.

Records and their videos go in; a folder with the changed videos and ``records.jsonl`` comes out, boxes and times
carried along, so that a rung is run and scored like any dataset. Where a crop or a logo lies depends on the seed and
the video's id alone, never on the label.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from deeptrace.data.normalise.files import (
    begin,
    clear_leftovers,
    journal_key,
    mp4_path,
    unique_targets,
    work_stamp,
)
from deeptrace.data.normalise.geometry import View, carry_trace
from deeptrace.data.paths import resolve
from deeptrace.data.read.jsonl import write_records
from deeptrace.errors import FileError, RecordError, VideoError
from deeptrace.files import failing
from deeptrace.journal import Journal
from deeptrace.pages.overlay import FrameSink
from deeptrace.records import Box, Frames, KeyBox, Record, Trace, VideoInfo
from deeptrace.stamps import file_stamp, is_stamped
from deeptrace.video import iter_frames, probe

ORIGINAL: Final = "original"
SPEED: Final = 1.25
KEPT: Final = 0.85
"""The crop keeps this share of width and of height; the border leaves this share of the frame to the picture."""

MIN_SHARE: Final = 0.25
"""A trace of which the crop leaves less than this share of its box is dropped, and counted."""

_GENTLE_CRF: Final = 20
_JOURNAL: Final = "journal.jsonl"
_MARK: Final = "ladder.json"

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Rung:
    """One thing that is done to every video. ``crfs``: the qualities of its codings, one after the other."""

    name: str
    what: str
    crfs: tuple[int, ...]
    short_side: int | None = None
    change: str | None = None


LADDER: Final[Mapping[str, Rung]] = {
    rung.name: rung
    for rung in (
        Rung("480p", "short side at most 480 pixels, CRF 32", (32,), short_side=480),
        Rung("twice", "coded twice, CRF 28 both times", (28, 28)),
        Rung("crop", f"a part of {KEPT:.0%} of width and height, its place by the seed", (_GENTLE_CRF,), change="crop"),
        Rung("border", f"a black border; the picture keeps {KEPT:.0%} of both sides", (_GENTLE_CRF,), change="border"),
        Rung("logo", "a half transparent mark in a corner chosen by the seed", (_GENTLE_CRF,), change="logo"),
        Rung("speed", f"played {SPEED:g} times as fast", (_GENTLE_CRF,), change="speed"),
    )
}
"""The rungs by name. `ORIGINAL` is not among them: it is the dataset as it is."""


@dataclass(frozen=True)
class Climbed:
    """A dataset after one rung. ``unreadable`` lists videos that could not be changed, with the reason; they stay in
    the records without a path, so that they count. ``traces_dropped`` were cropped away.
    """

    records: tuple[Record, ...]
    root: Path
    unreadable: tuple[tuple[str, str], ...]
    traces_dropped: int


def climb(
    records: Sequence[Record],
    src: str | os.PathLike[str],
    dst: str | os.PathLike[str],
    rung: Rung,
    *,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Climbed:
    """Do to every video what the rung says. Can be ended at any moment and called again: what is there is kept.

    Raises:
        FileError: ``dst`` is the source's folder, holds something else, or cannot be written.
    """
    source, target = Path(src), Path(dst)
    begin(source, target, _MARK)
    with failing(target / _MARK):
        (target / _MARK).touch()
    changed_records: list[Record] = []
    unreadable: list[tuple[str, str]] = []
    dropped = 0
    with Journal(target / _JOURNAL, {"run": "ladder", "rung": rung.name, "seed": seed}, lock=True) as journal:
        clear_leftovers(target)
        paths = unique_targets([(record.video_id, mp4_path(record)) for record in records], {})
        for done, record in enumerate(records):
            if progress is not None:
                progress(done, len(records))
            path = paths[record.video_id]
            stamp = work_stamp(record, [path])
            line = journal.rows.get(journal_key(record))
            if line is None or line.get("stamp") != stamp or not _is_there(line, record, source, target / path):
                file = _stamp(record, source)
                line = {"stamp": stamp, "file": file, "problem": _change(record, source, target / path, rung, seed)}
                journal.add(journal_key(record), line)
            if line["problem"] is not None:
                unreadable.append((record.video_id, line["problem"]))
            new, lost = _carry_record(record, None if line["problem"] else path, target, rung, seed)
            changed_records.append(new)
            dropped += lost
        if progress is not None:
            progress(len(records), len(records))
        write_records(target / "records.jsonl", changed_records, counts=getattr(records, "counts", {}))
    return Climbed(tuple(changed_records), target, tuple(unreadable), dropped)


def _is_there(line: Mapping[str, Any], record: Record, source: Path, path: Path) -> bool:
    """Whether the changed video lies there, made of the bytes that the record's file still holds."""
    if line.get("problem") is not None or not path.is_file():
        return False
    with contextlib.suppress(RecordError):
        return is_stamped(line.get("file"), resolve(source, record))
    return False


def _stamp(record: Record, source: Path) -> dict[str, str | None] | None:
    with contextlib.suppress(RecordError):
        return file_stamp(resolve(source, record))
    return None


# ── pictures ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _change(record: Record, src: Path, path: Path, rung: Rung, seed: int) -> str | None:
    """Write the changed video; why it cannot be, where it cannot."""
    try:
        source = resolve(src, record)
        with failing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        _transcode(source, path, rung, _draw(record.video_id, seed), rung.crfs[0])
        for crf in rung.crfs[1:]:
            _transcode(path, path, replace(rung, change=None, short_side=None), (0.0, 0.0), crf)
    except RecordError as error:
        return f"NO_USABLE_PATH: {error}"
    except VideoError as error:
        if error.code == "WRITE_FAILED":
            raise FileError(str(error)) from error
        return f"{error.code}: {error}"
    return None


def _transcode(source: Path, path: Path, rung: Rung, draw: tuple[float, float], crf: int) -> None:
    with FrameSink(path, crf=crf) as sink, iter_frames(source, short_side=rung.short_side) as stream:
        for frames in stream:
            sink.write(_edit(frames, rung.change, draw))


def _edit(frames: Frames, change: str | None, draw: tuple[float, float]) -> Frames:
    match change:
        case "crop":
            return replace(frames, images=_crop(frames.images, _crop_box(draw)))
        case "border":
            return replace(frames, images=_border(frames.images))
        case "logo":
            return replace(frames, images=_logo(frames.images, draw))
        case "speed":
            length = None if frames.duration_seconds is None else frames.duration_seconds / SPEED
            return replace(frames, pts_seconds=frames.pts_seconds / SPEED, duration_seconds=length)
        case _:
            return frames


def _draw(video_id: str, seed: int) -> tuple[float, float]:
    """Two numbers in [0, 1) that belong to the video and the seed."""
    digest = hashlib.sha256(f"ladder {seed} {video_id}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:4], "big") / 2**32, int.from_bytes(digest[4:8], "big") / 2**32


def _crop_box(draw: tuple[float, float]) -> Box:
    x, y = (share * (1 - KEPT) for share in draw)
    return (x, y, x + KEPT, y + KEPT)


def _crop(images: Image, box: Box) -> Image:
    height, width = images.shape[1:3]
    x0, y0, x1, y1 = (round(edge * side) for edge, side in zip(box, (width, height, width, height), strict=True))
    return np.ascontiguousarray(images[:, y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)])


def _border(images: Image) -> Image:
    """The picture shrunk into the middle of a black frame of the same size."""
    import cv2

    height, width = images.shape[1:3]
    inner = (max(1, round(width * KEPT)), max(1, round(height * KEPT)))
    left, top = (width - inner[0]) // 2, (height - inner[1]) // 2
    out = np.zeros_like(images)
    for at, image in enumerate(images):
        out[at, top : top + inner[1], left : left + inner[0]] = cv2.resize(image, inner, interpolation=cv2.INTER_AREA)
    return out


def _logo(images: Image, draw: tuple[float, float]) -> Image:
    """A white ring with a bar, half transparent, an eighth of the short side high."""
    import cv2

    height, width = images.shape[1:3]
    size = max(6, min(height, width) // 8)
    mark = np.zeros((size, 2 * size), np.uint8)
    cv2.circle(mark, (size // 2, size // 2), size // 3, 255, max(1, size // 8), cv2.LINE_AA)
    cv2.rectangle(mark, (size, size // 3), (2 * size - 2, 2 * size // 3), 255, -1)
    x = size // 2 if draw[0] < 0.5 else width - 2 * size - size // 2
    y = size // 2 if draw[1] < 0.5 else height - size - size // 2
    x, y = max(0, x), max(0, y)
    out = images.copy()
    area = out[:, y : y + size, x : x + 2 * size]
    cover = (mark[: area.shape[1], : area.shape[2], None] / 255.0) * 0.5
    area[:] = np.rint(area * (1 - cover) + 255.0 * cover).astype(np.uint8)
    return out


# ── truth ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _carry_record(record: Record, path: str | None, root: Path, rung: Rung, seed: int) -> tuple[Record, int]:
    """The record of the changed video, and how many of its traces are gone."""
    draw, lost = _draw(record.video_id, seed), 0
    annotations = []
    for annotation in record.annotations:
        traces = []
        for trace in annotation.traces:
            new_trace = carry(trace, rung.change, draw)
            if new_trace is None:
                lost += 1
            else:
                traces.append(new_trace)
        annotations.append(replace(annotation, traces=tuple(traces)))
    info = record.info
    if path is not None:
        info = _info(root / path) or info
    flags = (*record.flags, *(() if path is not None else (f"platform: {rung.name} could not be made",)))
    return replace(record, path=path, info=info, annotations=tuple(annotations), flags=flags), lost


def _info(path: Path) -> VideoInfo | None:
    try:
        return probe(path)
    except VideoError:
        return None


def carry(trace: Trace, change: str | None, draw: tuple[float, float]) -> Trace | None:
    """The trace as it is seen in the changed video; None where the crop took it away."""
    match change:
        case "crop":
            new_trace = carry_trace(trace, View(_crop_box(draw), 0.0, float("inf")), min_share=MIN_SHARE)
            return new_trace if isinstance(new_trace, Trace) else None
        case "border":
            return _map_trace(trace, _into_border, 1.0)
        case "speed":
            return _map_trace(trace, lambda box: box, SPEED)
        case _:
            return trace


def _into_border(box: Box) -> Box:
    start = (1 - KEPT) / 2
    x0, y0, x1, y1 = (start + value * KEPT for value in box)
    return (x0, y0, x1, y1)


def _map_trace(trace: Trace, place: Callable[[Box], Box], faster: float) -> Trace:
    def time(value: float | None) -> float | None:
        return None if value is None else value / faster

    def box(value: Box | None) -> Box | None:
        return None if value is None else place(value)

    return replace(
        trace,
        bbox_xyxy=box(trace.bbox_xyxy),
        onset_seconds=time(trace.onset_seconds),
        offset_seconds=time(trace.offset_seconds),
        track=None
        if trace.track is None
        else tuple(KeyBox(key.time_seconds / faster, box(key.bbox_xyxy), key.visible) for key in trace.track),
    )
