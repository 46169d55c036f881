"""One request and its answer as they pass the guard: a whole body in, a reply with safe headers and a limit out."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from starlette.datastructures import MutableHeaders

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Send

ABORT: Final = "deeptrace_abort"
"""Key of a request's state: what cuts its connection at once, unlike a close, which waits for the reader."""
_DISCARDED: Final = 1 << 20
"""Bytes of a refused body that are still read, so that its client gets to read the refusal."""
_NO_PAGE: Final = "default-src 'none'; frame-ancestors 'none'"


class ClientGone(Exception):
    """The client hung up; there is nobody to answer."""


class WholeBody:
    """What the app receives: the body that is there already, then nothing until the client is gone."""

    def __init__(self, body: bytes, receive: Receive) -> None:
        self._body: bytes | None = body
        self._receive = receive
        self._gone = asyncio.Event()

    async def __call__(self) -> Message:
        """The next message: the body at first."""
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


class GuardedReply:
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
        """Send a message on.

        Raises:
            ClientGone: it was not taken in time.
        """
        if message["type"] == "http.response.start":
            self.begun.set()
            message.setdefault("headers", [])
            _secure(MutableHeaders(scope=message), closing=self.closing)
        try:
            async with asyncio.timeout(self._seconds):
                await self._send(message)
        except TimeoutError:
            raise ClientGone from None  # it reads too slowly to keep a connection for
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


async def discard(receive: Receive) -> bool:
    """Read on for a while; whether the body was whole then."""
    size = 0
    while size < _DISCARDED:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        size += len(message.get("body", b""))
        if not message.get("more_body", False):
            return True
    return False
