"""What can be found wrong in annotations, with or without what files say of themselves. Opens nothing."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from deeptrace.data import tolerant
from deeptrace.data.audit.duplicates import members
from deeptrace.data.infos import info_seconds
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
class Finding:
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


def finding(code: str, level: FindingLevel, who: Iterable[str], of: int, message: str) -> list[Finding]:
    """The finding, or nothing where nobody is concerned."""
    names = list(who)
    return [Finding(code, level, len(names), of, message, tuple(names[:EXAMPLES]))] if names else []


# ── counts ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def count(records: Sequence[Record]) -> dict[str, int]:
    """Videos by label and split, rows, traces, explanations, categories. A video without annotations is one row."""
    found: Counter[str] = Counter()
    for record in records:
        rows = max(1, len(record.annotations))
        label = record.label or "unlabelled"
        found["rows"] += rows
        found["videos"] += 1
        found[f"{label} videos"] += 1
        found[f"{label} rows"] += rows
        if record.split is not None:
            found[f"{record.split} videos"] += 1
            found[f"{record.split} rows"] += rows
        for annotation in record.annotations:
            found[f"explained {label} rows"] += any(has_text(trace) for trace in annotation.traces)
        found["traces"] += len(record.traces)
        found["traces with a box"] += sum(t.bbox_xyxy is not None or bool(t.track) for t in record.traces)
        found["traces with an onset"] += sum(t.onset_seconds is not None for t in record.traces)
        found["traces with a category"] += sum(bool(t.categories) for t in record.traces)
        found["traces with an explanation"] += sum(has_text(t) for t in record.traces)
    return {name: n for name, n in found.items() if n}


def has_text(trace: Trace) -> bool:
    """Whether somebody wrote an explanation."""
    return tolerant.has_text(trace.explanation)


def compare_with_release(records: Sequence[Record]) -> tuple[Count, ...] | None:
    """Each published count beside ours; None where the real videos are not the release's."""
    if not any(record.source == RELEASE_SOURCE for record in records):
        return None
    found = count(records)
    return tuple(Count(name, expected, found.get(name, 0)) for name, expected in RELEASE_COUNTS.items())


# ── labels and traces ───────────────────────────────────────────────────────────────────────────────────────────────


def check_labels(records: Sequence[Record]) -> list[Finding]:
    """Videos that nobody labelled, that are unsure, or whose annotators disagree."""
    n = len(records)
    split = [r.video_id for r in records if len({a.label for a in r.annotations if a.label in ("fake", "real")}) > 1]
    return [
        *finding("label_missing", "warning", _ids(r for r in records if r.label is None), n, "no label"),
        *finding("label_unsure", "note", _ids(r for r in records if r.label == "unsure"), n, "annotators are unsure"),
        *finding("label_disputed", "warning", split, n, "annotators disagree on fake or real"),
    ]


def check_traces(records: Sequence[Record]) -> list[Finding]:
    """Traces with something missing, and boxes that say nothing or were changed when read."""
    fakes = [record for record in records if record.label == "fake"]
    traces = [(record.video_id, trace) for record in fakes for trace in record.traces]
    n = len(traces)
    whole = [who for who, t in traces if t.bbox_xyxy is not None and _area(t) >= 0.98]
    placeless = [who for who, t in traces if t.bbox_xyxy is None and not t.track]
    bad_boxes = [r.video_id for r in records if any("bbox" in flag and "repaired" in flag for flag in r.flags)]
    empty_boxes = [r.video_id for r in records if any("bbox" in flag and "emptied" in flag for flag in r.flags)]
    on_reals = _ids(r for r in records if r.label == "real" and r.traces)
    return [
        *finding("no_trace", "warning", _ids(r for r in fakes if not r.traces), len(fakes), "fake without any trace"),
        *finding("trace_on_real", "error", on_reals, len(records), "a real video has a trace"),
        *finding("no_explanation", "note", (w for w, t in traces if not has_text(t)), n, "trace without explanation"),
        *finding("no_category", "note", (w for w, t in traces if not t.categories), n, "trace without category"),
        *finding("no_box", "warning", placeless, n, "trace without box"),
        *finding("no_onset", "warning", (w for w, t in traces if t.onset_seconds is None), n, "trace without onset"),
        *finding("box_whole_frame", "warning", whole, n, "box covers the whole frame: it says nothing"),
        *finding("box_outside", "warning", bad_boxes, len(records), "box left the frame and was cut off"),
        *finding("box_unusable", "warning", empty_boxes, len(records), "box could not be used and was emptied"),
    ]  # fmt: skip


