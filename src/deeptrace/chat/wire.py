"""One POST over httpx: bytes out, `HttpAnswer` or `Fault` back, within a wall-clock deadline and a size limit."""

from __future__ import annotations

import functools
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from typing_extensions import override

from deeptrace.chat.reading import Fault, HttpAnswer
from deeptrace.chat.replies import ChatError, FailCode, Timeouts
from deeptrace.errors import MissingExtra

if TYPE_CHECKING:
    import httpx

_ENCODINGS: Final = ("", "identity", "gzip", "deflate")


def check_base_url(base_url: str) -> str:
    """The base URL without its last slash.

    Raises:
        ChatError: not http(s), or it carries a user name, a password, a query or a fragment.
    """
    try:
        parts = urlsplit(base_url)
        port_fine = parts.port is None or parts.port > 0
    except (ValueError, AttributeError, TypeError):
        raise ChatError("base_url is not a URL") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_fine:
        raise ChatError("base_url must be like https://host/v1")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ChatError("base_url must not carry a user, password, query or fragment: pass the key as api_key")
    return base_url.rstrip("/")


def check_base_urls(base_url: str | Sequence[str]) -> tuple[str, ...]:
    """The base URLs of the servers of one model, each once, without their last slashes.

    One text may hold several, with spaces between, also where it is one of a list.

    Raises:
        ChatError: there is none, or one is not one, see `check_base_url`; of several it says which.
    """
    texts = [base_url] if isinstance(base_url, str) or not isinstance(base_url, Sequence) else base_url
    given = [url for text in texts for url in (text.split() if isinstance(text, str) else [text])]
    if not given:
        raise ChatError("base_url must be like https://host/v1")
    checked = []
    for place, url in enumerate(given, start=1):
        try:
            checked.append(check_base_url(url))
        except ChatError as error:  # the address itself is not shown: it may hold a password
            raise error if len(given) == 1 else ChatError(f"{error} (number {place} of {len(given)})") from None
    return tuple(dict.fromkeys(checked))


@functools.cache
def _tls() -> ssl.SSLContext:
    """The trusted certificates; reading them takes longer than a short request, so once for all clients."""
    import httpx

    return httpx.create_ssl_context()


class Secret:
    """Holds a text that no repr, format or traceback shows."""

    __slots__ = ("reveal",)

    def __init__(self, value: str | None) -> None:
        self.reveal: Callable[[], str | None] = lambda: value

    @override
    def __repr__(self) -> str:
        return "Secret(***)" if self.reveal() else "Secret(none)"


