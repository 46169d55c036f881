"""A run over an API model behind a real server on loopback that misbehaves: nothing is lost, nothing is asked twice."""

from __future__ import annotations

import json
import threading
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from deeptrace.bench.run.verdicts import read_verdicts
from deeptrace.cli import cli
from deeptrace.data import Records
from deeptrace.errors import FileError
from deeptrace.models import load
from deeptrace.records import Failed, Unparsed, Verdict
from tests.fault_server import FaultServer, Handler, ok, reset, status

GOOD = (
    "FAKE <coordinates>[16, 36, 56, 72]</coordinates> <start_time>0.5</start_time> <explanation>A square</explanation>"
)


def _bench(squares: Records, server: FaultServer, out: Path, *words: str) -> Result:
    command = ["bench", "run", str(squares.root), "--model", "openai:tiny", "--base-url", server.url, "--out", str(out)]
    return CliRunner().invoke(cli, [*command, *words], standalone_mode=False)


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPTRACE_API_KEY", "sk-test-canary")


def test_faults_that_pass_leave_no_trace_and_those_that_last_are_kept(squares: Records, tmp_path: Path) -> None:
    script = [reset(), status(500), ok("REAL or FAKE"), ok("I cannot", finish="content_filter")]
    with FaultServer(script, default=ok(GOOD)) as server:
        done = _bench(squares, server, tmp_path / "run", "--workers", "1", "--json")
        assert done.exception is None, done.output
        [summary] = json.loads(done.stdout)["runs"]
        asked = len(server.requests)
        again = _bench(squares, server, tmp_path / "run", "--workers", "1")
        assert again.exception is None
        assert len(server.requests) == asked  # what is left would fail again
    kinds = Counter(type(outcome) for outcome in read_verdicts(tmp_path / "run"))
    assert kinds == {Verdict: 13, Unparsed: 1, Failed: 2}  # the broken file, and what the filter held back
    assert summary["codes"] == {"CONTENT_FILTER": 1, "NOT_A_VIDEO": 1}
    text = "".join(path.read_text() for path in (tmp_path / "run").glob("*.json*"))
    assert "sk-test-canary" not in text


def test_the_same_bytes_with_one_worker_or_eight(squares: Records, tmp_path: Path) -> None:
    with FaultServer(default=ok(GOOD)) as server:
        for workers in ("1", "8"):
            assert _bench(squares, server, tmp_path / workers, "--workers", workers).exception is None
    one, eight = ((tmp_path / workers / "verdicts.jsonl").read_bytes() for workers in ("1", "8"))
    assert one == eight


def test_a_run_is_not_begun_at_one_server_and_ended_at_another(squares: Records, tmp_path: Path) -> None:
    with FaultServer(default=ok(GOOD)) as one, FaultServer(default=ok(GOOD)) as two:
        assert _bench(squares, one, tmp_path / "run", "--limit", "3").exception is None
        refused = _bench(squares, two, tmp_path / "run")
        assert isinstance(refused.exception, FileError)
        assert "base_url" in str(refused.exception)
        assert two.requests == []
        assert _bench(squares, one, tmp_path / "run").exception is None
        assert len(one.requests) == 15  # the broken video is none of them


def test_videos_are_asked_about_at_once(squares: Records, tmp_path: Path) -> None:
    """Every answer waits until three questions are there at the same time."""
    meeting = threading.Barrier(3)

    def together(handler: Handler, body: bytes) -> None:
        meeting.wait(20)
        ok(GOOD)(handler, body)

    with FaultServer(default=together) as server:
        assert _bench(squares, server, tmp_path / "run", "--limit", "6").exception is None
    assert len(read_verdicts(tmp_path / "run")) == 6


def test_the_cap_stops_before_it_is_passed_and_the_next_run_goes_on(squares: Records, tmp_path: Path) -> None:
    prices = ("--prices", "1", "1")
    with FaultServer(default=ok(GOOD, usage=(1000, 50))) as server:
        capped = _bench(squares, server, tmp_path / "run", *prices, "--max-requests", "5", "--json")
        [summary] = json.loads(capped.stdout)["runs"]
        assert len(server.requests) == 5
        assert summary["stopped"]["code"] == "MAX_REQUESTS"
        assert summary["cost"] == pytest.approx(5 * 1050 / 1e6)
        rest = _bench(squares, server, tmp_path / "run", *prices, "--json")
        assert len(server.requests) == 15  # the broken file is never sent
        assert json.loads(rest.stdout)["runs"][0]["cost"] == pytest.approx(15 * 1050 / 1e6)


def test_a_named_model_brings_its_home_and_sampling(squares: Records) -> None:
    model = load("glm-4.5v", base_url="http://127.0.0.1:9/v1")
    assert model.name == "openai:zai-org/GLM-4.5V"
    assert (model.sampling.fps, model.sampling.max_frames) == (2.0, None)  # type: ignore[attr-defined]


def test_every_api_entry_can_be_loaded() -> None:
    from deeptrace.models.registry import entries

    for entry in entries().values():
        if entry.home.startswith("openai:"):
            assert load(entry.name, base_url="http://127.0.0.1:9/v1").name == entry.home
