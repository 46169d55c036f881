"""``deeptrace data`` as a user meets it: one dataset from its making to its audit, real processes, real files."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from deeptrace.data import load_records, write_records
from deeptrace.records import Annotation, Record, Trace
from tests.commands import DATA, run_command
from tests.data.test_standardise import editor
from tests.fault_server import FaultServer, ok


def deeptrace(*arguments: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
    return run_command("data", *arguments, env=env, preload=DATA)


@pytest.fixture
def example(six_pairs: Path) -> Path:
    """A dataset in the release's layout."""
    return six_pairs


def test_example(tmp_path: Path) -> None:
    run = deeptrace("example", tmp_path / "example", "--videos", "1")
    assert run.returncode == 0, run.stderr
    assert [record.label for record in load_records(tmp_path / "example")] == ["fake", "real"]


def test_from_example_to_audit(example: Path, tmp_path: Path) -> None:
    stats = json.loads(deeptrace("stats", example, "--json").stdout)
    assert (stats["videos"], stats["schema"]) == (13, "deeptrace.stats")

    before = deeptrace("audit", example, "--deep", "--json", "--out", tmp_path / "audit")
    assert before.returncode == 1  # the example holds a clip that stands in two splits
    found = json.loads(before.stdout)
    assert "split_leak" in {finding["code"] for finding in found["findings"]}
    assert json.loads((tmp_path / "audit" / "audit.json").read_text()) == found
    assert "<title>" in (tmp_path / "audit" / "index.html").read_text()

    (tmp_path / "audit.json").write_text(before.stdout)
    run = deeptrace("split", example, tmp_path / "records.jsonl", "--clusters", tmp_path / "audit.json")
    assert run.returncode == 0, run.stderr
    assert "near-duplicates lie in two splits" in run.stderr
    assert {r.split for r in load_records(tmp_path / "records.jsonl")} <= {"train", "val", "test"}

    run = deeptrace("normalise", example, tmp_path / "normal", "--short-side", "90", "--match-duration")
    assert run.returncode == 0, run.stderr
    assert "traces kept" in run.stdout
    after = json.loads(deeptrace("audit", tmp_path / "normal", "--deep", "--json").stdout)
    (geometry,) = (r for r in after["shortcuts"]["results"] if r["probe"] == "geometry" and r["task"] == "fake_or_real")
    assert geometry["auroc"]["value"] == 0.5
    result = json.loads((tmp_path / "normal" / "run.json").read_text())["result"]
    assert result["excluded_by_label"] == {}  # 90 lines are few enough for every video


def test_check_lists_what_is_wrong(example: Path) -> None:
    run = deeptrace("check", example)
    assert run.returncode == 0
    assert "faketrace_duration" in run.stdout
    assert deeptrace("check", example, "--strict").returncode == 1
    rows = [json.loads(line) for line in deeptrace("check", example, "--json").stdout.splitlines()]
    assert {row["field"] for row in rows} == {"faketrace_duration"}


@pytest.mark.parametrize("name", ["records", "labelbox", "label-studio", "cvat", "hf"])
def test_convert_and_read_back(example: Path, tmp_path: Path, name: str) -> None:
    target = tmp_path / {"records": "records.jsonl", "labelbox": "e.ndjson", "label-studio": "e.json"}.get(name, "out")
    run = deeptrace("convert", example, target, "--to", name)
    assert run.returncode == 0, run.stderr
    again = load_records(target)
    assert sum(len(record.traces) for record in again) == sum(len(record.traces) for record in load_records(example))


def test_convert_to_a_format_that_is_none(example: Path, tmp_path: Path) -> None:
    run = deeptrace("convert", example, tmp_path / "x", "--to", "yolo")
    assert run.returncode == 2
    assert "Known: records, labelbox" in run.stderr


def test_a_source_that_is_not_there(tmp_path: Path) -> None:
    run = deeptrace("stats", tmp_path / "absent")
    assert run.returncode == 1
    assert run.stderr.startswith("error: ")
    assert str(tmp_path) not in run.stderr


def test_filter_and_match_lengths(example: Path, tmp_path: Path) -> None:
    run = deeptrace("filter", example, tmp_path / "kept.jsonl", "--log", tmp_path / "log.jsonl", "--max-seconds", "2.5")
    assert run.returncode == 0, run.stderr
    assert "videos kept" in run.stdout
    decisions = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert all(decision["reason"] for decision in decisions if not decision["kept"])
    lost = sum(not decision["kept"] for decision in decisions)
    assert sum(int(line.split()[1]) for line in run.stderr.splitlines() if line.startswith("dropped: ")) == lost
    run = deeptrace("match-lengths", example, tmp_path / "cut")
    assert run.returncode == 0, run.stderr
    assert "Kolmogorov-Smirnov" in run.stdout
    after = json.loads((tmp_path / "cut" / "match.json").read_text())["after"]
    assert f"{after['ks']:.3f} after" in run.stdout


