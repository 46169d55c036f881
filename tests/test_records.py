"""Core types: what is said is valid, what is not valid is refused by name, and JSON gives back the same."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deeptrace.errors import RecordError, VideoError
from deeptrace.files import dumps, loads
from deeptrace.records import (
    LABEL_AGAINST_WORDS,
    Annotation,
    Frames,
    Highlight,
    KeyBox,
    Origin,
    Outcome,
    Record,
    Score,
    Trace,
    Verdict,
    VideoInfo,
)
from deeptrace.rows import ROW_FIELDS, outcome_from_row, outcome_to_row, trace_from_json, trace_to_json

from .strategies import outcomes, seconds, traces

BOX = (0.1, 0.2, 0.3, 0.4)


@given(outcome=outcomes)
def test_a_row_gives_back_the_same_outcome(outcome: Outcome) -> None:
    row = outcome_to_row(outcome)
    assert tuple(row) == ROW_FIELDS
    assert outcome_from_row(loads(dumps(row))) == outcome


@given(trace=traces())
def test_a_trace_survives_json(trace: Trace) -> None:
    assert trace_from_json(loads(dumps(trace_to_json(trace)))) == trace


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("bbox_xyxy", (0.1, 0.2, 0.1, 0.4)),
        ("bbox_xyxy", (0.3, 0.2, 0.1, 0.4)),
        ("bbox_xyxy", (0.1, 0.2, 0.3)),
        ("bbox_xyxy", "0123"),
        ("bbox_xyxy.y1", (0.1, 0.2, 0.3, 1.01)),
        ("bbox_xyxy.x0", (math.nan, 0.2, 0.3, 0.4)),
        ("bbox_xyxy.x0", (True, 0.2, 0.3, 0.4)),
        ("onset_seconds", -0.1),
        ("onset_seconds", math.inf),
        ("onset_seconds", "1.0"),
        ("onset_seconds", 10**400),
        ("offset_seconds", math.nan),
        ("categories", "Object Merging"),
        ("categories", ("object merging",)),
        ("explanation", 3),
        ("track", ()),
        ("track", ((1.0, BOX),)),
        ("track", (KeyBox(1.0, BOX), KeyBox(1.0, BOX))),
        ("confidence", 1.5),
    ],
)
def test_a_trace_refuses_what_is_not_valid_and_names_the_field(field: str, value: object) -> None:
    with pytest.raises(RecordError) as caught:
        Trace(**{field.partition(".")[0]: value})
    assert caught.value.field == field
    assert str(caught.value).startswith(field)


def test_offset_must_be_after_onset() -> None:
    with pytest.raises(RecordError, match=r"offset_seconds: 2\.1 is not after onset_seconds 3\.4"):
        Trace(onset_seconds=3.4, offset_seconds=2.1)


@pytest.mark.parametrize(
    ("field", "make"),
    [
        ("track.bbox_xyxy", lambda: KeyBox(0.0, None)),
        ("track.time_seconds", lambda: KeyBox(-1.0, BOX)),
        ("track.visible", lambda: KeyBox(1.0, BOX, 1)),
        ("width", lambda: VideoInfo(0, 4)),
        ("fps", lambda: VideoInfo(4, 4, fps=0.0)),
        ("num_frames", lambda: VideoInfo(4, 4, num_frames=-1)),
        ("duration_seconds", lambda: VideoInfo(4, 4, duration_seconds=math.inf)),
        ("label", lambda: Verdict("unsure")),
        ("label", lambda: Record("v", label="FAKE")),
        ("label", lambda: Annotation(label="maybe")),
        ("video_id", lambda: Record("")),
        ("p_fake", lambda: Verdict("fake", p_fake=1.01)),
        ("traces", lambda: Verdict("fake", traces=("x",))),
        ("highlights", lambda: Verdict("fake", highlights=("x",))),
        ("highlights.end_seconds", lambda: Highlight(1.0, 1.0)),
        ("highlights.bbox_xyxy", lambda: Highlight(0.0, 1.0, (0.5, 0.5, 0.5, 1.0))),
        ("highlights.p_fake", lambda: Highlight(0.0, 1.0, p_fake=1.5)),
        ("flags", lambda: Verdict("fake", flags=(1,))),
        ("text", lambda: Verdict("fake", text=5)),
        ("calibration", lambda: Verdict("fake", p_fake=0.9, p_fake_raw=0.1)),
        ("p_fake_raw", lambda: Score(0.5, math.nan)),
    ],
)
def test_other_types_refuse_what_is_not_valid(field: str, make) -> None:
    with pytest.raises(RecordError) as caught:
        make()
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"schema_version": 2}, "schema"),
        ({"schema_version": True}, "schema"),
        ({"code": "NOT_FOUND"}, "code"),
        ({"calibration": 5}, "calibration"),
        ({"p_fake": 0.9, "p_fake_raw": 0.1}, "calibration"),
        ({"status": "ok"}, "status"),
        ({"surprise": 1}, "row"),
        ({"traces": None}, "traces"),
        ({"traces": [{"bbox": [0, 0, 1, 1]}]}, "trace"),
        ({"traces": [{"track": {}}]}, "track"),
        ({"highlights": [{"bbox_xyxy": [0, 0, 1, 1]}]}, "highlights.start_seconds"),
        ({"highlights": [{"when": 1}]}, "highlights"),
        ({"flags": [1]}, "flags"),
        ({"p_fake": "0.5"}, "p_fake"),
        ({"label": None}, "label"),
        ({"partial": None}, "partial"),
        ({"frames_decoded": 1.5}, "frames_decoded"),
        ({"sampling": "2 fps"}, "sampling"),
        ({"path": 3}, "path"),
    ],
)
def test_a_bad_row_is_refused_and_the_field_named(change: dict, field: str) -> None:
    row = outcome_to_row(Verdict("fake")) | change
    with pytest.raises(RecordError) as caught:
        outcome_from_row(row)
    assert caught.value.field == field


@given(outcome=outcomes)
def test_the_label_follows_the_probability_and_what_disagreed_is_flagged(outcome: Outcome) -> None:
    if not isinstance(outcome, Verdict):
        return
    verdict = outcome.following_probability()
    if outcome.p_fake is None:
        assert verdict == outcome
        return
    assert verdict.label == ("fake" if outcome.p_fake >= 0.5 else "real")
    assert (LABEL_AGAINST_WORDS in verdict.flags) == (verdict.label != outcome.label)
    assert verdict.following_probability() == verdict


def test_a_box_moves_between_keys_and_hides_where_it_is_hidden() -> None:
    trace = Trace(
        bbox_xyxy=(0.0, 0.0, 0.2, 0.2),
        onset_seconds=1.0,
        offset_seconds=4.0,
        track=(
            KeyBox(1.0, (0.0, 0.0, 0.2, 0.2)),
            KeyBox(2.0, (0.4, 0.0, 0.6, 0.2)),
            KeyBox(2.5, None, visible=False),
            KeyBox(3.0, (0.8, 0.8, 1.0, 1.0)),
        ),
    )
    assert trace.box_at(0.99) is None
    assert trace.box_at(1.0) == (0.0, 0.0, 0.2, 0.2)
    assert trace.box_at(1.5) == pytest.approx((0.2, 0.0, 0.4, 0.2))
    assert trace.box_at(2.25) == (0.4, 0.0, 0.6, 0.2)
    assert trace.box_at(2.5) is None
    assert trace.box_at(2.99) is None
    assert trace.box_at(3.5) == (0.8, 0.8, 1.0, 1.0)
    assert trace.box_at(4.0) is None


@given(trace=traces(), time_seconds=seconds)
def test_a_box_is_seen_only_between_onset_and_offset(trace: Trace, time_seconds: float) -> None:
    box = trace.box_at(time_seconds)
    if box is not None:
        assert trace.onset_seconds is None or time_seconds >= trace.onset_seconds
        assert trace.offset_seconds is None or time_seconds < trace.offset_seconds
        assert 0 <= box[0] < box[2] <= 1
        assert 0 <= box[1] < box[3] <= 1


def test_a_records_traces_are_those_of_its_annotations() -> None:
    first, second = Trace(onset_seconds=2.0), Trace(onset_seconds=1.0)
    record = Record("v", annotations=(Annotation((first,)), Annotation((second,))))
    assert record.traces == (first, second)


def test_a_verdict_knows_what_made_it_by_default_nothing() -> None:
    assert Verdict("real").origin == Origin()
    assert replace(Verdict("real"), origin=Origin(path="a.mp4")) != Verdict("real")


# ── frames from arrays ──────────────────────────────────────────────────────────────────────────────────────────────


def test_frames_of_an_array_have_times_and_keep_their_pixels() -> None:
    array = np.arange(4 * 2 * 3 * 3, dtype=np.uint8).reshape(4, 2, 3, 3)
    frames = Frames.from_array(array, 8)
    assert len(frames) == 4
    assert frames.source_hw == (2, 3)
    assert frames.duration_seconds == 0.5
    np.testing.assert_array_equal(frames.pts_seconds, [0.0, 0.125, 0.25, 0.375])
    np.testing.assert_array_equal(frames.images, array)
    np.testing.assert_array_equal(Frames.from_array(array[:, ::-1], 8).images, array[:, ::-1])
    np.testing.assert_array_equal(Frames.from_array(array / 255.0, 8).images, array)


@pytest.mark.parametrize(
    ("array", "fps", "words"),
    [
        (np.zeros((4, 2, 3), np.uint8), 8, r"expected shape \(T, H, W, 3\)"),
        (np.zeros((1, 4, 2, 3, 3), np.uint8), 8, "expected shape"),
        (np.zeros((4, 3, 8, 8), np.uint8), 8, "channels come last"),
        (np.zeros((0, 8, 8, 3), np.uint8), 8, "must not be empty"),
        (np.zeros((4, 0, 8, 3), np.uint8), 8, "must not be empty"),
        (np.full((4, 8, 8, 3), np.nan), 8, "NaN"),
        (np.full((4, 8, 8, 3), 255.0), 8, "divide by 255"),
        (np.full((4, 8, 8, 3), -0.1), 8, r"in \[0, 1\]"),
        (np.zeros((4, 8, 8, 3), np.int64), 8, "int64"),
        (np.zeros((4, 8, 8, 3), bool), 8, "bool"),
        (np.zeros((4, 8, 8, 3), np.uint8), 0, "fps"),
        (np.zeros((4, 8, 8, 3), np.uint8), math.inf, "fps"),
        (np.zeros((4, 8, 8, 3), np.uint8), True, "fps"),
        ([[1, 2], [3]], 8, "array"),
        ("frames", 8, "expected shape"),
    ],
)
def test_what_is_not_frames_is_refused(array: object, fps: float, words: str) -> None:
    with pytest.raises(VideoError, match=words) as caught:
        Frames.from_array(array, fps)
    assert caught.value.code == "BAD_FRAMES"


@pytest.mark.parametrize("times", [[0.0, 0.0], [1.0, 0.5], [-1.0, 0.0], [0.0, math.nan], [0.0]])
def test_frames_never_travel_without_good_times(times: list[float]) -> None:
    with pytest.raises(VideoError):
        Frames(np.zeros((2, 4, 4, 3), np.uint8), np.array(times), (4, 4))


@given(
    st.lists(st.integers(0, 4), min_size=0, max_size=6),
    st.sampled_from(["uint8", "float32", "float64", "int16", "bool", "complex64", "object", "<U3"]),
)
def test_any_array_is_frames_or_a_typed_error(shape: list[int], dtype: str) -> None:
    good = len(shape) == 4 and shape[3] == 3 and 0 not in shape and dtype in ("uint8", "float32", "float64")
    if good:
        assert list(Frames.from_array(np.zeros(shape, dtype), 8).images.shape) == shape
    else:
        with pytest.raises(VideoError, match=r"frames|array|expected"):
            Frames.from_array(np.zeros(shape, dtype), 8)


def test_the_json_of_a_row_is_one_ascii_line() -> None:
    text = dumps(outcome_to_row(Verdict("fake", text="café\n\u2028", origin=Origin(path="é\n.mp4"))))
    assert text.isascii()
    assert "\n" not in text
    assert json.loads(text)["text"] == "café\n\u2028"
