"""The rows that the paper published (arXiv 2509.22646v2, Tables 2 and 5), and what can be told from them alone."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from functools import cache
from importlib import resources
from typing import Any, Final, Literal

from deeptrace.files import loads
from deeptrace.measures.video import Truth

Split = Literal["test", "val"]

RELEASE_COUNTS: Final[Mapping[str, tuple[int, int, int]]] = {"test": (440, 332, 332), "val": (434, 332, 332)}
"""Annotation rows of fake videos, fake videos and real videos of the release's splits."""


@dataclass(frozen=True)
class Published:
    """One row; all on 0-100. Overall is (accuracy + explanation + IoU + (100 - time distance)) / 4."""

    model: str
    kind: Literal["zero-shot", "trained"]
    overall: float
    accuracy: float
    fake_accuracy: float
    real_accuracy: float
    explanation: float
    bbox_iou: float
    bbox_distance: float
    time_distance: float

    @property
    def recomputed_overall(self) -> float:
        """Overall from its published parts; differs from the published one by rounding."""
        return (self.accuracy + self.explanation + self.bbox_iou + 100 - self.time_distance) / 4


@cache
def _tables() -> dict[str, tuple[Published, ...]]:
    text = resources.files("deeptrace.bench").joinpath("published_results.json").read_bytes()
    content: dict[str, Any] = loads(text)
    return {split: tuple(Published(**row) for row in content[split]) for split in RELEASE_COUNTS}


def published(split: str) -> tuple[Published, ...]:
    """The published rows of a split, best Overall first; nothing for a split that was not published."""
    return tuple(sorted(_tables().get(split, ()), key=lambda row: -row.overall))


def is_release(truths: Iterable[Truth], split: str) -> bool:
    """Whether these videos are as many as the release's split has, so that the published rows are about the same."""
    known = list(truths)
    rows = sum(len(truth.rows) for truth in known)
    fakes = sum(truth.label == "fake" for truth in known)
    return RELEASE_COUNTS.get(split) == (rows, fakes, len(known) - fakes)


# ── whole counts ────────────────────────────────────────────────────────────────────────────────────────────────────


def as_printed(right: int, of: int) -> Decimal:
    """A share as the paper's tables show it: in percent, rounded half up to two decimals and then to one.

    By hand: 33 of 332 are 9.9398 %, so 9.94 and then 9.9. 67 of 332 are 20.1807, 20.18, 20.2.
    """
    percent = Decimal(100 * right) / Decimal(of)
    twice = percent.quantize(Decimal("0.01"), ROUND_HALF_UP)
    return twice.quantize(Decimal("0.1"), ROUND_HALF_UP)


def whole_counts(row: Published, split: str) -> list[tuple[int, int]]:
    """Counts of right annotation rows of fakes, and of right reals, that give all three published accuracies."""
    rows, _, reals = RELEASE_COUNTS[split]
    fakes_right = [
        count for count in _near(row.fake_accuracy, rows) if as_printed(count, rows) == _tenth(row.fake_accuracy)
    ]
    reals_right = [
        count for count in _near(row.real_accuracy, reals) if as_printed(count, reals) == _tenth(row.real_accuracy)
    ]
    accuracy = _tenth(row.accuracy)
    return [
        (fakes, right_reals)
        for fakes in fakes_right
        for right_reals in reals_right
        if as_printed(fakes + right_reals, rows + reals) == accuracy
    ]


def _near(percent: float, of: int) -> range:
    middle = percent / 100 * of
    return range(max(0, math.floor(middle) - 2), min(of, math.ceil(middle) + 2) + 1)


def _tenth(value: float) -> Decimal:
    return Decimal(str(value)).quantize(Decimal("0.1"))