def check_times(records: Sequence[Record], infos: Sequence[VideoInfo | None]) -> list[Finding]:
    """Traces that begin or end outside their video, by the lengths given."""
    late, long = [], []
    n = 0
    for record, info in zip(records, infos, strict=True):
        seconds = info_seconds(info)
        if info is None or seconds is None:
            continue
        frame = 1.0 / info.fps if info.fps else 0.05
        for trace in record.traces:
            n += 1
            if trace.onset_seconds is not None and trace.onset_seconds >= seconds:
                late.append(record.video_id)
            elif trace.offset_seconds is not None and trace.offset_seconds > seconds + frame:
                long.append(record.video_id)
    cut = [r.video_id for r in records if any("duration" in f and "repaired" in f for f in r.flags)]
    return [
        *finding("onset_outside", "error", late, n, "trace begins after the end of its video"),
        *finding("offset_outside", "warning", long, n, "trace ends after the end of its video"),
        *finding("offset_cut", "note", cut, len(records), "trace was longer than its video and was cut when read"),
    ]


def check_declared(records: Sequence[Record], seen: Sequence[VideoInfo | None]) -> list[Finding]:
    """Videos whose annotations declare another size, rate, count or length than their file does."""
    size: list[str] = []
    turned: list[str] = []
    rate: list[str] = []
    length: list[str] = []
    frames: list[str] = []
    n = 0
    for record, info in zip(records, seen, strict=True):
        said = record.info
        if said is None or info is None:
            continue
        n += 1
        if (said.width, said.height) != (info.width, info.height):
            (turned if (said.width, said.height) == (info.height, info.width) else size).append(record.video_id)
        if said.fps and info.fps and not math.isclose(said.fps, info.fps, rel_tol=0.01):
            rate.append(record.video_id)
        a, b = info_seconds(said), info_seconds(info)
        if a is not None and b is not None and abs(a - b) > max(0.1, 0.02 * b):
            length.append(record.video_id)
        if said.num_frames is not None and info.num_frames is not None and abs(said.num_frames - info.num_frames) > 1:
            frames.append(record.video_id)
    return [
        *finding("size_differs", "error", size, n, "declared width and height are not the file's: boxes may be wrong"),
        *finding("size_turned", "error", turned, n, "declared width and height are swapped: boxes may be wrong"),
        *finding("rate_differs", "error", rate, n, "declared frame rate is not the file's: onsets may be wrong"),
        *finding("length_differs", "warning", length, n, "declared length is not the file's"),
        *finding("frames_differ", "note", frames, n, "declared count of frames is not the file's"),
    ]


# ── footage that appears twice ──────────────────────────────────────────────────────────────────────────────────────


def check_duplicates(records: Sequence[Record], cluster: Sequence[int], sha256: Sequence[str | None]) -> list[Finding]:
    """Clusters of the same footage: equal files, near-duplicates, and those across splits or labels.

    ``cluster`` gives each record's cluster, ``sha256`` the hash of its file. Counted are videos in such clusters.
    """
    n = len(records)
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
        *finding("split_leak", "error", leaks, n, "footage stands in more than one split (groups of videos)"),
        *finding("same_file", "warning", equal, n, "the same file under several ids (groups of videos)"),
        *finding("near_duplicate", "warning", near, n, "videos of the same footage (groups of videos)"),
        *finding("near_duplicate_labels", "note", labels, n, "footage is both fake and real (groups): twins, or wrong"),
    ]  # fmt: skip


def _ids(records: Iterable[Record]) -> list[str]:
    return [record.video_id for record in records]


def _area(trace: Trace) -> float:
    assert trace.bbox_xyxy is not None
    x0, y0, x1, y1 = trace.bbox_xyxy
    return (x1 - x0) * (y1 - y0)
