"""Reading: the same trace from every format, and what a reader says of files that are not as they should be."""

from __future__ import annotations

import contextlib
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from deeptrace.data import convert
from deeptrace.errors import DeepTraceError, FileError, JsonError, RecordError
from deeptrace.records import Box, Record, Trace, VideoInfo
from tests.data.interop.samples import END, INFO, START, TEXT, TRACE, cvat, hf, label_studio, labelbox, lines, put

INFOS = {"cups": INFO}


def same_box(a: Box | None, b: Box | None, tolerance: float = 1e-9) -> bool:
    if a is None or b is None:
        return a is b
    return all(abs(p - q) <= tolerance for p, q in zip(a, b, strict=True))


def assert_same(got: Trace, meant: Trace) -> None:
    assert got.onset_seconds == pytest.approx(meant.onset_seconds)
    assert got.offset_seconds == pytest.approx(meant.offset_seconds)
    assert got.categories == meant.categories
    assert got.explanation == meant.explanation
    assert same_box(got.bbox_xyxy, meant.bbox_xyxy)
    assert [(round(k.time_seconds, 9), k.visible) for k in got.track or ()] == [
        (round(k.time_seconds, 9), k.visible) for k in meant.track or ()
    ]
    assert all(same_box(a.bbox_xyxy, b.bbox_xyxy) for a, b in zip(got.track or (), meant.track or (), strict=True))


def one(path: Path, **options: Any) -> tuple[Record, list[str]]:
    records, problems = convert.read(path, **options)
    assert len(records) == 1
    return records[0], [str(problem) for problem in problems]


# ── the sample ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["labelbox", "label-studio", "cvat", "hf"])
def test_every_format_reads_the_same_trace(tmp_path: Path, name: str) -> None:
    path = {
        "labelbox": lambda: lines(tmp_path / "export.ndjson", labelbox()),
        "label-studio": lambda: put(tmp_path / "export.json", [label_studio()]),
        "cvat": lambda: put(tmp_path / "annotations.xml", cvat()),
        "hf": lambda: lines(tmp_path / "metadata.jsonl", hf()),
    }[name]()
    assert convert.sniff(path) == name
    record, problems = one(path, infos=INFOS)
    assert problems == []
    assert (record.video_id, record.label, record.info) == ("cups", "fake", INFO)
    assert len(record.traces) == 1
    assert_same(record.traces[0], TRACE)
    if name in {"labelbox", "label-studio"}:
        assert record.annotations[0].annotator == "ann@example.com"
        assert record.annotations[0].label == "fake"
        assert record.flags == ()


def test_the_label_of_a_traced_video_is_flagged_where_nobody_said_it(tmp_path: Path) -> None:
    record, _ = one(put(tmp_path / "a.xml", cvat()), infos=INFOS)
    assert record.label == "fake"
    assert record.annotations[0].label is None
    assert "label: from its traces" in record.flags


def test_what_is_no_annotation_file_is_not_recognised(tmp_path: Path) -> None:
    for name, content in {"a.json": '{"a": 1}', "b.txt": "hello", "c.xml": "<html/>", "d.json": ""}.items():
        assert convert.sniff(put(tmp_path / name, content)) is None
    with pytest.raises(RecordError, match=r"'b.txt' is in no format"):
        convert.read(tmp_path / "b.txt")
    with pytest.raises(RecordError, match="'coco' is only written"):
        convert.read(tmp_path / "b.txt", "coco")
    with pytest.raises(FileError):
        convert.sniff(tmp_path / "absent")
    coco = {"images": [{"file_name": "a.png"}], "annotations": [], "categories": []}
    assert convert.sniff(put(tmp_path / "coco.json", coco)) is None


# ── frame rates ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_missing_frame_rate_names_every_video_and_the_remedy(tmp_path: Path) -> None:
    rows = [labelbox(), labelbox()]
    for row, name in zip(rows, "ab", strict=True):
        del row["media_attributes"]
        row["data_row"] = {"external_id": f"{name}.mp4"}
    with pytest.raises(RecordError, match=r"no frame rate for 'a', 'b'.*infos=\{'a'") as caught:
        convert.read(lines(tmp_path / "e.ndjson", *rows))
    assert caught.value.field == "infos"
    records, _ = convert.read(tmp_path / "e.ndjson", infos={"a": INFO, "b.mp4": INFO})
    assert_same(records[1].traces[0], TRACE)


