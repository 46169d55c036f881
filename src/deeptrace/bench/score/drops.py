"""How much a model loses on each rung of the platform track: the same videos before and after, paired.

The runs of a platform track go in; each metric's value on each rung comes out, and its difference from the originals
with an interval of its own. Every rung is scored against its own truth, since a crop moves the boxes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from deeptrace.bench.run.platform import LADDER, ORIGINAL
from deeptrace.bench.run.runinfo import RUN_NAME
from deeptrace.bench.score.measure import metrics_of
from deeptrace.bench.score.result import Protocol
from deeptrace.bench.score.runs import Dataset, Floats, RunTable, dataset_of, read_runs
from deeptrace.bench.score.statistics import REPLICATES, Interval, draw, interval, replicate_sums
from deeptrace.bench.score.totals import LOWER_IS_BETTER
from deeptrace.data import load_records
from deeptrace.errors import RecordError
from deeptrace.records import Record

SHOWN: Final[tuple[tuple[Protocol, str], ...]] = (
    ("paper", "accuracy"),
    ("paper", "fake_accuracy"),
    ("paper", "real_accuracy"),
    ("paper", "bbox_iou"),
    ("paper", "bbox_distance"),
    ("paper", "time_distance"),
    ("fair", "viou_f1"),
    ("fair", "tiou"),
    ("fair", "category_f1"),
    ("fair", "brier"),
)


@dataclass(frozen=True)
class RungDrop:
    """One rung: the metrics there, and what they lose on the originals (positive: worse than before). In [0, 1]."""

    name: str
    what: str
    videos: int
    unparsed: int
    failed: int
    values: Mapping[str, Interval]
    drops: Mapping[str, Interval]

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


def is_platform(folder: Path) -> bool:
    """Whether a folder holds the runs of a platform track."""
    return (folder / ORIGINAL / RUN_NAME).is_file()


def platform_drops(
    folder: Path, records: list[Record], split: str, *, replicates: int = REPLICATES, seed: int = 0
) -> list[RungDrop]:
    """The originals and each rung that was run, in the order of the ladder.

    ``records`` are those of the dataset as it was given to the run.

    Raises:
        RecordError: a rung has other videos than the originals.
        FileError, JsonError: a file of a run cannot be read.
    """
    base = dataset_of(records, split)
    first, order = _run(folder / ORIGINAL, base), [truth.video_id for truth in base.truths]
    draws = draw(order, replicates=replicates, seed=seed)
    before = _measure(first, first.rows, draws)
    drops = [_rung(ORIGINAL, "the videos as they are", first, before, before)]
    for name, rung in LADDER.items():
        if not (folder / name / "verdicts.jsonl").is_file():
            continue
        dataset = dataset_of(load_records(folder / name / "data"), split)
        run = _run(folder / name, dataset)
        place = {truth.video_id: i for i, truth in enumerate(dataset.truths)}
        if missing := [video_id for video_id in order if video_id not in place]:
            raise RecordError(name, f"{len(missing)} videos of the originals are not on this rung: {missing[0]!r}")
        rows = run.rows[[place[video_id] for video_id in order]]
        drops.append(_rung(name, rung.what, run, before, _measure(run, rows, draws)))
    return drops


def _run(folder: Path, dataset: Dataset) -> RunTable:
    runs = read_runs([folder], dataset)
    if len(runs) != 1:
        raise RecordError("runs", f"{folder.name!r} holds answers of {len(runs)} models; one is expected")
    return runs[0]


def _measure(run: RunTable, rows: Any, draws: Any) -> dict[str, Floats]:
    sums = replicate_sums(rows, draws)
    by = {protocol: metrics_of(run, protocol)(sums) for protocol in ("paper", "fair")}
    return {key: np.asarray(by[protocol][key], np.float64) for protocol, key in SHOWN}


def _rung(name: str, what: str, run: RunTable, before: Mapping[str, Floats], here: Mapping[str, Floats]) -> RungDrop:
    from deeptrace.bench.score.counts import count

    counts = count(run, run.total)
    lost = {key: (before[key] - here[key]) * (-1.0 if key in LOWER_IS_BETTER else 1.0) for key in here}
    return RungDrop(
        name=name,
        what=what,
        videos=counts["videos"],
        unparsed=counts["unparsed"],
        failed=counts["failed"],
        values={key: interval(values) for key, values in here.items()},
        drops={} if name == ORIGINAL else {key: interval(values) for key, values in lost.items()},
    )
