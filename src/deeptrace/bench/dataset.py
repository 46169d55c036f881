"""The videos that are scored, and what they are scored against."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deeptrace.errors import RecordError
from deeptrace.metrics import Truth, truth_of
from deeptrace.records import Record


@dataclass(frozen=True)
class Dataset:
    """The videos that are scored: their records and truths, in one order. ``unsure`` videos take no part."""

    records: tuple[Record, ...]
    truths: tuple[Truth, ...]
    split: str
    unsure: int
    elsewhere: frozenset[str]

    @property
    def is_fake(self) -> npt.NDArray[np.bool_]:
        """Whether each video is fake, ``(N,)``."""
        return np.array([truth.label == "fake" for truth in self.truths], np.bool_)


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
    return Dataset(
        records=tuple(record for record, _ in pairs),
        truths=tuple(truth for _, truth in pairs),
        split=split,
        unsure=len(chosen) - len(pairs),
        elsewhere=frozenset(record.video_id for record in known) - ids,
    )
