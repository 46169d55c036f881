"""How long loading takes and how much memory it needs. Run: python benchmarks/load_speed.py

Makes an ``all_data.json`` with the release's 7,652 rows and loads it, then writes and streams a ``records.jsonl`` of
1,000,000 rows (``--rows``). Each part runs in a process of its own; "rss" is that process's highest resident memory,
the interpreter and its imports included.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def rss_mib() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def since(begin: tuple[float, float]) -> dict[str, float]:
    """Seconds on the clock and seconds of processor time; on a busy machine only the second one says anything."""
    end = now()
    return {"seconds": end[0] - begin[0], "cpu_seconds": end[1] - begin[1]}


def load(path: Path) -> dict[str, float]:
    from deeptrace.data import load_records

    begin = now()
    records = load_records(path)
    return {"videos": len(records), "problems": len(records.problems), **since(begin), "rss_mib": rss_mib()}


def stream(path: Path) -> dict[str, float]:
    from deeptrace.data import iter_records

    begin = now()
    traces = rows = 0
    for record in iter_records(path):
        rows += 1
        traces += len(record.traces)
    return {"rows": rows, "traces": traces, **since(begin), "rss_mib": rss_mib()}


def make_release(path: Path) -> dict[str, float]:
    sys.path.insert(0, str(ROOT))
    from tests.data.release import make_release as make

    make(path.parent)
    return {"mb": path.stat().st_size / 1e6}


def make_jsonl(path: Path, rows: int) -> dict[str, float]:
    from dataclasses import replace

    from deeptrace.data import load_records, write_records

    known = load_records(path.with_name("all_data.json"))
    begin = now()
    write_records(path, (replace(known[i % len(known)], video_id=f"video_{i:07d}") for i in range(rows)))
    return {"mb": path.stat().st_size / 1e6, **since(begin), "rss_mib": rss_mib()}


PARTS = {"make_release": make_release, "load": load, "make_jsonl": make_jsonl, "stream": stream}


def in_own_process(part: str, *arguments: str) -> dict[str, float]:
    command = [sys.executable, __file__, "--part", part, *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("arguments", nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        path, *more = options.arguments
        print(json.dumps(PARTS[options.part](Path(path), *map(int, more))))
        return
    with tempfile.TemporaryDirectory() as folder:
        release, lines = Path(folder) / "all_data.json", Path(folder) / "records.jsonl"
        for part, arguments in (
            ("make_release", [str(release)]),
            ("load", [str(release)]),
            ("make_jsonl", [str(lines), str(options.rows)]),
            ("stream", [str(lines)]),
        ):
            numbers = in_own_process(part, *arguments)
            print(f"{part:14}", "  ".join(f"{name} {value:,.2f}" for name, value in numbers.items()), flush=True)


if __name__ == "__main__":
    main()
