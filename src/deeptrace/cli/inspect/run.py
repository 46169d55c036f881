"""One run of ``inspect``: asks about what has no row yet, keeps every row at once, gives outcomes in order.

Used by the command and by the demo. Writes the page as it goes, so that a run that ends early leaves one of what is
done.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from deeptrace.characters import visible
from deeptrace.cli.inspect.folder import RunFolder, Stamp, stamp_of
from deeptrace.cli.inspect.processes import Task, inspect_in_processes
from deeptrace.cli.show import Report, bar, typed_command
from deeptrace.models import Model
from deeptrace.models.base import FrameModel, Progress
from deeptrace.pages.sentences import status_of
from deeptrace.records import Outcome, Verdict

if TYPE_CHECKING:
    from deeptrace.pages.report import ReportWriter

_PAGE_SHARE: Final = 0.05
"""At most this share of a run's time goes into pages of what is done so far."""
_PAGE_SECONDS: Final = 20.0
_LONG_SECONDS: Final = 60.0
_MAX_WRITERS: Final = 8  # clips whose copies are written at once: more would wait for this process's own lock


@dataclass
class Inspection:
    """A run and what has come of it.

    ``model`` is asked here when ``jobs`` is 1, else ``task`` in so many processes. ``only``: which outcomes are shown
    (empty: all). ``settings``: what a row depends on besides its file.
    """

    model: Model
    task: Task
    paths: Sequence[str]
    settings: Mapping[str, Any]
    folder: Path | None = None
    jobs: int = 1
    only: frozenset[str] = frozenset()
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    held: int = 0
    changed: list[str] = field(default_factory=list)
    page: Path | None = None

    @property
    def in_order(self) -> list[Outcome]:
        """The outcomes that are there, in the order of their paths."""
        return [self.outcomes[index] for index in sorted(self.outcomes)]

    @property
    def done_paths(self) -> list[str]:
        """The path of each of `in_order`."""
        return [self.paths[index] for index in sorted(self.outcomes)]

    @property
    def complete(self) -> bool:
        """Whether every video has a verdict, and the page shows each."""
        verdicts = all(isinstance(outcome, Verdict) for outcome in self.outcomes.values())
        return verdicts and len(self.outcomes) == len(self.paths) and not self.changed

    def is_shown(self, outcome: Outcome) -> bool:
        """Whether ``only`` lets an outcome through; an answer that was not understood counts as failed there."""
        status = status_of(outcome)
        return not self.only or ("failed" if status == "unparsed" else status) in self.only

    def go(self, tell: Callable[[Outcome], None], *, before: Callable[[], None] | None = None) -> None:
        """Ask about every path. ``tell`` gets each outcome that is shown, in order. ``before`` is called first, when
        the folder is ours alone.

        Whatever ends it early, with a folder the rows and the page of what is done are there.
        """
        with ExitStack() as stack:
            run_folder = None if self.folder is None else stack.enter_context(RunFolder(self.folder, self.settings))
            report = None if self.folder is None else stack.enter_context(self._report(self.folder))
            pages = _Pages(self, run_folder, report)
            if before is not None:
                before()
            try:
                self._ask(run_folder, report, tell, pages)
                if report is not None:
                    with bar("writing the report", len(self.outcomes)) as show:
                        for done in report.wait():
                            show(done, len(self.outcomes))
                            pages.now_and_then()
            except BaseException:  # a Ctrl-C, a reader that went away, no money left: what came was paid for
                pages.write(whole=False)
                raise
            pages.write(whole=True)

    def _ask(
        self,
        run_folder: RunFolder | None,
        report: ReportWriter | None,
        tell: Callable[[Outcome], None],
        pages: _Pages,
    ) -> None:
        if run_folder is not None:
            for index, path in enumerate(self.paths):
                if (outcome := run_folder.held(path)) is not None:
                    self.outcomes[index] = outcome
            self.held = len(self.outcomes)
        todo = [index for index in range(len(self.paths)) if index not in self.outcomes]
        with bar("inspecting", len(self.paths)) as show:
            progress_row = _ProgressRow(self, show)
            with closing(self._noted_answers(todo, run_folder, progress_row.listen)) as answers:
                next_index = self._tell_from(0, report, tell)
                progress_row.update()
                for index, outcome in answers:
                    self.outcomes[index] = outcome
                    next_index = self._tell_from(next_index, report, tell)
                    progress_row.update(outcome)
                    pages.now_and_then()

    def _tell_from(self, next_index: int, report: ReportWriter | None, tell: Callable[[Outcome], None]) -> int:
        """Give out what is next in order; how many are given out."""
        from deeptrace.pages.media import ReportItem

        while next_index in self.outcomes:
            outcome = self.outcomes[next_index]
            next_index += 1
            if self.is_shown(outcome):
                if report is not None:
                    report.add(ReportItem(self.paths[next_index - 1], outcome))
                tell(outcome)
        return next_index

    def _noted_answers(
        self, todo: Sequence[int], run_folder: RunFolder | None, listen: Callable[[Progress], None]
    ) -> Generator[tuple[int, Outcome], None, None]:
        """The index and outcome of each path that is left, as they come; each is kept before it is given out."""
        stamps: dict[int, Stamp | None] = {}
        if run_folder is not None:
            stamps = {index: stamp_of(self.paths[index]) for index in todo}
        with closing(self._answers([self.paths[index] for index in todo], listen)) as answers:
            for number, outcome in answers:
                index = todo[number]
                if run_folder is not None:
                    run_folder.note(self.paths[index], outcome, stamps[index])
                yield index, outcome

    def _answers(
        self, paths: Sequence[str], listen: Callable[[Progress], None]
    ) -> Generator[tuple[int, Outcome], None, None]:
        if min(self.jobs, len(paths)) > 1:
            yield from inspect_in_processes(self.task, paths, self.jobs, on_progress=listen)
            return
        if isinstance(self.model, FrameModel):
            self.model.on_progress = listen
        yield from enumerate(self.model.inspect_iter(paths))

    def _report(self, folder: Path) -> ReportWriter:
        from deeptrace.pages.report import ReportWriter
        from deeptrace.video import ReadLimits

        limits = ReadLimits(**self.task.limits)
        return ReportWriter(folder, command=typed_command(), limits=limits, threads=min(self.jobs, _MAX_WRITERS))


