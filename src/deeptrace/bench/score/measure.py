"""Every metric of a run, for the data as it is and for every bootstrap replicate. Runs in, arrays ``(1 + B,)`` out."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt

from deeptrace.bench.score.catalogue import METRICS, Metric
from deeptrace.bench.score.dataset import Dataset
from deeptrace.bench.score.result import Protocol
from deeptrace.bench.score.run_table import Floats, RunTable
from deeptrace.bench.score.statistics import (
    Draws,
    Interval,
    bounded_interval,
    cluster_sums,
    hits_interval,
    interval,
    replicate_sums,
)
from deeptrace.bench.score.totals import (
    BY_CATEGORY,
    PLACE,
    RANKED,
    Metrics,
    category_tallies,
    f1_of_categories,
    fair,
    paper,
    probability,
)
from deeptrace.categories import CATEGORIES
from deeptrace.measures.probabilities import tpr_at_fpr, weighted_auroc

_BLOCK: Final = 100

HITS: Final = {"tpr_at_1_fpr": 0.01, "tpr_at_10_fpr": 0.1}
"""Hit rates by the share of false alarms at which they are taken. A bootstrap does not know the threshold's doubt."""

LEAST_OF_A_CATEGORY: Final = 10
"""Independent fake videos that each category of the truth needs. Draws of fewer leave a category out, or swing with it:
see ``benchmarks/interval_coverage.py``."""

_BIASED: Final = "lies above the truth in samples, the more the smaller they are, and so do its draws"

_OF_BOTH_SHARES: Final = {"balanced_accuracy": (0.5, 0.0), "informedness": (1.0, -1.0)}
"""Metrics that are ``scale * (fake accuracy + real accuracy) + shift``."""


@dataclass(frozen=True)
class Measured:
    """A run with every metric of every replicate, ``(1 + B,)`` each."""

    run: RunTable
    paper: Metrics
    fair: Metrics

    def of(self, protocol: Protocol) -> Metrics:
        """The metrics of one protocol."""
        return self.paper if protocol == "paper" else self.fair


@dataclass(frozen=True)
class Setting:
    """What all runs share."""

    dataset: Dataset
    draws: Draws
    clusters: Sequence[Hashable]
    permutations: int
    seed: int

    def measure(self, run: RunTable) -> Measured:
        """Every metric of a run, for every replicate."""
        sums = replicate_sums(run.rows, self.draws)
        return Measured(run, metrics_of(run, "paper")(sums), metrics_of(run, "fair")(sums) | self._rank(run))

    def interval(self, measured: Measured, protocol: Protocol, key: str) -> Interval:
        """The value of a metric with its 95 % interval, by the method that suits it."""
        values, metric = measured.of(protocol)[key], METRICS[protocol][key]
        if key in HITS:
            return self._hits(measured.run, float(values[0]), HITS[key])
        if not math.isnan(values[0]) and (reason := doubt(measured.run.rows, self.clusters, key)) is not None:
            return Interval(float(values[0]), None, None, reason)
        if key in _OF_BOTH_SHARES:
            return self._of_both(measured, float(values[0]), *_OF_BOTH_SHARES[key])
        if key in BY_CATEGORY:
            return bounded_interval(values, min(self.fewest, 1 + self._freedom(measured.run, key)))
        return span_of(values, metric, self.fewest)

    def _freedom(self, run: RunTable, key: str) -> float:
        """Degrees of freedom of a mean over categories, by Satterthwaite (1946): the rare ones decide."""
        if not len(self.draws):
            return 0.0
        tallies = np.concatenate(category_tallies(run.rows.astype(np.float64), key), axis=-1)
        parts = np.split(replicate_sums(tallies, self.draws), 3, axis=-1)
        variances = f1_of_categories(*parts)[1:].var(axis=0)
        counts = clusters_of_categories(run.rows, self.clusters)
        known = counts > 1
        below = float((variances[known] ** 2 / (counts[known] - 1)).sum())
        least = float(counts[known].min(initial=2) - 1)
        return max(least, float(variances[known].sum()) ** 2 / below) if below > 0 else least

    def _of_both(self, measured: Measured, value: float, scale: float, shift: float) -> Interval:
        """Of the sum of both shares, by MOVER (Newcombe 1998): the distances to their own bounds add up in squares."""
        both = [self.interval(measured, "fair", name) for name in ("fake_accuracy", "real_accuracy")]
        if any(one.value is None or one.low is None or one.high is None for one in both):
            return Interval(None if math.isnan(value) else value, None, None)
        total = sum(one.value or 0.0 for one in both)
        down = math.hypot(*((one.value or 0.0) - (one.low or 0.0) for one in both))
        up = math.hypot(*((one.high or 0.0) - (one.value or 0.0) for one in both))
        return Interval(value, scale * (total - down) + shift, scale * (total + up) + shift)

    def _hits(self, run: RunTable, value: float, fpr: float) -> Interval:
        if not run.gives_p or math.isnan(value):
            return Interval(None, None, None)
        bounds = hits_interval(run.p, self.dataset.is_fake, self.clusters, fpr=fpr)
        if isinstance(bounds, str):
            return Interval(None, None, None, bounds)
        low, high = bounds
        return Interval(value, min(low, value), max(high, value))

    @cached_property
    def fewest(self) -> int:
        """How many clusters the label with fewer of them has; of a label that is there."""
        labels = zip(self.clusters, self.dataset.is_fake.tolist(), strict=True)
        counts = Counter(is_fake for _, is_fake in set(labels))
        return min(counts.values(), default=0)

    def _rank(self, run: RunTable) -> Metrics:
        """AUROC and hits at few false alarms; NaN where the model gives no probability."""
        if not run.gives_p:
            return {name: np.full(1 + len(self.draws), np.nan) for name in RANKED}
        ranked: dict[str, list[Floats]] = {name: [] for name in RANKED}
        fake = self.dataset.is_fake
        for at in range(0, 1 + len(self.draws), _BLOCK):
            weights = self.draws.weights[at : at + _BLOCK].astype(np.float64)
            ranked["auroc"].append(weighted_auroc(run.p, fake, weights))
            for name, fpr in HITS.items():
                ranked[name].append(tpr_at_fpr(run.p, fake, weights, fpr=fpr))
        return {name: np.concatenate(values) for name, values in ranked.items()}


