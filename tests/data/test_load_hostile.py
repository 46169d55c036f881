"""JSON, paths and names from strangers: a bad value costs its field or its row, never the file, and is listed."""

from __future__ import annotations

import csv
import io
import json
import random
import time
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deeptrace.data import Records, check_path, load_records, resolve, write_records
from deeptrace.errors import DeepTraceError, RecordError
from deeptrace.records import Record
from tests.data.release import make_row
from tests.data.strategies import json_values

DEEP = "[" * 100 + "]" * 100
NUMBER_FIELDS = (
    "video_width",
    "video_height",
    "video_frame_rate",
    "video_frame_count",
    "video_duration",
    "faketrace_first_frame",
    "faketrace_duration",
)
TEXT_FIELDS = ("video_source", "video_prompt", "split", "video_type", "faketrace_explanations")

# Values as they stand in the file, none of which is a number, a text, a box or a list of tags.
BAD_NUMBERS = [
    "NaN",
    "Infinity",
    "-Infinity",
    "1e999",
    "-1e999",
    "9" * 5000,
    "true",
    "false",
    '"1_0"',
    '"nan"',
    '"inf"',
]
BAD_NUMBERS += ['"0x10"', '"12px"', '"１２"', "[5]", '{"a": 1}', "-1", '"1,5"', '"5/0"', '"\\ud800"', DEEP]
BAD_TEXTS = ["NaN", "5", "true", '["a"]', "{}", '"\\ud800"', '"a\\udfffb"', "1e999"]
BAD_BOXES = ["NaN", "[1, 2, 3, 4]", '"1 2 3 4"', "true", '{"left": 1, "top": 1, "width": 5}']
BAD_BOXES += [
    f'{{"left": {value}, "top": 1, "width": 5, "height": 5}}'
    for value in ("NaN", "1e999", "true", '"1_0"', "null", "[]")
]
BAD_BOXES += [
    f'{{"left": 1, "top": 1, "width": {value}, "height": 5}}' for value in ("-5", "0", "-Infinity", "9" * 5000)
]
BAD_BOXES += [
    '{"left": 1280, "top": 1, "width": 5, "height": 5}',
    '{"left": 1, "top": -50, "width": 5, "height": 50}',
    '{"left": 1, "left": 2, "top": 1, "width": 5, "height": 5}',
    '{"left": 1e308, "top": 1, "width": 1e308, "height": 5}',
]
BAD_TAGS = ["NaN", "5", '"merging"', '[5, "merging"]', '["\\ud800"]', '{"a": 1}', "[null, true]", "[NaN]"]

SPECIMENS = (
    [(name, value) for name in NUMBER_FIELDS[:2] for value in [*BAD_NUMBERS, "0", "1.5", '"7e9"']]
    + [(name, value) for name in NUMBER_FIELDS[2:] for value in BAD_NUMBERS[:14]]
    + [(name, value) for name in TEXT_FIELDS for value in BAD_TEXTS]
    + [("video_type", '"deepfake"'), ("video_type", "null"), ("split", '"training"')]
    + [("faketrace_bbox", value) for value in BAD_BOXES]
    + [("faketrace_check_applies", value) for value in BAD_TAGS]
    + [("note", value) for value in ("NaN", "[1e999]", DEEP, '"\\udc00"', '{"a": {"b": Infinity}}', '{"a": 1, "a": 2}')]
)


def load_text(folder: Path, text: str) -> Records:
    (folder / "all_data.json").write_text(text, encoding="utf-8")
    return load_records(folder)


def row_text(**values: str) -> str:
    """A right row in which the fields named hold this text of JSON."""
    known = {name: json.dumps(value) for name, value in make_row().items()}
    return "{" + ", ".join(f'"{name}": {value}' for name, value in (known | values).items()) + "}"


def neighbour() -> str:
    return json.dumps(make_row(video_id="other", video_path="other.mp4"))


