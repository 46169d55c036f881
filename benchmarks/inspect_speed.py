"""What one `deeptrace inspect --model motion` costs on 5 s of 1080p30: processor time, time, memory of all processes.

    python benchmarks/inspect_speed.py --runs 5

The command and everything it starts are held to one core. Memory is the sum over the process tree, taken every 20 ms.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
from clips import make_clip
from measuring import median, tree_mb

CLIP_SECONDS = 5.0  # the bar: faster than real time
BAR_MB = 500  # of the whole process tree
SAMPLE_SECONDS = 0.02


def run(command: list[str], core: int) -> dict[str, float]:
    """CPU and wall seconds and the highest sum of resident memory of one run held to a core."""
    if shutil.which("taskset"):
        command = ["taskset", "--cpu-list", str(core), *command]
    before, start, peak = os.times(), time.perf_counter(), 0.0
    with tempfile.TemporaryDirectory() as folder, Path(folder, "output").open("w+b") as output:
        with subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=folder) as child:
            tree = psutil.Process(child.pid)
            while child.poll() is None:
                peak = max(peak, tree_mb(tree))
                time.sleep(SAMPLE_SECONDS)
        wall, after = time.perf_counter() - start, os.times()
        if child.returncode != 0:
            output.seek(0)
            raise SystemExit(f"inspect ended with {child.returncode}: {output.read().decode(errors='replace')[-2000:]}")
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return {"cpu_seconds": cpu, "wall_seconds": wall, "peak_mb": peak}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--core", type=int, default=0)
    parser.add_argument("--clips", type=Path, default=Path(tempfile.gettempdir(), "deeptrace-benchmark"))
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    clip = make_clip(args.clips, "1080p30", 250)
    inspect = [
        sys.executable,
        "-c",
        "from deeptrace.cli import main; main()",
        "inspect",
        "--model",
        "motion",
        str(clip),
    ]
    runs = [run(inspect, args.core) for _ in range(args.runs + 1)][1:]  # the first one fills the file cache
    result = {name: median([found[name] for found in runs]) for name in runs[0]}
    if args.json:
        print(json.dumps(result | {"runs": args.runs}, indent=2))
    else:
        print(f"inspect --model motion, 1080p30, 5 s, one core, median of {args.runs} runs:")
        print("  ".join(f"{name} {value:.2f}" for name, value in result.items()))
        print(f"bars: under {CLIP_SECONDS:g} s on the clock, under {BAR_MB} MB")
    return int(result["wall_seconds"] >= CLIP_SECONDS or result["peak_mb"] >= BAR_MB)


if __name__ == "__main__":
    sys.exit(main())
