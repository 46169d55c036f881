"""The guard: an app and its rules in, the app behind them out. Refuses a request before the app sees it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import TYPE_CHECKING, Any

from starlette.datastructures import Headers

from deeptrace.errors import WebError
from deeptrace.pages.web.access import SAFE_METHODS, Access
from deeptrace.pages.web.errors import error_response, own_fault
from deeptrace.pages.web.exchange import ABORT, ClientGone, GuardedReply, WholeBody, discard
from deeptrace.pages.web.rules import WebRules

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

_log = logging.getLogger(__name__)


def guard(app: ASGIApp, rules: WebRules) -> ASGIApp:
    """The app behind the rules."""
    return _Guard(app, rules)


class _Guard:
    def __init__(self, app: ASGIApp, rules: WebRules) -> None:
        self.app = app
        self.rules = rules
        self.held_bytes = 0
        self._access = Access(rules)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            reply = GuardedReply(send, self.rules.reply_seconds)
            try:
                await self._answer(scope, receive, reply)
            except ClientGone:
                scope.get("state", {}).get(ABORT, _nothing)()
                await asyncio.sleep(0)  # so that the server knows of it, and does not complain
            except WebError as error:
                await self._refuse(scope, receive, reply, error)
        # a websocket is never accepted: nothing of ours speaks it

    async def _answer(self, scope: Scope, receive: Receive, reply: GuardedReply) -> None:
        headers = Headers(scope=scope)
        self._access.check_host(headers)
        sent_on = self._access.check_token(scope, headers)
        if sent_on is not None:
            await sent_on(scope, receive, reply)
            return
        if scope["method"] not in SAFE_METHODS:
            self._access.check_origin(headers)
            if self.rules.admit is not None:
                self.rules.admit()
        self._check_length(headers)
        body = await self._read_body(receive)
        try:
            await self._run(scope, WholeBody(body, receive), reply)
        finally:
            self.held_bytes -= len(body)

    async def _refuse(self, scope: Scope, receive: Receive, reply: GuardedReply, error: WebError) -> None:
        if reply.started:
            raise AssertionError("the app refuses before it answers") from error
        with contextlib.suppress(ClientGone, TimeoutError):
            async with asyncio.timeout(1.0):
                whole = await discard(receive)
            if not whole:
                reply.closing = True
        if error.status in (408, 413):
            reply.closing = True
        await error_response(error)(scope, receive, reply)

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
                    raise ClientGone
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

    async def _run(self, scope: Scope, body: WholeBody, reply: GuardedReply) -> None:
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


def _raise_as_ours(work: asyncio.Future[Any], reply: GuardedReply) -> None:
    error = work.exception()
    if error is None:
        return
    if isinstance(error, WebError | ClientGone):
        raise error
    _log.error("a request failed", exc_info=error)
    if not reply.whole:
        raise ClientGone if reply.started else own_fault()  # half an answer must not look like a whole one


def _nothing() -> None:
    """What cuts a connection under a server that is not ours."""