@pytest.mark.parametrize(("name", "value"), SPECIMENS, ids=lambda value: ascii(value)[:30])
def test_a_bad_value_empties_its_field(tmp_path: Path, name: str, value: str) -> None:
    records = load_text(tmp_path, f"[{row_text(**{name: value})}, {neighbour()}]")
    assert [(p.file, p.row, p.video_id, p.field, p.action) for p in records.problems] == [
        ("all_data.json", 0, make_row()["video_id"], name, "emptied")
    ]
    assert len(str(records.problems[0])) < 300
    assert str(records.problems[0]).isascii()
    with pytest.raises(RecordError, match="1 problem"):
        load_records(tmp_path, strict=True)
    bad, good = records
    assert bad.flags == (f"{name}: emptied",)
    assert good == load_text(tmp_path, f"[{neighbour()}]")[0]
    write_records(tmp_path / "copy.jsonl", records)
    assert list(load_records(tmp_path / "copy.jsonl", strict=True)) == list(records)


@pytest.mark.parametrize("name", ["video_id", "video_path"])
@pytest.mark.parametrize("value", ["null", '""', '" "', "5", "true", "NaN", "[]", "{}", '"\\ud800"', "1e999"])
def test_a_row_without_usable_id_or_path_is_set_aside(tmp_path: Path, name: str, value: str) -> None:
    records = load_text(tmp_path, f"[{row_text(**{name: value})}, {neighbour()}]")
    assert [record.video_id for record in records] == ["other"]
    assert [(p.row, p.field, p.action) for p in records.problems] == [(0, name, "set_aside")]


@pytest.mark.parametrize("value", ["null", "5", "[]", '"row"', "NaN", "true"])
def test_a_row_that_is_no_object_is_set_aside(tmp_path: Path, value: str) -> None:
    records = load_text(tmp_path, f"[{value}, {neighbour()}]")
    assert [record.video_id for record in records] == ["other"]
    assert [(p.row, p.action) for p in records.problems] == [(0, "set_aside")]


@pytest.mark.parametrize("name", ["video_width", "faketrace_bbox", "video_source"])
def test_a_key_that_stands_twice(tmp_path: Path, name: str) -> None:
    twice = row_text()[:-1] + f', "{name}": {json.dumps(make_row()[name])}}}'
    records = load_text(tmp_path, f"[{twice}]")
    assert records.counts == {f"{name}: emptied": 1}
    assert "stands twice" in str(records.problems[0])


def test_an_id_that_stands_twice_in_one_row(tmp_path: Path) -> None:
    records = load_text(tmp_path, f'[{row_text()[:-1]}, "video_id": "b"}}, {neighbour()}]')
    assert records.counts == {"video_id: set_aside": 1}


def test_a_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "all_data.json").write_bytes(b"\xef\xbb\xbf" + f"[{row_text()}]".encode())
    assert load_records(tmp_path).problems == ()


@given(st.dictionaries(st.sampled_from(sorted(make_row())), json_values), st.booleans())
def test_whatever_stands_in_a_row_it_loads_and_survives(
    tmp_path_factory: pytest.TempPathFactory, changes: dict[str, Any], alone: bool
) -> None:
    folder = tmp_path_factory.mktemp("rows")
    rows = [make_row(**changes)] if alone else [make_row(), make_row(**changes)]
    (folder / "all_data.json").write_text(json.dumps(rows))
    records = load_records(folder)
    assert len(records) + records.counts.get("video_id: set_aside", 0) >= 1 or records.problems
    write_records(folder / "copy.jsonl", records)
    if records:
        assert list(load_records(folder / "copy.jsonl", strict=True)) == list(records)


# ── corruptions are counted ─────────────────────────────────────────────────────────────────────────────────────────


def _box(left: float, top: float, width: float, height: float) -> dict[str, float]:
    return {"left": left, "top": top, "width": width, "height": height}


