"""Files of answers -> outcomes: our own ``verdicts.jsonl``, or raw answers made elsewhere. Streamed, line by line.

A foreign line holds ``video_id`` and ``text``; it may name ``model``, ``format``, ``format_version`` and ``space``, and
where it does not, the caller's defaults hold. Called by `deeptrace.bench.score.runs`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from deeptrace.answer import FORMAT_VERSIONS, Space, check_format, parse
from deeptrace.answer.space import SIZELESS, SPACE_NAMES
from deeptrace.errors import AnswerError, RecordError
from deeptrace.files import read_jsonl
from deeptrace.records import Failed, Origin, Outcome, Record, Unparsed, Verdict
from deeptrace.rows import SCHEMA, outcome_from_row

VERDICTS_NAME: Final = "verdicts.jsonl"
NO_ANSWER: Final = "NO_ANSWER"
"""Code of the `Failed` for a foreign line whose text is null."""

_FOREIGN: Final = frozenset({"video_id", "text", "model", "revision", "format", "format_version", "space"})


@dataclass(frozen=True)
class Foreign:
    """How raw answers of a foreign file are read where a line does not say: format and space by name.

    ``space``: one of `SPACE_NAMES`; "source" is pixels of the video as its record gives its size.

    Raises:
        AnswerError: there is no such format or space.
    """

    format: str = "trained"
    space: str = "source"

    def __post_init__(self) -> None:
        check_format(self.format, FORMAT_VERSIONS.get(self.format, 0))
        if self.space != "source":
            read_space(self.space, None)


def read_space(space: object, record: Record | None) -> Space:
    """The space that a name or an object means, for the video of a record.

    Raises:
        AnswerError: there is no such space.
        RecordError: the answer is in pixels of a video whose size is not known.
    """
    if isinstance(space, Mapping):
        return Space.from_json(space)
    if space in SIZELESS:
        return Space.of(str(space), None, None)
    if space == "source":
        if record is None or record.info is None:
            name = "?" if record is None else record.video_id
            raise RecordError("space", f"the answer on {name!r} is in source pixels, and its record has no frame size")
        return Space("source", record.info.width, record.info.height)
    kind, _, size = str(space).partition(":")
    width, _, height = size.partition("x")
    if kind == "resized" and width.isdecimal() and height.isdecimal():
        return Space("resized", int(width), int(height))
    raise AnswerError(f"{space!r} is not a space. Known: {', '.join(SPACE_NAMES)}")


@dataclass(frozen=True, slots=True)
class Line:
    """One answer, where it stands, and whether its file is foreign."""

    outcome: Outcome
    number: int
    foreign: bool


def verdicts_file(path: str | os.PathLike[str]) -> Path:
    """The file itself, or the ``verdicts.jsonl`` in a folder."""
    return Path(path) / VERDICTS_NAME if Path(path).is_dir() else Path(path)


def iter_lines(
    path: str | os.PathLike[str], records: Mapping[str, Record], foreign: Foreign | None = None
) -> Iterator[Line]:
    """Each answer of a file (or of a folder's ``verdicts.jsonl``), in its order.

    ``records`` by ``video_id``: a foreign answer in source pixels needs its video's size. A foreign answer on a video
    that is not among them is read in the unit square: it is counted and not scored.

    Raises:
        FileError: the file cannot be read.
        JsonError: a line is not JSON.
        RecordError: a line is neither a row of ours nor a foreign answer; names the line.
        AnswerError: a line names a format or space that this code does not read; names the line.
    """
    file, defaults = verdicts_file(path), foreign or Foreign()
    for number, row in read_jsonl(file, surrogates=True):
        where = f"{file.name} line {number}"
        try:
            if isinstance(row, dict) and row.get("schema") == SCHEMA:
                yield Line(outcome_from_row(row), number, foreign=False)
            else:
                yield Line(_foreign_outcome(row, records, defaults), number, foreign=True)
        except RecordError as error:
            raise RecordError(error.field, f"{where}: {error.problem}") from None
        except AnswerError as error:
            raise AnswerError(f"{where}: {error}") from None


def _foreign_outcome(row: object, records: Mapping[str, Record], defaults: Foreign) -> Outcome:
    if not isinstance(row, dict) or "video_id" not in row or "text" not in row:
        raise RecordError("line", f'is neither a row of \'{SCHEMA}\' nor {{"video_id": "...", "text": "..."}}')
    unknown = sorted(set(row) - _FOREIGN)
    if unknown:
        raise RecordError("line", f"has no field {unknown[0]!r}. Known: {', '.join(sorted(_FOREIGN))}")
    for key in ("video_id", "text", "model", "revision", "format"):
        if row.get(key) is not None and not isinstance(row[key], str):
            raise RecordError(key, f"{row[key]!r} is not text")
    if row["video_id"] is None:
        raise RecordError("video_id", "is null")
    name = row.get("format") or defaults.format
    version = row.get("format_version", FORMAT_VERSIONS.get(name, 0))
    check_format(name, version)
    record = records.get(row["video_id"])
    space = Space("per-mille") if record is None else read_space(row.get("space") or defaults.space, record)
    origin = Origin(
        video_id=row["video_id"],
        model=row.get("model"),
        revision=row.get("revision"),
        question=name,
        sampling={"format": name, "format_version": version, "space": space.to_json()},
    )
    if row["text"] is None:
        return Failed(NO_ANSWER, "the file holds no answer", origin)
    outcome: Verdict | Unparsed = parse(row["text"], name, space)
    return replace(outcome, origin=origin)
