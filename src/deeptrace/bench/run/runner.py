"""Runs a model over a dataset: records go in, a folder with every answer comes out. Can be ended at any moment.

``journal.jsonl`` grows answer by answer, so a run that was killed goes on where it was; ``verdicts.jsonl`` is made of
it at the end, the same bytes however the work was cut up; ``run.json`` tells how to do it again. The videos are asked
about in `ask`, the files are kept in `verdicts`, what the model sees is chosen in `views`.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any, Final

import deeptrace
from deeptrace.answer import FIELDS
from deeptrace.bench.run.ask import VideoAnswer, ask
from deeptrace.bench.run.runinfo import write_run
from deeptrace.bench.run.verdicts import (
    FILE_CHANGED,
    JOURNAL_NAME,
    RunFiles,
    codes,
    count_statuses,
    held_outcomes,
    journal_row,
    of_record,
    outcome_status,
    worth_another_try,
    write_verdicts,
)
from deeptrace.bench.run.views import View, look, sampling_of
from deeptrace.chat import ChatStopped
from deeptrace.data.paths import resolve
from deeptrace.errors import FileError, RecordError
from deeptrace.files import dumps
from deeptrace.journal import Journal
from deeptrace.lock import LockError
from deeptrace.models import DECLARED_FIELDS, Model
from deeptrace.records import Failed, Outcome, Record
from deeptrace.shards import Shard, shards_in
from deeptrace.video import VideoSource

DEFAULT_TRIES: Final = 2
"""How often a video is asked about in one run, where the failure is one that may pass."""

SYNC_SECONDS: Final = 1.0
"""A kill loses no answer that was noted; a loss of power those of the last second."""


@dataclass(frozen=True)
class RunProgress:
    """How far a run is. ``seconds_left`` is an estimate; ``cost`` counts earlier pieces of the run too, None: free."""

    done: int
    total: int
    unparsed: int
    failed: int
    seconds_left: float | None
    cost: float | None


@dataclass(frozen=True)
class RunOutcomes:
    """What a run has brought: an outcome for each video that was asked about, by ``video_id``.

    ``num_asked`` counts the questions of this piece, ``stopped`` is what ended it early (out of money, say).
    """

    folder: Path
    outcomes: Mapping[str, Outcome]
    total: int
    num_asked: int
    cost: float | None
    stopped: ChatStopped | None

    @property
    def complete(self) -> bool:
        """Whether every video has an answer. A run that is not complete is scored, and never ranked."""
        return len(self.outcomes) == self.total and not any(
            outcome_status(outcome) == "failed" for outcome in self.outcomes.values()
        )

    def to_json(self) -> dict[str, Any]:
        """The counts, as they stand in ``run.json``."""
        return {
            "status": "complete" if self.complete else "incomplete",
            "videos": self.total,
            "answered": len(self.outcomes),
            **count_statuses(self.outcomes.values()),
            "codes": codes(list(self.outcomes.values())),
            "asked": self.num_asked,
            "cost": self.cost,
            "stopped": None if self.stopped is None else {"code": self.stopped.code, "reason": str(self.stopped)},
        }


def run(
    model: Model,
    records: Sequence[Record],
    root: str | Path,
    folder: str | Path,
    *,
    about: Mapping[str, Any] | None = None,
    view: View = "in-order",
    seed: int = 0,
    workers: int | None = None,
    tries: int = DEFAULT_TRIES,
    command: str | None = None,
    progress: Callable[[RunProgress], None] | None = None,
    shard: Shard | None = None,
) -> RunOutcomes:
    """Ask the model about the video of every record under ``root``, and keep the answers in ``folder``.

    Call it again with the same arguments and it asks only about what has no answer yet, and about failures that may
    pass. An answer is of a file's bytes: a video that was replaced under its name is asked about again.

    ``about`` is noted in ``run.json`` and must be the same in every piece (the track, the split). ``view`` is
    what the model sees of a video; ``workers`` asks about so many at once (None: as many as the model says it can
    take, else one). A failure that may pass is tried ``tries`` times in all. ``command`` is noted.

    With ``shard`` only the videos of that part are asked about, and its files lie in a folder of their own inside
    ``folder``. A run without one takes in, once each, the answers of the parts that lie there.

    A model that cannot go on (out of money) ends the run early: what was answered is kept, see `RunOutcomes.stopped`.

    Raises:
        FileError: the folder, or one of a part, holds a run with other settings, cannot be written, or another process
            is at work in it.
        ModelError: the model does not fit the view, or does not give one outcome a video.
        RecordError: an id stands on two records.
    """
    out = Path(folder) if shard is None else shard.folder_in(Path(folder))
    _one_record_an_id(records)
    if shard is not None:
        records = [record for record in records if shard.holds(record.video_id)]
    sampling = None if view == "in-order" else sampling_of(model)
    settings = settings_of(model, about or {}, view, seed)

    _say_ids(model, records, root)

    def open_video(record: Record) -> VideoSource:
        files.take(record)
        return look(resolve(root, record), view, sampling, record.video_id, seed)

    parts = _rows_of_parts(out, settings) if shard is None else {}
    with Journal(out / JOURNAL_NAME, settings, lock=True, sync_seconds=SYNC_SECONDS) as journal:
        for key, row in parts.items():
            held = journal.rows.get(key)
            if held is None or _tries(row) > _tries(held):
                journal.add(key, row)
        files = RunFiles(journal.rows, root)
        book = _Book(journal, records, model, files, progress)
        write_run(out, settings, None, command=command)
        stopped: ChatStopped | None = None
        try:
            for number in range(max(1, tries)):
                todo = book.left(tell=number == 0)
                for answer in ask(model, todo, open_video, workers=workers or concurrency_of(model)):
                    book.note(answer)
        except ChatStopped as error:
            stopped = error
        finally:
            write_verdicts(out, book.outcomes)
        done = RunOutcomes(out, book.outcomes, len(records), book.num_asked, book.cost, stopped)
        write_run(out, settings, done.to_json(), command=command)
    return done


def _rows_of_parts(folder: Path, settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The journal rows of all parts of a run, by key; of two about the same bytes, the later try."""
    rows: dict[str, dict[str, Any]] = {}
    for part in shards_in(folder):
        if not (part / JOURNAL_NAME).exists():
            continue
        try:
            with Journal(part / JOURNAL_NAME, settings, lock=True, sync_seconds=SYNC_SECONDS) as theirs:
                rows |= {
                    key: row for key, row in theirs.rows.items() if key not in rows or _tries(row) > _tries(rows[key])
                }
        except LockError:
            raise
        except FileError as error:
            raise FileError(f"{part.name}: {error}") from None
    return rows


