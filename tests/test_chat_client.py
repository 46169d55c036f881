"""Budgets, order, cache and secrets; against a real server."""

from __future__ import annotations

import io
import json
import logging
import random
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deeptrace.chat import (
    Call,
    ChatClient,
    ChatError,
    ChatFailed,
    ChatStopped,
    Prices,
    RedactingFilter,
    Redactor,
    Reply,
    Timeouts,
    image_part,
    text_part,
)
from deeptrace.chat.messages import cache_key
from tests.fault_server import FaultServer, Handler, after, completion, cut, hang_up, html, ok, raw, reset, status

ASK = [{"role": "user", "content": "Is this video real?"}]


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as running:
        yield running


def quick(server: FaultServer, **options: Any) -> ChatClient:
    options.setdefault("sleep", lambda seconds: None)
    return ChatClient(server.url, "m", "k-test-key", **options)


def echo(handler: Handler, body: bytes) -> None:
    """Answers with the question, after a short random time."""
    question = json.loads(body)["messages"][0]["content"]
    time.sleep(random.random() * 0.01)
    handler.answer(200, json.dumps(completion(f"answer {question}")).encode())


def asks(count: int) -> list[list[dict[str, str]]]:
    return [[{"role": "user", "content": str(number)}] for number in range(count)]


# ── what may be sent ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "messages",
    [
        [],
        "text",
        {"role": "user", "content": "x"},
        [{"role": "robot", "content": "x"}],
        [{"role": "user"}],
        [{"role": "user", "content": []}],
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]}],
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]}],
        [{"role": "user", "content": [{"type": "image_url", "image_url": "data:image/png;base64,AA"}]}],
        [{"role": "user", "content": [{"type": "input_file", "file": "x"}]}],
        [{"role": "user", "content": ["text"]}],
        [{"role": "user", "content": [{"type": "text"}]}],
        ["x"],
    ],
)
def test_messages_that_cannot_be_sent(server: FaultServer, messages: Any) -> None:
    with quick(server) as client, pytest.raises(ChatError):
        client.complete(messages)
    assert server.requests == []


@pytest.mark.parametrize("params", [{"stream": True}, {"n": 2}, {"tools": []}, {"temperature": float("nan")}])
def test_parameters_that_cannot_be_sent(server: FaultServer, params: dict[str, Any]) -> None:
    with quick(server) as client, pytest.raises(ChatError):
        client.complete(ASK, **params)
    assert server.requests == []


@pytest.mark.parametrize(
    "url",
    ["", "ftp://x/v1", "host/v1", "http://", "https://user:pw@host/v1", "https://h/v1?key=1", "http://h:x/", None],
)
def test_base_urls_that_are_refused(url: Any) -> None:
    with pytest.raises(ChatError) as caught:
        ChatClient(url, "m")
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [{"max_cost": 1.0}, {"max_requests": 0}, {"concurrency": 0}, {"max_cost": float("nan"), "prices": Prices(1, 1)}],
)
def test_settings_that_make_no_sense(options: dict[str, Any]) -> None:
    with pytest.raises(ChatError):
        ChatClient("http://127.0.0.1:1/v1", "m", **options)
    with pytest.raises(ChatError):
        Timeouts(total=0)
    with pytest.raises(ChatError):
        Prices(-1, 0)


def test_images_travel_inside_the_message(server: FaultServer) -> None:
    content = [text_part("frame 0 at 0.0 s"), image_part(b"\x89PNG\r\n\x1a\n....", detail="low")]
    with quick(server) as client:
        assert isinstance(client.complete([{"role": "user", "content": content}]), Reply)
    assert server.requests[0].json["messages"][0]["content"] == content


# ── budgets ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_request_limit_counts_retries_and_stops_before(server: FaultServer) -> None:
    server.default = status(500)
    with quick(server, max_requests=4, timeouts=Timeouts(max_attempts=3)) as client:
        assert isinstance(client.complete(ASK), ChatFailed)
        with pytest.raises(ChatStopped) as caught:
            client.complete(ASK)
    assert caught.value.code == "MAX_REQUESTS"
    assert len(server.requests) == client.spent.requests == 4