def test_cvat_says_no_frame_rate(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="no frame rate for 'cups'"):
        convert.read(put(tmp_path / "a.xml", cvat()))


@pytest.mark.parametrize("name", ["labelbox", "label-studio", "cvat"])
def test_a_variable_frame_rate_is_refused(tmp_path: Path, name: str) -> None:
    variable = VideoInfo(640, 480, fps=20.0, num_frames=100, variable_frame_rate=True)
    path = {
        "labelbox": lambda: lines(tmp_path / "export.ndjson", labelbox()),
        "label-studio": lambda: put(tmp_path / "export.json", [label_studio()]),
        "cvat": lambda: put(tmp_path / "annotations.xml", cvat()),
    }[name]()
    with pytest.raises(RecordError, match="'cups' has a variable frame rate") as caught:
        convert.read(path, infos={"cups": variable})
    assert caught.value.field == "variable_frame_rate"


@pytest.mark.parametrize("fps", [24000 / 1001, 30000 / 1001, 23.976, 29.97])
def test_broadcast_rates_stay_what_they_are(tmp_path: Path, fps: float) -> None:
    info = VideoInfo(640, 480, fps=fps, num_frames=100)
    record, _ = one(put(tmp_path / "a.xml", cvat()), infos={"cups": info})
    assert record.traces[0].onset_seconds == 8 / fps
    assert record.traces[0].offset_seconds == 28 / fps


# ── Labelbox ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_labelbox_both_forms_of_key_frames_and_all_frames(tmp_path: Path) -> None:
    row = labelbox(key_frame_feature_map={"f1": [9, 28]})
    record, _ = one(lines(tmp_path / "list.ndjson", row))
    assert_same(record.traces[0], TRACE)
    dense = labelbox()
    annotations = dense["projects"]["p1"]["labels"][0]["annotations"]
    first = annotations["frames"]["9"]["objects"]["f1"]
    for frame in range(10, 28):
        share = (frame - 9) / 19
        box = {"left": 64 + 32 * share, "top": 96 + 24 * share, "width": 128, "height": 144}
        annotations["frames"][str(frame)] = {"objects": {"f1": {**first, "bounding_box": box}}}
    for shown in ({"f1": {"9": True, "28": True}}, {}):
        annotations["key_frame_feature_map"] = shown
        record, problems = one(lines(tmp_path / "dense.ndjson", dense))
        assert problems == []
        assert_same(record.traces[0], TRACE)


def test_labelbox_never_interpolates_across_segments(tmp_path: Path) -> None:
    record, problems = one(lines(tmp_path / "e.ndjson", labelbox(segments={"f1": [[9, 13], [28, 29]]})))
    trace = record.traces[0]
    assert problems == []
    assert [k.visible for k in trace.track or ()] == [True, False, True, False]
    assert same_box(trace.box_at(12 / 20), START)  # the last frame of the first stretch, number 13
    assert trace.box_at(13 / 20) is None
    assert trace.box_at(26.9 / 20) is None
    assert same_box(trace.box_at(27 / 20), END)
    assert trace.offset_seconds == pytest.approx(29 / 20)


def test_labelbox_reports_bad_values_and_keeps_the_rest(tmp_path: Path) -> None:
    row = labelbox(segments={"f1": [[9, 28], [40, 30], "x"]})
    frames = row["projects"]["p1"]["labels"][0]["annotations"]["frames"]
    shape = frames["9"]["objects"]["f1"]
    frames["12"] = {"objects": {"f1": {**shape, "bounding_box": {"left": 9, "top": 9, "width": -5, "height": 9}}}}
    frames["13"] = {"objects": {"f1": {**shape, "bounding_box": {"left": 9, "top": 9, "width": 5}}}}
    frames["0"] = frames["9"]
    shape["classifications"][0]["checklist_answers"].append({"name": "Liquid"})
    record, problems = one(lines(tmp_path / "e.ndjson", row))
    assert_same(record.traces[0], TRACE)
    text = "\n".join(problems)
    assert "e.ndjson row 1 (video 'cups'): frames['0'] is not a frame number from 1 [emptied]" in text
    assert "frames[12].bounding_box [0.0140625, 0.01875, 0.00625, 0.0375] (fractions of the frame) is empty" in text
    assert "frames[13].bounding_box.height is missing" in text
    assert "segments [40, 30] is not a range" in text
    assert "segments 'x' is not a range" in text
    assert "'Liquid' is none of the nine categories" in text
    assert record.annotations[0].extra["unknown_tags"] == [{"trace": 0, "tags": ["Liquid"]}]
    assert "segments: emptied" in record.flags


