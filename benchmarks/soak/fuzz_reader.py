"""The long fuzz run of the video reader: mutated and truncated clips go in, counts of how it answered come out.

    python benchmarks/soak/fuzz_reader.py --cases 20000 --truncations 1500 --seed 1

The caller of the reader is a child process, so that its death would be counted and the run go on. A case that fails
(the caller died, hung, got an untyped exception, or was told that a short reading is whole) is kept in a folder. Exits
with 1 if there was one.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import psutil
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.video.fuzz import (  # noqa: E402 - found beside this folder, not installed
    HANG_SECONDS,
    MORE_FASTSTART,
    SEED_CLIPS,
    Case,
    Oracle,
    make_seeds,
    mutation,
    read,
    truncation,
)

PATIENCE_SECONDS = 12 * HANG_SECONDS  # for one line of the caller; beyond the reader's own clock, so it never fires


def make_case(kind: str, seed: int, number: int, seeds: dict[str, bytes]) -> Case:
    if kind == "truncations":
        return truncation(seeds, seed, number)
    return mutation({name: data for name, data in seeds.items() if name in SEED_CLIPS}, seed, number)


def peak_mb() -> float:
    """The highest peak of resident memory among the reader's processes; the oracle's own process is left out."""
    peak = 0.0
    for child in psutil.Process().children(recursive=True):
        with suppress(OSError, psutil.Error):
            if "--oracle" not in child.cmdline():
                found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{child.pid}/status").read_text())
                peak = max(peak, int(found[1]) / 1024 if found else 0.0)
    return peak


def run_caller(kind: str, seed: int, start: int, stop: int) -> None:
    """The child: one JSON line per case. Bytes and files, every frame (streamed) and 2 fps take turns."""
    seeds = make_seeds(SEED_CLIPS | MORE_FASTSTART)
    with Oracle() as oracle, tempfile.TemporaryDirectory() as folder:
        for number in range(start, stop):
            outcome = read(
                make_case(kind, seed, number, seeds),
                oracle,
                folder=Path(folder) if number % 2 else None,
                fps=2.0 if number // 2 % 4 == 0 else None,
            )
            memory = peak_mb() if number % 50 == 0 or outcome.seconds > 0.5 else 0.0
            print(json.dumps(asdict(outcome) | {"number": number, "hung": outcome.hung, "mb": memory}), flush=True)


def outcomes(kind: str, seed: int, stop: int) -> Iterator[dict[str, object]]:
    """Every case's outcome, in order. A child that dies or is silent costs the case it was at, and is replaced."""
    number = 0
    while number < stop:
        command = [sys.executable, __file__, "--caller", kind, str(seed), str(number), str(stop)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            for line in child.stdout:
                row = json.loads(line)
                number = row["number"] + 1
                yield row
            code = child.wait(PATIENCE_SECONDS)
        if number < stop:
            yield {"number": number, "verdict": "died", "detail": f"exit code {code}", "seconds": 0.0}
            number += 1


def is_bad(row: dict[str, object]) -> bool:
    return bool(row["verdict"] in ("died", "untyped") or row.get("hung") or row.get("silent_short"))


def soak(kind: str, seed: int, cases: int, keep: Path, progress: Progress) -> dict[str, object]:
    verdicts: Counter[str] = Counter()
    bad: Counter[str] = Counter()
    peak, slowest, start, seeds = 0.0, 0.0, time.monotonic(), make_seeds(SEED_CLIPS | MORE_FASTSTART)
    task = progress.add_task(kind, total=cases)
    for row in outcomes(kind, seed, cases):
        verdict = str(row["verdict"])
        verdicts[verdict] += 1
        bad.update(name for name in ("hung", "silent_short") if row.get(name))
        peak, slowest = max(peak, float(str(row.get("mb", 0)))), max(slowest, float(str(row["seconds"])))
        if is_bad(row):
            case = make_case(kind, seed, int(str(row["number"])), seeds)
            keep.mkdir(parents=True, exist_ok=True)
            (keep / f"{kind}-{seed}-{case.name}").write_bytes(case.data)
            with (keep / "failures.jsonl").open("a") as file:
                file.write(json.dumps(row | {"kind": kind, "seed": seed}) + "\n")
        progress.advance(task)
    errors = {name: count for name, count in sorted(verdicts.items()) if name.isupper()}
    return {
        "cases": sum(verdicts.values()),
        "seed": seed,
        "ok": verdicts["ok"],
        "partial": verdicts["partial"],
        "errors": errors,
        "died": verdicts["died"],
        "hung": bad["hung"],
        "untyped": verdicts["untyped"],
        "silent_short": bad["silent_short"],
        "crashed_workers": verdicts["DECODER_CRASHED"],
        "max_rss_mb": round(peak),
        "slowest_seconds": round(slowest, 2),
        "seconds": round(time.monotonic() - start, 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=20_000, help="mutated clips")
    parser.add_argument("--truncations", type=int, default=1_500, help="cut clips")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, default=Path("out/fuzz"), help="folder for cases that failed")
    args = parser.parse_args()
    bar = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*bar) as progress:
        summary = {
            kind: soak(kind, args.seed, cases, args.keep, progress)
            for kind, cases in (("mutations", args.cases), ("truncations", args.truncations))
            if cases
        }
    print(json.dumps(summary, indent=2))
    failures = sum(
        int(str(part[name])) for part in summary.values() for name in ("died", "hung", "untyped", "silent_short")
    )
    return 1 if failures else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--caller"]:
        run_caller(sys.argv[2], *map(int, sys.argv[3:6]))
    else:
        sys.exit(main())
