"""A judge's grades of explanations, read from a file: which answer of which model got what, by which judge."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

from deeptrace.errors import RecordError
from deeptrace.files import read_jsonl
from deeptrace.measures.video import Grades
from deeptrace.schema import Share, WholeNumber, check

_Model: TypeAlias = tuple[str | None, str | None]
_NOTHING: Final[Grades] = {}


@dataclass(frozen=True)
class GradeLine:
    """One line of a file of grades; what else it holds is the judge's own affair.

    ``row`` is the annotation row, from 0. ``grade`` None: the judge's reply could not be read. ``prompt_sha256`` is the
    hash of what the judge was shown.
    """

    video_id: str
    row: WholeNumber
    grade: Share | None
    model: str | None = None
    revision: str | None = None
    judge: str | None = None
    prompt_sha256: str | None = None


class GradeBook:
    """Grades by judge, model and revision, video, and annotation row. ``judges`` in the order of the file.

    It is made of `GradeLine`s. The last line on one row counts.
    """

    def __init__(self) -> None:
        self._by_judge: dict[str, dict[_Model, dict[str, dict[int, float | None]]]] = {}
        self._questions: dict[tuple[_Model, str, int], str] = {}

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> GradeBook:
        """The grades in a JSONL file.

        Raises:
            FileError, JsonError: it cannot be read.
            RecordError: a line is no grade; names the line.
        """
        book, name = cls(), Path(path).name
        for number, row in read_jsonl(path, surrogates=True):
            try:
                book.add(row)
            except RecordError as error:
                raise RecordError(error.field, f"{name} line {number}: {error.problem}") from None
        return book

    def add(self, line: Any) -> None:
        """Take one line.

        Raises:
            RecordError: it is no grade.
        """
        graded, problems = check(GradeLine, line, unknown="ignored")
        if graded is None:
            field, _, problem = problems[0].partition(": ")
            raise RecordError(field, "; ".join([problem, *problems[1:]]))
        model = (graded.model, graded.revision)
        videos = self._by_judge.setdefault(graded.judge or "judge", {}).setdefault(model, {})
        videos.setdefault(graded.video_id, {})[graded.row] = graded.grade
        if graded.prompt_sha256 is not None:
            self._questions[model, graded.video_id, graded.row] = graded.prompt_sha256

    def question(self, model: str | None, revision: str | None, video_id: str, row: int) -> str | None:
        """The hash of what the judge was shown (`prompt_sha256`); None where the file does not say."""
        return self._questions.get(((model, revision), video_id, row))

    @property
    def judges(self) -> tuple[str, ...]:
        """The judges; the first one's grades are the scores, the others' show how far judges differ."""
        return tuple(self._by_judge)

    def knows(self, model: str | None, revision: str | None) -> bool:
        """Whether the first judge graded this model."""
        return bool(self.judges) and (model, revision) in self._by_judge[self.judges[0]]

    def of(self, model: str | None, revision: str | None, video_id: str, *, judge: str | None = None) -> Grades:
        """The grades of one answer, by annotation row; of the first judge unless one is named."""
        models = self._by_judge.get(judge or (self.judges[0] if self.judges else ""), {})
        return models.get((model, revision), {}).get(video_id, _NOTHING)
