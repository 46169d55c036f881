"""What is in a set of records: the paper's Table 1 and Figure 4, and where, when and how long the traces are.

Records in, `Stats` out: numbers only, so that a table, a plot or a page can show them. Knows no files and no pixels.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from deeptrace.categories import CATEGORIES, read_tags
from deeptrace.data.read.infos import info_seconds
from deeptrace.data.read.load import Records
from deeptrace.data.read.tolerant import has_text
from deeptrace.records import Annotation, Record, RecordLabel, Trace

MAP_CELLS: Final = 16
"""Rows and columns of the position map."""

QUANTILES: Final = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class Mean:
    """A mean and the number of values in it; None where there are none."""

    value: float | None
    n: int


@dataclass(frozen=True)
class SourceRow:
    """One row of Table 1. Averages weigh annotations, as the paper's do: a video with two counts twice.

    ``annotations`` and ``videos`` are counts. ``explained`` is how many annotations have a written explanation,
    ``explained_share`` their share in [0, 1]. Sizes are pixels as displayed. ``trace_seconds`` is over traces with
    onset and offset, from the one to the other, after any cut at the video's end. A video that nobody annotated counts
    once in the averages of videos.
    """

    source: str | None
    label: RecordLabel | None
    annotations: int
    videos: int
    explained: int
    explained_share: float | None
    height: Mean
    width: Mean
    video_seconds: Mean
    trace_seconds: Mean


@dataclass(frozen=True)
class CategoryRow:
    """One bar of Figure 4: how many traces carry the category, and its share of all mentions, in [0, 1]."""

    category: str
    mentions: int
    share: float | None


@dataclass(frozen=True)
class Distribution:
    """``counts[i]`` values lie in ``[edges[i], edges[i + 1])``, the last bin closed; quantiles are at `QUANTILES`."""

    n: int
    mean: float | None
    quantiles: tuple[float, ...] | None
    edges: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True)
class SplitRow:
    """Videos and annotations of one split and label."""

    split: str | None
    label: RecordLabel | None
    videos: int
    annotations: int


@dataclass(frozen=True)
class Stats:
    """Everything that is counted. Shares are in [0, 1], times in seconds, boxes in fractions of the frame.

    ``sources``: one row per label and source, most annotations first; ``totals``: one row per label.
    ``categorised``: annotations with at least one of the nine categories. ``unknown_tags``: raw tags that fit none.
    ``co_occurrence``: (9, 9) counts of traces that carry both categories, in the order of `CATEGORIES`; the diagonal
    holds the mentions. ``box_area``: share of the frame. ``position``: (16, 16), row 0 at the top; the mean share of a
    cell that a box covers. ``onset_share``: onset / video length. ``problems``: what the loader noticed.
    """

    videos: int
    annotations: int
    traces: int
    sources: tuple[SourceRow, ...]
    totals: tuple[SourceRow, ...]
    splits: tuple[SplitRow, ...]
    categories: tuple[CategoryRow, ...]
    categorised: int
    unknown_tags: Mapping[str, int]
    co_occurrence: tuple[tuple[int, ...], ...]
    box_area: Distribution
    box_width: Distribution
    box_height: Distribution
    position: tuple[tuple[float, ...], ...] | None
    onset_seconds: Distribution
    onset_share: Distribution
    trace_seconds: Distribution
    video_seconds: Distribution
    problems: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        """The same as plain JSON values; tuples become lists when it is written."""
        return {"schema": "deeptrace.stats", "schema_version": 1, **asdict(self), "quantiles": list(QUANTILES)}


def describe(records: Iterable[Record]) -> Stats:
    """The statistics of some records. With `Records`, the loader's problems are counted too."""
    record_list = list(records)
    annotated = [(record, annotation) for record in record_list for annotation in record.annotations]
    traced = [(record, trace) for record, annotation in annotated for trace in annotation.traces]
    traces = [trace for _, trace in traced]
    boxes = np.array([trace.bbox_xyxy for trace in traces if trace.bbox_xyxy is not None]).reshape(-1, 4)
    lengths = [length for trace in traces if (length := _trace_seconds(trace)) is not None]
    return Stats(
        videos=len(record_list),
        annotations=len(annotated),
        traces=len(traces),
        sources=_source_rows(record_list, by_source=True),
        totals=_source_rows(record_list, by_source=False),
        splits=_split_rows(record_list),
        categories=_category_rows(traces),
        categorised=sum(any(trace.categories for trace in annotation.traces) for _, annotation in annotated),
        unknown_tags=_unknown_tags(annotation for _, annotation in annotated),
        co_occurrence=_co_occurrence(traces),
        box_area=_distribution((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]), _shares()),
        box_width=_distribution(boxes[:, 2] - boxes[:, 0], _shares()),
        box_height=_distribution(boxes[:, 3] - boxes[:, 1], _shares()),
        position=_position(boxes),
        onset_seconds=_distribution([trace.onset_seconds for trace in traces if trace.onset_seconds is not None]),
        onset_share=_distribution(list(_onset_shares(traced)), _shares()),
        trace_seconds=_distribution(lengths),
        video_seconds=_distribution(
            [seconds for record in record_list if (seconds := video_seconds(record)) is not None]
        ),
        problems=dict(records.counts) if isinstance(records, Records) else {},
    )


def video_seconds(record: Record) -> float | None:
    """The length of the video as its file declares it, else frames / rate; None where neither is known."""
    return info_seconds(record.info)


# ── Table 1 ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _source_rows(records: Iterable[Record], *, by_source: bool) -> tuple[SourceRow, ...]:
    groups: dict[tuple[RecordLabel | None, str | None], list[Record]] = {}
    for record in records:
        groups.setdefault((record.label, record.source if by_source else None), []).append(record)
    rows = [_source_row(label, source, group) for (label, source), group in groups.items()]
    order = ["fake", "real", "unsure", None]
    return tuple(sorted(rows, key=lambda row: (order.index(row.label), -row.annotations, row.source or "")))


