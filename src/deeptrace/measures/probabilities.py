"""How good probabilities are: AUROC, hits at few false alarms, Brier score, calibration error, reliability.

Scores ``(N,)`` and truths go in. Each metric takes rows of weights ``(B, N)``, one a bootstrap replicate, and gives
``(B,)``; a row of ones is the data as it is. Knows no videos.
"""

from __future__ import annotations

from typing import Final, overload

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

BINS: Final = 10
"""Equal bins of [0, 1] for the calibration error and the reliability table."""


@overload
def logit(p: float, edge: float = ...) -> float: ...
@overload
def logit(p: Floats, edge: float = ...) -> Floats: ...
def logit(p: float | Floats, edge: float = 1e-9) -> float | Floats:
    """Log odds of probabilities in [0, 1], any shape; within ``edge`` of 0 or 1 they stop growing."""
    inside = np.clip(p, edge, 1 - edge)
    odds = np.log(inside / (1 - inside))
    return float(odds) if isinstance(p, float | int) else np.asarray(odds, np.float64)


@overload
def sigmoid(x: float) -> float: ...
@overload
def sigmoid(x: Floats) -> Floats: ...
def sigmoid(x: float | Floats) -> float | Floats:
    """The probability in [0, 1] of log odds, any shape; without overflow, whatever their size."""
    p = np.exp(-np.logaddexp(0.0, np.negative(x)))
    return float(p) if isinstance(x, float | int) else np.asarray(p, np.float64)


def weighted_auroc(score: Floats, positive: Bools, weights: Floats) -> Floats:
    """Area under the ROC curve for each row of weights ``(B, N)``: P(score of a positive > of a negative), ties half.

    ``(B,)`` in [0, 1], of scores and truths ``(N,)``; NaN where a row draws only one class. By hand: positives 0.8 and
    0.4, negatives 0.4 and 0.1: of four pairs three are won and one is a tie, so 3.5 / 4.
    """
    up, down = _by_score(score, positive, weights)
    below = np.cumsum(down, axis=1) - down
    area = (up * (below + down / 2)).sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(area / (up.sum(1) * down.sum(1)), np.float64)


def tpr_at_fpr(score: Floats, positive: Bools, weights: Floats, *, fpr: float) -> Floats:
    """The largest share of positives found by a threshold that raises a false alarm on at most ``fpr`` of negatives.

    ``(B,)`` in [0, 1], of scores and truths ``(N,)`` and weights ``(B, N)``; NaN where a row draws only one class. No
    interpolation: a threshold lies at a score. By hand: positives .9 .6 .2, negatives .7 .3: without a false alarm .9
    is found (1/3); at half of the negatives .9 and .6 (2/3).
    """
    up, down = (part[:, ::-1] for part in _by_score(score, positive, weights))
    hits, alarms = np.cumsum(up, axis=1), np.cumsum(down, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        allowed = alarms / alarms[:, -1:] <= fpr + 1e-12
        rate = np.where(allowed, hits, 0.0).max(1) / hits[:, -1]
    return np.asarray(np.where(alarms[:, -1] > 0, rate, np.nan), np.float64)


def _by_score(score: Floats, positive: Bools, weights: Floats) -> tuple[Floats, Floats]:
    """Weight of positives and of negatives at each distinct score, ascending: ``(B, S)`` each."""
    order = np.argsort(score, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(score[order]) > 0])  # where each distinct score begins
    ranked, is_positive = weights[:, order], positive[order]
    up = np.add.reduceat(ranked * is_positive, starts, axis=1)
    down = np.add.reduceat(ranked * ~is_positive, starts, axis=1)
    return up, down


def bin_of(p: Floats) -> npt.NDArray[np.intp]:
    """The bin, 0 to ``BINS`` - 1, of each probability in [0, 1]; the last one holds 1.0 too. Any shape; it stays."""
    return np.minimum((np.asarray(p) * BINS).astype(np.intp), BINS - 1)


def calibration_error(count: Floats, p_sum: Floats, fake_sum: Floats) -> Floats:
    """Expected calibration error from sums of each bin ``(..., BINS)``: mean of |mean p - share of fakes|, weighed.

    ``(...)`` in [0, 1]; NaN where nothing was counted.

    By hand: 4 predictions of 0.9, 3 of them fake; 6 of 0.2, none of them: (4 * 0.15 + 6 * 0.2) / 10 = 0.18.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.abs(p_sum - fake_sum).sum(-1) / count.sum(-1), np.float64)
