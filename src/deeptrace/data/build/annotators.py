"""How far annotators agree, and one record made of what several said. Agreement comes first: merging hides it.

In: records whose annotations carry annotators' names (`deeptrace.data.convert` keeps them). ``agreement`` measures
labels, tags, boxes and times; ``merge`` lets the majority decide and keeps the source of every field. "unsure" is a
label of its own everywhere: never counted as real, never dropped.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from statistics import fmean, median
from typing import Any, Final

from deeptrace.categories import CATEGORIES, Category
from deeptrace.data.build.annotator_statistics import (
    TraceMatch,
    cohen_kappa,
    compare,
    fleiss_kappa,
    krippendorff_alpha,
    match_traces,
)
from deeptrace.data.read.tolerant import has_text
from deeptrace.errors import RecordError
from deeptrace.measures.overlap import assign
from deeptrace.records import Annotation, Box, KeyBox, Record, RecordLabel, Trace
from deeptrace.rows import trace_to_json

__all__ = [
    "CONSENSUS",
    "NOT_MERGED",
    "Agreement",
    "Kappa",
    "TraceMatch",
    "ValueSummary",
    "agreement",
    "cohen_kappa",
    "fleiss_kappa",
    "krippendorff_alpha",
    "majority",
    "match_traces",
    "merge",
]

CONSENSUS: Final = "consensus"
"""The annotator's name on a merged annotation."""

NOT_MERGED: Final = "annotations: not merged, nobody is named"
"""The flag of a record that `merge` left as it is."""


# ── agreement ───────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Kappa:
    """Agreement on a choice over ``units`` rated by at least two. ``raw`` is the share of agreeing pairs, in [0, 1].

    ``cohen`` only where the same two rated every unit, ``fleiss`` only where all units have equally many ratings;
    ``alpha`` always. None: undefined (no units, or one value throughout, where chance alone agrees).
    """

    units: int
    raw: float | None
    cohen: float | None
    fleiss: float | None
    alpha: float | None


@dataclass(frozen=True)
class ValueSummary:
    """``n`` values, their mean and median; None of nothing."""

    n: int
    mean: float | None
    median: float | None


@dataclass(frozen=True)
class Agreement:
    """What `agreement` found. ``videos`` have at least two named annotators; only they count.

    ``strata`` counts these videos by the label of the majority ("fake", "real", "unsure"; "none": no majority).
    ``label_decided`` is the agreement on the videos where nobody was unsure. ``tags`` has one yes-or-no agreement for
    each category, over annotators who tagged a trace of the video; ``tags_mean_alpha`` is their mean. ``box_iou``,
    ``tiou`` and ``onset_difference_seconds`` are of matched traces of every two annotators who both marked some; a
    trace without partner is in ``unmatched`` (``matched`` counts pairs). ``unnamed`` annotations have no annotator and
    are left out; ``contradictions`` counts annotators who gave one video two labels: that label is left out.
    """

    videos: int
    annotators: tuple[str, ...]
    label: Kappa
    label_decided: Kappa
    strata: dict[str, int]
    tags: dict[Category, Kappa]
    tags_mean_alpha: float | None
    box_iou: ValueSummary
    tiou: ValueSummary
    onset_difference_seconds: ValueSummary
    matched: int
    unmatched: int
    unnamed: int
    contradictions: int


@dataclass
class _Judgement:
    """What one annotator said of one video, over all annotations of that name."""

    labels: set[RecordLabel] = field(default_factory=set)
    traces: list[Trace] = field(default_factory=list)

    @property
    def label(self) -> RecordLabel | None:
        """The label, or fake where only traces were marked; None where nothing or two things were said."""
        if not self.labels:
            return "fake" if self.traces else None
        return next(iter(self.labels)) if len(self.labels) == 1 else None


