"""The files of a run: a row an answer in ``journal.jsonl``; from it ``verdicts.jsonl``, the same bytes every time.

The journal keeps when, how often and for how much each video was asked about; the verdicts keep what was said, the
last row of each video, sorted by id. Called by the runner; read by whoever scores.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from deeptrace.bench.reading import VERDICTS_NAME, iter_lines, verdicts_file
from deeptrace.data.normalise.files import journal_key, readable_path
from deeptrace.errors import FileError, JsonError, RecordError
from deeptrace.files import dumps, loads, write_jsonl
from deeptrace.records import Failed, Outcome, Record
from deeptrace.rows import SCHEMA, outcome_from_row, outcome_to_row

JOURNAL_NAME: Final = "journal.jsonl"

LASTING: Final = frozenset({
    # the file is what it is
    "NOT_A_REGULAR_FILE", "TOO_LARGE", "NOT_A_VIDEO", "NO_VIDEO_STREAM", "UNSUPPORTED_CODEC", "VIDEO_TRUNCATED",
    "VIDEO_DAMAGED", "FRAME_TOO_LARGE", "TOO_MANY_FRAMES", "RESULT_TOO_LARGE", "NO_FRAMES", "BAD_FRAMES", "BAD_WINDOW",
    "NO_USABLE_PATH",
    # the model would say the same again
    "CONTENT_FILTER", "TOOL_CALL", "CONTEXT_TOO_LONG", "BAD_REQUEST", "MANY_CHOICES", "REDIRECTED", "REPLY_TOO_LARGE",
    "NO_ANSWER", "INVALID_ANSWER_FORMAT",
})  # fmt: skip
"""Codes of failures that another try cannot mend. All others are tried again by the next run (and once by this one)."""


def worth_another_try(outcome: Outcome) -> bool:
    """Whether asking again may bring a verdict. An unparsed answer is an answer: it stays."""
    return isinstance(outcome, Failed) and outcome.code not in LASTING


def of_record(outcome: Outcome, record: Record) -> Outcome:
    """The outcome under the record's own id and path, whatever the file is called and wherever it lies here.

    A lone surrogate in a model's text is written as ``\\ud800``: no strict reader would take it back.
    """
    origin = replace(outcome.origin, video_id=record.video_id, path=readable_path(record.path))
    outcome = replace(outcome, origin=origin)
    row = outcome_to_row(outcome)
    if "\\ud" in (text := dumps(row)):
        try:
            loads(text)
        except JsonError:
            return outcome_from_row(_readable(row))
    return outcome


def journal_row(outcome: Outcome, *, attempt: int, seconds: float, cost: float | None) -> dict[str, Any]:
    """What the journal keeps of one answer."""
    return {"attempt": attempt, "seconds": round(seconds, 4), "cost": cost, "row": outcome_to_row(outcome)}


def _readable(value: Any) -> Any:
    match value:
        case str():
            return value.encode("utf-8", "backslashreplace").decode()
        case list():
            return [_readable(item) for item in value]
        case dict():
            return {key: _readable(item) for key, item in value.items()}
        case _:
            return value


def held_outcome(line: Mapping[str, Any], record: Record) -> Outcome | None:
    """The outcome in a line of the journal; None where it speaks of another file.

    Raises:
        FileError: the line holds something else.
    """
    try:
        outcome = outcome_from_row(line["row"])
    except (KeyError, RecordError) as error:
        raise FileError(f"{JOURNAL_NAME}: the line of {line.get('key')!r} is no answer: {error}. Take it out") from None
    return outcome if outcome.origin.path == readable_path(record.path) else None


def held_outcomes(lines: Mapping[str, Mapping[str, Any]], records: Iterable[Record]) -> dict[str, Outcome]:
    """The outcomes that a journal holds of these records, by ``video_id``."""
    found: dict[str, Outcome] = {}
    for record in records:
        line = lines.get(journal_key(record))
        outcome = None if line is None else held_outcome(line, record)
        if outcome is not None:
            found[record.video_id] = outcome
    return found


def write_verdicts(folder: Path, outcomes: Mapping[str, Outcome]) -> Path:
    """Write ``verdicts.jsonl``: one row a video, sorted by id; its path. Atomic; the order of arrival leaves no mark.

    Raises:
        FileError: the system refused.
    """
    path = folder / VERDICTS_NAME
    write_jsonl(path, (outcome_to_row(outcomes[video_id]) for video_id in sorted(outcomes)))
    return path


def read_verdicts(path: str | os.PathLike[str]) -> list[Outcome]:
    """The outcomes in a ``verdicts.jsonl``, or in a folder that holds one.

    Raises:
        FileError: it cannot be read.
        JsonError: a line is not JSON.
        RecordError: a line is no row of ours; names the line.
    """
    outcomes = []
    for line in iter_lines(path, {}):
        if line.foreign:
            raise RecordError("line", f"{verdicts_file(path).name} line {line.number}: is no row of {SCHEMA!r}")
        outcomes.append(line.outcome)
    return outcomes


def count_statuses(outcomes: Iterable[Outcome]) -> dict[str, int]:
    """How many verdicts, unparsed and failed."""
    counts = {"verdict": 0, "unparsed": 0, "failed": 0}
    for outcome in outcomes:
        counts[outcome_status(outcome)] += 1
    return counts


def outcome_status(outcome: Outcome) -> str:
    """``verdict``, ``unparsed`` or ``failed``."""
    return {"Verdict": "verdict", "Unparsed": "unparsed", "Failed": "failed"}[type(outcome).__name__]


def codes(outcomes: Sequence[Outcome]) -> dict[str, int]:
    """How many failures of each code, most frequent first."""
    found: dict[str, int] = {}
    for outcome in outcomes:
        if isinstance(outcome, Failed):
            found[outcome.code] = found.get(outcome.code, 0) + 1
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))
