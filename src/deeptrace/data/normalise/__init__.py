"""One form for all videos, so that size, rate, length and coding say nothing of the label; traces are carried along.

Records and a folder of videos go in; a folder with new videos, ``records.jsonl``, ``journal.jsonl`` and ``run.json``
comes out. Every choice is made without looking at the label. What cannot be brought into the form without inventing
pixels or frames (too small, too slow, too short) is left out and counted, never enlarged, blended or repeated.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from deeptrace.characters import visible
from deeptrace.data.normalise.files import (
    clear_leftovers,
    earlier_row,
    held_targets,
    mp4_path,
    note_row,
    readable_path,
    start_run,
    unique_targets,
    work_stamp,
    write_run,
)
from deeptrace.data.normalise.geometry import View, carry_trace, center_crop
from deeptrace.data.normalise.video import Form, FrameMissing, Window, stable_share, write_view
from deeptrace.data.paths import resolve
from deeptrace.data.read.infos import info_seconds
from deeptrace.data.read.jsonl import write_records
from deeptrace.errors import FileError, RecordError, VideoError
from deeptrace.journal import Journal
from deeptrace.records import Record, VideoInfo, check_number
from deeptrace.rows import record_from_json, record_to_json

__all__ = ["Form", "Normalised", "normalise"]

Progress = Callable[[int, int], None]

KEPT_BY_MATCHING: Final = 0.9
# A rate that is rounded in a header (23.976 for 24) still serves; a frame that is truly missing shows later.
_RATE_SLACK: Final = 0.99


@dataclass(frozen=True)
class Normalised:
    """What became of the records. ``excluded`` counts videos by reason, ``traces_dropped`` traces by reason.

    ``fakes_without_trace`` had traces before and have none now; they stay fake and are flagged. ``shifted_onsets`` are
    traces that had begun before the window. ``excluded_by_label`` tells whether one class lost more than the other.
    ``problems`` names videos that could not be read, and why.
    """

    records: tuple[Record, ...]
    root: Path
    form: Form
    excluded: dict[str, int]
    excluded_by_label: dict[str, int]
    traces_kept: int
    traces_dropped: dict[str, int]
    fakes_without_trace: int
    shifted_onsets: int
    problems: tuple[tuple[str, str], ...]

    def to_json(self) -> dict[str, Any]:
        """The counts, the form and the problems as JSON values, without the records."""
        row = asdict(replace(self, records=(), root=Path())) | {"videos": len(self.records)}
        row["problems"] = [{"video_id": visible(who), "problem": visible(what)} for who, what in self.problems]
        return {key: value for key, value in row.items() if key not in ("records", "root")}


def normalise(
    records: Sequence[Record],
    src_root: str | os.PathLike[str],
    dst_root: str | os.PathLike[str],
    *,
    aspect: tuple[int, int] = (16, 9),
    short_side: int = 360,
    fps: float = 8.0,
    duration_seconds: float | None = None,
    match_duration: bool = False,
    crf: int = 23,
    gop: int = 16,
    window: Window = "spread",
    min_share: float = 0.5,
    seed: int = 0,
    progress: Progress | None = None,
) -> Normalised:
    """Bring the videos of ``records`` under ``src_root`` into one form under ``dst_root``.

    Each is cropped about its centre to ``aspect`` (width, height), reduced to ``short_side`` pixels (never enlarged),
    thinned to ``fps`` frames a second, cut to ``duration_seconds`` and written with one ``crf`` and a fixed ``gop``,
    without sound or tags. ``match_duration`` chooses the length instead: the longest that at least 90 % of each label's
    usable videos have. Where the window lies depends on the ``video_id`` and the seed ("spread"), or it begins or is
    centred in every video. A trace keeps its place and time in the new video; it is dropped where less than
    ``min_share`` of its box is left or where it lies outside the window. Times are exact to one frame of the source.

    Can be ended at any moment and called again with the same options: what is there is not made again.

    Raises:
        RecordError: an option that makes no sense, or not one video has the form; ``run.json`` then tells why.
        FileError: ``dst_root`` is the source's folder, holds a run with other options, or cannot be written.
    """
    size_hw = _size(aspect, short_side)
    options = {"fps": fps, "crf": crf, "gop": gop, "min_share": min_share}
    _check_options(options, duration_seconds, match_duration, window)
    src, dst = Path(src_root), Path(dst_root)
    form = Form(size_hw, float(fps), duration_seconds, crf, gop, window, seed, min_share)
    infos = _probe_all(records, src)
    if match_duration:
        form = replace(form, length_seconds=_matched_length(records, infos, form))
    start_run(src, dst, form)
    rows: list[dict[str, Any]] = []
    with Journal(dst / "journal.jsonl", {"run": "normalise", "form": asdict(form)}, lock=True) as journal:
        clear_leftovers(dst)
        targets = unique_targets([(record.video_id, mp4_path(record)) for record in records], held_targets(journal))
        for done, (record, info) in enumerate(zip(records, infos, strict=True)):
            if progress is not None:
                progress(done, len(records))
            target = targets[record.video_id]
            stamp = work_stamp(record, [target])
            row = earlier_row(journal, record, stamp, src, dst)
            if row is None:
                row = {"target": target, **_one(record, info, src, dst, target, form=form)}
                note_row(journal, record, stamp, src, dst, row=row)
            rows.append(row)
        if progress is not None:
            progress(len(records), len(records))
        result = _summary(rows, records, dst, form)
        write_records(dst / "records.jsonl", result.records, counts=getattr(records, "counts", {}))
        write_run(dst, form, result.to_json())
    if not result.records:
        why = ", ".join(f"{count} {reason}" for reason, count in result.excluded.items()) or "there is no record"
        raise RecordError("normalise", f"not one video can be brought into this form: {why}")
    return result


# ── options ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _size(aspect: tuple[int, int], short_side: int) -> tuple[int, int]:
    wide, high = (check_number(side, "aspect", above=0.0) for side in aspect)
    side = int(check_number(short_side, "short_side", low=16, high=8192))
    ratio = max(wide, high) / min(wide, high)
    short, long = side - side % 2, 2 * round(side * ratio / 2)
    return (short, long) if wide >= high else (long, short)


def _check_options(options: dict[str, float], duration: float | None, match: bool, window: str) -> None:
    check_number(options["fps"], "fps", above=0.0, high=1000.0)
    check_number(options["crf"], "crf", low=0, high=51)
    check_number(options["gop"], "gop", low=1, high=1000)
    check_number(options["min_share"], "min_share", low=0.0, high=1.0)
    if window not in ("spread", "start", "middle"):
        raise RecordError("window", f"{window!r} is not one of spread, start, middle")
    if duration is not None:
        if match:
            raise RecordError("match_duration", "chooses a length; leave duration_seconds out")
        if round(check_number(duration, "duration_seconds", above=0.0) * options["fps"]) < 1:
            raise RecordError("duration_seconds", f"{duration:g} s at {options['fps']:g} fps hold no frame")


def _matched_length(records: Sequence[Record], infos: Sequence[VideoInfo | str], form: Form) -> float:
    """The longest length, in whole frames, that 90 % of each label's usable videos have."""
    lengths: dict[str, list[float]] = {}
    for record, info in zip(records, infos, strict=True):
        if isinstance(info, VideoInfo) and _unfit(info, form) is None and (seconds := info_seconds(info)):
            lengths.setdefault(str(record.label), []).append(seconds)
    if not lengths:
        raise RecordError("match_duration", "no video is usable in this form, so there is no common length")
    shares = [
        float(np.quantile(label_lengths, 1 - KEPT_BY_MATCHING, method="lower")) for label_lengths in lengths.values()
    ]
    return max(1, math.floor(min(shares) * form.fps + 1e-6)) / form.fps


