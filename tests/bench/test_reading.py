"""Files of answers: our own rows and foreign ones, and what is said of a line that is neither."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from deeptrace.answer import Space, render
from deeptrace.bench.score.dataset import dataset_of
from deeptrace.bench.score.reading import Foreign, iter_lines, read_space
from deeptrace.bench.score.runs import read_runs
from deeptrace.bench.score.totals import PLACE
from deeptrace.errors import AnswerError, JsonError, RecordError
from deeptrace.files import write_jsonl
from deeptrace.records import Failed, Origin, Outcome, Record, Trace, Unparsed, Verdict

from .world import LEFT, answers, dataset, origin, records, write

KNOWN = {record.video_id: record for record in records()}


def outcomes(path: Path, foreign: Foreign | None = None) -> list[Outcome]:
    return [line.outcome for line in iter_lines(path, KNOWN, foreign)]


def test_a_foreign_answer_is_in_the_papers_words_and_source_pixels(tmp_path: Path) -> None:
    text = render(
        Verdict("fake", traces=(Trace(LEFT, 2.0, explanation="melts"),)), "trained", Space("source", 200, 100)
    )
    assert "[0, 0, 100, 100]" in text
    write_jsonl(tmp_path / "a.jsonl", [{"video_id": "f1", "text": text}, {"video_id": "f2", "text": "REAL or FAKE"},
                                       {"video_id": "r1", "text": None}])  # fmt: skip
    first, second, third = outcomes(tmp_path / "a.jsonl")
    assert isinstance(first, Verdict)
    assert first.traces == (Trace(LEFT, 2.0, explanation="melts"),)
    assert isinstance(second, Unparsed)
    assert isinstance(third, Failed)
    assert third.code == "NO_ANSWER"


def test_a_foreign_file_names_its_format_and_space(tmp_path: Path) -> None:
    text = "FAKE\n<coordinates>[0, 0, 500, 1000]</coordinates> <start_time>2</start_time>"
    write_jsonl(tmp_path / "a.jsonl", [{"video_id": "f1", "text": text}])
    (found,) = outcomes(tmp_path / "a.jsonl", Foreign("zero-shot", "per-mille"))
    assert isinstance(found, Verdict)
    assert found.traces[0].bbox_xyxy == LEFT
    line = {"video_id": "f1", "text": text.replace("500, 1000", "50, 40"), "format": "zero-shot", "model": "theirs",
            "space": {"kind": "resized", "width": 100, "height": 40}}  # fmt: skip
    write_jsonl(tmp_path / "b.jsonl", [line, line | {"video_id": "f2", "space": "resized:100x40"}])
    for found in outcomes(tmp_path / "b.jsonl"):
        assert isinstance(found, Verdict)
        assert found.traces[0].bbox_xyxy == LEFT
        assert found.origin.model == "theirs"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ({"video_id": "f1"}, "a.jsonl line 1: is neither"),
        ({"video_id": 3, "text": "FAKE"}, "a.jsonl line 1: 3 is not text"),
        ({"video_id": None, "text": "FAKE"}, "line 1: is null"),
        ({"video_id": "f1", "text": "FAKE", "answer": "FAKE"}, "has no field 'answer'"),
        ([1], "is neither"),
        ({"video_id": "f1", "text": "FAKE", "format": "latin"}, "line 1: 'latin' is not an answer format"),
        ({"video_id": "f1", "text": "FAKE", "format_version": 9}, "line 1: .*version 9"),
        ({"video_id": "f1", "text": "FAKE", "space": "inches"}, "line 1: 'inches' is not a space"),
        ({"video_id": "u1", "text": "FAKE"}, "'u1' is in source pixels, and its record has no frame size"),
        ({"schema": "deeptrace.verdict", "schema_version": 7}, "line 1: .*deeptrace.verdict 7"),
    ],
)
def test_what_is_wrong_with_a_line_is_said_with_its_number(tmp_path: Path, line: object, words: str) -> None:
    write_jsonl(tmp_path / "a.jsonl", [line])
    with pytest.raises((RecordError, AnswerError), match=words):
        outcomes(tmp_path / "a.jsonl")


def test_bad_json_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"video_id": "f1", "text": "FAKE"}\n{"video_id"')
    with pytest.raises(JsonError, match=r"a\.jsonl line 2"):
        outcomes(tmp_path / "a.jsonl")


def test_there_is_no_other_space() -> None:
    with pytest.raises(AnswerError):
        Foreign(space="resized:0x4")
    with pytest.raises(AnswerError):
        read_space("resized:axb", None)
    with pytest.raises(AnswerError):
        Foreign(format="latin")
    with pytest.raises(RecordError):
        read_space("source", Record("v"))


# ── runs ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_video_is_answered_once(tmp_path: Path) -> None:
    path = write(tmp_path, "v.jsonl", [*answers(), answers()[0]])
    with pytest.raises(RecordError, match=r"v\.jsonl line 5: 'f1' is answered already"):
        read_runs([path], dataset())


def test_answers_on_other_videos_are_counted(tmp_path: Path) -> None:
    more = [Verdict("real", origin=origin(name)) for name in ("t1", "u1", "nobody")]
    (run,) = read_runs([write(tmp_path, "v.jsonl", [*answers(), *more])], dataset())
    assert (run.elsewhere, run.unknown) == (2, 1)
    with pytest.raises(RecordError, match="holds no answer on any of the 4 videos"):
        read_runs([write(tmp_path, "w.jsonl", more)], dataset())


def test_a_row_named_after_its_file_is_found_by_the_end_of_its_path(tmp_path: Path) -> None:
    of = dataset_of([replace(record, video_id=f"id-{record.video_id}") for record in records()], "test")
    rows = [
        Verdict("fake", origin=Origin(name, f"/data/release/{folder}/{name}.mp4", model="m"))
        for name, folder in (("f1", "videos"), ("r1", "real_videos"), ("t1", "videos"), ("r2", "videos"))
    ]
    (run,) = read_runs([write(tmp_path, "v.jsonl", rows)], of)
    assert [run.total[PLACE[f"{label}_missing"]] for label in ("fake", "real")] == [1, 1]  # f2 and r2
    assert (run.elsewhere, run.unknown) == (1, 1)  # t1 is in train; there is no videos/r2.mp4


def test_models_in_one_file_are_runs_of_their_own(tmp_path: Path) -> None:
    paths = [write(tmp_path, "v.jsonl", [*answers("a"), *answers("b")]), write(tmp_path, "w.jsonl", answers("a"))]
    assert [run.name for run in read_runs(paths, dataset())] == ["a, v", "b", "a, w"]


def test_a_failed_row_that_does_not_know_the_dated_name_is_of_the_same_run(tmp_path: Path) -> None:
    dated = [
        Verdict("fake", origin=Origin(v, model="m", revision="m-2026-01", question="trained")) for v in ("f1", "r1")
    ]
    later = Verdict("real", origin=Origin("r2", model="m", revision="m-2026-02", question="trained"))
    lost = Failed("RATE_LIMITED", "later", Origin("f2", model="m", question="trained"))
    (run,) = read_runs([write(tmp_path, "v.jsonl", [lost, *dated, later])], dataset())
    assert (run.revision, run.revisions, run.incomplete) == ("m-2026-01", ("m-2026-02",), True)
    assert run.answers == 4


def test_one_run_has_one_question(tmp_path: Path) -> None:
    other = Verdict("fake", origin=Origin("f2", model="m", question="trained",
                                          sampling={"format": "trained-no-box", "format_version": 1}))  # fmt: skip
    with pytest.raises(RecordError, match="are to two questions"):
        read_runs([write(tmp_path, "v.jsonl", [answers()[0], other])], dataset())
    strange = Verdict("fake", origin=Origin("f2", model="m", question="Is this real?"))
    with pytest.raises(RecordError, match=r"sampling\.format is missing"):
        read_runs([write(tmp_path, "v.jsonl", [strange])], dataset())
