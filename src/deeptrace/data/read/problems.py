"""What was wrong with a value on import, and what was done about it. Every loader and converter reports with these."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from typing_extensions import override

Action = Literal["emptied", "repaired", "kept", "set_aside"]
"""``emptied``: the field is None now. ``repaired``: changed by a stated rule (a box clipped to the frame).
``kept``: only pointed out. ``set_aside``: the whole row is not used, because it has no usable id or path."""


@dataclass(frozen=True)
class Problem:
    """One bad value. ``row`` counts from 0 in a list, from 1 in a file of lines; ``field`` is the file's own name."""

    file: str
    row: int | None
    video_id: str | None
    field: str
    problem: str
    action: Action

    @property
    def tag(self) -> str:
        """``field: action``: how problems are counted, and how a record is flagged with them."""
        return f"{self.field}: {self.action}"

    @override
    def __str__(self) -> str:
        where = "" if self.row is None else f" row {self.row}"
        who = "" if self.video_id is None else f" (video {self.video_id!r})"
        return f"{self.file}{where}{who}: {self.field} {self.problem} [{self.action}]"


def count_problems(problems: Iterable[Problem]) -> dict[str, int]:
    """How many problems there are by ``field: action``, most frequent first; stands in every later report."""
    counts = Counter(problem.tag for problem in problems)
    return dict(counts.most_common())
