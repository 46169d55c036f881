"""``deeptrace data prompts``, ``standardise``, ``generations check``: real processes, a real server that fails."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from deeptrace.data import load_records, write_records
from deeptrace.files import read_jsonl
from deeptrace.records import Annotation, Record, Trace
from tests.commands import run_command
from tests.data.test_prompts import ROW, writer
from tests.data.test_standardise import editor
from tests.fault_server import FaultServer, status

KEY = "sk-canary-0123456789"
NOTES = ("arm bends like rubber", "ball curves in air", "face melts", "cup merges with hand")


def deeptrace(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    run = run_command("data", *arguments, env={"DEEPTRACE_API_KEY": KEY})
    assert KEY not in run.stdout + run.stderr
    assert "Traceback" not in run.stderr
    return run


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FaultServer]:
    with FaultServer(default=writer) as running:
        yield running
    assert all(f"Bearer {KEY}" == seen.headers["authorization"] for seen in running.requests)
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or KEY.encode() not in path.read_bytes(), path.name


@pytest.fixture
def records(tmp_path: Path) -> Path:
    listed = [
        Record(f"v{n}", f"videos/v{n}.mp4", "fake", annotations=(Annotation((Trace(explanation=note),)),))
        for n, note in enumerate(NOTES)
    ]
    write_records(tmp_path / "records.jsonl", listed)
    return tmp_path / "records.jsonl"


def endpoint(server: FaultServer) -> tuple[str, ...]:
    return ("--base-url", server.url, "--model", "m")


# ── prompts ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_prompts_say_what_they_took(server: FaultServer, tmp_path: Path) -> None:
    run = deeptrace("prompts", tmp_path / "p", "--count", "10", *endpoint(server))
    assert run.returncode == 0, run.stderr
    assert f"{len(server.requests)} requests, cost unknown without --prices" in run.stdout
    assert "dropped: 2 x duplicate" in run.stderr
    run = deeptrace("prompts", tmp_path / "p", "--count", "10", "--json", "--prices", "2", "8", *endpoint(server))
    found = json.loads(run.stdout)
    assert (found["kept"], found["short_by"], found["requests"], found["cost"]) == (10, 0, 0, 0.0)
    assert found["stopped"] is None
    assert found["dropped"] == {"duplicate": 2, "too_short": 2}


@pytest.mark.parametrize(
    ("limit", "code"), [(("--max-requests", "1"), "MAX_REQUESTS"), (("--max-cost", "0.02"), "MAX_COST")]
)
def test_a_limit_ends_prompts_with_what_came(
    server: FaultServer, tmp_path: Path, limit: tuple[str, ...], code: str
) -> None:
    arguments = ("prompts", tmp_path / "p", "--count", "30", "--json", "--prices", "1", "10", *endpoint(server))
    run = deeptrace(*arguments, *limit)
    found = json.loads(run.stdout)
    assert run.returncode == 1
    assert found["stopped"]["code"] == code
    assert 0 < found["kept"] == len(list(read_jsonl(tmp_path / "p" / "prompts.jsonl"))) < 30
    assert found["requests"] == len(server.requests) > 0
    assert found["cost"] > 0
    assert f"error: {found['short_by']} of 30 prompts are missing: {code}" in run.stderr
    assert deeptrace(*arguments).returncode == 0  # goes on
    assert len(list(read_jsonl(tmp_path / "p" / "prompts.jsonl"))) == 30


def test_words_decisions_and_prompts_of_others(server: FaultServer, tmp_path: Path) -> None:
    deeptrace("prompts", tmp_path / "a", "--count", "8", *endpoint(server))
    rows = [row for _, row in read_jsonl(tmp_path / "a" / "prompts.jsonl")]
    (tmp_path / "decisions.jsonl").write_text(
        json.dumps({"prompt_id": rows[0]["prompt_id"], "keep": False, "reason": "dull"}) + "\n"
    )
    run = deeptrace(
        "prompts", tmp_path / "a", "--count", "8", "--decisions", tmp_path / "decisions.jsonl", "--json",
        *endpoint(server),
    )  # fmt: skip
    assert json.loads(run.stdout)["dropped"]["by_hand"] == 1
    run = deeptrace(
        "prompts", tmp_path / "b", "--count", "3", "--blocked", "kettle, red dog", "--blocked", "woman",
        "--existing", tmp_path / "a" / "prompts.jsonl", "--json", *endpoint(server),
    )  # fmt: skip
    assert {"duplicate", "blocked"} <= set(json.loads(run.stdout)["dropped"])
    texts = [row["text"].lower() for _, row in read_jsonl(tmp_path / "b" / "prompts.jsonl")]
    assert not [text for text in texts if "kettle" in text or "red dog" in text or "woman" in text]
    others = {row["text"].lower() for _, row in read_jsonl(tmp_path / "a" / "prompts.jsonl")}
    assert not others & set(texts)
    (tmp_path / "decisions.jsonl").write_text("{}\n")
    run = deeptrace("prompts", tmp_path / "c", "--decisions", tmp_path / "decisions.jsonl", *endpoint(server))
    assert (run.returncode, "decisions.jsonl line 1" in run.stderr) == (1, True)


@pytest.mark.parametrize(
    "arguments", [("--max-cost", "1"), ("--max-requests", "0"), ("--count", "0"), ("--base-url", "ftp://x")]
)
def test_wrong_usage(server: FaultServer, tmp_path: Path, arguments: tuple[str, str]) -> None:
    run = deeptrace("prompts", tmp_path / "p", *endpoint(server), *arguments)
    assert run.returncode == 2, run.stderr
    assert server.requests == []


def test_a_refused_key_is_not_shown(server: FaultServer, tmp_path: Path) -> None:
    server.default = status(401, f"Incorrect API key provided: {KEY} \x1b[31m")
    run = deeptrace("prompts", tmp_path / "p", "--count", "3", *endpoint(server))
    assert run.returncode == 1
    assert "AUTH" in run.stderr
    assert "\x1b" not in run.stderr
    assert (tmp_path / "p" / "prompts.jsonl").read_bytes() == b""


# ── standardise ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_limit_ends_rewording_with_what_came(server: FaultServer, tmp_path: Path, records: Path) -> None:
    server.default = editor
    run = deeptrace("standardise", records, tmp_path / "even", *endpoint(server), "--max-requests", "3", "--json")
    assert run.returncode == 1
    found = json.loads(run.stdout)
    assert found["explanations"] == {"changed": 3, "kept: NOT_ASKED": 1}
    assert (found["requests"], found["stopped"]["code"]) == (3, "MAX_REQUESTS")
    assert "error: stopped: MAX_REQUESTS" in run.stderr
    before, after = list(load_records(records)), list(load_records(tmp_path / "even" / "records.jsonl"))
    assert sum(old.annotations == new.annotations for old, new in zip(before, after, strict=True)) == 1
    run = deeptrace("standardise", records, tmp_path / "even", *endpoint(server), "--prices", "2", "8")
    assert run.returncode == 0, run.stderr
    assert "4 changed" in run.stdout
    assert "1 requests, cost 0.0" in run.stdout
    assert len(server.requests) == 4


# ── generations ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_generations_check(tmp_path: Path) -> None:
    good = {"schema": "deeptrace.generation/1", **asdict(ROW)}
    other = {"schema": "deeptrace.generation/1", **asdict(replace(ROW, video_id="v2", path="videos/v2.mp4"))}
    path = tmp_path / "generations.jsonl"
    path.write_text(json.dumps(good) + "\n" + json.dumps(other) + "\n")
    run = deeptrace("generations", "check", path)
    assert (run.returncode, run.stdout) == (0, "2 valid rows, 0 set aside\n")
    bad = [good, "cut", {**other, "video_id": "v3"}, {**good, "video_id": "\x1b[31m\u202e", "date": "soon"}]
    lines = [json.dumps(good), '{"cut": ', *map(json.dumps, (other, *bad[2:]))]
    path.write_text("\n".join(lines))
    run = deeptrace("generations", "check", path)
    assert run.returncode == 1
    for part in ("row 2: line is not JSON", "row 4 (video 'v3'): path", "row 5", "date 'soon'", "2 valid rows, 3 set"):
        assert part in run.stdout
    assert not {"\x1b", "\u202e"} & set(run.stdout)
    found = json.loads(deeptrace("generations", "check", path, "--json").stdout)
    assert (found["valid"], [problem["row"] for problem in found["problems"]]) == (2, [2, 4, 5])
    assert deeptrace("generations", "check", tmp_path / "absent").returncode == 1
