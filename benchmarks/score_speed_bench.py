"""How long scoring takes and how much memory it needs. Run: python benchmarks/score_speed_bench.py

Makes a dataset of 7,000 videos (half of them fake, 1.3 traces each, an eighth of them moving) and the verdicts of as
many models as give 100,000 and 50,000 rows, and scores both with 200 bootstrap replicates (``--replicates``) and
permutation tests against the blind row and among the models. What is measured is `deeptrace bench score --json` in a
process of its own, held to one core where the system can: processor time, time on the clock, and its highest resident
memory, the interpreter included. Text metrics and judge are left out. Exits with 1 where a bar is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from deeptrace.categories import CATEGORIES
from deeptrace.data import write_records
from deeptrace.files import dumps
from deeptrace.records import Annotation, KeyBox, Origin, Record, Trace, Unparsed, Verdict, VideoInfo
from deeptrace.rows import outcome_to_row

BAR_SECONDS = 60.0
BAR_MB = 400.0
BAR_LINEAR = 1.3
"""Seconds for all rows, by twice the seconds for half of them, at most."""

GENERATORS = ("Kling 1.0", "Pika 1.5", "Sora", "Mochi 1", "Gen-3", "MiniMax-Video-01", "Kling 1.5")


def some_trace(rng: np.random.Generator) -> Trace:
    x, y, w, h = rng.uniform(0.0, 0.5), rng.uniform(0.0, 0.5), rng.uniform(0.05, 0.5), rng.uniform(0.05, 0.5)
    box = (x, y, x + w, y + h)
    onset = round(float(rng.uniform(0, 3)), 1)
    moved = (x / 2, y / 2, x / 2 + w, y / 2 + h)
    track = (KeyBox(onset, box), KeyBox(onset + 1, moved)) if rng.random() < 0.125 else None
    return Trace(
        box,
        onset,
        onset + round(float(rng.uniform(0.5, 2.0)), 1),
        (CATEGORIES[int(rng.integers(9))],),
        "the hand has one finger too many" if rng.random() < 0.6 else None,
        track,
    )


def make(folder: Path, videos: int, counts: tuple[int, ...], seed: int = 0) -> None:
    """``records.jsonl`` and one file of verdicts for each count, whole models only but for the last."""
    rng = np.random.default_rng(seed)
    records = []
    for i in range(videos):
        fake = i % 2 == 0
        info = VideoInfo(1280 if fake else 640, 720, fps=24.0, duration_seconds=round(float(rng.uniform(4, 8)), 2))
        rows = [Annotation((some_trace(rng),)) for _ in range(1 + (rng.random() < 0.3))] if fake else [Annotation()]
        records.append(
            Record(
                f"video_{i:05d}",
                label="fake" if fake else "real",
                info=info,
                split="train" if i % 10 < 8 else "test",
                source=GENERATORS[i % 7] if fake else "camera",
                annotations=tuple(rows),
            )
        )
    write_records(folder / "records.jsonl", records)
    for count in counts:
        with open(folder / f"verdicts_{count}.jsonl", "w") as file:
            for k in range(count):
                file.write(dumps(outcome_to_row(said(rng, records[k % videos], k // videos))) + "\n")


def said(rng: np.random.Generator, record: Record, model: int) -> Verdict | Unparsed:
    origin = Origin(record.video_id, f"videos/{record.video_id}.mp4", model=f"model {model}", frames_decoded=12)
    if rng.random() < 0.02:
        return Unparsed("no verdict in it", "a person walks along a street", origin)
    fake = (record.label == "fake") == (rng.random() < 0.6 + 0.02 * model)
    traces = tuple(some_trace(rng) for _ in range(1 + (rng.random() < 0.2))) if fake else ()
    p = round(float(np.clip(rng.normal(0.7 if fake else 0.3, 0.2), 0, 1)), 3)
    return Verdict("fake" if fake else "real", p_fake=p, traces=traces, text="FAKE. " * 20, origin=origin)


def measure(folder: Path, count: int, replicates: int) -> dict[str, float]:
    command = [sys.executable, "-m", "deeptrace", "bench", "score", str(folder / f"verdicts_{count}.jsonl"),
               str(folder), "--split", "all", "--replicates", str(replicates), "--json"]  # fmt: skip
    code = (
        "import json, os, resource, subprocess, sys, time\n"
        "if hasattr(os, 'sched_setaffinity'): os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "start = time.perf_counter()\n"
        "with open(os.devnull, 'w') as out: subprocess.run(sys.argv[1:], check=True, stdout=out)\n"
        "used = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
        "print(json.dumps([time.perf_counter() - start, used.ru_utime + used.ru_stime, used.ru_maxrss]))"
    )
    env = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code, *command], check=True, capture_output=True, text=True, env=env)
    wall, cpu, peak = json.loads(done.stdout)
    return {
        "verdicts": count,
        "wall_s": wall,
        "cpu_s": cpu,
        "mb": peak / (1 << 20 if sys.platform == "darwin" else 1 << 10),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--verdicts", type=int, default=100_000)
    parser.add_argument("--videos", type=int, default=7_000)
    parser.add_argument("--replicates", type=int, default=200)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    counts = (options.verdicts // 2, options.verdicts)
    with tempfile.TemporaryDirectory() as name:
        make(Path(name), options.videos, counts)
        rows = [measure(Path(name), count, options.replicates) for count in counts]
    linear = rows[1]["cpu_s"] / (2 * rows[0]["cpu_s"])
    good = rows[1]["cpu_s"] < BAR_SECONDS and rows[1]["mb"] < BAR_MB and linear < BAR_LINEAR
    if options.json:
        print(json.dumps({"rows": rows, "linear": linear, "good": good}))
    else:
        for row in rows:
            print("  ".join(f"{key} {value:,.1f}" for key, value in row.items()))
        print(f"all / (2 x half): {linear:.2f}   bars: {BAR_SECONDS:.0f} s, {BAR_MB:.0f} MB, {BAR_LINEAR}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
