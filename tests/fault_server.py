"""A real HTTP server on 127.0.0.1 that misbehaves as told, for tests of everything that talks HTTP.

    with FaultServer([status(429, retry_after="2"), reset(), ok("FAKE. ...")]) as server:
        ChatClient(server.url, "model")

Each request takes the next step of the script; after the last one the ``default`` answers (a good reply). A step is a
function of the handler and the request's body. ``server.requests`` lists what was asked.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

Step = Callable[["Handler", bytes], None]


@dataclass(frozen=True)
class Seen:
    """One request as it came in."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Handler(BaseHTTPRequestHandler):
    """One connection; the script of its server decides."""

    protocol_version = "HTTP/1.1"
    server: _Server

    def _any(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        seen = Seen(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body)
        step = self.server.owner.next_step(seen)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            step(self, body)

    do_GET = do_POST = do_HEAD = _any  # noqa: N815  the names that http.server looks for

    def log_message(self, format: str, *args: object) -> None:
        pass

    def answer(
        self, code: int, body: bytes, headers: Mapping[str, str] | None = None, *, length: int | None = -1
    ) -> None:
        """A whole answer. ``length`` overrides Content-Length; None leaves it out and closes at the end."""
        self.send_response(code)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        if length is not None:
            self.send_header("Content-Length", str(len(body) if length == -1 else length))
        else:
            self.close_connection = True
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        if length not in (-1, None) and length != len(body):
            self.drop()

    def drop(self, *, rst: bool = False) -> None:
        """Close the connection here; with ``rst`` by a TCP reset."""
        self.close_connection = True
        with contextlib.suppress(OSError):
            if rst:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
            else:
                self.wfile.flush()
                self.connection.shutdown(socket.SHUT_RDWR)

    def wait(self, seconds: float) -> bool:
        """Sleep, unless the server closes: then False."""
        return not self.server.owner.closing.wait(seconds)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    owner: FaultServer

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # a client that goes away is part of the play


class FaultServer:
    """The server; ``url`` ends in ``/v1``, ``root`` does not."""

    def __init__(self, script: Iterable[Step] = (), default: Step | None = None) -> None:
        self._script = list(script)
        self.default = default or ok("REAL. The video is real.")
        self.requests: list[Seen] = []
        self.closing = threading.Event()
        self._lock = threading.Lock()
        self.http = _Server(("127.0.0.1", 0), Handler)
        self.http.owner = self
        self.root = f"http://127.0.0.1:{self.http.server_port}"
        self.url = f"{self.root}/v1"

    def next_step(self, seen: Seen) -> Step:
        with self._lock:
            self.requests.append(seen)
            return self._script.pop(0) if self._script else self.default

    def play(self, *script: Step) -> None:
        """Put steps at the end of the script."""
        with self._lock:
            self._script += script

    def __enter__(self) -> FaultServer:
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self.http.shutdown()
        self.http.server_close()


# ── steps ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def completion(
    text: str | None,
    *,
    finish: str | None = "stop",
    usage: Any = (10, 5),
    tokens: list[tuple[str, Mapping[str, float]]] | None = None,
    **message: Any,
) -> dict[str, Any]:
    """The JSON of a chat completion. ``tokens``: each with its alternatives and their log-probabilities, own first."""
    value: dict[str, Any] = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": "model-2026-01-01",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": text, **message}, "finish_reason": finish}
        ],
    }
    if tokens is not None:
        value["choices"][0]["logprobs"] = {"content": [_ranked(token, others) for token, others in tokens]}
    if isinstance(usage, tuple):
        usage = {"prompt_tokens": usage[0], "completion_tokens": usage[1], "total_tokens": sum(usage)}
    if usage is not None:
        value["usage"] = usage
    return value


def _ranked(token: str, others: Mapping[str, float]) -> dict[str, Any]:
    listed = [{"token": name, "logprob": value, "bytes": list(name.encode())} for name, value in others.items()]
    return {"token": token, "logprob": others.get(token, -0.01), "bytes": list(token.encode()), "top_logprobs": listed}


def send_json(value: Any, code: int = 200, **headers: str) -> Step:
    """``value`` as JSON; underscores in header names stand for hyphens."""
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return lambda handler, body: handler.answer(code, json.dumps(value).encode(), named)


def ok(text: str | None, **options: Any) -> Step:
    """A good reply."""
    return send_json(completion(text, **options))


def status(
    code: int, message: str = "scripted", *, error_code: str | None = None, retry_after: str | None = None
) -> Step:
    """An error answer in OpenAI's shape."""
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    value = {"error": {"message": message, "type": "scripted_error", "code": error_code}}
    return lambda handler, body: handler.answer(code, json.dumps(value).encode(), headers)


def raw(data: bytes, *, code: int = 200, content_type: str = "application/json", **headers: str) -> Step:
    """Any bytes as the body."""
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return lambda handler, body: handler.answer(code, data, {"Content-Type": content_type, **named})


def html(code: int = 200) -> Step:
    """A web page where JSON was expected."""
    return raw(b"<!DOCTYPE html><html><body>Sign in</body></html>", code=code, content_type="text/html")


def reset() -> Step:
    """A TCP reset instead of an answer."""
    return lambda handler, body: handler.drop(rst=True)


