"""Processes that hold a model each and score one video at a time, for the server.

A model that dies, hangs or runs out of memory takes its process with it and costs the video it was at; a new process
takes its place. While none can be started the circuit is open: nothing is taken, and one is tried again and again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any, Final

from deeptrace.errors import DeepTraceError, VideoError
from deeptrace.models.base import MODEL_CRASHED
from deeptrace.reward.score import TIMEOUT, NotRewarded, Reward, RewardOutcome

_log = logging.getLogger(__name__)

WORKER_DIED: Final = "WORKER_DIED"
"""Code of a video at which the process of the model ended."""

_START_SECONDS: Final = 600.0
_LONGEST_PAUSE_SECONDS: Final = 30.0

Source = Callable[[], bytes]
"""Gives the bytes of a video when its turn has come, so that a queue of paths holds no videos."""


@dataclass
class RewardJob:
    """One video to score, and where its outcome goes."""

    source: Source
    dense: bool
    done: asyncio.Future[RewardOutcome] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


def worker_main(connection: Connection, model: str, options: Mapping[str, Any]) -> None:
    """The loop of a worker process: bytes in, an outcome out. Ends with its parent."""
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    reward = Reward(model, **options)
    connection.send((reward.model.name, reward.model.revision))
    with contextlib.suppress(EOFError, KeyboardInterrupt):
        while True:
            video, dense = connection.recv()
            connection.send(next(reward.iter([video], dense=dense)))


def _end_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _context() -> Any:
    """How processes start: from one that has all imports already, where the system can, so that a new one is quick."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["__main__", "deeptrace.reward.score"])
    return context


class RewardWorker:
    """One process. All methods block; they are called from one thread."""

    def __init__(self, model: str, options: Mapping[str, Any], main: Callable[..., None] = worker_main) -> None:
        self.model, self.options, self.main = model, options, main
        self.identity: tuple[str, str | None] | None = None
        self.loaded = False
        self.failing = False
        self._process: Any = None
        self._connection: Any = None

    def start(self) -> None:
        """Start the process and wait until its model is there.

        Raises:
            DeepTraceError: it ended before that, or took too long.
        """
        self.stop()
        context = _context()
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=self.main, args=(theirs, self.model, self.options))
        self._process.start()
        theirs.close()
        try:
            if not self._connection.poll(_START_SECONDS):
                raise EOFError
            self.identity = self._connection.recv()
            self.loaded, self.failing = True, False
        except (EOFError, OSError):
            self.failing = True
            self.stop()
            raise DeepTraceError(f"the process of the model {self.model!r} ended while it was loaded") from None

    @property
    def usable(self) -> bool:
        """Whether it has had its model, and nothing says that it could not have it again."""
        return self.identity is not None and not self.failing

    @property
    def alive(self) -> bool:
        """Whether it can take a video."""
        return self.loaded and self._process is not None and self._process.is_alive()

    def score(self, source: Source, *, dense: bool, seconds: float) -> RewardOutcome:
        """The outcome of one video; the process is gone afterwards where it died or took more than ``seconds``."""
        try:
            video = source()
        except DeepTraceError as error:
            return NotRewarded(error.code, str(error))
        try:
            self._connection.send((video, dense))
            if not self._connection.poll(seconds):
                self.stop()
                return NotRewarded(TIMEOUT, f"not scored within {seconds:g} s")
            outcome: RewardOutcome = self._connection.recv()
        except (EOFError, OSError):
            code = None if self._process is None else self._process.exitcode
            self.stop()
            return NotRewarded(WORKER_DIED, f"the process of the model ended at this video (exit code {code})")
        return outcome

    def kill(self) -> None:
        """End the process, whatever it is at; from any thread."""
        process = self._process
        if process is not None:
            with contextlib.suppress(ValueError):  # it is closed already
                process.kill()

    def stop(self) -> None:
        """End the process at once."""
        self.loaded = False
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process.close()
            self._connection.close()
        self._process = None


class RewardWorkers:
    """Workers that share one queue of jobs. Use within an event loop: `start`, `submit`, `stop`.

    ``item_seconds`` bounds one video. ``ready`` says whether a model is there.
    """

    def __init__(
        self,
        model: str,
        options: Mapping[str, Any],
        *,
        count: int = 1,
        item_seconds: float = 60.0,
        main: Callable[..., None] = worker_main,
    ) -> None:
        self.item_seconds = item_seconds
        self.workers = [RewardWorker(model, options, main) for _ in range(count)]
        self.on_done: Callable[[float], None] = lambda seconds: None
        self._jobs: asyncio.Queue[RewardJob] = asyncio.Queue()
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="deeptrace-reward")
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def ready(self) -> bool:
        """Whether at least one worker has its model, or is about to have it again."""
        return any(worker.usable for worker in self.workers)

    @property
    def identity(self) -> tuple[str, str | None] | None:
        """Name and revision of the model, once it was loaded."""
        return next((worker.identity for worker in self.workers if worker.identity is not None), None)

    def start(self) -> None:
        """Begin; models load in the background."""
        self._tasks = [asyncio.create_task(self._serve(worker)) for worker in self.workers]

    def submit(self, source: Source, *, dense: bool) -> asyncio.Future[RewardOutcome]:
        """Queue a video. Cancelling the future takes it out again, or lets its outcome go."""
        job = RewardJob(source, dense)
        self._jobs.put_nowait(job)
        return job.done

    async def stop(self) -> None:
        """End the workers."""
        for task in self._tasks:
            task.cancel()
        for worker in self.workers:
            worker.kill()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._threads.shutdown(wait=True)
        for worker in self.workers:
            worker.stop()

    async def _serve(self, worker: RewardWorker) -> None:
        loop = asyncio.get_running_loop()
        pause = 0.5
        while True:
            if not worker.alive:
                try:
                    await loop.run_in_executor(self._threads, worker.start)
                except DeepTraceError as error:
                    _log.error("%s; next try in %g s", error, pause)
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
                    continue
            job = await self._jobs.get()
            if job.done.cancelled():
                continue
            outcome, seconds = await loop.run_in_executor(self._threads, self._work, worker, job)
            self.on_done(seconds)
            if worker.alive:
                pause = 0.5
            if not job.done.done():
                job.done.set_result(outcome)

    def _work(self, worker: RewardWorker, job: RewardJob) -> tuple[RewardOutcome, float]:
        began = time.monotonic()
        try:
            outcome = worker.score(job.source, dense=job.dense, seconds=self.item_seconds)
        except (VideoError, MemoryError, ValueError) as error:
            _log.exception("a video could not be handed to the model")
            outcome = NotRewarded(MODEL_CRASHED, f"{type(error).__name__}: {error}")
        return outcome, time.monotonic() - began