def metrics_of(run: RunTable, protocol: Protocol) -> Callable[[Floats], Metrics]:
    """A run's metrics as a function of sums: of what it was asked for, judged or not, with probabilities or not."""

    def of_fair(sums: Floats) -> Metrics:
        extra = probability(sums)
        if not run.gives_p:
            extra = {name: np.full_like(values, np.nan) for name, values in extra.items()}
        return fair(sums, fields=run.fields, judged=run.judged) | extra

    return of_fair if protocol == "fair" else lambda sums: paper(sums, judged=run.judged)


def span_of(values: Floats, metric: Metric, clusters: int) -> Interval:
    """The interval of a metric's replicates by the kind of its values: within [0, 1], or without a bound."""
    return bounded_interval(values, clusters) if metric.unit == "share" else interval(values, clusters=clusters)


def clusters_of_categories(rows: npt.NDArray[np.floating], clusters: Sequence[Hashable]) -> npt.NDArray[np.int64]:
    """In how many clusters each category occurs in the truth, ``(9,)``."""
    wanted = [PLACE[f"{kind}_{i}"] for kind in ("hit", "missed") for i in range(len(CATEGORIES))]
    of_videos: Floats = np.max(rows[:, wanted].reshape(len(rows), 2, -1) != 0, axis=1).astype(np.float64)
    return np.asarray((cluster_sums(of_videos, clusters) > 0).sum(0), np.int64)


def doubt(rows: npt.NDArray[np.floating], clusters: Sequence[Hashable], key: str) -> str | None:
    """Why draws of the videos, whose sums are given ``(N, K)``, tell no interval of a metric; None where they do."""
    if key == "calibration_error":
        return _BIASED
    if key not in BY_CATEGORY:
        return None
    counts = clusters_of_categories(rows, clusters)
    rare = [(int(n), name) for n, name in zip(counts, CATEGORIES, strict=True) if 0 < n < LEAST_OF_A_CATEGORY]
    if not rare:
        return None
    count, name = min(rare)
    return f"needs {LEAST_OF_A_CATEGORY} independent fake videos of each category; {name} has {count}"
