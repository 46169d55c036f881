"""Several processes that inspect at once: paths in, outcomes out as they come. A crash costs the video it was on."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any, Final, cast

from deeptrace.errors import DeepTraceError, ModelError
from deeptrace.files import dumps, loads
from deeptrace.models.base import MODEL_CRASHED, Progress, origin_of
from deeptrace.records import Failed, Outcome
from deeptrace.rows import outcome_from_row

_IN_FLIGHT: Final = 2  # the video that is judged, and the one that is read meanwhile
_BOOTSTRAP: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from deeptrace.cli.inspect.worker import main; main()"
)


@dataclass(frozen=True)
class Task:
    """Which model the processes load, with which options and limits; all of it as JSON holds it."""

    model: str
    options: Mapping[str, Any]
    limits: Mapping[str, Any]

    def to_line(self) -> str:
        """As the worker reads it."""
        return dumps({"model": self.model, "options": dict(self.options), "limits": dict(self.limits)}) + "\n"


def cores() -> int:
    """How many processor cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def inspect_in_processes(
    task: Task, paths: Sequence[str], jobs: int, *, on_progress: Callable[[Progress], None] | None = None
) -> Generator[tuple[int, Outcome], None, None]:
    """Each path's index and outcome, in the order in which they are done, from ``jobs`` processes.

    ``on_progress`` is called, by the thread that takes the outcomes, with what the models tell of long videos.

    Raises:
        ModelError: a process cannot be started, or cannot load the model.
    """
    workforce = _Workforce(task, paths)
    for _ in range(min(jobs, len(paths))):
        threading.Thread(target=workforce.serve, daemon=True, name="deeptrace-inspect").start()
    try:
        num_left = len(paths)
        while num_left:
            answer = workforce.answers.get()
            if isinstance(answer, DeepTraceError):
                raise answer
            if isinstance(answer, Progress):
                if on_progress is not None:
                    on_progress(answer)
                continue
            num_left -= 1
            yield answer
    finally:
        workforce.end()


class _Workforce:
    """The processes, each served by a thread, and the paths that are left."""

    def __init__(self, task: Task, paths: Sequence[str]) -> None:
        self.answers: queue.SimpleQueue[tuple[int, Outcome] | Progress | DeepTraceError] = queue.SimpleQueue()
        self._task, self._paths = task, paths
        self._left = deque(range(len(paths)))
        self._lock = threading.Lock()
        self._processes: set[subprocess.Popen[str]] = set()
        self._ended = False

    def end(self) -> None:
        """Kill what still runs."""
        with self._lock:
            self._ended = True
            for process in self._processes:
                process.kill()

    def serve(self) -> None:
        """Start a process and feed it until nothing is left; start another when it dies."""
        try:
            while self._left and not self._ended:
                self._serve_one()
        except DeepTraceError as error:
            self.answers.put(error)
        except OSError as error:
            self.answers.put(ModelError(f"cannot start a process to inspect with: {error.strerror or error}"))

    def _serve_one(self) -> None:
        process = self._start()
        in_flight: deque[int] = deque()
        try:
            to_it, from_it = cast(IO[str], process.stdin), cast(IO[str], process.stdout)
            with contextlib.suppress(BrokenPipeError):  # it died: its answers end, too
                to_it.write(self._task.to_line())
                to_it.flush()
            self._check_ready(from_it.readline(), process)
            while self._feed(to_it, in_flight):
                line = from_it.readline()
                if not line.endswith("\n"):
                    self._mourn(process, in_flight)
                    return
                row = loads(line)
                if "progress" in row:
                    self.answers.put(Progress(**row["progress"]))
                else:
                    self.answers.put((in_flight.popleft(), outcome_from_row(row)))
        finally:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                with contextlib.suppress(OSError):
                    cast(IO[str], pipe).close()
            with self._lock:
                self._processes.discard(process)

    def _start(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-P", "-c", _BOOTSTRAP, json.dumps(sys.path)]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8", errors="backslashreplace"
        )
        with self._lock:
            self._processes.add(process)
            if self._ended:
                process.kill()
        return process

    def _check_ready(self, line: str, process: subprocess.Popen[str]) -> None:
        if not line.endswith("\n"):
            raise ModelError(f"a process that was to inspect ended before it began ({_how_it_ended(process)})")
        answer = loads(line)
        if "error" in answer:
            raise ModelError(str(answer["message"]))

    def _feed(self, to_it: IO[str], in_flight: deque[int]) -> bool:
        """Give the process its next paths; whether it has any to answer for."""
        while len(in_flight) < _IN_FLIGHT:
            with self._lock:
                # The last videos go to those who are idle: none waits behind another while a process has nothing.
                if not self._left or (in_flight and len(self._left) < len(self._processes)):
                    break
                index = self._left.popleft()
            in_flight.append(index)
            with contextlib.suppress(BrokenPipeError):
                to_it.write(dumps(self._paths[index]) + "\n")
                to_it.flush()
        return bool(in_flight)

    def _mourn(self, process: subprocess.Popen[str], in_flight: deque[int]) -> None:
        """The process died on the video it had longest; the next one was only being read, and is asked about again."""
        if self._ended:
            return
        reason = f"the process that looked at it ended ({_how_it_ended(process)})"
        index = in_flight.popleft()
        with self._lock:
            self._left.extendleft(reversed(in_flight))
        in_flight.clear()
        origin = origin_of(self._paths[index])
        self.answers.put((index, Failed(MODEL_CRASHED, reason, origin)))


def _how_it_ended(process: subprocess.Popen[str]) -> str:
    code = process.wait()
    if code >= 0:
        return f"exit code {code}"
    with contextlib.suppress(ValueError):
        return signal.Signals(-code).name
    return f"signal {-code}"
