"""The judge beside people: how far they agree, and what people would have graded the whole, had they graded it all.

Grades by people of a random part of the rows, and the judge's of all, go in. Prediction-powered inference (Angelopoulos
et al., 2023; the library ``ppi-python``) takes the judge's mean over everything and corrects it by how far the judge is
off where people graded too: an interval for the people's mean, narrower than theirs alone where the judge is any good.
"""

from __future__ import annotations

import csv
import io
import math
import os
import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from statistics import NormalDist, fmean
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from deeptrace.bench.judge.grading import GradingItem, Judgement
from deeptrace.bench.judge.rubric import GRADES
from deeptrace.errors import FileError, MissingExtra, RecordError
from deeptrace.files import csv_text, read_bytes, write_csv

SHEET_COLUMNS: Final = ("video_id", "row", "grader", "score", "reference", "candidate")
MIN_GRADED: Final = 20
"""Videos that people must have graded: below, no interval that was tried held the truth in 93 of 100 cases."""

_UNSEEN: Final = 0.5
"""Grades are coarse: few of them may all be alike, and the judge's errors then look smaller than they are. Variance of
``0.5 / (n (n + 4))`` is put on top, what two more videos off by half a grade would add; see
``benchmarks/interval_coverage.py``."""

_NORMAL: Final = NormalDist().inv_cdf(0.975)

Place = tuple[str, int]
"""A row of a video: ``(video_id, row)``."""


@dataclass(frozen=True)
class GraderAgreement:
    """How far two graders give the same grade. ``kappa`` is Cohen's, quadratic weights; None where it is not defined.

    ``confusion[a][b]`` counts rows graded ``GRADES[a]`` by the first and ``GRADES[b]`` by the second.
    """

    n: int
    equal: float | None
    kappa: float | None
    mean_difference: float | None
    confusion: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Corrected:
    """The people's mean grade of all rows, estimated. ``low`` and ``high``: 95 %.

    ``humans_alone`` is the same from people's grades without a judge; ``judge_alone`` what the judge says. ``videos``
    and ``videos_graded`` count clusters: rows of one video are not independent, so videos are what is counted.
    """

    value: float
    low: float
    high: float
    humans_alone: tuple[float, float, float]
    judge_alone: float
    videos: int
    videos_graded: int


@dataclass(frozen=True)
class JudgeComparison:
    """The judge beside people, and people beside each other. ``corrected`` is None where too few rows were graded."""

    rows_graded: int
    graders: int
    judge: GraderAgreement
    humans: GraderAgreement | None
    corrected: Corrected | None
    without_judgement: int

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {"schema": "deeptrace.judge_humans", "schema_version": 1, **asdict(self)}


# ── people's grades ─────────────────────────────────────────────────────────────────────────────────────────────────


def write_sheet(path: str | os.PathLike[str], items: Sequence[GradingItem], count: int, seed: int) -> int:
    """A CSV for people to fill in: so many rows drawn at random among those that a judge has to grade; how many.

    Drawn by chance, because the correction holds only then; the judge's grades are not shown.
    """
    open_ones = sorted((i for i in items if i.candidate is not None), key=lambda i: (i.video_id, i.row))
    chosen = random.Random(seed).sample(open_ones, min(count, len(open_ones)))
    lines = ((item.video_id, item.row, None, None, item.reference, item.candidate) for item in chosen)
    write_csv(path, [SHEET_COLUMNS, *lines])
    return len(chosen)


def read_sheet(path: str | os.PathLike[str]) -> dict[Place, dict[str, float]]:
    """People's grades by row and grader: a CSV with the columns video_id, row, grader and score; others are ignored.

    Lines without a score are skipped; a grader without a name is "1".

    Raises:
        FileError: it cannot be read, or lacks a column.
        RecordError: a grade that is not 0, 0.5 or 1, a row that is no number, or one grader's second grade of a row.
    """
    name = Path(path).name
    try:
        text = read_bytes(path, limit=1 << 26).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FileError(f"{name} is not UTF-8: {error.reason}") from None
    reader = csv.DictReader(io.StringIO(text, newline=""))
    if missing := [column for column in ("video_id", "row", "score") if column not in (reader.fieldnames or ())]:
        raise FileError(f"{name} has no column {', '.join(missing)}. Expected: video_id, row, grader, score")
    grades: dict[Place, dict[str, float]] = defaultdict(dict)
    for line, cells in enumerate(reader, 2):
        grade = (cells["score"] or "").strip().replace(",", ".")
        if not grade:
            continue
        where, grader = f"{name} line {line}", (cells.get("grader") or "").strip() or "1"
        try:
            place, score = (csv_text(cells["video_id"] or ""), int(cells["row"] or "")), float(grade)
        except ValueError:
            raise RecordError("grades", f"{where}: row {cells['row']!r} or score {grade!r} is no number") from None
        if score not in GRADES:
            raise RecordError("grades", f"{where}: {grade} is not one of 0, 0.5, 1")
        if grader in grades[place]:
            raise RecordError("grades", f"{where}: {grader!r} has graded row {place[1]} of {place[0]!r} already")
        grades[place][grader] = score
    return dict(grades)


# ── beside each other ───────────────────────────────────────────────────────────────────────────────────────────────