def test_labelbox_other_objects_and_several_annotators(tmp_path: Path) -> None:
    row = labelbox()
    labels = row["projects"]["p1"]["labels"]
    second = json.loads(json.dumps(labels[0]))
    second["label_details"]["created_by"] = "bob@example.com"
    second["annotations"]["classifications"][0]["radio_answer"] = {"name": "Cannot tell"}
    second["annotations"]["frames"] = {"3": {"objects": {"p": {"annotation_kind": "VideoPoint", "name": "point"}}}}
    labels.append(second)
    record, problems = one(lines(tmp_path / "e.ndjson", row))
    assert [a.annotator for a in record.annotations] == ["ann@example.com", "bob@example.com"]
    assert [a.label for a in record.annotations] == ["fake", "unsure"]
    assert record.label is None
    assert record.annotations[1].extra["labelbox"]["other_objects"] == [{"feature_id": "p", "kinds": ["VideoPoint"]}]
    assert any("annotators say fake, unsure" in problem for problem in problems)


# ── Label Studio ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_label_studio_time_is_not_read_and_text_has_two_places(tmp_path: Path) -> None:
    task = label_studio()
    region = task["annotations"][0]["result"][0]
    for key in region["value"]["sequence"]:
        key["time"] = 99.0
    del region["meta"]
    area = {**region, "type": "textarea", "from_name": "explanation", "value": {**region["value"], "text": [TEXT]}}
    task["annotations"][0]["result"].append(area)
    record, problems = one(put(tmp_path / "e.json", [task]))
    assert problems == []
    assert_same(record.traces[0], TRACE)


def test_label_studio_counts_with_its_own_rate(tmp_path: Path) -> None:
    # Numbered at 24 a second while the video has 20: frame 9 is 8/24 s after the start.
    task = label_studio()
    task["annotations"][0]["result"][0]["value"]["framesCount"] = 120
    record, problems = one(put(tmp_path / "e.json", [task]), infos=INFOS)
    assert record.traces[0].onset_seconds == pytest.approx(8 / 24)
    assert any("120 in 5 s is 24 a second, not 20" in problem for problem in problems)


def test_label_studio_an_open_track_goes_on_to_the_end(tmp_path: Path) -> None:
    task = label_studio()
    task["annotations"][0]["result"][0]["value"]["sequence"][1]["enabled"] = True
    record, _ = one(put(tmp_path / "e.json", [task]))
    assert record.traces[0].offset_seconds == 5.0


def test_label_studio_timeline_labels(tmp_path: Path) -> None:
    task = label_studio()
    results = task["annotations"][0]["result"]
    value = {"ranges": [{"start": 9, "end": 28}], "timelinelabels": ["Object Merging"]}
    results.append({"id": "t1", "type": "timelinelabels", "value": value})
    other = {"ranges": [{"start": 41, "end": 50}, {"start": 0, "end": 3}], "timelinelabels": ["Sudden Blurring"]}
    results.append({"id": "t2", "type": "timelinelabels", "value": other})
    record, problems = one(put(tmp_path / "e.json", [task]))
    assert len(record.traces) == 2  # the first timeline label repeats the box
    assert record.traces[1] == Trace(onset_seconds=2.0, offset_seconds=2.5, categories=("Sudden Blurring",))
    assert len(problems) == 1
    assert "ranges 0 is not at least 1" in problems[0]


def test_label_studio_reports_bad_values_and_keeps_the_rest(tmp_path: Path) -> None:
    task = label_studio()
    sequence = task["annotations"][0]["result"][0]["value"]["sequence"]
    sequence.insert(1, {"frame": 15, "x": 10, "y": 20, "width": 20})
    sequence.insert(2, {"frame": 0, "x": 10, "y": 20, "width": 20, "height": 3})
    sequence[0]["rotation"] = 30
    skipped = {"was_cancelled": True, "result": []}
    task["annotations"].append(skipped)
    task["predictions"] = [{"result": []}]
    nameless = {"data": {}, "annotations": []}
    records, found = convert.read(put(tmp_path / "e.json", [task, nameless, 5]))
    problems = "\n".join(map(str, found))
    assert_same(records[0].traces[0], TRACE)
    assert len(records) == 1
    assert "e.json row 0 (video 'cups'): sequence[1].height is missing [emptied]" in problems
    assert "sequence[2].frame 0 is not at least 1 and at most 1e+07 [emptied]" in problems
    assert "rotation 30 degrees are not applied" in problems
    assert "was_cancelled" in problems
    assert "1 of a model are no annotations" in problems
    assert "e.json row 1: data.video is missing: the task names no video [set_aside]" in problems
    assert "e.json row 2: data.video is missing" in problems


