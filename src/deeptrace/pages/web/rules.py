"""What the guard of a web server demands: token, names, sizes and times."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from deeptrace.errors import WebError


@dataclass(frozen=True)
class WebRules:
    """What `guard` demands.

    ``token`` None: anyone may ask, which `serve` allows on a loopback address alone. ``cookie``: a browser that opens a
    page with ``?token=`` gets a cookie and is sent on to the address without it. ``hosts`` are the names a request may
    give in its Host header, without port, beside loopback names; empty: those alone, and with a token any.
    ``open_paths`` need no token. Bodies: at most ``max_body_bytes``, all of those held at once at most
    ``max_held_bytes``; whole within ``body_seconds`` and at least ``min_bytes_per_second`` from then on. An answer
    begins within ``request_seconds`` and its reader takes each piece of it within ``reply_seconds``. ``admit`` is
    called before the body of a request that is not a GET is read; it may raise `WebError`, as `BoundedQueue.check`
    does.
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
