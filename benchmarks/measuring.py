"""What the benchmarks share: processor time of processes, peaks of memory, medians."""

from __future__ import annotations

import re
import resource
import statistics
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True)
class Cost:
    """Processor seconds (user and system, all threads and processes) and seconds on the clock."""

    cpu: float
    wall: float


def workers() -> list[psutil.Process]:
    """The reader's processes: our children."""
    return psutil.Process().children(recursive=True)


def cpu_seconds(process: psutil.Process) -> float:
    """Processor time of a process so far: to the nanosecond where Linux tells, else to its 10 ms ticks."""
    try:
        tasks = Path(f"/proc/{process.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9
    except OSError:
        times = process.cpu_times()
        return float(times.user + times.system)


def peak_mb(process: psutil.Process) -> float:
    """The highest resident memory that a process ever had, in MB of 2^20 bytes, as Linux counts it."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


def tree_mb(root: psutil.Process) -> float:
    """Resident memory of a process and all below it, now; pages that they share count for each."""
    total = 0.0
    for process in (root, *root.children(recursive=True)):
        with suppress(psutil.Error):
            total += process.memory_info().rss / 2**20
    return total


def program_cost(command: Sequence[str]) -> Cost:
    """What a program costs from start to end."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return Cost(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall)


def median(values: Sequence[float]) -> float:
    return round(statistics.median(values), 4)
