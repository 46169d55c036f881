"""Which trace each pair of a dataset gets, and when: drawn from a seed, before any footage is looked at."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from deeptrace.categories import CATEGORIES, Category

PAPER_SHARES: Final[Mapping[Category, float]] = {
    "Object Distortion": 20.9,
    "Sudden Blurring": 18.8,
    "Object Trajectory": 18.3,
    "Redundant Object": 17.6,
    "Object Merging": 11.2,
    "Object Splitting": 4.5,
    "Background Distortion": 4.1,
    "Object Disappearance": 2.5,
    "Unexpected Move": 2.1,
}
"""Share of tag mentions in per cent (Fig. 4 of arXiv 2509.22646)."""

Prior = Literal["paper", "uniform"]


@dataclass(frozen=True)
class Plan:
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

    @property
    def pair_id(self) -> str:
        """The name of its files and rows."""
        return f"inj{self.number:06d}"


def plan_pair(seed: int, number: int, categories: Sequence[Category] = CATEGORIES) -> Plan:
    """The plan of pair ``number``; it depends on nothing but the arguments.

    In half of the pairs category, onset and length are as in the paper (early onsets, about 70 % of the clip), in the
    other half all are uniform. Half of the real twins are shams.
    """
    rng = np.random.default_rng((seed, number, 31))
    prior: Prior = "paper" if rng.uniform() < 0.5 else "uniform"
    weights = np.array([PAPER_SHARES[c] if prior == "paper" else 1.0 for c in categories])
    order = rng.choice(len(categories), size=len(categories), replace=False, p=weights / weights.sum())
    if prior == "paper":
        onset = float(np.clip(rng.exponential(0.14), 0.0, 0.6))
        length = float(np.clip(rng.normal(0.70, 0.18), 0.25, 1.0))
    else:
        onset = float(rng.uniform(0.08, 0.75))
        length = float(rng.uniform(0.2, 1.0))
    return Plan(
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
