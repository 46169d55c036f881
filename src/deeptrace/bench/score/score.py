"""The scores of some runs: both protocols with their denominators and intervals, beside rows that see no pixels.

`read_runs` gives tables of numbers, `score` turns them into `Scores`; `Scores.to_json` is what ``bench score --json``
prints, and `deeptrace.bench.score.tables` what a person reads. Scores are computed from rows alone.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from deeptrace.bench.score.catalogue import METRICS
from deeptrace.bench.score.compare import differences, variance
from deeptrace.bench.score.counts import count, denominators, reliability
from deeptrace.bench.score.dataset import Dataset
from deeptrace.bench.score.groups import group
from deeptrace.bench.score.measure import Measured, Setting, doubt, metrics_of, span_of
from deeptrace.bench.score.published import is_release, published
from deeptrace.bench.score.result import Comparison, Difference, GroupScore, Kind, Protocol, RunScore, Scores
from deeptrace.bench.score.run_table import RunTable
from deeptrace.bench.score.statistics import (
    PERMUTATIONS,
    REPLICATES,
    Draws,
    Interval,
    draw,
    replicate_sums,
)
from deeptrace.bench.score.totals import PAPER_KEYS
from deeptrace.errors import RecordError

BLIND: Final = "blind"
"""The name of the row that skill is measured over."""

_GROUPED: Final[Mapping[Protocol, tuple[str, ...]]] = {
    "paper": tuple(key for key in PAPER_KEYS if key != "overall"),
    "fair": ("fake_accuracy", "real_accuracy", "viou_f1", "category_f1", "explanation", "tiou", "onset_error",
             "false_alarms", "claims_per_real_video"),
}  # fmt: skip


def score(
    runs: Sequence[RunTable],
    dataset: Dataset,
    blind: Sequence[RunTable] = (),
    *,
    blind_note: str | None = None,
    clusters: Mapping[str, Hashable] | None = None,
    replicates: int = REPLICATES,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
    against: str | None = None,
    texts: Mapping[str, Mapping[str, float]] | None = None,
) -> Scores:
    """The scores of some runs.

    ``blind``: rows that see no pixels; skill is measured over the one named "blind". ``clusters`` maps a video id to
    its group of near-duplicates (from the audit); a video that is not in it stands alone. ``against`` names the run
    that the others are compared with; None: the first. ``texts``: text metrics by a run's name.

    Raises:
        RecordError: ``against`` is no run's name.
    """
    names = [run.name for run in runs]
    if against is not None and against not in names:
        raise RecordError("against", f"{against!r} is not one of {', '.join(names)}")
    groups_of = _clusters(dataset, clusters)
    draws = draw(groups_of, replicates=replicates, seed=seed)
    setting = Setting(dataset, draws, groups_of, permutations, seed)
    measured, unseeing = [setting.measure(run) for run in runs], [setting.measure(run) for run in blind]
    base = next((row for row in unseeing if row.run.name == BLIND), None)
    skills = differences(measured, base, setting, adapt=True)
    reference = next((row for row in measured if row.run.name == (against or names[0])), None) if measured else None
    others = [row for row in measured if row is not reference]
    apart = differences(others, reference, setting)
    words = texts or {}
    return Scores(
        split=dataset.split,
        videos=len(dataset.truths),
        unsure=dataset.unsure,
        clusters=draws.clusters,
        replicates=replicates,
        permutations=permutations,
        seed=seed,
        runs=tuple(
            _run_score(row, setting, "measured", skill, words.get(row.run.name))
            for row, skill in zip(measured, skills, strict=True)
        ),
        blind=tuple(_run_score(row, setting, "blind", {}, words.get(row.run.name)) for row in unseeing),
        blind_note=blind_note,
        published=published(dataset.split),
        is_release=is_release(dataset.truths, dataset.split),
        comparisons=tuple(
            Comparison(row.run.name, reference.run.name, difference)
            for row, difference in zip(others, apart, strict=True)
            if reference is not None
        ),
        variance=variance(measured),
    )


def _clusters(dataset: Dataset, clusters: Mapping[str, Hashable] | None) -> list[Hashable]:
    known = clusters or {}
    return [(1, known[truth.video_id]) if truth.video_id in known else (0, truth.video_id) for truth in dataset.truths]


# ── one row of the tables ───────────────────────────────────────────────────────────────────────────────────────────


def _run_score(
    measured: Measured,
    setting: Setting,
    kind: Kind,
    skill: Mapping[Protocol, Mapping[str, Difference]],
    texts: Mapping[str, float] | None,
) -> RunScore:
    run, total = measured.run, measured.run.total
    return RunScore(
        name=run.name,
        kind=kind,
        run=run,
        paper={key: setting.interval(measured, "paper", key) for key in measured.paper},
        fair={key: setting.interval(measured, "fair", key) for key in measured.fair},
        n={"paper": denominators(total, "paper"), "fair": denominators(total, "fair")},
        counts=count(run, total),
        reliability=reliability(total) if run.gives_p else None,
        groups=_groups(run, setting),
        skill=skill,
        texts=texts,
    )


def _groups(run: RunTable, setting: Setting) -> dict[str, dict[str, GroupScore]]:
    scores: dict[str, dict[str, GroupScore]] = {}
    for grouping, masks in group(setting.dataset).items():
        scores[grouping] = {}
        for name, mask in masks.items():
            scores[grouping][name] = _group(run, mask, setting)
    return scores


def _group(run: RunTable, mask: npt.NDArray[np.bool_], setting: Setting) -> GroupScore:
    sums = replicate_sums(run.rows[mask], Draws(setting.draws.weights[:, mask], setting.draws.clusters))
    clusters = [cluster for cluster, inside in zip(setting.clusters, mask, strict=True) if inside]

    def of(protocol: Protocol, key: str, values: npt.NDArray[np.float64]) -> Interval:
        if (reason := doubt(run.rows[mask], clusters, key)) is not None:
            return Interval(None if np.isnan(values[0]) else float(values[0]), None, None, reason)
        return span_of(values, METRICS[protocol][key], len(set(clusters)))

    metrics: dict[Protocol, Mapping[str, Interval]] = {
        protocol: {
            key: of(protocol, key, values) for key, values in metrics_of(run, protocol)(sums).items() if key in keys
        }
        for protocol, keys in _GROUPED.items()
    }
    return GroupScore(int(mask.sum()), metrics)