MEASURED: tuple[tuple[str, str, Any], ...] = (
    ("faketrace_bbox", "emptied", _box(2000, 10, 50, 50)),  # outside the frame
    ("faketrace_bbox", "repaired", _box(1200, 10, 500, 50)),  # partly outside
    ("faketrace_bbox", "emptied", _box(100, 100, -50, 50)),  # x1 < x0
    ("faketrace_bbox", "emptied", _box(100, 100, 0, 50)),  # no area
    ("faketrace_bbox", "emptied", _box(float("nan"), 100, 5, 50)),
    ("faketrace_first_frame", "emptied", 120),  # onset at the end of the video
    ("faketrace_first_frame", "emptied", 10**6),
    ("faketrace_first_frame", "emptied", -1),
    ("faketrace_first_frame", "emptied", True),
    ("faketrace_duration", "repaired", 60.0),  # offset after the end of the video
    ("faketrace_duration", "emptied", -2.0),  # offset before onset
    ("faketrace_duration", "emptied", "1_0"),
    ("video_width", "emptied", float("inf")),
    ("video_height", "emptied", "tall"),
    ("video_frame_rate", "emptied", 0),
    ("video_frame_count", "emptied", 12.5),
    ("video_duration", "emptied", -1),
    ("video_duration", "emptied", 10**30),
    ("video_path", "set_aside", "../other.mp4"),
    ("video_id", "set_aside", None),
)
"""Field, what is done about it, bad value. Frame, time and box measure each other: at most one of these a video."""

WORDS: tuple[tuple[str, str, Any], ...] = (
    ("video_type", "emptied", "deepfake"),
    ("video_prompt", "emptied", ["a"]),
    ("split", "emptied", "holdout"),
    ("faketrace_explanations", "emptied", 5),
    ("faketrace_check_applies", "emptied", "merging"),
)
"""Fields that stand alone: any number of these a row."""


def test_every_corruption_is_counted_once(tmp_path: Path) -> None:
    """1,000 rounds over 4 videos of one to three rows each."""
    rng = random.Random(7)
    file = tmp_path / "all_data.json"
    for _ in range(1000):
        rows: list[dict[str, Any]] = []
        expected: list[tuple[int, str, str]] = []
        for video in range(4):
            group = [make_row(video_id=f"v{video}", video_path=f"v{video}.mp4") for _ in range(rng.randint(1, 3))]
            measured = (rng.randrange(len(group)), rng.choice(MEASURED)) if rng.random() < 0.7 else (None, None)
            for number, row in enumerate(group):
                spoilt = [measured[1]] if measured[1] and measured[0] == number else []
                if not spoilt or spoilt[0][1] != "set_aside":  # a row set aside is reported for that alone
                    spoilt += rng.sample(WORDS, rng.choice((0, 0, 1, 3)))
                for name, action, value in spoilt:
                    row[name] = value
                    expected.append((len(rows), name, action))
                rows.append(row)
        file.write_text(json.dumps(rows))
        records = load_records(file)
        assert sorted((p.row, p.field, p.action) for p in records.problems) == sorted(expected)
        assert sum(records.counts.values()) == len(expected)


# ── paths ───────────────────────────────────────────────────────────────────────────────────────────────────────────

