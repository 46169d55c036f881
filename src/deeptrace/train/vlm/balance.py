"""Which examples an epoch shows, and in which order: balanced, or each once. Decided by a seed and the epoch alone.

Without balance a model learns what the data set gives away: that long videos are real, that one generator is frequent.
The order of an epoch depends on nothing else, so that training that was cut off goes on with the very next example.
"""

from __future__ import annotations

import heapq
import random
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Literal, TypeAlias

from deeptrace.train.vlm.examples import Example

By: TypeAlias = Literal["label", "source", "length"]

LENGTH_EDGES: Final = (2.0, 4.0, 6.0, 8.0, 12.0, 20.0)
"""Seconds at which one class of length ends and the next begins."""

SOURCE_TEMPER: Final = 0.5
"""Within a label, a source's share is its count to this power: 1 would leave it as it is, 0 make all sources equal.

With all equal, a generator of thirty videos would be shown fifty times as often as one of seventeen hundred.
"""


SECOND_LOOK: Final = "second look"
"""The class of length of windows, which are all as long: balanced among themselves, so that a look does not tell."""

Length: TypeAlias = int | str | None
Key: TypeAlias = tuple[Length, str | None, str | None]  # class of length, label, source


class Order:
    """A sampler: ``set_epoch`` and iterate to get indices of examples, as many as there are examples.

    ``by`` holds what must not tell the label. ``label``: in every class of length (or over all, without ``length``)
    half of what is shown is fake, where there are both. ``source``: see `SOURCE_TEMPER`. ``length``: as many of each
    class of length as there are, for both labels. Second looks are a class of their own, whatever is named. Within what
    is alike, every example comes up once before any comes twice, over epochs too.
    """

    def __init__(self, examples: Sequence[Example], *, by: Sequence[By] = (), seed: int = 0) -> None:
        self._count = len(examples)
        self._seed = seed
        self._epoch = 0
        self._groups = _groups(examples, by)
        self._shares = _shares(self._groups, by)

    def __len__(self) -> int:
        return self._count

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, counted from 0."""
        self._epoch = int(epoch)

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices(self._epoch))

    def indices(self, epoch: int) -> list[int]:
        """What an epoch shows, in order."""
        chosen: list[int] = []
        before, after = self._count_shown(epoch), self._count_shown(epoch + 1)
        for key, members in self._groups.items():
            rounds: dict[int, list[int]] = {}
            for position in range(before[key], after[key]):
                turn, place = divmod(position, len(members))
                if turn not in rounds:
                    rounds[turn] = _shuffle(members, f"{self._seed} {key} {turn}")
                chosen.append(rounds[turn][place])
        return _shuffle(chosen, f"{self._seed} epoch {epoch}")

    def _count_shown(self, epochs: int) -> Counter[Key]:
        """How many of each group have been shown after so many epochs.

        One after another, always of the group that is most behind its share: so every share holds to within about one
        example, however small it is, and what is shown in one epoch is not shown again in the next.
        """
        counts: Counter[Key] = Counter()
        due = [(0.5 / share, place, key) for place, (key, share) in enumerate(self._shares.items())]
        heapq.heapify(due)
        for _ in range(self._count * epochs):
            _, place, key = due[0]
            counts[key] += 1
            heapq.heapreplace(due, ((counts[key] + 0.5) / self._shares[key], place, key))
        return counts


def _shuffle(items: Sequence[int], key: str) -> list[int]:
    shuffled = list(items)
    random.Random(key).shuffle(shuffled)
    return shuffled


def length_class(seconds: float | None) -> int | None:
    """The class of a length in seconds, from 0, see `LENGTH_EDGES`; None where it is not known."""
    return None if seconds is None else bisect_right(LENGTH_EDGES, seconds)


def _class_of(example: Example) -> Length:
    return length_class(example.seconds) if example.window is None else SECOND_LOOK


def _groups(examples: Sequence[Example], by: Sequence[By]) -> dict[Key, list[int]]:
    groups: dict[Key, list[int]] = defaultdict(list)
    for index, example in enumerate(examples):
        record = example.record
        key = (
            _class_of(example) if "length" in by or (by and example.window is not None) else None,
            record.label if "label" in by else None,
            record.source if "source" in by else None,
        )
        groups[key].append(index)
    return dict(sorted(groups.items(), key=lambda item: str(item[0])))


def _shares(groups: Mapping[Key, Sequence[int]], by: Sequence[By]) -> dict[Key, float]:
    """The share of an epoch that each group gets; they sum to 1."""
    counts = {key: len(members) for key, members in groups.items()}
    lengths: Counter[Length] = Counter()
    labels: dict[Length, Counter[str | None]] = defaultdict(Counter)
    sources: dict[tuple[Length, str | None], float] = defaultdict(float)
    for (length, label, _), count in counts.items():
        lengths[length] += count
        labels[length][label] += count
        sources[length, label] += count**SOURCE_TEMPER
    return {
        (length, label, source): lengths[length]
        / sum(counts.values())
        * (1 / len(labels[length]) if "label" in by else labels[length][label] / lengths[length])
        * (count**SOURCE_TEMPER / sources[length, label])
        for (length, label, source), count in counts.items()
    }


def lopsided(examples: Sequence[Example]) -> dict[str, int]:
    """How many examples lie in classes of length that only one label has: there, length still tells the label."""
    by_class: dict[Length, Counter[str | None]] = defaultdict(Counter)
    for example in examples:
        by_class[_class_of(example)][example.record.label] += 1
    alone: Counter[str] = Counter()
    for labels in by_class.values():
        if len(labels) == 1:
            ((label, count),) = labels.items()
            alone[str(label)] += count
    return dict(alone)
