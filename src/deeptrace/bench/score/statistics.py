"""Is a difference real? Paired bootstrap, paired permutation tests, Holm, the smallest difference that would show.

Sums of videos ``(N, K)`` (see `totals`) and a function from sums to metrics go in. Whole clusters of near-duplicate
videos are drawn and swapped, since copies say the same thing twice. The same draws serve every model, so that the
difference of two models has an interval of its own, narrower than theirs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from deeptrace.errors import RecordError

Floats = npt.NDArray[np.float64]
Metrics: TypeAlias = Mapping[str, Floats]

REPLICATES: Final = 1_000
PERMUTATIONS: Final = 2_000
LEVEL: Final = 0.95
POWER: Final = 0.8
_BLOCK: Final = 200


@dataclass(frozen=True)
class Interval:
    """A value with the middle 95 % of its bootstrap replicates. None: a mean of nothing."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Draws:
    """Bootstrap replicates of a data set: how often each video is drawn, ``(1 + B, N)``; row 0 is the data as it is.

    ``clusters`` is how many clusters the videos form; one that is drawn brings all its videos.
    """

    weights: npt.NDArray[np.float32]
    clusters: int

    def __len__(self) -> int:
        return len(self.weights) - 1


def draw(clusters: Sequence[Hashable], *, replicates: int = REPLICATES, seed: int = 0) -> Draws:
    """Replicates over videos, whose cluster is given for each. The same seed draws the same.

    Raises:
        RecordError: ``replicates`` is negative.
    """
    if replicates < 0:
        raise RecordError("replicates", f"{replicates} is not a count")
    number = {key: i for i, key in enumerate(dict.fromkeys(clusters))}
    of = np.array([number[key] for key in clusters], np.intp)
    count = len(number)
    rng = np.random.default_rng((seed, 1))
    weights = np.ones((1 + replicates, len(of)), np.float32)
    for row in weights[1:]:
        row[:] = np.bincount(rng.integers(0, count, count), minlength=count)[of] if count else 1
    return Draws(weights, count)


def replicate_sums(rows: npt.NDArray[np.floating], draws: Draws) -> Floats:
    """The sums of each replicate, ``(1 + B, K)``, of the rows of videos ``(N, K)``."""
    exact = rows.astype(np.float64)
    blocks = range(0, len(draws.weights), _BLOCK)
    return np.vstack([draws.weights[at : at + _BLOCK].astype(np.float64) @ exact for at in blocks])


def interval(values: Floats, *, level: float = LEVEL) -> Interval:
    """The interval of a metric's replicates ``(1 + B,)``, the first being the value itself. NaN is left out."""
    value = float(values[0])
    if math.isnan(value):
        return Interval(None, None, None)
    drawn = values[1:][np.isfinite(values[1:])]
    if not len(drawn):
        return Interval(value, None, None)
    low, high = np.percentile(drawn, (50 * (1 - level), 50 * (1 + level)))
    return Interval(value, float(low), float(high))


def smallest_detectable(differences: Floats, *, level: float = LEVEL, power: float = POWER) -> float | None:
    """The smallest true difference that a test at ``1 - level`` would find with probability ``power``.

    From the replicates of a difference ``(1 + B,)``: (z(level) + z(power)) * their standard deviation; at 95 % and 80 %
    that is 2.80 standard errors. None where there are fewer than two.
    """
    drawn = differences[1:][np.isfinite(differences[1:])]
    if len(drawn) < 2:
        return None
    normal = NormalDist()
    return float((normal.inv_cdf((1 + level) / 2) + normal.inv_cdf(power)) * drawn.std(ddof=1))


def cluster_sums(rows: npt.NDArray[np.floating], clusters: Sequence[Hashable]) -> Floats:
    """The rows of videos ``(N, K)`` summed within clusters: ``(C, K)``."""
    number = {key: i for i, key in enumerate(dict.fromkeys(clusters))}
    sums = np.zeros((len(number), rows.shape[1]))
    np.add.at(sums, [number[key] for key in clusters], rows)
    return sums


def permutation_test(
    a: Floats,
    b: Floats,
    metrics: Callable[[Floats], Metrics],
    metrics_b: Callable[[Floats], Metrics] | None = None,
    *,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> dict[str, float | None]:
    """For each metric, the p-value of "the two models are alike": two-sided, paired, by swapping clusters' results.

    ``a`` and ``b`` are the sums of each cluster ``(C, K)`` for the two models. In each permutation a coin decides for
    every cluster which model gets which result. ``(1 + as large or larger) / (1 + permutations)``, so never 0. None
    where a metric of either is a mean of nothing.

    ``metrics_b`` where the second model's metrics are another function of sums: then only metrics that are numbers in
    both are compared.
    """
    other = metrics_b or metrics
    total, half = a.sum(0) + b.sum(0), (a - b) / 2
    apart_rows = half[half.any(1)]  # where both say the same, the coin changes nothing
    rng = np.random.default_rng((seed, 2))
    shifts = [half.sum(0)[None]]
    for at in range(0, permutations, _BLOCK):
        coins = rng.integers(0, 2, (min(_BLOCK, permutations - at), len(apart_rows)), dtype=np.int8) * 2.0 - 1.0
        shifts.append(coins @ apart_rows)
    shift = np.vstack(shifts)
    first, second = metrics(total / 2 + shift), other(total / 2 - shift)
    found: dict[str, float | None] = {}
    for name, values in first.items():
        apart = np.abs(values - second[name])
        drawn = apart[1:][np.isfinite(apart[1:])]
        if math.isnan(apart[0]) or not len(drawn):
            found[name] = None
        else:  # equal up to rounding counts as equal
            found[name] = (1 + int((drawn >= apart[0] - 1e-12).sum())) / (1 + len(drawn))
    return found


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's adjustment for several tests at once: reject where the result is at most the level. None stays None.

    By hand: 0.01, 0.04, 0.03 become 0.03 (x 3), 0.06 (the last, raised to the one before), 0.06 (x 2).
    """
    known = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, i) in enumerate(known):
        highest = max(highest, min(1.0, (len(known) - rank) * p))
        adjusted[i] = highest
    return adjusted


@dataclass(frozen=True)
class Spread:
    """How far values of one metric lie apart when only one thing is changed (the seed, or the judge).

    ``sd`` is their standard deviation; None of fewer than two.
    """

    n: int
    mean: float | None
    sd: float | None


def spread(values: Sequence[float | None]) -> Spread:
    """The spread of repeated runs' values, those that are None left out."""
    known = np.array([value for value in values if value is not None])
    return Spread(
        n=len(known),
        mean=float(known.mean()) if len(known) else None,
        sd=float(known.std(ddof=1)) if len(known) > 1 else None,
    )
