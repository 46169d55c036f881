"""Loading the release: rows join to records, frames and pixels become seconds and fractions, problems are listed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from deeptrace.data import Records, load_records, resolve, write_records
from deeptrace.errors import FileError, JsonError, RecordError
from deeptrace.records import Record, VideoInfo
from tests.data.release import make_release, make_row


def load(folder: Path, *rows: Any, strict: bool = False) -> Records:
    (folder / "all_data.json").write_text(json.dumps(list(rows)))
    return load_records(folder, strict=strict)


def test_a_row_becomes_fractions_and_seconds(tmp_path: Path) -> None:
    (record,) = load(tmp_path, make_row())
    assert record.path == "videos/cm2p0z6r111at0709f1l5ubdb.mp4"
    assert (record.label, record.source, record.split) == ("fake", "Pika 1.5", "train")
    assert record.info == VideoInfo(1280, 720, fps=24.0, num_frames=120, duration_seconds=5.0)
    (trace,) = record.traces
    assert trace.bbox_xyxy == pytest.approx((0.1, 0.1, 0.3, 0.3))  # 128, 72, 256 x 144 of 1280 x 720
    assert (trace.onset_seconds, trace.offset_seconds) == (1.0, 3.0)  # frame 24 at 24 fps, for 2 s
    assert trace.categories == ("Object Distortion",)
    assert trace.explanation == "The tail of the kite bends like rubber."
    assert record.extra == {"video_mime_type": "video/mp4"}
    assert record.flags == ()


def test_rows_of_one_video_join_in_order(tmp_path: Path) -> None:
    records = load(tmp_path, make_row(), make_row(faketrace_first_frame=0), make_row(video_id="b", video_path="b.mp4"))
    assert [len(record.annotations) for record in records] == [2, 1]
    assert [trace.onset_seconds for trace in records[0].traces] == [1.0, 0.0]
    assert records.by_id["b"].path == "b.mp4"
    assert records[:1] == (records[0],)
    assert records.problems == ()


TRACK = [
    {"time_seconds": 1.0, "bbox_xyxy": [0.1, 0.1, 0.3, 0.3], "visible": True},
    {"time_seconds": 2.0, "bbox_xyxy": [0.3, 0.1, 0.5, 0.3], "visible": True},
    {"time_seconds": 2.5, "bbox_xyxy": None, "visible": False},
]


def test_an_injected_track_moves_the_box_and_survives(tmp_path: Path) -> None:
    records = load(tmp_path, make_row(inject_track=TRACK, inject_params={"strength": 0.7}), strict=True)
    (annotation,) = records[0].annotations
    (trace,) = annotation.traces
    assert trace.box_at(1.5) == pytest.approx((0.2, 0.1, 0.4, 0.3))
    assert trace.box_at(2.7) is None
    assert annotation.extra["inject_params"] == {"strength": 0.7}
    assert "inject_track" not in annotation.extra  # the trace holds it
    write_records(tmp_path / "records.jsonl", records)
    assert list(load_records(tmp_path / "records.jsonl", strict=True)) == list(records)


@pytest.mark.parametrize(
    "track",
    [
        "a line",
        [{"time_seconds": 1.0, "bbox_xyxy": [0.3, 0.1, 0.1, 0.3]}],
        [{"bbox_xyxy": [0.1, 0.1, 0.3, 0.3]}],
        [*TRACK, TRACK[0]],
        [{"time_seconds": 1.0, "visible": True}],
        [7],
    ],
)
def test_what_is_no_track_is_kept_as_written_and_listed(tmp_path: Path, track: Any) -> None:
    records = load(tmp_path, make_row(inject_track=track))
    (annotation,) = records[0].annotations
    assert annotation.traces[0].track is None
    assert annotation.traces[0].bbox_xyxy is not None
    assert annotation.extra["inject_track"] == track
    (problem,) = records.problems
    assert (problem.field, problem.action) == ("inject_track", "kept")


def test_a_track_with_a_number_beyond_range_is_emptied_once(tmp_path: Path) -> None:
    text = json.dumps([make_row(inject_track=TRACK)]).replace("2.5", "1e999")
    (tmp_path / "all_data.json").write_text(text)
    records = load_records(tmp_path)
    assert records[0].traces[0].track is None
    assert [(problem.field, problem.action) for problem in records.problems] == [("inject_track", "emptied")]


@pytest.mark.parametrize("nulls", [True, False])
def test_a_real_row_needs_no_trace_fields(tmp_path: Path, nulls: bool) -> None:
    row = make_row(video_type="real_video", video_prompt=None)
    for name in [name for name in row if name.startswith("faketrace_")]:
        if nulls:
            row[name] = None
        else:
            del row[name]
    (record,) = load(tmp_path, row, strict=True)
    assert record.label == "real"
    assert [(a.label, a.traces) for a in record.annotations] == [("real", ())]


def test_a_real_row_with_a_trace_contradicts_itself(tmp_path: Path) -> None:
    records = load(tmp_path, make_row(video_type="real_video", faketrace_first_frame=0, faketrace_explanations=""))
    assert records[0].traces == ()
    assert {p.field for p in records.problems} == {"faketrace_bbox", "faketrace_duration", "faketrace_check_applies"}


def test_numbers_are_read_from_text(tmp_path: Path) -> None:
    row = make_row(video_width="1280", video_frame_rate="24/1", video_frame_count="120.0", video_duration=" 5 ")
    assert load(tmp_path, row, strict=True)[0] == load(tmp_path, make_row())[0]


def test_nothing_said_is_none(tmp_path: Path) -> None:
    row = dict.fromkeys(make_row()) | {"video_id": "a", "video_path": "a.mp4", "video_type": "fake_video"}
    (record,) = load(tmp_path, row | {"faketrace_explanations": "  ", "faketrace_check_applies": []}, strict=True)
    assert record == Record("a", "a.mp4", "fake", annotations=record.annotations, extra={"video_mime_type": None})
    assert [(a.label, a.traces) for a in record.annotations] == [("fake", ())]  # the row still counts


def test_a_box_is_clipped_and_reported(tmp_path: Path) -> None:
    box = {"left": -20, "top": 700, "width": 100, "height": 100}
    records = load(tmp_path, make_row(faketrace_bbox=box))
    assert records[0].traces[0].bbox_xyxy == pytest.approx((0, 700 / 720, 80 / 1280, 1))
    assert records.counts == {"faketrace_bbox: repaired": 1}
    assert records[0].flags == ("faketrace_bbox: repaired",)


def test_a_length_is_cut_at_the_end_and_reported(tmp_path: Path) -> None:
    records = load(tmp_path, make_row(faketrace_duration=9))
    assert records[0].traces[0].offset_seconds == 5.0
    assert records.counts == {"faketrace_duration: repaired": 1}
    assert load(tmp_path, make_row(faketrace_duration=4.0000000001)).problems == ()


def test_the_end_is_the_later_of_duration_and_frames(tmp_path: Path) -> None:
    records = load(tmp_path, make_row(video_duration=4.9, faketrace_first_frame=118, faketrace_duration=2 / 24))
    assert records[0].traces[0].onset_seconds == 118 / 24
    assert records.problems == ()


def test_unknown_tags_are_kept_and_counted(tmp_path: Path) -> None:
    tags = ["light flickers", "merging (e.g. two objects merge into one.)"]
    records = load(tmp_path, make_row(faketrace_check_applies=tags))
    assert records[0].traces[0].categories == ("Object Merging",)
    assert records[0].annotations[0].extra["faketrace_check_applies"] == tags
    assert records.counts == {"faketrace_check_applies: kept": 1}
    load(tmp_path, make_row(faketrace_check_applies=tags), strict=True)  # pointing out is not refusing


def test_no_category_on_purpose_is_not_nothing_said(tmp_path: Path) -> None:
    none_of_them = ["None of the above, but I've written in the explanations"]
    assert load(tmp_path, make_row(faketrace_check_applies=none_of_them))[0].traces[0].categories == ()
    assert load(tmp_path, make_row(faketrace_check_applies=[]))[0].traces[0].categories is None


def test_rows_that_disagree(tmp_path: Path) -> None:
    rows = [make_row(video_width=640), make_row(), make_row()]
    records = load(tmp_path, *rows)
    assert records[0].info is not None
    assert records[0].info.width == 1280
    assert [(p.row, p.field, p.action) for p in records.problems] == [(0, "video_width", "emptied")]


def test_a_fake_and_a_real_row_leave_no_label(tmp_path: Path) -> None:
    real = {name: value for name, value in make_row().items() if not name.startswith("faketrace")}
    records = load(tmp_path, make_row(), real | {"video_type": "real_video"})
    assert records[0].label is None
    assert [a.label for a in records[0].annotations] == ["fake", "real"]
    assert records.counts == {"video_type: emptied": 1}


def test_two_paths_of_one_id(tmp_path: Path) -> None:
    records = load(tmp_path, make_row(video_path="x.mp4"), make_row(), make_row())
    assert records[0].path == make_row()["video_path"]
    assert [(p.row, p.action) for p in records.problems] == [(0, "set_aside")]
    assert len(records[0].annotations) == 2


def test_a_size_that_is_missing_in_one_row_comes_from_another(tmp_path: Path) -> None:
    (record,) = load(tmp_path, make_row(video_width=None), make_row(), strict=True)
    assert all(trace.bbox_xyxy is not None for trace in record.traces)


def test_what_cannot_be_placed_is_kept_as_written(tmp_path: Path) -> None:
    records = load(tmp_path, make_row(video_width="wide"))
    assert records[0].info is None
    assert records[0].extra["video_frame_rate"] == 24.0
    extra = records[0].annotations[0].extra
    assert extra["faketrace_bbox"] == make_row()["faketrace_bbox"]
    assert (extra["faketrace_first_frame"], extra["faketrace_duration"]) == (24, 2.0)
    assert records.counts == {"video_width: emptied": 1}  # one cause, one problem
    missing = load(tmp_path, make_row(video_width=None, video_height=None))
    assert set(missing.counts) == {"faketrace_bbox: emptied", "faketrace_first_frame: emptied"}


def test_unknown_fields_are_kept(tmp_path: Path) -> None:
    rows = [make_row(video_bitrate=5, video_x=1, note={"a": [1]}), make_row(video_bitrate=5, video_x=2)]
    (record,) = load(tmp_path, *rows, strict=True)
    assert record.extra == {"video_mime_type": "video/mp4", "video_bitrate": 5}
    assert [a.extra.get("video_x") for a in record.annotations] == [1, 2]
    assert record.annotations[0].extra["note"] == {"a": [1]}


def test_strict_lists_the_first_twenty(tmp_path: Path) -> None:
    rows = [make_row(video_id=f"v{i}", video_path=f"v{i}.mp4", video_duration=-1) for i in range(25)]
    with pytest.raises(RecordError) as caught:
        load(tmp_path, *rows, strict=True)
    message = str(caught.value)
    assert message.startswith("all_data.json: 25 problems:\n")
    assert "row 19 (video 'v19'): video_duration -1 is not above 0" in message
    assert "row 20" not in message
    assert message.endswith("and 5 more")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"all_data\.json nor records\.jsonl"):
        load_records(tmp_path)
    with pytest.raises(FileError, match="No such file"):
        load_records(tmp_path / "absent.json")
    for name in ("all_data.json", "records.jsonl"):
        (tmp_path / name).write_text("[]")
    with pytest.raises(FileError, match="holds both"):
        load_records(tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="no pipes in the file system")
def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "all_data.json")
    with pytest.raises(FileError, match="not a regular file"):
        load_records(tmp_path)


@pytest.mark.parametrize(
    "text", ["", "no", "{", '{"a": 1}', "5", '"text"', "[" * 100_000, "[1, 2", "\x00\x01", "[{]", "﻿", "null"]
)
def test_a_file_that_is_not_rows_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "all_data.json").write_text(text)
    with pytest.raises(JsonError, match=r"all_data\.json"):
        load_records(tmp_path)


def test_bytes_that_are_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "all_data.json").write_bytes(json.dumps([make_row()]).encode("utf-16"))
    with pytest.raises(JsonError, match="not UTF-8"):
        load_records(tmp_path)


def test_resolve_follows_links_only_inside(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "videos").mkdir(parents=True)
    outside.mkdir()
    (root / "videos" / "a.mp4").write_bytes(b"a")
    (outside / "b.mp4").write_bytes(b"b")
    (root / "inner.mp4").symlink_to("videos/a.mp4")
    (root / "outer.mp4").symlink_to(outside / "b.mp4")
    (root / "folder").symlink_to(outside)
    (root / "loop").symlink_to("loop")
    assert resolve(root, Record("a", "videos/a.mp4")) == (root / "videos/a.mp4").resolve()
    assert resolve(root, Record("a", "inner.mp4")) == (root / "videos/a.mp4").resolve()
    assert resolve(root, Record("a", "videos/absent.mp4")).name == "absent.mp4"
    for path in ("outer.mp4", "folder/b.mp4", "folder/absent.mp4", "../outside/b.mp4", str(outside / "b.mp4"), None):
        with pytest.raises(RecordError):
            resolve(root, Record("a", path))


def test_the_whole_release_is_read(tmp_path: Path) -> None:
    path = make_release(tmp_path)
    records = load_records(path, strict=True)
    assert len(records) == 6636
    fakes = [record for record in records if record.label == "fake"]
    assert sum(len(record.annotations) for record in fakes) == 4334
    assert len(fakes) == 3318


def test_importing_the_room_is_light() -> None:
    heavy = "{'matplotlib', 'sklearn', 'scipy', 'av', 'cv2', 'torch', 'pyarrow', 'defusedxml', 'huggingface_hub'}"
    code = f"import sys, deeptrace.data; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
