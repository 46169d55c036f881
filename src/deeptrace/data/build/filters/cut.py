"""Clips of real footage cut as `lengths` planned, and what their lengths are once they are written.

A `LengthMatch` and a folder of videos go in; a folder with clips, ``records.jsonl``, ``match.json`` and
``journal.jsonl`` comes out. The folder must be new, or of a run with the same settings: no other file is replaced.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import deeptrace
from deeptrace import files
from deeptrace.data.build.filters.lengths import Distance, LengthMatch, MatchedCut, distance
from deeptrace.data.normalise.files import (
    begin,
    clear_leftovers,
    earlier_row,
    held_targets,
    mp4_path,
    note_row,
    readable_path,
    unique_targets,
    work_stamp,
)
from deeptrace.data.normalise.geometry import View, carry_trace
from deeptrace.data.paths import resolve
from deeptrace.data.read.infos import info_seconds
from deeptrace.data.read.jsonl import write_records
from deeptrace.data.stats import video_seconds
from deeptrace.errors import FileError, RecordError, VideoError
from deeptrace.journal import Journal
from deeptrace.records import Record, VideoInfo
from deeptrace.rows import record_from_json, record_to_json

Progress = Callable[[int, int], None]

SCHEMA: Final = "deeptrace.match_lengths"
SCHEMA_VERSION: Final = 1


@dataclass(frozen=True)
class Cut:
    """What was written. ``clips`` are real, ``unsure`` copies of the videos that nobody could tell.

    ``excluded`` counts videos that could not be cut or copied, by reason, and ``unserved`` lists the fakes that have no
    clip for it. ``after`` compares the lengths of all fakes with those of the files written, ``before`` with those of
    the whole real videos; ``after`` is None where nothing was cut.
    """

    clips: tuple[Record, ...]
    unsure: tuple[Record, ...]
    excluded: dict[str, int]
    unserved: tuple[str, ...]
    before: Distance
    after: Distance | None

    @property
    def records(self) -> tuple[Record, ...]:
        """All that stands in ``records.jsonl``."""
        return self.clips + self.unsure


def cut_clips(
    match: LengthMatch,
    src_root: str | os.PathLike[str],
    dst_root: str | os.PathLike[str],
    *,
    crf: int = 18,
    counts: Mapping[str, int] | None = None,
    progress: Progress | None = None,
) -> Cut:
    """Write each clip as a video of its own under ``dst_root``, at its own size and rate; copy the unsure ones.

    A clip has whole frames of its source, as many as come nearest to the wanted length. Its path is the source's with
    ``.mp4``, and a number where two would share one. Traces are carried along, those outside are dropped. ``info`` is
    read from the new file. A video that cannot be read is left out and counted. Can be ended at any moment and called
    again: what is there is not made again. ``counts`` are the loader's problems, kept in the new ``records.jsonl``.

    Raises:
        FileError: ``dst_root`` is the source's folder, holds something else or a run with other settings, or cannot be
            written.
        MissingExtra: SciPy is not installed.
    """
    src, dst = Path(src_root), Path(dst_root)
    before = distance(match.fake_seconds, match.real_seconds)
    begin(src, dst, "journal.jsonl")
    with Journal(dst / "journal.jsonl", {"run": "match-lengths", "seed": match.seed, "crf": crf}, lock=True) as journal:
        clear_leftovers(dst)
        wishes = [(clip.record.video_id, mp4_path(clip.record)) for clip in match.clips]
        wishes += [(record.video_id, record.path or record.video_id) for record in match.unsure]
        targets = unique_targets(wishes, held_targets(journal))
        rows: list[dict[str, Any]] = []
        works: list[MatchedCut | Record] = [*match.clips, *match.unsure]
        for done, work in enumerate(works):
            if progress is not None:
                progress(done, len(wishes))
            rows.append(_once(journal, work, src, dst, targets, crf))
        if progress is not None:
            progress(len(wishes), len(wishes))
        cut = _summary(match, rows, before)
        write_records(dst / "records.jsonl", cut.records, counts=counts)
        files.write_text(dst / "match.json", files.dumps(_report(match, cut, crf), indent=1) + "\n")
    return cut


def _once(  # noqa: PLR0917
    journal: Journal, work: MatchedCut | Record, src: Path, dst: Path, targets: dict[str, str], crf: int
) -> dict[str, Any]:
    """The row of one video, from the journal where it is done."""
    record = work.record if isinstance(work, MatchedCut) else work
    target = targets[record.video_id]
    plan = [work.start_seconds, work.length_seconds] if isinstance(work, MatchedCut) else []
    stamp = work_stamp(record, [target, *plan])
    if (earlier := earlier_row(journal, record, stamp, src, dst)) is not None:
        return earlier
    row: dict[str, Any] = {"target": target, "excluded": None}
    try:
        new_record = (
            _cut(work, src, dst, target, crf) if isinstance(work, MatchedCut) else _copy(work, src, dst, target)
        )
        row["record"] = record_to_json(new_record)
    except VideoError as error:
        if error.code == "WRITE_FAILED":
            raise FileError(str(error)) from error
        row["excluded"] = f"unreadable: {error.code}"
    except RecordError:
        row["excluded"] = "unreadable: NO_USABLE_PATH"
    except _TooShort:
        row["excluded"] = "too_short"
    note_row(journal, record, stamp, src, dst, row=row)
    return row


# ── one video ───────────────────────────────────────────────────────────────────────────────────────────────────────


class _TooShort(Exception):
    """The file holds fewer frames than its record declared."""


def _cut(clip: MatchedCut, src: Path, dst: Path, target: str, crf: int) -> Record:
    from deeptrace import video

    source = resolve(src, clip.record)
    info = video.probe(source)
    rate = info.fps or 25.0
    steady = info.fps is not None and not info.variable_frame_rate
    start, length = _whole_frames(clip, info) if steady else (clip.start_seconds, clip.length_seconds)
    # A quarter of a frame on either side: the times in a file are rounded.
    slack = 0.25 / rate if steady else 0.0
    path = dst / target
    files.make_folder(path.parent)
    with (
        video.iter_frames(source, start_seconds=start + slack, end_seconds=start + length - slack) as stream,
        video.VideoWriter(path, fps=rate, crf=crf) as writer,
    ):
        first, last, count = None, 0.0, 0
        for frames in stream:
            first = float(frames.pts_seconds[0]) if first is None else first
            last = float(frames.pts_seconds[-1]) - first
            count += len(frames)
            writer.add(frames.images, None if steady else frames.pts_seconds - first)
        if steady and count < round(length * rate):
            raise _TooShort
        if not steady:
            writer.last_seconds = max(length - last, 0.01)
    return _carried(clip.record, View((0.0, 0.0, 1.0, 1.0), start, length), target, video.probe(path))


def _whole_frames(clip: MatchedCut, info: VideoInfo) -> tuple[float, float]:
    """Start and length on the grid of the source's frames, nearest to what was planned."""
    assert info.fps is not None
    count = max(1, round(clip.length_seconds * info.fps))
    seconds = info_seconds(info)
    there = count if seconds is None else math.floor(seconds * info.fps + 1e-3)
    if there < count - 1:
        raise _TooShort
    count = min(count, max(there, 1))
    first = min(math.floor(clip.start_seconds * info.fps + 1e-6), there - count)
    return first / info.fps, count / info.fps


