"""``openai:`` against a real server process that serves a tiny model: run, killed and taken up again; inspected."""

from __future__ import annotations

import json
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from deeptrace.bench.run.verdicts import read_verdicts
from deeptrace.cli import cli
from deeptrace.data import Records
from deeptrace.records import Failed, Unparsed, Verdict
from tests.commands import start_command
from tests.tiny_server import REVISION, TinyServer

pytest.importorskip("transformers")

VIDEOS, SENT = 16, 15  # of the split; one is broken and never sent
AT_ONCE = 8  # questions under way


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TinyServer]:
    with TinyServer(tmp_path_factory.mktemp("tiny")) as server:
        yield server


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPTRACE_API_KEY", "sk-test-canary")


def _words(squares: Records, server: TinyServer, out: Path, model: str = "openai:tiny") -> list[str]:
    about = ["--model", model, "--base-url", server.url, "--question", "zero-shot"]
    return ["bench", "run", str(squares.root), *about, "--out", str(out)]


def _kept(folder: Path) -> list[str]:
    """The ids of the videos in a journal, as often as they stand there; half a line at its end is no row."""
    lines = (folder / "journal.jsonl").read_text().splitlines(keepends=True)
    rows = [json.loads(line) for line in lines if line.endswith("\n")]
    return [row["row"]["video_id"] for row in rows if "row" in row]


def _call(*words: str) -> Result:
    return CliRunner().invoke(cli, words, standalone_mode=False)


@pytest.mark.linux
def test_killed_and_run_again_every_video_stands_there_once(
    squares: Records, server: TinyServer, tmp_path: Path
) -> None:
    """At the end the bytes of an unbroken run; only what was under way at a kill was asked about twice."""
    before, run = len(server.asked), tmp_path / "run"
    for kills, more in ((1, AT_ONCE + 1), (2, 2)):
        client, target = start_command(*_words(squares, server, run)), len(server.asked) + more
        while client.poll() is None and len(server.asked) < target:
            time.sleep(0.01)
        assert client.poll() is None, "the run ended before it could be killed"
        client.send_signal(signal.SIGKILL)
        client.wait()
        assert target - before - kills * AT_ONCE <= len(_kept(run)) < VIDEOS
    held = _kept(run)
    assert held
    rest = _call(*_words(squares, server, run), "--json")
    assert rest.exception is None, rest.output
    [summary] = json.loads(rest.stdout)["runs"]
    assert summary["asked"] == VIDEOS - len(held)  # what stands in the journal is not asked about again
    assert set(Counter(_kept(run)).values()) == {1}
    outcomes = read_verdicts(run)
    expected = sorted(record.video_id for record in squares if record.split == "test")
    assert [outcome.origin.video_id for outcome in outcomes] == expected
    assert Counter(type(outcome) for outcome in outcomes) == {Verdict: SENT, Failed: 1}

    assert _call(*_words(squares, server, tmp_path / "unbroken")).exception is None
    whole, broken = ((tmp_path / name / "verdicts.jsonl").read_bytes() for name in ("unbroken", "run"))
    assert whole == broken


def test_inspect_tells_the_models_own_probability(squares: Records, server: TinyServer) -> None:
    clips = [str(squares.root / str(record.path)) for record in squares[:2]]
    before = len(server.asked)
    shown = _call(
        "inspect", *clips, "--model", "openai:tiny", "--base-url", server.url, "--question", "zero-shot", "--json"
    )
    rows: list[dict[str, Any]] = [json.loads(line) for line in shown.stdout.splitlines()]
    assert [row["status"] for row in rows] == ["verdict", "verdict"]
    # Two clips are asked about at once: rows come in the order of the clips, answers in that of the server.
    rows_by_p = sorted(rows, key=lambda row: row["p_fake"])
    for row, answer in zip(rows_by_p, sorted(server.asked[before:], key=lambda one: one["p_fake"]), strict=True):
        assert row["text"] == answer["text"]
        assert row["label"] == row["text"].lower()
        assert (row["p_fake"] >= 0.5) == (row["label"] == "fake")
        assert row["p_fake"] == pytest.approx(answer["p_fake"])
        assert (row["model"], row["revision"], row["sampling"]["logprobs"]) == ("openai:tiny", REVISION, True)
        assert row["sampling"]["frames_sent"] == answer["pictures"] == 4  # two seconds, two a second


def test_what_the_model_writes_of_itself_is_kept_and_not_read(
    squares: Records, server: TinyServer, tmp_path: Path
) -> None:
    """A model without log-probabilities, and answers of random weights that the limit cuts off."""
    before = len(server.asked)
    done = _call(*_words(squares, server, tmp_path / "run", "openai:tiny-free"), "--limit", "3")
    assert done.exception is None, done.output
    said = Counter(answer["text"] for answer in server.asked[before:])
    assert sum(said.values()) == 3
    outcomes = read_verdicts(tmp_path / "run")
    assert all(isinstance(outcome, Unparsed) for outcome in outcomes)
    assert Counter(outcome.text for outcome in outcomes if isinstance(outcome, Unparsed)) == said
    assert all("cut off" in outcome.reason for outcome in outcomes if isinstance(outcome, Unparsed))