def test_label_studio_min_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(JsonError, match=r"e\.json: is not a list of tasks"):
        convert.read(put(tmp_path / "e.json", {"a": 1}), "label-studio")


# ── CVAT ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def box(frame: int, x: float = 64.0, *, key: int = 1, outside: int = 0, extra: str = "") -> str:
    place = f'xtl="{x:.2f}" ytl="96.00" xbr="{x + 128:.2f}" ybr="240.00"'
    return f'<box frame="{frame}" keyframe="{key}" outside="{outside}" {place}>{extra}</box>'


def track(*boxes: str, label: str = "Object Merging") -> str:
    return f'<track id="0" label="{label}">{"".join(boxes)}</track>'


def test_cvat_dense_is_thinned_to_its_key_frames(tmp_path: Path) -> None:
    boxes = [box(f, 64 + 10 * (f - 8), key=int(f in {8, 20})) for f in range(8, 21)]
    document = cvat(track(*boxes, box(21, 184, outside=1)))
    record, _ = one(put(tmp_path / "a.xml", document), infos=INFOS)
    assert [k.time_seconds for k in record.traces[0].track or ()] == [8 / 20, 20 / 20, 21 / 20]
    boxes[5] = box(13, 300, key=0)  # off the line although it is no key frame: kept
    record, _ = one(put(tmp_path / "a.xml", cvat(track(*boxes, box(21, 184, outside=1)))), infos=INFOS)
    assert record.traces[0].box_at(13 / 20) == (300 / 640, 0.2, 428 / 640, 0.5)


def test_cvat_a_track_comes_back_and_moves_towards_the_box_that_hides_it(tmp_path: Path) -> None:
    document = cvat(track(box(10, 0), box(20, 100, outside=1), box(30, 200), box(99, 200)))
    record, problems = one(put(tmp_path / "a.xml", document), infos=INFOS)
    trace = record.traces[0]
    assert problems == []
    assert same_box(trace.box_at(19 / 20), (90 / 640, 0.2, 218 / 640, 0.5))
    assert trace.box_at(20 / 20) is None
    assert trace.box_at(29.5 / 20) is None
    assert same_box(trace.box_at(99 / 20), (200 / 640, 0.2, 328 / 640, 0.5))
    assert trace.offset_seconds == 5.0  # no outside box at the end: to the last frame


def test_cvat_zip_and_folder(tmp_path: Path) -> None:
    folder = tmp_path / "exports"
    folder.mkdir()
    with zipfile.ZipFile(folder / "one.zip", "w") as archive:
        archive.writestr("annotations.xml", cvat())
    put(folder / "two.xml", cvat().replace("cups", "mugs"))
    assert convert.sniff(folder / "one.zip") == "cvat"
    assert convert.sniff(folder) == "cvat"
    records, _ = convert.read(folder, infos={"cups": INFO, "mugs": INFO})
    assert [record.video_id for record in records] == ["cups", "mugs"]
    with pytest.raises(RecordError, match="no frame rate for 'cups', 'mugs'"):
        convert.read(folder)


