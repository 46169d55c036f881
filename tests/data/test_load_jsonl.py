"""Our own records.jsonl: exact both ways, streamed, and repaired line by line when a stranger wrote it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deeptrace.data import Problem, iter_records, load_records, write_records
from deeptrace.data.read.load import iter_checked
from deeptrace.errors import FileError, JsonError, RecordError
from deeptrace.files import dumps, loads
from deeptrace.records import Annotation, KeyBox, Record, Trace, VideoInfo
from deeptrace.rows import record_from_json, record_to_json
from tests.data.strategies import records

TRACE = Trace(
    (0.1, 0.1, 0.3, 0.3), 1.0, 3.0, ("Object Merging",), "two cups fuse", (KeyBox(1.0, (0.1, 0.1, 0.3, 0.3)),)
)
RECORD = Record(
    "a",
    "videos/a.mp4",
    "fake",
    VideoInfo(1280, 720, 24.0, 120, 5.0, "h264", False),
    "Pika 1.5",
    "train",
    "two cups",
    (Annotation((TRACE,), "fake", "ann", {"note": [1, {"b": None}]}),),
    ("video_prompt: emptied",),
    {"video_mime_type": "video/mp4"},
)


@given(records)
def test_a_row_is_exact_both_ways(record: Record) -> None:
    assert record_from_json(loads(dumps(record_to_json(record)))) == record


@settings(max_examples=25, deadline=None)
@given(st.lists(records, max_size=3, unique_by=lambda record: record.video_id))
def test_a_file_is_exact_both_ways(tmp_path_factory: pytest.TempPathFactory, known: list[Record]) -> None:
    file = tmp_path_factory.mktemp("file") / "records.jsonl"
    write_records(file, known)
    assert list(iter_records(file)) == known
    again = load_records(file, strict=True) if known else ()
    assert list(again) == known


def row(**changes: Any) -> dict[str, Any]:
    return record_to_json(RECORD) | changes


def load(folder: Path, *rows: object) -> tuple[list[Record], list[Problem]]:
    good = record_to_json(Record("good"))
    (folder / "records.jsonl").write_text("".join(json.dumps(r) + "\n" for r in (*rows, good)))
    loaded = load_records(folder)
    assert loaded[-1] == Record("good")
    return list(loaded[:-1]), list(loaded.problems)


def changed_trace(**changes: Any) -> dict[str, Any]:
    value = row()
    value["annotations"][0]["traces"][0].update(changes)
    return value


NAN = float("nan")
BAD: list[tuple[dict[str, Any], str]] = [
    (row(label="deepfake"), "label"),
    (row(label=True), "label"),
    (row(source=5), "source"),
    (row(split=["train"]), "split"),
    (row(prompt="\ud800"), "prompt"),
    (row(prompt=NAN), "prompt"),
    (row(info=5), "info"),
    (row(info={"fps": 24.0}), "info"),
    (row(info={"width": "1280", "height": 720}), "info.width"),
    (row(info={"width": 1280, "height": 720, "fps": NAN}), "info.fps"),
    (row(info={"width": 1280, "height": 720, "codec": "\udc00"}), "info.codec"),
    (row(info={"width": 1280, "height": 720, "bitrate": 5}), "info.bitrate"),
    (row(info={"width": 1280, "height": 720, "has_audio": 1}), "info.has_audio"),
    (row(annotations=5), "annotations"),
    (row(annotations=[5]), "annotations[0]"),
    (row(annotations=[{"label": "maybe"}]), "annotations[0].label"),
    (row(annotations=[{"annotator": 5}]), "annotations[0].annotator"),
    (row(annotations=[{"traces": {}}]), "annotations[0].traces"),
    (row(annotations=[{"traces": [None]}]), "annotations[0].traces[0]"),
    (row(annotations=[{"extra": []}]), "annotations[0].extra"),
    (row(annotations=[{"extra": {"x": NAN}}]), "annotations[0].x"),
    (row(flags="emptied"), "flags"),
    (row(flags=[1]), "flags"),
    (row(extra=5), "extra"),
    (row(extra={"x": NAN, "y": 1}), "x"),
    (row(extra={"x": "\ud800"}), "x"),
    (changed_trace(bbox_xyxy=[0.5, 0.1, 0.3, 0.3]), "annotations[0].traces[0].bbox_xyxy"),
    (changed_trace(bbox_xyxy=[0, 0, 2, 1]), "annotations[0].traces[0].bbox_xyxy"),
    (changed_trace(bbox_xyxy=[0, 0, 1]), "annotations[0].traces[0].bbox_xyxy"),
    (changed_trace(bbox_xyxy=[0, NAN, 1, 1]), "annotations[0].traces[0].bbox_xyxy"),
    (changed_trace(onset_seconds=-1), "annotations[0].traces[0].onset_seconds"),
    (changed_trace(onset_seconds=True), "annotations[0].traces[0].onset_seconds"),
    (changed_trace(offset_seconds=0.5), "annotations[0].traces[0].offset_seconds"),
    (changed_trace(categories=["Melting"]), "annotations[0].traces[0].categories"),
    (changed_trace(categories="Object Merging"), "annotations[0].traces[0].categories"),
    (changed_trace(explanation=5), "annotations[0].traces[0].explanation"),
    (changed_trace(explanation="\ud800"), "annotations[0].traces[0].explanation"),
    (changed_trace(track=[]), "annotations[0].traces[0].track"),
    (changed_trace(track=[{"time_seconds": NAN, "bbox_xyxy": None}]), "annotations[0].traces[0].track"),
    (changed_trace(confidence=1.5), "annotations[0].traces[0].confidence"),
    (changed_trace(mask="x"), "annotations[0].traces[0].mask"),
]


@pytest.mark.parametrize(("value", "field"), BAD, ids=[f"{i}-{field}" for i, (_, field) in enumerate(BAD)])
def test_a_bad_value_empties_its_field(tmp_path: Path, value: dict[str, Any], field: str) -> None:
    (record,), problems = load(tmp_path, value)
    assert [(p.row, p.video_id, p.field, p.action) for p in problems] == [(1, "a", field, "emptied")]
    assert record.flags[-1] == f"{field}: emptied"
    assert record.path == RECORD.path
    write_records(tmp_path / "copy.jsonl", [record])
    assert list(iter_records(tmp_path / "copy.jsonl")) == [record]
    with pytest.raises(RecordError, match=r"records\.jsonl row 1"):
        list(iter_records(tmp_path / "records.jsonl"))


@pytest.mark.parametrize(
    ("value", "field"),
    [
        (5, "row"),
        ([], "row"),
        ({}, "schema"),
        (row(schema_version=2), "schema"),
        (row(schema_version=True), "schema"),
        (row(schema="deeptrace.verdict"), "schema"),
        (row(video_id=None), "video_id"),
        (row(video_id=""), "video_id"),
        (row(video_id=5), "video_id"),
        (row(path="../a.mp4"), "path"),
        (row(path=5), "path"),
    ],
)
def test_a_row_that_is_set_aside(tmp_path: Path, value: object, field: str) -> None:
    found, problems = load(tmp_path, value)
    assert found == []
    assert [(p.row, p.field, p.action) for p in problems] == [(1, field, "set_aside")]


def test_one_id_on_two_rows(tmp_path: Path) -> None:
    found, problems = load(tmp_path, row(), row(label="real"))
    assert found == [RECORD]
    assert [(p.video_id, p.field, p.action) for p in problems] == [("a", "video_id", "set_aside")]


def test_a_field_of_another_version_is_kept(tmp_path: Path) -> None:
    (record,), problems = load(tmp_path, row(quality=0.5))
    assert record.extra == {"video_mime_type": "video/mp4", "quality": 0.5}
    assert [(p.field, p.action) for p in problems] == [("quality", "kept")]


def test_a_cut_last_line_is_set_aside(tmp_path: Path) -> None:
    write_records(tmp_path / "records.jsonl", [RECORD, Record("b")])
    whole = (tmp_path / "records.jsonl").read_bytes()
    (tmp_path / "records.jsonl").write_bytes(whole[:-20])
    records = load_records(tmp_path)
    assert list(records) == [RECORD]
    assert [(p.row, p.field, p.action) for p in records.problems] == [(2, "line", "set_aside")]


@pytest.mark.parametrize("text", ["{", '{"a": 1}', '{"schema": "deeptrace.record", "schema_version": 9}\n', "{}\n{}\n"])
def test_a_file_without_a_record_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "records.jsonl").write_text(text)
    with pytest.raises(JsonError, match=r"records\.jsonl"):
        load_records(tmp_path)


def test_writing_is_all_or_nothing(tmp_path: Path) -> None:
    file = tmp_path / "records.jsonl"
    write_records(file, [RECORD])
    with pytest.raises(JsonError):
        write_records(file, [Record("b"), Record("c", extra={"x": float("inf")})])
    assert list(iter_records(file)) == [RECORD]
    assert [child.name for child in tmp_path.iterdir()] == ["records.jsonl"]
    with pytest.raises(FileError):
        write_records(file / "records.jsonl", [RECORD])


@pytest.mark.linux
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/status")
def test_streaming_needs_no_memory(tmp_path: Path) -> None:
    """A hundredth of the million rows of benchmarks/load_speed.py, in a process that may grow by 8 MiB."""
    line = dumps(record_to_json(RECORD)) + "\n"
    (tmp_path / "records.jsonl").write_text(line * 10_000)
    code = """
