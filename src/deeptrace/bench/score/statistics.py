"""Is a difference real? Paired bootstrap, paired permutation tests, Holm, the smallest difference that would show.

Sums of videos ``(N, K)`` (see `totals`) and a function from sums to metrics go in. Whole clusters of near-duplicate
videos are drawn and swapped, since copies say the same thing twice. The same draws serve every model, so that the
difference of two models has an interval of its own, narrower than theirs.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
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
    """A value with its 95 % interval. None: a mean of nothing, or ``reason`` says why it is not given."""

    value: float | None
    low: float | None
    high: float | None
    reason: str | None = None


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


def interval(values: Floats, *, clusters: int | None = None, level: float = LEVEL) -> Interval:
    """The interval of a metric's replicates ``(1 + B,)``, the first being the value itself. NaN is left out.

    Percentiles of the bootstrap are too narrow for few clusters; they are taken further out, as Student's t and the
    missing ``n / (n - 1)`` ask for (Hesterberg, "What Teachers Should Know About the Bootstrap", 2015, section 5.3).
    ``clusters``: how many there are of the label with fewer; None: so many that it makes no difference. One tells
    nothing of how it would be with another: no interval.
    """
    value = float(values[0])
    if math.isnan(value):
        return Interval(None, None, None)
    if clusters is not None and clusters < 2:
        return Interval(value, None, None, f"needs 2 independent videos of each label; there are {clusters}")
    drawn = values[1:][np.isfinite(values[1:])]
    if not len(drawn):
        return Interval(value, None, None)
    tail = 100 * _expanded_tail(clusters, level)
    low, high = np.percentile(drawn, (tail, 100 - tail))
    return Interval(value, float(low), float(high))


@cache
def _expanded_tail(clusters: int | None, level: float) -> float:
    tail = (1 - level) / 2
    if clusters is None or clusters < 2:
        return tail
    from scipy.stats import t

    reach = float(t.ppf(1 - tail, clusters - 1)) * math.sqrt(clusters / (clusters - 1))
    return NormalDist().cdf(-reach)


def bounded_interval(values: Floats, clusters: float, *, level: float = LEVEL) -> Interval:
    """The interval of a metric in [0, 1] that is a mean, or made of means, from replicates ``(1 + B,)``.

    Draws of the videos cannot show what the sample lacks: a model that missed nothing seems never to miss. As Agresti
    and Coull (1998) do for a share, z^2 / 2 clusters of value 0 and as many of value 1 are put beside the ones there
    are, whose spread is that of the replicates; the reach is Student's. Never without the value itself.
    ``clusters``: how many there are of the label with fewer; a fraction where the freedom of the spread is less.
    """
    value = float(values[0])
    drawn = values[1:][np.isfinite(values[1:])]
    if math.isnan(value) or len(drawn) < 2:
        return Interval(None if math.isnan(value) else value, None, None)
    if clusters < 2:
        return Interval(value, None, None, f"needs 2 independent videos; there are {clusters:g}")
    from scipy.stats import t

    added = NormalDist().inv_cdf((1 + level) / 2) ** 2
    count = clusters + added
    middle = (clusters * value + added / 2) / count
    squares = clusters * (clusters * float(drawn.var(ddof=1)) + (value - middle) ** 2)
    squares += added / 2 * (middle**2 + (1 - middle) ** 2)
    reach = float(t.ppf((1 + level) / 2, clusters - 1)) * math.sqrt(squares) / count
    return Interval(value, max(0.0, min(value, middle - reach)), min(1.0, max(value, middle + reach)))


_OVER, _UNDER, _RATE = 0.036, 0.010, 0.002
"""How the 5 % are spent: a threshold too low, one too high, and each end of the hit rate. So 331 reals do for 1 %."""


def hits_interval(
    score: Floats, positive: npt.NDArray[np.bool_], clusters: Sequence[Hashable], *, fpr: float
) -> tuple[float, float] | str:
    """95 % bounds of the hit rate at a threshold that raises a false alarm on a share ``fpr`` of all reals there are.

    Scores ``(N,)``. The reals tell between which of their order statistics that threshold lies (binomial), the fakes
    how many lie beyond each end (Clopper and Pearson); no shape is supposed, and the 5 % are shared among the three,
    so that it holds the truth at least so often. Clusters are taken to be copies: the counts are Kish's effective
    ones. A text where there are too few reals to tell: it says how many it takes.
    """
    from scipy.stats import beta, binom

    reals, fakes = (_effective(clusters, mask) for mask in (~positive, positive))
    least = math.ceil(math.log(_OVER) / math.log(1 - fpr))
    if reals < least or fakes < 1:
        return f"needs {least} independent real videos; there are {math.floor(reals)}"
    count = math.floor(reals)
    ranks = np.arange(1, count + 1)
    upper = int(ranks[binom.cdf(ranks - 1, count, fpr) <= _OVER].max())
    above = ranks[binom.sf(ranks - 1, count, fpr) <= _UNDER]
    down = np.sort(score[~positive])[::-1]  # equal weights: a cluster's copies have one score
    high_threshold = down[math.ceil(upper / count * len(down)) - 1]
    low_threshold = down[math.ceil(int(above.min()) / count * len(down)) - 1] if len(above) else -np.inf
    least_hits = float((score[positive] > high_threshold).mean()) * fakes
    most_hits = float((score[positive] >= low_threshold).mean()) * fakes
    low = float(beta.ppf(_RATE, least_hits, fakes - least_hits + 1)) if least_hits > 0 else 0.0
    high = float(beta.ppf(1 - _RATE, most_hits + 1, fakes - most_hits)) if most_hits < fakes else 1.0
    return low, high


def _effective(clusters: Sequence[Hashable], mask: npt.NDArray[np.bool_]) -> float:
    """Kish's number of independent videos: (sum of cluster sizes)^2 / sum of their squares."""
    sizes = np.array(
        list(Counter(cluster for cluster, inside in zip(clusters, mask, strict=True) if inside).values()), float
    )
    return float(sizes.sum() ** 2 / (sizes**2).sum()) if len(sizes) else 0.0


def smallest_detectable(differences: Floats, *, level: float = LEVEL, power: float = POWER) -> float | None:
    """The smallest true difference that a test at ``1 - level`` would find with probability ``power``.

    From the replicates of a difference ``(1 + B,)``: (z(level) + z(power)) * their standard deviation; at 95 % and 80 %
    that is 2.80 standard errors. None where there are fewer than two, or all are alike: that tells nothing.
    """
    drawn = differences[1:][np.isfinite(differences[1:])]
    if len(drawn) < 2 or not drawn.std():
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
    p_values: dict[str, float | None] = {}
    for name, values in first.items():
        apart = np.abs(values - second[name])
        drawn = apart[1:][np.isfinite(apart[1:])]
        if math.isnan(apart[0]) or not len(drawn):
            p_values[name] = None
        else:  # equal up to rounding counts as equal
            p_values[name] = (1 + int((drawn >= apart[0] - 1e-12).sum())) / (1 + len(drawn))
    return p_values


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
