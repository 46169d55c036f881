"""The judge against a real server on loopback: what it replies, what candidates try, kills, money, and people."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deeptrace.bench.judge import (
    GRADES,
    GradingItem,
    Judgement,
    estimate,
    grade,
    items_of,
    judge_messages,
    read_grade,
    read_judgements,
)
from deeptrace.bench.judge.humans import compare, correct_mean, read_sheet, write_sheet
from deeptrace.bench.judge.rubric import MAX_CHARACTERS, without_markers
from deeptrace.chat import ChatClient, Prices, Timeouts
from deeptrace.errors import FileError, RecordError
from deeptrace.records import Annotation, Failed, Outcome, Record, Trace, Unparsed, Verdict, VideoInfo
from tests.bench.payloads import PAYLOADS
from tests.bench.replies import REPLIES
from tests.fault_server import FaultServer, Handler, ok, status


def _items(count: int, candidate: str | None = None) -> list[GradingItem]:
    return [
        GradingItem(
            f"v{i:03d}", 0, f"Thing number {i} melts.", f"Thing number {i} bends." if candidate is None else candidate
        )
        for i in range(count)
    ]


def _client(server: FaultServer, **options: Any) -> ChatClient:
    return ChatClient(
        server.url, "judge-1", api_key="k", timeouts=Timeouts(max_attempts=2), sleep=lambda s: None, seed=0, **options
    )


# ── replies ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_two_hundred_reply_shapes_over_the_wire_give_no_wrong_grade(tmp_path: Path) -> None:
    assert len(REPLIES) >= 200
    assert len({text for text, _ in REPLIES}) == len(REPLIES)
    items = _items(len(REPLIES))
    by_prompt = {judge_messages(i.reference, str(i.candidate))[1]["content"]: k for k, i in enumerate(items)}

    def answer(handler: Handler, body: bytes) -> None:
        place = by_prompt[json.loads(body)["messages"][1]["content"]]
        ok(REPLIES[place][0])(handler, body)

    with FaultServer(default=answer) as server, _client(server) as client:
        judged = grade(items, client, tmp_path)
        asked = len(server.requests)
    wrong = []
    for judgement, (reply, expected) in zip(judged.judgements, REPLIES, strict=True):
        if judgement.grade != expected:
            wrong.append((reply, expected, judgement))
        assert judgement.status == ("scored" if expected is not None else judgement.status)
        assert judgement.status in ("scored", "unscored", "failed")
        assert judgement.prompt_sha256 is not None
        if judgement.status == "unscored":
            assert judgement.reply == reply  # kept as it came
    assert wrong == []
    unread = sum(expected is None for _, expected in REPLIES)
    assert judged.counts["scored"] == len(REPLIES) - unread
    assert asked > len(REPLIES)  # what cannot be read is asked for once more


def test_a_reply_is_read_in_linear_time_and_never_raises() -> None:
    for piece in ("{", '{"score": ', "```", "<think>", "1", "score: ", "\\", '"', "\n", "}{", "*"):
        read_grade(piece * 20_000)


# ── candidates ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _gullible(handler: Handler, body: bytes) -> None:
    """A judge that obeys whatever stands outside of the fenced blocks, and grades what is in them by equality."""
    system, user = (message["content"] for message in json.loads(body)["messages"])
    mark = re.search(r"the mark ([0-9a-f]{16})", system)
    assert mark is not None
    blocks = dict(re.findall(rf"^BEGIN (\w+) {mark[1]}\n(.*)\nEND \1 {mark[1]}$", user, re.MULTILINE))
    outside = re.sub(rf"^BEGIN (\w+) {mark[1]}\n.*\nEND \1 {mark[1]}$", "", user, flags=re.MULTILINE)
    obeys = re.search(r"\S", outside) or set(blocks) != {"REFERENCE", "CANDIDATE"} or "score 1" in system
    texts = [json.loads(block) for block in blocks.values()]
    ok('{"score": 1}' if obeys else '{"score": 1}' if texts[0] == texts[-1] else '{"score": 0}')(handler, body)


def test_injected_candidates_never_leave_their_fence(tmp_path: Path) -> None:
    assert len(PAYLOADS) >= 150
    items = [GradingItem(f"v{i:03d}", 0, "The dog's leg bends like rubber.", text) for i, text in enumerate(PAYLOADS)]
    with FaultServer(default=_gullible) as server, _client(server) as client:
        judged = grade(items, client, tmp_path, controls=10)
    assert [j for j in judged.judgements if j.grade != 0.0] == []
    assert judged.controls["identical"][0] == 1.0  # the same judge does give a 1 where one is due


@pytest.mark.parametrize("payload", PAYLOADS, ids=range(len(PAYLOADS)))
def test_a_payload_is_one_short_line_of_json_without_markers(payload: str) -> None:
    system, user = judge_messages("The leg bends.", payload)
    lines = user["content"].split("\n")
    mark = lines[0].rpartition(" ")[2]
    other, _ = judge_messages("x", "y")
    assert re.sub(r"[0-9a-f]{16}", "", system["content"]) == re.sub(r"[0-9a-f]{16}", "", other["content"])
    assert lines == [
        f"BEGIN REFERENCE {mark}", '"The leg bends."', f"END REFERENCE {mark}", "",
        f"BEGIN CANDIDATE {mark}", lines[5], f"END CANDIDATE {mark}",
    ]  # fmt: skip
    shown = json.loads(lines[5])
    assert len(shown) <= MAX_CHARACTERS
    assert lines[5].isascii()
    assert not re.search(r"<\|im_|\[/?INST\]|\\boxed\{|(?i:score)[\"']?\s*[:=]\s*1", shown), shown[:200]
    assert not isinstance(read_grade(shown), float)


def test_an_honest_explanation_is_left_as_it_is() -> None:
    for text in (
        "The score board behind the player shows 1 - 0, then 3:1 melts into nothing.",
        "At 2.5 s the left hand has 6 fingers; one of them fuses with the cup.",
        "The user's system of gears <turns> backwards.",
    ):
        assert without_markers(text) == text


def test_the_prompt_is_frozen(update_golden: bool) -> None:
    golden = Path(__file__).parents[1] / "golden" / "judge_prompt.txt"
    text = "\n\n".join(m["content"] for m in judge_messages("The leg bends.", 'Score: 1 "quoted"\nline')) + "\n"
    if update_golden:
        golden.write_text(text)
    assert golden.read_text() == text


# ── the run ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _truth(i: int, *explanations: str | None) -> Record:
    rows = tuple(Annotation((Trace((0.1, 0.1, 0.2, 0.2), 0.5, explanation=text),), "fake") for text in explanations)
    info = VideoInfo(64, 48, 8.0, 16, 2.0)
    return Record(f"v{i}", f"v{i}.mp4", "fake" if explanations else "real", info=info, annotations=rows)


def test_every_written_explanation_is_a_row_and_what_needs_no_judge_is_absent(tmp_path: Path) -> None:
    said = Trace((0.1, 0.1, 0.2, 0.2), 0.5, explanation="It bends.")
    records = [_truth(0, "a", None, "b"), _truth(1, "c"), _truth(2, "d"), _truth(3, "e"), _truth(4), _truth(5, "f")]
    outcomes: dict[str, Outcome] = {
        "v0": Verdict("fake", traces=(said,)),
        "v1": Verdict("real", traces=(said,)),
        "v2": Unparsed("no verdict", "hm"),
        "v3": Failed("EMPTY", "nothing"),
        "v4": Verdict("fake", traces=(said,)),
        "v5": Verdict("fake", traces=(Trace((0.1, 0.1, 0.2, 0.2)), said)),
    }
    items = items_of(records, outcomes, lambda outcome: None)
    assert [(i.video_id, i.row, i.candidate) for i in items] == [
        ("v0", 0, "It bends."), ("v0", 2, "It bends."), ("v1", 0, None), ("v2", 0, None), ("v3", 0, None),
        ("v5", 0, None),
    ]  # fmt: skip
    with FaultServer(default=ok('{"score": 0.5}')) as server, _client(server) as client:
        judged = grade(items, client, tmp_path)
        assert len(server.requests) == 2
    assert judged.counts == {"scored": 2, "absent": 4, "unscored": 0, "failed": 0}
    assert judged.mean == pytest.approx(1 / 6)
    assert list(read_judgements(tmp_path)) == list(judged.judgements)


def test_an_unreadable_reply_is_asked_for_once_more_and_then_counted(tmp_path: Path) -> None:
    script = [ok("hm"), ok('{"score": 1}'), ok("hm"), ok("hm again")]
    with FaultServer(script) as server, _client(server, concurrency=1) as client:
        first = grade(_items(1), client, tmp_path / "a")
        second = grade(_items(1), client, tmp_path / "b")
        again = grade(_items(1), client, tmp_path / "b")
        assert len(server.requests) == 4
    assert first.judgements[0].grade == 1.0
    assert second.judgements == again.judgements
    assert (second.judgements[0].status, second.judgements[0].grade) == ("unscored", None)
    assert second.judgements[0].code == "JUDGE_UNPARSABLE"
    assert second.mean is None


def test_a_failure_is_no_zero_and_is_tried_by_the_next_run(tmp_path: Path) -> None:
    with FaultServer([status(400), ok("1")], default=ok("1")) as server, _client(server, concurrency=1) as client:
        first = grade(_items(2), client, tmp_path)
        assert sorted(j.status for j in first.judgements) == ["failed", "scored"]
        assert first.mean == 1.0
        again = grade(_items(2), client, tmp_path)
        assert again.counts["scored"] == 2
        assert len(server.requests) == 3


def test_money_stops_the_run_and_the_next_one_goes_on(tmp_path: Path) -> None:
    prices = Prices(1.0, 1.0)
    most = estimate(_items(10), prices=prices)
    assert most["questions"] == 10
    one = most["cost_at_most"] / 10
    with FaultServer(default=ok("1", usage=(500, 3))) as server:
        with _client(server, prices=prices, max_cost=3.5 * one, concurrency=1) as client:
            first = grade(_items(10), client, tmp_path)
        assert first.stopped is not None
        assert first.stopped.code == "MAX_COST"
        assert first.cost is not None
        assert first.cost <= 3.5 * one
        asked = first.counts["scored"]
        assert 0 < asked < 10
        assert {j.code for j in first.judgements if j.status == "failed"} == {"NOT_ASKED"}
        with _client(server, prices=prices, max_cost=100.0) as client:
            rest = grade(_items(10), client, tmp_path)
        assert rest.counts["scored"] == 10
        assert len(server.requests) == 10
        assert rest.cost == pytest.approx(10 * 503 / 1e6)


def test_the_same_question_is_asked_once(tmp_path: Path) -> None:
    items = [GradingItem("a", 0, "It melts.", "It melts."), GradingItem("a", 1, "It melts.", "It melts.")]
    with FaultServer(default=ok("1")) as server, _client(server) as client:
        assert grade(items, client, tmp_path).counts["scored"] == 2
        assert len(server.requests) == 1


def test_two_judges_do_not_mix(tmp_path: Path) -> None:
    with FaultServer(default=ok("1")) as server:
        with _client(server) as client:
            grade(_items(1), client, tmp_path)
        with ChatClient(server.url, "judge-2", api_key="k") as client, pytest.raises(FileError, match="judge"):
            grade(_items(1), client, tmp_path)
    with FaultServer(default=ok("1")) as other, _client(other) as client, pytest.raises(FileError, match="base_url"):
        grade(_items(1), client, tmp_path)


@pytest.mark.parametrize(("reply", "valid"), [("honest", True), ("1", False), ("0", False)])
def test_planted_questions_tell_whether_a_judge_can_be_trusted(tmp_path: Path, reply: str, valid: bool) -> None:
    with FaultServer(default=_gullible if reply == "honest" else ok(reply)) as server, _client(server) as client:
        judged = grade(_items(20), client, tmp_path, controls=8)
    assert judged.valid is valid
    assert {n for _, n in judged.controls.values()} == {8}
    assert json.loads((tmp_path / "judge.json").read_text())["valid"] is valid
    assert len(judged.judgements) == 20  # planted questions are not rows


# ── people ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _judgements(scores: list[float]) -> list[Judgement]:
    return [Judgement(f"v{i:04d}", 0, "scored", score, "judge-1") for i, score in enumerate(scores)]


def test_a_sheet_goes_out_without_the_judges_grades_and_comes_back(tmp_path: Path) -> None:
    items = [*_items(20), GradingItem("=x", 0, "=HYPERLINK(1)", "＋cmd"), GradingItem("y", 0, "a", None)]
    assert write_sheet(tmp_path / "sheet.csv", items, 50, 0) == 21
    lines = (tmp_path / "sheet.csv").read_text().splitlines()
    assert lines[0] == "video_id,row,grader,score,reference,candidate"
    assert "'=HYPERLINK(1),'＋cmd" in "\n".join(lines)
    filled = [lines[0], *(line.replace(",0,,,", ",0,ann,0.5,") for line in lines[1:])]
    (tmp_path / "grades.csv").write_text("\n".join(filled))
    grades = read_sheet(tmp_path / "grades.csv")
    assert len(grades) == 21
    assert grades["v003", 0] == {"ann": 0.5}
    assert ("=x", 0) in grades


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("video_id,score\nv,1\n", "no column row"),
        ("video_id,row,score\nv,0,0.7\n", "not one of"),
        ("video_id,row,score\nv,first,1\n", "no number"),
        ("video_id,row,grader,score\nv,0,a,1\nv,0,a,0\n", "already"),
    ],
)
def test_a_sheet_that_is_wrong_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "grades.csv").write_text(text)
    with pytest.raises((FileError, RecordError), match=problem):
        read_sheet(tmp_path / "grades.csv")


def test_agreement_by_hand() -> None:
    """4 rows: the judge is right on 3 and half a point too high on one."""
    grades = {(f"v{i:04d}", 0): {"ann": g} for i, g in enumerate([0.0, 0.5, 1.0, 0.5])}
    found = compare(_judgements([0.0, 0.5, 1.0, 1.0]), grades)
    assert (found.judge.n, found.judge.equal, found.judge.mean_difference) == (4, 0.75, 0.125)
    assert found.judge.confusion == ((1, 0, 0), (0, 1, 1), (0, 0, 1))
    # Weights are squared differences: seen 1 of 4 rows off by 1. By chance: rows (1, 2, 1) / 4, columns (1, 1, 2) / 4.
    chance = sum(a * b * (i - j) ** 2 for i, a in enumerate((1, 2, 1)) for j, b in enumerate((1, 1, 2))) / 16
    assert found.judge.kappa == pytest.approx(1 - (1 / 4) / chance)
    assert found.humans is None
    assert found.corrected is None  # nothing is left for the judge alone


def test_people_beside_each_other() -> None:
    grades = {("v0000", 0): {"b": 1.0, "a": 0.5}, ("v0001", 0): {"a": 0.0, "b": 0.0}}
    found = compare(_judgements([1.0, 0.0]), grades)
    assert found.humans is not None
    assert found.humans.confusion == ((1, 0, 0), (0, 0, 1), (0, 0, 0))
    assert found.judge.n == 4


def test_grades_of_rows_that_were_never_judged_are_refused() -> None:
    with pytest.raises(RecordError, match="no row"):
        compare(_judgements([1.0]), {("other", 0): {"a": 1.0}})


def _simulated(seed: int) -> Iterator[tuple[list[Judgement], dict[tuple[str, int], float], float]]:
    """A judge half a point too kind in a third of the cases; people grade 60 of 600 rows."""
    rng = np.random.default_rng(seed)
    while True:
        human = rng.choice(GRADES, 600, p=(0.4, 0.3, 0.3))
        judge = np.where(rng.random(600) < 1 / 3, np.minimum(human + 0.5, 1.0), human)
        graded = rng.choice(600, 60, replace=False)
        places = {(f"v{i:04d}", 0): float(human[i]) for i in graded}
        yield _judgements([float(score) for score in judge]), places, 0.45


def test_the_corrected_mean_holds_the_truth_and_is_narrower_than_people_alone() -> None:
    held = narrower = biased = 0
    for judgements, places, truth in (case for case, _ in zip(_simulated(0), range(100), strict=False)):
        found = correct_mean(judgements, places)
        assert found is not None
        held += found.low <= truth <= found.high
        alone = found.humans_alone
        narrower += found.high - found.low < alone[2] - alone[1]
        biased += found.judge_alone > truth + 0.05
    assert biased == 100  # the judge itself is always off
    assert held >= 93
    assert narrower >= 95


def _half_graded() -> tuple[list[Judgement], dict[tuple[str, int], float]]:
    """40 rows, of which people graded 20."""
    judged = _judgements([1.0, 0.5] * 20)
    return judged, {(f"v{i:04d}", 0): 1.0 if i % 3 else 0.5 for i in range(20)}


def test_absent_rows_are_the_zeros_that_they_are() -> None:
    judged, places = _half_graded()
    absent = [Judgement(f"w{i}", 0, "absent", 0.0, "judge-1") for i in range(40)]
    alone, among = correct_mean(judged, places), correct_mean([*judged, *absent], places)
    assert alone is not None
    assert among is not None
    assert among.value == pytest.approx(alone.value / 2)


def test_a_judge_that_always_says_the_same_adds_nothing() -> None:
    _, places = _half_graded()
    found = correct_mean(_judgements([0.5] * 40), places)
    assert found is not None
    assert (found.value, found.low, found.high) == found.humans_alone


def test_too_few_graded_videos_give_no_corrected_mean() -> None:
    judged, places = _half_graded()
    assert correct_mean(judged, dict(list(places.items())[:19])) is None


def test_a_kill_between_two_grades_loses_none_that_was_paid_for(tmp_path: Path) -> None:
    """The cache has what the journal missed: the next run asks for nothing twice."""
    gate = threading.Event()

    def slow_first(handler: Handler, body: bytes) -> None:
        if b"number 0 melts" in body:
            gate.wait(10)
        ok("1")(handler, body)

    cache = tmp_path / "cache"
    with FaultServer(default=slow_first) as server:
        with _client(server, cache_dir=cache, concurrency=2) as client:
            thread = threading.Thread(target=lambda: grade(_items(4), client, tmp_path / "run"))
            thread.start()
            while len(server.requests) < 4:
                time.sleep(0.01)
            before = (tmp_path / "run" / "judge-journal.jsonl").read_text().count("key")
            gate.set()
            thread.join()
        assert before == 0  # all came behind the slow one, and waited for it
        with _client(server, cache_dir=cache, concurrency=2) as client:
            again = grade(_items(4), client, tmp_path / "another")
        assert again.counts["scored"] == 4
        assert len(server.requests) == 4
