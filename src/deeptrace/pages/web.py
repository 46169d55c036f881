"""The guards that every web server of ours stands behind, and how it is run. Needs the extra ``serve``.

    app = guard(Starlette(routes=..., exception_handlers=error_handlers()), WebRules(token=token))
    serve(app, host="127.0.0.1", port=0, rules=..., on_ready=print)

`guard` refuses a request before the app sees it: a Host or an Origin that is not ours, a missing token, a body that is
too large or too slow. What it lets through has a whole body in memory, an answer within a time limit, and is
cancelled when its client goes away. `BoundedQueue` is the bounded queue before work that is expensive. Every error is
``{"error": {"code", "message"}}``.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import ipaddress
import logging
import math
import os
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from typing_extensions import override

from deeptrace.errors import DeepTraceError, MissingExtra, WebError
from deeptrace.pages.roots import Roots

try:
    import uvicorn
    from starlette.datastructures import Headers, MutableHeaders
    from starlette.exceptions import HTTPException
    from starlette.requests import Request
    from starlette.responses import FileResponse, JSONResponse, RedirectResponse, Response
    from uvicorn.protocols.http.h11_impl import H11Protocol
except ImportError:
    raise MissingExtra("a web server", "serve") from None

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = [
    "LOOPBACK_NAMES",
    "BoundedQueue",
    "Roots",
    "WebRules",
    "error_handlers",
    "error_response",
    "guard",
    "is_loopback",
    "serve",
    "serve_video",
]

_log = logging.getLogger(__name__)

_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
LOOPBACK_NAMES: Final = ("127.0.0.1", "localhost", "[::1]")
"""What this machine calls itself in a Host header."""
_DISCARDED: Final = 1 << 20
"""Bytes of a refused body that are still read, so that its client gets to read the refusal."""
_NO_PAGE: Final = "default-src 'none'; frame-ancestors 'none'"
_VIDEO_TYPES: Final = {".mp4": "video/mp4", ".m4v": "video/mp4", ".webm": "video/webm", ".mov": "video/quicktime"}
_MOST_HEADER_BYTES: Final = 16 << 10
_ABORT: Final = "deeptrace_abort"
"""Key of a request's state: what cuts its connection at once, unlike a close, which waits for the reader."""


@dataclass(frozen=True)
class WebRules:
    """What `guard` demands.

    ``token`` None: anyone may ask, which `serve` allows on a loopback address alone. ``cookie``: a browser that opens
    a page with ``?token=`` gets a cookie and is sent on to the address without it. ``hosts`` are the names a request
    may give in its Host header, without port; empty: loopback names, and with a token any. ``open_paths`` need no
    token. Bodies: at most ``max_body_bytes``, all of those held at once at most ``max_held_bytes``; whole within
    ``body_seconds`` and at least ``min_bytes_per_second`` from then on. An answer begins within ``request_seconds``
    and its reader takes each piece of it within ``reply_seconds``. ``admit`` is called before the body of a request
    that is not a GET is read; it may raise `WebError`, as `BoundedQueue.check` does.
    """

    token: str | None = None
    cookie: bool = False
    hosts: tuple[str, ...] = ()
    open_paths: tuple[str, ...] = ("/health",)
    max_body_bytes: int = 64 << 20
    max_held_bytes: int = 512 << 20
    body_seconds: float = 10.0
    min_bytes_per_second: int = 64 << 10
    request_seconds: float = 120.0
    reply_seconds: float = 20.0
    admit: Callable[[], None] | None = None

    def __post_init__(self) -> None:
        if self.token is not None and len(self.token) < 8:
            raise WebError(500, "UNSAFE_SERVER", "a token needs at least 8 characters")


# ── errors ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def error_response(error: WebError) -> JSONResponse:
    """The error as ``{"error": {"code", "message"}}``, with Retry-After where it says when to come again."""
    headers = {"www-authenticate": "Bearer"} if error.status == 401 else {}
    if error.retry_seconds is not None:
        headers["retry-after"] = str(max(1, math.ceil(error.retry_seconds)))
    return JSONResponse({"error": {"code": error.code, "message": str(error)}}, error.status, headers=headers)


