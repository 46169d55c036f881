"""Writing and reading again: frames, boxes, texts and categories are the same, whatever the record."""

from __future__ import annotations

import json
import math
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deeptrace.categories import CATEGORIES
from deeptrace.data import Records, convert
from deeptrace.data.convert._frames import SNAP_FRAMES, segments_of
from deeptrace.errors import FileError, RecordError
from deeptrace.records import Annotation, Box, KeyBox, Record, Trace, VideoInfo
from tests.data.interop.samples import INFO, TRACE
from tests.strategies import boxes as any_boxes
from tests.strategies import traces as any_traces

RATES = (10.0, 23.976, 24000 / 1001, 25.0, 29.97, 30000 / 1001, 59.94)
FORMS: dict[str, tuple[convert.Format, str, dict[str, Any]]] = {
    "labelbox": ("labelbox", "a.ndjson", {}),
    "labelbox, every frame": ("labelbox", "a.ndjson", {"interpolated_frames": True}),
    "label-studio": ("label-studio", "a.json", {}),
    "label-studio, notes": ("label-studio", "a.json", {"text": "meta"}),
    "cvat": ("cvat", "a.xml", {}),
    "cvat, sparse": ("cvat", "folder", {"density": "sparse"}),
    "cvat, zip": ("cvat", "a.zip", {"density": "sparse"}),
    "hf": ("hf", "folder", {}),
    "hf, parquet": ("hf", "folder", {"layout": "parquet"}),
}


def again(form: str, records: list[Record]) -> list[Record]:
    name, file, options = FORMS[form]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, file)
        convert.write(path, records, name, **options)
        assert convert.sniff(path) == name
        return convert.read(path)[0]


def visible(trace: Trace, info: VideoInfo) -> dict[int, Box | None]:
    """The boxes of the visible frames, by asking the trace itself at each frame's time."""
    assert info.fps
    shown = {}
    for frame in range(info.num_frames or 0):
        time = frame / info.fps
        start, end = trace.onset_seconds or 0.0, math.inf if trace.offset_seconds is None else trace.offset_seconds
        box = trace.box_at(time)
        if box is not None or (start <= time < end and trace.bbox_xyxy is None and not trace.track):
            shown[frame] = box
    return shown


@st.composite
def sound_boxes(draw: st.DrawFn) -> Box:
    """Boxes of at least a hundredth of the frame."""
    x, y = draw(st.floats(0, 0.9)), draw(st.floats(0, 0.9))
    return (x, y, draw(st.floats(x + 0.01, 1.0)), draw(st.floats(y + 0.01, 1.0)))


texts = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"), min_size=1)


