"""The reward server as its users meet it: real processes, real sockets, a model that dies, clients that leave."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deeptrace.errors import WebError
from deeptrace.reward import NotRewarded, Reward, RewardResult
from deeptrace.reward.client import RewardClient
from deeptrace.reward.wire import NAMES, ScoreItem, ScoreResponse, ScoreTurn, answer, parse_items
from tests.reward.clips import folder_of_clips
from tests.web.server import TOKEN, RunningServer, running, status_of

APP = ("-m", "tests.reward.server_app")


def wait_ready(url: str, token: str | None = None, *, seconds: float = 60) -> None:
    with RewardClient(url, token=token) as client:
        deadline = time.monotonic() + seconds
        while not client.ready():
            assert time.monotonic() < deadline, "the model never came"
            time.sleep(0.05)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    (folder / "clips").mkdir()
    for name, text in (("a", "x" * 100), ("b", "x" * 250), ("die", "die"), ("bad", "unreadable")):
        (folder / "clips" / f"{name}.mp4").write_text(text)
    (folder / "outside.mp4").write_text("secret")
    return folder


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[RunningServer]:
    options = ("queue=8", "per_client=6", "batch=5", "item_seconds=1.5", "request_seconds=30.0", "max_body_bytes=50000")
    with running(*APP, str(folder), *options) as server:
        wait_ready(server.address)
        yield server


@pytest.fixture
def client(server: RunningServer) -> Iterator[RewardClient]:
    with RewardClient(server.address, wait_seconds=0) as client:
        yield client


def post(server: RunningServer, body: object) -> httpx.Response:
    return httpx.post(f"{server.address}/score", json=body, timeout=20)


def item(**turn: object) -> dict[str, object]:
    return {"history": [turn], "required_rewards": ["trace_free"]}


# ── the protocol ──


def test_a_batch_keeps_its_order_and_each_item_its_own_failure(server: RunningServer, client: RewardClient) -> None:
    answers = client.score(["b.mp4", "absent.mp4", "bad.mp4", b"x" * 300, "a.mp4"], reward="trace_free")
    assert [a.value for a in answers] == [0.25, None, None, 0.3, 0.1]
    assert [a.code for a in answers] == [None, "PATH_NOT_ALLOWED", "NOT_A_VIDEO", None, None]
    body = {
        "requests": [
            {**item(text="a dog runs", video_path="a.mp4"), "required_rewards": ["deeptrace", "looks_real"]},
            {"history": [{"text": "only words"}], "required_rewards": ["deeptrace"]},
            item(video_path="a.mp4", video_b64="eA=="),
            item(image_b64="eA=="),
            {"history": [{"video_path": "a.mp4"}], "required_rewards": ["beauty"]},
        ]
    }  # fmt: skip
    response = post(server, body)
    assert response.status_code == 200
    table = response.json()
    assert table["results"] == [{"deeptrace": {"reward": 0.1, "n_traces": 0.0}}, {}, {}, {}, {}]
    assert [list(codes.values()) for codes in table["codes"]] == [["NOT_OFFERED"]] + [["INVALID_REQUEST"]] * 4
    assert "looks_real" in table["errors"][0]
    assert [row["name"] for row in client.rewards()] == list(NAMES)
    assert client.score([]) == []


BAD_BODIES = {
    b"": 400, b"{": 400, b"\xff\xfe": 400, b'{"requests": NaN}': 400, b'{"requests": [1e999]}': 400,
    b'{"a": 1, "a": 2}': 400, b"[" * 5000: 400, b"[]": 422, b'{"requests": {}}': 422, b'{"requests": 7}': 422,
    json.dumps({"requests": [item(video_path="a.mp4")] * 6}).encode(): 422, b"x" * 50001: 413,
}  # fmt: skip


def test_a_bad_body_is_refused_with_a_typed_error(server: RunningServer) -> None:
    with httpx.Client(base_url=server.address) as client:
        for body, status in BAD_BODIES.items():
            response = client.post("/score", content=body)
            assert (response.status_code, set(response.json()["error"])) == (status, {"code", "message"}), body[:40]
        assert client.get("/score").status_code == 405
        assert client.get("/health").json()["status"] == "ok"


TURN_KEYS = ["text", "video_path", "video_b64", "x"]
VALUES = st.one_of(st.text(max_size=4), st.integers(-9, 9), st.none())
ITEMS = st.one_of(
    st.just(item(video_path="a.mp4")), st.just({"history": []}), st.none(), st.integers(-9, 9), st.text(max_size=3),
    st.dictionaries(st.text(max_size=3), st.integers(-9, 9), max_size=2),
    st.builds(lambda turn: {"history": [turn]}, st.dictionaries(st.sampled_from(TURN_KEYS), VALUES)),
)  # fmt: skip


@settings(max_examples=30)
@given(st.lists(ITEMS, max_size=9))
def test_any_items_parse_to_as_many(requests: list[object]) -> None:
    items = parse_items(json.dumps({"requests": requests}).encode(), most=9)
    assert len(items) == len(requests)
    assert all(isinstance(i, ScoreItem | NotRewarded) for i in items)
    outcomes = [i if isinstance(i, NotRewarded) else NotRewarded("X", "x") for i in items]
    table = ScoreResponse.model_validate_json(json.dumps(answer(items, outcomes, "trace_free"), allow_nan=False))
    assert {len(table.results), len(table.errors), len(table.codes), len(table.dense)} == {len(requests)}


def test_both_sides_speak_what_openapi_says(server: RunningServer) -> None:
    api = httpx.get(f"{server.address}/openapi.json").json()
    operation = api["paths"]["/score"]["post"]
    assert operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith("/ScoreRequest")
    schemas = api["components"]["schemas"]
    assert set(schemas["ScoreTurn"]["properties"]) == set(ScoreTurn.model_fields)
    leads = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(api)))
    assert leads <= set(schemas)
    assert operation["responses"]["200"]["content"]["application/json"]["schema"]["$ref"].endswith("ScoreResponse")
    assert {"413", "429", "503", "504"} <= set(operation["responses"])
    assert set(api["paths"]) == {"/score", "/rewards", "/health", "/ready"}


@pytest.mark.parametrize(
    "path",
    ["../outside.mp4", "/etc/passwd", "/proc/self/environ", "http://127.0.0.1/a.mp4", "https://[::1]/a.mp4",
     "file:///etc/passwd", "absent.mp4", ".", "a.mp4/../../outside.mp4", "//a.mp4"],
)  # fmt: skip
def test_paths_outside_the_roots_and_urls_are_never_opened(client: RewardClient, path: str) -> None:
    [got] = client.score([path])
    assert (got.value, got.code) == (None, "PATH_NOT_ALLOWED")
    assert got.reason == "no readable file under the allowed folders has this path"


# ── limits ──


def test_more_than_the_queue_holds_is_refused_and_what_is_inside_is_answered(server: RunningServer) -> None:
    slow = base64.b64encode(b"slow:0.3 ").decode()

    def ask(count: int) -> tuple[int, str | None, int]:
        response = post(server, {"requests": [item(video_b64=slow)] * count})
        got = len(response.json()["results"]) if response.status_code == 200 else 0
        return response.status_code, response.headers.get("retry-after"), got

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, [2] * 8))
    taken = [a for a in answers if a[0] == 200]
    assert 1 <= len(taken) <= 4
    assert all(got == 2 for _, _, got in taken)
    refused = [a for a in answers if a[0] != 200]
    assert {status for status, _, _ in refused} <= {429, 503}
    assert len(refused) >= 4
    assert all(int(retry or 0) >= 1 for _, retry, _ in refused)
    assert httpx.get(f"{server.address}/ready").json()["inside"] == 0


def test_a_client_that_hangs_up_frees_its_places(server: RunningServer, client: RewardClient) -> None:
    body = json.dumps({"requests": [item(video_b64=base64.b64encode(b"slow:0.4 ").decode())] * 4}).encode()
    head = f"POST /score HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(head + body)
        deadline = time.monotonic() + 5
        while httpx.get(f"{server.address}/ready").json()["inside"] != 4:
            assert time.monotonic() < deadline
    left = time.monotonic()
    while httpx.get(f"{server.address}/ready").json()["inside"]:
        assert time.monotonic() - left < 2
    assert client.score(["a.mp4"])[0].value == 0.1


def test_a_model_that_hangs_or_dies_costs_its_own_video(server: RunningServer, client: RewardClient) -> None:
    began = time.monotonic()
    answers = client.score(["a.mp4", b"hang", "b.mp4"])
    assert [a.code for a in answers] == [None, "TIMEOUT", None]
    assert time.monotonic() - began < 25
    answers = client.score(["die.mp4", "a.mp4", "die.mp4"])
    assert [a.code for a in answers] == ["WORKER_DIED", None, "WORKER_DIED"]
    with pytest.raises(WebError) as caught:
        client.score([b"hang"])
    assert (caught.value.status, caught.value.code) == (504, "REQUEST_TIMEOUT")
    wait_ready(server.address)
    assert client.score(["b.mp4"])[0].value == 0.25


def test_a_model_that_cannot_be_loaded_is_tried_again(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    with running(*APP, str(tmp_path)) as server:
        wait_ready(server.address)
        with RewardClient(server.address, wait_seconds=0) as client:
            assert client.score([b"broken"])[0].code == "WORKER_DIED"
            deadline = time.monotonic() + 30
            while httpx.get(f"{server.address}/ready").status_code != 503:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            assert httpx.get(f"{server.address}/health").status_code == 200
            with pytest.raises(WebError) as caught:
                client.score([b"x"])
            assert caught.value.status == 503
            (tmp_path / "broken").unlink()
            wait_ready(server.address)
            assert client.score([b"x" * 7])[0].value == 0.007


def test_the_end_answers_what_is_inside_and_leaves_no_process(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    with running(*APP, str(tmp_path), f"token={TOKEN}", "queue=50") as server:
        wait_ready(server.address, TOKEN)
        children = child_pids(server.process.pid)
        assert children
        answers: list[float | None] = []

        def ask() -> None:
            with RewardClient(server.address, token=TOKEN, wait_seconds=0) as client:
                answers.append(client.score([b"slow:0.2 "])[0].value)

        threads = [threading.Thread(target=ask) for _ in range(5)]
        for thread in threads:
            thread.start()
        with httpx.Client(base_url=server.address, headers={"authorization": f"Bearer {TOKEN}"}) as http:
            deadline = time.monotonic() + 10
            while http.get("/ready").json()["inside"] + len(answers) < 5:
                assert time.monotonic() < deadline
        server.process.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join()
        assert answers == [0.009] * 5
        assert server.process.wait(15) == 0
        wait_gone(children)


@pytest.mark.linux
def test_workers_end_with_a_server_that_is_killed(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    with running(*APP, str(tmp_path)) as server:
        wait_ready(server.address)
        children = child_pids(server.process.pid)
        server.process.kill()
        server.process.wait()
        wait_gone(children)


def wait_gone(pids: list[int]) -> None:
    deadline = time.monotonic() + 10
    while any(alive(pid) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def child_pids(pid: int) -> list[int]:
    return [child.pid for child in psutil.Process(pid).children(recursive=True)]


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


# ── the client ──


def test_the_client_waits_as_it_is_told_within_a_budget() -> None:
    asked: list[float] = []
    waits: list[float] = []

    def busy_twice(request: httpx.Request) -> httpx.Response:
        asked.append(0)
        if len(asked) < 3:
            headers = {"retry-after": "3"}
            return httpx.Response(503, json={"error": {"code": "SERVER_BUSY", "message": "full"}}, headers=headers)
        body = {"results": [{"deeptrace": {"reward": 0.5}}], "errors": [{}], "codes": [{}], "dense": [None]}
        return httpx.Response(200, json=body)

    with RewardClient("http://x", sleep=waits.append, transport=httpx.MockTransport(busy_twice)) as client:
        assert client.score([b"x"])[0].value == 0.5
    assert all(3 <= wait <= 4.5 for wait in waits)
    assert len(waits) == 2

    asked.clear()
    impatient = RewardClient("http://x", wait_seconds=0, transport=httpx.MockTransport(busy_twice))
    with impatient as client, pytest.raises(WebError, match="full"):
        client.score([b"x"])
    wrong = httpx.MockTransport(lambda request: httpx.Response(200, json={"results": "none"}))
    with RewardClient("http://x", transport=wrong) as client, pytest.raises(WebError, match="cannot be read"):
        client.score([b"x"])


# ── the real thing ──


def test_the_command_serves_what_the_library_says(tmp_path: Path) -> None:
    paths = folder_of_clips(tmp_path / "clips", 2)
    token = tmp_path / "token"
    token.write_text(TOKEN + "\n")
    command = (
        "-m",
        "deeptrace",
        "reward",
        "serve",
        "--port",
        "0",
        "--root",
        str(tmp_path / "clips"),
        "--token-file",
        str(token),
    )
    with running(*command) as server:
        assert status_of(server.raw(b"POST /score HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", wait=2)) == 401
        wait_ready(server.address, TOKEN)
        with RewardClient(server.address, token=TOKEN) as client:
            served = client.score(["c0.mp4", Path(paths[1]).read_bytes()], reward="trace_free", dense=True)
            real = client.score([paths[0]], reward="looks_real")
        library = Reward("embedded")(paths)
        assert [a.numbers["logit"] for a in served] == [
            o.trace_free.logit for o in library if isinstance(o, RewardResult)
        ]  # type: ignore[union-attr]
        assert real[0].value == library[0].looks_real.calibrated  # type: ignore[union-attr]
        assert served[0].dense is not None
        assert len(served[0].dense.values) == 24
        os.kill(server.process.pid, signal.SIGINT)
        assert server.process.wait(20) == 0