BAD_PATHS = (
    *("../../etc/passwd", "..", "../", "videos/../../a.mp4", "videos/..", "a/../b.mp4", "./../a.mp4", "..//a.mp4"),
    *(
        "/etc/passwd",
        "/",
        "//server/share/a.mp4",
        "///a.mp4",
        "/dev/stdin",
        "/dev/zero",
        "/proc/self/fd/0",
        "/videos/a.mp4",
    ),
    *(
        "C:/a.mp4",
        "c:a.mp4",
        "C:\\a.mp4",
        "Z:",
        "\\\\server\\share\\a.mp4",
        "\\\\?\\C:\\a.mp4",
        "\\a.mp4",
        "\\\\.\\COM1",
    ),
    *("videos\\a.mp4", "..\\..\\a.mp4", "videos/..\\a.mp4", "videos\\..\\a.mp4", "a\\", "\\", ".\\a.mp4", "a.mp4\\"),
    *("file:a.mp4", "file:///etc/passwd", "file://localhost/etc/passwd", "FILE:/etc/passwd", "http://127.0.0.1/a.mp4"),
    *(
        "https://example.com/a.mp4",
        "ftp://h/a.mp4",
        "rtsp://h/a",
        "tcp://127.0.0.1:80",
        "udp://@:1234",
        "pipe:0",
        "pipe:",
    ),
    *(
        "concat:a.mp4|b.mp4",
        "subfile,,start,0,end,9,,:/etc/passwd",
        "cache:a.mp4",
        "async:a.mp4",
        "data:video/mp4;base64,",
    ),
    *(
        "crypto:a.mp4",
        "tee:a|b",
        "fd:3",
        "lavfi:testsrc",
        "unix:/run/x",
        "s3://bucket/a.mp4",
        "hf://a/b.mp4",
        "zip:a!b",
    ),
    *("\0", "videos/a.mp4\0", "videos/\0/a.mp4", "a\0.mp4/b", "\0/etc/passwd", "videos/a.mp4\0.txt"),
    *(
        "x" * 5000,
        "a/" * 2500 + "b.mp4",
        "é" * 1025,
        "v/" + "x" * 256,
        "x" * 256 + "/a.mp4",
        "é" * 128,
        "v/" + "😀" * 64,
    ),
    *("", " ", "\t\n", ".", "./", "videos/", "videos/.", "videos//", "a/./"),
    *("\ud800.mp4", "videos/\udfff.mp4", "videos/\ud83d.mp4", "\udbff/a.mp4"),
)


def test_there_are_enough_bad_paths() -> None:
    assert len(set(BAD_PATHS)) == len(BAD_PATHS) >= 80


def test_bad_paths_are_set_aside_and_nothing_is_opened(tmp_path: Path) -> None:
    rows = [make_row(video_id=f"v{i}", video_path=path) for i, path in enumerate(BAD_PATHS)]
    (tmp_path / "all_data.json").write_text(json.dumps([*rows, make_row()]))
    import os

    opened: list[Any] = []
    real_open = os.open
    with mock.patch("os.open", side_effect=lambda path, *a: opened.append(path) or real_open(path, *a)):
        records = load_records(tmp_path)
    assert {str(path) for path in opened} == {str(tmp_path / "all_data.json")}
    assert [record.video_id for record in records] == [make_row()["video_id"]]
    assert [(p.row, p.video_id, p.field, p.action) for p in records.problems] == [
        (i, f"v{i}", "video_path", "set_aside") for i in range(len(BAD_PATHS))
    ]


@pytest.mark.parametrize("path", BAD_PATHS, ids=range(len(BAD_PATHS)))
def test_bad_paths_are_not_resolved_nor_read_from_our_own_file(tmp_path: Path, path: str) -> None:
    with pytest.raises(RecordError, match="path"):
        resolve(tmp_path, Record("a", path))
    write_records(tmp_path / "records.jsonl", [Record("a", path), Record("b", "b.mp4")])
    records = load_records(tmp_path)
    assert [record.video_id for record in records] == ["b"]
    assert [(p.row, p.video_id, p.field, p.action) for p in records.problems] == [(1, "a", "path", "set_aside")]


@pytest.mark.parametrize(("path", "kept"), [("./a.mp4", "a.mp4"), ("a//b.mp4", "a/b.mp4"), ("a/./b", "a/b")])
def test_paths_are_tidied(path: str, kept: str) -> None:
    assert check_path(path) == kept


# ── names ───────────────────────────────────────────────────────────────────────────────────────────────────────────

