"""Verdict files to look at beside a dataset: one row a video, named after what made them.

A row is of a video by its id, else by its path: as it stands, below the root, or by the file's name where only one
video has it. Rows of no video of the dataset are counted, not dropped in silence.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from deeptrace.data.read.load import Records
from deeptrace.errors import FileError, RecordError
from deeptrace.files import read_jsonl
from deeptrace.records import Origin, Outcome
from deeptrace.rows import outcome_from_row

__all__ = ["NamedRun", "read_named_runs"]

VERDICTS_NAME: Final = "verdicts.jsonl"


@dataclass(frozen=True)
class NamedRun:
    """What one model said: outcomes by video id. ``elsewhere`` counts rows of videos that the dataset does not hold."""

    name: str
    outcomes: Mapping[str, Outcome]
    elsewhere: int = 0


def read_named_runs(paths: Sequence[str | os.PathLike[str]], records: Records) -> list[NamedRun]:
    """The runs in some files or folders of `inspect --out` and `bench run`: one for each model of a file.

    Raises:
        FileError, JsonError: a file cannot be read.
        RecordError: a line is no row, a video stands twice in one run, or a file holds none of the dataset's videos.
    """
    places = _Places(records)
    runs: list[NamedRun] = []
    for path in paths:
        runs += _read_file(Path(path), places)
    taken: Counter[str] = Counter()
    renamed = []
    for run in runs:
        taken[run.name] += 1
        name = run.name if taken[run.name] == 1 else f"{run.name} ({taken[run.name]})"
        renamed.append(NamedRun(name, run.outcomes, run.elsewhere))
    return renamed


def _read_file(path: Path, places: _Places) -> list[NamedRun]:
    file = path / VERDICTS_NAME if path.is_dir() else path
    if not file.is_file():
        raise FileError(
            f"cannot read {file.name!r}: no such file in {path.name!r}"
            if path.is_dir()
            else f"no such file: {path.name!r}"
        )
    by_model: dict[str, dict[str, Outcome]] = {}
    elsewhere: Counter[str] = Counter()
    for number, row in read_jsonl(file):
        try:
            outcome = outcome_from_row(row)
        except RecordError as error:
            raise RecordError("verdicts", f"{file.name} line {number}: {error}") from None
        name = outcome.origin.model or file.stem
        video_id = places.video_of(outcome.origin)
        own = by_model.setdefault(name, {})
        if video_id is None:
            elsewhere[name] += 1
        elif video_id in own:
            raise RecordError("verdicts", f"{file.name} line {number}: {video_id!r} is answered twice by {name!r}")
        else:
            own[video_id] = outcome
    if not any(by_model.values()):
        raise RecordError("verdicts", f"{file.name} holds no row on any of the dataset's videos")
    return [NamedRun(name, own, elsewhere[name]) for name, own in by_model.items() if own]


class _Places:
    """Which video of a dataset a row speaks of."""

    def __init__(self, records: Records) -> None:
        self._ids = {record.video_id for record in records}
        self._root = os.path.realpath(records.root)
        self._by_path: dict[str, str] = {}
        names: dict[str, list[str]] = {}
        for record in records:
            if record.path is not None:
                self._by_path[record.path] = record.video_id
                names.setdefault(PurePosixPath(record.path).name, []).append(record.video_id)
        self._by_name = {name: ids[0] for name, ids in names.items() if len(ids) == 1}

    def video_of(self, origin: Origin) -> str | None:
        """The id; None for a video of none of the records."""
        if origin.video_id in self._ids:
            return origin.video_id
        if origin.path is None:
            return None
        path = origin.path.replace("\\", "/")
        if path in self._by_path:
            return self._by_path[path]
        below = os.path.relpath(os.path.realpath(origin.path), self._root).replace(os.sep, "/")
        return self._by_path.get(below) or self._by_name.get(PurePosixPath(path).name)