def _by_annotator(record: Record) -> dict[str, _Judgement]:
    judgements: dict[str, _Judgement] = {}
    for annotation in record.annotations:
        if annotation.annotator is None:
            continue
        if annotation.annotator == CONSENSUS:
            raise RecordError("annotations", f"video {record.video_id!r} is merged: use the annotators' own records")
        own = judgements.setdefault(annotation.annotator, _Judgement())
        own.traces += annotation.traces
        if annotation.label is not None:
            own.labels.add(annotation.label)
    return judgements


def agreement(records: Iterable[Record]) -> Agreement:
    """How far the annotators of each video agree, before any consensus.

    An annotator who marked traces and gave no label counts as saying fake. Boxes are compared at onset.

    Raises:
        RecordError: a record was merged already.
        MissingExtra: scipy or scikit-learn is not installed.
    """
    record_list = list(records)
    by_video = [judgements for record in record_list if len(judgements := _by_annotator(record)) >= 2]
    labels = [{name: own.label for name, own in judgements.items() if own.label is not None} for judgements in by_video]
    rated = [{name: str(label) for name, label in unit.items()} for unit in labels]
    matches, unmatched = _matches(by_video)
    tags = {category: _kappa(_tag_units(by_video, category)) for category in CATEGORIES}
    alphas = [kappa.alpha for kappa in tags.values() if kappa.alpha is not None]
    strata = Counter(majority(list(unit.values())) or "none" for unit in labels)
    return Agreement(
        videos=len(by_video),
        annotators=tuple(sorted({name for judgements in by_video for name in judgements})),
        label=_kappa(rated),
        label_decided=_kappa([unit for unit in rated if "unsure" not in unit.values()]),
        strata={name: strata.get(name, 0) for name in ("fake", "real", "unsure", "none")},
        tags=tags,
        tags_mean_alpha=fmean(alphas) if alphas else None,
        box_iou=_spread(match.box_iou for match in matches),
        tiou=_spread(match.tiou for match in matches),
        onset_difference_seconds=_spread(match.onset_difference_seconds for match in matches),
        matched=len(matches),
        unmatched=unmatched,
        unnamed=sum(annotation.annotator is None for record in record_list for annotation in record.annotations),
        contradictions=sum(len(own.labels) > 1 for judgements in by_video for own in judgements.values()),
    )


def _tag_units(by_video: Sequence[dict[str, _Judgement]], category: Category) -> list[dict[str, str]]:
    """For each video, who tagged a trace with the category ("yes") and who only with others ("no")."""
    units = []
    for judgements in by_video:
        unit = {}
        for name, own in judgements.items():
            tagged = [trace.categories for trace in own.traces if trace.categories is not None]
            if tagged:
                unit[name] = "yes" if any(category in categories for categories in tagged) else "no"
        units.append(unit)
    return units


def _kappa(units: Sequence[dict[str, str]]) -> Kappa:
    paired = [unit for unit in units if len(unit) >= 2]
    values = [list(unit.values()) for unit in paired]
    names = {tuple(sorted(unit)) for unit in paired}
    cohen = None
    if len(names) == 1 and len(pair := next(iter(names))) == 2:
        cohen = cohen_kappa([unit[pair[0]] for unit in paired], [unit[pair[1]] for unit in paired])
    agreeing = [fmean(a == b for a, b in combinations(unit, 2)) for unit in values]
    return Kappa(
        units=len(paired),
        raw=fmean(agreeing) if agreeing else None,
        cohen=cohen,
        fleiss=fleiss_kappa(values),
        alpha=krippendorff_alpha(values),
    )


def _matches(by_video: Sequence[dict[str, _Judgement]]) -> tuple[list[TraceMatch], int]:
    matches, unmatched = [], 0
    for judgements in by_video:
        for first, second in combinations(judgements.values(), 2):
            if first.traces and second.traces:
                pairs = match_traces(first.traces, second.traces)
                matches += pairs
                unmatched += len(first.traces) + len(second.traces) - 2 * len(pairs)
    return matches, unmatched