def _tries(row: Mapping[str, Any]) -> int:
    attempt = row.get("attempt")
    return attempt if isinstance(attempt, int) and attempt > 0 else 0


def settings_of(model: Model, about: Mapping[str, Any], view: View, seed: int) -> dict[str, Any]:
    """What must be the same in every piece of a run: two runs never mix in one folder.

    ``base_url``: where the model is served, of one that is.
    """
    sampling = getattr(model, "sampling", None)
    return {
        "run": "bench",
        "deeptrace": deeptrace.__version__,
        "model": model.name,
        "revision": model.revision,
        "question": getattr(model, "question", None),
        "fields": _declared(model),
        "base_url": getattr(getattr(model, "client", None), "base_url", None),
        "sampling": asdict(sampling) if is_dataclass(sampling) and not isinstance(sampling, type) else sampling,
        "view": view,
        "seed": seed,
        **getattr(model, "settings", {}),
        **({} if (prompt := getattr(model, "system_prompt", None)) is None else {"system_prompt": prompt}),
        **about,
    }


def _declared(model: Model) -> list[str] | None:
    """What a model that is asked nothing is able to say of a trace; None of one that does not tell."""
    fields = getattr(model, "fields", DECLARED_FIELDS.get(model.name))
    return None if fields is None else [field for field in FIELDS if field in fields]


def identity_of(records: Sequence[Record], root: str | Path) -> dict[str, Any]:
    """Which dataset a run is of, for its settings: the name of its folder, and a hash of its records' ids and paths.

    Take it of a whole split, so that a run that was begun with a few of its videos can go on with all. Datasets alike
    in this are told apart video by video, by the bytes of the files.
    """
    names = sorted([record.video_id, record.path or ""] for record in records)
    return {"name": Path(root).resolve().name, "sha256": hashlib.sha256(dumps(names).encode()).hexdigest()}


