"""One file over HTTP into a partial file that can be gone on with, until its checksum is right.

Address, size and hash in, a complete partial file out. Used by `deeptrace.data.hub.download`, which gives it its name.
The hub's own library starts a broken file anew and keeps nothing of a killed one, so the bytes are fetched here.
"""

from __future__ import annotations

import errno
import hashlib
import http.client
import os
import random
import re
import shutil
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Final, Literal
from urllib.parse import urlsplit

from typing_extensions import override

from deeptrace.chat.pace import retry_after_seconds
from deeptrace.errors import DeepTraceError

DownloadCode = Literal[
    "OFFLINE",  # the hub cannot be asked, and not everything is here
    "NOT_FOUND",  # no such repository, revision or file
    "FORBIDDEN",  # it needs a token, or consent on its page
    "BAD_LIST",  # the hub's list of files makes no sense
    "HOSTILE_NAME",  # a file name that leaves the folder or collides
    "HTTP_ERROR",  # a status that says no
    "SERVER_ERROR",  # 429 or 5xx to the end
    "CONNECTION_LOST",  # no connection, or cut, to the end
    "TOO_SLOW",  # fewer bytes a second than accepted, to the end
    "WRONG_LENGTH",  # another number of bytes than listed, or a web page, to the end
    "WRONG_RANGE",  # the server answers with another piece than asked for, to the end
    "CHANGED",  # the server's file is not the listed one
    "CHECKSUM",  # all bytes came, and they are wrong
    "REDIRECT_LOOP",  # redirects without end, or to where none may lead
    "DISK_FULL",  # no room, before or during
    "WRITE_FAILED",  # the system refused to write
    "BUSY",  # another process is at work in the folder
]


class DownloadError(DeepTraceError):
    """A download that did not end well. ``code`` is a `DownloadCode`; what came stays, the next run goes on with it."""

    def __init__(self, code: DownloadCode, message: str) -> None:
        super().__init__(message)
        self.code: str = code


@dataclass(frozen=True)
class Rules:
    """Patience. Seconds, bytes a second over ``stall_seconds``, and attempts in a row that bring nothing new."""

    timeout_seconds: float = 30.0
    stall_seconds: float = 30.0
    min_bytes_per_second: float = 1024.0
    max_attempts: int = 6


