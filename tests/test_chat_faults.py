"""What each kind of answer, and each kind of silence, turns into; against a real server."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from deeptrace.chat import ChatClient, ChatFailed, ChatStopped, Prices, Reply, Timeouts
from deeptrace.chat.pace import Gate, retry_after_seconds
from deeptrace.chat.reading import HttpAnswer, read_answer
from tests.fault_server import (
    FaultServer,
    Step,
    completion,
    cut,
    drip,
    hang,
    hang_up,
    html,
    ok,
    raw,
    reset,
    send_json,
    status,
)

ASK = [{"role": "user", "content": "Is this video real?"}]
GOOD = json.dumps(completion("REAL.")).encode()
NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


class FakeTime:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now, self.sleeps = 0.0, []  # type: float, list[float]

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.now += seconds


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as running:
        yield running


@pytest.fixture
def fake_time() -> FakeTime:
    return FakeTime()


def client_of(server: FaultServer, fake_time: FakeTime, **options: Any) -> ChatClient:
    options.setdefault("timeouts", Timeouts(connect=2, read=2, attempt=5, total=900))
    return ChatClient(
        server.url,
        "m",
        "k-test-key",
        clock=fake_time.clock,
        sleep=fake_time.sleep,
        today=lambda: NOW,
        seed=1,
        **options,
    )


@pytest.mark.parametrize(
    ("header", "between"),
    [
        ("7", (7.0, 8.0)),
        ("0.5", (0.5, 1.5)),
        ("0", (0.0, 1.0)),
        ("-5", (0.0, 1.0)),
        ("1000000000", (120.0, 120.0)),
        ("1e400", (120.0, 120.0)),
        ("inf", (120.0, 120.0)),
        (format_datetime(NOW + timedelta(seconds=30), usegmt=True), (30.0, 31.0)),
        (format_datetime(NOW - timedelta(days=400), usegmt=True), (0.0, 1.0)),
        (format_datetime(NOW + timedelta(days=4000), usegmt=True), (120.0, 120.0)),
        (None, (0.5, 1.0)),
        ("", (0.5, 1.0)),
        ("soon", (0.5, 1.0)),
        ("nan", (0.5, 1.0)),
    ],
)
@pytest.mark.parametrize("code", [429, 503, 529])
def test_the_wait_is_what_the_server_asks_for_within_120_seconds(
    server: FaultServer, fake_time: FakeTime, header: str | None, between: tuple[float, float], code: int
) -> None:
    server.play(status(code, retry_after=header), ok("REAL."))
    with client_of(server, fake_time) as client:
        reply = client.complete(ASK)
    assert isinstance(reply, Reply)
    assert reply.text == "REAL."
    assert [a.status for a in reply.attempts] == [code, 200]
    assert len(fake_time.sleeps) == 1
    assert between[0] <= fake_time.sleeps[0] <= between[1]


def test_waits_without_a_header_grow_and_stay_bounded(server: FaultServer, fake_time: FakeTime) -> None:
    server.default = status(500)
    with client_of(server, fake_time, timeouts=Timeouts(total=1e6, max_attempts=10)) as client:
        failed = client.complete(ASK)
    assert isinstance(failed, ChatFailed)
    assert (failed.code, len(failed.attempts), len(server.requests)) == ("SERVER_ERROR", 10, 10)
    for number, slept in enumerate(fake_time.sleeps):
        top = min(2.0**number, 60.0)
        assert top / 2 <= slept <= top


def test_total_time_is_bounded_before_the_wait(server: FaultServer, fake_time: FakeTime) -> None:
    server.default = status(429, retry_after="100")
    with client_of(server, fake_time, timeouts=Timeouts(total=250.0, max_attempts=50)) as client:
        failed = client.complete(ASK)
    assert isinstance(failed, ChatFailed)
    assert failed.code == "RATE_LIMITED"
    assert fake_time.now < 250.0
    assert len(failed.attempts) == 3


@pytest.mark.parametrize(
    ("step", "code"),
    [
        (status(429, "You exceeded your current quota", error_code="insufficient_quota"), "QUOTA"),
        (status(402, "Insufficient credits"), "QUOTA"),
        (status(401, "Incorrect API key provided"), "AUTH"),
        (send_json({"error": {"code": 402, "message": "no credits"}}), "QUOTA"),
        (send_json({"error": {"type": "insufficient_quota", "message": "x"}}, 429), "QUOTA"),
    ],
)
def test_quota_and_key_stop_the_run(server: FaultServer, fake_time: FakeTime, step: Step, code: str) -> None:
    server.play(step)
    with client_of(server, fake_time) as client, pytest.raises(ChatStopped) as caught:
        client.complete(ASK)
    assert caught.value.code == code
    assert fake_time.sleeps == []
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("code", "expected", "attempts"),
    [
        (400, "BAD_REQUEST", 1),
        (403, "FORBIDDEN", 1),
        (404, "NOT_FOUND", 1),
        (408, "SERVER_TIMEOUT", 3),
        (409, "BAD_REQUEST", 3),
        (413, "CONTEXT_TOO_LONG", 1),
        (418, "BAD_REQUEST", 1),
        (422, "BAD_REQUEST", 1),
        (425, "BAD_REQUEST", 3),
        (429, "RATE_LIMITED", 3),
        (500, "SERVER_ERROR", 3),
        (501, "SERVER_ERROR", 3),
        (502, "SERVER_ERROR", 3),
        (503, "OVERLOADED", 3),
        (504, "SERVER_TIMEOUT", 3),
        (520, "SERVER_ERROR", 3),
        (524, "SERVER_TIMEOUT", 3),
        (529, "OVERLOADED", 3),
        (301, "REDIRECTED", 1),
        (307, "REDIRECTED", 1),
    ],
)
def test_status_codes(server: FaultServer, fake_time: FakeTime, code: int, expected: str, attempts: int) -> None:
    server.default = status(code)
    with client_of(server, fake_time, timeouts=Timeouts(max_attempts=3)) as client:
        failed = client.complete(ASK)
    assert isinstance(failed, ChatFailed)
    assert (failed.code, len(failed.attempts)) == (expected, attempts)
    assert all(attempt.status == code for attempt in failed.attempts)


@pytest.mark.parametrize("code", [429, 500, 502, 503, 504, 529])
@pytest.mark.parametrize("page", [True, False])
def test_an_error_page_is_still_its_status(server: FaultServer, fake_time: FakeTime, code: int, page: bool) -> None:
    server.play(html(code) if page else raw(b"\xff\x00", code=code), ok("FAKE."))
    with client_of(server, fake_time) as client:
        assert isinstance(client.complete(ASK), Reply)


LONG = json.dumps(completion("x" * 10_000_000)).encode()

REPLY_FAULTS: list[tuple[str, Step, str, int]] = [
    ("html with 200", html(), "HTML_REPLY", 2),
    ("html called json", raw(b"  <html>proxy</html>"), "HTML_REPLY", 2),
    ("cut in the middle", cut(GOOD, 40), "CONNECTION_LOST", 2),
    ("cut before the body", cut(GOOD, 0), "CONNECTION_LOST", 2),
    ("reset", reset(), "CONNECTION_LOST", 2),
    ("hangs up", hang_up(), "CONNECTION_LOST", 2),
    ("half of the JSON", raw(GOOD[:60]), "NOT_JSON", 2),
    ("nothing at all", raw(b""), "NOT_JSON", 2),
    ("not UTF-8", raw(b'{"a": "\xff"}'), "NOT_JSON", 2),
    ("NaN", raw(b'{"choices": NaN}'), "NOT_JSON", 2),
    ("duplicate keys", raw(b'{"choices": [], "choices": []}'), "NOT_JSON", 2),
    ("endless nesting", raw(b"[" * 100_000), "NOT_JSON", 2),
    ("event stream", raw(b'data: {"choices": []}\n\n', content_type="text/event-stream"), "NOT_JSON", 2),
    ("says gzip, is not", raw(GOOD, Content_Encoding="gzip"), "NOT_JSON", 2),
    ("unknown encoding", raw(GOOD, Content_Encoding="zstd"), "NOT_JSON", 2),
    ("half a gzip", raw(gzip.compress(GOOD)[:-12], Content_Encoding="gzip"), "CONNECTION_LOST", 2),
    ("error in a 200", send_json({"error": {"message": "engine died"}}), "SERVER_ERROR", 2),
    ("429 in a 200", send_json({"error": {"code": 429, "message": "slow"}}), "RATE_LIMITED", 2),
    ("10 MB", raw(LONG), "REPLY_TOO_LARGE", 1),
    ("gzip bomb", raw(gzip.compress(bytes(50_000_000)), Content_Encoding="gzip"), "REPLY_TOO_LARGE", 1),
    ("a list", send_json([1, 2]), "BAD_REPLY", 1),
    ("no choices", send_json({"id": "x"}), "BAD_REPLY", 1),
    ("choices of text", send_json({"choices": ["FAKE"]}), "BAD_REPLY", 1),
    ("no message", send_json({"choices": [{"text": "FAKE"}]}), "BAD_REPLY", 1),
    ("odd finish", ok("FAKE.", finish="banana"), "BAD_REPLY", 1),
    ("zero choices", send_json({"choices": []}), "MANY_CHOICES", 1),
    ("two choices", send_json({"choices": completion("A")["choices"] * 2}), "MANY_CHOICES", 1),
    ("empty", ok(""), "EMPTY", 1),
    ("white space", ok(" \n\t"), "EMPTY", 1),
    ("null", ok(None), "EMPTY", 1),
    ("all tokens thought away", ok("", finish="length"), "EMPTY", 1),
    ("content as a number", ok(7), "EMPTY", 1),  # type: ignore[arg-type]
    ("filtered", ok("I", finish="content_filter"), "CONTENT_FILTER", 1),
    ("question filtered", status(400, "no", error_code="content_filter"), "CONTENT_FILTER", 1),
    ("context", status(400, "too long", error_code="context_length_exceeded"), "CONTEXT_TOO_LONG", 1),
    ("tool call", ok(None, finish="tool_calls", tool_calls=[{"id": "1"}]), "TOOL_CALL", 1),
    ("tool call beside text", ok("FAKE.", tool_calls=[{"id": "1"}]), "TOOL_CALL", 1),
    ("function call", ok("", function_call={"name": "f"}), "TOOL_CALL", 1),
]


@pytest.mark.parametrize(("step", "code", "attempts"), [f[1:] for f in REPLY_FAULTS], ids=[f[0] for f in REPLY_FAULTS])
def test_broken_replies(server: FaultServer, fake_time: FakeTime, step: Step, code: str, attempts: int) -> None:
    server.default = step
    with client_of(server, fake_time, timeouts=Timeouts(read=2, max_attempts=2)) as client:
        failed = client.complete(ASK)
    assert isinstance(failed, ChatFailed)
    assert (failed.code, len(failed.attempts)) == (code, attempts)
    assert client.spent.by_code == {code: attempts}


def test_whole_replies_are_told_from_cut_ones_and_refusals(server: FaultServer, fake_time: FakeTime) -> None:
    server.play(
        ok("FAKE. The vid", finish="length"),
        ok(None, refusal="I can't help with that."),
        ok("<think>hm</think>REAL."),
        ok("这个视频是真实的。"),
        ok("REAL.", usage=None),
        ok("REAL.", finish=None),
        ok([{"type": "text", "text": "FAKE"}, {"type": "text", "text": "."}]),  # type: ignore[arg-type]
        ok("REAL.", reasoning_content="looked twice"),
        raw(gzip.compress(GOOD), Content_Encoding="gzip"),
    )
    with client_of(server, fake_time) as client:
        replies = [client.complete(ASK) for _ in range(9)]
    assert all(isinstance(reply, Reply) for reply in replies)
    assert [(r.text, r.flags, r.ok) for r in replies if isinstance(r, Reply)] == [
        ("FAKE. The vid", ("truncated",), False),
        ("I can't help with that.", ("refused",), False),
        ("<think>hm</think>REAL.", ("think_tags",), True),
        ("这个视频是真实的。", (), True),
        ("REAL.", ("usage_missing",), True),
        ("REAL.", ("no_finish_reason",), True),
        ("FAKE.", (), True),
        ("REAL.", (), True),
        ("REAL.", (), True),
    ]
    assert isinstance(replies[7], Reply)
    assert replies[7].reasoning == "looked twice"


def test_log_probabilities_and_parameters_pass_through(server: FaultServer, fake_time: FakeTime) -> None:
    value = completion("FAKE.")
    value["choices"][0]["logprobs"] = {"content": [{"token": "FAKE", "logprob": -0.1, "top_logprobs": []}]}
    server.play(send_json(value))
    with client_of(server, fake_time) as client:
        reply = client.complete(ASK, logprobs=True, top_logprobs=5, temperature=0, seed=3)
    assert isinstance(reply, Reply)
    assert reply.logprobs == value["choices"][0]["logprobs"]
    assert reply.model == "model-2026-01-01"
    sent = server.requests[0]
    assert sent.path == "/v1/chat/completions"
    assert sent.headers["authorization"] == "Bearer k-test-key"
    assert sent.json == {
        "model": "m", "messages": ASK, "logprobs": True, "top_logprobs": 5, "temperature": 0, "seed": 3,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("step", "code"),
    [
        (hang(), "READ_TIMEOUT"),
        (drip(GOOD, 0.05), "DEADLINE"),
        (drip(GOOD, 0.05, headers_too=True), "DEADLINE"),
    ],
)
def test_a_slow_server_cannot_hold_a_call(server: FaultServer, fake_time: FakeTime, step: Step, code: str) -> None:
    server.default = step
    timeouts = Timeouts(connect=1, read=0.4, attempt=0.6, max_attempts=2)
    started = time.monotonic()
    with client_of(server, fake_time, timeouts=timeouts) as client:
        failed = client.complete(ASK)
    assert isinstance(failed, ChatFailed)
    assert failed.code == code
    assert time.monotonic() - started < 10.0  # two attempts of 0.6 s; the server itself would take longer


def _closed_port(_: FaultServer) -> str:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{sock.getsockname()[1]}/v1"


@pytest.mark.parametrize(
    ("url", "code"),
    [
        (_closed_port, "CONNECT_FAILED"),
        (lambda s: "http://does-not-exist.invalid/v1", "DNS_FAILED"),
        (lambda s: s.url.replace("http:", "https:"), "TLS_FAILED"),
    ],
)
def test_no_connection(server: FaultServer, fake_time: FakeTime, url: Callable[[FaultServer], str], code: str) -> None:
    with ChatClient(
        url(server), "m", sleep=fake_time.sleep, clock=fake_time.clock, timeouts=Timeouts(connect=5, max_attempts=2)
    ) as client:
        failed = client.complete(ASK)
    assert isinstance(failed, ChatFailed)
    assert (failed.code, len(failed.attempts), failed.cost) == (code, 2, None)


def test_a_full_backlog_is_a_connect_timeout(fake_time: FakeTime) -> None:
    with socket.socket() as sock, socket.socket() as first, socket.socket() as second:
        sock.bind(("127.0.0.1", 0))
        sock.listen(0)
        for each in (first, second):
            each.setblocking(False)
            each.connect_ex(sock.getsockname())
        url = f"http://127.0.0.1:{sock.getsockname()[1]}/v1"
        timeouts = Timeouts(connect=0.3, read=0.3, max_attempts=1)
        with ChatClient(url, "m", sleep=fake_time.sleep, clock=fake_time.clock, timeouts=timeouts) as client:
            failed = client.complete(ASK)
    assert isinstance(failed, ChatFailed)
    assert failed.code in ("CONNECT_TIMEOUT", "READ_TIMEOUT")


def test_every_fault_then_a_good_answer(server: FaultServer, fake_time: FakeTime) -> None:
    faults = [
        status(429),
        status(503, retry_after="3"),
        reset(),
        hang_up(),
        cut(GOOD, 9),
        html(),
        raw(b"{"),
        status(500),
    ]
    server.play(*faults, ok("FAKE."))
    prices = Prices(1.0, 2.0)
    with client_of(server, fake_time, prices=prices, timeouts=Timeouts(max_attempts=9)) as client:
        reply = client.complete(ASK, max_tokens=100)
    assert isinstance(reply, Reply)
    assert len(reply.attempts) == 9
    free = [a.code for a in reply.attempts if a.cost == 0.0]
    assert free == ["RATE_LIMITED", "OVERLOADED", "HTML_REPLY", "SERVER_ERROR"]
    assert reply.cost == pytest.approx(sum(a.cost for a in reply.attempts))
    assert client.spent.cost == pytest.approx(reply.cost)


def test_closing_ends_a_long_wait(server: FaultServer) -> None:
    server.default = status(429, retry_after="100")
    client = ChatClient(server.url, "m")
    caught: list[object] = []

    def call() -> None:
        try:
            caught.append(client.complete(ASK))
        except ChatStopped as error:
            caught.append(error.code)

    thread = threading.Thread(target=call)
    thread.start()
    while not server.requests:
        time.sleep(0.01)
    time.sleep(0.05)
    client.close()
    thread.join(5)
    assert not thread.is_alive()
    assert caught[0] == "CLOSED" or isinstance(caught[0], ChatFailed)


def test_the_gate_halves_and_grows_back() -> None:
    gate = Gate(16)
    assert gate.limit == 4
    for _ in range(400):
        gate.went_well()
    assert gate.limit == 16
    with gate.slot(lambda: True) as early, gate.slot(lambda: True) as late:
        gate.slow_down(early)
        gate.slow_down(late)  # one round of complaints counts once
    assert gate.limit == 8
    for expected in (4, 2, 1, 1):
        with gate.slot(lambda: True) as number:
            gate.slow_down(number)
        assert gate.limit == expected


def test_retry_after_reads_dates_without_a_zone() -> None:
    assert retry_after_seconds("Sun, 01 Mar 2026 12:00:20 -0000", NOW) == 20.0
    assert retry_after_seconds("Sun, 99 Mar 2026", NOW) is None


FINISHES = {
    "ended": "stop STOP eos eos_token EOS_TOKEN end_turn stop_sequence STOP_SEQUENCE COMPLETE FinishReason.STOP "
    "FINISH_REASON_STOP",
    "truncated": "length LENGTH max_tokens MAX_TOKENS model_length FinishReason.MAX_TOKENS error_limit "
    "max_output_tokens",
    "no_finish_reason": "null FINISH_REASON_UNSPECIFIED other",
    "CONTENT_FILTER": "content_filter SAFETY RECITATION BLOCKLIST PROHIBITED_CONTENT ERROR_TOXIC",
    "TOOL_CALL": "tool_calls TOOL_CALL tool_use MALFORMED_FUNCTION_CALL",
    "refused": "refusal",
    "SERVER_ERROR": "abort ERROR",
    "BAD_REPLY": "banana",
}


@pytest.mark.parametrize(
    ("finish", "meaning"), [(word, meaning) for meaning, words in FINISHES.items() for word in words.split()] +
    [("", "no_finish_reason"), (None, "no_finish_reason")],
)  # fmt: skip
def test_a_reason_to_finish_means_the_same_whichever_server_says_it(finish: str | None, meaning: str) -> None:
    value = completion("FAKE.")
    value["choices"][0]["finish_reason"] = finish
    outcome = read_answer(HttpAnswer(200, {}, json.dumps(value).encode()), None, 0.0)
    if isinstance(outcome, Reply):
        assert outcome.flags == (() if meaning == "ended" else (meaning,))
    else:
        assert outcome.code == meaning


GEMINI_KEY = {
    "error": {
        "code": 400, "message": "API key not valid. Please pass a valid API key.", "status": "INVALID_ARGUMENT",
        "details": [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}],
    }
}  # fmt: skip
SAID = [
    (400, [GEMINI_KEY], "AUTH"),
    (400, GEMINI_KEY, "AUTH"),
    (200, [GEMINI_KEY], "AUTH"),
    (403, {"error": {"message": "Invalid API key", "type": "forbidden"}}, "AUTH"),
    (400, {"error": {"code": "invalid_api_key", "message": "no"}}, "AUTH"),
    (403, {"message": "invalid api token"}, "AUTH"),
    (401, [{"error": {"message": "no"}}], "AUTH"),
    (403, {"error": {"message": "This country is not supported"}}, "FORBIDDEN"),
    (429, [{"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "slow down"}}], "RATE_LIMITED"),
    (400, {"object": "error", "message": "This model's maximum context length is 4096 tokens. However, you requested "
           "5000 tokens", "type": "BadRequestError", "code": 400}, "CONTEXT_TOO_LONG"),
    (400, {"error": {"message": "The decoder prompt (length 9000) is longer than the maximum model length of 4096.",
                     "type": "BadRequestError", "code": 400}}, "CONTEXT_TOO_LONG"),
    (500, {"error": {"message": "The prompt (total length 9000) is longer than the maximum model length of 4096"}},
     "CONTEXT_TOO_LONG"),
    (422, {"error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000 `inputs` "
           "tokens and 20 `max_new_tokens`", "error_type": "validation"}, "CONTEXT_TOO_LONG"),
    (400, [{"error": {"code": 400, "message": "The input token count (1200000) exceeds the maximum number of tokens "
                      "allowed (1048576).", "status": "INVALID_ARGUMENT"}}], "CONTEXT_TOO_LONG"),
    (400, {"error": {"code": 400, "message": "the request exceeds the available context size, try increasing it",
                     "type": "exceed_context_size_error"}}, "CONTEXT_TOO_LONG"),
    (400, {"message": "too many tokens: total number of tokens cannot exceed 128000"}, "CONTEXT_TOO_LONG"),
    (400, {"error": {"message": "temperature must be at most 2"}}, "BAD_REQUEST"),
    (200, {"object": "error", "message": "out of memory", "code": 500}, "SERVER_ERROR"),
]  # fmt: skip


@pytest.mark.parametrize(("status_code", "value", "code"), SAID, ids=lambda value: str(value)[:40])
def test_an_error_means_the_same_in_the_words_of_every_server(status_code: int, value: object, code: str) -> None:
    answer = HttpAnswer(status_code, {}, json.dumps(value).encode())
    if code == "AUTH":
        with pytest.raises(ChatStopped) as caught:
            read_answer(answer, None, 0.0)
        assert caught.value.code == "AUTH"
        return
    fault = read_answer(answer, None, 0.0)
    assert not isinstance(fault, Reply)
    assert fault.code == code
    assert code == "RATE_LIMITED" or "{" not in fault.reason
    assert not (code == "CONTEXT_TOO_LONG" and fault.retry)
