#!/usr/bin/env python3
"""How long the explorer takes to open 7,000 videos and to show a page of them, also in a real browser.

    python benchmarks/explorer_speed.py [FOLDER]

FOLDER gets the example dataset where it holds none; its records are repeated to 7,000, so its files are shown many
times. Three things are measured: the index alone (processor time of this process); `deeptrace explore` in a process of
its own, asked for pages over loopback (from the request to the last byte, and the server's processor time, which other
work on the machine does not lengthen); and the same in Chromium (`CHROMIUM` names another one), by its own clock: the
first byte, the whole text, the first paint, and the load event with the pictures in sight. Posters are made on first
sight: the first visit makes them, the others find them.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import psutil

from deeptrace.data import load_records, write_records
from deeptrace.data.example import make_example
from deeptrace.data.read.load import Records
from deeptrace.explorer.index import DatasetIndex, ViewQuery

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.browser import chromium

VIDEOS = 7_000
VISITS = 5
BAR_MS = 300.0
"""The longest processor time of the server for a page that was not asked for before; missed: exit code 1."""
VIEWS: tuple[dict[str, str], ...] = (
    {},
    {"sort": "disagreement"},
    {"q": "ball"},
    {"category": "Object Merging"},
    {"page": "100"},
)
TIMES = """() => {
    const [page] = performance.getEntriesByType("navigation");
    const paint = performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? NaN;
    return [page.responseStart - page.requestStart, page.responseEnd - page.requestStart, paint, page.loadEventEnd];
}"""


def main() -> int:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(temporary) / "example"
        if not (folder / "all_data.json").is_file():
            make_example(folder)
        records = load_records(folder)
        rounds = -(-VIDEOS // len(records))
        many = [replace(r, video_id=f"{r.video_id}-{k}") for k in range(rounds) for r in records][:VIDEOS]
        measure_index(Records(many, root=records.root))
        data = Path(temporary) / "many.jsonl"
        write_records(data, many)
        line = [str(data), "--root", str(folder), "--work", str(Path(temporary) / "work")]
        with serving(line) as (address, server):
            longest_ms = measure_server(address, server)
            measure_browser(address, Path(temporary))
    print(f"longest processor time of a page: {longest_ms:.0f} ms, bar {BAR_MS:.0f} ms")
    return int(longest_ms > BAR_MS)


def measure_index(records: Records) -> None:
    began = time.process_time()
    index = DatasetIndex(records)
    print(f"index: opened {len(index.entries):,} videos: {time.process_time() - began:.2f} s of processor time")
    for view in VIEWS:
        began = time.process_time()
        result = index.view(ViewQuery.from_pairs(view.items(), index.names))
        print(f"index: {view}: {result.total:,} videos, {time.process_time() - began:.2f} s of processor time")


@contextlib.contextmanager
def serving(arguments: list[str]) -> Iterator[tuple[str, psutil.Process]]:
    command = [sys.executable, "-m", "deeptrace", "explore", *arguments, "--port", "0", "--no-open"]
    began = time.perf_counter()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"}
    ) as server:
        assert server.stdout is not None
        try:
            address = server.stdout.readline().split()[1].rstrip("/")
            print(f"server: ready after {time.perf_counter() - began:.1f} s")
            yield address, psutil.Process(server.pid)
        finally:
            server.terminate()


def measure_server(address: str, server: psutil.Process) -> float:
    longest = 0.0
    for view in VIEWS:
        seconds, processor = [], []
        for _ in range(VISITS):
            used = server.cpu_times()
            connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=60)
            began = time.perf_counter()
            connection.request("GET", f"/?{urlencode(view)}")
            answer = connection.getresponse()
            size = len(answer.read())
            seconds.append(time.perf_counter() - began)
            now = server.cpu_times()
            processor.append(now.user + now.system - used.user - used.system)
            assert answer.status == 200
            connection.close()
        longest = max(longest, *processor)
        print(
            f"server: {view}: {size:,} bytes, first {1000 * seconds[0]:.0f} ms, median of {VISITS}"
            f" {1000 * statistics.median(seconds):.0f} ms, longest {1000 * max(seconds):.0f} ms;"
            f" processor time {1000 * processor[0]:.0f} ms, then {1000 * statistics.mean(processor[1:]):.0f} ms"
        )
    return 1000 * longest


def measure_browser(address: str, folder: Path) -> None:
    with chromium(folder) as browser:
        visits = []
        for _ in range(1 + VISITS):
            context = browser.new_context(viewport={"width": 1366, "height": 768})  # nothing kept from the visit before
            page = context.new_page()
            page.goto(address)
            page.wait_for_load_state("load")
            page.wait_for_function("() => performance.getEntriesByType('navigation')[0].loadEventEnd > 0")
            visits.append(page.evaluate(TIMES))
            context.close()
    names = ("first byte", "whole text", "first paint", "load event")
    print("browser: first visit, posters made: " + words(names, visits[0]))
    medians = [statistics.median(column) for column in zip(*visits[1:], strict=True)]
    print(f"browser: median of {VISITS} visits with an empty cache: " + words(names, medians))
    print("browser: longest of these: " + words(names, [max(column) for column in zip(*visits[1:], strict=True)]))


def words(names: tuple[str, ...], milliseconds: list[float]) -> str:
    return ", ".join(f"{name} {value:.0f} ms" for name, value in zip(names, milliseconds, strict=True))


if __name__ == "__main__":
    sys.exit(main())