@pytest.mark.parametrize("seed", range(12))
def test_the_cost_limit_holds_whatever_happens(server: FaultServer, seed: int) -> None:
    rng = random.Random(seed)
    prices, cap = Prices(10.0, 30.0), rng.uniform(0.002, 0.02)
    truly, lock = [0.0], threading.Lock()

    def charge(handler: Handler, body: bytes) -> None:
        """A provider that charges for what it read, also when the answer gets lost."""
        tokens = len(json.loads(body)["messages"][0]["content"]), rng.randint(1, 50)
        what = rng.random()
        with lock:
            truly[0] += prices.cost(*tokens) if what < 0.8 else 0.0
        if what < 0.6:
            handler.answer(200, json.dumps(completion("FAKE.", usage=tokens)).encode())
        elif what < 0.7:
            cut(b"{" * 200, 20)(handler, body)
        elif what < 0.8:
            hang_up()(handler, body)
        else:
            status(rng.choice((429, 500, 503)))(handler, body)

    server.default = charge
    outcomes: list[Any] = []
    with quick(server, prices=prices, max_cost=cap, concurrency=6) as client:
        with pytest.raises(ChatStopped) as caught:
            outcomes.extend(client.map(asks(500), max_tokens=50))
        assert caught.value.code == "MAX_COST"
        assert truly[0] <= client.spent.cost + 1e-12
        assert client.spent.cost <= cap
        assert client.spent.requests == len(server.requests)
    finished = outcomes + list(caught.value.finished.values())
    assert sum(outcome.cost or 0.0 for outcome in finished) <= client.spent.cost + 1e-12


def test_a_cost_limit_needs_a_limit_on_the_answer(server: FaultServer) -> None:
    with quick(server, prices=Prices(1, 1), max_cost=1.0) as client, pytest.raises(ChatError, match="max_tokens"):
        client.complete(ASK)
    assert server.requests == []


def test_every_attempt_is_told(server: FaultServer) -> None:
    server.play(status(500), reset(), ok("FAKE.", usage=(1_000_000, 500_000)))
    seen = []
    with quick(server, prices=Prices(2.0, 8.0), on_attempt=seen.append) as client:
        reply = client.complete(ASK, max_tokens=500_000)
    assert isinstance(reply, Reply)
    assert [(a.number, a.code, a.status) for a in seen] == [
        (1, "SERVER_ERROR", 500), (2, "CONNECTION_LOST", None), (3, None, 200),
    ]  # fmt: skip
    assert seen[0].cost == 0.0
    assert 4.0 < seen[1].cost < 4.01  # unknown whether it was charged: its upper bound
    assert seen[2].cost == 6.0
    assert reply.cost == sum(a.cost for a in seen) == client.spent.cost


# ── many calls ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_map_keeps_order_and_gives_each_item_its_outcome(server: FaultServer) -> None:
    def moody(handler: Handler, body: bytes) -> None:
        question = int(json.loads(body)["messages"][0]["content"])
        (status(400) if question % 7 == 3 else echo)(handler, body)

    server.default = moody
    with quick(server, concurrency=8) as client:
        outcomes = list(client.map(asks(60)))
    assert len(outcomes) == 60
    for number, outcome in enumerate(outcomes):
        if number % 7 == 3:
            assert isinstance(outcome, ChatFailed)
            assert outcome.code == "BAD_REQUEST"
        else:
            assert isinstance(outcome, Reply)
            assert outcome.text == f"answer {number}"


def test_map_is_lazy_and_a_calls_own_params_win(server: FaultServer) -> None:
    read = []

    def endless() -> Iterator[Call]:
        for number in range(10_000):
            read.append(number)
            yield Call(ASK, {"temperature": 0.5} if number else {})

    with quick(server, concurrency=2) as client:
        outcomes = client.map(endless(), temperature=0, max_tokens=5)
        for _ in range(3):
            assert isinstance(next(outcomes), Reply)
        outcomes.close()
    assert len(read) <= 8
    sent = [request.json["temperature"] for request in server.requests]
    assert sent.count(0) == 1
    assert {request.json["max_tokens"] for request in server.requests} == {5}