@st.composite
def framed_traces(draw: st.DrawFn, info: VideoInfo) -> Trace:
    """Traces whose times are those of frames: one to three visible stretches."""
    assert info.fps is not None
    assert info.num_frames is not None
    ends = sorted(draw(st.sets(st.integers(0, info.num_frames), min_size=2, max_size=6)))
    ends = ends[: len(ends) // 2 * 2]
    keys: list[KeyBox] = []
    for first, end in zip(ends[::2], ends[1::2], strict=True):
        inner = draw(st.sets(st.integers(first, end - 1), max_size=3)) | {first}
        keys += [KeyBox(frame / info.fps, draw(sound_boxes())) for frame in sorted(inner)]
        keys.append(KeyBox(end / info.fps, draw(st.none() | sound_boxes()), visible=False))
    return Trace(
        bbox_xyxy=keys[0].bbox_xyxy,
        onset_seconds=ends[0] / info.fps,
        offset_seconds=ends[-1] / info.fps,
        categories=draw(st.none() | st.sets(st.sampled_from(CATEGORIES)).map(_in_order)),
        explanation=draw(st.none() | texts),
        track=tuple(keys) if len(keys) > 2 or draw(st.booleans()) else None,
    )


def _in_order(chosen: set[Any]) -> tuple[Any, ...]:
    return tuple(category for category in CATEGORIES if category in chosen)


@st.composite
def records(draw: st.DrawFn) -> Record:
    fps, count = draw(st.sampled_from(RATES)), draw(st.integers(3, 60))
    size = draw(st.sampled_from([(1280, 720), (480, 848), (33, 77)]))
    info = VideoInfo(*size, fps=fps, num_frames=count, duration_seconds=count / fps)
    names = draw(st.lists(texts.map(str.strip).filter(bool), unique=True, max_size=3))
    annotations = tuple(
        Annotation(
            tuple(draw(st.lists(framed_traces(info), max_size=3))),
            draw(st.sampled_from(["fake", "real", "unsure", None])),
            name,
        )
        for name in names
    )
    label = draw(st.sampled_from(["fake", "real", "unsure"]))
    return Record("clip-1", "videos/clip-1.mp4", label=label, info=info, source="Pika 1.5", annotations=annotations)


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=15, deadline=None)
@given(record=records())
def test_every_frame_comes_back(form: str, record: Record) -> None:
    info = record.info
    assert info is not None
    tolerance_px = 0.01 if form.startswith("cvat") else 1e-6
    tolerances = [tolerance_px / size for size in (info.width, info.height)] * 2
    (back,) = again(form, [record])
    assert (back.video_id, back.label, back.source) == (record.video_id, record.label, record.source)
    assert back.path == record.path
    assert back.info == info
    assert [(a.annotator, a.label) for a in back.annotations] == [(a.annotator, a.label) for a in record.annotations]
    for before, after in zip(record.traces, back.traces, strict=True):
        assert (after.categories, after.explanation) == (before.categories, before.explanation)
        meant, got = visible(before, info), visible(after, info)
        assert list(got) == list(meant)
        for frame, box in meant.items():
            assert box is not None
            other = got[frame]
            assert other is not None
            assert all(abs(p - q) <= t for p, q, t in zip(box, other, tolerances, strict=True))


@given(
    traces=st.lists(any_traces(), max_size=4),
    label=st.sampled_from(["fake", None]),
    flags=st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), max_size=2, unique=True),
    extra=st.dictionaries(st.text(st.characters(codec="ascii", categories=["L"]), min_size=1), st.integers(0, 9)),
    layout=st.sampled_from(["hf", "hf, parquet"]),
)
def test_hf_brings_every_trace_back_exactly(
    traces: list[Trace], label: Any, flags: list[str], extra: dict[str, int], layout: str
) -> None:
    traces = [replace(trace, categories=_ordered(trace)) for trace in traces]
    annotations = (Annotation(tuple(traces[:2]), label, "a", extra), Annotation(tuple(traces[2:]), "real", None))
    said = {"label": "fake", "split": "test", "prompt": "p", "annotations": annotations, "extra": extra}
    record = Record("v", "v.mp4", flags=tuple(flags), **said)
    (back,) = again(layout, [record])
    assert back == replace(record, path="test/v.mp4")


def _ordered(trace: Trace) -> Any:
    return None if trace.categories is None else _in_order(set(trace.categories))


def test_two_stretches_through_every_format() -> None:
    hidden = KeyBox(1.0, None, visible=False)
    keys = (
        KeyBox(0.4, (0.1, 0.1, 0.2, 0.2)),
        hidden,
        KeyBox(2.0, (0.5, 0.5, 0.6, 0.6)),
        KeyBox(2.4, (0.6, 0.5, 0.7, 0.6)),
    )
    trace = Trace(bbox_xyxy=keys[0].bbox_xyxy, onset_seconds=0.4, offset_seconds=3.0, track=keys)
    record = Record("cups", "cups.mp4", label="fake", info=INFO, annotations=(Annotation((trace,)),))
    for form in FORMS:
        (back,) = again(form, [record])
        shown = list(visible(back.traces[0], INFO))
        assert shown == [*range(8, 20), *range(40, 60)], form


