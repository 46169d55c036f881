"""Generators side by side: mean rewards, the share called fake, traces by category and seconds, each with an interval.

Intervals are over prompts where prompts are known, else over videos: whole prompts are drawn (bootstrap, seed fixed).
Where generators were given the same prompts, differences are paired. A video without a reward counts in ``failed`` and
in no mean.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from deeptrace.categories import CATEGORIES
from deeptrace.errors import RecordError
from deeptrace.reward.kinds import REWARDS
from deeptrace.reward.rows import RewardRow

REPLICATES: Final = 2000
LEVEL: Final = 0.95

Floats = npt.NDArray[np.float64]
Measure: TypeAlias = Callable[[RewardRow], float | None]


@dataclass(frozen=True)
class MeanInterval:
    """A mean with its 95 % interval, over ``count`` videos of ``groups`` prompts. All None: a mean of nothing."""

    value: float | None
    low: float | None
    high: float | None
    count: int
    groups: int


@dataclass(frozen=True)
class GeneratorFigures:
    """What is known of one generator. Rewards and shares lie in [0, 1]; trace seconds are per clip."""

    name: str
    videos: int
    failed: Mapping[str, int]
    figures: Mapping[str, MeanInterval]


@dataclass(frozen=True)
class PairedDifference:
    """``first`` minus ``second``, over the prompts that both were given."""

    first: str
    second: str
    figure: str
    difference: MeanInterval


@dataclass(frozen=True)
class GeneratorComparison:
    """Generators in the order in which they were given, and the differences between them where prompts match."""

    generators: tuple[GeneratorFigures, ...]
    differences: tuple[PairedDifference, ...]
    model: str
    revision: str | None
    normalised: bool
    by_prompt: bool
    missing_prompts: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON values."""
        return {"schema": "deeptrace.comparison", "schema_version": 1, **asdict(self)}


def measures() -> dict[str, Measure]:
    """The figures that are compared, by name."""
    figures: dict[str, Measure] = {
        name: lambda row, name=name: row.value(name, "calibrated")  # type: ignore[misc]
        for name in REWARDS
    }
    figures["called_fake"] = lambda row: None if not row.values else float(row.row.get("conclusion") == "fake")
    figures["trace_seconds"] = _trace_seconds
    for category in CATEGORIES:
        figures[f"trace: {category}"] = lambda row, category=category: _shows(row, category)  # type: ignore[misc]
    return figures


def _traces(row: RewardRow) -> list[Mapping[str, Any]] | None:
    traces = row.row.get("traces")
    return traces if row.values and isinstance(traces, list) else None


def _shows(row: RewardRow, category: str) -> float | None:
    traces = _traces(row)
    return None if traces is None else float(any(category in (trace["categories"] or ()) for trace in traces))


def _trace_seconds(row: RewardRow) -> float | None:
    """Seconds in which at least one listed trace is visible; None where a trace has no times."""
    traces = _traces(row)
    if traces is None:
        return None
    spans = [(trace["onset_seconds"], trace["offset_seconds"]) for trace in traces]
    if any(onset is None or offset is None for onset, offset in spans):
        return None
    seconds, end = 0.0, -math.inf
    for onset, offset in sorted(spans):
        seconds += max(0.0, offset - max(onset, end))
        end = max(end, offset)
    return seconds


def compare_generators(
    rows: Mapping[str, Sequence[RewardRow]],
    *,
    prompts: Mapping[str, str] | None = None,
    normalised: bool = False,
    seed: int = 0,
) -> GeneratorComparison:
    """The comparison of generators, given the rows of the videos of each. ``prompts`` are by path.

    Raises:
        RecordError: no generator, or rows of different models: their rewards cannot be compared.
    """
    models = {(row.row.get("model"), row.row.get("revision")) for members in rows.values() for row in members}
    if len(models) != 1:
        raise RecordError("rows", f"rows of one model are needed, got {sorted(map(str, models)) or 'none'}")
    [(model, revision)] = models
    figures = measures()
    generators = tuple(_figures(name, members, figures, prompts, seed) for name, members in rows.items())
    differences: list[PairedDifference] = []
    names = list(rows)
    if prompts is not None:
        for at, first in enumerate(names):
            for second in names[at + 1 :]:
                by_prompt = {
                    figure: tuple(_by_prompt(rows[name], measure, prompts) for name in (first, second))
                    for figure, measure in figures.items()
                }
                differences += _differences(first, second, by_prompt, seed)
    missing = {} if prompts is None else {n: sum(row.path not in prompts for row in rows[n]) for n in names}
    return GeneratorComparison(
        generators, tuple(differences), str(model), revision, normalised, prompts is not None, missing
    )


def _by_prompt(
    members: Sequence[RewardRow], measure: Measure, prompts: Mapping[str, str] | None
) -> dict[str, list[float]]:
    """The values of each prompt; a video without a prompt is one of its own."""
    values: dict[str, list[float]] = defaultdict(list)
    for row in members:
        value = measure(row)
        if value is not None:
            prompt = None if prompts is None else prompts.get(row.path)
            values[f"path:{row.path}" if prompt is None else f"prompt:{prompt}"].append(value)
    return values


def _figures(
    name: str,
    members: Sequence[RewardRow],
    figures: Mapping[str, Measure],
    prompts: Mapping[str, str] | None,
    seed: int,
) -> GeneratorFigures:
    failed = Counter(str(row.row.get("code")) for row in members if not row.values)
    means = {}
    for figure, measure in figures.items():
        values = _by_prompt(members, measure, prompts)
        means[figure] = mean_interval(list(values.values()), seed)
    return GeneratorFigures(name, len(members), dict(failed), means)


def _differences(
    first: str, second: str, by_prompt: Mapping[str, tuple[dict[str, list[float]], ...]], seed: int
) -> list[PairedDifference]:
    differences = []
    for figure, (a, b) in by_prompt.items():
        both = [key for key in a if key in b and key.startswith("prompt:")]
        gaps = [[float(np.mean(a[key]) - np.mean(b[key]))] for key in both]
        if gaps:
            differences.append(PairedDifference(first, second, figure, mean_interval(gaps, seed)))
    return differences


def mean_interval(groups: Sequence[Sequence[float]], seed: int = 0) -> MeanInterval:
    """The mean of all values and its 95 % interval: percentiles of the means of drawn groups.

    Of fewer than two groups there is no interval.
    """
    count = sum(len(values) for values in groups)
    if not count:
        return MeanInterval(None, None, None, 0, 0)
    sums = np.array([[sum(values), len(values)] for values in groups], np.float64)
    mean = float(sums[:, 0].sum() / count)
    if len(groups) < 2:
        return MeanInterval(mean, None, None, count, len(groups))
    drawn = np.random.default_rng(seed).integers(0, len(sums), (REPLICATES, len(sums)))
    totals = sums[drawn].sum(axis=1)
    low, high = np.percentile(totals[:, 0] / totals[:, 1], (50 * (1 - LEVEL), 50 * (1 + LEVEL)))
    return MeanInterval(mean, float(low), float(high), count, len(groups))