def test_quota_in_the_middle_of_a_map(server: FaultServer) -> None:
    def quota(handler: Handler, body: bytes) -> None:
        question = int(json.loads(body)["messages"][0]["content"])
        if question == 5:
            after(0.05, status(429, error_code="insufficient_quota"))(handler, body)
        else:
            echo(handler, body)

    server.default = quota
    got: list[Any] = []
    with quick(server, concurrency=4) as client, pytest.raises(ChatStopped) as caught:
        got.extend(client.map(asks(1000)))
    assert caught.value.code == "QUOTA"
    assert [outcome.text for outcome in got if isinstance(outcome, Reply)] == [f"answer {n}" for n in range(5)]
    assert all(index > 5 for index in caught.value.finished)
    assert len(server.requests) <= 5 + 8 + 4


def test_the_server_sets_the_pace(server: FaultServer) -> None:
    busy, most, lock = [0], [0], threading.Lock()

    def counted(handler: Handler, body: bytes) -> None:
        with lock:
            busy[0] += 1
            most[0] = max(most[0], busy[0])
            too_many = busy[0] > 3
        time.sleep(0.004)
        (status(429, retry_after="0") if too_many else echo)(handler, body)
        with lock:
            busy[0] -= 1

    server.default = counted
    options: dict[str, Any] = {"concurrency": 16, "timeouts": Timeouts(max_attempts=20)}
    with quick(server, sleep=lambda seconds: time.sleep(min(seconds, 0.01)), **options) as client:
        outcomes = list(client.map(asks(120)))
        complaints = client.spent.by_code.get("RATE_LIMITED", 0)
        assert client.concurrency_now < 16 or not complaints
        assert complaints < 120  # it learns: without a gate nearly every round would be turned away
    assert all(isinstance(outcome, Reply) for outcome in outcomes)
    assert most[0] <= 16


# ── cache ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def key(**changes: Any) -> str:
    base: dict[str, Any] = {
        "base_url": "http://a/v1", "model": "m", "messages": ASK, "params": {"temperature": 0, "seed": 1},
        "about": {"video_sha256": "aa", "frames": [0, 8, 16], "prompt_version": 3}, "code_version": "1",
    }  # fmt: skip
    return cache_key(**{**base, **changes})


DIFFERENT: list[dict[str, Any]] = [
    {},
    {"base_url": "http://b/v1"},
    {"base_url": "https://a/v1"},
    {"model": "m2"},
    {"model": "m@2026-01"},
    {"messages": [{"role": "system", "content": ASK[0]["content"]}]},
    {"messages": [{"role": "user", "content": ASK[0]["content"] + " "}]},
    {"messages": ASK * 2},
    {"messages": [{"role": "user", "content": [text_part(ASK[0]["content"])]}]},
    {"messages": [{"role": "user", "content": [image_part(b"frame one")]}]},
    {"messages": [{"role": "user", "content": [image_part(b"frame two")]}]},
    {"messages": [{"role": "user", "content": [image_part(b"frame one"), image_part(b"frame two")]}]},
    {"messages": [{"role": "user", "content": [image_part(b"frame two"), image_part(b"frame one")]}]},
    {"messages": [{"role": "user", "content": [image_part(b"frame one", "image/jpeg")]}]},
    {"messages": [{"role": "user", "content": [image_part(b"frame one", detail="low")]}]},
    {"messages": [{"role": "user", "content": [image_part(b"frame one", detail="high")]}]},
    {"params": {}},
    {"params": {"temperature": 0}},
    {"params": {"temperature": 0, "seed": 2}},
    {"params": {"temperature": 0.5, "seed": 1}},
    {"params": {"temperature": 0, "seed": 1, "max_tokens": 100}},
    {"params": {"temperature": 0, "seed": 1, "max_completion_tokens": 100}},
    {"params": {"temperature": 0, "seed": 1, "response_format": {"type": "json_object"}}},
    {"about": None},
    {"about": {}},
    {"about": {"video_sha256": "bb", "frames": [0, 8, 16], "prompt_version": 3}},
    {"about": {"video_sha256": "aa", "frames": [0, 8], "prompt_version": 3}},
    {"about": {"video_sha256": "aa", "frames": [0, 8, 17], "prompt_version": 3}},
    {"about": {"video_sha256": "aa", "frames": [0, 8, 16], "prompt_version": 4}},
    {"code_version": "2"},
]


