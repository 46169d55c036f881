"""What models said, as numbers: files of answers become one table ``(videos, columns)`` a run. See `totals`.

Answers are read once, one at a time, and not kept; a run over 7,000 videos takes 8 MB however long its answers are.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from deeptrace.bench.grades import GradeBook
from deeptrace.bench.questions import fields_of
from deeptrace.bench.reading import Foreign, Line, iter_lines, verdicts_file
from deeptrace.bench.totals import COLUMNS, PLACE, row_of, worst_p
from deeptrace.errors import RecordError
from deeptrace.metrics import (
    FIELDS,
    Fields,
    Truth,
    VideoScore,
    first_claim,
    needs_grade,
    said_fields,
    score_video,
    truth_of,
)
from deeptrace.records import Outcome, Record, Verdict

Floats = npt.NDArray[np.float64]


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


@dataclass(eq=False)
class Run:
    """One model's answers on the videos of a `Dataset`: ``rows`` (N, K) in the order of `COLUMNS`, ``p`` (N,).

    ``asked``: what its question asks for, None where it is asked nothing; ``fields``: the same, or what its answers
    said. ``elsewhere`` and ``unknown`` count answers on videos of other splits, and of no record. ``texts``: by
    annotation row with a written explanation, (video, written, candidate); only where texts are wanted.
    """

    name: str
    file: str
    model: str | None
    revision: str | None
    question: str | None
    rows: Floats
    p: Floats
    asked: Fields | None = None
    judged: bool = False
    elsewhere: int = 0
    unknown: int = 0
    calibrations: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    filled: Counter[str] = field(default_factory=Counter)
    grades_by_judge: dict[str, list[float]] = field(default_factory=dict)
    texts: list[tuple[int, str, str]] = field(default_factory=list)
    _said: set[str] = field(default_factory=set)
    _has_answer: set[int] = field(default_factory=set)
    _knows_question: bool = False

    @property
    def fields(self) -> Fields:
        """What answers of this run carry."""
        return frozenset(f for f in FIELDS if f in self._said) if self.asked is None else self.asked

    @property
    def total(self) -> Floats:
        """The sums over all videos, ``(K,)``."""
        return np.asarray(self.rows.sum(0), np.float64)

    @property
    def gives_p(self) -> bool:
        """Whether the model gave a probability for any video."""
        return bool(self.rows[:, PLACE["with_p"]].any())

    @property
    def incomplete(self) -> bool:
        """Whether some video has no answer or a failed one: such a run is scored, and never ranked."""
        sums = self.total
        return any(sums[PLACE[f"{label}_{what}"]] > 0 for label in ("fake", "real") for what in ("failed", "missing"))

    def learn_question(self, outcome: Outcome) -> None:
        """Take the question from an answer; a run has one.

        Raises:
            RecordError: an earlier answer is to another question.
            AnswerError: a format that this code does not read.
        """
        if not isinstance(outcome, Verdict):
            return  # it claims nothing, so it does not matter what was asked for
        asked = fields_of(outcome.origin)
        if self._knows_question and asked != self.asked:
            raise RecordError("question", f"answers of {self.name!r} are to two questions: score them as two files")
        self.asked, self._knows_question = asked, True

    def place(self, index: int, score: VideoScore) -> None:
        """Note the score of a video."""
        self.rows[index] = row_of(score)
        self.p[index] = worst_p(score)
        self._has_answer.add(index)

    def has_answer(self, index: int) -> bool:
        """Whether the video has a row already."""
        return index in self._has_answer

    def note(self, outcome: Outcome) -> None:
        """Count what is said beside the numbers."""
        if isinstance(outcome, Verdict):
            self._said |= said_fields(outcome)
            if outcome.calibration is not None:
                self.calibrations[outcome.calibration] += 1
        else:
            self.reasons[getattr(outcome, "code", None) or outcome.reason] += 1


def new_run(
    dataset: Dataset,
    name: str,
    *,
    file: str = "",
    model: str | None = None,
    revision: str | None = None,
    question: str | None = None,
) -> Run:
    """A run without any answer yet."""
    n = len(dataset.truths)
    return Run(name, file, model, revision, question, rows=np.zeros((n, len(COLUMNS))), p=np.zeros(n))


def read_runs(
    paths: Sequence[str | os.PathLike[str]],
    dataset: Dataset,
    *,
    foreign: Foreign | None = None,
    grades: GradeBook | None = None,
    keep_texts: bool = False,
) -> list[Run]:
    """The runs in some files, in the order in which they appear: one for each model, revision and question of a file.

    Raises:
        FileError, JsonError, AnswerError: see `iter_lines`.
        RecordError: likewise; a video answered twice in one run; a file without an answer on any of the videos.
    """
    by_id = {record.video_id: record for record in dataset.records}
    runs: list[Run] = []
    for path in paths:
        runs += _runs_of_file(path, dataset, iter_lines(path, by_id, foreign), _Filling(dataset, grades, keep_texts))
    _tell_apart(runs)
    return runs


def score_outcomes(
    dataset: Dataset,
    outcomes: Mapping[str, Outcome],
    name: str,
    *,
    asked: Fields | None,
    grades: GradeBook | None = None,
    keep_texts: bool = False,
) -> Run:
    """A run of outcomes that are at hand, by ``video_id``; used for the rows that see no pixels."""
    run = new_run(dataset, name, model=name)
    run.asked, run._knows_question = asked, True
    filling = _Filling(dataset, grades, keep_texts)
    for index, truth in enumerate(dataset.truths):
        filling.add(run, index, outcomes.get(truth.video_id))
    filling.finish(run)
    return run


def _runs_of_file(
    path: str | os.PathLike[str], dataset: Dataset, lines: Iterator[Line], filling: _Filling
) -> list[Run]:
    file = verdicts_file(path)
    stem = Path(path).name if Path(path).is_dir() else file.stem
    index_of = {truth.video_id: i for i, truth in enumerate(dataset.truths)}
    runs: dict[tuple[str | None, ...], Run] = {}
    for line in lines:
        origin = line.outcome.origin
        key = (origin.model, origin.revision, origin.question)
        run = runs.get(key)
        if run is None:
            run = runs[key] = new_run(
                dataset,
                origin.model or stem,
                file=stem,
                model=origin.model,
                revision=origin.revision,
                question=origin.question,
            )
        index = index_of.get(origin.video_id or "")
        if index is None:
            if origin.video_id in dataset.elsewhere:
                run.elsewhere += 1
            else:
                run.unknown += 1
        elif run.has_answer(index):
            raise RecordError("video_id", f"{file.name} line {line.number}: {origin.video_id!r} is answered already")
        else:
            run.learn_question(line.outcome)
            filling.add(run, index, line.outcome)
    found = [run for run in runs.values() if run._has_answer]
    if not found:
        raise RecordError("video_id", f"{file.name} holds no answer on any of the {len(dataset.truths)} videos scored")
    for run in found:
        filling.finish(run)
    return found


class _Filling:
    """Turns outcomes into rows of a run."""

    def __init__(self, dataset: Dataset, grades: GradeBook | None, keep_texts: bool) -> None:
        self._dataset, self._grades, self._keep_texts = dataset, grades, keep_texts

    def add(self, run: Run, index: int, outcome: Outcome | None) -> None:
        truth = self._dataset.truths[index]
        grades = None
        if self._grades is not None and self._grades.knows(run.model, run.revision):
            run.judged = True
            grades = self._grades.of(run.model, run.revision, truth.video_id)
            self._by_judge(run, truth, outcome)
        score = score_video(truth, outcome, fields=run.asked, grades=grades)
        run.place(index, score)
        run.filled.update(score.filled)
        if outcome is not None:
            run.note(outcome)
        if self._keep_texts:
            candidate = first_claim(outcome, run.asked).explanation or ""
            run.texts += [(index, str(row.explanation), candidate) for row in truth.rows if row.explanation]

    def _by_judge(self, run: Run, truth: Truth, outcome: Outcome | None) -> None:
        """Each judge's own mean, for their spread: the rows where 0 is sure count for all of them alike."""
        if self._grades is None:
            return
        asked = {row for row, _, _ in needs_grade(truth, outcome, run.asked)}
        for judge in self._grades.judges:
            own = self._grades.of(run.model, run.revision, truth.video_id, judge=judge)
            values = run.grades_by_judge.setdefault(judge, [])
            for i, row in enumerate(truth.rows):
                if row.explanation and row.explanation.strip():
                    grade = own.get(i) if i in asked else 0.0
                    if grade is not None:
                        values.append(grade)

    def finish(self, run: Run) -> None:
        """Videos without any row are missing: the worst."""
        for index in range(len(self._dataset.truths)):
            if not run.has_answer(index):
                self.add(run, index, None)


def _tell_apart(runs: Sequence[Run]) -> None:
    """Give runs of one model names of their own: by revision, question or file, whatever differs."""
    for about in ("revision", "question", "file"):
        counts = Counter(run.name for run in runs)
        for run in runs:
            value = getattr(run, about)
            others = {getattr(other, about) for other in runs if other.model == run.model}
            if counts[run.name] > 1 and value and len(others) > 1:
                run.name = f"{run.name}, {value[:40]}"
    taken: Counter[str] = Counter()
    for run in runs:
        taken[run.name] += 1
        if taken[run.name] > 1:
            run.name = f"{run.name} ({taken[run.name]})"
