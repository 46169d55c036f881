"""The videos that are scored, and what they are scored against."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from deeptrace.errors import RecordError
from deeptrace.measures.video import Truth, truth_of
from deeptrace.records import Origin, Record


@dataclass(frozen=True)
class Dataset:
    """The videos that are scored: their records and truths, in one order.

    ``unsure`` videos take no part. ``elsewhere`` holds ids and paths of records that are not scored: answers on them
    are no mistake.
    """

    records: tuple[Record, ...]
    truths: tuple[Truth, ...]
    split: str
    unsure: int
    elsewhere: frozenset[str]

    @cached_property
    def is_fake(self) -> npt.NDArray[np.bool_]:
        """Whether each video is fake, ``(N,)``."""
        return np.array([truth.label == "fake" for truth in self.truths], np.bool_)

    def index_of(self, origin: Origin) -> int | None:
        """The place of the video that an answer is about; None where it is not among those scored.

        By its id, or, where no record has that id, by the end of its path: ``somewhere/videos/a.mp4`` is the record
        ``videos/a.mp4``. So rows of `deeptrace inspect`, which name a video after its file, can be scored too.
        """
        by_id = self._places.get(origin.video_id or "")
        if by_id is not None or origin.video_id in self.elsewhere:
            return by_id
        return next((self._paths[end] for end in _ends(origin.path) if end in self._paths), None)

    def is_elsewhere(self, origin: Origin) -> bool:
        """Whether an answer that is not scored is about a record of another split, or without a label."""
        return origin.video_id in self.elsewhere or any(end in self.elsewhere for end in _ends(origin.path))

    @cached_property
    def _places(self) -> Mapping[str, int]:
        return {record.video_id: i for i, record in enumerate(self.records)}

    @cached_property
    def _paths(self) -> Mapping[str, int]:
        return {record.path: i for i, record in enumerate(self.records) if record.path is not None}


def _ends(path: str | None) -> Iterator[str]:
    """A path and what is left of it without its first folders, longest first."""
    rest = None if path is None else path.replace("\\", "/")
    while rest:
        yield rest
        _, _, rest = rest.partition("/")


def dataset_of(records: Iterable[Record], split: str) -> Dataset:
    """The records of one split ("all": of every one) that are labelled fake or real.

    Raises:
        RecordError: there are none; names the splits there are.
    """
    known = list(records)
    chosen = [record for record in known if split in ("all", record.split)]
    if not chosen:
        there = ", ".join(sorted({record.split or "none" for record in known})) or "no record at all"
        raise RecordError("split", f"no record is in {split!r}. Splits here: {there}")
    pairs = [(record, truth) for record in chosen if (truth := truth_of(record)) is not None]
    if not pairs:
        raise RecordError("label", f"none of {len(chosen)} records in {split!r} is labelled fake or real")
    ids = {record.video_id for record, _ in pairs}
    others = [record for record in known if record.video_id not in ids]
    return Dataset(
        records=tuple(record for record, _ in pairs),
        truths=tuple(truth for _, truth in pairs),
        split=split,
        unsure=len(chosen) - len(pairs),
        elsewhere=frozenset(
            {record.video_id for record in others} | {record.path for record in others if record.path is not None}
        ),
    )
