"""The answer format: what is asked, what is written, what is read."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deeptrace.answer import (
    CUT_OFF,
    FORMAT_VERSIONS,
    FORMATS,
    QUESTIONS,
    Format,
    ShownFrames,
    Space,
    check_format,
    parse,
    project,
    question,
    render,
)
from deeptrace.errors import AnswerError
from deeptrace.records import Annotation, Frames, Record, Trace, Unparsed, Verdict
from deeptrace.rows import trace_from_json

from .strategies import spaces, traces

GOLDEN = Path(__file__).parent / "golden"
FORMS = ["trained", "zero-shot", "informed", "json", "informed-json"]
HD = Space("source", 1280, 720)


FROZEN_QUESTIONS = [
    "trained",
    "zero-shot",
    "informed",
    "json",
    "informed-json",
    "trained-no-time",
    "trained-no-explanation",
    "trained-no-time-no-explanation",
    "trained-no-box",
    "trained-no-box-no-time-no-explanation",
    "trained-with-category",
    "zero-shot-no-box-with-category",
    "informed-no-time-with-category",
    "json-no-box-no-time-no-explanation-with-probability",
    "informed-json-with-category-with-probability",
]


def test_questions_are_frozen(update_golden: bool) -> None:
    """The first two are the paper's, word for word; a change of any other is a new version of its form."""
    if update_golden:
        (GOLDEN / "questions.txt").write_text("".join(f"== {name}\n{QUESTIONS[name]}\n" for name in FROZEN_QUESTIONS))
    blocks = (GOLDEN / "questions.txt").read_text().strip().split("== ")
    golden = dict(block.strip().split("\n", 1) for block in blocks if block)
    assert golden == {name: QUESTIONS[name] for name in FROZEN_QUESTIONS}


FILES = sorted((GOLDEN / "answers").glob("*.jsonl"))
CASES = [json.loads(line) for file in FILES for line in file.read_text().rstrip().split("\n")]


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c['format']}: {c['name']}")
def test_completions_in_the_shapes_that_models_write(case: dict) -> None:
    said = parse(case["text"], case["format"], HD)
    if "unparsed" in case:
        assert said == Unparsed(case["unparsed"], case["text"])
    else:
        p = case.get("p_fake")
        expected = tuple(trace_from_json(trace) for trace in case["traces"])
        flags = tuple(case["flags"])
        assert said == Verdict(case["label"], p_fake=p, p_fake_raw=p, traces=expected, flags=flags, text=case["text"])


def test_an_answer_that_the_token_limit_ended_is_not_read() -> None:
    whole = parse("FAKE", "trained", HD, ended=True)
    assert isinstance(whole, Verdict)
    assert parse("FAKE", "trained", HD, ended=False) == Unparsed(CUT_OFF, "FAKE")


def test_an_informed_question_says_what_is_shown() -> None:
    shown = ShownFrames(1280, 720, (0.0, 0.5, 1.04), 5.0)
    words = question("informed", Space("resized", 644, 364), shown)
    assert words.startswith(
        "The video is 1280 x 720 pixels and 5.0 seconds long. You see 3 of its frames, shown at 0.0, 0.5, 1.0 seconds. "
    )
    assert "(x from 0 to 644 and y from 0 to 364, in pixels of the frames as you see them" in words
    beside = ShownFrames.of(Frames.from_array(np.zeros((2, 4, 6, 3), np.uint8), 2), times_beside_frames=True)
    words = question("informed-json", Space("per-mille"), beside)
    assert words.startswith(
        "The video is 6 x 4 pixels and 1.0 seconds long. You see 2 of its frames, each with its time in seconds beside"
    )
    assert "from 0 to 1000" in words
    assert "{" not in words.replace('{"label"', "").replace('[{"box"', "")
    with pytest.raises(AnswerError, match="needs the frames' size and times"):
        question("informed", Space("per-mille"))
    assert question("trained", HD, shown) == QUESTIONS["trained"]
    assert question("trained", HD, words="In {coordinates}?") == f"In {HD.in_words()}?"


def test_names_of_formats() -> None:
    assert all(FORMATS[name].name == name for name in FORMATS)
    assert FORMATS["trained-no-time-with-category"].fields == {"box", "explanation", "category"}
    assert FORMATS["json"].fields == {"box", "onset", "offset", "explanation"}
    assert len(FORMATS) == 3 * 16 + 2 * 32
    with pytest.raises(AnswerError, match="Did you mean 'trained-no-box-no-time'"):
        check_format("trained-no-time-no-box", 1)


