"""What models said, as numbers: files of answers become one table a run.

Answers are read once, one at a time, and not kept, however long they are.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from deeptrace.bench.dataset import Dataset, dataset_of
from deeptrace.bench.grades import GradeBook
from deeptrace.bench.reading import Foreign, Line, iter_lines, verdicts_file
from deeptrace.bench.run_table import Floats, Run, new_run
from deeptrace.bench.runinfo import RUN_NAME
from deeptrace.calibration import Calibration
from deeptrace.errors import RecordError
from deeptrace.files import loads, read_bytes
from deeptrace.metrics import Fields, Truth, first_claim, needs_grade, score_video
from deeptrace.records import Outcome

__all__ = ["Dataset", "Floats", "Run", "dataset_of", "read_runs", "score_outcomes", "settings_of"]

SETTINGS: Final = ("view", "seed", "track", "variant", "sampling")
"""What of a run's settings makes it another run than one of the same model and question."""


def read_runs(
    paths: Sequence[str | os.PathLike[str]],
    dataset: Dataset,
    *,
    foreign: Foreign | None = None,
    grades: GradeBook | None = None,
    calibration: Calibration | None = None,
    keep_texts: bool = False,
) -> list[Run]:
    """The runs in some files, in the order in which they appear: one for each model, revision and question of a file.

    ``calibration`` turns the raw probabilities of its own model into calibrated ones; others stay as they are.

    Raises:
        FileError, JsonError, AnswerError: see `iter_lines`.
        RecordError: likewise; a video answered twice in one run; a file without an answer on any of the videos; a
            calibration of another track, or of a model that has no answer here.
    """
    by_id = {record.video_id: record for record in dataset.records}
    runs: list[Run] = []
    for path in paths:
        lines = iter_lines(path, by_id, foreign)
        if calibration is not None:
            lines = _calibrated(lines, calibration, settings_of(path))
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
    stem, settings = Path(path).name if Path(path).is_dir() else file.stem, settings_of(path)
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
                settings=settings,
            )
        index = dataset.index_of(origin)
        if index is None:
            run.note_said(line.outcome)
            if dataset.is_elsewhere(origin):
                run.elsewhere += 1
            else:
                run.unknown += 1
        elif run.has_answer(index):
            raise RecordError("video_id", f"{file.name} line {line.number}: {origin.video_id!r} is answered already")
        else:
            run.learn_question(line.outcome)
            filling.add(run, index, line.outcome)
    found = [run for run in _joined(list(runs.values())) if run.answers]
    if not found:
        raise RecordError("video_id", f"{file.name} holds no answer on any of the {len(dataset.truths)} videos scored")
    for run in found:
        filling.finish(run)
    return found


def _calibrated(lines: Iterator[Line], calibration: Calibration, settings: Mapping[str, Any]) -> Iterator[Line]:
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


def _joined(runs: Sequence[Run]) -> list[Run]:
    """Parts of one run as one: a failed row may not know the model's dated name, and that may change on the way."""
    found: list[Run] = []
    for run in sorted(runs, key=lambda run: run.revision is None):
        whole = next((one for one in found if one.is_continued_by(run)), None)
        if whole is None:
            found.append(run)
        else:
            whole.take(run)
    return sorted(found, key=runs.index)


def settings_of(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What the ``run.json`` beside a folder's verdicts says of their making; nothing where there is none.

    Raises:
        JsonError: the file is not JSON.
    """
    file = Path(path) / RUN_NAME
    if not Path(path).is_dir() or not file.exists():
        return {}
    row = loads(read_bytes(file))
    said = row.get("settings") if isinstance(row, dict) else None
    return {key: said[key] for key in SETTINGS if key in said} if isinstance(said, dict) else {}


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
