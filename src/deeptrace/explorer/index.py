"""A dataset to look at: filters, search, order and pages over its records and what models said of them.

In: `Records` and runs of outcomes. Out: rows of a page, counts of what can be filtered, and addresses that others can
open. Opens no video.
"""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from statistics import fmean
from typing import Final
from urllib.parse import urlencode

from deeptrace.data.build.annotators import match_traces
from deeptrace.data.read.load import Records
from deeptrace.explorer.outcomes import NamedRun
from deeptrace.measures.video import VideoScore, score_video, truth_of
from deeptrace.pages.sentences import status_of
from deeptrace.records import Outcome, Record, Trace, Verdict

__all__ = [
    "PAGE_SIZE", "SORTS", "SORTS_ABOUT_RUNS", "DatasetIndex", "Entry", "Facet", "ViewQuery", "ViewResult",
    "box_iou_at_onset", "onset_error", "overlap_in_time",
]  # fmt: skip

PAGE_SIZE: Final = 48
NONE_NAMED: Final = "(none)"
MAX_QUERY_CHARS: Final = 400
_REMEMBERED_VIEWS: Final = 64  # 7,000 numbers each

SORTS: Final[Mapping[str, str]] = {
    "order": "as in the file",
    "name": "by id",
    "seconds": "longest first",
    "traces": "most traces first",
    "p_fake": "P(fake), highest first",
    "p_fake_low": "P(fake), lowest first",
    "overlap": "best overlap first",
    "overlap_low": "worst overlap first",
    "box": "best box at onset first",
    "box_low": "worst box at onset first",
    "time": "best overlap in time first",
    "time_low": "worst overlap in time first",
    "onset": "largest onset error first",
    "onset_low": "smallest onset error first",
    "disagreement": "most disagreement first",
}
FACETS: Final[Mapping[str, str]] = {
    "label": "Label",
    "source": "Generator or source",
    "split": "Split",
    "category": "Category",
    "explained": "Explanation",
    "annotators": "Annotators",
    "verdict": "Verdict",
    "right": "Model",
    "overlap_range": "Overlap",
    "flag": "Flag",
}
_ABOUT_RUNS: Final = ("verdict", "right", "overlap_range")
SORTS_ABOUT_RUNS: Final = frozenset(
    ["p_fake", "p_fake_low", "overlap", "overlap_low", "box", "box_low", "time", "time_low", "onset", "onset_low"]
)
"""Orders by what a run says: without a run there is nothing to order by."""


@dataclass(frozen=True)
class Entry:
    """One video: its record, what each run said of it, and how right that is. ``number`` is its place in the file."""

    number: int
    record: Record
    outcomes: Mapping[str, Outcome]
    scores: Mapping[str, VideoScore]

    @property
    def video_id(self) -> str:
        """The record's id."""
        return self.record.video_id

    @property
    def seconds(self) -> float | None:
        """The video's declared length."""
        return None if self.record.info is None else self.record.info.length_seconds

    @cached_property
    def text(self) -> str:
        """What a search looks at, in lower case: id, path, prompt, source, explanations, and the models' words."""
        parts = [self.video_id, self.record.path or "", self.record.prompt or "", self.record.source or ""]
        parts += [trace.explanation or "" for trace in self.record.traces]
        for outcome in self.outcomes.values():
            if isinstance(outcome, Verdict):
                parts += [trace.explanation or "" for trace in outcome.traces]
        return "\n".join(parts).lower()

    @cached_property
    def categories(self) -> tuple[str, ...]:
        """The categories that people marked, each once."""
        return tuple(dict.fromkeys(c for trace in self.record.traces for c in trace.categories or ()))

    @cached_property
    def disagreement(self) -> float | None:
        """How far the named annotators are apart, in [0, 1]: another label 1, else 1 - the overlap of their traces.

        None where fewer than two named people looked.
        """
        traces: dict[str, list[Trace]] = {}
        labels = set()
        for annotation in self.record.annotations:
            if annotation.annotator is not None:
                traces.setdefault(annotation.annotator, []).extend(annotation.traces)
                labels.add(annotation.label or ("fake" if annotation.traces else None))
        if len(traces) < 2:
            return None
        return 1.0 if len(labels) > 1 else 1.0 - fmean(_likeness(a, b) for a, b in combinations(traces.values(), 2))

    def facet(self, name: str, run: str | None) -> tuple[str, ...]:
        """The values that the video has under a filter."""
        record, outcome, score = self.record, self.outcomes.get(run or ""), self.scores.get(run or "")
        match name:
            case "label":
                return (record.label or NONE_NAMED,)
            case "source":
                return (record.source or NONE_NAMED,)
            case "split":
                return (record.split or NONE_NAMED,)
            case "category":
                return self.categories or (NONE_NAMED,)
            case "explained":
                return ("explained" if any((t.explanation or "").strip() for t in record.traces) else "not explained",)
            case "annotators":
                return (_disagreement_words(self.disagreement),)
            case "verdict":
                return ("no row" if outcome is None else status_of(outcome),)
            case "right":
                return (_right_words(record, outcome),)
            case "overlap_range":
                return (_overlap_words(score),)
            case _:
                return tuple(record.flags) or (NONE_NAMED,)