def _spread(values: Iterable[float | None]) -> ValueSummary:
    numbers = [value for value in values if value is not None]
    return ValueSummary(len(numbers), fmean(numbers) if numbers else None, median(numbers) if numbers else None)


# ── consensus ───────────────────────────────────────────────────────────────────────────────────────────────────────


def majority(labels: Sequence[RecordLabel]) -> RecordLabel | None:
    """The label that more than half gave; None where no label has that many. "unsure" counts like any other."""
    counts = Counter(labels)
    return next((label for label, count in counts.items() if 2 * count > len(labels)), None)


def merge(record: Record, *, min_support: int | None = None) -> Record:
    """One annotation, by "consensus", of what the named annotators said. Measure `agreement` before.

    The majority decides the label; without one it is None, with the flag "label: no majority". Traces that match (see
    `match_traces`) form a group; a group stands when more than half of those who marked traces are in it, or
    ``min_support`` of them. Box, onset and offset are medians, the track the median box at every key of the group,
    categories those that more than half of the tagging annotators gave, the explanation that of the annotator whose
    trace overlaps most with the others'. Traces stand only where the label is fake.

    ``extra["sources"]`` of the annotation says who gave the label and, for each trace, who each field comes from;
    ``extra["dropped"]`` keeps the traces without support. Annotations without annotator are left out, with a flag. A
    record that nobody annotated by name stays as it is, with the flag `NOT_MERGED`.

    Raises:
        RecordError: the record was merged already.
        MissingExtra: scipy is not installed.
    """
    judgements = _by_annotator(record)
    if not judgements:
        return replace(record, flags=tuple(dict.fromkeys((*record.flags, NOT_MERGED))))
    flags = list(record.flags)
    voters: dict[str, list[str]] = {}
    for name, own in judgements.items():
        if own.label is not None:
            voters.setdefault(own.label, []).append(name)
    label = majority([own.label for own in judgements.values() if own.label is not None])
    if label is None:
        flags.append("label: no majority")
    if any(annotation.annotator is None for annotation in record.annotations):
        flags.append("annotations without annotator: left out")
    marking = [name for name, own in judgements.items() if own.traces]
    needed = min_support if min_support is not None else len(marking) // 2 + 1
    groups = _groups({name: judgements[name].traces for name in marking})
    standing = [group for group in groups if len(group) >= needed] if label == "fake" else []
    dropped = [
        {"annotator": name, "trace": trace_to_json(trace)}
        for group in groups
        if not any(group is one for one in standing)
        for name, trace in group.items()
    ]
    fused = [_fuse(group, flags) for group in standing]
    extra: dict[str, Any] = {
        "sources": {"label": voters, "traces": [sources for _, sources in fused]},
        "annotators": list(judgements),
    }
    if dropped:
        extra["dropped"] = dropped
    annotation = Annotation(tuple(trace for trace, _ in fused), label, CONSENSUS, extra)
    return replace(record, label=label, annotations=(annotation,), flags=tuple(dict.fromkeys(flags)))


def _groups(traces: dict[str, list[Trace]]) -> list[dict[str, Trace]]:
    """Traces of several annotators, at most one of each, that were matched; in order of appearance.

    Annotators join one after the other, each trace with the group whose traces it overlaps most on average.
    """
    groups: list[dict[str, Trace]] = []
    for name, own in traces.items():
        matched_columns: set[int] = set()
        if groups:
            table = [[_mean_overlap(group, trace) for trace in own] for group in groups]
            for row, column in assign(table):
                groups[row][name] = own[column]
                matched_columns.add(column)
        groups += [{name: trace} for index, trace in enumerate(own) if index not in matched_columns]
    return groups


def _mean_overlap(group: dict[str, Trace], trace: Trace) -> float:
    return fmean(compare(member, trace).overlap for member in group.values())


