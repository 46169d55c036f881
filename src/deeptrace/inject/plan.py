"""Which trace each pair of a dataset gets, and when: drawn from a seed, before any footage is looked at."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from deeptrace.categories import CATEGORIES, FACTS, Category

PAPER_SHARES: Final[Mapping[Category, float]] = {category: facts.share for category, facts in FACTS.items()}
"""Share of tag mentions in per cent (Fig. 4 of arXiv 2509.22646); 0 for a category that the paper does not have."""

Prior = Literal["paper", "uniform"]


@dataclass(frozen=True)
class PairPlan:
    """One pair to be made. ``onset_share`` and ``offset_share`` are shares of the clip's length in [0, 1]."""

    number: int
    seed: int
    prior: Prior
    categories: tuple[Category, ...]  # the first is wanted; the next ones are tried where it cannot be had
    onset_share: float
    offset_share: float
    sham: bool  # the real twin went through the same edit, and shows nothing
    crf: int
    start_share: float  # where in a long video the clip is taken from
    spare: tuple[Category, ...] = ()  # tried where none of the others can be had in any window

    @property
    def pair_id(self) -> str:
        """The name of its files and rows."""
        return f"inj{self.number:06d}"


def share_of(category: Category, prior: Prior, categories: Sequence[Category] = CATEGORIES) -> float:
    """The share in [0, 1] that a category is to have among ``categories``.

    One that the paper does not have has none in its prior; where it has none of them, all shares are the same.
    """
    total = sum(PAPER_SHARES[c] for c in categories)
    if prior == "uniform" or not total:
        return 1 / len(categories)
    return PAPER_SHARES[category] / total


def plan_pair(seed: int, number: int, categories: Sequence[Category] = CATEGORIES) -> PairPlan:
    """The plan of pair ``number``; it depends on nothing but the arguments.

    In half of the pairs category, onset and length are as in the paper (early onsets, about 70 % of the clip), in the
    other half all are uniform. Half of the real twins are shams.
    """
    rng = np.random.default_rng((seed, number, 31))
    prior: Prior = "paper" if rng.uniform() < 0.5 else "uniform"
    weights = np.array([share_of(c, prior, categories) for c in categories])
    # Drawn apart: with one category more, all else about a pair stays as it is.
    drawn = np.random.default_rng((seed, number, 37)).choice(
        len(categories), size=int(np.count_nonzero(weights)), replace=False, p=weights / weights.sum()
    )
    order = [*drawn, *np.flatnonzero(weights == 0)]  # what has no share is tried last
    if prior == "paper":
        onset = float(np.clip(rng.exponential(0.14), 0.0, 0.6))
        length = float(np.clip(rng.normal(0.70, 0.18), 0.25, 1.0))
    else:
        onset = float(rng.uniform(0.08, 0.75))
        length = float(rng.uniform(0.2, 1.0))
    return PairPlan(
        number=number,
        seed=int(rng.integers(2**31)),
        prior=prior,
        categories=tuple(categories[int(k)] for k in order),
        onset_share=onset,
        offset_share=min(1.0, onset + length),
        sham=bool(rng.uniform() < 0.5),
        crf=int(rng.integers(18, 29)),
        start_share=float(rng.uniform()),
    )


def split_of(source: str) -> str:
    """train (80 %), val or test, by the source's name: clips of one source never stand on both sides."""
    bucket = hashlib.sha256(source.encode()).digest()[0] % 10
    return {8: "val", 9: "test"}.get(bucket, "train")
