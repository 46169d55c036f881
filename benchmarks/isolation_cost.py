"""What isolation adds to the reading of one clip: the same decoding in this process and in a warm worker.

    python benchmarks/isolation_cost.py --rounds 40

Both read the same file with the same code (open, list, decode, resize, hash); the second through a socket from another
process. Rounds take turns, so that a busy machine hurts both. Medians of processor time (of caller and worker) and of
time on the clock; on a busy machine the clock also counts waiting for a free core, once more for the second process.
The bar is 10 ms of processor time a clip.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from clips import SIZES, make_clip
from measuring import cpu_seconds, median, workers

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
    request = {"op": "frames", "window": sampling, "short_side": SHORT_SIDE, "chunk": None}
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
    walls: dict[str, list[float]] = {"here": [], "isolated": []}
    cpus: dict[str, list[float]] = {"here": [], "isolated": []}
    for round_number in range(rounds + 2):
        for name, read in (("here", read_here), ("isolated", read_isolated)):
            before, theirs = workers(), sum(map(cpu_seconds, workers()))
            start, own = time.perf_counter(), time.process_time()
            assert read(path) == 10
            wall, own = time.perf_counter() - start, time.process_time() - own
            if round_number >= 2 and workers() == before:  # the first two warm up; a worker ends after 200 files
                walls[name].append(wall)
                cpus[name].append(own + sum(map(cpu_seconds, before)) - theirs)
    row: dict[str, object] = {"clip": path.stem}
    for unit, seconds in (("cpu", cpus), ("wall", walls)):
        here, isolated = (median(seconds[name]) * 1000 for name in ("here", "isolated"))
        row |= {f"{unit}_here_ms": round(here, 1), f"{unit}_isolated_ms": round(isolated, 1)}
        row[f"{unit}_added_ms"] = round(isolated - here, 1)
    return row


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
            for unit in ("cpu", "wall"):
                here, isolated, added = (row[f"{unit}_{name}_ms"] for name in ("here", "isolated", "added"))
                print(f"{row['clip']} {unit:<4}: {here} ms here, {isolated} ms isolated, adds {added} ms")
    return 0 if all(float(str(row["cpu_added_ms"])) <= BAR_MS for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