def test_match_lengths_leaves_its_source_alone(example: Path) -> None:
    before = {path: path.read_bytes() for path in example.rglob("*") if path.is_file()}
    run = deeptrace("match-lengths", example, example)
    assert run.returncode == 1
    assert run.stderr.splitlines()[-1].startswith("error: ")
    assert {path: path.read_bytes() for path in example.rglob("*") if path.is_file()} == before


def test_annotators(tmp_path: Path) -> None:
    def says(name: str, box: tuple[float, float, float, float]) -> Annotation:
        return Annotation((Trace(box, 1.0, 2.0, ("Object Merging",), "they fuse"),), "fake", name)

    record = Record(
        "v",
        "videos/v.mp4",
        "fake",
        annotations=(says("ann", (0.1, 0.1, 0.3, 0.3)), says("bob", (0.1, 0.1, 0.3, 0.32))),
    )
    write_records(tmp_path / "records.jsonl", [record])
    found = json.loads(deeptrace("agreement", tmp_path / "records.jsonl", "--json").stdout)
    assert found["matched"] == 1
    assert "box IoU" in deeptrace("agreement", tmp_path / "records.jsonl").stdout
    run = deeptrace("merge", tmp_path / "records.jsonl", tmp_path / "merged.jsonl")
    assert run.returncode == 0, run.stderr
    [merged] = load_records(tmp_path / "merged.jsonl")
    assert len(merged.traces) == 1


def test_language_model_commands(tmp_path: Path) -> None:
    write_records(
        tmp_path / "records.jsonl",
        [Record("v", "videos/v.mp4", "fake", annotations=(Annotation((Trace(explanation="arm bends like rubber"),)),))],
    )
    with FaultServer() as server:
        server.default = editor
        run = deeptrace(
            "standardise", tmp_path / "records.jsonl", tmp_path / "even", "--base-url", server.url, "--model", "m",
            DEEPTRACE_API_KEY="sk-canary-123",
        )  # fmt: skip
        assert run.returncode == 0, run.stderr
        [record] = load_records(tmp_path / "even" / "records.jsonl")
        assert record.traces[0].explanation == "Arm bends like rubber."
        assert "sk-canary-123" not in run.stdout + run.stderr

        server.default = ok(json.dumps(["A brown dog chases a red ball across wet sand at noon."] * 3))
        run = deeptrace(
            "prompts", tmp_path / "prompts", "--count", "2", "--base-url", server.url, "--model", "m",
            "--max-requests", "2", DEEPTRACE_API_KEY="sk-canary-123",
        )  # fmt: skip
    assert run.returncode == 1
    assert "Traceback" not in run.stderr


def test_tables_keep_numbers_and_names_whole_in_80_columns(example: Path) -> None:
    audit = deeptrace("audit", example, COLUMNS="80")
    assert max(map(len, audit.stdout.splitlines())) <= 80
    row = next(line for line in audit.stdout.splitlines() if line.startswith("Visible geometry"))
    assert re.fullmatch(r"Visible geometry( +\d+\.\d \[\d+\.\d, \d+\.\d\]){2}  (above|at) chance *|.*unclear *", row)
    assert any(line.split()[:2] == ["note", "no_explanation"] for line in audit.stdout.splitlines())
    narrow = deeptrace("audit", example, COLUMNS="40").stdout  # broken, but nothing is cut off
    assert max(map(len, narrow.splitlines())) <= 40
    assert "chance" in narrow
    stats = deeptrace("stats", example, COLUMNS="80").stdout
    assert re.search(r"video s +trace s$", stats, re.MULTILINE)


def test_lengths_that_nobody_declared_are_read_from_the_files(example: Path, tmp_path: Path) -> None:
    def bare(record: Record) -> Record:
        info = record.info and replace(record.info, duration_seconds=None, num_frames=None)
        return replace(record, info=info if record.label == "fake" else None)

    records = [bare(record) for record in load_records(example)]
    lost = replace(records[0], video_id="lost", path="videos/lost.mp4", info=None)
    write_records(tmp_path / "bare.jsonl", [*records, lost])
    options = ("--root", example, "--log", tmp_path / "log.jsonl", "--no-motion", "--no-quality")
    run = deeptrace("filter", tmp_path / "bare.jsonl", tmp_path / "kept.jsonl", *options)
    assert run.returncode == 0, run.stderr
    assert "dropped: 1 x length: length_unknown" in run.stderr
    kept = load_records(tmp_path / "kept.jsonl")
    assert [r.video_id for r in kept] == [r.video_id for r in records]
    declared = load_records(example).by_id
    for record in kept:
        said = declared[record.video_id].info
        assert record.info
        assert said
        assert record.info.duration_seconds == pytest.approx(said.duration_seconds, abs=0.01)
        assert (record.info.width, record.info.fps) == (said.width, pytest.approx(said.fps))
    cut = deeptrace("match-lengths", tmp_path / "bare.jsonl", tmp_path / "cut", "--root", example)
    assert cut.returncode == 0, cut.stderr
    assert "after" in cut.stdout
