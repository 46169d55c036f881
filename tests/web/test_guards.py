"""The guards in front of every web server of ours, asked over real sockets."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.responses import Response

from deeptrace.errors import WebError
from deeptrace.pages.web import BoundedQueue, Roots, WebRules, guard, is_loopback, serve
from tests.web.server import TOKEN, RunningServer, read_all, running, status_of

BEARER = {"authorization": f"Bearer {TOKEN}"}
HEAD = f"Authorization: Bearer {TOKEN}\r\n"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("roots") / "clips"
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / "a.mp4").write_bytes(bytes(range(256)) * 4)
    (folder / "page.html").write_text("<script>alert(1)</script>")
    (folder.parent / "outside.mp4").write_bytes(b"secret")
    (folder / "link.mp4").symlink_to(folder.parent / "outside.mp4")
    (folder / "out").symlink_to(folder.parent)
    os.mkfifo(folder / "pipe.mp4")
    return folder


@pytest.fixture(scope="module")
def server(root: Path) -> Iterator[RunningServer]:
    with running("-m", "tests.web.app", str(root), TOKEN) as server:
        yield server


@pytest.fixture
def client(server: RunningServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.address, headers=BEARER, timeout=10) as client:
        yield client


def code_of(response: httpx.Response) -> str:
    return str(response.json()["error"]["code"])


# ── who may ask ──


BAD_TOKENS = [
    None, "", "Bearer", f"bearer{TOKEN}", f"Basic {TOKEN}", f"Bearer {TOKEN}x", f"Bearer {TOKEN.upper()}",
    f"Bearer {TOKEN[:-1]}", "Bearer " + "x" * 8000, "Bearer t\u00f6ken", f"Bearer {TOKEN} {TOKEN}",
]  # fmt: skip


def test_every_route_but_health_needs_the_token(server: RunningServer) -> None:
    answers = set()
    routes = ("/echo", "/work", "/fail", "/flood", "/video/inner/a.mp4", "/none", "/health/")
    with httpx.Client(base_url=server.address) as client:
        for path in routes:
            for bad in BAD_TOKENS:
                headers = {} if bad is None else {"authorization": bad.encode("utf-8")}
                response = client.request("POST" if len(bad or "") % 2 else "GET", path, headers=headers)  # type: ignore[arg-type]
                answers.add((response.status_code, response.text))
        assert client.get("/health").status_code == 200
    assert {status for status, _ in answers} == {401}
    assert len(answers) == 1
    twice = f"GET /none HTTP/1.1\r\nHost: localhost\r\n{HEAD}{HEAD}\r\n".encode()
    assert status_of(server.raw(twice, wait=1)) == 401


def test_a_browser_gets_a_cookie_for_the_token_and_an_address_without_it(server: RunningServer) -> None:
    with httpx.Client(base_url=server.address) as browser:
        assert browser.get("/video/inner/a.mp4?token=wrong-token").status_code == 401
        sent_on = browser.get(f"/video/inner/a.mp4?a=1&token={TOKEN}")
        assert (sent_on.status_code, sent_on.headers["location"]) == (303, "/video/inner/a.mp4?a=1")
        cookie = sent_on.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        assert TOKEN not in cookie
        assert browser.get("/video/inner/a.mp4").status_code == 200
        # Elsewhere is never where a browser is sent.
        browser.cookies.clear()
        elsewhere = browser.get(f"{server.address}//evil.example/?token={TOKEN}")
        assert elsewhere.headers["location"] == "/evil.example/"
        # A write by cookie alone must come from a page of ours.
        own = {"origin": server.address}
        assert browser.post("/echo", content=b"1").status_code == 403
        assert browser.post("/echo", content=b"1", headers={"origin": "http://evil.example"}).status_code == 403
        assert browser.post("/echo", content=b"1", headers={"origin": "null"}).status_code == 403
        assert browser.post("/echo", content=b"1", headers=own).json() == {"bytes": 1}
        assert browser.post("/echo", content=b"1", headers={**own, "sec-fetch-site": "cross-site"}).status_code == 403


def test_without_a_token_the_host_and_the_origin_are_checked(root: Path) -> None:
    with running("-m", "tests.web.app", str(root), "") as server, httpx.Client(base_url=server.address) as client:
        assert client.post("/echo", content=b"12").json() == {"bytes": 2}
        for host in ("evil.example", f"evil.example:{server.port}", "127.0.0.1.evil.example", "localhost@evil", ""):
            assert client.get("/health", headers={"host": host}).status_code in (400, 403), host
        assert client.get("/health", headers={"host": f"LOCALHOST:{server.port}"}).status_code == 200
        assert client.post("/echo", headers={"origin": "http://evil.example"}).status_code == 403
        two = b"GET /health HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n"
        assert status_of(server.raw(two, wait=1)) in (400, 403)


@pytest.mark.parametrize("token", [None, TOKEN])
def test_the_printed_address_opens_beside_named_hosts(token: str | None) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await Response("in")(scope, receive, send)

    async def statuses() -> list[int]:
        guarded = guard(app, WebRules(token=token, hosts=("rewards.example",)))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(guarded), base_url="http://127.0.0.1") as client:
            names = ("127.0.0.1:8000", "localhost", "rewards.example", "evil.example")
            return [(await client.get("/health", headers={"host": name})).status_code for name in names]

    assert asyncio.run(statuses()) == [200, 200, 200, 403]


def test_others_reach_no_server_without_a_token() -> None:
    async def app(scope: object, receive: object, send: object) -> None:
        raise AssertionError("never asked")

    for host in ("0.0.0.0", "::", "192.168.1.7", "example.org"):
        assert not is_loopback(host)
        with pytest.raises(WebError, match="a token is needed") as caught:
            serve(app, host=host, token=None)
        assert caught.value.code == "UNSAFE_SERVER"
    assert all(is_loopback(host) for host in ("127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost"))
    with pytest.raises(WebError, match="at least 8"):
        WebRules(token="short")
    with pytest.raises(WebError, match="cannot listen"):
        serve(guard(app, WebRules()), host="127.0.0.1", port=99999, token=None)


def test_every_answer_carries_the_headers_that_keep_pages_apart(client: httpx.Client) -> None:
    for response in (client.get("/health"), client.get("/none"), client.post("/echo", content=b"x" * 100_001)):
        headers = response.headers
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert "access-control-allow-origin" not in headers
        assert "server" not in headers


def test_a_fault_of_the_servers_own_tells_no_secret(client: httpx.Client) -> None:
    response = client.get("/fail")
    assert (response.status_code, code_of(response)) == (500, "INTERNAL_ERROR")
    assert "secret" not in response.text
    assert code_of(client.get("/none")) == "NOT_FOUND"


# ── bodies ──


def test_a_body_is_whole_or_refused(server: RunningServer, client: httpx.Client) -> None:
    assert client.post("/echo", content=b"x" * 100_000).json() == {"bytes": 100_000}
    assert code_of(client.post("/echo", content=b"x" * 100_001)) == "BODY_TOO_LARGE"
    chunked = client.post("/echo", content=(b"x" * 1000 for _ in range(101)))
    assert (chunked.status_code, code_of(chunked)) == (413, "BODY_TOO_LARGE")
    assert code_of(client.post("/echo", content=b"x", headers={"content-encoding": "gzip"})) == "BAD_REQUEST"
    start = f"POST /echo HTTP/1.1\r\nHost: localhost\r\n{HEAD}"
    for lengths in ("Content-Length: 5\r\nContent-Length: 6\r\n", "Content-Length: -1\r\n", "Content-Length: 1e3\r\n"):
        assert status_of(server.raw(f"{start}{lengths}\r\nhello".encode(), wait=1)) == 400
    assert status_of(server.raw(f"{start}Transfer-Encoding: chunked\r\n\r\nzz\r\n".encode(), wait=1)) in (0, 400)
    both = f"{start}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /fail HTTP/1.1\r\n\r\n"
    assert b"INTERNAL_ERROR" not in server.raw(both.encode(), wait=1)
    assert client.get("/health").json()["held"] == 0


def test_a_huge_upload_is_refused_before_it_is_read(server: RunningServer) -> None:
    before = server.memory_bytes()
    head = f"POST /echo HTTP/1.1\r\nHost: localhost\r\n{HEAD}Content-Length: 5000000000\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        connection.sendall(head + b"x" * 65536)
        assert status_of(read_all(connection)) == 413
    assert server.memory_bytes() - before < 8 << 20


def test_slow_clients_are_let_go_and_others_do_not_notice(server: RunningServer, client: httpx.Client) -> None:
    body = f"POST /echo HTTP/1.1\r\nHost: localhost\r\n{HEAD}Content-Length: 50\r\n\r\nx".encode()
    flood = f"GET /flood HTTP/1.1\r\nHost: localhost\r\n{HEAD}\r\n".encode()
    openings = [b"", b"GET /health HTT", b"GET /health HTTP/1.1\r\nHost: local"] * 40 + [body] * 20 + [flood] * 10
    sockets = [socket.create_connection(("127.0.0.1", server.port), timeout=5) for _ in openings]
    for connection, opening in zip(sockets, openings, strict=True):
        connection.sendall(opening)
    began = time.monotonic()
    seconds = []
    while time.monotonic() - began < 1.0:
        asked = time.monotonic()
        assert client.get("/health").status_code == 200
        seconds.append(time.monotonic() - asked)
        time.sleep(0.02)
    assert sorted(seconds)[int(0.9 * len(seconds))] < 1.0
    slow_bodies = [status_of(read_all(connection)) for connection in sockets[120:140]]
    assert slow_bodies == [408] * 20
    assert all(read_all(connection) == b"" for connection in sockets[:120])
    deadline = time.monotonic() + 8
    while (tasks := client.get("/health").json()["tasks"]) > 12 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert tasks <= 12, "slow readers are still served"
    for connection in sockets:
        connection.close()


# ── the queue ──


def start_work(server: RunningServer, client: str, seconds: float) -> socket.socket:
    """A request under way."""
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=20)
    head = f"POST /work?seconds={seconds} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX-Client: {client}\r\n"
    connection.sendall(f"{head}{HEAD}\r\n".encode())
    return connection


def statuses(connections: list[socket.socket]) -> list[int]:
    """The status that each was answered with."""
    answers = []
    for connection in connections:
        with connection:
            answers.append(status_of(read_all(connection)))
    return answers


def wait_for(client: httpx.Client, inside: int, seconds: float = 10.0) -> float:
    """Until so many are inside; how many seconds that took."""
    began = time.monotonic()
    while client.get("/health").json()["inside"] != inside:
        assert time.monotonic() - began < seconds, "it never came to that"
        time.sleep(0.01)
    return time.monotonic() - began


def test_the_queue_is_bounded_and_a_lost_client_frees_its_slot(server: RunningServer, client: httpx.Client) -> None:
    at_work = [start_work(server, name, 0.5) for name in ("a", "a", "b")]
    wait_for(client, 3)
    refused = client.post("/work?seconds=0", headers={"x-client": "c"})
    assert (refused.status_code, code_of(refused)) == (503, "SERVER_BUSY")
    assert int(refused.headers["retry-after"]) >= 1
    assert statuses(at_work) == [200, 200, 200]

    # One client may hold two places.
    at_work = [start_work(server, "a", 0.7) for _ in range(2)]
    wait_for(client, 2)
    assert client.post("/work?seconds=0", headers={"x-client": "a"}).status_code == 429
    assert statuses(at_work) == [200, 200]

    at_work = [start_work(server, name, 1.9) for name in ("a", "a", "b")]
    wait_for(client, 3)
    for connection in at_work:
        connection.close()
    assert wait_for(client, 0) < 1.9


def test_an_answer_that_takes_too_long_ends_the_work(client: httpx.Client) -> None:
    response = client.post("/work?seconds=60")
    assert (response.status_code, code_of(response)) == (504, "REQUEST_TIMEOUT")
    assert client.get("/health").json()["inside"] == 0


def test_a_queue_that_is_closed_takes_nobody() -> None:
    queue = BoundedQueue(2, 3)
    assert queue.wait_seconds == 0
    queue.closed = True
    with pytest.raises(WebError, match="about to end"):
        queue.check()


def test_what_is_in_flight_ends_when_the_server_is_stopped(root: Path) -> None:
    with running("-m", "tests.web.app", str(root), TOKEN, "request=9") as server:
        connection = start_work(server, "a", 1.0)
        with httpx.Client(base_url=server.address) as client:
            wait_for(client, 1)
        server.process.terminate()
        time.sleep(0.2)
        server.process.terminate()
        assert statuses([connection]) == [200]
        assert server.process.wait(10) == 0
        with pytest.raises(ConnectionError):
            socket.create_connection(("127.0.0.1", server.port))


# ── files ──


OUTSIDE = [
    "../outside.mp4", "inner/../../outside.mp4", "link.mp4", "out/outside.mp4", "/etc/passwd", "/proc/self/environ",
    "absent.mp4", "inner", ".", "", "pipe.mp4", "a\0.mp4", "x" * 5000, "http://127.0.0.1/a.mp4", "file:///etc/passwd",
    "inner/a.mp4/", "\udcff.mp4", "C:\\Windows\\win.ini", "\\\\host\\share", "~/.ssh/id_rsa", "inner//../../clips",
]  # fmt: skip


def test_paths_stay_below_their_roots(root: Path) -> None:
    roots = Roots([root])
    refusals = set()
    for path in OUTSIDE:
        if path == "inner/a.mp4/":
            continue  # the same file, spelled loosely
        with pytest.raises(WebError) as caught:
            roots.read(path, max_bytes=1 << 20)
        refusals.add((caught.value.status, caught.value.code, str(caught.value)))
    assert len(refusals) == 1
    assert roots.read("inner/a.mp4", max_bytes=1024) == roots.read(str(root / "inner" / "a.mp4"), max_bytes=1024)
    with pytest.raises(WebError) as caught:
        roots.read("inner/a.mp4", max_bytes=1023)
    assert caught.value.code == "BODY_TOO_LARGE"


@pytest.mark.linux
def test_a_name_that_is_swapped_for_a_link_leads_nowhere(tmp_path: Path) -> None:
    inside, outside = tmp_path / "root", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    (inside / "d").mkdir()
    (inside / "d" / "a.mp4").write_bytes(b"inside")
    (outside / "a.mp4").write_bytes(b"secret")
    roots, stop = Roots([inside]), threading.Event()

    def swap() -> None:
        while not stop.is_set():
            (inside / "d").rename(inside / "e")
            (inside / "d").symlink_to(outside)
            (inside / "d").unlink()
            (inside / "e").rename(inside / "d")
            time.sleep(0.0001)

    thread = threading.Thread(target=swap)
    thread.start()
    seen: set[bytes] = set()
    refused = 0
    for _ in range(3_000):
        try:
            seen.add(roots.read("d/a.mp4", max_bytes=100))
        except WebError:
            refused += 1
    stop.set()
    thread.join()
    assert seen == {b"inside"}
    assert refused > 0, "the swap never came in between: the test showed nothing"


def test_a_video_is_served_whole_or_one_range_of_it(client: httpx.Client) -> None:
    url = "/video/inner/a.mp4"
    whole = client.get(url)
    assert (whole.status_code, len(whole.content), whole.headers["content-type"]) == (200, 1024, "video/mp4")
    assert "sandbox" in whole.headers["content-security-policy"]
    part = client.get(url, headers={"range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, bytes(range(10, 20)))
    assert part.headers["content-range"] == "bytes 10-19/1024"
    for bad in ("bytes=0-,0-", "bytes=" + ",".join(["0-1"] * 1000), "bytes=5000-6000"):
        assert client.get(url, headers={"range": bad}).status_code == 416, bad
    assert client.get("/video/page.html").headers["content-type"] == "application/octet-stream"
    for path in ("link.mp4", "out/outside.mp4", "absent.mp4", "..%2Foutside.mp4"):
        response = client.get(f"/video/{path}")
        assert (response.status_code, code_of(response)) == (403, "PATH_NOT_ALLOWED")