def concurrency_of(model: Model) -> int:
    """How many videos the model can be asked about at once, as it says itself; 1 where it says nothing."""
    concurrency = getattr(model, "concurrency", 1)
    return concurrency if isinstance(concurrency, int) and concurrency > 0 else 1


def _one_record_an_id(records: Sequence[Record]) -> None:
    ids: set[str] = set()
    for record in records:
        if record.video_id in ids:
            raise RecordError("video_id", f"{record.video_id!r} stands on two records")
        ids.add(record.video_id)


def _say_ids(model: Model, records: Sequence[Record], root: str | Path) -> None:
    """Tell a model that knows videos by id (answers from a file) which file is which."""
    call = getattr(model, "call_videos", None)
    if call is None:
        return
    names = {}
    for record in records:
        with contextlib.suppress(RecordError):
            names[str(resolve(root, record))] = record.video_id
    call(names)


class _Book:
    """Keeps the journal of one run, and counts."""

    def __init__(
        self,
        journal: Journal,
        records: Sequence[Record],
        model: Model,
        files: RunFiles,
        progress: Callable[[RunProgress], None] | None,
    ) -> None:
        self._journal, self._records, self._model, self._progress = journal, records, model, progress
        self._files = files
        self.outcomes = held_outcomes(journal.rows, records, files)
        self.num_asked = 0
        self._counts = count_statuses(self.outcomes.values())
        self._held_cost = sum(float(line.get("cost") or 0.0) for line in journal.rows.values())
        self._spent_before, self._noted_cost = self._spent(), 0.0
        self._began = time.monotonic()
        self._todo = 0

    def _spent(self) -> float | None:
        spent = getattr(self._model, "spent", None)
        return None if spent is None else float(spent.cost)

    @property
    def cost(self) -> float | None:
        """Money of this run, earlier pieces included; None where the model does not say that it costs any."""
        if self._spent_before is None:
            return self._held_cost or None
        return self._held_cost + ((self._spent() or 0.0) - self._spent_before)

    def left(self, *, tell: bool) -> list[Record]:
        """What is still to be asked: no answer yet, or a failure that may pass. ``tell``: say where the run stands."""
        todo = [
            record
            for record in self._records
            if (held := self.outcomes.get(record.video_id)) is None or worth_another_try(held)
        ]
        self._todo = self.num_asked + len(todo)
        if tell:
            self._report()
        return todo

    def note(self, answer: VideoAnswer) -> None:
        """Keep one answer; no kill takes it back once this returns."""
        record, outcome = answer.record, answer.outcome
        if self._files.has_changed(record, outcome):
            outcome = Failed(FILE_CHANGED, "the file was changed while it was asked about", outcome.origin)
        stamp, key = self._files.stamp(record), self._files.key(record)
        outcome = of_record(outcome, record, None if stamp is None else stamp["sha256"])
        before = self._journal.rows.get(key, {})
        row = journal_row(
            outcome,
            file=stamp,
            attempt=int(before.get("attempt", 0)) + 1,
            seconds=answer.seconds,
            cost=self._cost_since(before.get("cost")),
        )
        self._journal.add(key, row)
        if (held := self.outcomes.get(record.video_id)) is not None:
            self._counts[outcome_status(held)] -= 1
        self.outcomes[record.video_id] = outcome
        self._counts[outcome_status(outcome)] += 1
        self.num_asked += 1
        self._report()

    def _cost_since(self, before: float | None) -> float | None:
        """What was spent since the last row, put upon this one: with several workers the sum is right, a row's about.

        What earlier tries at the same video took is carried along, so that the last rows add up to the whole.
        """
        if self._spent_before is None:
            return before
        spent = (self._spent() or 0.0) - self._spent_before
        cost, self._noted_cost = spent - self._noted_cost, spent
        return round(cost + (before or 0.0), 9)

    def _report(self) -> None:
        if self._progress is None:
            return
        took, left = time.monotonic() - self._began, max(0, self._todo - self.num_asked)
        self._progress(
            RunProgress(
                done=len(self._records) - left,
                total=len(self._records),
                unparsed=self._counts["unparsed"],
                failed=self._counts["failed"],
                seconds_left=took / self.num_asked * left if self.num_asked else None,
                cost=self.cost,
            )
        )