def _probe_all(records: Sequence[Record], src: Path) -> list[VideoInfo | str]:
    """What each file says of itself, or the code of why it cannot be read."""
    from deeptrace import video

    infos: list[VideoInfo | str] = []
    for record in records:
        try:
            infos.append(video.probe(resolve(src, record)))
        except VideoError as error:
            infos.append(error.code)
        except RecordError:
            infos.append("NO_USABLE_PATH")
    return infos


def _unfit(info: VideoInfo, form: Form) -> str | None:
    """Why a video cannot have the form, before its length is looked at."""
    crop = center_crop(info.width, info.height, form.aspect)
    # Half a pixel of rounding is not an enlargement.
    wide, high = (crop[2] - crop[0]) * info.width, (crop[3] - crop[1]) * info.height
    if wide < form.size_hw[1] - 0.5 or high < form.size_hw[0] - 0.5:
        return "too_small"
    if info.fps is not None and info.fps < _RATE_SLACK * form.fps:
        return "too_slow"
    return None


# ── one video ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _one(record: Record, info: VideoInfo | str, src: Path, dst: Path, target: str, *, form: Form) -> dict[str, Any]:
    """The journal's row of one video: its new record and counts, or why it is left out."""
    if isinstance(info, str):
        return _excluded(record, f"unreadable: {info}")
    if reason := _unfit(info, form):
        return _excluded(record, reason)
    seconds = info_seconds(info)
    if seconds is None:
        return _excluded(record, "length_unknown")
    frames = math.floor(seconds * form.fps + 1e-6)
    if form.length_seconds is not None:
        wanted_frames = round(form.length_seconds * form.fps)
        if frames < wanted_frames:
            return _excluded(record, "too_short")
        frames = wanted_frames
    if frames < 1:
        return _excluded(record, "too_short")
    length = frames / form.fps
    view = View(
        center_crop(info.width, info.height, form.aspect),
        _start(record.video_id, seconds - length, form),
        length,
    )
    try:
        partial = write_view(resolve(src, record), dst / target, info, view, count=frames, form=form)
    except VideoError as error:
        if error.code == "WRITE_FAILED":
            raise FileError(str(error)) from error
        return _excluded(record, f"unreadable: {error.code}", str(error))
    except FrameMissing:
        return _excluded(record, "frames_missing")
    return _carried(record, view, target, frames, form=form, partial=partial)


