"""What a report shows besides scores: the answers themselves, and how far labels can be told without any trace."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from deeptrace.bench.score.drops import RungDrop
from deeptrace.bench.score.reading import Foreign, iter_lines
from deeptrace.bench.score.result import Scores
from deeptrace.bench.score.runs import Dataset, RunTable
from deeptrace.measures.video import Truth
from deeptrace.records import Outcome

if TYPE_CHECKING:
    from deeptrace.data.audit.probes import ProbeResult

PROBES: Final[Mapping[str, str]] = {
    "container": "Container probe",
    "container_without_rate": "Container probe, without rate",
    "geometry": "Geometry probe",
}
"""The audit's probes that stand beside every accuracy, and what they are called there."""


@dataclass(frozen=True)
class ReportMaterial:
    """Everything of one report. ``outcomes``: of each of the scores' runs, in their order, by ``video_id``.

    ``probes`` are None where they were not run, and ``probes_reason`` says why. ``root`` is the folder of the videos,
    None: no pictures. ``drops``: by the name of a run, what it loses on the platform track.
    """

    scores: Scores
    dataset: Dataset
    outcomes: tuple[Mapping[str, Outcome], ...]
    probes: tuple[ProbeResult, ...] | None = None
    probes_reason: str | None = None
    root: Path | None = None
    drops: Mapping[str, Sequence[RungDrop]] = field(default_factory=dict)

    @property
    def truths(self) -> dict[str, Truth]:
        """The truths by ``video_id``."""
        return {truth.video_id: truth for truth in self.dataset.truths}


def gather(
    paths: Sequence[str | os.PathLike[str]], runs: Sequence[RunTable], dataset: Dataset, foreign: Foreign | None = None
) -> tuple[Mapping[str, Outcome], ...]:
    """The outcomes of each run that `read_runs` found in these files, in the same order.

    Raises:
        FileError, JsonError, RecordError, AnswerError: see `read_runs`.
    """
    by_id = {record.video_id: record for record in dataset.records}
    left, matched = list(runs), []
    for path in paths:
        parts: dict[tuple[str | None, ...], dict[str, Outcome]] = {}
        for line in iter_lines(path, by_id, foreign):
            origin = line.outcome.origin
            if origin.video_id in by_id:
                key = (origin.model, origin.question, origin.revision)
                parts.setdefault(key, {})[str(origin.video_id)] = line.outcome
        # The runs of a file come together, in its order; each takes its own part first.
        mine: list[tuple[RunTable, dict[str, Outcome]]] = []
        while left and (key := (left[0].model, left[0].question, left[0].revision)) in parts:
            mine.append((left.pop(0), parts.pop(key)))
        # What is left joins a run of the same model and question, as `read_runs` joins it: a failed row may not know
        # the model's dated name.
        for (model, question, _), part in parts.items():
            for run, outcomes in mine:
                same = run.model == model and question in (run.question, None)
                if same and not outcomes.keys() & part.keys():
                    outcomes.update(part)
                    break
        matched += [outcomes for _, outcomes in mine]
    return tuple(matched)
