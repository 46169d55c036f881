"""What isolation adds to the reading of one clip: the same decoding in this process and in a warm worker.

    python benchmarks/isolation_cost.py --rounds 40

Both read the same file with the same code (open, list, decode, resize, hash); the second through a socket from another
process. Rounds take turns, so that a busy machine hurts both. Medians of time on the clock. The bar is 10 ms a clip.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from clips import SIZES, make_clip

from deeptrace import video
from deeptrace.video._limits import DEFAULT_LIMITS
from deeptrace.video._protocol import Buffer, Channel
from deeptrace.video._worker import _Desk, _FramesJob

FPS, SHORT_SIDE, BAR_MS = 2.0, 448, 10.0


class Here(Channel):
    """Takes what the worker would send, and keeps the pictures as the caller does."""

    def __init__(self) -> None:
        self.images: list[np.ndarray] = []

    def send(self, header: Mapping[str, Any], payload: Buffer | None = None, *, fd: int | None = None) -> None:
        """Keep the pixels; nothing else is of interest here."""
        if payload is not None:
            self.images.append(np.frombuffer(payload, np.uint8).copy())


def read_here(path: Path) -> int:
    """Decode in this process. Only for clips that we made ourselves."""
    channel = Here()
    sampling = {"fps": FPS, "start_seconds": 0.0, "end_seconds": None, "max_frames": None}
    request = {"op": "frames", "sampling": sampling, "short_side": SHORT_SIDE, "chunk": None}
    descriptor = os.open(path, os.O_RDONLY)
    try:
        size = os.fstat(descriptor).st_size
        desk, read_at = _Desk(channel, True, False), lambda offset, count: os.pread(descriptor, count, offset)
        _FramesJob(desk, request, read_at, size, DEFAULT_LIMITS).run()
    finally:
        os.close(descriptor)
    return len(channel.images)


def read_isolated(path: Path) -> int:
    return len(video.sample_frames(path, fps=FPS, short_side=SHORT_SIDE))


def measure(path: Path, rounds: int) -> dict[str, object]:
    seconds: dict[str, list[float]] = {"here": [], "isolated": []}
    for round_number in range(rounds + 2):
        for name, read in (("here", read_here), ("isolated", read_isolated)):
            start = time.perf_counter()
            assert read(path) == 10
            if round_number >= 2:  # the first two warm up
                seconds[name].append(time.perf_counter() - start)
    medians = {name: round(statistics.median(found) * 1000, 2) for name, found in seconds.items()}
    pairs = [b - a for a, b in zip(seconds["here"], seconds["isolated"], strict=True)]
    return {
        "clip": path.stem,
        "here_ms": medians["here"],
        "isolated_ms": medians["isolated"],
        "added_ms": round(statistics.median(pairs) * 1000, 2),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--clips", type=Path, default=Path(tempfile.gettempdir(), "deeptrace-benchmark"))
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    rows = [measure(make_clip(args.clips, size, 12), args.rounds) for size in SIZES]
    if args.json:
        print(json.dumps({"rounds": args.rounds, "bar_ms": BAR_MS, "clips": rows}, indent=2))
    else:
        for row in rows:
            print(
                f"{row['clip']}: {row['here_ms']} ms here, {row['isolated_ms']} ms isolated, adds {row['added_ms']} ms"
            )
    return 0 if all(float(str(row["added_ms"])) <= BAR_MS for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
