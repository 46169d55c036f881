"""What a reader of a file noticed: problems by row, and the flags that they leave on a record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from deeptrace.data.read.problems import Action, Problem
from deeptrace.errors import RecordError

T = TypeVar("T")


@dataclass
class Log:
    """Problems of one file, in the order in which they were met. ``file`` is its name without folders."""

    file: str
    problems: list[Problem] = field(default_factory=list)

    def add(self, row: int | None, video_id: str | None, name: str, problem: str, action: Action) -> Problem:
        """Note one bad value of the field ``name``."""
        noted = Problem(self.file, row, video_id, name, problem, action)
        self.problems.append(noted)
        return noted


@dataclass(slots=True)
class RowLog:
    """The log as seen from one row."""

    log: Log
    row: int
    video_id: str | None
    flags: dict[str, None]  # in order, each once; shared by the rows of one record
    bad_fields: set[str] = field(default_factory=set)

    def add(self, name: str, problem: str, action: Action = "emptied") -> None:
        """Note one bad value of this row; the record that the row belongs to is flagged with ``name: action``."""
        noted = self.log.add(self.row, self.video_id, name, problem, action)
        self.bad_fields.add(name)
        self.flags[noted.tag] = None

    def read(
        self, name: str, reader: Callable[[object, str], T], value: object, action: Action = "emptied"
    ) -> T | None:
        """What ``reader`` makes of the value, or None with a problem noted where it raises a `RecordError`."""
        try:
            return reader(value, name)
        except RecordError as error:
            self.add(name, error.problem, action)
            return None