def test_a_trace_that_ends_with_the_video(tmp_path: Path) -> None:
    trace = replace(TRACE, track=None, offset_seconds=5.0)
    record = Record("cups", "cups.mp4", label="fake", info=INFO, annotations=(Annotation((trace,)),))
    for form in FORMS:
        (back,) = again(form, [record])
        assert back.traces[0] == trace, form
    convert.write(tmp_path / "a.xml", [record], "cvat")
    assert 'outside="1"' not in (tmp_path / "a.xml").read_text()


def test_dense_cvat_by_hand(tmp_path: Path) -> None:
    # From x = 64 at frame 8 to 96 at frame 27: at frame 18 it is 64 + 32 * 10/19 = 80.842...
    record = Record("cups", "cups.mp4", label="fake", info=INFO, annotations=(Annotation((TRACE,)),))
    convert.write(tmp_path / "a.xml", [record], "cvat")
    content = (tmp_path / "a.xml").read_text()
    assert content.count("<box ") == 21  # 20 visible, one that ends the track
    assert 'frame="18" keyframe="0" outside="0" occluded="0" xtl="80.84" ytl="108.63" xbr="208.84"' in content
    assert 'frame="28" keyframe="1" outside="1"' in content


def test_label_studio_by_hand(tmp_path: Path) -> None:
    record = Record("cups", "cups.mp4", label="fake", info=INFO, annotations=(Annotation((TRACE,), "fake"),))
    convert.write(tmp_path / "a.json", [record], "label-studio", text="meta")
    (task,) = json.loads((tmp_path / "a.json").read_text())
    assert task["data"]["video"] == "/data/local-files/?d=cups.mp4"
    region, verdict = task["annotations"][0]["result"]
    keys = [(key["frame"], key["enabled"], key["time"]) for key in region["value"]["sequence"]]
    assert keys == [(9, True, 0.45), (28, False, 1.4)]  # from 1; time = frame / rate, as the editor writes it
    assert region["meta"]["text"] == [TRACE.explanation]
    assert verdict["value"]["choices"] == ["FAKE"]
    assert 'framerate="$fps"' in (tmp_path / "a_config.xml").read_text()


def test_coco_by_hand(tmp_path: Path) -> None:
    two = replace(TRACE, categories=("Sudden Blurring", "Object Merging"), confidence=0.5)
    record = Record("cups", "cups.mp4", label="fake", info=INFO, annotations=(Annotation((TRACE, two)),))
    problems = convert.write(tmp_path / "a.json", [record], "coco", every=10)
    content = json.loads((tmp_path / "a.json").read_text())
    assert problems == []
    assert [image["frame_index"] for image in content["images"]] == [8, 18]
    assert [image["file_name"] for image in content["images"]] == ["cups/frame_000008.png", "cups/frame_000018.png"]
    first = content["annotations"][0]
    assert first["bbox"] == pytest.approx([64, 96, 128, 144])
    assert first["area"] == pytest.approx(128 * 144)
    names = {category["id"]: category["name"] for category in content["categories"]}
    assert [names[a["category_id"]] for a in content["annotations"]] == ["Object Merging"] * 2 + ["Sudden Blurring"] * 2
    assert {a["track_id"] for a in content["annotations"]} == {1, 2}
    ids = {image["id"] for image in content["images"]}
    assert all(a["image_id"] in ids for a in content["annotations"])


