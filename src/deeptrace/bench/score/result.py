"""What scoring gives: rows of the tables with intervals, denominators and differences, and their JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from deeptrace.answer import FIELDS, Field
from deeptrace.bench.score.catalogue import Protocol
from deeptrace.bench.score.published import Published
from deeptrace.bench.score.run_table import RunTable
from deeptrace.bench.score.statistics import Interval, Spread
from deeptrace.bench.score.totals import FAIR_NAME, FAIR_VERSION, PAPER_KEYS, overall_fields, paper_overall_fields

__all__ = ["Comparison", "Difference", "GroupScore", "Kind", "Protocol", "RunScore", "Scores"]

Kind = Literal["measured", "blind"]

SCHEMA: Final = "deeptrace.bench.scores"
SCHEMA_VERSION: Final = 1


@dataclass(frozen=True)
class Difference:
    """A metric of one row less that of another, turned so that more is better. In the metric's own unit, [0, 1].

    ``p``: of a paired permutation test; ``p_holm``: adjusted over the rows of the table, metric by metric.
    ``smallest_detectable``: what a true difference would have to be to be found in four cases of five.
    """

    value: float | None
    low: float | None
    high: float | None
    smallest_detectable: float | None
    p: float | None
    p_holm: float | None


@dataclass(frozen=True)
class GroupScore:
    """One group of videos: how many, and metrics with intervals by protocol."""

    videos: int
    metrics: Mapping[Protocol, Mapping[str, Interval]]


@dataclass(frozen=True)
class RunScore:
    """One row of the tables. Values in [0, 1] unless their name says otherwise; ``n`` has the same keys.

    ``counts``: videos by status and label, annotation rows, written and graded explanations. ``skill``: what the row
    has over the blind one. ``reliability``: by bin of p_fake. ``rank`` is its place by Overall among complete rows;
    None: incomplete, or no Overall. ``filled``: videos in whose answers a time was filled in, because the format has
    none.
    """

    name: str
    kind: Kind
    run: RunTable
    paper: Mapping[str, Interval]
    fair: Mapping[str, Interval]
    n: Mapping[Protocol, Mapping[str, int]]
    counts: Mapping[str, int]
    reliability: tuple[Mapping[str, float | None], ...] | None
    groups: Mapping[str, Mapping[str, GroupScore]]
    skill: Mapping[Protocol, Mapping[str, Difference]]
    texts: Mapping[str, float] | None

    @property
    def fair_fields(self) -> tuple[Field, ...]:
        """The fields that fair_overall is made of; only rows of equal ones can be ranked."""
        return overall_fields(self.run.fields)

    @property
    def paper_fields(self) -> tuple[Field, ...]:
        """The fields that earn something in the paper's Overall; only rows of equal ones can be ranked."""
        return paper_overall_fields(self.run.fields)

    def to_json(self) -> dict[str, Any]:
        """As JSON values: ``paper`` on 0-100, ``fair`` in [0, 1]."""
        run = self.run
        return {
            "name": self.name,
            "kind": self.kind,
            "file": run.file or None,
            "model": run.model,
            "revision": run.revision,
            "other_revisions": list(run.revisions),
            "settings": dict(run.settings),
            "question": run.question,
            "fields": [field for field in FIELDS if field in run.fields],
            "judged": run.judged,
            "incomplete": run.incomplete,
            "calibrations": dict(run.calibrations),
            "counts": dict(self.counts),
            "reasons": dict(run.reasons.most_common(20)),
            "paper": {
                "unit": "0-100",
                "model": self.name,
                "kind": self.kind,
                "overall_fields": list(self.paper_fields),
                **{key: _times_100(self.paper[key].value) for key in (*PAPER_KEYS, "overall_without_judge")},
                "n": dict(self.n["paper"]),
                "intervals": {key: _pair(value, 100) for key, value in self.paper.items()},
            },
            "fair": {
                "name": FAIR_NAME,
                "version": FAIR_VERSION,
                "unit": "0-1",
                "fair_overall_fields": list(self.fair_fields),
                "not_given": {key: value.reason for key, value in self.fair.items() if value.reason is not None},
                "filled": dict(run.filled),
                **{key: value.value for key, value in self.fair.items()},
                "n": dict(self.n["fair"]),
                "intervals": {key: _pair(value, 1) for key, value in self.fair.items()},
                "reliability": None if self.reliability is None else [dict(row) for row in self.reliability],
            },
            "text": None if self.texts is None else dict(self.texts),
            "skill": _differences(self.skill),
            "groups": {
                grouping: {name: _group_json(score) for name, score in groups.items()}
                for grouping, groups in self.groups.items()
            },
        }