import sys, re, pathlib
from deeptrace.data import iter_records
def rss(): return int(re.search(r"VmRSS:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1])
rows = iter_records(sys.argv[1])
for _ in range(500): next(rows)
before = rss()
count = 500 + sum(1 for _ in rows)
print(count, rss() - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "records.jsonl")], capture_output=True, text=True, check=True
    )
    count, growth_kib = map(int, done.stdout.split())
    assert count == 10_000
    assert growth_kib < 8 * 1024


def test_counts_of_earlier_problems_survive(tmp_path: Path) -> None:
    file = tmp_path / "records.jsonl"
    write_records(file, [Record("a"), Record("b")], counts={"fps: emptied": 3})
    head, *lines = file.read_text().splitlines()
    assert json.loads(head) == {"schema": "deeptrace.records", "schema_version": 1, "problems": {"fps: emptied": 3}}
    assert list(iter_records(file)) == [Record("a"), Record("b")]
    file.write_text("\n".join([head, *lines, '{"schema": "deeptrace.record", "schema_version": 2}']))
    found = load_records(file)
    assert found.counts == {"fps: emptied": 3, "schema: set_aside": 1}
    write_records(file, found)
    assert load_records(file).earlier == found.counts
    write_records(file, [Record("a")])
    assert len(file.read_text().splitlines()) == 1  # nothing to say: no such line