def _excluded(record: Record, reason: str, detail: str | None = None) -> dict[str, Any]:
    return {"video_id": record.video_id, "excluded": reason, "detail": detail}


def _start(video_id: str, room: float, form: Form) -> float:
    """Where the window begins: a time of the new rate's grid, so that the same options give the same frames."""
    if room <= 0 or form.window == "start":
        return 0.0
    share = 0.5 if form.window == "middle" else stable_share(video_id, form.seed)
    return math.floor(share * room * form.fps) / form.fps


def _carried(record: Record, view: View, target: str, frames: int, *, form: Form, partial: bool) -> dict[str, Any]:
    dropped: Counter[str] = Counter()
    annotations, traces_kept, shifted = [], 0, 0
    for annotation in record.annotations:
        traces = []
        for trace in annotation.traces:
            new_trace = carry_trace(trace, view, min_share=form.min_share)
            if isinstance(new_trace, str):
                dropped[new_trace] += 1
                continue
            traces_kept += 1
            shifted += trace.onset_seconds is not None and trace.onset_seconds < view.start_seconds
            traces.append(new_trace)
        annotations.append(replace(annotation, traces=tuple(traces)))
    flags = list(record.flags)
    lost_all = record.label == "fake" and bool(record.traces) and traces_kept == 0
    if lost_all:
        flags.append("normalise: no trace is left")
    if partial:
        flags.append("normalise: the source was read in part")
    origin = {
        "path": readable_path(record.path),
        "start_seconds": view.start_seconds,
        "crop_xyxy": list(view.crop_xyxy),
    }
    height, width = form.size_hw
    new = replace(
        record,
        path=target,
        info=VideoInfo(width, height, form.fps, frames, frames / form.fps, "h264", False, False),
        annotations=tuple(annotations),
        flags=tuple(flags),
        extra={**record.extra, "normalised_from": origin},
    )
    return {
        "video_id": record.video_id,
        "excluded": None,
        "record": record_to_json(new),
        "traces_kept": traces_kept,
        "traces_dropped": dict(dropped),
        "shifted_onsets": shifted,
        "lost_all": lost_all,
    }


# ── the run ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _summary(rows: Sequence[dict[str, Any]], records: Sequence[Record], dst: Path, form: Form) -> Normalised:
    usable_rows = [row for row in rows if row["excluded"] is None]
    dropped: Counter[str] = Counter()
    for row in usable_rows:
        dropped.update(row["traces_dropped"])
    out = [(row, record) for row, record in zip(rows, records, strict=True) if row["excluded"] is not None]
    return Normalised(
        records=tuple(record_from_json(row["record"]) for row in usable_rows),
        root=dst,
        form=form,
        excluded=dict(Counter(row["excluded"] for row, _ in out).most_common()),
        excluded_by_label=dict(Counter(str(record.label) for _, record in out).most_common()),
        traces_kept=sum(row["traces_kept"] for row in usable_rows),
        traces_dropped=dict(dropped.most_common()),
        fakes_without_trace=sum(row["lost_all"] for row in usable_rows),
        shifted_onsets=sum(row["shifted_onsets"] for row in usable_rows),
        problems=tuple((row["video_id"], row["detail"]) for row, _ in out if row["detail"]),
    )