def error_handlers() -> dict[int | type[Exception], Callable[[Request, Any], Coroutine[Any, Any, Response]]]:
    """Handlers for Starlette's and FastAPI's ``exception_handlers``, so that every error has the one shape."""

    async def refused(_request: Request, error: WebError) -> Response:
        return error_response(error)

    async def ours(_request: Request, error: DeepTraceError) -> Response:
        return JSONResponse({"error": {"code": error.code, "message": str(error)}}, 400)

    async def by_status(_request: Request, error: HTTPException) -> Response:
        code = "NOT_FOUND" if error.status_code == 404 else "BAD_REQUEST"
        body = {"error": {"code": code, "message": error.detail}}
        return JSONResponse(body, error.status_code, headers=error.headers)

    async def fault(_request: Request, _error: Exception) -> Response:
        return error_response(_own_fault())

    return {WebError: refused, DeepTraceError: ours, HTTPException: by_status, Exception: fault}


# ── the guard ───────────────────────────────────────────────────────────────────────────────────────────────────────


def guard(app: ASGIApp, rules: WebRules) -> ASGIApp:
    """The app behind the rules."""
    return _Guard(app, rules)


class _Guard:
    def __init__(self, app: ASGIApp, rules: WebRules) -> None:
        self.app = app
        self.rules = rules
        self.held_bytes = 0
        self._digest = None if rules.token is None else _digest(rules.token.encode())
        self._session = "" if rules.token is None else _session_of(rules.token)
        self._cookie = f"deeptrace_{_digest(self._session.encode()).hex()[:8]}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            reply = _Reply(send, self.rules.reply_seconds)
            try:
                await self._answer(scope, receive, reply)
            except _ClientGone:
                scope.get("state", {}).get(_ABORT, _nothing)()
                await asyncio.sleep(0)  # so that the server knows of it, and does not complain
            except WebError as error:
                await self._refuse(scope, receive, reply, error)
        # a websocket is never accepted: nothing of ours speaks it

    async def _answer(self, scope: Scope, receive: Receive, reply: _Reply) -> None:
        headers = Headers(scope=scope)
        self._check_host(headers)
        sent_on = self._check_token(scope, headers)
        if sent_on is not None:
            await sent_on(scope, receive, reply)
            return
        if scope["method"] not in _SAFE_METHODS:
            self._check_origin(headers)
            if self.rules.admit is not None:
                self.rules.admit()
        self._check_length(headers)
        body = await self._read_body(receive)
        try:
            await self._run(scope, _Body(body, receive), reply)
        finally:
            self.held_bytes -= len(body)

    async def _refuse(self, scope: Scope, receive: Receive, reply: _Reply, error: WebError) -> None:
        if reply.started:
            raise AssertionError("the app refuses before it answers") from error
        with contextlib.suppress(_ClientGone, TimeoutError):
            async with asyncio.timeout(1.0):
                whole = await _discard(receive)
            if not whole:
                reply.closing = True
        if error.status in (408, 413):
            reply.closing = True
        await error_response(error)(scope, receive, reply)

    # ── checks, each raising WebError ──

    def _check_host(self, headers: Headers) -> None:
        hosts = headers.getlist("host")
        name = _host_name(hosts[0]) if len(hosts) == 1 else None
        rules = self.rules
        allowed = rules.hosts or (None if rules.token is not None else LOOPBACK_NAMES)
        if name is None or (allowed is not None and name not in allowed):
            raise WebError(403, "HOST_NOT_ALLOWED", "this server does not go by that name; see --allow-host")

    def _check_token(self, scope: Scope, headers: Headers) -> Response | None:
        """None where the request may pass; a response that sends a browser on with its cookie."""
        if self._digest is None or scope["path"] in self.rules.open_paths:
            return None
        given = headers.getlist("authorization")
        if given:
            scheme, _, token = given[0].partition(" ")
            right = hmac.compare_digest(_digest(token.strip().encode("latin-1", "replace")), self._digest)
            if len(given) == 1 and scheme.lower() == "bearer" and right:
                return None
        elif self.rules.cookie:
            if self._has_cookie(headers):
                if scope["method"] not in _SAFE_METHODS and not _from_own_page(headers):
                    raise WebError(403, "ORIGIN_NOT_ALLOWED", "a page of another site may not send this request")
                return None
            if scope["method"] == "GET":
                return self._redirect(scope)
        raise _unauthorized()

    def _has_cookie(self, headers: Headers) -> bool:
        right = False
        for line in headers.getlist("cookie"):
            for item in line.split(";")[:100]:
                name, _, value = item.strip().partition("=")
                if name == self._cookie:
                    given = _digest(value.encode("latin-1", "replace"))
                    right |= hmac.compare_digest(given, _digest(self._session.encode()))
        return right

    def _redirect(self, scope: Scope) -> Response:
        assert self._digest is not None
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True, max_num_fields=None)
        tokens = [value for name, value in query if name == "token"]
        if len(tokens) != 1 or not hmac.compare_digest(_digest(tokens[0].encode("utf-8", "replace")), self._digest):
            raise _unauthorized()
        rest = urlencode([item for item in query if item[0] != "token"])
        # One leading slash: "//elsewhere" would be another server.
        target = "/" + scope["path"].lstrip("/\\") + (f"?{rest}" if rest else "")
        response = RedirectResponse(target, 303)
        secure = scope.get("scheme") == "https"
        response.set_cookie(self._cookie, self._session, httponly=True, samesite="strict", secure=secure, path="/")
        return response

    def _check_origin(self, headers: Headers) -> None:
        if headers.get("origin") is not None and not _from_own_page(headers):
            raise WebError(403, "ORIGIN_NOT_ALLOWED", "a page of another site may not send this request")
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            raise WebError(403, "ORIGIN_NOT_ALLOWED", "a page of another site may not send this request")

    def _check_length(self, headers: Headers) -> None:
        declared = headers.get("content-length", "0")
        if headers.get("content-encoding", "identity").lower() != "identity":
            raise WebError(415, "BAD_REQUEST", "a compressed body is not taken")
        if not declared.isascii() or not declared.isdigit():
            raise WebError(400, "BAD_REQUEST", "the Content-Length header is not a number")
        self._check_size(int(declared))

    def _check_size(self, size: int) -> None:
        most = self.rules.max_body_bytes
        if size > most:
            raise WebError(413, "BODY_TOO_LARGE", f"a body may have at most {most:,} bytes")
        if self.held_bytes + size > self.rules.max_held_bytes:
            raise WebError(503, "SERVER_BUSY", "too many bodies are held at once", retry_seconds=1)

    async def _read_body(self, receive: Receive) -> bytes:
        """The whole body; its bytes count as held from here on."""
        pieces: list[bytes] = []
        size, began = 0, time.monotonic()
        try:
            while True:
                allowed = self.rules.body_seconds + size / self.rules.min_bytes_per_second
                async with asyncio.timeout(max(0.0, began + allowed - time.monotonic())):
                    message = await receive()
                if message["type"] == "http.disconnect":
                    raise _ClientGone
                piece = message.get("body", b"")
                size += len(piece)
                self.held_bytes += len(piece)
                if size > self.rules.max_body_bytes or self.held_bytes > self.rules.max_held_bytes:
                    self.held_bytes -= len(piece)
                    size -= len(piece)
                    self._check_size(size + len(piece))
                pieces.append(piece)
                if not message.get("more_body", False):
                    return b"".join(pieces)
        except TimeoutError:
            self.held_bytes -= size
            raise WebError(408, "BODY_TOO_SLOW", "the body did not come in time") from None
        except BaseException:
            self.held_bytes -= size
            raise

    async def _run(self, scope: Scope, body: _Body, reply: _Reply) -> None:
        """The app, until it is done, its time is over or its client is gone."""
        work = asyncio.ensure_future(self.app(scope, body, reply))
        gone = asyncio.ensure_future(body.until_gone())
        begun = asyncio.ensure_future(reply.begun.wait())
        try:
            limit = self.rules.request_seconds
            await asyncio.wait({work, gone, begun}, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
            if not (work.done() or gone.done() or reply.started):
                raise WebError(504, "REQUEST_TIMEOUT", f"no answer within {limit:g} s", retry_seconds=1)
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                _raise_as_ours(work, reply)
        finally:
            for task in (work, gone, begun):
                task.cancel()
            await asyncio.gather(work, gone, begun, return_exceptions=True)


def _raise_as_ours(work: asyncio.Future[Any], reply: _Reply) -> None:
    error = work.exception()
    if error is None:
        return
    if isinstance(error, WebError | _ClientGone):
        raise error
    _log.error("a request failed", exc_info=error)
    if not reply.whole:
        raise _ClientGone if reply.started else _own_fault()  # half an answer must not look like a whole one


def _own_fault() -> WebError:
    return WebError(500, "INTERNAL_ERROR", "the server met a fault of its own; its log tells more")


def _nothing() -> None:
    """What cuts a connection under a server that is not ours."""


class _ClientGone(Exception):
    """The client hung up; there is nobody to answer."""


class _Body:
    """What the app receives: the body that is there already, then nothing until the client is gone."""

    def __init__(self, body: bytes, receive: Receive) -> None:
        self._body: bytes | None = body
        self._receive = receive
        self._gone = asyncio.Event()

    async def __call__(self) -> Message:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def until_gone(self) -> None:
        """Wait until the client hangs up."""
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._gone.set()


class _Reply:
    """What the app sends through: with the headers of a page that cannot be misused, and a limit for slow readers."""

    def __init__(self, send: Send, seconds: float) -> None:
        self._send = send
        self._seconds = seconds
        self.begun = asyncio.Event()
        self.closing = False
        self.whole = False

    @property
    def started(self) -> bool:
        """Whether an answer has begun."""
        return self.begun.is_set()

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.begun.set()
            message.setdefault("headers", [])
            _secure(MutableHeaders(scope=message), closing=self.closing)
        try:
            async with asyncio.timeout(self._seconds):
                await self._send(message)
        except TimeoutError:
            raise _ClientGone from None  # it reads too slowly to keep a connection for
        self.whole = message["type"] == "http.response.body" and not message.get("more_body", False)


def _secure(headers: MutableHeaders, *, closing: bool) -> None:
    policy = headers.get("content-security-policy", _NO_PAGE)
    if "frame-ancestors" not in policy:
        policy += "; frame-ancestors 'none'"
    headers["content-security-policy"] = policy
    headers["x-content-type-options"] = "nosniff"
    headers["x-frame-options"] = "DENY"
    headers["referrer-policy"] = "no-referrer"
    headers["cross-origin-opener-policy"] = "same-origin"
    headers["cross-origin-resource-policy"] = "same-origin"
    headers.setdefault("cache-control", "no-store")
    if closing:
        headers["connection"] = "close"


async def _discard(receive: Receive) -> bool:
    """Read on for a while; whether the body was whole then."""
    size = 0
    while size < _DISCARDED:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _ClientGone
        size += len(message.get("body", b""))
        if not message.get("more_body", False):
            return True
    return False


def _digest(secret: bytes) -> bytes:
    """Compared instead of the secret: of one length, and bytes whatever characters were sent."""
    return hashlib.sha256(secret).digest()


def _session_of(token: str) -> str:
    return hmac.new(token.encode(), b"deeptrace session", hashlib.sha256).hexdigest()


def _unauthorized() -> WebError:
    return WebError(401, "UNAUTHORIZED", "a token is needed: Authorization: Bearer <token>")


def _host_name(host: str) -> str | None:
    """The name in a Host header, lower case, an IPv6 address in brackets; None for what is not one."""
    try:
        parts = urlsplit(f"//{host}")
        name, _ = parts.hostname, parts.port
    except ValueError:
        return None
    if not name or parts.netloc != host or parts.path or "@" in host:
        return None
    return f"[{name}]" if ":" in name else name


def _from_own_page(headers: Headers) -> bool:
    """Whether a page of this very server sends the request, by what the browser says."""
    origins = headers.getlist("origin")
    if origins:
        return len(origins) == 1 and urlsplit(origins[0]).netloc.lower() == headers.get("host", "").lower() != ""
    return headers.get("sec-fetch-site") == "same-origin"


# ── the queue ───────────────────────────────────────────────────────────────────────────────────────────────────────


class BoundedQueue:
    """A bounded queue: so many at work, so many waiting, the rest is refused at once and told when to come again.

    ``per_client`` bounds what one client has inside (429 beyond it); the queue as a whole answers 503.
    """

    def __init__(self, slots: int, queue: int, *, per_client: int | None = None) -> None:
        self.slots = slots
        self.queue = queue
        self.per_client = per_client
        self.inside = 0
        self.closed = False
        self._of_client: Counter[str] = Counter()
        self._working = asyncio.Semaphore(slots)
        self._seconds_each = 1.0

    def check(self) -> None:
        """Refuse before the body is read, where the queue is full already.

        Raises:
            WebError: 503, ``SERVER_BUSY``.
        """
        if self.closed:
            raise WebError(503, "SERVER_BUSY", "the server is about to end", retry_seconds=5)
        if self.inside >= self.slots + self.queue:
            raise WebError(503, "SERVER_BUSY", "the queue is full", retry_seconds=self.wait_seconds)

    @property
    def wait_seconds(self) -> float:
        """How long what is inside will take, from what a piece of work took lately."""
        return self.inside * self._seconds_each / self.slots

    def note(self, seconds: float) -> None:
        """A piece of work took so long."""
        self._seconds_each += 0.2 * (seconds - self._seconds_each)

    @contextmanager
    def places(self, client: str, count: int = 1) -> Iterator[None]:
        """Hold so many places for a client, at work or waiting.

        Raises:
            WebError: 503, the queue has not so many left; 429, this client has its share of it.
        """
        self.check()
        if self.inside + count > self.slots + self.queue:
            raise WebError(503, "SERVER_BUSY", "the queue is full", retry_seconds=self.wait_seconds)
        if self.per_client is not None and self._of_client[client] + count > self.per_client:
            raise WebError(
                429, "TOO_MANY_REQUESTS", "this client has its share of the queue", retry_seconds=self.wait_seconds
            )
        self.inside += count
        self._of_client[client] += count
        try:
            yield
        finally:
            self.inside -= count
            self._of_client[client] -= count
            if not self._of_client[client]:
                del self._of_client[client]

    @asynccontextmanager
    async def enter(self, client: str) -> AsyncIterator[None]:
        """Hold a place, wait for a slot and hold it.

        Raises:
            WebError: see `places`.
        """
        with self.places(client):
            async with self._working:
                began = time.monotonic()
                yield
                self.note(time.monotonic() - began)


# ── files ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def serve_video(roots: Roots, path: str, request: Request) -> Response:
    """The video at ``path`` under the roots, or the one range of bytes that is asked for.

    Raises:
        WebError: ``PATH_NOT_ALLOWED``; ``RANGE_NOT_ALLOWED``, 416, for several ranges.
    """
    ranges = request.headers.getlist("range")
    if len(ranges) > 1 or any("," in item for item in ranges):
        raise WebError(416, "RANGE_NOT_ALLOWED", "one range of bytes at a time")
    with roots.open(path) as descriptor:
        return _VideoResponse(os.dup(descriptor), _VIDEO_TYPES.get(os.path.splitext(path)[1].lower()))


class _VideoResponse(FileResponse):
    """A file by its open descriptor, so that what is sent is what was checked. Closes it."""

    def __init__(self, descriptor: int, media_type: str | None) -> None:
        self._descriptor = descriptor
        headers = {"content-security-policy": "default-src 'none'; sandbox", "cache-control": "private, no-cache"}
        super().__init__(
            f"/dev/fd/{descriptor}",
            headers=headers,
            media_type=media_type or "application/octet-stream",
            stat_result=os.fstat(descriptor),
        )

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            os.close(self._descriptor)


# ── running ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


@dataclass
class _Connections:
    most: int
    header_seconds: float
    open: set[Any] = field(default_factory=set)


def serve(
    app: ASGIApp,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    token: str | None,
    on_ready: Callable[[str], None] | None = None,
    on_drain: Callable[[], None] | None = None,
    drain_seconds: float = 30.0,
    header_seconds: float = 10.0,
    max_connections: int = 2000,
) -> None:
    """Run the app, guarded already, until SIGTERM or SIGINT; then let what is in flight end, for ``drain_seconds``.

    ``port`` 0 takes a free one; ``on_ready`` is called with the address, ``http://127.0.0.1:8123``, once it listens.
    ``on_drain`` is called as soon as the end is asked for. Headers must be whole within ``header_seconds``.

    Raises:
        WebError: ``UNSAFE_SERVER``: an address that others reach, without a token; or one that cannot be bound.
    """
    if token is None and not is_loopback(host):
        raise WebError(500, "UNSAFE_SERVER", f"{host} can be reached by others: a token is needed there")
    listener = _bind(host, port)
    address = f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"
    shared = _Connections(max_connections, header_seconds)
    config = uvicorn.Config(
        app,
        http=_protocol(shared),
        ws="none",
        loop="asyncio",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=math.ceil(drain_seconds),
        timeout_keep_alive=15,
        h11_max_incomplete_event_size=_MOST_HEADER_BYTES,
        proxy_headers=False,
    )
    _Server(config, lambda: on_ready(address) if on_ready else None, on_drain).run([listener])


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host.strip("[]"), port))
    except (OSError, OverflowError) as error:
        listener.close()
        reason = getattr(error, "strerror", None) or error
        raise WebError(500, "UNSAFE_SERVER", f"cannot listen on {host}:{port}: {reason}") from None
    listener.listen(512)
    return listener