def test_every_difference_is_another_key() -> None:
    keys = [key(**changes) for changes in DIFFERENT]
    assert len(set(keys)) == len(DIFFERENT) == 30
    assert key(params={"seed": 1, "temperature": 0}) == key()


def test_a_kept_reply_costs_nothing(server: FaultServer, tmp_path: Path) -> None:
    options: dict[str, Any] = {"cache_dir": tmp_path, "prices": Prices(1, 1)}
    server.play(ok("FAKE.", usage=(7, 3)))
    with quick(server, **options) as client:
        first = client.complete(ASK, temperature=0, about={"video_sha256": "aa"})
    with quick(server, max_requests=1, **options) as client:
        again = client.complete(ASK, temperature=0, about={"video_sha256": "aa"})
        other = client.complete(ASK, temperature=0, about={"video_sha256": "bb"})
    assert isinstance(first, Reply)
    assert isinstance(again, Reply)
    assert isinstance(other, Reply)
    assert (first.cached, again.cached, other.cached) == (False, True, False)
    assert (again.text, again.usage, again.cost, again.attempts) == (first.text, first.usage, 0.0, ())
    assert len(server.requests) == 2
    assert len(list(tmp_path.rglob("*.json"))) == 2
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.parametrize(
    "step",
    [
        ok("FAKE. The", finish="length"),
        ok(None, refusal="no"),
        ok(""),
        ok("x", finish="content_filter"),
        ok(None, tool_calls=[{"id": "1"}]),
        status(400),
        html(),
        raw(b"{"),
    ],
)
def test_only_whole_answers_are_kept(server: FaultServer, tmp_path: Path, step: Any) -> None:
    server.default = step
    with quick(server, cache_dir=tmp_path, timeouts=Timeouts(max_attempts=1)) as client:
        client.complete(ASK)
        client.complete(ASK)
    assert len(server.requests) == 2
    assert not list(tmp_path.rglob("*.json"))


def _entry(tmp_path: Path) -> Path:
    (path,) = tmp_path.rglob("*.json")
    return path