def _likeness(a: Sequence[Trace], b: Sequence[Trace]) -> float:
    """How far two people's traces are the same: overlap of matched ones over all, in [0, 1]; 1 where nobody marked any.

    By hand: one trace each at an overlap of 0.8 is 0.8; a second one that only one of them marked makes it 1.6 / 3.
    """
    if not a and not b:
        return 1.0
    return 2 * sum(match.overlap for match in match_traces(a, b)) / (len(a) + len(b))


def _disagreement_words(value: float | None) -> str:
    if value is None:
        return "fewer than two"
    return "disagree" if value >= 0.5 else "differ a little" if value > 0.05 else "agree"


def _right_words(record: Record, outcome: Outcome | None) -> str:
    if record.label not in ("fake", "real"):
        return "no truth"
    if not isinstance(outcome, Verdict):
        return "no verdict"
    return "right" if outcome.label == record.label else "missed" if record.label == "fake" else "false alarm"


def _overlap_words(score: VideoScore | None) -> str:
    value = None if score is None else score.viou_f1
    if value is None:
        return "none to measure"
    return "0" if value == 0 else "under 0.25" if value < 0.25 else "0.25 to 0.5" if value < 0.5 else "0.5 and more"


@dataclass(frozen=True)
class ViewQuery:
    """A view of the dataset; the same address gives the same view. ``chosen`` holds the values of each filter."""

    chosen: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    words: str = ""
    sort: str = "order"
    run: str | None = None
    page: int = 1

    @classmethod
    def from_pairs(cls, pairs: Iterable[tuple[str, str]], runs: Sequence[str]) -> ViewQuery:
        """What an address asks for. What it cannot ask for is passed over: an old address still opens."""
        chosen: dict[str, list[str]] = {}
        words, sort, run, page = "", "order", runs[0] if runs else None, 1
        for name, value in pairs:
            if name in FACETS and len(value) <= MAX_QUERY_CHARS:
                chosen.setdefault(name, []).append(value)
            elif name == "q":
                words = value[:MAX_QUERY_CHARS]
            elif name == "sort" and value in SORTS:
                sort = value
            elif name == "run" and value in runs:
                run = value
            elif name == "page" and value.isascii() and value.isdigit() and len(value) < 8:
                page = max(1, int(value))
        return cls({name: tuple(dict.fromkeys(values)) for name, values in chosen.items()}, words, sort, run, page)

    def pairs(self, **changes: object) -> list[tuple[str, str]]:
        """The view as the pairs of an address; ``page=2`` and the like replace what it says."""
        pairs = [(name, value) for name, values in self.chosen.items() for value in values]
        rest = {"q": self.words, "sort": self.sort, "run": self.run or "", "page": self.page} | changes
        defaults = {"q": "", "sort": "order", "run": "", "page": 1}
        return pairs + [(k, str(v)) for k, v in rest.items() if v is not None and v != defaults[k]]

    def address(self, **changes: object) -> str:
        """The query part of the address."""
        return urlencode(self.pairs(**changes))