def hang_up() -> Step:
    """The connection closes without a byte."""
    return lambda handler, body: handler.drop()


def cut(data: bytes, keep: int) -> Step:
    """Content-Length promises all of ``data``; only ``keep`` bytes come."""
    return lambda handler, body: handler.answer(200, data[:keep], length=len(data))


def hang(seconds: float = 30.0) -> Step:
    """No byte for so long."""

    def step(handler: Handler, body: bytes) -> None:
        handler.wait(seconds)
        handler.drop()

    return step


def drip(data: bytes, every_seconds: float, *, headers_too: bool = False) -> Step:
    """The answer one byte at a time; with ``headers_too`` from its first byte on."""

    def step(handler: Handler, body: bytes) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(data)
        slow = head + data if headers_too else data
        if not headers_too:
            handler.wfile.write(head)
        for index in range(len(slow)):
            handler.wfile.write(slow[index : index + 1])
            if not handler.wait(every_seconds):
                return

    return step


def after(seconds: float, step: Step) -> Step:
    """The step, later."""

    def late(handler: Handler, body: bytes) -> None:
        time.sleep(seconds)
        step(handler, body)

    return late


# ── a hub ───────────────────────────────────────────────────────────────────────────────────────────────────────────


class HubServer(FaultServer):
    """Enough of the Hugging Face hub for one dataset: its list of files, and the files, large ones by a redirect.

    ``file_script`` holds steps that take the place of good answers to requests for a file's bytes, in order.
    ``sent`` counts the bytes of files that went out. At ``stop_at`` of them it holds still, until that is raised.
    """

    def __init__(self, files: Mapping[str, bytes], repo_id: str = "DeeptraceReward/RewardData") -> None:
        super().__init__()
        self.repo_id, self.files = repo_id, dict(files)
        self.small: set[str] = set()
        self.commit = hashlib.sha1(repr(sorted(self.files)).encode(), usedforsecurity=False).hexdigest()
        self.file_script: list[Step] = []
        self.list_script: list[Step] = []
        self.sent = 0
        self.ranges = True
        self.chunk_pause = 0.0
        self.stop_at = math.inf
        self.siblings: list[dict[str, Any]] | None = None

    def next_step(self, seen: Seen) -> Step:
        with self._lock:
            self.requests.append(seen)
            path = unquote(urlsplit(seen.path).path)
            if path.startswith("/api/"):
                return self.list_script.pop(0) if self.list_script else self._list(path)
            if path.startswith("/cdn/"):
                data = next((d for d in self.files.values() if _sha256(d) == path.removeprefix("/cdn/")), None)
                if data is None:
                    return status(404)
                return self.file_script.pop(0) if self.file_script else self.bytes_of(data)
            name = path.removeprefix(f"/datasets/{self.repo_id}/resolve/{self.commit}/")
            if name not in self.files:
                return status(404)
            if name in self.small:
                return self.file_script.pop(0) if self.file_script else self.bytes_of(self.files[name])
            digest = _sha256(self.files[name])
            headers = {"Location": f"/cdn/{digest}", "X-Linked-Etag": f'"{digest}"', "X-Repo-Commit": self.commit}
            return lambda handler, body: handler.answer(302, b"", headers)

    def _list(self, path: str) -> Step:
        name, _, revision = path.removeprefix("/api/datasets/").partition("/revision/")
        if name != self.repo_id or revision not in ("main", self.commit):
            return lambda handler, body: handler.answer(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        rows = []
        for file, data in self.files.items():
            git = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
            row: dict[str, Any] = {"rfilename": file, "size": len(data), "blobId": git}
            if file not in self.small:
                row["lfs"] = {"sha256": _sha256(data), "size": len(data), "pointerSize": 135}
            rows.append(row)
        return send_json({"id": self.repo_id, "sha": self.commit, "siblings": self.siblings or rows})

    def bytes_of(self, data: bytes, *, etag: str | None = None, keep: int | None = None) -> Step:
        """The file, or the piece asked for; with ``keep`` the connection is cut after so many bytes."""

        def step(handler: Handler, body: bytes) -> None:
            start, code = 0, 200
            headers = {"Content-Type": "application/octet-stream", "ETag": f'"{etag or _sha256(data)}"'}
            asked = handler.headers.get("Range")
            if asked and self.ranges:
                start = int(asked.removeprefix("bytes=").split("-")[0])
                if start >= len(data):
                    handler.answer(416, b"", {"Content-Range": f"bytes */{len(data)}"})
                    return
                headers["Content-Range"], code = f"bytes {start}-{len(data) - 1}/{len(data)}", 206
            handler.send_response(code)
            for name, value in {**headers, "Content-Length": str(len(data) - start)}.items():
                handler.send_header(name, value)
            handler.end_headers()
            stop = len(data) if keep is None else min(start + keep, len(data))
            for at in range(start, stop, 65536):
                piece = data[at : min(at + 65536, stop)]
                while self.sent >= self.stop_at and handler.wait(0.005):
                    pass
                handler.wfile.write(piece)
                with self._lock:
                    self.sent += len(piece)
                if self.chunk_pause:
                    handler.wait(self.chunk_pause)
            if stop < len(data):
                handler.drop()

        return step


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
