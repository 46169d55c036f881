"""A guarded app in, a running server out: addresses, connections, and a graceful end."""

from __future__ import annotations

import asyncio
import ipaddress
import math
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import uvicorn
from typing_extensions import override
from uvicorn.protocols.http.h11_impl import H11Protocol

from deeptrace.errors import WebError
from deeptrace.pages.web.exchange import ABORT

if TYPE_CHECKING:
    from starlette.types import ASGIApp

_MOST_HEADER_BYTES: Final = 16 << 10


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
            self.app_state = {**self.app_state, ABORT: transport.abort}
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