def _fuse(group: dict[str, Trace], flags: list[str]) -> tuple[Trace, dict[str, list[str]]]:
    """The trace of a group, and the annotators behind each of its fields. A trace without partner stays as it is."""
    if len(group) == 1:
        ((who, only),) = group.items()
        return only, {name: [who] for name in Trace.__dataclass_fields__ if getattr(only, name) is not None}
    fields: dict[str, Any] = {}
    sources: dict[str, list[str]] = {}
    for name in ("onset_seconds", "offset_seconds", "confidence"):
        values = {who: value for who, trace in group.items() if (value := getattr(trace, name)) is not None}
        if values:
            fields[name], sources[name] = median(values.values()), list(values)
    if fields.get("offset_seconds") is not None and fields["offset_seconds"] <= fields.get("onset_seconds", 0.0):
        del fields["offset_seconds"], sources["offset_seconds"]  # of traces that do not all say both
        flags.append("offset_seconds: medians contradict")
    boxes = {who: trace.bbox_xyxy for who, trace in group.items() if trace.bbox_xyxy is not None}
    if boxes:
        fields["bbox_xyxy"], sources["bbox_xyxy"] = _median_box(list(boxes.values())), list(boxes)
    if any(trace.track for trace in group.values()):
        track = _fuse_tracks(list(group.values()), fields.get("onset_seconds"), fields.get("offset_seconds"))
        if track is not None:
            fields["track"] = track
            sources["track"] = [who for who, trace in group.items() if trace.track or trace.bbox_xyxy is not None]
    tagging = {who: trace.categories for who, trace in group.items() if trace.categories is not None}
    if tagging:
        votes = Counter(category for categories in tagging.values() for category in set(categories))
        winners = tuple(category for category in CATEGORIES if 2 * votes[category] > len(tagging))
        if winners or not votes:
            fields["categories"] = winners
            sources["categories"] = [who for who, own in tagging.items() if set(own) & set(winners) or not winners]
        else:
            flags.append("categories: no majority")
    explaining = [who for who, trace in group.items() if has_text(trace.explanation)]
    if explaining:
        best = max(explaining, key=lambda who: _closeness(who, group))
        fields["explanation"], sources["explanation"] = group[best].explanation, [best]
    return Trace(**fields), sources


def _closeness(who: str, group: dict[str, Trace]) -> float:
    others = [trace for name, trace in group.items() if name != who]
    return fmean(compare(group[who], trace).overlap for trace in others) if others else 1.0


def _median_box(boxes: Sequence[Box]) -> Box:
    """The median of each side. It is a valid box when all are: medians keep x0 < x1."""
    return (
        median(box[0] for box in boxes),
        median(box[1] for box in boxes),
        median(box[2] for box in boxes),
        median(box[3] for box in boxes),
    )


def _fuse_tracks(traces: Sequence[Trace], onset: float | None, offset: float | None) -> tuple[KeyBox, ...] | None:
    """At every key, onset and offset of the group: the median of the boxes shown, hidden where most show none.

    A hidden key has the median of the boxes just before it, so that the last stretch moves to its end.
    """
    times = {key.time_seconds for trace in traces for key in trace.track or ()}
    times |= {time for trace in traces for time in (trace.onset_seconds, trace.offset_seconds) if time is not None}
    first, last = onset or 0.0, math.inf if offset is None else offset
    times = {time for time in times if first <= time <= last} | {time for time in (onset, offset) if time is not None}
    keys: list[KeyBox] = []
    for time in sorted(times):
        boxes = _boxes_at(traces, time)
        if time < last and boxes and 2 * len(boxes) >= len(traces):
            keys.append(KeyBox(time, _median_box(boxes)))
        elif keys and keys[-1].visible:
            before = _boxes_at(traces, math.nextafter(time, 0.0))
            keys.append(KeyBox(time, _median_box(before) if before else None, visible=False))
    return tuple(keys) or None


def _boxes_at(traces: Sequence[Trace], time: float) -> list[Box]:
    return [box for trace in traces if (box := trace.box_at(time)) is not None]