class _Server(uvicorn.Server):
    def __init__(
        self, config: uvicorn.Config, on_ready: Callable[[], None], on_drain: Callable[[], None] | None
    ) -> None:
        super().__init__(config)
        self._on_ready = on_ready
        self._on_drain = on_drain

    @override
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_ready()

    @override
    def handle_exit(self, sig: int, frame: Any) -> None:
        if self._on_drain is not None and not self.should_exit:
            self._on_drain()
        super().handle_exit(sig, frame)
        # Ended as asked: not to be killed by the same signal afterwards, and a second one does not cut the drain short.
        self._captured_signals.clear()


def _protocol(shared: _Connections) -> type[asyncio.Protocol]:
    class Guarded(H11Protocol):
        """HTTP/1.1 that waits for headers only so long, and takes only so many connections."""

        _header_timer: asyncio.TimerHandle | None = None

        @override
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self.app_state = {**self.app_state, _ABORT: transport.abort}
            shared.open.add(self)
            if len(shared.open) > shared.most:
                transport.abort()
                return
            self._wait_for_headers()

        @override
        def connection_lost(self, exc: Exception | None) -> None:
            shared.open.discard(self)
            self._stop_waiting()
            super().connection_lost(exc)

        @override
        def data_received(self, data: bytes) -> None:
            if self._header_timer is None and (self.cycle is None or self.cycle.response_complete):
                self._wait_for_headers()
            super().data_received(data)
            if self.cycle is not None and not self.cycle.response_complete:
                self._stop_waiting()

        def _wait_for_headers(self) -> None:
            self._header_timer = self.loop.call_later(shared.header_seconds, self.transport.abort)

        def _stop_waiting(self) -> None:
            if self._header_timer is not None:
                self._header_timer.cancel()
                self._header_timer = None

    return Guarded