def test_fiftyone_by_hand(tmp_path: Path) -> None:
    record = Record("cups", "cups.mp4", label="fake", info=INFO, annotations=(Annotation((TRACE,), "fake", "ann"),))
    convert.write(tmp_path / "a.json", [record], "fiftyone")
    (sample,) = json.loads((tmp_path / "a.json").read_text())["samples"]
    (detection,) = sample["traces"]["detections"]
    assert (detection["label"], detection["support"]) == ("Object Merging", [9, 28])
    assert list(sample["frames"]) == [str(frame) for frame in range(9, 29)]
    box = sample["frames"]["9"]["trace_boxes"]["detections"][0]
    assert box["bounding_box"] == pytest.approx([0.1, 0.2, 0.2, 0.3])
    assert box["keyframe"] is True
    assert sample["frames"]["10"]["trace_boxes"]["detections"][0]["keyframe"] is False
    assert sample["metadata"]["total_frame_count"] == 100
    assert sample["label"]["label"] == "fake"


def test_the_import_shape_of_labelbox_by_hand(tmp_path: Path) -> None:
    record = Record("cups", "cups.mp4", label="fake", info=INFO, annotations=(Annotation((TRACE,), "fake", "ann"),))
    problems = convert.write(tmp_path / "a.ndjson", [record], "labelbox", shape="import")
    verdict, trace = [json.loads(line) for line in (tmp_path / "a.ndjson").read_text().splitlines()]
    assert verdict == {"dataRow": {"globalKey": "cups.mp4"}, "name": "verdict", "answer": {"name": "FAKE"}}
    first, last = trace["segments"][0]["keyframes"]
    assert (first["frame"], last["frame"]) == (9, 28)
    assert first["bbox"] == pytest.approx({"left": 64, "top": 96, "width": 128, "height": 144})
    assert first["classifications"][0] == {"name": "category", "answer": [{"name": "Object Merging"}]}
    assert [problem.field for problem in problems] == ["annotator"]


# ── what cannot be written ──────────────────────────────────────────────────────────────────────────────────────────


def test_what_gets_lost_is_said(tmp_path: Path) -> None:
    boxless = Trace(onset_seconds=1.0, offset_seconds=2.0)
    endless = Trace(bbox_xyxy=(0.1, 0.1, 0.2, 0.2))
    late = Trace(bbox_xyxy=(0.1, 0.1, 0.2, 0.2), onset_seconds=9.0, offset_seconds=9.5)
    long = replace(TRACE, track=None, offset_seconds=7.0, confidence=0.5)
    annotation = Annotation((boxless, endless, late, long), extra={"a": 1})
    record = Record("cups", "cups.mp4", label="fake", info=INFO, annotations=(annotation,))
    said = {str(p).split(": ", 1)[1] for p in convert.write(tmp_path / "a.xml", [record], "cvat")}
    assert said == {
        "extra has no place in CVAT [emptied]",
        "confidence has no place in CVAT [emptied]",
        "trace has no box, and this format has only boxes: not written [emptied]",
        "onset_seconds is not said: written as the first frame [repaired]",
        "offset_seconds is not said: written as the last frame [repaired]",
        "trace is visible on no frame of the video: not written [emptied]",
        "offset_seconds is after the end of the video: cut off there [repaired]",
    }
    back = again("label-studio", [record])[0].traces
    assert back[0] == boxless  # a timeline label
    assert back[1] == replace(endless, onset_seconds=0.0, offset_seconds=5.0)
    assert back[2].confidence == 0.5


@pytest.mark.parametrize("name", ["labelbox", "label-studio", "cvat", "coco", "fiftyone"])
def test_frame_numbers_need_a_known_and_constant_rate(tmp_path: Path, name: convert.Format) -> None:
    record = Record("cups", "cups.mp4", annotations=(Annotation((TRACE,)),))
    target = tmp_path / "out"
    with pytest.raises(RecordError, match="no frame rate for 'cups'"):
        convert.write(target, [record], name)
    with pytest.raises(RecordError, match="no frame rate"):
        convert.write(target, [replace(record, info=VideoInfo(640, 480))], name)
    with pytest.raises(RecordError, match="variable frame rate"):
        convert.write(target, [replace(record, info=replace(INFO, variable_frame_rate=True))], name)
    endless = replace(record, info=VideoInfo(640, 480, fps=20.0), annotations=(Annotation((Trace((0, 0, 1, 1)),)),))
    with pytest.raises(RecordError, match="number of frames of the video is not known"):
        convert.write(target, [endless], name)
    assert list(tmp_path.iterdir()) == []
    real = Record("cups", "cups.mp4", label="real")
    convert.write(tmp_path / "real.xml", [real], name)