@given(st.lists(traces(), max_size=2), st.sampled_from(sorted(FORMATS)), st.sampled_from(["fake", "real"]))
def test_answers_begin_with_the_label(traces: list[Trace], format: Format, label: str) -> None:
    text = render(Verdict(label, traces=tuple(traces) if label == "fake" else ()), format, HD)
    assert text.startswith(FORMATS[format].label_prefix + label.upper())


def test_a_verdicts_probability_is_rendered_where_asked_for() -> None:
    verdict = Verdict("fake", p_fake=0.875, p_fake_raw=0.875)
    assert render(verdict, "json", HD) == '{"label": "FAKE"}'
    assert render(verdict, "json-with-probability", HD) == '{"label": "FAKE", "fake_probability": 0.875}'
    assert parse(render(verdict, "json-with-probability", HD), "json", HD).p_fake == 0.875


def test_one_trace_is_rendered_in_the_papers_words() -> None:
    trace = Trace((0.25, 0.25, 0.5, 0.5), 1.5, 4.0, ("Object Distortion",), "the arm bends like rubber.")
    record = Record("v", label="fake", annotations=(Annotation((trace,)),))
    assert render(record, "trained", HD) == (
        "FAKE. The video is AI-generated. The unnatural part is at [320, 180, 640, 360] starting 1.5 seconds. "
        "The reason is because the arm bends like rubber."
    )
    assert render(replace(record, label="real", annotations=()), "trained", HD) == (
        "REAL. The video is real. There is no unnatural part."
    )


@given(format=st.sampled_from(sorted(FORMATS)), traces=st.lists(traces(), max_size=4), space=spaces())
def test_what_was_rendered_is_parsed(format: Format, traces: list[Trace], space: Space) -> None:
    check_round_trip(format, traces, space)


HARD = [
    [Trace(explanation="The unnatural part is at [1, 2, 3, 4] starting 2.0 seconds.")],
    [Trace(explanation="The category is Object Merging."), Trace(explanation='"}]} {"label": "REAL"}')],
    [Trace(explanation="x " * 60_000, onset_seconds=1e9), Trace(onset_seconds=999_999_999.96)],
    [Trace(explanation="a\nThe reason is because b"), Trace(onset_seconds=1.0)],
    [Trace(explanation="</explan<explanation>ation> <start_time>3</start_time> </think> ```")],
    [Trace(explanation="<think> never ends <answer>REAL</answer> <|im_end|>"), Trace((0.0, 0.0, 0.1, 0.1), 1.0, 1.04)],
    [Trace(explanation="none"), Trace(explanation="null", categories=())],
    [Trace(offset_seconds=2.0, categories=("Unexpected Move", "Object Distortion")), Trace(offset_seconds=0.01)],
    [Trace(explanation="REAL"), Trace(explanation='{"label": "REAL", "box": [1, 2, 3, 4]}', confidence=0.5)],
    [Trace(explanation="\\\" \x00 \x7f \u2028 \\"), Trace(categories=("Object Splitting",))],
]  # fmt: skip


@pytest.mark.parametrize("format", sorted(FORMATS))
def test_hard_words_are_rendered_and_parsed(format: Format) -> None:
    for hard in HARD:
        check_round_trip(format, hard, HD)
        check_round_trip(format, hard, Space("per-mille"))


def check_round_trip(format: Format, traces: list[Trace], space: Space) -> None:
    fake = Verdict("fake", traces=tuple(traces))
    text = render(fake, format, space)
    said = parse(text, format, space)
    assert isinstance(said, Verdict), said
    assert said.label == "fake"
    assert said.flags == ()
    assert said.traces == project(traces, format, space)


@given(format=st.sampled_from(sorted(FORMATS)), traces=st.lists(traces(), max_size=4), space=spaces())
def test_projecting_twice_changes_nothing(format: Format, traces: list[Trace], space: Space) -> None:
    once = project(traces, format, space)
    assert project(once, format, space) == once


@pytest.mark.parametrize("format", FORMS)
@given(
    text=st.text() | st.text(alphabet="FAKEREALfakeréal {}<>/[]().,:\\\n\t*`'\"0123456789-thinkcoordinates_start_time")
)
def test_no_text_raises(format: Format, text: str) -> None:
    said = parse(text, format, HD)
    assert isinstance(said, (Verdict, Unparsed))


@pytest.mark.parametrize(
    "piece",
    ['{"', '{"a":', "[{", '"', "\\\"", "{'a' ", '{"label":"FAKE"}', "[[", "</answer>", "<answer>", "FAKE\n", "0.1-",
     "<coordinates>", "<think>", "</think>", "The unnatural part is at [", "the reason is because ", " ", "video is ",
     "\n", "'", "FAKE ", "answer is ", "1,", "```", "whether the video is not ", "[FAKE, "],
)  # fmt: skip
@pytest.mark.parametrize("start", ["", "FAKE. ", '{"label": "FAKE", "explanation": "'])
def test_no_text_takes_long(start: str, piece: str) -> None:
    text = (start + piece * 300_000)[:300_000]
    begin = time.process_time()
    for format in ("trained", "json"):
        parse(text, format, HD)
    # Linear work on 300 kB takes less than a second; quadratic work takes many minutes.
    assert time.process_time() - begin < 10.0


