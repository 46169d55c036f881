"""A track is what is done to the videos before a model sees them: nothing, one form for all, or what sites do to them.

Records go in; a folder with one run per variant of the dataset comes out. The changed videos and their records lie in
``data/`` beside the run's files, so that each run is scored against the truth it was shown.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from deeptrace.bench.run.platform import LADDER, ORIGINAL, climb
from deeptrace.bench.run.runner import RunOutcomes, RunProgress, identity_of, run
from deeptrace.bench.run.views import View
from deeptrace.data import Records, load_records
from deeptrace.errors import RecordError
from deeptrace.lock import LockError
from deeptrace.models import Model
from deeptrace.records import Record
from deeptrace.shards import Shard

logger = logging.getLogger(__name__)

Track = Literal["original", "normalised", "platform"]

DATA_FOLDER: Final = "data"
SHORT_SIDE: Final = 360

_WAIT_SECONDS: Final = 1.0


@dataclass(frozen=True)
class Variant:
    """One run of a track, with the records it was shown and where their videos lie. ``notes`` count what was lost."""

    name: str
    run: RunOutcomes
    records: tuple[Record, ...]
    root: Path
    notes: Mapping[str, int]


@dataclass(frozen=True)
class Steps:
    """Who hears how far things are: making videos by (what, done, total), asking by `RunProgress`."""

    making: Callable[[str, int, int], None] | None = None
    asking: Callable[[RunProgress], None] | None = None


def select(records: Records, split: str, *, limit: int | None = None) -> Records:
    """The records of a split ("all": of every one) whose label is fake or real, in their order.

    Raises:
        RecordError: there are none; names the splits there are.
    """
    there = sorted({record.split or "none" for record in records})
    chosen = [record for record in records if split in ("all", record.split)]
    if not chosen:
        raise RecordError("split", f"no record is in {split!r}. Splits here: {', '.join(there) or 'no record at all'}")
    labelled = [record for record in chosen if record.label in ("fake", "real")][:limit]
    if not labelled:
        raise RecordError("label", f"none of {len(chosen)} records in {split!r} is labelled fake or real")
    return Records(labelled, root=records.root, problems=records.problems, earlier=records.earlier)


def run_track(
    model: Model,
    records: Records,
    folder: Path,
    track: Track,
    *,
    split: str,
    view: View = "in-order",
    seed: int = 0,
    workers: int | None = None,
    command: str | None = None,
    dataset: Mapping[str, Any] | None = None,
    short_side: int = SHORT_SIDE,
    steps: Steps | None = None,
    shard: Shard | None = None,
) -> list[Variant]:
    """Run the model over every variant of the dataset that the track has, each in its folder; see `runner.run`.

    ``short_side``: pixels of the normalised track; smaller videos are left out of it, and counted. ``dataset`` says
    which one ``records`` are (a part) of, see `runner.identity_of`; None: they are all of it. ``shard``: ask only about
    this part of them; the changed videos are made once, by whichever part comes first, and the others wait for it.

    A model that had to stop ends the track at that variant; run again, everything goes on.

    Raises:
        FileError, RecordError, ModelError: as `runner.run`, `normalise` and `climb`.
    """
    steps = steps or Steps()
    variants: list[Variant] = []
    dataset = dataset or identity_of(records, records.root)
    for name in _variants(track):
        out = folder / name if track == "platform" else folder
        for turn in itertools.count():
            try:
                variant_records, notes = _prepare(
                    records, out / DATA_FOLDER, track, name, seed=seed, short_side=short_side, steps=steps
                )
            except LockError as error:
                if shard is None or error.code != "BUSY":
                    raise
                if turn == 0:
                    logger.warning("another part makes the videos of %r; waiting until it is done", name)
                time.sleep(_WAIT_SECONDS)
            else:
                break
        settings: dict[str, Any] = {"dataset": dict(dataset), "track": track, "variant": name, "split": split}
        if track == "normalised":
            settings["short_side"] = short_side
        done = run(
            model, variant_records, variant_records.root, out,
            about=settings, view=view, seed=seed, workers=workers, command=command, progress=steps.asking,
            shard=shard,
        )  # fmt: skip
        variants.append(Variant(name, done, tuple(variant_records), variant_records.root, notes))
        if done.stopped is not None:
            break
    return variants


def _variants(track: Track) -> Sequence[str]:
    return (ORIGINAL, *LADDER) if track == "platform" else (track,)


def _prepare(
    records: Records, data: Path, track: Track, name: str, *, seed: int, short_side: int, steps: Steps
) -> tuple[Records, dict[str, int]]:
    """The records that the model is shown, and what got lost on the way to them."""

    def making(done: int, total: int) -> None:
        if steps.making is not None:
            steps.making(name, done, total)

    if track == "normalised":
        from deeptrace.data.normalise import normalise

        normal = normalise(
            records, records.root, data, short_side=short_side, match_duration=True, seed=seed, progress=making
        )
        lost = {f"left out: {reason}": count for reason, count in normal.excluded.items()}
        lost |= {f"trace dropped: {reason}": count for reason, count in normal.traces_dropped.items()}
        return load_records(data), lost
    if track == "platform" and name != ORIGINAL:
        climbed = climb(records, records.root, data, LADDER[name], seed=seed, progress=making)
        lost = {"could not be changed": len(climbed.unreadable), "trace cropped away": climbed.traces_dropped}
        return load_records(data), {what: count for what, count in lost.items() if count}
    return records, {}
