"""The command line as a user meets it: a real process, its output and its exit code."""

from __future__ import annotations

import importlib.metadata
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from deeptrace.cli import cli
from deeptrace.records import Frames, Verdict
from deeptrace.rows import outcome_from_row
from deeptrace.video import write_video

FAKE = (
    "FAKE. The video is AI-generated. The unnatural part is at [16, 12, 32, 24] starting 0.5 seconds. "
    "The reason is because "
)


def deeptrace(*arguments: str | Path, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "deeptrace", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "COLUMNS": "140", **env},
        timeout=120,
    )


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two clips, a broken one, and something that is no video."""
    folder = tmp_path_factory.mktemp("clips")
    write_video(folder / "a.mp4", Frames.from_array(np.zeros((8, 48, 64, 3), np.uint8), 8))
    (folder / "deep").mkdir()
    (folder / "deep" / "b.MOV").write_bytes((folder / "a.mp4").read_bytes())
    (folder / "broken.mp4").write_bytes(b"<html>not found</html>")
    (folder / "notes.txt").write_text("notes")
    return folder


def test_a_good_clip(clips: Path) -> None:
    run = deeptrace("inspect", clips / "a.mp4", "--model", "motion")
    assert run.returncode == 0, run.stderr
    assert "REAL" in run.stdout
    assert "1 video: 0 fake, 1 real" in run.stdout
    assert "a baseline" in run.stdout
    assert run.stderr == ""


def test_a_folder_with_a_bad_clip_in_it(clips: Path) -> None:
    run = deeptrace("inspect", clips, "--json")
    assert run.returncode == 1
    rows = [json.loads(line) for line in run.stdout.splitlines()]
    assert [Path(row["path"]).name for row in rows] == ["a.mp4", "broken.mp4", "b.MOV"]
    assert [row["status"] for row in rows] == ["verdict", "failed", "verdict"]
    assert rows[1]["code"] == "NOT_A_VIDEO"
    assert isinstance(outcome_from_row(rows[0]), Verdict)
    assert str(clips) not in rows[1]["reason"]


def test_out_writes_page_and_rows(clips: Path, tmp_path: Path) -> None:
    run = deeptrace("inspect", clips, "--out", tmp_path / "report")
    assert run.returncode == 1
    assert f"report: {tmp_path / 'report' / 'index.html'}" in run.stdout
    assert "NOT_A_VIDEO" in (tmp_path / "report" / "index.html").read_text()
    assert len((tmp_path / "report" / "verdicts.jsonl").read_text().splitlines()) == 3


def test_scripted_answers_with_markup_and_escapes_stay_text(clips: Path, tmp_path: Path) -> None:
    evil = "[bold]a\x1b[31m<script>alert(1)</script>\u202e"
    script = tmp_path / "answers.jsonl"
    script.write_text(json.dumps({"video_id": "a", "text": FAKE + evil}) + "\n")
    run = deeptrace("inspect", clips / "a.mp4", "--model", f"scripted:{script}")
    assert run.returncode == 0, run.stderr
    assert "[bold]" in run.stdout
    assert "\x1b[31m" not in run.stdout
    assert "\u202e" not in run.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["inspect"], "Missing argument"),
        (["inspect", "x.mp4", "--model", "motoin"], "Did you mean 'motion'?"),
        (["inspect", "x.mp4", "--frames", "3"], "No such option"),
        (["inspekt"], "No such command"),
        (["inspect", "EMPTY"], "no videos in"),
    ],
)
def test_wrong_usage_is_exit_2_and_says_so(arguments: list[str], words: str, tmp_path: Path) -> None:
    run = deeptrace(*(str(tmp_path) if a == "EMPTY" else a for a in arguments))
    assert run.returncode == 2
    assert words in run.stderr
    assert "Traceback" not in run.stderr


def test_a_video_that_is_not_there(tmp_path: Path) -> None:
    run = deeptrace("inspect", tmp_path / "absent.mp4")
    assert run.returncode == 1
    assert "NOT_FOUND" in run.stdout


@pytest.mark.parametrize("arguments", [["inspect", "CLIP", "--json"], ["inspect", "CLIP"], ["models"], ["doctor"]])
def test_a_reader_that_goes_away(clips: Path, arguments: list[str]) -> None:
    words = [str(clips / "a.mp4") if word == "CLIP" else word for word in arguments]
    with subprocess.Popen(
        [sys.executable, "-m", "deeptrace", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.wait(60) == 141
        assert process.stderr.read() == b""


@pytest.mark.skipif(os.name == "nt", reason="signals are of another kind")
def test_ctrl_c_ends_at_once_with_130(clips: Path, tmp_path: Path) -> None:
    for number in range(300):
        (tmp_path / f"{number}.mp4").write_bytes((clips / "a.mp4").read_bytes())
    with subprocess.Popen(
        [sys.executable, "-m", "deeptrace", "inspect", str(tmp_path), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        begin = time.monotonic()
        assert process.wait(30) == 130
        assert time.monotonic() - begin < 10
        assert process.stderr.read() == b"interrupted\n"


def test_plain_surroundings(clips: Path) -> None:
    """No terminal, no locale, no home."""
    env = {key: value for key, value in os.environ.items() if key in ("PATH", "SYSTEMROOT")}
    run = subprocess.run(
        [sys.executable, "-m", "deeptrace", "inspect", str(clips / "a.mp4")],
        capture_output=True,
        env={**env, "LANG": "C", "LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        timeout=60,
    )
    assert run.returncode == 0, run.stderr


def test_a_report_is_not_inspected_again(clips: Path, tmp_path: Path) -> None:
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / "a.mp4").write_bytes((clips / "a.mp4").read_bytes())
    for _ in range(2):
        run = deeptrace("inspect", tmp_path / "v", "--out", tmp_path / "v" / "report")
        assert "1 video: " in run.stdout
    assert list((tmp_path / "v" / "report" / "media").glob("*.mp4"))


def test_an_out_that_cannot_be_is_said_before_any_work(clips: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    run = deeptrace("inspect", clips / "a.mp4", "--out", tmp_path / "file" / "report", "--json")
    assert run.returncode == 1
    assert run.stdout == ""
    assert run.stderr.startswith("error: cannot make the folder 'report'")


def test_a_terminal_that_cannot_show_a_name(clips: Path, tmp_path: Path) -> None:
    (tmp_path / "日本.mp4").write_bytes((clips / "a.mp4").read_bytes())
    run = deeptrace("inspect", tmp_path / "日本.mp4", PYTHONIOENCODING="cp1252", PYTHONUTF8="0")
    assert run.returncode == 0, run.stderr
    assert "\\u65e5" in run.stdout


def test_the_page_shows_the_command_as_it_was_typed(clips: Path, tmp_path: Path) -> None:
    deeptrace("inspect", clips / "a.mp4", "--out", tmp_path / "r")
    assert f"deeptrace inspect {clips / 'a.mp4'} --out {tmp_path / 'r'}" in (tmp_path / "r" / "index.html").read_text()


def test_models_and_doctor() -> None:
    listed = deeptrace("models", "--json")
    assert {row["model"] for row in json.loads(listed.stdout)} >= {"motion", "scripted"}
    run = deeptrace("doctor", "--json")
    assert run.returncode == 0, run.stdout
    findings = json.loads(run.stdout)
    assert findings["trial"] == "ok"
    assert findings["packages"]["av"]
    assert "limits" in findings
    assert "write and read a clip" in deeptrace("doctor").stdout


def test_doctor_in_a_source_tree_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def requires(name: str) -> list[str]:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", requires)
    run = CliRunner().invoke(cli, ["doctor", "--json"])
    findings = json.loads(run.stdout)
    assert "not installed" in findings["extras"]["unknown"]
    assert findings["trial"] == "ok"


def test_demo_makes_its_clips_and_finds_its_trace(tmp_path: Path) -> None:
    run = deeptrace("demo", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert "report: deeptrace-demo/index.html" in run.stdout
    rows = [json.loads(line) for line in (tmp_path / "deeptrace-demo" / "verdicts.jsonl").read_text().splitlines()]
    assert [row["label"] for row in rows] == ["fake", "real"]
    [truth] = json.loads((tmp_path / "deeptrace-demo" / "truth.json").read_text())["fake.mp4"]
    assert abs(rows[0]["traces"][0]["onset_seconds"] - truth["onset_seconds"]) < 0.2
    assert rows[0]["traces"][0]["categories"] == ["Object Disappearance"]
    assert rows[1]["traces"] == []
