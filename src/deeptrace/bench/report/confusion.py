"""Who was taken for what: answers by generator and by source of real videos, as counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from deeptrace.records import Outcome, Record, Verdict

OUTCOME_WORDS: Final = ("fake", "real", "unparsed", "failed", "missing")


@dataclass(frozen=True)
class ConfusionRow:
    """One source: its videos' true label, and how many were called what."""

    source: str
    label: str
    videos: int
    counts: Mapping[str, int]

    @property
    def right(self) -> int:
        """How many were called what they are."""
        return self.counts.get(self.label, 0)


def confusion(records: Iterable[Record], outcomes: Mapping[str, Outcome]) -> list[ConfusionRow]:
    """A row for each label and source, fakes first, the largest first."""
    counts_by_source: dict[tuple[str, str], Counter[str]] = {}
    for record in records:
        key = (str(record.label), record.source or "unknown")
        counts_by_source.setdefault(key, Counter())[_outcome_word(outcomes.get(record.video_id))] += 1
    rows = [
        ConfusionRow(source, label, counts.total(), dict(counts))
        for (label, source), counts in counts_by_source.items()
    ]
    return sorted(rows, key=lambda row: (row.label, -row.videos, row.source))


def _outcome_word(outcome: Outcome | None) -> str:
    match outcome:
        case Verdict(label=label):
            return label
        case None:
            return "missing"
        case _:
            return type(outcome).__name__.lower()
