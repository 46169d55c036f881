"""Rewarded videos in order: best of N for each prompt, pairs for preference training, those that are good enough.

A video without a reward is never ranked, never the worse half of a pair and never let through; it is listed apart.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from deeptrace.errors import RecordError
from deeptrace.records import check_number
from deeptrace.reward.kinds import RewardFormName, RewardName
from deeptrace.reward.rows import RewardRow


@dataclass(frozen=True)
class RankedVideo:
    """``place`` 1 is the best of its prompt; equal values share a place. ``value`` is the reward it was ranked by."""

    path: str
    prompt: str | None
    value: float
    place: int
    of: int


@dataclass(frozen=True)
class Ranking:
    """Videos by prompt, best first, and those that have no reward."""

    ranked: tuple[RankedVideo, ...]
    without: tuple[RewardRow, ...]

    def best(self, count: int = 1) -> list[RankedVideo]:
        """The first ``count`` of each prompt: best of N."""
        seen: dict[str | None, int] = defaultdict(int)
        chosen = []
        for video in self.ranked:
            seen[video.prompt] += 1
            if seen[video.prompt] <= count:
                chosen.append(video)
        return chosen


@dataclass(frozen=True)
class PreferencePair:
    """Two videos of one prompt, the first of which has the higher reward by ``margin``."""

    prompt: str | None
    chosen: str
    rejected: str
    chosen_value: float
    rejected_value: float

    @property
    def margin(self) -> float:
        """By how much the chosen one is better."""
        return self.chosen_value - self.rejected_value


def rank(
    rows: Iterable[RewardRow], name: RewardName, form: RewardFormName, prompts: Mapping[str, str] | None = None
) -> Ranking:
    """The videos of each prompt by one form of one reward, best first; without ``prompts`` all are of one."""
    groups: dict[str | None, list[tuple[float, str]]] = defaultdict(list)
    without = []
    for row in rows:
        value = row.value(name, form)
        if value is None:
            without.append(row)
        else:
            groups[None if prompts is None else prompts[row.path]].append((value, row.path))
    ranked = []
    for prompt, members in groups.items():
        ordered = sorted(members, key=lambda item: (-item[0], item[1]))
        for value, path in ordered:
            place = 1 + sum(other > value for other, _ in ordered)
            ranked.append(RankedVideo(path, prompt, value, place, len(ordered)))
    return Ranking(tuple(ranked), tuple(without))


def preference_pairs(ranking: Ranking, *, margin: float, per_prompt: int | None = None) -> list[PreferencePair]:
    """Pairs of one prompt whose rewards differ by at least ``margin``, the widest first.

    ``per_prompt`` bounds how many a prompt gives; None: all.

    Raises:
        RecordError: the margin is not greater than 0.
    """
    check_number(margin, "margin", above=0.0)
    groups: dict[str | None, list[RankedVideo]] = defaultdict(list)
    for video in ranking.ranked:
        groups[video.prompt].append(video)
    chosen: list[PreferencePair] = []
    for prompt, members in groups.items():
        pairs = [
            PreferencePair(prompt, better.path, worse.path, better.value, worse.value)
            for index, better in enumerate(members)
            for worse in members[index + 1 :]
            if better.value - worse.value >= margin
        ]
        pairs.sort(key=lambda pair: (-pair.margin, pair.chosen, pair.rejected))
        chosen += pairs[:per_prompt]
    return chosen


def good_enough(
    ranking: Ranking, *, at_least: float | None = None, best_share: float | None = None
) -> tuple[list[RankedVideo], list[RankedVideo]]:
    """Those let through and those held back: by a value, or the best share in (0, 1] of all that have a reward.

    Raises:
        RecordError: neither or both are given.
    """
    if (at_least is None) == (best_share is None):
        raise RecordError("at_least", "give a value or a share, one of them")
    ordered = sorted(ranking.ranked, key=lambda video: (-video.value, video.path))
    if best_share is not None:
        check_number(best_share, "best_share", high=1.0, above=0.0)
        count = round(best_share * len(ordered))
        return ordered[:count], ordered[count:]
    assert at_least is not None
    return [v for v in ordered if v.value >= at_least], [v for v in ordered if v.value < at_least]