@dataclass(frozen=True)
class Wanted:
    """A file as the hub lists it: its size in bytes and its SHA-256, or git's SHA-1 for small files."""

    name: str
    size: int
    sha256: str | None
    git_sha1: str | None

    def matches(self, path: Path) -> bool:
        """Whether the file's bytes are the listed ones; reads all of it."""
        if path.stat().st_size != self.size:
            return False
        digest = hashlib.sha256() if self.sha256 else hashlib.sha1(usedforsecurity=False)
        if not self.sha256:
            digest.update(b"blob %d\0" % self.size)
        with open(path, "rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
        return digest.hexdigest() == (self.sha256 or self.git_sha1)


class _Fault(Exception):
    """A problem that another attempt may not have."""

    def __init__(self, code: DownloadCode, reason: str, retry_after: str | None = None) -> None:
        super().__init__(reason)
        self.code, self.reason, self.retry_after = code, reason, retry_after


_CHUNK: Final = 1024 * 1024
_PROGRESS: Final = 256 * 1024  # fewer new bytes than this do not count as getting on
FULL_DISK: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows to http(s) only, never from https to http, and shows the token to the first host only."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted

    @override
    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        _check_etag(headers, self._wanted)
        old, new = urlsplit(req.full_url), urlsplit(newurl)
        if new.scheme not in ("http", "https") or (old.scheme == "https" and new.scheme == "http"):
            raise DownloadError("REDIRECT_LOOP", f"{self._wanted.name}: redirected to {new.scheme}, which is refused")
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        if request is not None and (old.scheme, old.netloc) != (new.scheme, new.netloc):
            request.remove_header("Authorization")
        return request


def _opener(wanted: Wanted, sockets: list[Any]) -> urllib.request.OpenerDirector:
    class Plain(http.client.HTTPConnection):
        @override
        def connect(self) -> None:
            super().connect()
            sockets.append(self.sock)

    class Tls(http.client.HTTPSConnection):
        @override
        def connect(self) -> None:
            super().connect()
            sockets.append(self.sock)

    class PlainHandler(urllib.request.HTTPHandler):
        @override
        def http_open(self, req: Any) -> Any:
            return self.do_open(Plain, req)

    class TlsHandler(urllib.request.HTTPSHandler):
        @override
        def https_open(self, req: Any) -> Any:
            return self.do_open(Tls, req)

    return urllib.request.build_opener(PlainHandler, TlsHandler, _Redirects(wanted))


def fetch(
    url: str,
    headers: Mapping[str, str],
    wanted: Wanted,
    part: Path,
    *,
    rules: Rules,
    on_bytes: Callable[[int], None],
    sleep: Callable[[float], object] = time.sleep,
) -> None:
    """Fill ``part`` until it is ``wanted``, going on with what it holds. ``on_bytes`` hears the change of its length.

    Raises:
        DownloadError: with the reason of the last attempt; ``part`` keeps what came, unless it was wrong.
    """
    failures = wrong = 0
    while True:
        have = part.stat().st_size if part.exists() else 0
        if have == wanted.size and (have or part.exists()):
            if wanted.matches(part):
                return
            wrong += 1
            _discard(part, have, on_bytes)
            if wrong >= 3:
                raise DownloadError(
                    "CHECKSUM", f"{wanted.name}: all bytes came three times, each time not the listed ones"
                )
            have = 0
        elif have > wanted.size:
            _discard(part, have, on_bytes)
            have = 0
        try:
            _once(url, headers, wanted, part, have=have, rules=rules, on_bytes=on_bytes)
            continue
        except _Fault as error:
            fault = error
        now = part.stat().st_size if part.exists() else 0
        failures = 1 if now - have >= _PROGRESS else failures + 1
        if failures >= rules.max_attempts:
            raise DownloadError(fault.code, f"{wanted.name}: {fault.reason} ({failures} attempts in a row)")
        sleep(_wait(fault, failures))


def _wait(fault: _Fault, failures: int) -> float:
    own: float = min(2.0 ** (failures - 1), 30.0) * random.uniform(0.5, 1.0)
    server_seconds = retry_after_seconds(fault.retry_after, datetime.now(UTC))
    return own if server_seconds is None else server_seconds + own


def _discard(part: Path, have: int, on_bytes: Callable[[int], None]) -> None:
    part.unlink(missing_ok=True)
    on_bytes(-have)


def _check_etag(headers: Any, wanted: Wanted) -> None:
    """Where the server names the file by its hash, it must be the listed one."""
    etag = (headers.get("X-Linked-Etag") or headers.get("ETag") or "").removeprefix("W/").strip('"').lower()
    if wanted.sha256 and re.fullmatch(r"[0-9a-f]{64}", etag) and etag != wanted.sha256:
        raise _Fault("CHANGED", "the server holds another file than the one listed")


def _once(
    url: str,
    headers: Mapping[str, str],
    wanted: Wanted,
    part: Path,
    *,
    have: int,
    rules: Rules,
    on_bytes: Callable[[int], None],
) -> None:
    """One request, and its bytes appended."""
    request = urllib.request.Request(url, headers={**headers, "Accept-Encoding": "identity"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    sockets: list[Any] = []
    late = threading.Event()

    def shut() -> None:
        late.set()
        for each in sockets:
            try:
                socket.socket.shutdown(each, socket.SHUT_RDWR)  # the plain one: TLS has no say in it
            except OSError:
                continue

    # A header that drips never runs into the socket's own timeout.
    timer = threading.Timer(2 * rules.timeout_seconds, shut)
    timer.daemon = True
    timer.start()
    try:
        with _opener(wanted, sockets).open(request, timeout=rules.timeout_seconds) as response:
            timer.cancel()
            _check_etag(response.headers, wanted)
            start = _start_of(response, wanted, part, have, on_bytes)
            _take(response, wanted, part, start, rules=rules, on_bytes=on_bytes)
    except urllib.error.HTTPError as error:
        with error:
            _refused(error, wanted, part, have, on_bytes)
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        if late.is_set():
            raise _Fault("TOO_SLOW", "the server's answer did not begin in time") from None
        reason = getattr(error, "reason", None) or error
        raise _Fault("CONNECTION_LOST", f"the connection failed ({type(reason).__name__})") from None
    finally:
        timer.cancel()


def _refused(
    error: urllib.error.HTTPError, wanted: Wanted, part: Path, have: int, on_bytes: Callable[[int], None]
) -> None:
    status = error.code
    if 300 <= status < 400:
        raise DownloadError("REDIRECT_LOOP", f"{wanted.name}: the server redirects without end")
    if status == 416:
        _discard(part, have, on_bytes)
        raise _Fault("WRONG_RANGE", "the server says that the rest does not exist")
    if status in (401, 403):
        message = f"{wanted.name}: the hub answers {status}: it needs a token, or consent on the dataset's page"
        raise DownloadError("FORBIDDEN", message)
    if status in (404, 410):
        raise DownloadError("NOT_FOUND", f"{wanted.name}: the hub answers {status}")
    if status in (408, 425, 429) or status >= 500:
        raise _Fault("SERVER_ERROR", f"the server answers {status}", error.headers.get("Retry-After"))
    raise DownloadError("HTTP_ERROR", f"{wanted.name}: the server answers {status}")


def _start_of(response: Any, wanted: Wanted, part: Path, have: int, on_bytes: Callable[[int], None]) -> int:
    """Where the answer's bytes belong. Nothing is thrown away before the answer is known to be of use."""
    length = response.headers.get("Content-Length")
    if (response.headers.get("Content-Encoding") or "identity").lower() != "identity":
        raise _Fault("WRONG_LENGTH", "the server packs the bytes, unasked")
    if response.status == 206:
        content_range = re.fullmatch(
            r"bytes (\d+)-(\d+)/(\d+|\*)", (response.headers.get("Content-Range") or "").strip()
        )
        if not content_range or int(content_range[1]) != have or content_range[3] not in ("*", str(wanted.size)):
            _discard(part, have, on_bytes)
            raise _Fault("WRONG_RANGE", "the server sends another piece than asked for")
        return have
    kind = response.headers.get("Content-Type") or ""
    if response.status != 200 or ("html" in kind and not wanted.name.endswith((".html", ".htm"))):
        raise _Fault("WRONG_LENGTH", f"the server answers {response.status} with {kind[:40] or 'something else'}")
    if length is not None and length != str(wanted.size):
        raise _Fault("WRONG_LENGTH", f"the server sends {length[:20]} bytes, {wanted.size:,} are listed")
    if have:  # the server does not know ranges: from the beginning
        _discard(part, have, on_bytes)
    return 0


def _take(response: Any, wanted: Wanted, part: Path, at: int, *, rules: Rules, on_bytes: Callable[[int], None]) -> None:
    window, began = 0, time.monotonic()
    try:
        file = open(part, "ab", buffering=0)  # noqa: SIM115  closed below; a failure to open is not the network's
    except OSError as error:
        raise _write_error(error, wanted, part, at) from None
    with file:
        while True:
            chunk = response.read1(_CHUNK)
            if not chunk:
                break
            if at + len(chunk) > wanted.size:
                file.close()
                _discard(part, at, on_bytes)
                raise _Fault("WRONG_LENGTH", f"more than the {wanted.size:,} bytes listed came")
            _append(file, chunk, wanted, part, at)
            at, window = at + len(chunk), window + len(chunk)
            on_bytes(len(chunk))
            passed = time.monotonic() - began
            if passed >= rules.stall_seconds:
                if window < rules.min_bytes_per_second * passed:
                    raise _Fault("TOO_SLOW", f"{window / passed:,.0f} bytes a second")
                window, began = 0, time.monotonic()
        if at < wanted.size:
            raise _Fault("CONNECTION_LOST", f"the connection ended {wanted.size - at:,} bytes early")
        try:
            os.fsync(file.fileno())
        except OSError as error:
            raise _write_error(error, wanted, part, at) from None


def _append(file: IO[bytes], chunk: bytes, wanted: Wanted, part: Path, at: int) -> None:
    try:
        if at // (64 * _CHUNK) != (at + len(chunk)) // (64 * _CHUNK) and (
            shutil.disk_usage(part.parent).free < min(wanted.size - at, 64 * _CHUNK)
        ):
            raise OSError(errno.ENOSPC, "no space left")
        view = memoryview(chunk)
        while view:
            view = view[file.write(view) :]
    except OSError as error:
        raise _write_error(error, wanted, part, at) from None


def _write_error(error: OSError, wanted: Wanted, part: Path, at: int) -> DownloadError:
    if error.errno in FULL_DISK:
        free = shutil.disk_usage(part.parent).free
        needed = f"{wanted.size - at:,} more bytes are needed for {wanted.name}, {free:,} are free"
        return DownloadError("DISK_FULL", f"{needed}. Make room and run it again")
    return DownloadError("WRITE_FAILED", f"cannot write {wanted.name}: {error.strerror or error}")
