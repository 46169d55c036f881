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
from statistics import fmean
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from deeptrace.bench.judge.grading import Item, Judgement
from deeptrace.bench.judge.rubric import GRADES
from deeptrace.errors import FileError, MissingExtra, RecordError
from deeptrace.files import read_bytes, write_text

SHEET_COLUMNS: Final = ("video_id", "row", "grader", "score", "reference", "candidate")
MIN_GRADED: Final = 2

Place = tuple[str, int]
"""A row of a video: ``(video_id, row)``."""


@dataclass(frozen=True)
class Agreement:
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
class Comparison:
    """The judge beside people, and people beside each other. ``corrected`` is None where too few rows were graded."""

    rows_graded: int
    graders: int
    judge: Agreement
    humans: Agreement | None
    corrected: Corrected | None
    without_judgement: int

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {"schema": "deeptrace.judge_humans", "schema_version": 1, **asdict(self)}


# ── people's grades ─────────────────────────────────────────────────────────────────────────────────────────────────


def write_sheet(path: str | os.PathLike[str], items: Sequence[Item], count: int, seed: int) -> int:
    """A CSV for people to fill in: so many rows drawn at random among those that a judge has to grade; how many.

    Drawn by chance, because the correction holds only then; the judge's grades are not shown.
    """
    open_ones = sorted((i for i in items if i.candidate is not None), key=lambda i: (i.video_id, i.row))
    chosen = random.Random(seed).sample(open_ones, min(count, len(open_ones)))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(SHEET_COLUMNS)
    for item in chosen:
        cells = [item.video_id, str(item.row), "", "", item.reference, item.candidate or ""]
        writer.writerow([_harmless(cell) for cell in cells])
    write_text(path, text.getvalue())
    return len(chosen)


def _harmless(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{cell}" if cell[:1] in ("=", "+", "-", "@", "\t", "\r") else cell


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
        said = (cells["score"] or "").strip().replace(",", ".")
        if not said:
            continue
        where, grader = f"{name} line {line}", (cells.get("grader") or "").strip() or "1"
        try:
            place, score = ((cells["video_id"] or "").removeprefix("'"), int(cells["row"] or "")), float(said)
        except ValueError:
            raise RecordError("grades", f"{where}: row {cells['row']!r} or score {said!r} is no number") from None
        if score not in GRADES:
            raise RecordError("grades", f"{where}: {said} is not one of 0, 0.5, 1")
        if grader in grades[place]:
            raise RecordError("grades", f"{where}: {grader!r} has graded row {place[1]} of {place[0]!r} already")
        grades[place][grader] = score
    return dict(grades)


# ── beside each other ───────────────────────────────────────────────────────────────────────────────────────────────


def compare(judgements: Iterable[Judgement], grades: Mapping[Place, Mapping[str, float]]) -> Comparison:
    """The judge beside people, where both graded a row, and the corrected mean.

    Raises:
        RecordError: people graded no row that the judge graded.
        MissingExtra: scikit-learn or ppi-python is not installed.
    """
    listed = list(judgements)
    asked = {(j.video_id, j.row): j.grade for j in listed if j.status == "scored" and j.grade is not None}
    both = {place: grades[place] for place in grades if place in asked}
    if not both:
        raise RecordError("grades", "no row was graded by people and by the judge; check video_id and row")
    judge = agreement([(score, asked[place]) for place, by in both.items() for score in by.values()])
    pairs = [
        (by[a], by[b]) for by in grades.values() for a, b in combinations(sorted(by), 2)
    ]  # a pair of graders in the order of their names, so that the table reads the same way throughout
    return Comparison(
        rows_graded=len(both),
        graders=len({grader for by in grades.values() for grader in by}),
        judge=judge,
        humans=agreement(pairs) if pairs else None,
        corrected=corrected(listed, {place: fmean(by.values()) for place, by in both.items()}),
        without_judgement=len(grades) - len(both),
    )


def agreement(pairs: Sequence[tuple[float, float]]) -> Agreement:
    """How far the two of each pair agree."""
    table = [[0] * len(GRADES) for _ in GRADES]
    for first, second in pairs:
        table[GRADES.index(first)][GRADES.index(second)] += 1
    n = len(pairs)
    return Agreement(
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


def corrected(judgements: Iterable[Judgement], humans: Mapping[Place, float]) -> Corrected | None:
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
        seen = [(judge, human) for judge, human in rows if human is not None]
        if seen:
            graded.append((fmean(h for _, h in seen), fmean(j for j, _ in seen), len(rows)))
        else:
            rest.append((fmean(j for j, _ in rows), len(rows)))
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
    """Value, low and high by ppi-python; within [0, 1]. ``power`` 0 leaves the judge out, None lets the data choose."""
    try:
        import ppi_py
    except ImportError:
        raise MissingExtra("the corrected estimate", "humans") from None
    if np.ptp(np.concatenate([judge, others])) == 0:
        power = 0.0  # a judge that always says the same tells nothing, and its best weight is 0 / 0
    given = {"lam": power, "w": weight, "w_unlabeled": others_weight}
    value = ppi_py.ppi_mean_pointestimate(human, judge, others, **given)
    low, high = ppi_py.ppi_mean_ci(human, judge, others, alpha=0.05, **given)
    point, start, end = (float(np.clip(np.ravel(v)[0], 0.0, 1.0)) for v in (value, low, high))
    return point, start, end
