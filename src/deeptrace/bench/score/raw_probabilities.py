"""A model's probabilities before calibration, beside the truth: what a calibration is fitted on."""

from __future__ import annotations

import os
from dataclasses import dataclass

from deeptrace.bench.dataset import Dataset
from deeptrace.bench.reading import iter_lines, verdicts_file
from deeptrace.errors import RecordError
from deeptrace.records import Verdict


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
    said: dict[str | None, dict[int, tuple[float | None, str | None]]] = {}
    for line in iter_lines(path, records):
        origin = line.outcome.origin
        index = dataset.index_of(origin)
        if index is not None:
            raw = _raw(line.outcome) if isinstance(line.outcome, Verdict) else None
            said.setdefault(origin.model, {})[index] = (raw, origin.revision)
    name = verdicts_file(path).name
    if (model is not None and model not in said) or (model is None and len(said) != 1):
        known = ", ".join(sorted(str(one) for one in said)) or "no model"
        raise RecordError("model", f"{name} holds answers of {known} on these videos; name one of them")
    chosen = model if model is not None else next(iter(said))
    given = {index: raw for index, (raw, _) in said[chosen].items() if raw is not None}
    return RawProbabilities(
        model=chosen,
        revision=next((revision for _, revision in said[chosen].values() if revision is not None), None),
        p_raw=tuple(given.values()),
        is_fake=tuple(bool(dataset.is_fake[index]) for index in given),
        without=len(said[chosen]) - len(given),
    )


def _raw(verdict: Verdict) -> float | None:
    return verdict.p_fake if verdict.p_fake_raw is None else verdict.p_fake_raw