@pytest.mark.parametrize(
    ("head", "kept"),
    [
        ({"problems": {"a: emptied": -1, "b: emptied": True, "c: emptied": 2, "d: emptied": "3"}}, {"c: emptied": 2}),
        ({"problems": [1]}, {}),
        ({"problems": {"c: emptied": 2}, "schema_version": 2}, {}),
        ({}, {}),
    ],
)
def test_counts_that_are_none_are_listed(tmp_path: Path, head: dict[str, Any], kept: dict[str, int]) -> None:
    file = tmp_path / "records.jsonl"
    write_records(file, [Record("a")], counts={"x: emptied": 1})
    _, line = file.read_text().splitlines()
    file.write_text(json.dumps({"schema": "deeptrace.records", "schema_version": 1, **head}) + "\n" + line)
    found = load_records(file)
    assert list(found) == [Record("a")]
    assert found.earlier == kept
    assert found.problems


def test_a_streamed_check_says_what_loading_says(tmp_path: Path) -> None:
    rows = [{"schema": "deeptrace.record", "schema_version": 1, "video_id": f"v{n % 7}", "path": f"v{n}.mp4"}
            for n in range(10)]  # fmt: skip
    rows[3]["label"] = "perhaps"
    del rows[5]["path"]
    path = tmp_path / "records.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + "not JSON\n")
    problems: list[Problem] = []
    ids = [r.video_id for r in iter_checked(path, on_problem=problems.append, on_counts=lambda _: None)]
    loaded = load_records(path)
    assert ids == [record.video_id for record in loaded]
    assert tuple(problems) == loaded.problems
    assert {problem.problem for problem in problems} > {"stands on two records"}