@dataclass(frozen=True)
class Facet:
    """One filter: its values, how many videos of the view each would leave, and which are chosen."""

    name: str
    title: str
    values: tuple[tuple[str, int, bool], ...]


@dataclass(frozen=True)
class ViewResult:
    """One page of a view: ``total`` videos in it, the ``entries`` of this page, and the filters."""

    total: int
    pages: int
    page: int
    entries: tuple[Entry, ...]
    facets: tuple[Facet, ...]
    order: tuple[int, ...]


class DatasetIndex:
    """Records and runs, ready to be looked at. Scores are taken when the index is made: once, not a request."""

    def __init__(self, records: Records, runs: Sequence[NamedRun] = ()) -> None:
        self.records, self.runs = records, tuple(runs)
        self.names = tuple(run.name for run in runs)
        self.entries = tuple(self._entry(number, record) for number, record in enumerate(records))
        self.by_id = {entry.video_id: entry for entry in self.entries}
        self._values: dict[tuple[str, str | None], list[tuple[str, ...]]] = {}
        self._views: OrderedDict[str, tuple[tuple[int, ...], tuple[Facet, ...]]] = OrderedDict()
        self._lock = threading.Lock()
        self.view(ViewQuery.from_pairs([], self.names))  # at the start, so that the first page waits for none of it

    def _entry(self, number: int, record: Record) -> Entry:
        outcomes = {run.name: run.outcomes[record.video_id] for run in self.runs if record.video_id in run.outcomes}
        truth = truth_of(record) if outcomes else None
        scores = {} if truth is None else {name: score_video(truth, outcome) for name, outcome in outcomes.items()}
        return Entry(number, record, outcomes, scores)

    def view(self, query: ViewQuery) -> ViewResult:
        """The page of a view. A page behind the last one is the last one."""
        order, facets = self._whole(query)
        pages = max(1, -(-len(order) // PAGE_SIZE))
        page = min(query.page, pages)
        shown = tuple(self.entries[number] for number in order[(page - 1) * PAGE_SIZE : page * PAGE_SIZE])
        return ViewResult(len(order), pages, page, shown, facets, order)

    def _whole(self, query: ViewQuery) -> tuple[tuple[int, ...], tuple[Facet, ...]]:
        """A view without its page: numbers of its videos in order, and its filters. The last ones are remembered."""
        key = query.address(page=None)
        with self._lock:
            if key not in self._views:
                self._views[key] = self._work_out(query)
                if len(self._views) > _REMEMBERED_VIEWS:
                    self._views.popitem(last=False)
            self._views.move_to_end(key)
            return self._views[key]

    def _work_out(self, query: ViewQuery) -> tuple[tuple[int, ...], tuple[Facet, ...]]:
        words = query.words.lower().split()
        searched = [e for e in self.entries if not words or all(word in e.text for word in words)]
        columns = {name: self._column(name, query.run) for name in self._facets()}
        values = {name: [column[entry.number] for entry in searched] for name, column in columns.items()}
        passing = {
            name: [not query.chosen.get(name) or bool(set(own) & set(query.chosen[name])) for own in values[name]]
            for name in values
        }
        kept_rows = [i for i in range(len(searched)) if all(column[i] for column in passing.values())]
        order = self._sorted([searched[i] for i in kept_rows], query)
        facets = tuple(_facet(name, values, passing, query) for name in values)
        return tuple(entry.number for entry in order), facets

    def _column(self, name: str, run: str | None) -> list[tuple[str, ...]]:
        """What every video has under a filter, by its number; worked out once."""
        place = (name, run if name in _ABOUT_RUNS else None)
        if place not in self._values:
            self._values[place] = [entry.facet(name, run) for entry in self.entries]
        return self._values[place]

    def _facets(self) -> tuple[str, ...]:
        return tuple(name for name in FACETS if self.runs or name not in _ABOUT_RUNS)

    def _sorted(self, entries: list[Entry], query: ViewQuery) -> list[Entry]:
        if query.sort == "order":
            return entries
        if query.sort == "name":
            return sorted(entries, key=lambda entry: entry.video_id)
        value, sign = _SORT_VALUES[query.sort]
        values = {entry.number: value(entry, query.run) for entry in entries}

        def place(entry: Entry) -> tuple[bool, float, int]:
            own = values[entry.number]
            return own is None, 0.0 if own is None else sign * own, entry.number

        return sorted(entries, key=place)


def _facet(
    name: str, values: Mapping[str, list[tuple[str, ...]]], passing: Mapping[str, list[bool]], query: ViewQuery
) -> Facet:
    """Counts within what the *other* filters leave, so that a second value of the same filter can be added."""
    others = [column for other, column in passing.items() if other != name]
    counts: Counter[str] = Counter()
    for i, own in enumerate(values[name]):
        if all(column[i] for column in others):
            counts.update(own)
    chosen = query.chosen.get(name, ())
    for value in chosen:
        counts.setdefault(value, 0)
    ranked = sorted(counts.items(), key=lambda pair: (pair[0] == NONE_NAMED, -pair[1], pair[0]))
    return Facet(name, FACETS[name], tuple((value, n, value in chosen) for value, n in ranked))


def _p_fake(entry: Entry, run: str | None) -> float | None:
    outcome = entry.outcomes.get(run or "")
    return outcome.p_fake if isinstance(outcome, Verdict) else None


def _overlap(entry: Entry, run: str | None) -> float | None:
    score = entry.scores.get(run or "")
    return None if score is None else score.viou_f1


def onset_error(score: VideoScore | None) -> float | None:
    """The mean onset error of a video's matched traces in seconds; None where nothing is matched or timed."""
    errors = [] if score is None else [p.onset_error_seconds for p in score.pairs if p.onset_error_seconds is not None]
    return fmean(errors) if errors else None


def box_iou_at_onset(score: VideoScore | None) -> float | None:
    """The mean IoU of a video's boxes at onset, in [0, 1]; None where none is measured."""
    values = [] if score is None else [row.bbox_iou for row in score.rows if row.bbox_iou is not None]
    return fmean(values) if values else None


def overlap_in_time(score: VideoScore | None) -> float | None:
    """The mean overlap in time of a video's matched traces, in [0, 1]; None where nothing is matched or timed."""
    values = [] if score is None else [pair.tiou for pair in score.pairs if pair.tiou is not None]
    return fmean(values) if values else None


_SORT_VALUES: Final[Mapping[str, tuple[Callable[[Entry, str | None], float | None], int]]] = {
    "seconds": (lambda entry, _: entry.seconds, -1),
    "traces": (lambda entry, _: float(len(entry.record.traces)), -1),
    "p_fake": (_p_fake, -1),
    "p_fake_low": (_p_fake, 1),
    "overlap": (_overlap, -1),
    "overlap_low": (_overlap, 1),
    "box": (lambda entry, run: box_iou_at_onset(entry.scores.get(run or "")), -1),
    "box_low": (lambda entry, run: box_iou_at_onset(entry.scores.get(run or "")), 1),
    "time": (lambda entry, run: overlap_in_time(entry.scores.get(run or "")), -1),
    "time_low": (lambda entry, run: overlap_in_time(entry.scores.get(run or "")), 1),
    "onset": (lambda entry, run: onset_error(entry.scores.get(run or "")), -1),
    "onset_low": (lambda entry, run: onset_error(entry.scores.get(run or "")), 1),
    "disagreement": (lambda entry, _: entry.disagreement, -1),
}