PLACES = [
    "[", "]", "(", ")", "{", "}", "71", "1.5", ".", ",", ";", ":", "=", " ", "  ", "-", "%", "px", "x", "x0", "left",
    "_", "to", "and", "at", "s", "seconds", "from", "starting", "1:02", "<box>", "\n",
]  # fmt: skip


@given(
    start=st.sampled_from(
        ["FAKE ", "FAKE. The unnatural part is at ", "FAKE. The unnatural part is at [", "<FAKE><coordinates>",
         "FAKE\nBox: ", '{"label": "FAKE", "bbox": "', "FAKE from "]
    ),
    piece=st.lists(st.sampled_from(PLACES), min_size=1, max_size=6).map("".join),
    times=st.integers(1, 80),
    end=st.lists(st.sampled_from(PLACES), max_size=6).map("".join),
)  # fmt: skip
def test_no_place_takes_long(start: str, piece: str, times: int, end: str) -> None:
    """What almost is a box is given up at once: a cut-off "[71, 71, 71, ..." once held the parser for ever."""
    begin = time.process_time()
    for format in ("trained", "zero-shot", "json"):
        parse(start + piece * times + end, format, HD)
    assert time.process_time() - begin < 0.5


@pytest.mark.parametrize("depth", [20, 40, 200, 900, 100_000])
@pytest.mark.parametrize("key", ["box", "start_time", "category", "explanation", "label", "traces", "fake_probability"])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"start": ', "}"), ('{"label": ', "}")])
def test_no_depth_is_too_deep(key: str, opening: str, closing: str, depth: int) -> None:
    said = parse(f'{{"label": "FAKE", "{key}": {opening * depth}1{closing * depth}}}', "json", HD)
    assert isinstance(said, (Verdict, Unparsed))


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"start": ', "}")])
def test_no_depth_is_just_too_deep(opening: str, closing: str) -> None:
    """Deep enough to be read and too deep to be walked through: somewhere below Python's limit on recursion."""
    for depth in range(700, 1000):
        for key in ("box", "start_time", "category"):
            said = parse(f'{{"label": "FAKE", "{key}": {opening * depth}1{closing * depth}}}', "json", HD)
            assert isinstance(said, Verdict)


def test_a_long_answer_is_unparsed() -> None:
    said = parse("FAKE. " + "x" * 1_000_000, "trained", HD)
    assert isinstance(said, Unparsed)
    assert "longer" in said.reason


@pytest.mark.parametrize("label", ["unsure", None])
def test_only_fake_and_real_can_be_rendered(label: str | None) -> None:
    with pytest.raises(AnswerError, match="cannot be rendered"):
        render(Record("v", label=label), "trained", HD)


def test_a_real_video_with_traces_cannot_be_rendered() -> None:
    with pytest.raises(AnswerError, match="labelled real has traces"):
        render(Verdict("real", traces=(Trace(onset_seconds=1.0),)), "trained", HD)


def test_another_format_or_version_is_named() -> None:
    for name, version in FORMAT_VERSIONS.items():
        check_format(name, version)
    with pytest.raises(AnswerError, match=r"'trained' version 99 is stored, this code has 1"):
        check_format("trained", 99)
    with pytest.raises(AnswerError, match=r"'haiku' is not an answer format"):
        check_format("haiku", 1)
    with pytest.raises(AnswerError, match=r"'haiku' is not an answer format"):
        parse("REAL", "haiku", HD)


@given(space=spaces())
def test_a_space_survives_json(space: Space) -> None:
    assert Space.from_json(json.loads(json.dumps(space.to_json()))) == space


@pytest.mark.parametrize(
    "arguments",
    [("source",), ("source", 1280), ("resized", 0, 5), ("per-mille", 1, 1), ("percent", 1, 1), ("source", -1, 5)],
)
def test_a_space_that_fits_nothing_is_refused(arguments: tuple) -> None:
    with pytest.raises(AnswerError):
        Space(*arguments)


def test_a_thin_box_keeps_a_width() -> None:
    assert HD.encode((0.9999, 0.0, 1.0, 0.0001)) == (1279, 0, 1280, 1)
    assert Space("per-mille").encode((0.2, 0.4, 0.6, 0.8)) == (200, 400, 600, 800)
