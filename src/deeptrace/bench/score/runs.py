"""What models said, as numbers: files of answers become one table a run.

Answers are read once, one at a time, and not kept, however long they are.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from deeptrace.bench.run.questions import declared_fields
from deeptrace.bench.run.runinfo import RUN_NAME
from deeptrace.bench.score.dataset import Dataset, dataset_of
from deeptrace.bench.score.grades import GradeBook
from deeptrace.bench.score.reading import Foreign, Line, iter_lines, verdicts_file
from deeptrace.bench.score.run_table import Floats, RunTable, new_run
from deeptrace.errors import RecordError
from deeptrace.files import loads, read_bytes
from deeptrace.measures.calibration import Calibration
from deeptrace.measures.video import Fields, Grades, Truth, first_claim, needs_grade, score_video
from deeptrace.records import Outcome
from deeptrace.schema import check

__all__ = ["Dataset", "Floats", "RunTable", "dataset_of", "read_runs", "score_outcomes", "settings_of"]

SETTINGS: Final = ("view", "seed", "track", "variant", "sampling", "fields")
"""What of a run's settings makes it another run than one of the same model and question."""


def read_runs(
    paths: Sequence[str | os.PathLike[str]],
    dataset: Dataset,
    *,
    foreign: Foreign | None = None,
    grades: GradeBook | None = None,
    calibration: Calibration | None = None,
    keep_texts: bool = False,
) -> list[RunTable]:
    """The runs in some files, in the order in which they appear: one for each model, revision and question of a file.

    ``calibration`` turns the raw probabilities of its own model into calibrated ones; others stay as they are.

    Raises:
        FileError, JsonError, AnswerError: see `iter_lines`.
        RecordError: likewise; a video answered twice in one run; a file without an answer on any of the videos; a
            calibration of another track, or of a model that has no answer here.
    """
    by_id = {record.video_id: record for record in dataset.records}
    runs: list[RunTable] = []
    for path in paths:
        lines = iter_lines(path, by_id, foreign)
        if calibration is not None:
            lines = _calibrate(lines, calibration, settings_of(path))
        runs += _runs_of_file(path, dataset, lines, _Filling(dataset, grades, keep_texts))
    if calibration is not None and not any(run.calibrations[calibration.name] for run in runs):
        raise RecordError("calibration", f"is of the model {calibration.model!r}, which gives no probability here")
    _tell_apart(runs)
    return runs


def score_outcomes(
    dataset: Dataset,
    outcomes: Mapping[str, Outcome],
    name: str,
    *,
    fields: Fields | None,
    grades: GradeBook | None = None,
    keep_texts: bool = False,
) -> RunTable:
    """A run of outcomes that are at hand, by ``video_id``; used for the rows that see no pixels."""
    run = new_run(dataset, name, model=name)
    run.asked_fields, run._knows_question = fields, True
    filling = _Filling(dataset, grades, keep_texts)
    for index, truth in enumerate(dataset.truths):
        filling.add(run, index, outcomes.get(truth.video_id))
    filling.finish(run)
    return run


def _runs_of_file(
    path: str | os.PathLike[str], dataset: Dataset, lines: Iterator[Line], filling: _Filling
) -> list[RunTable]:
    file = verdicts_file(path)
    stem, settings = Path(path).name if Path(path).is_dir() else file.stem, settings_of(path)
    runs: dict[tuple[str | None, ...], RunTable] = {}
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
                settings=settings,
            )
            run.declared = declared_fields(origin.model, settings)
        index = dataset.index_of(origin)
        if index is None:
            run.note_claimed_fields(line.outcome)
            if dataset.is_elsewhere(origin):
                run.elsewhere += 1
            else:
                run.unknown += 1
        elif run.has_answer(index):
            raise RecordError("video_id", f"{file.name} line {line.number}: {origin.video_id!r} is answered already")
        else:
            run.learn_question(line.outcome)
            filling.add(run, index, line.outcome)
    answered_runs = [run for run in _join(list(runs.values())) if run.answers]
    if not answered_runs:
        raise RecordError("video_id", f"{file.name} holds no answer on any of the {len(dataset.truths)} videos scored")
    for run in answered_runs:
        filling.finish(run)
    return answered_runs


def _calibrate(lines: Iterator[Line], calibration: Calibration, settings: Mapping[str, Any]) -> Iterator[Line]:
    track = settings.get("track", calibration.track)
    for line in lines:
        if line.outcome.origin.model != calibration.model:
            yield line
        elif track != calibration.track:
            raise RecordError(
                "calibration", f"was fitted on the track {calibration.track!r}, these answers are {track!r}"
            )
        else:
            yield replace(line, outcome=calibration.apply(line.outcome))


