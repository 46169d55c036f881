"""``deeptrace bench judge`` as a person calls it: before, the run, after; people's grades; what it refuses."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from deeptrace.cli import cli
from deeptrace.data import write_records
from deeptrace.records import Annotation, Origin, Record, Trace, Verdict, VideoInfo
from deeptrace.rows import outcome_to_row
from tests.fault_server import FaultServer, Handler, ok


@pytest.fixture
def judged(tmp_path: Path) -> Path:
    """Records with written explanations, and a run whose explanations are right on every other video."""
    records, rows = [], []
    for i in range(12):
        trace = Trace((0.1, 0.1, 0.3, 0.3), 0.5, explanation=f"Cup {i} melts.")
        info = VideoInfo(64, 48, 8.0, 16, 2.0)
        records.append(
            Record(f"v{i}", f"v{i}.mp4", "fake", info=info, split="test", annotations=(Annotation((trace,), "fake"),))
        )
        said = Trace((0.1, 0.1, 0.3, 0.3), 0.5, explanation=f"Cup {i} melts." if i % 2 else "A dog flies.")
        rows.append(outcome_to_row(Verdict("fake", traces=(said,), origin=Origin(f"v{i}", model="m"))))
    write_records(tmp_path / "records.jsonl", records)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "verdicts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def _equal(handler: Handler, body: bytes) -> None:
    blocks = json.loads(body)["messages"][1]["content"].split("\n")
    ok('{"score": 1}' if blocks[1] == blocks[5] else '{"score": 0}')(handler, body)


def _judge(judged: Path, *words: str) -> Result:
    command = ["bench", "judge", str(judged / "run"), str(judged), *words]
    return CliRunner().invoke(cli, command, standalone_mode=False)


def test_before_the_run_and_after_it(judged: Path) -> None:
    dry = _judge(judged, "--dry-run", "--prices", "1", "4", "--controls", "5", "--json")
    assert dry.exception is None
    before = json.loads(dry.stdout)
    assert before["rows"] == 12
    with FaultServer(default=_equal) as server:
        words = ("--judge", "j", "--base-url", server.url, "--prices", "1", "4", "--controls", "5", "--json")
        done = _judge(judged, *words)
        asked = len(server.requests)
        assert _judge(judged, *words).exception is None
        assert len(server.requests) == asked
    after = json.loads(done.stdout)
    assert done.return_value == 0
    assert asked <= before["questions"]
    assert after["cost"] <= before["cost_at_most"]
    assert (after["mean"], after["scored"], after["valid"]) == (0.5, 12, True)
    scored = CliRunner().invoke(
        cli,
        ["bench", "score", str(judged / "run"), str(judged), "--grades", str(judged / "run" / "judgements.jsonl"),
         "--json", "--replicates", "0", "--permutations", "0"],
        standalone_mode=False,
    )  # fmt: skip
    [run] = json.loads(scored.stdout)["runs"]
    assert run["paper"]["explanation"] == 50.0
    assert run["judged"]
    assert (run["counts"]["explained_rows"], run["counts"]["graded_rows"]) == (12, 12)


def test_people_and_the_judge(judged: Path) -> None:
    with FaultServer(default=_equal) as server:
        _judge(judged, "--judge", "j", "--base-url", server.url, "--controls", "0")
    sheet = judged / "sheet.csv"
    assert "6 rows" in _judge(judged, "--sheet", str(sheet), "--sheet-rows", "6").stdout
    with open(sheet, newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["score"] = "1" if row["reference"] == row["candidate"] else "0"
    with open(sheet, "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    found = json.loads(_judge(judged, "--humans", str(sheet), "--json").stdout)
    assert (found["judge"]["equal"], found["judge"]["n"]) == (1.0, 6)
    assert found["corrected"] is None
    shown = _judge(judged, "--humans", str(sheet)).stdout
    assert "judge and people" in shown
    assert "people must grade at least 20 videos" in shown


def test_a_judge_that_likes_everything_is_found_out(judged: Path) -> None:
    with FaultServer(default=ok('{"score": 1}')) as server:
        done = _judge(judged, "--judge", "j", "--base-url", server.url, "--controls", "6")
    assert done.return_value == 1
    assert "cannot be trusted" in done.stderr


def test_what_is_refused(judged: Path) -> None:
    assert "--judge" in str(_judge(judged).exception)
    assert "--prices" in str(_judge(judged, "--judge", "j", "--base-url", "http://x/v1", "--max-cost", "1").exception)
    assert "nothing.csv" in str(_judge(judged, "--humans", str(judged / "nothing.csv")).exception)