@dataclass(frozen=True)
class Comparison:
    """One measured row less the reference row, by protocol and metric."""

    name: str
    against: str
    differences: Mapping[Protocol, Mapping[str, Difference]]


@dataclass(frozen=True)
class Scores:
    """All tables of some runs on one split of a data set.

    ``blind`` are the rows that see no pixels; ``blind_note`` says why the one that learns from
    train is missing, or that it learned from videos scored here.
    ``published``: the paper's rows of this split; ``is_release``: these are as many videos as the paper's.
    ``variance``: by model, how far runs that differ only in their seed lie apart, and how far judges do.
    """

    split: str
    videos: int
    unsure: int
    clusters: int
    replicates: int
    permutations: int
    seed: int
    runs: tuple[RunScore, ...]
    blind: tuple[RunScore, ...]
    blind_note: str | None
    published: tuple[Published, ...]
    is_release: bool
    comparisons: tuple[Comparison, ...]
    variance: Mapping[str, Mapping[str, Mapping[str, Spread]]]

    def to_json(self) -> dict[str, Any]:
        """As JSON values. With one run, its ``paper`` and ``fair`` stand at the top too."""
        from deeptrace.bench.score.conclusion import conclusion

        runs = [run.to_json() for run in self.runs]
        alone = {key: runs[0][key] for key in ("paper", "fair", "counts", "skill")} if len(runs) == 1 else {}
        return {
            "schema": SCHEMA,
            "schema_version": SCHEMA_VERSION,
            "conclusion": list(conclusion(self)),
            "split": self.split,
            "videos": self.videos,
            "unsure": self.unsure,
            "clusters": self.clusters,
            "replicates": self.replicates,
            "permutations": self.permutations,
            "seed": self.seed,
            **alone,
            "runs": runs,
            "blind": [run.to_json() for run in self.blind],
            "blind_note": self.blind_note,
            "published": {
                "unit": "0-100",
                "same_videos": self.is_release,
                "rows": [asdict(row) for row in self.published],
            },
            "comparisons": [
                {"name": comparison.name, "against": comparison.against, **_differences(comparison.differences)}
                for comparison in self.comparisons
            ],
            "variance": {
                model: {
                    source: {key: asdict(spread) for key, spread in lines.items()} for source, lines in sources.items()
                }
                for model, sources in self.variance.items()
            },
        }


def _times_100(value: float | None) -> float | None:
    return None if value is None else 100 * value


def _pair(value: Interval, scale: float) -> list[float] | None:
    return None if value.low is None or value.high is None else [scale * value.low, scale * value.high]


def _differences(differences: Mapping[Protocol, Mapping[str, Difference]]) -> dict[str, Any]:
    return {
        str(protocol): {key: asdict(value) for key, value in values.items()} for protocol, values in differences.items()
    }


def _group_json(score: GroupScore) -> dict[str, Any]:
    metrics: dict[str, Any] = {
        str(protocol): {key: {"value": value.value, "interval": _pair(value, 1)} for key, value in values.items()}
        for protocol, values in score.metrics.items()
    }
    return {"videos": score.videos, "unit": "0-1", **metrics}
