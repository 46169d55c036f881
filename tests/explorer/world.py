"""A small dataset with verdicts, the explorer serving it in a process of its own, and people who work in browsers."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deeptrace.data import write_records
from deeptrace.files import write_jsonl
from deeptrace.records import Annotation, Origin, Record, Trace, Unparsed, Verdict, VideoInfo
from deeptrace.rows import outcome_to_row
from tests.clips import make_clip

FPS = 10
FRAMES = 20
HW = (90, 160)
INFO = VideoInfo(HW[1], HW[0], float(FPS), FRAMES, FRAMES / FPS)
BOX = (0.25, 0.25, 0.5, 0.75)
SEEN = Trace(BOX, 0.5, 1.5, ("Object Distortion",), "The left arm bends like rubber.")
SEEN_LATER = Trace((0.25, 0.25, 0.5, 0.65), 0.7, 1.5, ("Object Distortion",), "An arm bends.")


def make_dataset(folder: Path) -> Path:
    """Six videos: three fakes, two reals and one whose file is missing; two models' verdicts beside them."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(5):
        make_clip(folder / f"clip{number}.mp4", num_frames=FRAMES, hw=HW, fps=FPS)
    people = (Annotation((SEEN,), "fake", "pat"), Annotation((SEEN_LATER,), "fake", "kim"))
    records = [
        Record("fake-0", "clip0.mp4", "fake", INFO, "gen-a", "train", "an arm waves", people),
        Record("fake-1", "clip1.mp4", "fake", INFO, "gen-b", "test", None, (Annotation((SEEN,), "fake", "pat"),)),
        Record("fake-2", "clip2.mp4", "fake", INFO, "gen-b", "test", None, (Annotation((SEEN,), "fake", "pat"),)),
        Record("real-3", "clip3.mp4", "real", INFO, "camera", "test", None, (Annotation((), "real", "pat"),)),
        Record("real-4", "clip4.mp4", "real", INFO, "camera", "train"),
        Record("lost-5", "clip5.mp4", "fake", INFO, "gen-a", "train", None, (Annotation((SEEN,), "fake", "pat"),)),
    ]
    write_records(folder / "records.jsonl", records)
    write_jsonl(folder / "one.jsonl", [outcome_to_row(outcome) for outcome in _outcomes("model-one")])
    write_jsonl(folder / "two.jsonl", [outcome_to_row(outcome) for outcome in _outcomes("model-two")[:2]])
    return folder


def _outcomes(model: str) -> list[Any]:
    def origin(video_id: str, path: str) -> Origin:
        return Origin(video_id=video_id, path=path, model=model)

    half = Trace((0.25, 0.25, 0.5, 0.5), 0.6, 1.5, ("Object Distortion",), "Something bends.")
    return [
        Verdict("fake", False, 0.9, traces=(half,), origin=origin("fake-0", "clip0.mp4")),
        Verdict("real", False, 0.1, origin=origin("fake-1", "clip1.mp4")),
        Unparsed("no label", "Who knows?", origin("fake-2", "clip2.mp4")),
        Verdict("fake", False, 0.7, traces=(half,), origin=origin("real-3", "clip3.mp4")),
        Verdict("real", False, 0.2, origin=origin("nowhere", "elsewhere/real-4/clip4.mp4")),
        Verdict("real", False, 0.2, origin=origin("unheard-of", "other.mp4")),
    ]


@dataclass
class RunningExplorer:
    """``address`` is ``http://127.0.0.1:PORT``."""

    address: str
    process: subprocess.Popen[str]

    @property
    def port(self) -> int:
        return int(self.address.rsplit(":", 1)[1])

    def kill(self) -> None:
        """As the power goes: no signal that it could answer to."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(30)


@contextlib.contextmanager
def serving(
    *arguments: str | Path, port: int = 0, command: Sequence[str] = ("explore",), folder: Path | None = None
) -> Iterator[RunningExplorer]:
    """The command as somebody types it, in a folder, until the block ends."""
    line = [sys.executable, "-m", "deeptrace", *command, *map(str, arguments), "--port", str(port), "--no-open"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(line, stdout=subprocess.PIPE, text=True, env=environment, cwd=folder)
    try:
        assert process.stdout is not None
        words = process.stdout.readline()
        assert "http://" in words, "the server did not start"
        yield RunningExplorer(words.split()[1].split("/?")[0].rstrip("/"), process)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        assert process.stdout is not None
        process.stdout.close()


@contextlib.contextmanager
def person(browser: Any, address: str, name: str | None = None, **options: Any) -> Iterator[Any]:
    """Somebody at work: afterwards no page had an error, a script of a stranger, or a breach of its policy.

    ``page.allowed`` holds parts of console messages that a test expects.
    """
    context = browser.new_context(**{"viewport": {"width": 1366, "height": 768}, **options})
    page = context.new_page()
    page.allowed = []
    messages: list[str] = []
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.on("dialog", lambda dialog: messages.append("a dialog"))
    page.on("request", lambda request: foreign(request.url))

    def foreign(url: str) -> None:
        if not url.startswith((address, "data:", "blob:")):
            messages.append(f"a request to {url}")

    page.add_init_script(
        "addEventListener('securitypolicyviolation', (e) => console.error('breach', e.violatedDirective, e.sourceFile))"
    )
    if name is not None:
        page.goto(f"{address}/name")
        page.fill("[name=name]", name)
        page.click("text=Begin")
        page.wait_for_url("**/annotate")
    yield page
    assert page.evaluate("window.__xss") is None
    context.close()
    assert [m for m in messages if not any(part in m for part in page.allowed)] == []


def drag(page: Any, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Press, move, let go; places are fractions of the picture."""
    page.locator(".ink").scroll_into_view_if_needed()
    area = page.locator(".ink").bounding_box()

    def at(place: tuple[float, float]) -> tuple[float, float]:
        return area["x"] + place[0] * area["width"], area["y"] + place[1] * area["height"]

    page.mouse.move(*at(start))
    page.mouse.down()
    page.mouse.move(*at(((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)))
    page.mouse.move(*at(end))
    page.mouse.up()


def boxes_on_screen(page: Any) -> list[list[float]]:
    """The boxes that are shown now, in fractions of the picture."""
    return page.evaluate(
        """() => {
            const area = document.querySelector(".boxes").getBoundingClientRect();
            return [...document.querySelectorAll(".boxes .box")].filter((box) => !box.hidden).map((box) => {
                const b = box.getBoundingClientRect();
                return [(b.left - area.left) / area.width, (b.top - area.top) / area.height,
                        (b.right - area.left) / area.width, (b.bottom - area.top) / area.height];
            });
        }"""
    )


def run_cli(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own."""
    line = [sys.executable, "-m", "deeptrace", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, timeout=120, env={**os.environ, "OMP_NUM_THREADS": "1"})
