"""Which videos belong together: by generator, category, length and size of the trace, for results of each apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from deeptrace.bench.score.dataset import Dataset
from deeptrace.categories import CATEGORIES
from deeptrace.measures.video import Truth
from deeptrace.records import Record

Grouping = Literal["generator", "real_source", "category", "length", "trace_size", "edit"]
Mask: TypeAlias = npt.NDArray[np.bool_]

LENGTH_EDGES: Final = (5.0, 10.0)
"""Seconds; a video of exactly 5 s is in the second group."""

SIZE_EDGES: Final = (0.02, 0.1, 0.3)
"""Shares of the frame that a video's traces cover, on average over its traces."""


def group(dataset: Dataset) -> dict[Grouping, dict[str, Mask]]:
    """For each grouping, the videos ``(N,)`` of each group; empty groups are left out.

    "generator", "category" and "trace_size" hold fake videos only, "real_source" and "edit" real ones. A video with
    traces of two categories is in both groups. What is not known (no source, no length, no box) is in "unknown".
    "edit" is empty where no record says ``sham``, as those of `deeptrace inject` do: an edit that shows nothing.
    """
    records, truths = dataset.records, dataset.truths
    fake = dataset.is_fake
    everyone = np.ones(len(truths), np.bool_)
    return {
        "generator": _by([record.source or "unknown" for record in records], fake),
        "real_source": _by([record.source or "unknown" for record in records], ~fake),
        "category": _by_category(records, fake),
        "length": _by_size([truth.length_seconds for truth in truths], LENGTH_EDGES, "s", everyone),
        "trace_size": _by_size([_mean_area(truth) for truth in truths], SIZE_EDGES, "of the frame", fake),
        "edit": _by_edit(records, ~fake),
    }


def _by(names: Sequence[str], among: Mask) -> dict[str, Mask]:
    labels = np.array(names, dtype=object)
    return {name: (labels == name) & among for name in sorted(set(labels[among].tolist()))}


def _by_size(values: Sequence[float | None], edges: Sequence[float], unit: str, among: Mask) -> dict[str, Mask]:
    starts, ends = (0.0, *edges), (*(f"to {edge:g}" for edge in edges), "and more")
    places = np.array([-1 if value is None else np.searchsorted(edges, value, side="right") for value in values])
    masks = {
        f"{start:g} {end} {unit}": (places == i) & among
        for i, (start, end) in enumerate(zip(starts, ends, strict=True))
    }
    masks["unknown"] = (places < 0) & among
    return {name: mask for name, mask in masks.items() if mask.any()}


def _by_category(records: Sequence[Record], fake: Mask) -> dict[str, Mask]:
    carried = [{category for trace in record.traces for category in trace.categories or ()} for record in records]
    masks: dict[str, Mask] = {name: np.array([name in own for own in carried], np.bool_) & fake for name in CATEGORIES}
    masks["unknown"] = np.array([not own for own in carried], np.bool_) & fake
    return {name: mask for name, mask in masks.items() if mask.any()}


def _by_edit(records: Sequence[Record], real: Mask) -> dict[str, Mask]:
    """Real videos that went through the editor and show nothing, and those that nobody touched."""
    shams = [_is_sham(record) for record in records]
    if not any(sham is not None for sham, is_real in zip(shams, real, strict=True) if is_real):
        return {}
    names = {True: "sham", False: "untouched", None: "unknown"}
    masks = {name: np.array([sham is value for sham in shams], np.bool_) & real for value, name in names.items()}
    return {name: mask for name, mask in masks.items() if mask.any()}


def _is_sham(record: Record) -> bool | None:
    """What a record says under ``sham``, itself or in one of its annotations; None where it says nothing."""
    values = [
        extra["sham"]
        for extra in (record.extra, *(annotation.extra for annotation in record.annotations))
        if "sham" in extra
    ]
    return next((value for value in values if isinstance(value, bool)), None)


def _mean_area(truth: Truth) -> float | None:
    boxes = [trace.bbox_xyxy for trace in truth.rows if trace.bbox_xyxy is not None]
    return sum((box[2] - box[0]) * (box[3] - box[1]) for box in boxes) / len(boxes) if boxes else None
