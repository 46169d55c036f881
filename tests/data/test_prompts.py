"""Prompts, their filter and its log, and the rows that say where clips come from; a server plays the model."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deeptrace.chat import ChatClient, Timeouts
from deeptrace.data.build.generations import GenerationManifest, read_generations, write_generations
from deeptrace.data.build.prompts import (
    count_reasons,
    filter_prompts,
    jaccard,
    normalise,
    parse_list,
    prompt_id,
    question,
    read_decisions,
    shingles,
    write_prompts,
)
from deeptrace.errors import FileError, JsonError, RecordError
from deeptrace.files import read_jsonl
from deeptrace.lock import LockError, folder_lock
from tests.fault_server import FaultServer, Handler, completion, ok, status

WORDS = ["dog", "red", "kettle", "runs", "slowly", "across", "bright", "street", "woman", "pours", "water", "spins"]


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as running:
        running.default = writer
        yield running


def writer(handler: Handler, body: bytes) -> None:
    """Writes ten prompts that depend on the question alone; two of them repeat others."""
    asked = json.loads(body)["messages"][1]["content"]
    rng = random.Random(hashlib.sha256(asked.encode()).hexdigest())
    texts = [" ".join(rng.choice(WORDS) for _ in range(12)).capitalize() + "." for _ in range(8)]
    texts += [texts[0].upper(), "Too short."]
    handler.answer(200, json.dumps(completion(json.dumps(texts), usage=(300, 500))).encode())


def client_of(server: FaultServer, **options: Any) -> ChatClient:
    return ChatClient(server.url, "m", "k-test-key", sleep=lambda seconds: None, **options)


def files_of(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in ("prompts.jsonl", "dropped.jsonl")}


def test_prompts_are_written_filtered_and_logged(server: FaultServer, tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    with client_of(server) as client:
        result = write_prompts(client, tmp_path, count=30, seed=7, progress=lambda *step: steps.append(step))
    assert (len(result.prompts), result.short_by, dict(result.failed)) == (30, 0, {})
    assert len({prompt.prompt_id for prompt in result.prompts}) == 30
    assert count_reasons(result.dropped) == {"duplicate": 4, "too_short": 4}
    assert len(server.requests) == 4  # 8 of 10 are kept, so a fourth request was needed
    assert steps[-1] == (30, 30)
    rows = [row for _, row in read_jsonl(tmp_path / "prompts.jsonl")]
    assert rows == [asdict(prompt) for prompt in result.prompts]
    log = [row for _, row in read_jsonl(tmp_path / "dropped.jsonl")]
    assert all(row["reason"] and row["detail"] for row in log)


def test_the_same_seed_gives_the_same_bytes(server: FaultServer, tmp_path: Path) -> None:
    for name, concurrency, seed in (("a", 1, 3), ("b", 8, 3), ("c", 8, 4)):
        with client_of(server, concurrency=concurrency) as client:
            write_prompts(client, tmp_path / name, count=40, seed=seed)
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")
    assert files_of(tmp_path / "a") != files_of(tmp_path / "c")
    assert (
        question(3, seed=1, per_request=4) == question(3, seed=1, per_request=4) != question(4, seed=1, per_request=4)
    )


@pytest.mark.parametrize("budget", [1, 2, 3, 5])
def test_a_stopped_run_goes_on_and_ends_the_same(server: FaultServer, tmp_path: Path, budget: int) -> None:
    with client_of(server, concurrency=1) as client:
        write_prompts(client, tmp_path / "whole", count=60)
    asked, stops = len(server.requests), 0
    for _ in range(20):
        with client_of(server, concurrency=1, max_requests=budget) as client:
            result = write_prompts(client, tmp_path / "pieces", count=60)
        written = [row["prompt_id"] for _, row in read_jsonl(tmp_path / "pieces" / "prompts.jsonl")]
        assert written == [prompt.prompt_id for prompt in result.prompts]  # what came is there, stopped or not
        if result.stopped is None:
            break
        assert (result.stopped.code, result.short_by) == ("MAX_REQUESTS", 60 - len(written))
        stops += 1
        with open(tmp_path / "pieces" / "journal.jsonl", "ab") as file:
            file.write(b'{"key": "99", "stat')  # what a kill leaves
    assert stops >= 1
    assert len(server.requests) == 2 * asked  # nothing was asked twice
    assert files_of(tmp_path / "pieces") == files_of(tmp_path / "whole")


def test_failures_are_counted_and_asked_again_next_time(server: FaultServer, tmp_path: Path) -> None:
    bad = [status(400), ok("I cannot do that."), ok('["cut'), ok("[]"), ok("{}"), ok('["a', finish="length")]
    server.play(*bad)
    with client_of(server, concurrency=1, timeouts=Timeouts(max_attempts=1)) as client:
        result = write_prompts(client, tmp_path, count=20, max_requests=6)
        assert (len(result.prompts), result.short_by) == (0, 20)
        assert result.failed == {"BAD_REQUEST": 1, "UNPARSED": 5}
        again = write_prompts(client, tmp_path, count=20, max_requests=6)
    assert (len(again.prompts), again.short_by) == (20, 0)


def test_two_runs_do_not_mix(server: FaultServer, tmp_path: Path) -> None:
    with client_of(server) as client:
        write_prompts(client, tmp_path, count=5, seed=1)
        with pytest.raises(FileError, match="other settings"):
            write_prompts(client, tmp_path, count=5, seed=2)
        with folder_lock(tmp_path), pytest.raises(LockError, match="another process"):
            write_prompts(client, tmp_path, count=5, seed=1)


def candidates(*texts: object) -> list[tuple[int, int, object]]:
    return [(0, place, text) for place, text in enumerate(texts)]


BASE = "A man pours hot tea from a blue kettle into a white cup near a window."


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (7, "not_text"),
        (None, "not_text"),
        ({"prompt": "x"}, "not_text"),
        ("A dog runs.", "too_short"),
        ("", "too_short"),
        ("word " * 81, "too_long"),
        ("A dog runs \x1b[31m over the wet grass", "control"),
        ("Sure, here are the prompts you asked for today", "preamble"),
        ("A gun lies on a table in the rain", "blocked"),
        ("A man with a HAND  grenade walks over the street", "blocked"),
        (BASE.upper() + "!!", "duplicate"),
        ("a man pours hot tea, from a blue kettle - into a white cup near a window", "duplicate"),
        (BASE.replace("white", "green"), "near"),
        ("Slowly " + BASE, "near"),
    ],
)
def test_the_filter_and_its_reasons(text: object, reason: str) -> None:
    kept, dropped = filter_prompts(candidates(BASE, text), blocked=["gun", "hand grenade"])
    assert [prompt.text for prompt in kept] == [BASE]
    assert [drop.reason for drop in dropped] == [reason]
    if reason in ("duplicate", "near"):
        assert dropped[0].of == prompt_id(BASE)
        assert dropped[0].similarity is not None
        assert 0.6 <= dropped[0].similarity <= 1.0


def test_words_are_blocked_whole_and_others_are_left(tmp_path: Path) -> None:
    text = "A gunner's dog begins to run along the shore"
    assert len(filter_prompts(candidates(text), blocked=["gun", "beg", ""])[0]) == 1
    assert filter_prompts(candidates(BASE), existing=[BASE.lower()])[1][0].reason == "duplicate"
    path = tmp_path / "decisions.jsonl"
    rows: list[dict[str, Any]] = [
        {"prompt_id": prompt_id(text), "keep": False, "reason": "a person could be recognised"},
        {"prompt_id": prompt_id(BASE), "keep": False, "reason": "dull"},
        {"prompt_id": prompt_id(BASE), "keep": True},
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    kept, dropped = filter_prompts(candidates(text, BASE), decisions=read_decisions(path))
    assert [p.text for p in kept] == [BASE]
    assert (dropped[0].reason, dropped[0].detail) == ("by_hand", "a person could be recognised")
    for bad in ({"prompt_id": "p"}, {"prompt_id": "p", "keep": False}, {"keep": True}, [1]):
        path.write_text(json.dumps(bad))
        with pytest.raises(JsonError, match="line 1"):
            read_decisions(path)


@given(st.lists(st.text(alphabet="ab cAB.", min_size=0, max_size=60), max_size=12), st.randoms())
def test_every_prompt_is_kept_or_dropped_once(texts: list[str], rng: random.Random) -> None:
    rows = candidates(*texts)
    kept, dropped = filter_prompts(rows, min_words=1)
    assert sorted((p.request, p.place) for p in [*kept, *dropped]) == [(0, n) for n in range(len(texts))]
    assert len({normalise(p.text) for p in kept}) == len(kept)
    for one in kept:
        for other in kept:
            assert one is other or jaccard(shingles(one.text), shingles(other.text)) < 0.6
    shuffled = list(rows)
    rng.shuffle(shuffled)
    assert filter_prompts(shuffled, min_words=1) == (kept, dropped)


def test_similarity_by_hand() -> None:
    assert jaccard(shingles("a b c d"), shingles("b c d e")) == 1 / 3  # {abc bcd} and {bcd cde}
    assert jaccard(shingles(""), shingles("")) == 1.0
    assert normalise("Ａ Café—DÉJÀ vu!") == "a café déjà vu"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('["a", "b"]', ["a", "b"]),
        ('Here you go:\n```json\n["a"]\n```', ["a"]),
        ('```\n["a"]\n```', ["a"]),
        ('{"a": 1}', None),
        ("no list", None),
        ('["a", NaN]', None),
    ],
)
def test_lists_in_replies(text: str, expected: object) -> None:
    assert parse_list(text) == expected


# ── where clips come from ───────────────────────────────────────────────────────────────────────────────────────────

ROW = GenerationManifest(
    video_id="v1",
    path="videos/v1.mp4",
    prompt=BASE,
    generator="mochi",
    generator_version="1-preview",
    date="2026-03-01",
    terms_of_use="Apache-2.0, https://example.org/terms, read 2026-03-01",
    prompt_id=prompt_id(BASE),
    seed=7,
    settings={"steps": 64, "cfg": 4.5},
    sha256="0" * 64,
)


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    rows = [ROW, replace(ROW, video_id="v2", path="videos/v2.mp4", seed=None, sha256=None, settings={})]
    write_generations(tmp_path / "g.jsonl", rows)
    assert read_generations(tmp_path / "g.jsonl") == (rows, [])
    with pytest.raises(RecordError, match="stands twice"):
        write_generations(tmp_path / "g.jsonl", [ROW, ROW])
    with pytest.raises(RecordError, match=r"path: 'videos/v1\.mp4' stands twice"):
        write_generations(tmp_path / "g.jsonl", [ROW, replace(ROW, video_id="v9")])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("video_id", ""), ("prompt", " "), ("generator", None), ("generator_version", ""), ("terms_of_use", ""),
        ("date", "2026-3-1"), ("date", "01.03.2026"), ("date", "2026-02-30"), ("date", 20260301), ("date", "20260301"),
        ("seed", "7"), ("seed", True), ("seed", 7.0), ("path", "../v.mp4"), ("path", "/v.mp4"), ("path", None),
        ("sha256", "abc"), ("sha256", "Z" * 64), ("settings", [1]), ("settings", {"cfg": float("nan")}),
        ("prompt_id", 5),
    ],
)  # fmt: skip
def test_rows_that_are_not_valid(tmp_path: Path, name: str, value: Any) -> None:
    with pytest.raises(RecordError) as caught:
        replace(ROW, **{name: value})
    assert caught.value.field == name
    if isinstance(value, dict):
        return
    line = {"schema": "deeptrace.generation/1", **asdict(ROW), name: value}
    good = {"schema": "deeptrace.generation/1", **asdict(ROW)}
    (tmp_path / "g.jsonl").write_text(json.dumps(line) + "\n" + json.dumps(good) + "\n")
    rows, problems = read_generations(tmp_path / "g.jsonl")
    assert rows == [ROW]
    assert [(p.row, p.field, p.action) for p in problems] == [(1, name, "set_aside")]


def test_rows_that_lack_or_add_fields(tmp_path: Path) -> None:
    good = {"schema": "deeptrace.generation/1", **asdict(ROW)}
    lines: list[Any] = [
        good, good, {**good, "schema": "x"}, {**good, "extra": 1}, [1], {k: v for k, v in good.items() if k != "date"},
        {k: v for k, v in good.items() if k != "terms_of_use"},
    ]  # fmt: skip
    (tmp_path / "g.jsonl").write_text("\n".join(map(json.dumps, lines)))
    rows, problems = read_generations(tmp_path / "g.jsonl")
    assert rows == [ROW]
    assert [p.field for p in problems] == ["video_id", "schema", "extra", "schema", "date", "terms_of_use"]
