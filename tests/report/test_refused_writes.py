"""The folder of ``inspect --out`` while the system refuses: each write, open, fsync, rename and mkdir fails in turn."""

from __future__ import annotations

from pathlib import Path

from deeptrace.cli.inspect.processes import Task
from deeptrace.cli.inspect.run import Inspection
from deeptrace.files import make_folder, read_jsonl
from deeptrace.models.scripted import ScriptedModel
from tests.clips import make_clip
from tests.failing_os import EVERY_CALL, attack

MOST = 10_000 if EVERY_CALL else 2
ANSWER = "FAKE\nAn arm bends.\n[10, 10, 40, 40]\n0.2 to 0.8"


def test_a_report_that_the_system_refuses_keeps_its_rows(tmp_path: Path) -> None:
    """What came stays, and the same run goes on to the page of all."""
    paths = [str(tmp_path / name) for name in ("a.mp4", "b.mp4")]
    for path in paths:
        make_clip(path, num_frames=12, fps=12)

    def flow(folder: Path) -> None:
        model = ScriptedModel([ANSWER, ANSWER])
        out = make_folder(folder / "report")
        Inspection(model, Task("scripted", {}, {}), paths, {"model": "scripted"}, folder=out).go(lambda outcome: None)

    def done(folder: Path) -> None:
        rows = [row for _, row in read_jsonl(folder / "report" / "verdicts.jsonl")]
        assert [(row["path"], row["status"]) for row in rows] == [(path, "verdict") for path in paths]
        assert (folder / "report" / "index.html").stat().st_size > 1000
        assert not list(folder.rglob("*.tmp"))

    attack(tmp_path / "w", flow, done=done, most=MOST)
