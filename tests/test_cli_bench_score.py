"""``deeptrace bench score`` and ``bench calibrate`` as a user meets them: real files, no media."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from deeptrace.answer import Space, render
from deeptrace.cli import cli
from deeptrace.data import write_records
from deeptrace.errors import AnswerError, DeepTraceError
from deeptrace.files import write_jsonl
from deeptrace.measures.calibration import read_calibration
from deeptrace.records import Origin, Trace, Verdict
from tests.commands import DATA, run_command

from .bench.world import LEFT, answers, fake, real, records, write, write_data

pytest.importorskip("sklearn")


def bench(*arguments: str | Path) -> Result:
    """The command in this process: what it imports would take most of a process's time."""
    return CliRunner().invoke(cli, ["bench", *map(str, arguments)], env={"COLUMNS": "250"})


def quick(*arguments: str | Path) -> Result:
    return bench("score", *arguments, "--replicates", "20", "--permutations", "20")


def test_as_a_process(tmp_path: Path) -> None:
    data, verdicts = write_data(tmp_path), write(tmp_path, "v.jsonl", answers())
    run = run_command("bench", "score", verdicts, data, "--json", preload=DATA)
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)["paper"]["accuracy"] == pytest.approx(60)
    assert run.stderr == ""
    run = run_command("bench", "score", verdicts, data, "--split", "val", preload=DATA)
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr == "error: split: no record is in 'val'. Splits here: test, train\n"


def test_tables_json_and_markdown_say_the_same(tmp_path: Path) -> None:
    data, verdicts = write_data(tmp_path), write(tmp_path, "v.jsonl", answers())
    shown = quick(verdicts, data)
    assert shown.exit_code == 0, shown.output
    assert "GPT 4.1 (published)" in shown.stdout
    assert "always FAKE" in shown.stdout
    found = json.loads(quick(verdicts, data, "--json").stdout)
    assert found["paper"]["accuracy"] == pytest.approx(60)
    assert f"{found['paper']['accuracy']:.1f}" in shown.stdout
    assert "| m | - | 60.0 [" in quick(verdicts, data, "--markdown").stdout
    assert quick(verdicts, data, "--json", "--markdown").exit_code == 2


def test_tables_keep_numbers_and_names_whole_in_80_columns(tmp_path: Path) -> None:
    """Every number of the wide tables, with its interval, stands on one line of the narrow ones."""
    data, verdicts = write_data(tmp_path), write(tmp_path, "v.jsonl", answers("some-longer-model-name-7b"))
    options = ("score", verdicts, data, "--replicates", "20", "--permutations", "20")
    narrow = CliRunner().invoke(cli, ["bench", *map(str, options)], env={"COLUMNS": "80"}).stdout
    assert max(len(line) for line in narrow.splitlines()) <= 80
    wide = [line for line in bench(*options, "--markdown").stdout.splitlines() if line.startswith("|")]
    cells = {cell for line in wide for cell in line.strip("| ").split(" | ")}
    values = {cell for cell in cells if re.fullmatch(r"[-+]?\d+\.\d+( \[.*\])?", cell)}
    assert len(values) > 50
    assert [value for value in sorted(values) if value not in narrow] == []
    assert narrow.count("some-longer-model-name-7b") > 10
    assert narrow.startswith("some-longer-model-name-7b is ")  # the conclusion, in words
    standing = narrow[narrow.index("Where it stands") :].split("\n\n")[0]
    assert standing.index("blind") < standing.index("GPT 4.1")
    assert "Time" in standing.splitlines()[1]  # all eight columns in one table


def test_answers_made_elsewhere(tmp_path: Path) -> None:
    said = render(Verdict("fake", traces=(Trace(LEFT, 2.0),)), "trained", Space("source", 200, 100))
    write_jsonl(tmp_path / "theirs.jsonl", [{"video_id": "f1", "text": said}, {"video_id": "r1", "text": "REAL"}])
    found = json.loads(quick(tmp_path / "theirs.jsonl", write_data(tmp_path), "--json").stdout)
    assert found["runs"][0]["name"] == "theirs"
    assert found["paper"]["bbox_iou"] == pytest.approx(100 / 3)
    assert (found["counts"]["missing"], found["runs"][0]["incomplete"]) == (2, True)
    bad = quick(tmp_path / "theirs.jsonl", tmp_path / "records.jsonl", "--format", "latin")
    assert isinstance(bad.exception, AnswerError)


def test_text_metrics_on_request(tmp_path: Path) -> None:
    pytest.importorskip("sacrebleu")
    pytest.importorskip("wordllama")
    found = json.loads(quick(write(tmp_path, "v.jsonl", answers()), write_data(tmp_path), "--text", "--json").stdout)
    assert found["runs"][0]["text"]["n"] == 2
    assert found["blind"][0]["text"]["rouge_l"] >= 0.5  # the most frequent explanation is one of the two
    assert found["blind"][2]["text"]["empty"] == 2


def test_what_is_wrong_is_an_error_of_ours(tmp_path: Path) -> None:
    data, verdicts = write_data(tmp_path), write(tmp_path, "v.jsonl", answers())
    for more, words in (
        (("--split", "val"), "no record is in 'val'"),
        (("--against", "x"), "'x' is not one of m"),
        (("--clusters", str(verdicts)), "not JSON"),
        (("--grades", str(verdicts)), "v.jsonl line 1"),
        (("--calibration", str(verdicts)), "not JSON"),
    ):
        error = quick(verdicts, data, *more).exception
        assert isinstance(error, DeepTraceError)
        assert words in str(error)
    assert bench("score", verdicts).exit_code == 2


def test_calibrate_on_val_and_score_on_test(tmp_path: Path) -> None:
    known = [*records()]
    for i in range(20):
        known.append(fake(f"vf{i}", Trace(LEFT, 1.0), split="val") if i % 2 else real(f"vr{i}", split="val"))
    write_records(tmp_path / "records.jsonl", known)
    said = []
    for i, record in enumerate(r for r in known if r.label in ("fake", "real")):
        high = (record.label == "fake") != (i % 5 == 0)
        said.append(Verdict("fake" if high else "real", p_fake=0.999 if high else 0.001,
                            origin=Origin(record.video_id, model="sure")))  # fmt: skip
    verdicts = write(tmp_path, "v.jsonl", said)
    run = bench("calibrate", verdicts, tmp_path, "--out", tmp_path / "calibration.json")
    assert run.exit_code == 0, run.output
    calibration = read_calibration(tmp_path / "calibration.json")
    assert (calibration.model, calibration.split, calibration.n) == ("sure", "val", 20)
    assert calibration.slope < 0.5  # it is right in four cases of five and says 999 of 1000
    run = quick(verdicts, tmp_path, "--calibration", tmp_path / "calibration.json", "--json")
    assert json.loads(run.stdout)["runs"][0]["calibrations"] == {"platt, val, original": 4}
    few = write(tmp_path, "few.jsonl", said[-4:])
    refused = bench("calibrate", few, tmp_path, "--out", tmp_path / "c.json")
    assert "2 fake and 2 real videos have a probability; a calibration needs 10 of each" in str(refused.exception)
    assert not (tmp_path / "c.json").exists()
    refused = bench("calibrate", verdicts, tmp_path, "--out", tmp_path / "c.json", "--split", "test")
    assert "never fitted on test" in str(refused.exception)
    refused = bench("calibrate", verdicts, tmp_path, "--out", tmp_path / "c.json", "--model", "other")
    assert "holds answers of sure" in str(refused.exception)
