"""What can be found wrong in annotations, with or without what files say of themselves. Opens nothing."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from deeptrace.data.audit.duplicates import members
from deeptrace.data.read import tolerant
from deeptrace.data.read.infos import info_seconds
from deeptrace.records import Record, Trace, VideoInfo

FindingLevel = Literal["error", "warning", "note"]

EXAMPLES: Final = 20

RELEASE_SOURCE: Final = "LLaVA-Video-178K_0_30_s_academic_v0_1"
RELEASE_COUNTS: Final[Mapping[str, int]] = {
    "rows": 7652,
    "videos": 6636,
    "fake videos": 3318,
    "real videos": 3318,
    "fake rows": 4334,
    "explained fake rows": 2716,
    "train rows": 6114,
    "train videos": 5308,
    "val rows": 766,
    "val videos": 664,
    "test rows": 772,
    "test videos": 664,
}
"""What the paper (arXiv 2509.22646v2) and readers of the release count in it."""


@dataclass(frozen=True)
class AuditFinding:
    """One kind of thing that is wrong: how many of how many, in words, and the first twenty by name.

    ``error``: these videos cannot be used or spoil a result. ``warning``: look at it before training or testing.
    ``note``: so it is.
    """

    code: str
    level: FindingLevel
    count: int
    of: int
    message: str
    examples: tuple[str, ...]


@dataclass(frozen=True)
class Count:
    """A count beside the published one."""

    name: str
    expected: int
    found: int


def finding(code: str, level: FindingLevel, who: Iterable[str], of: int, message: str) -> list[AuditFinding]:
    """The finding, or nothing where nobody is concerned."""
    names = list(who)
    return [AuditFinding(code, level, len(names), of, message, tuple(names[:EXAMPLES]))] if names else []


# ── counts ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def count(records: Sequence[Record]) -> dict[str, int]:
    """Videos by label and split, rows, traces, explanations, categories. A video without annotations is one row."""
    counts: Counter[str] = Counter()
    for record in records:
        rows = max(1, len(record.annotations))
        label = record.label or "unlabelled"
        counts["rows"] += rows
        counts["videos"] += 1
        counts[f"{label} videos"] += 1
        counts[f"{label} rows"] += rows
        if record.split is not None:
            counts[f"{record.split} videos"] += 1
            counts[f"{record.split} rows"] += rows
        for annotation in record.annotations:
            counts[f"explained {label} rows"] += any(has_text(trace) for trace in annotation.traces)
        counts["traces"] += len(record.traces)
        counts["traces with a box"] += sum(trace.bbox_xyxy is not None or bool(trace.track) for trace in record.traces)
        counts["traces with an onset"] += sum(trace.onset_seconds is not None for trace in record.traces)
        counts["traces with a category"] += sum(bool(trace.categories) for trace in record.traces)
        counts["traces with an explanation"] += sum(has_text(trace) for trace in record.traces)
    return {name: number for name, number in counts.items() if number}


def has_text(trace: Trace) -> bool:
    """Whether somebody wrote an explanation."""
    return tolerant.has_text(trace.explanation)


def compare_with_release(records: Sequence[Record]) -> tuple[Count, ...] | None:
    """Each published count beside ours; None where the real videos are not the release's."""
    if not any(record.source == RELEASE_SOURCE for record in records):
        return None
    counts = count(records)
    return tuple(Count(name, expected, counts.get(name, 0)) for name, expected in RELEASE_COUNTS.items())


# ── labels and traces ───────────────────────────────────────────────────────────────────────────────────────────────


def check_labels(records: Sequence[Record]) -> list[AuditFinding]:
    """Videos that nobody labelled, that are unsure, or whose annotators disagree."""
    total = len(records)
    without_label = _ids(record for record in records if record.label is None)
    unsure = _ids(record for record in records if record.label == "unsure")
    split = [
        record.video_id
        for record in records
        if len({annotation.label for annotation in record.annotations if annotation.label in ("fake", "real")}) > 1
    ]
    return [
        *finding("label_missing", "warning", without_label, total, "no label"),
        *finding("label_unsure", "note", unsure, total, "annotators are unsure"),
        *finding("label_disputed", "warning", split, total, "annotators disagree on fake or real"),
    ]


def check_traces(records: Sequence[Record]) -> list[AuditFinding]:
    """Traces with something missing, and boxes that say nothing or were changed when read."""
    fakes = [record for record in records if record.label == "fake"]
    traces = [(record.video_id, trace) for record in fakes for trace in record.traces]
    total = len(traces)
    whole = [who for who, trace in traces if trace.bbox_xyxy is not None and _area(trace) >= 0.98]
    placeless = [who for who, trace in traces if trace.bbox_xyxy is None and not trace.track]
    wordless = [who for who, trace in traces if not has_text(trace)]
    kindless = [who for who, trace in traces if not trace.categories]
    timeless = [who for who, trace in traces if trace.onset_seconds is None]
    traceless = _ids(record for record in fakes if not record.traces)
    bad_boxes = [
        record.video_id for record in records if any("bbox" in flag and "repaired" in flag for flag in record.flags)
    ]
    empty_boxes = [
        record.video_id for record in records if any("bbox" in flag and "emptied" in flag for flag in record.flags)
    ]
    on_reals = _ids(record for record in records if record.label == "real" and record.traces)
    return [
        *finding("no_trace", "warning", traceless, len(fakes), "fake without any trace"),
        *finding("trace_on_real", "error", on_reals, len(records), "a real video has a trace"),
        *finding("no_explanation", "note", wordless, total, "trace without explanation"),
        *finding("no_category", "note", kindless, total, "trace without category"),
        *finding("no_box", "warning", placeless, total, "trace without box"),
        *finding("no_onset", "warning", timeless, total, "trace without onset"),
        *finding("box_whole_frame", "warning", whole, total, "box covers the whole frame: it says nothing"),
        *finding("box_outside", "warning", bad_boxes, len(records), "box left the frame and was cut off"),
        *finding("box_unusable", "warning", empty_boxes, len(records), "box could not be used and was emptied"),
    ]