def test_cvat_reports_bad_values_and_keeps_the_rest(tmp_path: Path) -> None:
    bad = [
        '<box keyframe="1" xtl="1" ytl="1" xbr="2" ybr="2"/>',
        '<box frame="9" xtl="1" ytl="1" xbr="2"/>',
        '<box frame="10" xtl="1" ytl="1" xbr="2" ybr="nan"/>',
        '<box frame="11" xtl="20" ytl="1" xbr="2" ybr="9"/>',
        '<box frame="-3" xtl="1" ytl="1" xbr="2" ybr="2"/>',
    ]
    tracks = track(box(8), *bad, box(27), box(28, outside=1)) + track(box(90), box(140), label="Smoke")
    record, problems = one(put(tmp_path / "a.xml", cvat(tracks)), infos=INFOS)
    text = "\n".join(problems)
    assert len(record.traces) == 2
    assert record.traces[0].offset_seconds == pytest.approx(1.4)
    assert record.traces[0].track is None
    assert record.traces[1].offset_seconds == 5.0
    assert "a.xml row 0 (video 'cups'): box.frame (box 1 of the track) is missing [emptied]" in text
    assert "box.ybr (frame 9) is missing" in text
    assert "box.ybr (frame 10) 'nan' is not a number" in text
    assert "box (frame 11) [0.03125" in text
    assert "'-3' is not a frame number from 0" in text
    assert "box.frame frame 140 (from 0) is beyond the video's 100 frames [repaired]" in text
    assert "'Smoke' is none of the nine" in text
    assert record.annotations[0].extra["unknown_tags"] == [{"trace": 1, "tags": ["Smoke"]}]


def test_cvat_an_attribute_that_changes_is_reported(tmp_path: Path) -> None:
    said = [f'<attribute name="explanation">{word}</attribute>' for word in ("", "first", "second")]
    boxes = [box(8 + index, extra=extra) for index, extra in enumerate(said)]
    record, problems = one(put(tmp_path / "a.xml", cvat(track(*boxes))), infos=INFOS)
    assert record.traces[0].explanation == "first"
    assert "attribute 'explanation' changes from box to box" in problems[0]
    assert record.flags == ("attribute 'explanation': repaired", "label: from its traces")


def test_cvat_refuses_entities_and_other_xml(tmp_path: Path) -> None:
    bomb = '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x "y"><!ENTITY z "&x;&x;&x;">]><annotations>&z;</annotations>'
    outside = '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/hostname">]><annotations>&x;</annotations>'
    for content in (bomb, outside):
        with pytest.raises(FileError, match=r"'a\.xml' has a document type or entities"):
            convert.read(put(tmp_path / "a.xml", content), "cvat")
    with pytest.raises(FileError, match=r"'a\.xml' is not XML: .*line 1"):
        convert.read(put(tmp_path / "a.xml", "<annotations><track>"), "cvat")
    with pytest.raises(FileError, match="CVAT for images"):
        convert.read(put(tmp_path / "a.xml", '<annotations><image id="0"/></annotations>'), "cvat")
    with pytest.raises(FileError, match="whole project"):
        convert.read(put(tmp_path / "a.xml", "<annotations><meta><project/></meta></annotations>"), "cvat")
    with pytest.raises(FileError, match="root is <html>"):
        convert.read(put(tmp_path / "a.xml", "<html/>"), "cvat")
    (tmp_path / "b.zip").write_bytes(b"PK\x03\x04 no")
    with pytest.raises(FileError, match=r"b\.zip"):
        convert.read(tmp_path / "b.zip", "cvat")


def test_boxes_are_clipped_with_a_word(tmp_path: Path) -> None:
    record, problems = one(put(tmp_path / "a.xml", cvat(track(box(8, -64), box(20, 700)))), infos=INFOS)
    assert record.traces[0].bbox_xyxy == (0.0, 0.2, 0.1, 0.5)
    assert len(problems) == 2
    assert "leaves the frame: clipped [repaired]" in problems[0]
    assert "is outside the frame [emptied]" in problems[1]


def test_a_track_wholly_beyond_the_video_keeps_its_box_without_times(tmp_path: Path) -> None:
    record, problems = one(put(tmp_path / "a.xml", cvat(track(box(200), box(210), box(211, outside=1)))), infos=INFOS)
    assert record.traces[0].onset_seconds is None
    assert record.traces[0].bbox_xyxy is not None
    assert "beyond the video's 100 frames [emptied]" in problems[0]