def _change(**changes: Any) -> Any:
    def apply(data: bytes) -> bytes:
        entry = json.loads(data)
        entry["reply"].update(changes)
        return json.dumps(entry).encode()

    return apply


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[: len(data) // 2],
        lambda data: b"",
        lambda data: bytes(len(data)),
        lambda data: b"\x80\x04\x95" + data,
        lambda data: b"null",
        lambda data: b"[" * 5000,
        lambda data: data.replace(b"FAKE", b"REAL"),
        lambda data: data.replace(b'"sha256": "', b'"sha256": "0'),
        lambda data: data.replace(b"reply/1", b"reply/9"),
        lambda data: b'{"schema": "deeptrace.chat.reply/1"}',
        _change(text=None),
        _change(text=5),
        _change(flags=["truncated"]),
        _change(usage=[1]),
        _change(extra=1),
    ],
)
def test_a_damaged_entry_is_ignored_said_and_written_anew(
    server: FaultServer, tmp_path: Path, damage: Any, caplog: pytest.LogCaptureFixture
) -> None:
    server.default = ok("FAKE.")
    with quick(server, cache_dir=tmp_path) as client:
        client.complete(ASK)
    path = _entry(tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    with caplog.at_level(logging.WARNING, "deeptrace.chat"), quick(server, cache_dir=tmp_path) as client:
        assert isinstance(client.complete(ASK), Reply)
        assert client.cache_ignored == 1
        reply = client.complete(ASK)
        assert isinstance(reply, Reply)
        assert reply.cached
    assert "is ignored" in caplog.text
    assert len(server.requests) == 2


@pytest.mark.parametrize("change", [{"text": "  "}, {"flags": ["truncated"]}, {"usage": {"prompt_tokens": True}}])
def test_an_entry_with_a_right_checksum_is_still_checked(
    server: FaultServer, tmp_path: Path, change: dict[str, Any]
) -> None:
    from deeptrace.chat.cache import _checksum

    server.default = ok("FAKE.")
    with quick(server, cache_dir=tmp_path) as client:
        client.complete(ASK)
        path = _entry(tmp_path)
        entry = json.loads(path.read_bytes())
        entry["reply"].update(change)
        entry["sha256"] = _checksum(entry["key"], entry["reply"])
        path.write_text(json.dumps(entry))
        reply = client.complete(ASK)
    assert isinstance(reply, Reply)
    assert not reply.cached


def test_a_cache_that_cannot_be_written_is_no_failure(server: FaultServer, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with quick(server, cache_dir=tmp_path / "file") as client:
        assert isinstance(client.complete(ASK), Reply)


# ── secrets ─────────────────────────────────────────────────────────────────────────────────────────────────────────

CANARY = "canary-Zq7Yw2Lr9Tn4Vb6X"


def _texts_of(error: BaseException) -> str:
    seen, queue, texts = set(), [error], []
    while queue:
        each = queue.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        texts += [str(each), repr(each), repr(each.args), "".join(traceback.format_exception(each))]
        queue += [each.__cause__, each.__context__]  # type: ignore[list-item]
    return "\n".join(texts)


@pytest.mark.parametrize(
    "step",
    [
        status(401, f"Incorrect API key provided: {CANARY}"),
        status(400, f"bad header Authorization: Bearer {CANARY}"),
        status(429, f"quota of {CANARY}", error_code="insufficient_quota"),
        status(500, f"upstream https://u:{CANARY}@host/ failed"),
        html(),
        reset(),
        cut(b"{}" * 50, 4),
    ],
)
@pytest.mark.parametrize("way", ["argument", "environment"])
def test_the_key_is_shown_nowhere(
    server: FaultServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: Any, way: str
) -> None:
    server.default = step
    monkeypatch.setenv("OTHER_SERVICE_TOKEN", f"{CANARY}-other")
    if way == "environment":
        monkeypatch.setenv("DEEPTRACE_API_KEY", CANARY)
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    outputs = []
    try:
        with ChatClient(
            server.url,
            "m",
            CANARY if way == "argument" else None,
            cache_dir=tmp_path,
            sleep=lambda seconds: None,
            timeouts=Timeouts(max_attempts=2),
        ) as client:
            try:
                outputs.append(repr(client.complete(ASK)))
            except ChatStopped as error:
                outputs.append(_texts_of(error))
            outputs += [repr(client), str(vars(client)), repr(client._wire.__dict__)]
    finally:
        root.removeHandler(handler)
        root.setLevel(before)
    assert server.requests[0].headers["authorization"] == f"Bearer {CANARY}"
    assert "httpcore" in stream.getvalue() or "request" in stream.getvalue().lower()
    outputs.append(stream.getvalue())
    outputs += [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    for output in outputs:
        assert CANARY not in output


@pytest.mark.parametrize(
    "text",
    [
        f"key {CANARY}",
        "Authorization: Bearer abcdef0123456789",
        "authorization: Basic dXNlcjpwYXNzd29yZA==",
        "{'api_key': 'abcd1234'}",
        '"api-key": "abcd1234"',
        "?access_token=abcd1234&x=1",
        "sk-proj-abcd1234abcd1234",
        "hf_abcd1234abcd1234",
        "AIzaabcd1234abcd1234abcd1234",
        "http://user:abcd1234@host/path",
        "password=abcd1234",
        f"{CANARY}{CANARY}",
    ],
)
def test_what_is_shaped_like_a_secret_is_masked(text: str) -> None:
    scrubbed = Redactor([CANARY]).scrub(text)
    assert "[secret]" in scrubbed
    for piece in (CANARY, "abcd1234", "abcdef0123", "dXNlcjp"):
        assert piece not in scrubbed


def test_an_answer_that_echoes_the_key_is_kept_without_it(server: FaultServer, tmp_path: Path) -> None:
    server.default = ok(f"You sent: Bearer {CANARY}. password: hunter22")
    with ChatClient(server.url, "m", CANARY, cache_dir=tmp_path) as client:
        replies = [client.complete(ASK), client.complete(ASK)]
    for reply in replies:
        assert isinstance(reply, Reply)
        assert reply.text == "You sent: Bearer [secret]. password: hunter22"  # what the model wrote itself stays
    assert replies[1].cached
    assert all(CANARY not in path.read_text() for path in tmp_path.rglob("*") if path.is_file())


def test_a_short_key_does_not_change_what_models_say(server: FaultServer) -> None:
    server.default = ok("The secret door opens.")
    with ChatClient(server.url, "m", "secret") as client:
        reply = client.complete(ASK)
    assert isinstance(reply, Reply)
    assert reply.text == "The secret door opens."


def test_ordinary_text_is_left_alone() -> None:
    text = "the token limit of model sk is 4096; key frames at 0.5 s; password-free; https://host:8000/v1"
    assert Redactor([CANARY]).scrub(text) == text


def test_the_filter_reaches_arguments_and_tracebacks() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(RedactingFilter(Redactor([CANARY])))
    logger = logging.getLogger("tests.chat.redaction")
    logger.propagate = False
    logger.addHandler(handler)
    try:
        try:
            raise ValueError(f"inner {CANARY}")
        except ValueError:
            logger.exception("failed with %s and %r", CANARY, {"key": CANARY})
        logger.warning("not enough arguments %s %s", CANARY)  # noqa: PLE1206  on purpose
        logger.warning("stack", stack_info=True)
    finally:
        logger.removeHandler(handler)
    assert CANARY not in stream.getvalue()
    assert stream.getvalue().count("[secret]") >= 4


def test_openais_key_is_not_shown_to_others(server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DEEPTRACE_API_KEY", raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", CANARY)
    with ChatClient(server.url, "m") as client:
        client.complete(ASK)
    assert "authorization" not in server.requests[0].headers


@pytest.mark.parametrize("bad", ["two words", "line\nbreak", "ключ-к-api"])
def test_a_key_that_cannot_be_one(bad: str) -> None:
    with pytest.raises(ChatError) as caught:
        ChatClient("http://127.0.0.1:1/v1", "m", bad)
    assert bad not in str(caught.value)


def test_importing_does_not_load_httpx() -> None:
    import subprocess
    import sys

    code = "import sys, deeptrace.chat; raise SystemExit('httpx' in sys.modules or 'tenacity' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_what_a_server_says_does_not_act_in_a_terminal(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    with (
        FaultServer([status(400, "no \x1b[31m\u202e")]) as server,
        ChatClient(server.url, "m", "k-test-key", timeouts=Timeouts(max_attempts=1)) as client,
    ):
        client.complete([{"role": "user", "content": "?"}])
    said = [record.getMessage() for record in caplog.records if record.name == "deeptrace.chat"]
    assert said
    assert not {"\x1b", "\u202e"} & set("".join(said))
    assert "[U+202E]" in said[0]


# ── several servers of one model ────────────────────────────────────────────────────────────────────────────────────


def test_several_servers_share_the_work() -> None:
    with (
        FaultServer(default=after(0.02, ok("one"))) as one,
        FaultServer(default=after(0.02, ok("two"))) as two,
        ChatClient(f"{one.url} {two.url}", "m", "k-test-key", concurrency=6) as client,
    ):
        outcomes = list(client.map(asks(60)))
        assert all(isinstance(outcome, Reply) for outcome in outcomes)
        assert len(one.requests) + len(two.requests) == 60
        assert min(len(one.requests), len(two.requests)) >= 15


def test_a_server_that_is_gone_is_passed_over_and_asked_again_later(server: FaultServer) -> None:
    """Every call gets its answer from the other; the dead one is tried once in half a minute."""
    now = 0.0
    with FaultServer() as gone:
        dead = gone.url
    codes: list[str | None] = []
    with ChatClient(
        [dead, server.url],
        "m",
        "k-test-key",
        concurrency=1,
        clock=lambda: now,
        sleep=lambda seconds: None,
        on_attempt=lambda attempt: codes.append(attempt.code),
    ) as client:
        for _ in range(10):
            assert isinstance(client.complete(ASK), Reply)
        assert codes.count("CONNECT_FAILED") == 1
        now = 31.0
        for _ in range(10):
            assert isinstance(client.complete(ASK), Reply)
        assert codes.count("CONNECT_FAILED") == 2
    assert len(server.requests) == 20


@pytest.mark.parametrize("code", [500, 503, 404])
def test_a_server_that_fails_at_once_does_not_draw_all_requests(server: FaultServer, code: int) -> None:
    """It never has a request under way for long: by that alone it would always be the next to be asked."""
    server.default = after(0.05, ok("fine"))
    with (
        FaultServer(default=status(code)) as broken,
        ChatClient(
            [broken.url, server.url], "m", "k-test-key", concurrency=8, sleep=lambda seconds: time.sleep(0.01)
        ) as client,
    ):
        outcomes = list(client.map(asks(40)))
        assert len(broken.requests) <= 12  # those sent before the third fault was known
    lost = len(broken.requests) if code == 404 else 0  # which is not tried again
    assert sum(isinstance(outcome, Reply) for outcome in outcomes) == len(server.requests) == 40 - lost


def test_a_fault_now_and_then_does_not_put_a_server_to_rest(server: FaultServer) -> None:
    """It may be the request's: answers to others between its faults show that the server works."""
    with (
        FaultServer([step for _ in range(4) for step in (status(500), ok("fine"))]) as other,
        ChatClient([other.url, server.url], "m", "k-test-key", concurrency=1, sleep=lambda seconds: None) as client,
    ):
        for _ in range(12):
            assert isinstance(client.complete(ASK), Reply)
        assert len(other.requests) == 8


def test_the_order_of_servers_means_nothing_to_what_is_kept(server: FaultServer, tmp_path: Path) -> None:
    with FaultServer() as other:
        for urls in ([server.url, other.url], [other.url, server.url], [other.url, other.url, server.url]):
            with ChatClient(urls, "m", "k-test-key", cache_dir=tmp_path) as client:
                assert isinstance(client.complete(ASK), Reply)
                assert client.base_url == " ".join(sorted([server.url, other.url]))
        assert len(server.requests) + len(other.requests) == 1


def test_addresses_of_a_list_may_hold_several_and_a_wrong_one_is_found() -> None:
    with ChatClient(["http://b/v1 http://a/v1", "http://c/v1/"], "m", "k-test-key") as client:
        assert client.base_url == "http://a/v1 http://b/v1 http://c/v1"
    for given in (["http://a/v1 ftp://b", "http://c/v1"], "http://a/v1 http://user:pw@b/v1 http://c/v1"):
        with pytest.raises(ChatError, match=r"\(number 2 of 3\)") as caught:
            ChatClient(given, "m", "k-test-key")
        assert "pw" not in str(caught.value)


def test_openais_key_is_not_shown_where_one_of_several_is_another(
    server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DEEPTRACE_API_KEY", raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-not-for-others")
    with ChatClient(["https://api.openai.com/v1", server.url], "m", sleep=lambda seconds: None) as client:
        client._servers.failed("https://api.openai.com/v1", reached=False)
        assert isinstance(client.complete(ASK), Reply)
    assert "authorization" not in server.requests[0].headers