def check_times(records: Sequence[Record], infos: Sequence[VideoInfo | None]) -> list[AuditFinding]:
    """Traces that begin or end outside their video, by the lengths given."""
    late, long = [], []
    total = 0
    for record, info in zip(records, infos, strict=True):
        seconds = info_seconds(info)
        if info is None or seconds is None:
            continue
        frame = 1.0 / info.fps if info.fps else 0.05
        for trace in record.traces:
            total += 1
            if trace.onset_seconds is not None and trace.onset_seconds >= seconds:
                late.append(record.video_id)
            elif trace.offset_seconds is not None and trace.offset_seconds > seconds + frame:
                long.append(record.video_id)
    cut = [
        record.video_id for record in records if any("duration" in flag and "repaired" in flag for flag in record.flags)
    ]
    return [
        *finding("onset_outside", "error", late, total, "trace begins after the end of its video"),
        *finding("offset_outside", "warning", long, total, "trace ends after the end of its video"),
        *finding("offset_cut", "note", cut, len(records), "trace was longer than its video and was cut when read"),
    ]


def check_declared(records: Sequence[Record], file_infos: Sequence[VideoInfo | None]) -> list[AuditFinding]:
    """Videos whose annotations declare another size, rate, count or length than their file does."""
    size: list[str] = []
    turned: list[str] = []
    rate: list[str] = []
    length: list[str] = []
    frames: list[str] = []
    total = 0
    for record, info in zip(records, file_infos, strict=True):
        declared = record.info
        if declared is None or info is None:
            continue
        total += 1
        if (declared.width, declared.height) != (info.width, info.height):
            (turned if (declared.width, declared.height) == (info.height, info.width) else size).append(record.video_id)
        if declared.fps and info.fps and not math.isclose(declared.fps, info.fps, rel_tol=0.01):
            rate.append(record.video_id)
        declared_seconds, file_seconds = info_seconds(declared), info_seconds(info)
        if (
            declared_seconds is not None
            and file_seconds is not None
            and abs(declared_seconds - file_seconds) > max(0.1, 0.02 * file_seconds)
        ):
            length.append(record.video_id)
        if (
            declared.num_frames is not None
            and info.num_frames is not None
            and abs(declared.num_frames - info.num_frames) > 1
        ):
            frames.append(record.video_id)
    return [
        *finding(
            "size_differs", "error", size, total, "declared width and height are not the file's: boxes may be wrong"
        ),
        *finding("size_turned", "error", turned, total, "declared width and height are swapped: boxes may be wrong"),
        *finding("rate_differs", "error", rate, total, "declared frame rate is not the file's: onsets may be wrong"),
        *finding("length_differs", "warning", length, total, "declared length is not the file's"),
        *finding("frames_differ", "note", frames, total, "declared count of frames is not the file's"),
    ]


# ── footage that appears twice ──────────────────────────────────────────────────────────────────────────────────────


def check_duplicates(
    records: Sequence[Record], cluster: Sequence[int], sha256: Sequence[str | None]
) -> list[AuditFinding]:
    """Clusters of the same footage: equal files, near-duplicates, and those across splits or labels.

    ``cluster`` gives each record's cluster, ``sha256`` the hash of its file. Counted are videos in such clusters.
    """
    total = len(records)
    equal: list[str] = []
    near: list[str] = []
    leaks: list[str] = []
    labels: list[str] = []
    for items in members(cluster).values():
        names = " = ".join(records[i].video_id for i in items[:4]) + (" = ..." if len(items) > 4 else "")
        prints = [sha256[i] for i in items if sha256[i] is not None]
        if len(set(prints)) < len(prints):
            equal.append(names)
        near.append(names)
        if len({records[i].split for i in items if records[i].split is not None}) > 1:
            leaks.append(names)
        if {"fake", "real"} <= {records[i].label for i in items}:
            labels.append(names)
    return [
        *finding("split_leak", "error", leaks, total, "footage stands in more than one split (groups of videos)"),
        *finding("same_file", "warning", equal, total, "the same file under several ids (groups of videos)"),
        *finding("near_duplicate", "warning", near, total, "videos of the same footage (groups of videos)"),
        *finding(
            "near_duplicate_labels", "note", labels, total, "footage is both fake and real (groups): twins, or wrong"
        ),
    ]


def _ids(records: Iterable[Record]) -> list[str]:
    return [record.video_id for record in records]


def _area(trace: Trace) -> float:
    assert trace.bbox_xyxy is not None
    x0, y0, x1, y1 = trace.bbox_xyxy
    return (x1 - x0) * (y1 - y0)
