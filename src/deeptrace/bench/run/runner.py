"""Runs a model over a dataset: records go in, a folder with every answer comes out. Can be ended at any moment.

``journal.jsonl`` grows answer by answer, so a run that was killed goes on where it was; ``verdicts.jsonl`` is made of
it at the end, the same bytes however the work was cut up; ``run.json`` tells how to do it again. The videos are asked
about in `ask`, the files are kept in `verdicts`, what the model sees is chosen in `views`.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any, Final

import deeptrace
from deeptrace.bench.ask import Answer, ask
from deeptrace.bench.runinfo import write_run
from deeptrace.bench.verdicts import (
    JOURNAL_NAME,
    codes,
    count_statuses,
    held_outcomes,
    journal_row,
    of_record,
    outcome_status,
    worth_another_try,
    write_verdicts,
)
from deeptrace.bench.views import View, look, sampling_of
from deeptrace.chat import ChatStopped
from deeptrace.data.journal import Journal
from deeptrace.data.normalise.files import journal_key
from deeptrace.data.paths import resolve
from deeptrace.errors import RecordError
from deeptrace.models import Model
from deeptrace.records import Outcome, Record
from deeptrace.video import VideoSource

DEFAULT_TRIES: Final = 2
"""How often a video is asked about in one run, where the failure is one that may pass."""

SYNC_SECONDS: Final = 1.0
"""A kill loses no answer that was noted; a loss of power those of the last second."""


@dataclass(frozen=True)
class Progress:
    """How far a run is. ``seconds_left`` is an estimate; ``cost`` counts earlier pieces of the run too, None: free."""

    done: int
    total: int
    unparsed: int
    failed: int
    seconds_left: float | None
    cost: float | None


@dataclass(frozen=True)
class Run:
    """What a run has brought: an outcome for each video that was asked about, by ``video_id``.

    ``asked`` counts the questions of this piece, ``stopped`` is what ended it early (out of money, say).
    """

    folder: Path
    outcomes: Mapping[str, Outcome]
    total: int
    asked: int
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
            "asked": self.asked,
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
    progress: Callable[[Progress], None] | None = None,
) -> Run:
    """Ask the model about the video of every record under ``root``, and keep the answers in ``folder``.

    Call it again with the same arguments and it asks only about what has no answer yet, and about failures that may
    pass. ``about`` is noted in ``run.json`` and must be the same in every piece (the track, the split). ``view`` is
    what the model sees of a video; ``workers`` asks about so many at once (None: as many as the model says it can
    take, else one). A failure that may pass is tried ``tries`` times in all. ``command`` is noted.

    A model that cannot go on (out of money) ends the run early: what was answered is kept, see `Run.stopped`.

    Raises:
        FileError: the folder holds a run with other settings, cannot be written, or another process is at work in it.
        ModelError: the model does not fit the view, or does not give one outcome a video.
        RecordError: an id stands on two records.
    """
    out = Path(folder)
    _one_record_an_id(records)
    sampling = None if view == "in-order" else sampling_of(model)
    settings = settings_of(model, about or {}, view, seed)

    _say_ids(model, records, root)

    def open_video(record: Record) -> VideoSource:
        return look(resolve(root, record), view, sampling, record.video_id, seed)

    with Journal(out / JOURNAL_NAME, settings, lock=True, sync_seconds=SYNC_SECONDS) as journal:
        book = _Book(journal, records, model, progress)
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
        done = Run(out, book.outcomes, len(records), book.asked, book.cost, stopped)
        write_run(out, settings, done.to_json(), command=command)
    return done


def settings_of(model: Model, about: Mapping[str, Any], view: View, seed: int) -> dict[str, Any]:
    """What must be the same in every piece of a run: two runs never mix in one folder."""
    sampling = getattr(model, "sampling", None)
    return {
        "run": "bench",
        "deeptrace": deeptrace.__version__,
        "model": model.name,
        "revision": model.revision,
        "question": getattr(model, "question", None),
        "sampling": asdict(sampling) if is_dataclass(sampling) and not isinstance(sampling, type) else sampling,
        "view": view,
        "seed": seed,
        **about,
    }


def concurrency_of(model: Model) -> int:
    """How many videos the model can be asked about at once, as it says itself; 1 where it says nothing."""
    said = getattr(model, "concurrency", 1)
    return said if isinstance(said, int) and said > 0 else 1


def _one_record_an_id(records: Sequence[Record]) -> None:
    seen: set[str] = set()
    for record in records:
        if record.video_id in seen:
            raise RecordError("video_id", f"{record.video_id!r} stands on two records")
        seen.add(record.video_id)


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
        progress: Callable[[Progress], None] | None,
    ) -> None:
        self._journal, self._records, self._model, self._progress = journal, records, model, progress
        self.outcomes = held_outcomes(journal.rows, records)
        self.asked = 0
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
        self._todo = self.asked + len(todo)
        if tell:
            self._report()
        return todo

    def note(self, answer: Answer) -> None:
        """Keep one answer; no kill takes it back once this returns."""
        record, outcome = answer.record, of_record(answer.outcome, answer.record)
        before = self._journal.rows.get(journal_key(record), {})
        row = journal_row(
            outcome,
            attempt=int(before.get("attempt", 0)) + 1,
            seconds=answer.seconds,
            cost=self._cost_since(before.get("cost")),
        )
        self._journal.add(journal_key(record), row)
        if (held := self.outcomes.get(record.video_id)) is not None:
            self._counts[outcome_status(held)] -= 1
        self.outcomes[record.video_id] = outcome
        self._counts[outcome_status(outcome)] += 1
        self.asked += 1
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
        took, left = time.monotonic() - self._began, max(0, self._todo - self.asked)
        self._progress(
            Progress(
                done=len(self._records) - left,
                total=len(self._records),
                unparsed=self._counts["unparsed"],
                failed=self._counts["failed"],
                seconds_left=took / self.asked * left if self.asked else None,
                cost=self.cost,
            )
        )
