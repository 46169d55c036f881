"""Asks a model about many videos with several workers, and gives each answer as soon as it is there.

Each worker draws videos from one queue and lets the model go through them, so a model that batches or reads ahead can.
What one worker raises stops all of them; answers that were under way still come out, since they may have cost money.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from deeptrace.errors import ModelError, RecordError, VideoError
from deeptrace.models import Model
from deeptrace.records import Failed, Origin, Outcome, Record
from deeptrace.video import VideoSource

NO_USABLE_PATH = "NO_USABLE_PATH"
"""Code of the `Failed` for a record whose video cannot be found by its path."""

Open = Callable[[Record], VideoSource]


@dataclass(frozen=True)
class VideoAnswer:
    """What was said of a record's video, and how long the worker was busy with it (waits included)."""

    record: Record
    outcome: Outcome
    seconds: float


def ask(model: Model, records: Iterable[Record], open_video: Open, *, workers: int = 1) -> Iterator[VideoAnswer]:
    """One `VideoAnswer` a record, in the order in which they come.

    ``open_video`` gives the video of a record; what it cannot open is `Failed`. Leaving the iteration early stops the
    workers after the videos they are at.

    Raises:
        ChatStopped: the model cannot go on with any video (out of money, no key); after the answers under way.
        ModelError: a model that does not give one outcome a video. Whatever else a model raises comes out as it is.
    """
    crew = _Crew(model, iter(records), open_video)
    threads = [
        threading.Thread(target=crew.work, name=f"deeptrace-ask-{i}", daemon=True) for i in range(max(1, workers))
    ]
    for thread in threads:
        thread.start()
    problem: BaseException | None = None
    left = len(threads)
    try:
        while left:
            match crew.answers.get():
                case (VideoAnswer() as answer, noted):
                    yield answer
                    noted.release()
                case None:
                    left -= 1
                case BaseException() as error:
                    problem = problem or error
    finally:
        crew.stop.set()
        crew.taking.clear()
    if problem is not None:
        raise problem


class _Crew:
    """What the workers share. ``stop``: begin no other video. ``taking``: somebody still takes answers."""

    def __init__(self, model: Model, records: Iterator[Record], open_video: Open) -> None:
        self.answers: queue.SimpleQueue[tuple[VideoAnswer, threading.Semaphore] | BaseException | None] = (
            queue.SimpleQueue()
        )
        self.stop = threading.Event()
        self.taking = threading.Event()
        self.taking.set()
        self._model, self._records, self._open = model, records, open_video
        self._next = threading.Lock()

    def work(self) -> None:
        """Go through records until there are none, or somebody stops the crew. The last word is None."""
        waiting: deque[Record] = deque()
        began = time.monotonic()
        try:
            for outcome in self._model.inspect_iter(self._videos(waiting)):
                if not waiting:
                    raise ModelError(f"{self._model.name!r} gave more outcomes than it was given videos")
                self._say(VideoAnswer(waiting.popleft(), outcome, time.monotonic() - began))
                began = time.monotonic()
            if waiting and not self.stop.is_set():
                raise ModelError(f"{self._model.name!r} gave {len(waiting)} outcomes fewer than it was given videos")
        except BaseException as error:  # noqa: BLE001 - handed over to the caller's thread, which raises it
            self.stop.set()
            self.answers.put(error)
        finally:
            self.answers.put(None)

    def _videos(self, waiting: deque[Record]) -> Iterator[VideoSource]:
        """The videos of one worker, drawn one at a time; called by the thread that reads ahead."""
        while not self.stop.is_set():
            with self._next:
                record = next(self._records, None)
            if record is None:
                return
            began = time.monotonic()
            try:
                video = self._open(record)
            except VideoError as error:
                failed = Failed(error.code, str(error), Origin())
            except RecordError as error:
                failed = Failed(NO_USABLE_PATH, str(error), Origin())
            else:
                waiting.append(record)
                yield video
                continue
            self._say(VideoAnswer(record, failed, time.monotonic() - began))

    def _say(self, answer: VideoAnswer) -> None:
        """Hand an answer over, and wait until it is taken care of: a kill then costs each worker one video at most."""
        noted = threading.Semaphore(0)
        self.answers.put((answer, noted))
        while not noted.acquire(timeout=0.2):
            if self.stop.is_set() and not self.taking.is_set():
                return