def compare(judgements: Iterable[Judgement], grades: Mapping[Place, Mapping[str, float]]) -> JudgeComparison:
    """The judge beside people, where both graded a row, and the corrected mean.

    Raises:
        RecordError: people graded no row that the judge graded.
        MissingExtra: scikit-learn or ppi-python is not installed.
    """
    listed = list(judgements)
    judge_grades = {
        (judgement.video_id, judgement.row): judgement.grade
        for judgement in listed
        if judgement.status == "scored" and judgement.grade is not None
    }
    both = {place: grades[place] for place in grades if place in judge_grades}
    if not both:
        raise RecordError("grades", "no row was graded by people and by the judge; check video_id and row")
    judge = agreement([(score, judge_grades[place]) for place, by in both.items() for score in by.values()])
    pairs = [
        (by[a], by[b]) for by in grades.values() for a, b in combinations(sorted(by), 2)
    ]  # a pair of graders in the order of their names, so that the table reads the same way throughout
    return JudgeComparison(
        rows_graded=len(both),
        graders=len({grader for by in grades.values() for grader in by}),
        judge=judge,
        humans=agreement(pairs) if pairs else None,
        corrected=correct_mean(listed, {place: fmean(by.values()) for place, by in both.items()}),
        without_judgement=len(grades) - len(both),
    )


def agreement(pairs: Sequence[tuple[float, float]]) -> GraderAgreement:
    """How far the two of each pair agree."""
    table = [[0] * len(GRADES) for _ in GRADES]
    for first, second in pairs:
        table[GRADES.index(first)][GRADES.index(second)] += 1
    n = len(pairs)
    return GraderAgreement(
        n=n,
        equal=sum(a == b for a, b in pairs) / n if n else None,
        kappa=_kappa(pairs),
        mean_difference=fmean(b - a for a, b in pairs) if n else None,
        confusion=tuple(tuple(row) for row in table),
    )


def _kappa(pairs: Sequence[tuple[float, float]]) -> float | None:
    try:
        from sklearn.metrics import cohen_kappa_score
    except ImportError:
        raise MissingExtra("agreement with people", "humans") from None
    values = {value for pair in pairs for value in pair}
    if len(values) < 2:  # everybody always said the same: agreement beyond chance has no meaning
        return None
    first, second = ([GRADES.index(pair[i]) for pair in pairs] for i in (0, 1))
    kappa = float(cohen_kappa_score(first, second, weights="quadratic", labels=range(len(GRADES))))
    return kappa if math.isfinite(kappa) else None


def correct_mean(judgements: Iterable[Judgement], humans: Mapping[Place, float]) -> Corrected | None:
    """The people's mean over all rows that are known: judged ones by inference, absent ones as the 0 that they are.

    Rows of a video are taken together, each video weighing as many rows as it has. None where fewer than `MIN_GRADED`
    videos were graded by people, or none is left for the judge alone.
    """
    by_video: dict[str, list[tuple[float, float | None]]] = defaultdict(list)
    absent = 0
    for judgement in judgements:
        absent += judgement.status == "absent"
        if judgement.status == "scored" and judgement.grade is not None:
            by_video[judgement.video_id].append((judgement.grade, humans.get((judgement.video_id, judgement.row))))
    graded, rest = [], []
    for rows in by_video.values():
        graded_rows = [(judge, human) for judge, human in rows if human is not None]
        if graded_rows:
            graded.append(
                (fmean(human for _, human in graded_rows), fmean(judge for judge, _ in graded_rows), len(rows))
            )
        else:
            rest.append((fmean(judge for judge, _ in rows), len(rows)))
    if len(graded) < MIN_GRADED or not rest:
        return None
    human, judge, weight = (np.array(values, float) for values in zip(*graded, strict=True))
    others, others_weight = (np.array(values, float) for values in zip(*rest, strict=True))
    judged = sum(len(rows) for rows in by_video.values())
    share = judged / (judged + absent)
    point, low, high = _infer(human, judge, others, weight, others_weight)
    alone = _infer(human, judge, others, weight, others_weight, power=0.0)
    whole = fmean(score for rows in by_video.values() for score, _ in rows)
    return Corrected(
        value=share * point,
        low=share * low,
        high=share * high,
        humans_alone=(share * alone[0], share * alone[1], share * alone[2]),
        judge_alone=share * whole,
        videos=len(by_video),
        videos_graded=len(graded),
    )


Floats = npt.NDArray[np.float64]


def _infer(
    human: Floats, judge: Floats, others: Floats, weight: Floats, others_weight: Floats, *, power: float | None = None
) -> tuple[float, float, float]:
    """Value, low and high by ppi-python; within [0, 1]. ``power`` 0 leaves the judge out, None lets the data choose.

    The library's interval is the normal one of large samples. Its standard error is kept; the reach is Student's, with
    a degree of freedom less for the judge's weight, which was chosen by the same data.
    """
    from scipy.stats import t

    try:
        import ppi_py
    except ImportError:
        raise MissingExtra("the corrected estimate", "humans") from None
    if np.ptp(np.concatenate([judge, others])) == 0:
        power = 0.0  # a judge that always says the same tells nothing, and its best weight is 0 / 0
    options = {"lam": power, "w": weight, "w_unlabeled": others_weight}
    value = ppi_py.ppi_mean_pointestimate(human, judge, others, **options)
    low, high = ppi_py.ppi_mean_ci(human, judge, others, alpha=0.05, **options)
    point, start, end = (float(np.ravel(number)[0]) for number in (value, low, high))
    n = len(human)
    error = math.hypot((end - start) / 2 / _NORMAL, math.sqrt(_UNSEEN / (n * (n + 4))))
    reach = float(t.ppf(0.975, n - 2)) * math.sqrt(n / (n - 2)) * error
    return tuple(float(np.clip(number, 0.0, 1.0)) for number in (point, point - reach, point + reach))  # type: ignore[return-value]
