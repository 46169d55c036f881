"""Exports with values that are none, and videos whose names few systems can write."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deeptrace.data import convert, load_records, write_records
from deeptrace.errors import FileError
from deeptrace.records import Annotation, Record
from tests.data.interop.samples import INFO, TRACE, hf, label_studio, labelbox, lines, put
from tests.data.test_load_hostile import NAMES

BAD = ("NaN", "Infinity", "1e999", "9" * 40, '"\\ud800"', "true")
MARK = "@@@"


def _write(path: Path, rows: list[Any], value: str) -> Path:
    """Rows as a file, a line each, or as a list in a .json; the mark in them is replaced by a value in JSON."""
    text = json.dumps(rows) if path.suffix == ".json" else "\n".join(map(json.dumps, rows))
    path.write_text(text.replace(f'"{MARK}"', value))
    return path


def _set(row: dict[str, Any], place: tuple[Any, ...]) -> dict[str, Any]:
    holder: Any = row
    for key in place[:-1]:
        holder = holder[key]
    holder[place[-1]] = MARK
    return row


_LABEL = ("projects", "p1", "labels", 0)
_FRAME = (*_LABEL, "annotations", "frames", "9", "objects", "f1", "bounding_box")
_RESULT = ("annotations", 0, "result", 0)

PLACES = [
    ("labelbox", ("media_attributes", "frame_count"), "num_frames: emptied"),
    ("labelbox", (*_FRAME, "left"), "frames[9].bounding_box.left: emptied"),
    ("labelbox", (*_LABEL, "id"), None),
    ("labelbox", ("projects", "p1", "name"), None),
    ("label-studio", (*_RESULT, "value", "sequence", 0, "x"), "sequence[0].x: emptied"),
    ("label-studio", (*_RESULT, "value", "framesCount"), "framesCount: emptied"),
    ("label-studio", (*_RESULT, "score"), "score: emptied"),
    ("label-studio", ("data", "note"), None),
    ("label-studio", ("annotations", 0, "lead_time"), None),
    ("hf", ("fps",), "fps: emptied"),
    ("hf", ("traces", 0, "onset_seconds"), "traces[0].onset_seconds: emptied"),
    ("hf", ("traces", 0, "bbox_xyxy", 2), "traces[0].bbox_xyxy: emptied"),
    ("hf", ("note",), None),
]


@pytest.mark.parametrize("value", BAD)
@pytest.mark.parametrize(("name", "place", "flag"), PLACES)
def test_a_bad_value_costs_its_field(
    tmp_path: Path, *, name: str, place: tuple[Any, ...], flag: str | None, value: str
) -> None:
    row = _set({"labelbox": labelbox, "label-studio": label_studio, "hf": hf}[name](), place)
    other = json.loads(json.dumps(row).replace("cups", "mugs").replace(MARK, "1"))
    file = {"labelbox": "e.ndjson", "label-studio": "e.json", "hf": "metadata.jsonl"}[name]
    infos = {"cups": INFO, "mugs": INFO} if name == "label-studio" else {"mugs": INFO}
    records = load_records(_write(tmp_path / file, [row, other], value), infos=infos)
    assert [record.video_id for record in records] == ["cups", "mugs"]
    if flag is None:
        assert len(records.problems) == (value != "true")  # true is JSON, and extra may hold it
        assert all(problem.action == "emptied" for problem in records.problems)
    else:
        assert [problem.tag for problem in records.problems if problem.video_id == "cups"].count(flag) == 1
        assert flag in records[0].flags
    write_records(tmp_path / "records.jsonl", records)
    assert list(load_records(tmp_path / "records.jsonl", strict=True)) == list(records)


def test_numbers_may_be_texts(tmp_path: Path) -> None:
    row = labelbox()
    row["media_attributes"] = {"width": "640", "height": "480", "frame_rate": "20", "frame_count": "100"}
    [record] = load_records(lines(tmp_path / "e.ndjson", row), strict=True)
    assert record.info is not None
    assert (record.info.fps, record.traces[0].onset_seconds) == (20.0, 0.4)
    task = label_studio()
    task["data"]["fps"] = "20"
    task["annotations"][0]["result"][0]["value"]["sequence"][0]["x"] = "10"
    [record] = load_records(put(tmp_path / "e.json", [task]), strict=True)
    assert record.traces[0].onset_seconds == 0.4


def test_an_address_that_is_none(tmp_path: Path) -> None:
    row = labelbox()
    row["data_row"] = {"row_data": "http://[x/cups.mp4"}
    records, _ = convert.read(lines(tmp_path / "e.ndjson", row))
    assert records[0].path is not None


# ── names ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_names_survive_every_format_that_is_read(tmp_path: Path, name: str) -> None:
    path = f"videos/{name}"
    record = Record("clip", path, label="fake", info=INFO, annotations=(Annotation((TRACE,), "fake", "ann"),))
    cases: list[tuple[convert.Format, str, dict[str, Any]]] = [
        ("labelbox", "e.ndjson", {}),
        ("label-studio", "e.json", {}),
        ("label-studio", "s3.json", {"url_prefix": "s3://bucket/"}),
        ("label-studio", "plain.json", {"url_prefix": ""}),
        ("hf", "hf", {}),
        ("hf", "parquet", {"layout": "parquet"}),
        ("cvat", "cvat", {}),
    ]
    for form, target, options in cases:
        problems = convert.write(
            tmp_path / target, [record, replace(record, video_id="b", path="b.mp4")], form, **options
        )
        back = {r.video_id: r for r in load_records(tmp_path / target)}
        if any(problem.action == "set_aside" for problem in problems):
            assert target in {"parquet", "cvat"}
            assert list(back) == ["b"]
            continue
        assert set(back) == {"clip", "b"}
        assert back["clip"].path == path
        assert "\ufffd" not in str(back["clip"])


def test_an_id_made_of_a_name_that_is_not_utf8_can_be_written(tmp_path: Path) -> None:
    row = labelbox()
    row["data_row"] = {"external_id": "videos/caf\udce9.mp4"}
    found = load_records(lines(tmp_path / "e.ndjson", row))
    assert (found[0].video_id, found[0].path) == ("caf\\xe9", "videos/caf\udce9.mp4")
    write_records(tmp_path / "records.jsonl", found)
    assert list(load_records(tmp_path / "records.jsonl", strict=True)) == list(found)


@pytest.mark.skipif(os.name == "nt", reason="has no named pipes in folders")
@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.ndjson", "a.xml", "a.zip", "metadata.parquet"])
def test_a_pipe_is_refused_by_every_importer_and_waited_for_by_none(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(FileError, match="is not a regular file"):
        load_records(tmp_path / name)
    with pytest.raises(FileError, match="is not a regular file"):
        convert.sniff(tmp_path / name)
    for format in convert.READABLE:
        with pytest.raises(FileError, match="is not a regular file"):
            convert.read(tmp_path / name, format)


@pytest.mark.parametrize("format", convert.FORMATS)
def test_every_writer_makes_the_folder_it_writes_into(tmp_path: Path, format: convert.Format) -> None:
    record = Record("clip", "clip.mp4", info=INFO, label="fake", annotations=(Annotation((TRACE,)),))
    target = tmp_path / "a" / "b" / "out"
    convert.write(target, [record], format)
    assert target.exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="cannot make the folder"):
        convert.write(tmp_path / "file" / "b" / "out", [record], format)
