"""How fast the page of `deeptrace inspect` opens in Chromium: 500 and 10,000 clips, and what it takes to find one.

    python benchmarks/page_speed.py

A clip has a trace tracked over 30 frames and a copy of 5 s; the copies share their bytes, so that making the page takes
minutes less, and the page does not know. Opened: from the request to two painted frames with the first rows in them.
``processor`` is what the page's own thread worked until then: what counts on a machine that is busy.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import sync_playwright

from deeptrace.pages import media, report
from deeptrace.pages.overlay import trace_colors
from deeptrace.pages.report import ReportItem, write_report
from deeptrace.records import Frames, KeyBox, Origin, Trace, Verdict

BAR_SECONDS = 2.0
READY = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done())))"


def verdict(number: int) -> Verdict:
    """One of a thousand kinds of verdict, all with a trace."""
    keys = tuple(KeyBox(k / 8, (0.1 + k / 100, 0.2, 0.3 + k / 100, 0.5)) for k in range(30))
    trace = Trace((0.1, 0.2, 0.3, 0.5), 0.5, 3.5, ("Object Distortion",), "The left hand melts.", keys, 0.9)
    p_fake = (number % 1000) / 1000
    return Verdict(
        "fake" if p_fake >= 0.5 else "real",
        0.3 <= p_fake < 0.7,
        p_fake,
        thresholds=(0.3, 0.7),
        prior=0.5,
        traces=(trace,) if p_fake >= 0.5 else (),
        origin=Origin(f"clip{number}", f"set/clip{number}.mp4", "ab" * 32, "embedded", "r1", frames_decoded=40),
    )


def write_page(folder: Path, count: int) -> Path:
    """A page of ``count`` clips in ``folder``."""
    clip = Frames.from_array(np.full((40, 180, 320, 3), 110, np.uint8), 8)
    page = write_report([ReportItem(clip, replace(verdict(600), origin=Origin(path="clip.mp4")))], folder)
    [written] = (folder / "media").glob("*.json")
    shown = media._media_from_json(media._read_note(written) or {})
    assert shown is not None
    clips = []
    for number in range(1, count + 1):
        outcome = verdict(number)
        clips.append(
            report._Clip(number, f"clip{number}.mp4", outcome, shown, outcome.traces, trace_colors(outcome.traces))
        )
    page.write_text(report._page(clips, "Inspection report", None), encoding="utf-8")
    return page


def measure(browser: Any, page: Path, count: int) -> dict[str, float]:
    """Seconds to open it, to search, to sort and to jump to the last clip; its elements; its size."""
    tab = browser.new_page()
    tab.set_default_timeout(300_000)
    session = tab.context.new_cdp_session(tab)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    times = {}

    def timed(name: str, act: Any) -> None:
        begin = time.perf_counter()
        act()
        tab.evaluate(READY)
        times[name] = time.perf_counter() - begin

    timed("open", lambda: (tab.goto(page.as_uri()), tab.wait_for_selector("#clip-1 .row")))
    elements = tab.evaluate("document.querySelectorAll('*').length")
    metrics = {metric["name"]: metric["value"] for metric in session.send("Performance.getMetrics")["metrics"]}
    timed("search", lambda: tab.locator("#search").fill(f"clip{count}.mp4"))
    assert tab.locator("article").count() == 1
    timed("clear", lambda: tab.locator("#search").fill(""))
    timed("sort", lambda: tab.locator("#sort").select_option("fake"))
    timed(
        "jump", lambda: (tab.evaluate(f"location.hash = '#clip-{count}'"), tab.wait_for_selector(f"#clip-{count}.open"))
    )
    tab.close()
    return {**times, "processor": metrics["TaskDuration"], "elements": elements, "megabytes": page.stat().st_size / 1e6}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--counts", type=int, nargs="+", default=[500, 10_000])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    results = {}
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=args.chromium, args=["--headless", "--no-sandbox", "--disable-gpu"]
        )
        for count in args.counts:
            page = write_page(Path(folder, str(count)), count)
            runs = [measure(browser, page, count) for _ in range(args.runs)]
            results[count] = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
        browser.close()
    if args.json:
        print(json.dumps(results))
    else:
        for count, values in results.items():
            print(f"{count} clips: " + ", ".join(f"{name} {value:.2f}" for name, value in values.items()))
    return 0 if all(values["open"] < BAR_SECONDS for values in results.values()) else 1


if __name__ == "__main__":
    raise SystemExit(main())