def _carried(record: Record, view: View, target: str, info: VideoInfo) -> Record:
    annotations = [
        replace(
            annotation,
            traces=tuple(
                new_trace
                for trace in annotation.traces
                if not isinstance(new_trace := carry_trace(trace, view, min_share=0.0), str)
            ),
        )
        for annotation in record.annotations
    ]
    origin = {
        "path": readable_path(record.path),
        "start_seconds": view.start_seconds,
        "length_seconds": view.length_seconds,
    }
    return replace(
        record,
        path=target,
        info=info,
        annotations=tuple(annotations),
        extra={**record.extra, "cut_from": origin},
    )


def _copy(record: Record, src: Path, dst: Path, target: str) -> Record:
    """The same bytes under the new path."""
    source, path = resolve(src, record), dst / target
    if not source.is_file():
        raise VideoError("NOT_FOUND", f"no file '{source.name}'.")
    files.copy_file(source, path)
    return replace(record, path=target)


# ── the run ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _summary(match: LengthMatch, rows: list[dict[str, Any]], before: Distance) -> Cut:
    cuts, copies = rows[: len(match.clips)], rows[len(match.clips) :]
    clips = _records(cuts)
    lengths = [seconds for record in clips if (seconds := video_seconds(record)) is not None]
    return Cut(
        clips=clips,
        unsure=_records(copies),
        excluded=dict(Counter(row["excluded"] for row in rows if row["excluded"] is not None).most_common()),
        unserved=tuple(clip.like for clip, row in zip(match.clips, cuts, strict=True) if row["excluded"] is not None),
        before=before,
        after=distance(match.fake_seconds, lengths) if lengths else None,
    )


def _records(rows: Iterable[dict[str, Any]]) -> tuple[Record, ...]:
    return tuple(record_from_json(row["record"]) for row in rows if row["excluded"] is None)


def _report(match: LengthMatch, cut: Cut, crf: int) -> dict[str, Any]:
    written = {record.video_id: record for record in cut.clips}
    return {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "deeptrace": deeptrace.__version__,
        "seed": match.seed,
        "crf": crf,
        "before": asdict(cut.before),
        "after": None if cut.after is None else asdict(cut.after),
        "clips": [
            {
                "video_id": clip.record.video_id,
                "like": clip.like,
                "wanted_seconds": clip.length_seconds,
                **written[clip.record.video_id].extra["cut_from"],
            }
            for clip in match.clips
            if clip.record.video_id in written
        ],
        "unmatched": list(match.unmatched),
        "unserved": list(cut.unserved),
        "unsure": [record.video_id for record in cut.unsure],
        "excluded": cut.excluded,
    }
