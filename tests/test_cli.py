"""The command line as a user meets it: a real process, its output and its exit code."""

from __future__ import annotations

import csv
import importlib.metadata
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from typing_extensions import override

from deeptrace.cli import cli
from deeptrace.cli.inspect import find_videos
from deeptrace.cli.inspect.processes import Task, inspect_in_processes
from deeptrace.cli.inspect.run import Inspection
from deeptrace.lock import folder_lock
from deeptrace.models.base import FrameModel, Progress, Sampling
from deeptrace.records import Frames, Origin, Verdict
from deeptrace.rows import outcome_from_row
from deeptrace.video import write_video
from tests.commands import run_command, start_command

FAKE = (
    "FAKE. The video is AI-generated. The unnatural part is at [16, 12, 32, 24] starting 0.5 seconds. "
    "The reason is because "
)


def deeptrace(*arguments: str | Path, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    return run_command(*arguments, cwd=cwd, env=env)


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
    assert "1 video: 0 fake, 1 uncertain, 0 real" in run.stdout
    assert "UNCERTAIN (leans real)" in run.stdout
    assert "a baseline" in run.stdout
    assert run.stderr == ""


def test_a_folder_with_a_bad_clip_in_it(clips: Path) -> None:
    run = deeptrace("inspect", clips, "--json", "--jobs", "1")
    assert run.returncode == 1
    rows = [json.loads(line) for line in run.stdout.splitlines()]
    assert [Path(row["path"]).name for row in rows] == ["a.mp4", "broken.mp4", "b.MOV"]
    assert [row["status"] for row in rows] == ["verdict", "failed", "verdict"]
    assert rows[1]["code"] == "NOT_A_VIDEO"
    assert isinstance(outcome_from_row(rows[0]), Verdict)
    assert str(clips) not in rows[1]["reason"]


def test_out_writes_page_and_rows(clips: Path, tmp_path: Path) -> None:
    run = deeptrace("inspect", clips, "--out", tmp_path / "report", "--jobs", "1")
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
        (["inspect", "https://example.org/clip.mp4"], "is an address, not a file"),
        (["inspect", "x.mp4", "--json", "--csv"], "choose one"),
        (["inspect", "x.mp4", "--only", "fakes"], "'fake', 'uncertain', 'real', 'failed'"),
        (["inspect", "x.mp4", "--model", "motion", "--threshold", "0.8"], "takes no option 'threshold'"),
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


@pytest.mark.parametrize(
    "arguments",
    [
        ["inspect", "CLIP", "--json"],
        ["inspect", "CLIP", "--json", "--out", "OUT"],
        ["inspect", "CLIP", "--out", "OUT"],
        ["models"],
        ["doctor"],
    ],
)
def test_a_reader_that_goes_away(clips: Path, arguments: list[str], tmp_path: Path) -> None:
    places = {"CLIP": str(clips / "a.mp4"), "OUT": str(tmp_path / "report")}
    words = [places.get(word, word) for word in arguments]
    reader, writer = os.pipe()
    os.close(reader)
    with tempfile.TemporaryFile() as errors:
        process = start_command(*words, stdout=writer, stderr=errors)
        os.close(writer)
        assert process.wait(250) == 141
        errors.seek(0)
        assert errors.read() == b""
    if "OUT" in arguments:  # what was done is there all the same
        assert len((tmp_path / "report" / "verdicts.jsonl").read_text().splitlines()) == 1
        assert (tmp_path / "report" / "index.html").exists()


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
        assert time.monotonic() - begin < 20
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
    assert run.stderr.startswith("error: cannot make the folder 'file/report'")


def test_a_terminal_that_cannot_show_a_name(clips: Path, tmp_path: Path) -> None:
    (tmp_path / "日本.mp4").write_bytes((clips / "a.mp4").read_bytes())
    run = deeptrace("inspect", tmp_path / "日本.mp4", PYTHONIOENCODING="cp1252", PYTHONUTF8="0")
    assert run.returncode == 0, run.stderr
    assert "\\u65e5" in run.stdout


# ── many videos ─────────────────────────────────────────────────────────────────────────────────────────────────────


def rows_of(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def scripted(path: Path, **answers: str) -> str:
    path.write_text("".join(json.dumps({"video_id": key, "text": text}) + "\n" for key, text in answers.items()))
    return f"scripted:{path}"


@pytest.fixture
def many(clips: Path, tmp_path: Path) -> Path:
    """A folder with six clips that differ."""
    folder = tmp_path / "many"
    folder.mkdir()
    for k in range(6):
        write_video(folder / f"{k}.mp4", Frames.from_array(np.full((4, 48, 64, 3), 20 * k, np.uint8), 8))
    return folder


def test_several_processes_give_the_same_rows_in_the_same_order(many: Path) -> None:
    (many / "3.mp4").write_bytes(b"<html>not found</html>")
    one, three = (deeptrace("inspect", many, "--model", "motion", "--json", "--jobs", n) for n in ("1", "3"))
    assert one.returncode == three.returncode == 1
    assert one.stdout == three.stdout
    assert [Path(json.loads(line)["path"]).name for line in three.stdout.splitlines()] == [f"{k}.mp4" for k in range(6)]


CRASHES = """
import os, sys
from deeptrace.models.motion.model import MotionModel
inner = MotionModel.verdict
def verdict(self, frames, origin):
    if origin.video_id == "2":
        os.kill(os.getpid(), 9)
    return inner(self, frames, origin)
MotionModel.verdict = verdict
"""


def test_a_process_that_crashes_costs_its_video(many: Path, tmp_path: Path) -> None:
    place = tmp_path / "site"
    place.mkdir()
    (place / "sitecustomize.py").write_text(CRASHES)
    run = deeptrace("inspect", many, "--model", "motion", "--json", "--jobs", "2", PYTHONPATH=str(place))
    rows = [json.loads(line) for line in run.stdout.splitlines()]
    assert run.returncode == 1
    assert [row["status"] for row in rows] == ["verdict"] * 2 + ["failed"] + ["verdict"] * 3
    assert rows[2]["code"] == "MODEL_CRASHED"
    assert "SIGKILL" in rows[2]["reason"]


class Hours(FrameModel):
    """Takes two hours of any video, and says how far it is."""

    name = "hours"
    sampling = Sampling(fps=8.0)

    @override
    def verdict(self, frames: Frames, origin: Origin) -> Verdict:
        assert self.on_progress is not None
        for minutes in (0, 42):
            self.on_progress(Progress(origin.video_id, 60.0 * minutes, 7200.0))
            time.sleep(0.25)  # the bar is drawn ten times a second
        return Verdict("real")


def test_a_long_video_moves_the_bar(
    clips: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "140")
    run = Inspection(Hours(), Task("", {}, {}), [str(clips / "a.mp4")], {})
    run.go(lambda outcome: None)
    assert run.complete
    assert "a: 42 of 120 min" in capsys.readouterr().err


def test_a_process_tells_how_far_it_is(tmp_path: Path) -> None:
    path = tmp_path / "ten.mp4"
    write_video(path, Frames.from_array(np.zeros((80, 48, 48, 3), np.uint8), 8))
    told: list[Progress] = []
    ((index, outcome),) = inspect_in_processes(Task("embedded", {}, {}), [str(path)], 1, on_progress=told.append)
    assert index == 0
    assert isinstance(outcome, Verdict)
    assert [(progress.video_id, progress.total_seconds) for progress in told] == [("ten", 10.0)] * len(told)
    assert 0 < told[0].done_seconds < 10.0


def test_a_folder_goes_on_where_it_was(many: Path, tmp_path: Path) -> None:
    model = scripted(tmp_path / "answers.jsonl", **{str(k): f"{FAKE}{k}" for k in range(6)})
    out = tmp_path / "report"
    command = ("inspect", many, "--model", model, "--out", out, "--jobs", "1")
    deeptrace("inspect", many / "0.mp4", many / "1.mp4", *command[2:])
    assert len(rows_of(out / "verdicts.jsonl")) == 2
    time.sleep(0.2)
    run = deeptrace(*command)
    assert "2 of 6 have a row already" in run.stderr
    first = (out / "verdicts.jsonl").read_bytes()
    assert [row["text"] for row in rows_of(out / "verdicts.jsonl")] == [f"{FAKE}{k}" for k in range(6)]
    assert "6 of 6 have a row already" in deeptrace(*command).stderr
    assert (out / "verdicts.jsonl").read_bytes() == first
    # Touched, with the same bytes: held. Replaced in place: asked again.
    os.utime(many / "0.mp4")
    (many / "1.mp4").write_bytes((many / "2.mp4").read_bytes())
    assert "5 of 6 have a row already" in deeptrace(*command).stderr
    hashes = [row["sha256"] for row in rows_of(out / "verdicts.jsonl")]
    assert hashes[1] == hashes[2]
    # Other settings: an answer belongs to them, too. And no row that ever came is lost.
    scripted(tmp_path / "answers.jsonl", **{str(k): "REAL. The video is real." for k in range(6)})
    assert "have a row already" not in deeptrace(*command).stderr
    assert {row["label"] for row in rows_of(out / "verdicts.jsonl")} == {"real"}
    assert len({row["row"]["text"] for row in rows_of(out / "journal.jsonl")}) == 7


def test_rows_from_before_there_was_a_journal_are_kept(many: Path, tmp_path: Path) -> None:
    out = tmp_path / "report"
    deeptrace("inspect", many, "--model", "motion", "--out", out, "--jobs", "1")
    earlier = rows_of(out / "verdicts.jsonl")
    (out / "journal.jsonl").unlink()
    deeptrace("inspect", many / "0.mp4", "--model", "motion", "--out", out)
    assert [line["row"] for line in rows_of(out / "journal.jsonl")][:6] == earlier


def test_one_writer_a_folder(many: Path, tmp_path: Path) -> None:
    out = tmp_path / "report"
    deeptrace("inspect", many, "--model", "motion", "--out", out, "--jobs", "1")
    before = (out / "verdicts.jsonl").read_bytes()
    with folder_lock(out):
        for command in (("inspect", many / "0.mp4", "--model", "motion"), ("demo", "--model", "motion")):
            run = deeptrace(*command, "--out", out)
            assert run.returncode == 1
            assert run.stderr == "error: another process is at work in 'report'\n"
    assert (out / "verdicts.jsonl").read_bytes() == before


@pytest.mark.skipif(os.name == "nt", reason="signals are of another kind")
def test_an_interrupted_run_leaves_a_page_of_what_is_done(many: Path, tmp_path: Path) -> None:
    for k in range(6, 24):
        write_video(many / f"{k}.mp4", Frames.from_array(np.full((40, 144, 192, 3), k, np.uint8), 8))
    out = tmp_path / "report"
    command = [
        sys.executable,
        "-m",
        "deeptrace",
        "inspect",
        str(many),
        "--model",
        "motion",
        "--out",
        str(out),
        "--json",
    ]
    with subprocess.Popen(
        [*command, "--jobs", "2"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        for _ in range(4):
            process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert "interrupted" in process.stderr.read()
    done = rows_of(out / "verdicts.jsonl")
    assert 4 <= len(done) < 24
    assert json.dumps(Path(str(done[0]["path"])).name) in (out / "index.html").read_text()
    run = deeptrace("inspect", many, "--model", "motion", "--out", out)
    assert f"{len(done)} of 24 have a row already" in run.stderr
    assert run.returncode == 0


def test_only_what_was_asked_for_is_shown(many: Path, tmp_path: Path) -> None:
    (many / "5.mp4").write_bytes(b"<html>not found</html>")
    texts = {
        "0": f"{FAKE}a",
        "1": "REAL. The video is real.",
        "2": "REAL or FAKE",
        "3": f"{FAKE}=cmd|' /C calc'!A0",
        "4": "REAL.",
    }
    model = scripted(tmp_path / "answers.jsonl", **texts)
    out = tmp_path / "report"
    run = deeptrace(
        "inspect", many, "--model", model, "--only", "fake", "--only", "failed", "--out", out, "--jobs", "1"
    )
    assert run.returncode == 1
    assert "6 videos: 2 fake, 2 real, 1 unparsed, 1 failed (4 shown)" in run.stdout
    assert "1.mp4" not in run.stdout
    assert len(rows_of(out / "verdicts.jsonl")) == 6
    assert '"name":"1.mp4"' not in (out / "index.html").read_text()
    lines = deeptrace("inspect", many, "--model", model, "--only", "fake", "--csv", "--jobs", "1").stdout.splitlines()
    [head, *rows] = csv.reader(lines)
    table = [dict(zip(head, row, strict=True)) for row in rows]
    assert [row["outcome"] for row in table] == ["fake", "fake"]
    assert [Path(row["path"]).name for row in table] == ["0.mp4", "3.mp4"]
    assert not [cell for row in rows for cell in row if cell.startswith(("=", "+", "-", "@"))]


def test_two_files_of_one_name_are_told_apart(clips: Path, tmp_path: Path) -> None:
    for folder in ("left", "right"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.mp4").write_bytes((clips / "a.mp4").read_bytes())
    run = deeptrace("inspect", tmp_path, "--model", "motion", "--out", tmp_path / "report", "--jobs", "1")
    assert "left/a.mp4" in run.stdout
    assert "right/a.mp4" in run.stdout
    assert '"name":"left/a.mp4"' in (tmp_path / "report" / "index.html").read_text()


def test_what_counts_as_video_in_a_folder(tmp_path: Path) -> None:
    webp = b"RIFF\x00\x00\x00\x00WEBPVP8X\x0a\x00\x00\x00"
    files = {
        "a.mp4": b"", "B.MKV": b"", "c.gif": b"", "d.mpg": b"", "e.wmv": b"", "f.flv": b"", "g.ogv": b"",
        "h.ts": b"G" + bytes(400), "moving.webp": webp + b"\x02" + bytes(40),
        "._a.mp4": b"", "app.ts": b"export const a = 1\n", "still.webp": webp + b"\x00" + bytes(40), "notes.txt": b"",
    }  # fmt: skip
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    names = [Path(path).name for path in find_videos([str(tmp_path)])]
    assert names == ["B.MKV", "a.mp4", "c.gif", "d.mpg", "e.wmv", "f.flv", "g.ogv", "h.ts", "moving.webp"]


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_links_are_followed_where_that_is_asked_for(clips: Path, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.mp4").symlink_to(clips / "a.mp4")
    (tmp_path / "set" / "deep").symlink_to(clips / "deep")
    (tmp_path / "set" / "loop").symlink_to(tmp_path / "set")
    run = deeptrace("inspect", tmp_path / "set", "--model", "motion", "--json")
    [row] = [json.loads(line) for line in run.stdout.splitlines()]
    assert row["code"] == "NOT_A_REGULAR_FILE"
    run = deeptrace("inspect", tmp_path / "set", "--model", "motion", "--json", "--follow-links")
    rows = [json.loads(line) for line in run.stdout.splitlines()]
    assert [Path(row["path"]).name for row in rows] == ["a.mp4", "b.MOV"]
    assert run.returncode == 0, run.stderr


def test_pictures_larger_than_usual_are_read_where_that_is_asked_for(tmp_path: Path) -> None:
    write_video(tmp_path / "wide.mp4", Frames.from_array(np.zeros((2, 2, 4096, 3), np.uint8), 8))
    run = deeptrace("inspect", tmp_path / "wide.mp4", "--model", "motion", "--json", "--max-pixels", "4096")
    assert json.loads(run.stdout)["code"] == "FRAME_TOO_LARGE"
    run = deeptrace("inspect", tmp_path / "wide.mp4", "--model", "motion", "--json", "--max-pixels", "40960")
    assert json.loads(run.stdout)["code"] != "FRAME_TOO_LARGE"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_for_a_shell(shell: str) -> None:
    run = deeptrace(_DEEPTRACE_COMPLETE=f"{shell}_source")
    assert run.returncode == 0, run.stderr
    assert "_DEEPTRACE_COMPLETE" in run.stdout


def test_what_is_completed() -> None:
    def completed(*words: str) -> list[str]:
        run = deeptrace(_DEEPTRACE_COMPLETE="bash_complete", COMP_WORDS=" ".join(words), COMP_CWORD=str(len(words) - 1))
        return [line.partition(",")[2] for line in run.stdout.splitlines()]

    assert completed("deeptrace", "ins") == ["inspect"]
    assert "motion" in completed("deeptrace", "inspect", "--model", "mo")
    assert completed("deeptrace", "inspect", "--only", "f") == ["fake", "failed"]


# ── the rest ────────────────────────────────────────────────────────────────────────────────────────────────────────


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
    assert not any(row["uncertain"] for row in rows)
    [truth] = json.loads((tmp_path / "deeptrace-demo" / "truth.json").read_text())["fake.mp4"]
    assert abs(rows[0]["traces"][0]["onset_seconds"] - truth["onset_seconds"]) < 0.2
    assert rows[0]["traces"][0]["categories"] == ["Object Disappearance"]
    assert rows[1]["traces"] == []
