"""A judge's grades of explanations, read from a file: which answer of which model got what, by which judge."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

from deeptrace.errors import RecordError
from deeptrace.files import read_jsonl
from deeptrace.metrics import Grades
from deeptrace.records import check_number

_Model: TypeAlias = tuple[str | None, str | None]
_NOTHING: Final[Grades] = {}


class GradeBook:
    """Grades by judge, model and revision, video, and annotation row. ``judges`` in the order of the file.

    A line is a JSON object with ``video_id``, ``row`` (from 0), ``grade`` (in [0, 1]; null: the judge's reply could not
    be read), and may name ``model``, ``revision`` and ``judge``; what else it holds is the judge's own affair. The last
    line on one row counts.
    """

    def __init__(self) -> None:
        self._by_judge: dict[str, dict[_Model, dict[str, dict[int, float | None]]]] = {}

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
        if not isinstance(line, Mapping):
            raise RecordError("line", "is not an object")
        video_id, row = line.get("video_id"), line.get("row")
        if not isinstance(video_id, str):
            raise RecordError("video_id", f"{video_id!r} is not text")
        if isinstance(row, bool) or not isinstance(row, int) or row < 0:
            raise RecordError("row", f"{row!r} is not the number of an annotation row")
        if "grade" not in line:
            raise RecordError("grade", "is missing; null says that the judge's reply could not be read")
        grade = None if line["grade"] is None else check_number(line["grade"], "grade", low=0.0, high=1.0)
        models = self._by_judge.setdefault(str(line.get("judge") or "judge"), {})
        videos = models.setdefault((line.get("model"), line.get("revision")), {})
        videos.setdefault(video_id, {})[row] = grade

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
