"""The rows of a table that see no pixels: fitted on train where there is one, scored like any other run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal

from deeptrace.answer import FIELDS
from deeptrace.bench.score.dataset import Dataset
from deeptrace.bench.score.grades import GradeBook
from deeptrace.bench.score.run_table import RunTable
from deeptrace.bench.score.runs import score_outcomes
from deeptrace.errors import RecordError
from deeptrace.measures.blind import Blind, BlindName, constant_verdicts, fit_blind
from deeptrace.records import Record, Trace, Verdict

CONSTANT: Final[tuple[Literal["always FAKE", "always REAL", "whole frame"], ...]] = (
    "always FAKE",
    "always REAL",
    "whole frame",
)


def blind_rows(
    dataset: Dataset,
    train: Iterable[Record],
    *,
    grades: GradeBook | None = None,
    seed: int = 0,
    keep_texts: bool = False,
) -> tuple[list[RunTable], str | None]:
    """The four rows, and a note: why there are only three, or that they learned from videos scored here.

    "always FAKE" claims the constants that were learned, or nothing without them. They are asked for everything, so
    what they do not say is the worst.

    Raises:
        MissingExtra: scikit-learn is not installed.
    """
    learned_from, note = list(train), None
    try:
        blind: Blind | None = fit_blind(learned_from, seed=seed)
    except RecordError as error:
        blind, note = None, f"There is no blind row, nor constants for always FAKE: {error}"
    scored = {record.video_id for record in dataset.records}
    both = sum(record.split == "train" and record.video_id in scored for record in learned_from)
    if blind is not None and both:
        note = f"The blind row learned from {both} of the videos that are scored here."
    names: tuple[BlindName, ...] = CONSTANT if blind is None else ("blind", *CONSTANT)
    everything = frozenset(FIELDS)
    runs = []
    for name in names:
        verdicts = blind_verdicts(dataset.records, blind, name)
        runs.append(score_outcomes(dataset, verdicts, name, fields=everything, grades=grades, keep_texts=keep_texts))
    return runs, note


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
