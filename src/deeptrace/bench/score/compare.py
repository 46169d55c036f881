"""One row of a table against another: differences with intervals, tests, and how far repeats of one run lie apart."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from deeptrace.bench.score.measure import HITS, Measured, Setting, doubt, metrics_of
from deeptrace.bench.score.result import Difference, Protocol
from deeptrace.bench.score.run_table import Floats, RunTable
from deeptrace.bench.score.statistics import (
    Interval,
    Spread,
    cluster_sums,
    holm,
    interval,
    permutation_test,
    smallest_detectable,
    spread,
)
from deeptrace.bench.score.totals import LOWER_IS_BETTER, PAPER_KEYS, Metrics, overall_fields
from deeptrace.files import dumps
from deeptrace.measures.video import Fields

TESTED: Final[Mapping[Protocol, tuple[str, ...]]] = {
    "paper": (*PAPER_KEYS, "overall_without_judge"),
    "fair": (
        "fair_overall",
        "fair_overall_without_judge",
        "viou_f1",
        "category_f1",
        "explanation",
        "accuracy",
        "tiou",
        "onset_error",
        "brier",
    ),
}
"""Metrics whose differences are tested by permutation. AUROC has an interval and no test: its values are ranks."""

_OVERALLS: Final = ("fair_overall", "fair_overall_without_judge")


def differences(
    rows: Sequence[Measured], base: Measured | None, setting: Setting, *, adapt: bool = False
) -> list[dict[Protocol, dict[str, Difference]]]:
    """Each row less the base; p-values are adjusted over the rows, metric by metric. Nothing without a base.

    ``adapt``: the base is measured on the fields that each row was asked for, so that their fair_overall is a mean of
    the same parts; for a base that says everything. Otherwise fair_overall is compared among rows of equal fields only.
    """
    if base is None:
        return [{} for _ in rows]
    bases = _bases(rows, base, setting, adapt=adapt)
    base_sums = cluster_sums(base.run.rows, setting.clusters)
    tests = [
        None if row.run is base.run else _tests(row, own, base_sums, setting)
        for row, own in zip(rows, bases, strict=True)
    ]
    result: list[dict[Protocol, dict[str, Difference]]] = [{"paper": {}, "fair": {}} for _ in rows]
    protocols: tuple[Protocol, ...] = ("paper", "fair")
    for protocol in protocols:
        for key in base.of(protocol):
            p_values = [None if test is None else test[protocol].get(key) for test in tests]
            adjusted = holm(p_values)
            for i, (row, own) in enumerate(zip(rows, bases, strict=True)):
                sign = -1.0 if key in LOWER_IS_BETTER else 1.0
                apart = sign * (row.of(protocol)[key] - own.of(protocol)[key])
                if key in HITS or (
                    key in _OVERALLS and overall_fields(row.run.fields) != overall_fields(own.run.fields)
                ):
                    apart = np.full_like(apart, np.nan)
                span = interval(apart, clusters=setting.fewest)
                smallest = None if span.value is None else smallest_detectable(apart)
                if span.reason is not None:
                    smallest = None
                if doubt(row.run.rows, setting.clusters, key) is not None:
                    span, smallest = Interval(span.value, None, None), None
                p, p_holm = (None, None) if span.value is None else (p_values[i], adjusted[i])
                result[i][protocol][key] = Difference(span.value, span.low, span.high, smallest, p, p_holm)
    return result


def _bases(rows: Sequence[Measured], base: Measured, setting: Setting, *, adapt: bool) -> list[Measured]:
    """The base for each row; with ``adapt`` on the row's own fields."""
    known: dict[Fields, Measured] = {base.run.fields: base}
    bases = []
    for row in rows:
        fields = row.run.fields if adapt else base.run.fields
        if fields not in known:
            known[fields] = setting.measure(replace(base.run, asked_fields=fields))
        bases.append(known[fields])
    return bases


def _tests(
    row: Measured, base: Measured, base_sums: Floats, setting: Setting
) -> dict[Protocol, dict[str, float | None]] | None:
    if setting.permutations < 1:
        return None
    sums = cluster_sums(row.run.rows, setting.clusters)

    def of(run: RunTable) -> Callable[[Floats], Metrics]:
        return lambda totals: {
            f"{protocol}.{key}": values
            for protocol, keys in TESTED.items()
            for key, values in metrics_of(run, protocol)(totals).items()
            if key in keys
        }

    p_values = permutation_test(
        sums, base_sums, of(row.run), of(base.run), permutations=setting.permutations, seed=setting.seed
    )
    result: dict[Protocol, dict[str, float | None]] = {"paper": {}, "fair": {}}
    for name, p_value in p_values.items():
        protocol, _, key = name.partition(".")
        result["paper" if protocol == "paper" else "fair"][key] = p_value
    return result


def variance(rows: Sequence[Measured]) -> dict[str, dict[str, dict[str, Spread]]]:
    """By model: runs alike in all but the seed are repeats; judges that graded one run are judges."""
    spreads: dict[str, dict[str, dict[str, Spread]]] = {}
    repeats: dict[str, list[Measured]] = {}
    for row in rows:
        about = {key: value for key, value in row.run.settings.items() if key != "seed"}
        key = dumps([row.run.model, row.run.revision, row.run.question, sorted(about.items())])
        repeats.setdefault(key, []).append(row)
    for same in repeats.values():
        if len(same) > 1:
            values = {
                f"{protocol}.{key}": spread([_number(row.of(protocol)[key][0]) for row in same])
                for protocol, keys in TESTED.items()
                for key in keys
            }
            spreads.setdefault(same[0].run.model or same[0].run.name, {})["seeds"] = values
    for row in rows:
        if len(row.run.grades_by_judge) > 1:
            means = [sum(grades) / len(grades) if grades else None for grades in row.run.grades_by_judge.values()]
            spreads.setdefault(row.run.name, {})["judges"] = {"paper.explanation": spread(means)}
    return spreads


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