def _source_row(label: RecordLabel | None, source: str | None, records: list[Record]) -> SourceRow:
    """By hand: videos of 4 s (two annotations) and 10 s (one) have a mean of (4 + 4 + 10) / 3 = 6 s."""
    rows = [(record, annotation) for record in records for annotation in record.annotations]
    weighed = [record for record in records for _ in range(max(1, len(record.annotations)))]
    explained = sum(any(has_text(trace.explanation) for trace in annotation.traces) for _, annotation in rows)
    return SourceRow(
        source=source,
        label=label,
        annotations=len(rows),
        videos=len(records),
        explained=explained,
        explained_share=explained / len(rows) if rows else None,
        height=_mean(record.info.height for record in weighed if record.info is not None),
        width=_mean(record.info.width for record in weighed if record.info is not None),
        video_seconds=_mean(seconds for record in weighed if (seconds := video_seconds(record)) is not None),
        trace_seconds=_mean(
            seconds
            for _, annotation in rows
            for trace in annotation.traces
            if (seconds := _trace_seconds(trace)) is not None
        ),
    )


def _mean(values: Iterable[float]) -> Mean:
    numbers = list(values)
    return Mean(math.fsum(numbers) / len(numbers) if numbers else None, len(numbers))


def _trace_seconds(trace: Trace) -> float | None:
    if trace.onset_seconds is None or trace.offset_seconds is None:
        return None
    return trace.offset_seconds - trace.onset_seconds


def _split_rows(records: Iterable[Record]) -> tuple[SplitRow, ...]:
    videos: Counter[tuple[str | None, RecordLabel | None]] = Counter()
    annotations: Counter[tuple[str | None, RecordLabel | None]] = Counter()
    for record in records:
        videos[record.split, record.label] += 1
        annotations[record.split, record.label] += len(record.annotations)
    names = sorted(videos, key=lambda key: (key[0] or "~", key[1] or "~"))
    return tuple(SplitRow(split, label, videos[split, label], annotations[split, label]) for split, label in names)


# ── Figure 4 ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _category_rows(traces: Iterable[Trace]) -> tuple[CategoryRow, ...]:
    mentions = Counter(category for trace in traces for category in trace.categories or ())
    total = mentions.total()
    return tuple(
        CategoryRow(category, mentions[category], mentions[category] / total if total else None)
        for category in CATEGORIES
    )


def _unknown_tags(annotations: Iterable[Annotation]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for annotation in annotations:
        for name in ("faketrace_check_applies", "unknown_tags"):  # the release's loader and the converters keep them
            tags = annotation.extra.get(name)
            if isinstance(tags, (list, tuple)):
                counts.update(read_tags(tag for tag in tags if isinstance(tag, str)).unknown)
    return dict(counts.most_common())


def _co_occurrence(traces: Iterable[Trace]) -> tuple[tuple[int, ...], ...]:
    carried = np.array(
        [[category in (trace.categories or ()) for category in CATEGORIES] for trace in traces], dtype=np.int64
    )
    carried = carried.reshape(-1, len(CATEGORIES))  # (traces, 9)
    return tuple(tuple(int(count) for count in row) for row in carried.T @ carried)


# ── distributions ───────────────────────────────────────────────────────────────────────────────────────────────────


def _shares() -> npt.NDArray[np.float64]:
    return np.linspace(0.0, 1.0, 21)


def _onset_shares(traced: Iterable[tuple[Record, Trace]]) -> Iterable[float]:
    for record, trace in traced:
        seconds = video_seconds(record)
        if trace.onset_seconds is not None and seconds:
            yield min(1.0, trace.onset_seconds / seconds)


def _distribution(
    values: list[float] | npt.NDArray[np.float64], edges: npt.NDArray[np.float64] | None = None
) -> Distribution:
    """Without edges: 20 bins from 0 to the largest value or just beyond; a bin is a multiple of 0.1 wide."""
    numbers = np.asarray(values, dtype=np.float64)
    if edges is None:
        top = float(numbers.max()) if numbers.size else 1.0
        edges = np.linspace(0.0, 20 * max(0.1, np.ceil(top / 2) / 10), 21)
    counts, _ = np.histogram(numbers, bins=edges)
    return Distribution(
        n=numbers.size,
        mean=float(numbers.mean()) if numbers.size else None,
        quantiles=tuple(float(q) for q in np.quantile(numbers, QUANTILES)) if numbers.size else None,
        edges=tuple(float(edge) for edge in edges),
        counts=tuple(int(count) for count in counts),
    )


def _position(boxes: npt.NDArray[np.float64]) -> tuple[tuple[float, ...], ...] | None:
    """By hand: one box over the upper left quarter covers the cells of that quarter wholly (1.0), the others not."""
    if not len(boxes):
        return None
    covered = np.einsum("ny,nx->yx", _covered(boxes[:, 1], boxes[:, 3]), _covered(boxes[:, 0], boxes[:, 2]))
    return tuple(tuple(float(share) for share in row) for row in covered / len(boxes))


def _covered(low: npt.NDArray[np.float64], high: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """How much of each cell of one axis lies in ``[low, high]``: (boxes, cells), in [0, 1]."""
    edges = np.linspace(0.0, 1.0, MAP_CELLS + 1)
    shared = np.minimum(high[:, None], edges[None, 1:]) - np.maximum(low[:, None], edges[None, :-1])
    covered: npt.NDArray[np.float64] = np.clip(shared * MAP_CELLS, 0.0, 1.0)
    return covered
