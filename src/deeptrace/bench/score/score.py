"""The scores of some runs: both protocols with their denominators and intervals, beside rows that see no pixels.

`read_runs` gives tables of numbers, `score` turns them into `Scores`; `Scores.to_json` is what ``bench score --json``
prints, and `deeptrace.bench.tables` what a person reads. Scores are computed from rows alone.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Final

from deeptrace.bench.compare import differences, variance
from deeptrace.bench.counts import count, fair_n, paper_n, reliability
from deeptrace.bench.dataset import Dataset
from deeptrace.bench.groups import group
from deeptrace.bench.measure import Measured, Setting, metrics_of
from deeptrace.bench.published import is_release, published
from deeptrace.bench.result import Comparison, Difference, GroupScore, Kind, Protocol, RunScore, Scores
from deeptrace.bench.run_table import Run
from deeptrace.bench.statistics import PERMUTATIONS, REPLICATES, Draws, Interval, draw, interval, replicate_sums
from deeptrace.bench.totals import PAPER_KEYS
from deeptrace.errors import RecordError

BLIND: Final = "blind"
"""The name of the row that skill is measured over."""

_GROUPED: Final[Mapping[Protocol, tuple[str, ...]]] = {
    "paper": tuple(key for key in PAPER_KEYS if key != "overall"),
    "fair": ("fake_accuracy", "real_accuracy", "viou_f1", "category_f1", "explanation", "tiou", "onset_error",
             "false_alarms", "claims_per_real_video"),
}  # fmt: skip


def score(
    runs: Sequence[Run],
    dataset: Dataset,
    blind: Sequence[Run] = (),
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
            Comparison(row.run.name, reference.run.name, found)
            for row, found in zip(others, apart, strict=True)
            if reference is not None
        ),
        variance=variance(measured),
    )


def _clusters(dataset: Dataset, clusters: Mapping[str, Hashable] | None) -> list[Hashable]:
    known = clusters or {}
    return [(1, known[t.video_id]) if t.video_id in known else (0, t.video_id) for t in dataset.truths]


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
        paper={key: interval(values) for key, values in measured.paper.items()},
        fair={key: interval(values) for key, values in measured.fair.items()},
        n={"paper": paper_n(total), "fair": fair_n(total)},
        counts=count(run, total),
        reliability=reliability(total) if run.gives_p else None,
        groups=_groups(run, setting),
        skill=skill,
        texts=texts,
    )


def _groups(run: Run, setting: Setting) -> dict[str, dict[str, GroupScore]]:
    found: dict[str, dict[str, GroupScore]] = {}
    for grouping, masks in group(setting.dataset).items():
        found[grouping] = {}
        for name, mask in masks.items():
            part = Draws(setting.draws.weights[:, mask], setting.draws.clusters)
            sums = replicate_sums(run.rows[mask], part)
            metrics: dict[Protocol, Mapping[str, Interval]] = {
                protocol: {
                    key: interval(values) for key, values in metrics_of(run, protocol)(sums).items() if key in keys
                }
                for protocol, keys in _GROUPED.items()
            }
            found[grouping][name] = GroupScore(int(mask.sum()), metrics)
    return found