class _ProgressRow:
    """The bar of a run: a long video moves it while it is looked at."""

    def __init__(self, run: Inspection, show: Report) -> None:
        self._run, self._show = run, show
        self._shares: dict[str | None, float] = {}  # of the long videos that are looked at, by their id

    def listen(self, progress: Progress) -> None:
        """Show how far a long video is; a short one is done soon."""
        done, total = progress.done_seconds, progress.total_seconds
        if (total or done) < _LONG_SECONDS:
            return
        self._shares[progress.video_id] = min(1.0, done / total) if total else 0.0
        of = "" if total is None else f" of {total / 60:.0f}"
        self._update(f"{visible(progress.video_id or 'video')}: {done / 60:.0f}{of} min")

    def update(self, outcome: Outcome | None = None) -> None:
        """Show how many are done, this one being the last."""
        if outcome is not None:
            self._shares.pop(outcome.origin.video_id, None)
        self._update("")

    def _update(self, note: str) -> None:
        self._show(len(self._run.outcomes) + sum(self._shares.values()), len(self._run.paths), note)


class _Pages:
    """Writes rows and page of a run that has a folder: now and then, and at its end."""

    def __init__(self, run: Inspection, run_folder: RunFolder | None, report: ReportWriter | None) -> None:
        self._run, self._run_folder, self._report = run, run_folder, report
        self._next = time.monotonic() + _PAGE_SECONDS

    def now_and_then(self) -> None:
        """Write what is done so far, when the last time is long enough ago."""
        began = time.monotonic()
        if self._report is None or began < self._next:
            return
        self.write(whole=False)
        took = time.monotonic() - began
        self._next = time.monotonic() + max(_PAGE_SECONDS, took / _PAGE_SHARE)

    def write(self, *, whole: bool) -> None:
        """The rows, and the page; ``whole``: nothing will be added, so that what is on no page goes."""
        if self._run_folder is None or self._report is None:
            return
        self._run_folder.write_rows(self._run.in_order)
        self._run.page = self._report.write_page(sweep=whole)
        self._run.changed = self._report.changed
