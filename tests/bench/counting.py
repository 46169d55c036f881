"""A model for tests of the runner: answers are made of the video's name, and every call is counted in a file.

Run as a program it is one piece of a run: ``counting.py ROOT FOLDER CALLS WORKERS SECONDS`` over records.jsonl in ROOT.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from deeptrace.bench.run.runner import run
from deeptrace.data import load_records
from deeptrace.models import VideoSource
from deeptrace.models.base import score_of
from deeptrace.records import Failed, Origin, Outcome, Record, Score, Trace, Unparsed, Verdict


def made_records(count: int) -> list[Record]:
    return [Record(f"v{i:04d}", f"videos/v{i:04d}.mp4", ("fake", "real")[i % 2], split="test") for i in range(count)]


class CountingModel:
    """Implements the protocol without opening anything. ``lasting`` share fails for good, some are unparsed."""

    name = "counting"
    revision = "7"

    def __init__(self, calls: Path, seconds: float = 0.0, concurrency: int = 1) -> None:
        self._calls, self._seconds, self.concurrency = calls, seconds, concurrency

    def inspect_iter(self, videos: Iterable[VideoSource]) -> Iterator[Outcome]:
        for video in videos:
            name = Path(os.fspath(video)).stem  # type: ignore[arg-type]
            with open(self._calls, "a") as file:
                file.write(f"{name}\n")
            time.sleep(self._seconds)
            yield answer(name)

    def inspect(self, videos: Iterable[VideoSource]) -> list[Outcome]:
        return list(self.inspect_iter(videos))

    def score(self, videos: Iterable[VideoSource]) -> list[Score | Unparsed | Failed]:
        return [score_of(outcome) for outcome in self.inspect_iter(videos)]


def answer(name: str) -> Outcome:
    """What the model says of this video, always the same."""
    draw = hashlib.sha256(name.encode()).digest()
    origin = Origin(video_id="a file's name", path="/somewhere/on/this/machine.mp4", model="counting", revision="7")
    if draw[0] < 12:
        return Unparsed("no verdict in it", "hm \ud800", origin)
    if draw[0] < 24:
        return Failed("CONTENT_FILTER", "held back", origin)
    trace = Trace((0.1, 0.2, 0.3, 0.3 + draw[1] / 512), draw[2] / 64)
    return Verdict("fake", p_fake=draw[3] / 255, traces=(trace,), text=f"FAKE {name}", origin=origin)


if __name__ == "__main__":
    root, folder, calls, workers, seconds = sys.argv[1:]
    model = CountingModel(Path(calls), float(seconds))
    run(model, load_records(root), root, folder, workers=int(workers))
