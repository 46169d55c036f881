"""What the benchmark's runner adds to each video, beside a model that takes no time. Bar: under 5 ms a video.

    python benchmarks/run_overhead.py [--videos 2000] [--workers 1]

Measures wall and CPU time of whole runs into a new folder, journal synced to the disk row by row, and of one that finds
everything answered already.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from deeptrace.bench.run.runner import run
from deeptrace.models import VideoSource
from deeptrace.models.base import score_of
from deeptrace.records import Failed, Origin, Outcome, Record, Score, Trace, Unparsed, Verdict

BAR_MS = 5.0


class Instant:
    """Answers at once, without opening anything."""

    name = "instant"
    revision = None

    def inspect_iter(self, videos: Iterable[VideoSource]) -> Iterator[Outcome]:
        """One verdict a video."""
        trace = Trace((0.1, 0.2, 0.3, 0.4), 0.5, explanation="A ball vanishes in mid-air and comes back as a cube.")
        for _ in videos:
            yield Verdict(
                "fake", p_fake=0.7, traces=(trace,), text="FAKE. " + "x" * 200, origin=Origin(model=self.name)
            )

    def inspect(self, videos: Iterable[VideoSource]) -> list[Outcome]:
        """The same as a list."""
        return list(self.inspect_iter(videos))

    def score(self, videos: Iterable[VideoSource]) -> list[Score | Unparsed | Failed]:
        """P(fake) of each."""
        return [score_of(outcome) for outcome in self.inspect_iter(videos)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args()
    records = [Record(f"v{i:06d}", f"videos/v{i:06d}.mp4", "fake", split="test") for i in range(given.videos)]
    with tempfile.TemporaryDirectory() as folder:
        for what in ("new run", "all answered"):
            wall, cpu = time.perf_counter(), time.process_time()
            run(Instant(), records, folder, Path(folder) / "run", workers=given.workers)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            each = 1000 * wall / given.videos
            print(f"{what}: {each:.2f} ms wall, {1000 * cpu / given.videos:.2f} ms CPU a video")
            if each > BAR_MS:
                raise SystemExit(f"over the bar of {BAR_MS} ms")


if __name__ == "__main__":
    main()
