"""One model's answers as a table of numbers ``(videos, columns)``, with what was counted beside them. See `totals`.

A value of one video is kept to 24 bits, so that 7,000 videos take 4 MB; sums are taken in 53.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from deeptrace.answer import FIELDS
from deeptrace.bench.run.questions import fields_of
from deeptrace.bench.score.dataset import Dataset
from deeptrace.bench.score.totals import COLUMNS, PLACE, row_of, worst_p
from deeptrace.errors import RecordError
from deeptrace.measures.video import Fields, VideoScore, claimed_fields
from deeptrace.records import Outcome, Verdict

Floats = npt.NDArray[np.float64]


@dataclass(eq=False)
class RunTable:
    """One model's answers on the videos of a `Dataset`: ``rows`` (N, K) in the order of `COLUMNS`, ``p`` (N,).

    ``asked_fields``: what its question asks for, None where it is asked nothing; ``declared``: what it is then able to
    give.
    ``settings``: what a ``run.json`` says of it. ``revisions``: others than ``revision``, where the model's name
    changed on the way. ``elsewhere`` and ``unknown`` count answers on videos of other splits, and of no record.
    ``stale_grades`` counts grades of another explanation than the one that the answer holds now.
    ``texts``: by annotation row with a written explanation, (video, written, candidate); only where texts are wanted.
    """

    name: str
    file: str
    model: str | None
    revision: str | None
    question: str | None
    rows: npt.NDArray[np.float32]
    p: Floats
    settings: Mapping[str, Any] = field(default_factory=dict)
    revisions: tuple[str, ...] = ()
    asked_fields: Fields | None = None
    declared: Fields | None = None
    judged: bool = False
    elsewhere: int = 0
    unknown: int = 0
    stale_grades: int = 0
    calibrations: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    filled: Counter[str] = field(default_factory=Counter)
    grades_by_judge: dict[str, list[float]] = field(default_factory=dict)
    texts: list[tuple[int, str, str]] = field(default_factory=list)
    _claimed_fields: set[str] = field(default_factory=set)
    _has_answer: npt.NDArray[np.bool_] = field(init=False)
    _knows_question: bool = False

    def __post_init__(self) -> None:
        self._has_answer = np.zeros(len(self.rows), np.bool_)

    @property
    def fields(self) -> Fields:
        """What answers of this run are able to carry.

        What was asked for; else what the model declares; else what it said of any trace. Of a model of which nobody
        knows, and which claims nothing, it is everything, as of the rows that see no pixels: it scores 0.
        """
        if self.asked_fields is not None:
            return self.asked_fields
        if self.declared is not None:
            return self.declared
        return frozenset(name for name in FIELDS if name in self._claimed_fields) or frozenset(FIELDS)

    @property
    def total(self) -> Floats:
        """The sums over all videos, ``(K,)``."""
        return np.asarray(self.rows.sum(0, dtype=np.float64))

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
        fields = fields_of(outcome.origin)
        if self._knows_question and fields != self.asked_fields:
            raise RecordError("question", f"answers of {self.name!r} are to two questions: score them as two files")
        self.asked_fields, self._knows_question = fields, True

    @property
    def answers(self) -> int:
        """How many videos have a row."""
        return int(self._has_answer.sum())

    def is_continued_by(self, other: RunTable) -> bool:
        """Whether the other one is a part of this run: the same model and question, and no video in both."""
        same = self.model == other.model and (self.question == other.question or other.question is None)
        agree = not other._knows_question or not self._knows_question or self.asked_fields == other.asked_fields
        return same and agree and not (self._has_answer & other._has_answer).any()

    def take(self, other: RunTable) -> None:
        """Take over the answers of a part."""
        theirs = other._has_answer
        self.rows[theirs], self.p[theirs] = other.rows[theirs], other.p[theirs]
        self._has_answer |= theirs
        if other._knows_question:
            self.asked_fields, self._knows_question = other.asked_fields, True
        self.judged |= other.judged
        self.elsewhere, self.unknown = self.elsewhere + other.elsewhere, self.unknown + other.unknown
        self.stale_grades += other.stale_grades
        for counter in ("calibrations", "reasons", "filled"):
            getattr(self, counter).update(getattr(other, counter))
        for judge, grades in other.grades_by_judge.items():
            self.grades_by_judge.setdefault(judge, []).extend(grades)
        self.texts += other.texts
        self._claimed_fields |= other._claimed_fields
        if other.revision is not None:
            self.revisions += (other.revision,)

    def place(self, index: int, score: VideoScore) -> None:
        """Note the score of a video: its numbers in ``rows[index]`` ``(K,)``, its p_fake in [0, 1] in ``p[index]``."""
        self.rows[index] = row_of(score)
        self.p[index] = worst_p(score)
        self._has_answer[index] = True

    def has_answer(self, index: int) -> bool:
        """Whether the video has a row already."""
        return bool(self._has_answer[index])

    def note(self, outcome: Outcome) -> None:
        """Count what is said beside the numbers."""
        self.note_claimed_fields(outcome)
        if not isinstance(outcome, Verdict):
            self.reasons[getattr(outcome, "code", None) or outcome.reason] += 1
        elif outcome.calibration is not None:
            self.calibrations[outcome.calibration] += 1

    def note_claimed_fields(self, outcome: Outcome) -> None:
        """Learn what the answers of this model say; those on other splits tell it too."""
        self._claimed_fields |= claimed_fields(outcome)


def new_run(
    dataset: Dataset,
    name: str,
    *,
    file: str = "",
    model: str | None = None,
    revision: str | None = None,
    question: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> RunTable:
    """A run without any answer yet."""
    n = len(dataset.truths)
    return RunTable(
        name,
        file,
        model,
        revision,
        question,
        settings=settings or {},
        rows=np.zeros((n, len(COLUMNS)), np.float32),
        p=np.zeros(n),
    )
