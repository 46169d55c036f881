"""The rows of a table that see no pixels: fitted on train where there is one, scored like any other run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal

from deeptrace.bench.grades import GradeBook
from deeptrace.bench.runs import Dataset, Run, score_outcomes
from deeptrace.blind import Blind, BlindName, constant_verdicts, fit_blind
from deeptrace.errors import RecordError
from deeptrace.metrics import FIELDS
from deeptrace.records import Record, Trace, Verdict

CONSTANT: Final[tuple[Literal["always FAKE", "always REAL", "whole frame"], ...]] = (
    "always FAKE",
    "always REAL",
    "whole frame",
)


def blind_rows(
    dataset: Dataset, train: Iterable[Record], *, grades: GradeBook | None = None, seed: int = 0
) -> tuple[list[Run], str | None]:
    """The four rows, and why there are only three where the one that learns is missing.

    "always FAKE" claims the constants that were learned, or nothing without them. They are asked for everything, so
    what they do not say is the worst.

    Raises:
        MissingExtra: scikit-learn is not installed.
    """
    reason = None
    try:
        blind: Blind | None = fit_blind(train, seed=seed)
    except RecordError as error:
        blind, reason = None, str(error)
    names: tuple[BlindName, ...] = CONSTANT if blind is None else ("blind", *CONSTANT)
    return [
        score_outcomes(
            dataset, blind_verdicts(dataset.records, blind, name), name, asked=frozenset(FIELDS), grades=grades
        )
        for name in names
    ], reason


def blind_verdicts(records: tuple[Record, ...], blind: Blind | None, name: BlindName) -> dict[str, Verdict]:
    """What one of the rows says of each video, by ``video_id``; a judge can grade it like any other model.

    Raises:
        RecordError: ``name`` is "blind", and nothing was learned.
    """
    if blind is not None:
        return blind.verdicts(records, name)
    if name == "blind":
        raise RecordError("blind", "nothing was learned: there is no split 'train'")
    return constant_verdicts(records, name, Trace())
