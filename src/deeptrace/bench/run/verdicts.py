"""The files of a run: a row an answer in ``journal.jsonl``; from it ``verdicts.jsonl``, the same bytes every time.

The journal keeps when, how often and for how much each video was asked about; the verdicts keep what was said, the
last row of each video, sorted by id. An answer belongs to the bytes of a file and not to a name: its key in the journal
holds both. Called by the runner; read by whoever scores.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeAlias

from deeptrace.bench.score.reading import VERDICTS_NAME, iter_lines, verdicts_file
from deeptrace.data.normalise.files import journal_key, readable_path
from deeptrace.data.paths import resolve
from deeptrace.errors import FileError, JsonError, RecordError
from deeptrace.files import dumps, loads, write_jsonl
from deeptrace.records import Failed, Outcome, Record
from deeptrace.rows import SCHEMA, outcome_from_row, outcome_to_row
from deeptrace.stamps import is_stamped, known_stamp

JOURNAL_NAME: Final = "journal.jsonl"
FILE_CHANGED: Final = "FILE_CHANGED"
"""Code of the `Failed` for a video whose file was replaced while it was asked about."""

Stamp: TypeAlias = dict[str, str | None] | None

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


def of_record(outcome: Outcome, record: Record, sha256: str | None = None) -> Outcome:
    """The outcome under the record's own id and path, whatever the file is called and wherever it lies here.

    ``sha256``: of the file, for a model that does not say it. A lone surrogate in a model's text is written as
    ``\\ud800``: no strict reader would take it back.
    """
    origin = replace(outcome.origin, video_id=record.video_id, path=readable_path(record.path))
    outcome = replace(outcome, origin=replace(origin, sha256=origin.sha256 or sha256))
    row = outcome_to_row(outcome)
    if "\\ud" in (text := dumps(row)):
        try:
            loads(text)
        except JsonError:
            return outcome_from_row(_readable(row))
    return outcome


class RunFiles:
    """Which bytes the videos of a run hold: read once, and again only where a file was touched since."""

    def __init__(self, lines: Mapping[str, Mapping[str, Any]], root: str | os.PathLike[str]) -> None:
        self._root = root
        self._stamps: dict[str, Stamp] = {}
        self._earlier: dict[str, list[Any]] = {}
        for key, line in lines.items():
            self._earlier.setdefault(key.rpartition(" ")[0], []).append(line.get("file"))

    def is_new(self, record: Record) -> bool:
        """Whether no earlier answer is about a video of this id."""
        return journal_key(record) not in self._earlier

    def take(self, record: Record) -> Stamp:
        """The stamp of the record's file as it is now; None where there is none."""
        try:
            path = resolve(self._root, record)
        except RecordError:
            stamp = None
        else:
            stamp = known_stamp(path, self._earlier.get(journal_key(record), ()))
        self._stamps[record.video_id] = stamp
        return stamp

    def stamp(self, record: Record) -> Stamp:
        """The stamp that was taken last."""
        return self._stamps[record.video_id] if record.video_id in self._stamps else self.take(record)

    def has_changed(self, record: Record, outcome: Outcome) -> bool:
        """Whether the file is another than the one that was taken, or the model read another."""
        stamp = self.stamp(record)
        if stamp is None:
            return False
        return outcome.origin.sha256 not in (None, stamp["sha256"]) or not is_stamped(
            stamp, resolve(self._root, record)
        )

    def key(self, record: Record) -> str:
        """The key of an answer in the journal: the id, and the hash of the bytes that the answer is about."""
        stamp = self.stamp(record)
        return f"{journal_key(record)} {'no-file' if stamp is None else stamp['sha256']}"


def journal_row(outcome: Outcome, *, file: Stamp, attempt: int, seconds: float, cost: float | None) -> dict[str, Any]:
    """What the journal keeps of one answer: among it how many seconds it took, to 0.1 ms."""
    row = outcome_to_row(outcome)
    return {"file": file, "attempt": attempt, "seconds": round(seconds, 4), "cost": cost, "row": row}


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
    """The outcome in a line of the journal; None where there was no file and the record now names another.

    Raises:
        FileError: the line holds something else.
    """
    try:
        outcome = outcome_from_row(line["row"])
    except (KeyError, RecordError) as error:
        raise FileError(f"{JOURNAL_NAME}: the line of {line.get('key')!r} is no answer: {error}. Take it out") from None
    if line.get("file") is None and outcome.origin.path != readable_path(record.path):
        return None
    return of_record(outcome, record)


def held_outcomes(
    lines: Mapping[str, Mapping[str, Any]], records: Iterable[Record], files: RunFiles
) -> dict[str, Outcome]:
    """The outcomes that a journal holds of these records' files as they are now, by ``video_id``."""
    outcomes: dict[str, Outcome] = {}
    for record in records:
        if files.is_new(record):
            continue
        line = lines.get(files.key(record))
        outcome = None if line is None else held_outcome(line, record)
        if outcome is not None:
            outcomes[record.video_id] = outcome
    return outcomes


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
    counts: dict[str, int] = {}
    for outcome in outcomes:
        if isinstance(outcome, Failed):
            counts[outcome.code] = counts.get(outcome.code, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
