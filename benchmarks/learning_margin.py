"""How much room the tests that train have: with other seeds, on one thread and on two. A table; exit 1 if one fails.

What a tiny model learns must not hang on the seed, the number of threads or the processor. Each row is one run of
pytest in a clean environment, so that nothing is set that a newcomer has not set. Runs that are done stand in
``--keep`` and are not done again.

    python benchmarks/learning_margin.py --seeds 10 --threads 1 2 --keep margins.jsonl
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

TESTS = ("tests/train/test_learning.py", "tests/train/test_reward_rises.py")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10, help="how many, from --first on")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--keep", type=Path, default=Path("margins.jsonl"))
    parser.add_argument("tests", nargs="*", default=list(TESTS))
    options = parser.parse_args()
    lines = options.keep.read_text().splitlines() if options.keep.exists() else []
    rows = {(row["seed"], row["threads"]): row for row in map(json.loads, lines)}
    failures = 0
    print("| seed | threads | result | processor seconds | measured (bar) |\n|---|---|---|---|---|", flush=True)
    for seed in range(options.first, options.first + options.seeds):
        for threads in options.threads:
            if (seed, threads) not in rows:
                rows[seed, threads] = run(options.tests, seed, threads)
                with options.keep.open("a") as file:
                    file.write(json.dumps(rows[seed, threads]) + "\n")
            row = rows[seed, threads]
            failures += row["code"] != 0
            measured = "; ".join(f"{name} {value}" for name, value in row["measured"].items())
            print(f"| {seed} | {threads} | {row['result']} | {row['seconds']:.0f} | {measured} |", flush=True)
    print(f"\n{failures} runs failed")
    return 1 if failures else 0


def run(tests: list[str], seed: int, threads: int) -> dict[str, Any]:
    """pytest's last line, the processor time of all its processes, its exit code, and what the tests measured."""
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "OMP_NUM_THREADS": str(threads)}
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        words = [
            "-n",
            "0",
            "-q",
            "-m",
            "",  # what is marked slow too
            "--train-seed",
            str(seed),
            "--timeout",
            "3600",
            "--junitxml",
            str(report),
            "-o",
            "junit_family=xunit1",
        ]
        began = os.times()
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *tests, *words],
            cwd=Path(__file__).parent.parent,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        ended = os.times()
        measured = properties(report)
    used = ended.children_user + ended.children_system - began.children_user - began.children_system
    if done.returncode:
        name = f"learning-{seed}-{threads}-{time.strftime('%H%M%S')}.log"
        Path(name).write_text(done.stdout + done.stderr)
    lines = done.stdout.strip().splitlines() or [f"ended by {done.returncode} without a word"]
    result = {"result": lines[-1].strip("= "), "seconds": used, "code": done.returncode, "measured": measured}
    return {"seed": seed, "threads": threads} | result


def properties(report: Path) -> dict[str, str]:
    """What the tests said with ``record_property``; pytest wrote the file."""
    if not report.exists():
        return {}
    return {item.attrib["name"]: item.attrib["value"] for item in ET.parse(report).iter("property")}


if __name__ == "__main__":
    sys.exit(main())
