"""Records -> train, val and test, by unique video, so that neither a video nor its near-duplicate stands in two.

What is assigned never moves: a record that has a split keeps it, so the release's own split is honoured and a data set
can grow. Everything is decided by hashes of ids and a seed; the order of the records does not matter.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

from deeptrace.errors import RecordError
from deeptrace.records import Record, RecordLabel

SPLITS: Final = ("train", "val", "test")

Stratum: TypeAlias = tuple[RecordLabel | None, str | None]
"""Label and source. "unsure" is a label of its own; it is never counted as real."""


@dataclass(frozen=True)
class Bridge:
    """A cluster of near-duplicates that stood in several splits already; nothing was moved."""

    cluster: Hashable
    video_ids: Mapping[str, tuple[str, ...]]  # split -> ids that had it before


@dataclass(frozen=True)
class Assignment:
    """The split of every video. ``new`` holds the ids that had none before; ``bridges`` is what to look at."""

    splits: Mapping[str, str]
    new: tuple[str, ...]
    bridges: tuple[Bridge, ...]
    counts: Mapping[Stratum, Mapping[str, int]]  # stratum -> split -> videos
    seed: int
    ratios: tuple[float, float, float]

    def __getitem__(self, video_id: str) -> str:
        return self.splits[video_id]

    def apply(self, records: Iterable[Record]) -> list[Record]:
        """The records with their split filled in."""
        return [replace(record, split=self.splits[record.video_id]) for record in records]

    def to_json(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        return {
            "schema": "deeptrace.split",
            "schema_version": 1,
            "seed": self.seed,
            "ratios": list(self.ratios),
            "splits": dict(sorted(self.splits.items())),
            "new": list(self.new),
            "bridges": [
                {
                    "cluster": str(bridge.cluster),
                    "video_ids": {split: list(ids) for split, ids in bridge.video_ids.items()},
                }
                for bridge in self.bridges
            ],
            "counts": [
                {"label": label, "source": source, **{split: counts.get(split, 0) for split in SPLITS}}
                for (label, source), counts in self.counts.items()
            ],
        }


def split(
    records: Iterable[Record],
    *,
    seed: int,
    ratios: Sequence[float] = (8, 1, 1),
    clusters: Mapping[str, Hashable] | None = None,
) -> Assignment:
    """Assign every video to train, val or test.

    ``ratios`` are the shares of the three, in any unit. ``clusters`` maps a video id to the id of its group of
    near-duplicates (from the audit); videos that are not in it stand alone. A group goes to one split as a whole. A
    newcomer joins the split of its group; where the group stood in several already it joins the one with most of its
    members, and the group is reported in ``bridges``. Within each label and source the ratios hold up to rounding, as
    far as groups and earlier assignments allow; what rounding leaves over is shared out so that they hold over each
    label.

    Raises:
        RecordError: ratios that are not three finite numbers of at least 0 with a sum above 0; one id with two splits,
            labels or sources; a split that is not train, val or test.
    """
    shares = _shares(ratios)
    # In one order: sums of shares are compared below, and floats summed in another order may break a tie differently.
    videos = dict(sorted(_by_id(records).items()))
    groups: dict[tuple[int, Hashable], list[Record]] = defaultdict(list)
    for record in videos.values():
        key = (
            (0, record.video_id)
            if clusters is None or record.video_id not in clusters
            else (1, clusters[record.video_id])
        )
        groups[key].append(record)
    ledger = _Ledger(videos.values(), shares)
    splits = {record.video_id: record.split for record in videos.values() if record.split is not None}
    free: list[list[Record]] = []
    bridges = []
    for (_, cluster), members in groups.items():
        assigned = Counter(record.split for record in members if record.split is not None)
        if len(assigned) > 1:
            bridges.append(_bridge(cluster, members))
        if not assigned:
            free.append(members)
            continue
        home = max(SPLITS, key=lambda name: assigned[name])
        for record in members:
            splits.setdefault(record.video_id, home)
            ledger.add(record, splits[record.video_id])
    for members in sorted(free, key=lambda group: (-len(group), _hash(seed, min(record.video_id for record in group)))):
        home = ledger.best(members)
        for record in members:
            splits[record.video_id] = home
            ledger.add(record, home)
    return Assignment(
        splits=splits,
        new=tuple(sorted(record.video_id for record in videos.values() if record.split is None)),
        bridges=tuple(sorted(bridges, key=lambda bridge: min(min(ids) for ids in bridge.video_ids.values()))),
        counts=ledger.counts(),
        seed=seed,
        ratios=shares,
    )


def _shares(ratios: Sequence[float]) -> tuple[float, float, float]:
    if len(ratios) != 3 or not all(math.isfinite(ratio) and ratio >= 0 for ratio in ratios) or not sum(ratios) > 0:
        raise RecordError("ratios", f"{tuple(ratios)} are not three shares for train, val and test, such as 8, 1, 1")
    train, val, test = (ratio / sum(ratios) for ratio in ratios)
    return (train, val, test)


def _by_id(records: Iterable[Record]) -> dict[str, Record]:
    videos: dict[str, Record] = {}
    for record in records:
        if record.split is not None and record.split not in SPLITS:
            raise RecordError("split", f"{record.split!r} of {record.video_id!r} is not one of {', '.join(SPLITS)}")
        other = videos.setdefault(record.video_id, record)
        if (other.split, other.label, other.source) != (record.split, record.label, record.source):
            raise RecordError("video_id", f"{record.video_id!r} stands on two records that differ in split or label")
    return videos


def _bridge(cluster: Hashable, members: Iterable[Record]) -> Bridge:
    ids: dict[str, list[str]] = {}
    for record in members:
        if record.split is not None:
            ids.setdefault(record.split, []).append(record.video_id)
    return Bridge(cluster, {name: tuple(sorted(ids[name])) for name in SPLITS if name in ids})


def _hash(seed: int, text: str) -> bytes:
    return hashlib.sha256(f"{seed}\0{text}".encode("utf-8", "surrogatepass")).digest()


def _stratum(record: Record) -> Stratum:
    return (record.label, record.source)


class _Ledger:
    """How many videos of each stratum and label stand in each split, and how many should."""

    def __init__(self, videos: Iterable[Record], shares: tuple[float, float, float]) -> None:
        self.total = Counter(_stratum(record) for record in videos)
        self.names = [name for name, share in zip(SPLITS, shares, strict=True) if share > 0]
        # Shares such as 0.1 are not exact: 0.1 * 30 must round to 3 both ways.
        self.due = {
            (stratum, name): round(share * count, 9)
            for stratum, count in self.total.items()
            for name, share in zip(SPLITS, shares, strict=True)
        }
        self.floor = {key: math.floor(due) for key, due in self.due.items()}
        self.ceil = {key: math.ceil(due) for key, due in self.due.items()}
        self.held: Counter[tuple[Stratum, str]] = Counter()

    def add(self, record: Record, name: str) -> None:
        self.held[_stratum(record), name] += 1

    def best(self, group: Sequence[Record]) -> str:
        """The split that a group fits best.

        First one in which no stratum passes its share rounded down (the emptiest of them); then one in which none
        passes its share rounded up, and of these the one that the label lacks most; else the one that lacks most.
        """
        sizes = Counter(_stratum(record) for record in group)
        if below := [name for name in self.names if self._fits(sizes, name, self.floor)]:
            return max(below, key=lambda name: self._lack(sizes, name))
        if within := [name for name in self.names if self._fits(sizes, name, self.ceil)]:
            return max(within, key=lambda name: (self._label_lack(sizes, name), self._lack(sizes, name)))
        return max(self.names, key=lambda name: (self._lack(sizes, name), self._label_lack(sizes, name)))

    def _fits(self, sizes: Mapping[Stratum, int], name: str, room: Mapping[tuple[Stratum, str], int]) -> bool:
        return all(self.held[stratum, name] + size <= room[stratum, name] for stratum, size in sizes.items())

    def _lack(self, sizes: Mapping[Stratum, int], name: str) -> float:
        """The part of the split's share that is still empty; of the group's own strata."""
        due = sum(self.due[stratum, name] for stratum in sizes)
        return (due - sum(self.held[stratum, name] for stratum in sizes)) / due

    def _label_lack(self, sizes: Mapping[Stratum, int], name: str) -> float:
        """How many videos the split lacks over all strata of the labels, once each holds its share rounded down."""
        labels = {label for label, _ in sizes}
        return sum(
            self.due[stratum, name] - max(self.held[stratum, name], self.floor[stratum, name])
            for stratum in self.total
            if stratum[0] in labels
        )

    def counts(self) -> dict[Stratum, dict[str, int]]:
        order = sorted(self.total, key=lambda stratum: (stratum[0] or "~", stratum[1] or "~"))
        return {stratum: {name: self.held[stratum, name] for name in SPLITS} for stratum in order}


# ── unseen generators ───────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Fold:
    """Train without one source of fakes, test on it. Ids, sorted. ``excluded``: near-duplicates of tested videos."""

    source: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    excluded: tuple[str, ...]


def leave_one_source_out(
    records: Iterable[Record], *, seed: int = 0, clusters: Mapping[str, Hashable] | None = None
) -> tuple[Fold, ...]:
    """One fold per source of fake videos, by name.

    The fakes of the source are tested and all others trained on. Real videos are dealt out over the folds by a hash of
    their id, so that each is tested once and never trained on in that fold; all real videos may come from one source,
    which therefore cannot be left out. Videos labelled neither fake nor real, and fakes without a source, are tested in
    no fold; of these only the fakes are trained on. With ``clusters``, training videos that share a group with a tested
    one are left out of the fold and listed.

    Raises:
        RecordError: fewer than two sources of fake videos.
    """
    videos = _by_id(records)
    fakes = {record.video_id: record.source for record in videos.values() if record.label == "fake"}
    sources = sorted({source for source in fakes.values() if source is not None})
    if len(sources) < 2:
        raise RecordError("source", f"{len(sources)} source(s) of fake videos: two are needed to leave one out")
    reals = sorted(
        (record.video_id for record in videos.values() if record.label == "real"), key=lambda name: _hash(seed, name)
    )
    fold_of = {video_id: sources[i % len(sources)] for i, video_id in enumerate(reals)}
    groups = clusters or {}
    folds = []
    for source in sources:
        tested = {video_id for videos_of in (fakes, fold_of) for video_id, own in videos_of.items() if own == source}
        test_groups = {groups[video_id] for video_id in tested if video_id in groups}
        rest = (fakes.keys() | fold_of.keys()) - tested
        near = {video_id for video_id in rest if video_id in groups and groups[video_id] in test_groups}
        folds.append(Fold(source, tuple(sorted(rest - near)), tuple(sorted(tested)), tuple(sorted(near))))
    return tuple(folds)