def test_control_characters_cannot_stand_in_xml(tmp_path: Path) -> None:
    trace = replace(TRACE, explanation="a\x00b\r\n<c>&d")
    record = Record("cups", "cups.mp4", info=INFO, annotations=(Annotation((trace,), annotator='"e"'),))
    problems = convert.write(tmp_path / "a.xml", [record], "cvat")
    assert [(p.field, p.action) for p in problems] == [("text", "repaired")]
    back = convert.read(tmp_path / "a.xml")[0][0]
    assert back.traces[0].explanation == "a\ufffdb\r\n<c>&d"
    assert back.annotations[0].annotator == '"e"'


def test_options_and_targets_are_checked(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"'cvat' has no option 'dense'\. Known: density, zipped"):
        convert.write(tmp_path / "a.xml", [], "cvat", dense=True)
    with pytest.raises(RecordError, match="'coc' is not a format"):
        convert.write(tmp_path / "a.xml", [], "coc")  # type: ignore[arg-type]
    two = [Record("a", "a.mp4"), Record("b", "b.mp4")]
    with pytest.raises(RecordError, match="holds one video, got 2"):
        convert.write(tmp_path / "a.xml", two, "cvat")
    with pytest.raises(RecordError, match="two videos would be written to 'a_b'"):
        convert.write(tmp_path / "folder", [Record("a/b"), Record("a:b")], "cvat")
    with pytest.raises(RecordError, match="said of some records and not of others"):
        convert.write(tmp_path / "hf", [two[0], replace(two[1], split="test")], "hf")
    for split in ("../x", ".x", "a/b", ""):
        with pytest.raises(RecordError, match="cannot be the name of a folder"):
            convert.write(tmp_path / "hf", [replace(two[0], split=split)], "hf")
    with pytest.raises(RecordError, match="not a path inside"):
        convert.write(tmp_path / "hf", [Record("a", "../a.mp4")], "hf")


def test_hf_copies_videos_and_writes_a_card(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "a.mp4").write_bytes(b"bytes")
    records = [Record("a", "videos/a.mp4", label="real", split="test"), Record("b", label="fake", split="test")]
    problems = convert.write(tmp_path / "out", records, "hf", videos=tmp_path, title="Ours", license="cc-by-4.0")
    assert [str(p) for p in problems] == [
        "out row 1 (video 'b'): path is not said, and a row here needs a file: not written [set_aside]"
    ]
    assert (tmp_path / "out/test/videos/a.mp4").read_bytes() == b"bytes"
    card = (tmp_path / "out/README.md").read_text()
    assert card.startswith("---\nlicense: cc-by-4.0\n")
    assert "| test | 1 | 0 | 1 | 0 | 0 |" in card
    assert '  - split: test\n    path: "test/**"' in card
    with pytest.raises(FileError, match=r"cannot copy 'videos/a\.mp4': there is no such file"):
        convert.write(tmp_path / "out2", records, "hf", videos=tmp_path / "absent")
    assert not (tmp_path / "out2").exists()


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="no symbolic links")
def test_hf_publishes_no_file_from_outside_the_videos(tmp_path: Path) -> None:
    (tmp_path / "private.txt").write_text("secret")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.mp4").symlink_to(tmp_path / "private.txt")
    with pytest.raises(RecordError, match="leads out of the data's root"):
        convert.write(tmp_path / "out", [Record("a", "a.mp4")], "hf", videos=tmp_path / "data")
    assert not (tmp_path / "out").exists()


