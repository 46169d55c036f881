"""A model's probabilities before calibration, beside the truth: what a calibration is fitted on."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

from deeptrace.bench.score.dataset import Dataset
from deeptrace.bench.score.reading import iter_lines, verdicts_file
from deeptrace.errors import RecordError
from deeptrace.records import Verdict

MIN_OF_EACH: Final = 10
"""Of each label: ten events a variable, as for any logistic regression (Peduzzi et al., 1996)."""


@dataclass(frozen=True)
class RawProbabilities:
    """``p_raw`` and ``is_fake`` of the same videos; ``without`` counts answers that give no probability."""

    model: str | None
    revision: str | None
    p_raw: tuple[float, ...]
    is_fake: tuple[bool, ...]
    without: int


def raw_probabilities(path: str | os.PathLike[str], dataset: Dataset, *, model: str | None = None) -> RawProbabilities:
    """The raw probabilities in a file (or a folder's ``verdicts.jsonl``) on the videos of a dataset.

    Raises:
        FileError, JsonError, AnswerError: the file cannot be read.
        RecordError: likewise; or it holds answers of several models, and ``model`` names none of them.
    """
    records = {record.video_id: record for record in dataset.records}
    by_model: dict[str | None, dict[int, tuple[float | None, str | None]]] = {}
    for line in iter_lines(path, records):
        origin = line.outcome.origin
        index = dataset.index_of(origin)
        if index is not None:
            raw = _raw(line.outcome) if isinstance(line.outcome, Verdict) else None
            by_model.setdefault(origin.model, {})[index] = (raw, origin.revision)
    name = verdicts_file(path).name
    if (model is not None and model not in by_model) or (model is None and len(by_model) != 1):
        known = ", ".join(sorted(str(one) for one in by_model)) or "no model"
        raise RecordError("model", f"{name} holds answers of {known} on these videos; name one of them")
    chosen = model if model is not None else next(iter(by_model))
    p_by_index = {index: raw for index, (raw, _) in by_model[chosen].items() if raw is not None}
    return RawProbabilities(
        model=chosen,
        revision=next((revision for _, revision in by_model[chosen].values() if revision is not None), None),
        p_raw=tuple(p_by_index.values()),
        is_fake=tuple(bool(dataset.is_fake[index]) for index in p_by_index),
        without=len(by_model[chosen]) - len(p_by_index),
    )


def check_counts(probabilities: RawProbabilities) -> None:
    """Refuse too few videos to learn from.

    Raises:
        RecordError: fewer than `MIN_OF_EACH` fake or real videos have a probability; says how many do.
    """
    fakes = sum(probabilities.is_fake)
    reals = len(probabilities.is_fake) - fakes
    if min(fakes, reals) < MIN_OF_EACH:
        have = f"{fakes} fake and {reals} real videos have a probability"
        raise RecordError("split", f"{have}; a calibration needs {MIN_OF_EACH} of each. Use a larger split")


def _raw(verdict: Verdict) -> float | None:
    return verdict.p_fake if verdict.p_fake_raw is None else verdict.p_fake_raw