def _join(runs: Sequence[RunTable]) -> list[RunTable]:
    """Parts of one run as one: a failed row may not know the model's dated name, and that may change on the way."""
    wholes: list[RunTable] = []
    for run in sorted(runs, key=lambda run: run.revision is None):
        whole = next((candidate for candidate in wholes if candidate.is_continued_by(run)), None)
        if whole is None:
            wholes.append(run)
        else:
            whole.take(run)
    return sorted(wholes, key=runs.index)


def settings_of(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What the ``run.json`` beside a folder's verdicts says of their making; nothing where there is none.

    Raises:
        JsonError: the file is not JSON.
        RecordError: it says something else than a run does; names the file and the key.
    """
    file = Path(path) / RUN_NAME
    if not Path(path).is_dir() or not file.exists():
        return {}
    row = loads(read_bytes(file))
    checked, problems = check(_RunFile, row, name=f"{Path(path).name}/{RUN_NAME}", unknown="ignored")
    if checked is None:
        field, _, problem = problems[0].partition(": ")
        raise RecordError(field, "; ".join([problem, *problems[1:]]))
    return {key: row["settings"][key] for key in SETTINGS if key in row["settings"]}


@dataclass(frozen=True)
class _RunSettings:
    """What is read of a run's settings; see `SETTINGS`. The rest is for people."""

    view: str | None = None
    seed: int | None = None
    track: str | None = None
    variant: str | None = None
    sampling: Any = None
    fields: tuple[str, ...] | None = None


@dataclass(frozen=True)
class _RunFile:
    settings: _RunSettings


class _Filling:
    """Turns outcomes into rows of a run."""

    def __init__(self, dataset: Dataset, grades: GradeBook | None, keep_texts: bool) -> None:
        self._dataset, self._grades, self._keep_texts = dataset, grades, keep_texts

    def add(self, run: RunTable, index: int, outcome: Outcome | None) -> None:
        truth = self._dataset.truths[index]
        grades = None
        if self._grades is not None and self._grades.knows(run.model, run.revision):
            run.judged = True
            grades = self._current(run, truth, outcome)
            self._by_judge(run, truth, outcome)
        score = score_video(truth, outcome, fields=run.asked_fields, grades=grades)
        run.place(index, score)
        run.filled.update(score.filled)
        if outcome is not None:
            run.note(outcome)
        if self._keep_texts:
            candidate = first_claim(outcome, run.asked_fields).explanation or ""
            run.texts += [(index, str(row.explanation), candidate) for row in truth.rows if row.explanation]

    def _current(self, run: RunTable, truth: Truth, outcome: Outcome | None) -> Grades:
        """The grades of what the answer says now; one of another explanation, or by another rubric, is none."""
        from deeptrace.bench.judge.rubric import judge_messages, prompt_sha256

        if self._grades is None:
            return {}
        grades = dict(self._grades.of(run.model, run.revision, truth.video_id))
        for row, written, candidate in needs_grade(truth, outcome, run.asked_fields):
            graded = self._grades.question(run.model, run.revision, truth.video_id, row)
            if graded is not None and graded != prompt_sha256(judge_messages(written, candidate)):
                run.stale_grades += grades.pop(row, None) is not None
        return grades

    def _by_judge(self, run: RunTable, truth: Truth, outcome: Outcome | None) -> None:
        """Each judge's own mean, for their spread: the rows where 0 is sure count for all of them alike."""
        if self._grades is None:
            return
        rows_to_grade = {row for row, _, _ in needs_grade(truth, outcome, run.asked_fields)}
        for judge in self._grades.judges:
            own = self._grades.of(run.model, run.revision, truth.video_id, judge=judge)
            values = run.grades_by_judge.setdefault(judge, [])
            for i, row in enumerate(truth.rows):
                if row.explanation and row.explanation.strip():
                    grade = own.get(i) if i in rows_to_grade else 0.0
                    if grade is not None:
                        values.append(grade)

    def finish(self, run: RunTable) -> None:
        """Videos without any row are missing: the worst."""
        for index in range(len(self._dataset.truths)):
            if not run.has_answer(index):
                self.add(run, index, None)


def _tell_apart(runs: Sequence[RunTable]) -> None:
    """Give runs of one model names of their own: by revision, question or file, whatever differs."""
    for about in ("revision", "question", "file"):
        counts = Counter(run.name for run in runs)
        for run in runs:
            value = getattr(run, about)
            others = {getattr(other, about) for other in runs if other.model == run.model}
            if counts[run.name] > 1 and value and len(others) > 1:
                run.name = f"{run.name}, {value[:40]}"
    times_used: Counter[str] = Counter()
    for run in runs:
        times_used[run.name] += 1
        if times_used[run.name] > 1:
            run.name = f"{run.name} ({times_used[run.name]})"