NAMES = (
    *("caf\udce9.mp4", "\udcff\udcfe.mp4", "é.mp4", "e\u0301.mp4", "日本語.mp4", "видео.mp4", "😀.mp4", "👩‍👩‍👧.mp4"),
    *(
        "\u202egpj.4pm",
        "\u2066a\u2069.mp4",
        "a\nb.mp4",
        "a\r\nb.mp4",
        "a\tb.mp4",
        "\x1b[31mred.mp4",
        "\x07.mp4",
        "\x7f.mp4",
    ),
    *("-rf.mp4", "--help", "x" * 251 + ".mp4", "é" * 125 + ".mp4", " a.mp4", "a.mp4 ", "a.", "'a'.mp4", '"a".mp4'),
    *("<b>a.mp4", "a&b.mp4", "a;rm -rf ~.mp4", "$(id).mp4", "%2e%2e%2fa.mp4", "~root", "=1+1.mp4", "{{7*7}}.mp4"),
)


def test_there_are_enough_names() -> None:
    assert len(set(NAMES)) == len(NAMES) >= 30


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_names_survive(tmp_path: Path, name: str) -> None:
    clean = name.encode("utf-8", "replace").decode()
    row = make_row(video_id=clean, video_path=f"videos/{name}", video_source=clean, video_prompt=clean)
    (tmp_path / "all_data.json").write_text(json.dumps([row]))
    (record,) = records = load_records(tmp_path, strict=True)
    assert (record.video_id, record.path, record.source) == (clean, f"videos/{name}", clean)
    assert resolve(tmp_path, record).name == name
    write_records(tmp_path / "copy.jsonl", records)
    text = (tmp_path / "copy.jsonl").read_bytes()
    assert text.isascii()
    assert text.count(b"\n") == 1
    again = load_records(tmp_path / "copy.jsonl", strict=True)
    assert list(again) == list(records)
    write_records(tmp_path / "again.jsonl", again)
    assert (tmp_path / "again.jsonl").read_bytes() == text
    csv.writer(table := io.StringIO()).writerow([record.path])
    assert next(csv.reader(io.StringIO(table.getvalue(), newline=""))) == [record.path]


def test_no_error_is_of_another_kind(tmp_path: Path) -> None:
    """Bytes at random places of a good file: it loads, or it is one of our errors."""
    rng, messages = random.Random(3), []
    good = bytearray(json.dumps([make_row(), make_row(video_id="b", video_path="b.mp4")]).encode())
    for _ in range(300):
        data = bytearray(good)
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        (tmp_path / "all_data.json").write_bytes(data)
        try:
            load_records(tmp_path)
        except DeepTraceError as error:
            messages.append(str(error))
    assert messages
    assert not any(str(tmp_path) in message for message in messages)


@pytest.mark.parametrize("value", ["NaN", "5"])
def test_size_costs_no_more_than_its_share(tmp_path: Path, value: str) -> None:
    """Many rows of one video, and many unknown fields in one row: time grows with the file, not with its square."""
    many = ", ".join(f'"video_{i}": {value}' for i in range(30_000))
    begin = time.process_time()
    records = load_text(tmp_path, f"[{row_text()[:-1]}, {many}}}]")
    assert len(records.problems) == (30_000 if value == "NaN" else 0)
    records = load_text(tmp_path, f"[{', '.join([row_text(video_width=value, video_x='1')] * 10_000)}]")
    assert len(records[0].annotations) == 10_000
    assert time.process_time() - begin < 10


def test_long_ids_and_names_stay_out_of_messages(tmp_path: Path) -> None:
    long = "x\x1b[31m" * 10_000
    records = load_text(tmp_path, json.dumps([make_row(video_id=long), make_row(**{long: float("nan")})]))
    assert len(records) == 1
    assert [p.action for p in records.problems] == ["set_aside", "emptied"]
    assert all(len(str(p)) < 300 and str(p).isprintable() for p in records.problems)