class _Watchdog:
    """Shuts the request's socket down when time is up, whatever the other side drips."""

    def __init__(self, seconds: float) -> None:
        self.fired = False
        self._sockets: list[Any] = []
        self._timer = threading.Timer(seconds, self._fire)
        self._timer.daemon = True

    def __enter__(self) -> _Watchdog:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Called by httpcore at every step; a new connection is remembered."""
        if event == "connection.connect_tcp.complete":
            raw = info["return_value"].get_extra_info("socket")
            if raw is not None:
                # A duplicate of the descriptor: TLS detaches the first one when it wraps it.
                self._sockets.append(socket.socket(fileno=socket.dup(raw.fileno())))
                if self.fired:
                    self._fire()

    def close(self) -> None:
        """Forget the sockets."""
        while self._sockets:
            self._sockets.pop().close()

    def _fire(self) -> None:
        self.fired = True
        for each in tuple(self._sockets):
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:  # closed in the meantime: nothing left to stop
                continue


class Wire:
    """Connections to one server. Each request opens its own, so that a deadline can end it and none is found stale."""

    def __init__(self, api_key: Secret, timeouts: Timeouts, max_reply_bytes: int) -> None:
        try:
            import httpx
        except ImportError:
            raise MissingExtra("talking to a model behind an API", "api") from None
        self._httpx = httpx
        self._timeouts, self._max_bytes = timeouts, max_reply_bytes

        class Bearer(httpx.Auth):
            """Adds the key at the last moment; nothing else holds the header."""

            @override
            def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
                if key := api_key.reveal():
                    request.headers["Authorization"] = f"Bearer {key}"
                yield request

        self._client = httpx.Client(
            auth=Bearer(),
            verify=_tls(),
            follow_redirects=False,
            limits=httpx.Limits(max_keepalive_connections=0),
            headers={"Accept-Encoding": "identity", "Accept": "application/json", "User-Agent": "deeptrace"},
        )

    def close(self) -> None:
        """Close every connection."""
        self._client.close()

    def post(self, url: str, body: bytes, seconds: float) -> HttpAnswer | Fault:
        """Send ``body`` and read the answer, in at most ``seconds``."""
        limit = max(min(seconds, self._timeouts.attempt), 0.001)
        timeout = self._httpx.Timeout(
            connect=min(self._timeouts.connect, limit),
            read=min(self._timeouts.read, limit),
            write=min(self._timeouts.read, limit),
            pool=limit,
        )
        started = time.monotonic()
        watchdog = _Watchdog(limit)
        try:
            with watchdog:
                return self._post(url, body, timeout, watchdog, started + limit)
        # A closed client speaks with a RuntimeError.
        except (self._httpx.HTTPError, self._httpx.InvalidURL, OSError, RuntimeError) as error:
            if watchdog.fired or time.monotonic() - started >= limit:
                return Fault("DEADLINE", f"no whole answer within {limit:g} s", retry=True, charged=True)
            return self._fault(error)
        finally:
            watchdog.close()

    def _post(
        self, url: str, body: bytes, timeout: httpx.Timeout, watchdog: _Watchdog, until: float
    ) -> HttpAnswer | Fault:
        with self._client.stream(
            "POST",
            url,
            content=body,
            headers={"Content-Type": "application/json"},
            timeout=timeout,
            extensions={"trace": watchdog.trace},
        ) as response:
            encoding = response.headers.get("content-encoding", "").strip().lower()
            if encoding not in _ENCODINGS:
                return Fault("NOT_JSON", f"the body is encoded as {encoding[:20]!r}, unasked", retry=True, charged=True)
            inflate = zlib.decompressobj(47) if encoding in ("gzip", "deflate") else None
            data = bytearray()
            for chunk in response.iter_raw():
                try:
                    room = self._max_bytes + 1 - len(data)
                    data += chunk if inflate is None else inflate.decompress(chunk, room)
                except zlib.error:
                    return Fault("NOT_JSON", "the body says gzip and is not", retry=True, charged=True, status=200)
                if len(data) > self._max_bytes:
                    reason = f"the answer is longer than {self._max_bytes:,} bytes"
                    return Fault("REPLY_TOO_LARGE", reason, charged=True, status=response.status_code)
                if time.monotonic() > until:
                    return Fault("DEADLINE", "the answer came too slowly", retry=True, charged=True)
            if inflate is not None and not inflate.eof:
                return Fault("CONNECTION_LOST", "the compressed answer is cut", retry=True, charged=True)
            headers = {name.lower(): value for name, value in response.headers.items()}
            return HttpAnswer(response.status_code, headers, bytes(data))

    def _fault(self, error: Exception) -> Fault:
        httpx = self._httpx
        code: FailCode
        if isinstance(error, httpx.ConnectTimeout | httpx.PoolTimeout):
            code, reason, charged = "CONNECT_TIMEOUT", f"no connection within {self._timeouts.connect:g} s", False
        elif isinstance(error, httpx.TimeoutException):
            code, reason, charged = "READ_TIMEOUT", f"no byte within {self._timeouts.read:g} s", True
        elif isinstance(error, httpx.ConnectError):
            code, reason = _connect_code(error)
            charged = False
        elif isinstance(error, httpx.UnsupportedProtocol | httpx.InvalidURL | httpx.ProxyError):
            code, reason, charged = "CONNECT_FAILED", type(error).__name__, False
        else:
            code, reason, charged = "CONNECTION_LOST", f"the connection broke off ({type(error).__name__})", True
        return Fault(code, reason, retry=True, charged=charged)


def _connect_code(error: BaseException) -> tuple[FailCode, str]:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, socket.gaierror):
            return "DNS_FAILED", "the host's name has no address"
        if isinstance(cause, ssl.SSLCertVerificationError):
            return "TLS_FAILED", f"the certificate is not trusted: {cause.verify_message}"
        if isinstance(cause, ssl.SSLError):
            return "TLS_FAILED", f"no TLS connection: {cause.reason or 'handshake failed'}"
        cause = cause.__cause__ or cause.__context__
    return "CONNECT_FAILED", "no connection: is the server running, and the address right?"