def test_hf_refuses_two_videos_at_one_place(tmp_path: Path) -> None:
    records = [Record("a", "test/v.mp4", split="test"), Record("b", "v.mp4", split="test")]
    with pytest.raises(RecordError, match="would be one file"):
        convert.write(tmp_path / "out", records, "hf")
    assert not (tmp_path / "out").exists()


def test_what_was_flagged_and_counted_goes_along_or_is_reported(tmp_path: Path) -> None:
    record = Record("a", "a.mp4", label="real", info=INFO, flags=("split: emptied",))
    listed = Records([record], root=tmp_path, earlier={"split: emptied": 1, "<b>`x`: kept": 2})
    for layout in ("jsonl", "parquet"):
        assert convert.write(tmp_path / layout, listed, "hf", layout=layout) == []
        (back,), problems = convert.read(tmp_path / layout)
        assert (back.flags, problems) == (record.flags, [])
        card = (tmp_path / layout / "README.md").read_text()
        assert "- 2 x `<b> x : kept`\n- 1 x `split: emptied`\n" in card
    for name in ("labelbox", "label-studio", "cvat", "coco", "fiftyone"):
        problems = convert.write(tmp_path / name, listed, name)
        assert ("flags", "emptied") in [(problem.field, problem.action) for problem in problems]


@pytest.mark.parametrize("flags", ['"{"', '"[1]"', "7", '["a", null]', '"{}"'])
def test_flags_of_others_that_are_none(tmp_path: Path, flags: str) -> None:
    (tmp_path / "metadata.jsonl").write_text(f'{{"file_name": "a.mp4", "flags": {flags}}}')
    (record,), problems = convert.read(tmp_path)
    assert [problem.tag for problem in problems] == ["flags: emptied"]
    assert record.flags == ("flags: emptied",)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    good = Record("cups", "cups.mp4", label="fake", info=INFO, annotations=(Annotation((TRACE,)),))
    convert.write(tmp_path / "a.ndjson", [good], "labelbox")
    before = (tmp_path / "a.ndjson").read_bytes()
    with pytest.raises(RecordError):
        convert.write(tmp_path / "a.ndjson", [good, replace(good, video_id="x", info=None)], "labelbox")
    assert (tmp_path / "a.ndjson").read_bytes() == before


# ── frames ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@given(
    start=st.floats(0, 2),
    length=st.floats(0.05, 3),
    keys=st.lists(
        st.tuples(st.floats(0, 4), st.none() | any_boxes()), min_size=1, max_size=5, unique_by=lambda k: k[0]
    ),
    fps=st.sampled_from(RATES),
)
def test_segments_hold_what_the_trace_shows_at_every_frame(start: float, length: float, keys: Any, fps: float) -> None:
    track = tuple(KeyBox(time, box, visible=box is not None) for time, box in sorted(keys, key=lambda key: key[0]))
    times = [start, start + length, *(key.time_seconds for key in track)]
    if any(0 < abs(time * fps - round(time * fps)) <= 2 * SNAP_FRAMES for time in times):
        return  # so close to a frame that the time counts as the frame's own
    trace = Trace(onset_seconds=start, offset_seconds=start + length, track=track)
    got = {b.frame: b.bbox_xyxy for s in segments_of(trace, fps=fps, num_frames=None) for b in s.boxes()}
    meant = {frame: trace.box_at(frame / fps) for frame in range(400)}
    meant = {frame: box for frame, box in meant.items() if box is not None}
    assert list(got) == list(meant)
    assert all(got[f] == pytest.approx(box, abs=1e-9) for f, box in meant.items())


def test_times_rounded_to_milliseconds_keep_their_frame() -> None:
    for fps in RATES:
        for frame in range(1, 300):
            trace = Trace((0, 0, 1, 1), round(frame / fps, 3), round((frame + 1) / fps, 3))
            (segment,) = segments_of(trace, fps=fps, num_frames=None)
            assert (segment.first, segment.last) == (frame, frame)