# ── Hugging Face ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_hf_splits_are_folders(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
        lines(tmp_path / split / "metadata.jsonl", hf(video_id=split, rating=4))
    assert convert.sniff(tmp_path) == "hf"
    records, problems = convert.read(tmp_path)
    assert problems == []
    assert [(r.video_id, r.path, r.split) for r in records] == [
        ("test", "test/cups.mp4", "test"),
        ("train", "train/cups.mp4", "train"),
    ]
    assert records[0].extra == {"rating": 4}
    with pytest.raises(FileError, match=r"holds no metadata\.jsonl"):
        convert.read(tmp_path / "empty", "hf")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("bbox_xyxy", [0.5, 0.5, 0.1, 0.9], "is empty [emptied]"),
        ("bbox_xyxy", [0.1, 0.2, 1.3, 0.9], "clipped [repaired]"),
        ("bbox_xyxy", [0.1, "x", 0.3, 0.9], "is not a number [emptied]"),
        ("bbox_xyxy", "whole", "is not a box of four numbers [emptied]"),
        ("onset_seconds", -1, "-1 is not at least 0 [emptied]"),
        ("offset_seconds", 0.4, "0.4 is not after the onset [emptied]"),
        ("categories", "merging", "is not a list of texts [emptied]"),
        ("categories", ["Object Merging", 3], "is not a list of texts [repaired]"),
        ("explanation", 7, "is not text [emptied]"),
        ("confidence", 1.5, "1.5 is not at least 0 and at most 1 [emptied]"),
        ("mood", "odd", "has unknown fields: mood [emptied]"),
        ("track", [{"time_seconds": 1, "bbox_xyxy": None}], "a visible key needs a box [emptied]"),
        ("track", [{"bbox_xyxy": None}], "time_seconds is missing [emptied]"),
    ],
)
def test_hf_a_bad_field_is_emptied_and_the_others_stay(tmp_path: Path, field: str, value: Any, message: str) -> None:
    row = hf()
    row["traces"][0].pop("track")
    row["traces"][0][field] = value
    record, problems = one(lines(tmp_path / "metadata.jsonl", row))
    assert len(problems) == 1
    assert message in problems[0]
    assert problems[0].startswith("metadata.jsonl row 1 (video 'cups'): traces[0]")
    trace = record.traces[0]
    assert trace.onset_seconds == (None if field == "onset_seconds" else 0.4)
    assert (trace.explanation is None) == (field == "explanation")


# ── anything ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_broken_line_is_named_and_nothing_is_imported(tmp_path: Path) -> None:
    path = lines(tmp_path / "e.ndjson", labelbox())
    path.write_text(path.read_text() + '{"data_row": \n')
    with pytest.raises(JsonError, match=r"e\.ndjson line 2: not JSON"):
        convert.read(path)


def test_paths_stay_inside_and_names_that_meet_get_their_folders(tmp_path: Path) -> None:
    rows = [labelbox() for _ in range(4)]
    for row, name in zip(
        rows, ["a/x.mp4", "https://h.example/b/x.mp4?token=1", "../../etc/y.mp4", r"C:\clips\z.mp4"], strict=True
    ):
        row["data_row"] = {"external_id": name}
    records, problems = convert.read(lines(tmp_path / "e.ndjson", *rows))
    assert [r.path for r in records] == ["a/x.mp4", "b/x.mp4", "y.mp4", "clips/z.mp4"]
    assert [r.video_id for r in records] == ["a/x", "b/x", "y", "z"]
    assert [r.flags for r in records] == [(), (), ("external_id: repaired",), ()]
    assert len(problems) == 1
    assert "climbs out of the data's folder" in str(problems[0])


def test_rows_of_one_video_become_one_record(tmp_path: Path) -> None:
    records, _ = convert.read(put(tmp_path / "e.json", [label_studio(), label_studio()]))
    assert len(records) == 1
    assert len(records[0].annotations) == 2


JUNK: list[Any] = [None, True, -1, 1e300, "x", [], {}, [[]], [{}], {"f1": 3}, {"": None}]


@pytest.mark.parametrize("junk", JUNK, ids=repr)
def test_any_part_may_be_junk_and_only_our_errors_rise(tmp_path: Path, junk: Any) -> None:
    def spoiled(value: Any) -> list[Any]:
        """Copies of a JSON value, each with one part replaced."""
        copies = []
        if isinstance(value, dict):
            for key in value:
                copies += [{**value, key: part} for part in [junk, *spoiled(value[key])]]
        elif isinstance(value, list):
            for index in range(len(value)):
                copies += [[*value[:index], part, *value[index + 1 :]] for part in [junk, *spoiled(value[index])]]
        return copies

    for name, row in {"labelbox": labelbox(), "label-studio": [label_studio()], "hf": hf()}.items():
        for copy in spoiled(row):
            path = put(tmp_path / "file.jsonl", json.dumps(copy))
            with contextlib.suppress(DeepTraceError):
                convert.read(path, name)  # type: ignore[arg-type]
