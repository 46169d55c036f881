"""What an export says and no field holds is reported, and where two sources say how long something lasts one wins."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from deeptrace.data import convert
from deeptrace.data.read.problems import Problem
from deeptrace.records import Record, VideoInfo
from tests.data.interop.samples import label_studio, labelbox, lines, put

INFO = VideoInfo(1280, 720, fps=25.0, num_frames=600)
BOX = {"frame": 11, "enabled": True, "rotation": 0, "x": 10, "y": 20, "width": 30, "height": 40, "time": 0.44}
SEQUENCE = {"framesCount": 125, "duration": 5.0, "sequence": [BOX, {**BOX, "frame": 46, "enabled": False}]}
RECTANGLE = {"id": "r", "type": "videorectangle", "value": {**SEQUENCE, "labels": ["Object Distortion"]}}
PHANTOM = {"id": "r", "type": "timelinelabels", "value": {**SEQUENCE, "timelinelabels": ["Object Distortion"]}}


def _task(*results: Any, data: dict[str, Any] | None = None, key: str = "annotations", **more: Any) -> dict[str, Any]:
    return {"id": 1, "data": data or {"video": "clip.mp4"}, key: [{"id": 7, "result": list(results)}], **more}


def _one(path: Path, **infos: VideoInfo) -> tuple[Record, list[Problem]]:
    [record], problems = convert.read(path, infos={f"{name}.mp4": info for name, info in infos.items()} or None)
    return record, problems


@pytest.mark.parametrize("results", [(RECTANGLE, PHANTOM), (PHANTOM, RECTANGLE)], ids=["behind", "before"])
def test_a_rectangle_that_is_exported_a_second_time_is_one_trace(tmp_path: Path, results: tuple[Any, ...]) -> None:
    record, problems = _one(put(tmp_path / "e.json", [_task(*results)]))
    [trace] = record.traces
    assert trace.bbox_xyxy == pytest.approx((0.1, 0.2, 0.4, 0.6))
    assert (trace.onset_seconds, trace.offset_seconds) == (0.4, 1.84)
    assert trace.categories == ("Object Distortion",)
    assert problems == []


@pytest.mark.parametrize(
    ("data", "path"),
    [
        ({"prompt": "A dog runs. It barks.", "video_url": "/data/upload/3/clip.mp4"}, "data/upload/3/clip.mp4"),
        ({"note": "v1.2 of it", "file": "s3://bucket/a/clip.webm"}, "a/clip.webm"),
        ({"text": "It ends. Then", "url": "https://host/x/clip.mp4?token=1"}, "x/clip.mp4"),
        ({"prompt": "like clip.mp4 but red", "my_video": "stream/7"}, "stream/7"),
    ],
)
def test_the_video_is_what_looks_like_one(tmp_path: Path, data: dict[str, str], path: str) -> None:
    record, problems = _one(put(tmp_path / "e.json", [_task(RECTANGLE, data=data)]))
    assert record.path == path
    assert problems == []
    assert {**record.extra, "prompt": record.prompt}.items() >= {("prompt", data.get("prompt"))}


def test_a_text_without_a_video_names_none(tmp_path: Path) -> None:
    records, problems = convert.read(put(tmp_path / "e.json", [_task(RECTANGLE, data={"prompt": "It runs. Fast."})]))
    assert records == []
    assert [problem.action for problem in problems] == ["set_aside"]


def test_an_upload_is_matched_by_its_own_name_and_said(tmp_path: Path) -> None:
    path = put(tmp_path / "e.json", [_task(RECTANGLE, data={"video": "/data/upload/3/0a1b2c3d-clip.mp4"})])
    record, [problem] = _one(path, clip=INFO)
    assert (record.path, record.video_id, record.info) == ("clip.mp4", "clip", INFO)
    assert "is an upload of 'clip.mp4', which is taken" in str(problem)
    record, [problem] = _one(path)
    assert (record.path, record.video_id) == ("data/upload/3/0a1b2c3d-clip.mp4", "clip")
    assert "not known here" in str(problem)


def test_a_release_before_1_0_and_stretches_in_seconds_are_read(tmp_path: Path) -> None:
    record, problems = _one(put(tmp_path / "e.json", [_task(RECTANGLE, key="completions")]))
    assert len(record.traces) == 1
    assert problems == []
    heard = {"id": "t", "type": "labels", "value": {"start": 1.2, "end": 3.4, "labels": ["Object Distortion"]}}
    record, [problem] = _one(put(tmp_path / "e.json", [_task(heard)]))
    [trace] = record.traces
    assert (trace.onset_seconds, trace.offset_seconds, trace.bbox_xyxy) == (1.2, 3.4, None)
    assert problem.action == "kept"


LABEL_STUDIO = {
    "another kind of result": _task(RECTANGLE, {"id": "x", "type": "brushlabels", "value": {"rle": [1]}}),
    "another key of a value": _task({**RECTANGLE, "value": {**RECTANGLE["value"], "severity": 3}}),
    "another key of a key frame": _task({**RECTANGLE, "value": {**SEQUENCE, "sequence": [{**BOX, "depth": 4}]}}),
    "another key of a result": _task({**RECTANGLE, "parentID": "y"}),
    "another key of the task": _task(RECTANGLE, drafts=[{"result": [1]}]),
    "another key of the annotation": {**_task(), "annotations": [{"result": [RECTANGLE], "notes": "?"}]},
    "no ranges": _task(
        {"id": "t", "type": "timelinelabels", "value": {"timelinelabels": ["Object Merging"], **SEQUENCE}}
    ),
    "ranges and boxes": _task(RECTANGLE, {**PHANTOM, "value": {"ranges": [{"start": 1, "end": 2}]}}),
    "no labels and no boxes": _task({"id": "t", "type": "videorectangle", "value": {**SEQUENCE, "sequence": []}}),
    "a result that is none": _task(RECTANGLE, "oops"),
    "a turned box": _task({**RECTANGLE, "value": {**SEQUENCE, "sequence": [{**BOX, "rotation": 90}]}}),
}


@pytest.mark.parametrize("name", LABEL_STUDIO)
def test_label_studio_reports_what_became_no_field(tmp_path: Path, name: str) -> None:
    record, problems = _one(put(tmp_path / "e.json", [LABEL_STUDIO[name]]), clip=INFO)
    assert problems, record


# ── CVAT ────────────────────────────────────────────────────────────────────────────────────────────────────────────

XML = """<annotations><meta><{kind}><name>clip</name><size>100</size><start_frame>{start}</start_frame>
<stop_frame>{stop}</stop_frame><frame_filter>{filter}</frame_filter><original_size><width>1280</width>
<height>720</height></original_size><source>clip.mp4</source></{kind}></meta>{more}
<track id="0" label="Object Distortion"><box frame="310" keyframe="1" outside="0" occluded="0"
xtl="100" ytl="100" xbr="300" ybr="200" {box}></box></track></annotations>"""


def _cvat(folder: Path, **parts: object) -> tuple[Record, list[Problem]]:
    given = {"kind": "job", "start": 300, "stop": 399, "filter": "", "more": "", "box": "", **parts}
    (folder / "a.xml").write_text(XML.format(**given))
    return _one(folder / "a.xml", clip=INFO)


@pytest.mark.parametrize("kind", ["job", "task"])
@pytest.mark.parametrize(("stop", "offset"), [(399, 16.0), (310, 12.44), (599, 24.0), (700, 24.0)])
def test_an_open_track_ends_with_what_was_annotated(tmp_path: Path, kind: str, stop: int, offset: float) -> None:
    record, problems = _cvat(tmp_path, kind=kind, stop=stop)
    assert (record.traces[0].onset_seconds, record.traces[0].offset_seconds) == (12.4, pytest.approx(offset))
    assert bool(problems) == (stop == 700)  # beyond the video, whose own count cuts


@pytest.mark.parametrize(
    ("degrees", "box"),
    [
        ("90.00", (150, 50, 250, 250)), ("180", (100, 100, 300, 200)), ("270", (150, 50, 250, 250)),
        ("-90", (150, 50, 250, 250)), ("45", (93.934, 43.934, 306.066, 256.066)),
    ],
)  # fmt: skip
def test_a_turned_box_becomes_the_one_round_it(tmp_path: Path, degrees: str, box: tuple[float, ...]) -> None:
    record, [problem] = _cvat(tmp_path, box=f'rotation="{degrees}"')
    assert record.traces[0].bbox_xyxy == pytest.approx(
        [v / s for v, s in zip(box, (1280, 720) * 2, strict=True)], abs=1e-5
    )
    assert (problem.field, problem.action) == ("box.rotation", "repaired")


@pytest.mark.parametrize(
    "parts",
    [
        {"box": 'depth="3"'}, {"box": 'rotation="much"'}, {"filter": "step=5"}, {"more": "<tag label='x' frame='1'/>"},
        {"more": "<track label='y'><skeleton/></track>"}, {"more": "<track label='y'></track>"},
    ],
    ids=str,
)  # fmt: skip
def test_cvat_reports_what_became_no_field(tmp_path: Path, parts: dict[str, str]) -> None:
    assert _cvat(tmp_path, **parts)[1]


# ── Labelbox ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _label(row: dict[str, Any]) -> dict[str, Any]:
    label: dict[str, Any] = row["projects"]["p1"]["labels"][0]
    return label


def test_a_labelbox_export_as_one_list_is_read(tmp_path: Path) -> None:
    [expected], _ = convert.read(lines(tmp_path / "e.ndjson", labelbox()))
    path = put(tmp_path / "e.json", [labelbox()])
    assert convert.sniff(path) == "labelbox"
    [record], _ = convert.read(path)
    assert record == expected


@pytest.mark.parametrize("place", ["performance_details", "label_details"])
def test_a_skipped_label_is_no_annotation(tmp_path: Path, place: str) -> None:
    row = labelbox()
    _label(row).setdefault(place, {})["skipped"] = True
    [record], problems = convert.read(lines(tmp_path / "e.ndjson", row))
    assert record.annotations == ()
    assert ("skipped", "set_aside") in [(problem.field, problem.action) for problem in problems]


@pytest.mark.parametrize(
    "change",
    [
        lambda row: _label(row)["annotations"].update(relationships=[{"id": 1}]),
        lambda row: _label(row)["annotations"].setdefault("classifications", []).append(
            {"name": "weather", "radio_answer": {"name": "rain"}}),
        lambda row: next(iter(_label(row)["annotations"]["frames"].values())).update(
            classifications=[{"name": "q", "radio_answer": {"name": "a"}}]),
        lambda row: _label(row).update(notes="look again"),
        lambda row: row.update(comments=["look again"]),
    ],
)  # fmt: skip
def test_labelbox_reports_what_became_no_field(tmp_path: Path, change: Any) -> None:
    row = json.loads(json.dumps(labelbox()))
    before = len(convert.read(lines(tmp_path / "e.ndjson", row))[1])
    change(row)
    assert len(convert.read(lines(tmp_path / "e.ndjson", row))[1]) == before + 1


def test_the_samples_hold_nothing_unread(tmp_path: Path) -> None:
    for path in (lines(tmp_path / "e.ndjson", labelbox()), put(tmp_path / "e.json", [label_studio()])):
        assert [str(problem) for problem in convert.read(path)[1]] == []
