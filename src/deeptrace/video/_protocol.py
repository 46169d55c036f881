"""Messages between the caller and its decoder process: a length, a strict JSON header, then raw bytes.

Used by both ends. A header may announce a payload of pixels or file bytes; the receiver decides beforehand how many it
takes. Nothing is pickled. Two carriers: a Unix socket, which can also pass an open file, and a pair of pipes where
sockets cannot do that.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TypeAlias

from typing_extensions import override

MAX_HEADER_BYTES = 64 * 1024
_LENGTH = struct.Struct("<I")
_SOCKET_BUFFER = 1 << 20

Header: TypeAlias = dict[str, Any]
Buffer: TypeAlias = bytes | bytearray | memoryview


class ProtocolError(Exception):
    """The other end said something that it must not say."""


class Closed(ProtocolError):
    """The other end is gone."""


class Silence(ProtocolError):
    """The other end did not answer before the deadline."""


def _reject_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _parse(data: bytes) -> Header:
    try:
        header = json.loads(data, parse_constant=_reject_constant)
    except (ValueError, RecursionError) as error:
        raise ProtocolError("a header is not JSON") from error
    if not isinstance(header, dict):
        raise ProtocolError("a header is not a JSON object")
    return header


class Channel:
    """One end of a conversation. ``deadline`` (on `time.monotonic`, None: wait for ever) bounds each wait."""

    deadline: float | None = None

    def send(self, header: Mapping[str, Any], payload: Buffer | None = None, *, fd: int | None = None) -> None:
        """Send a header, then a payload, then (socket only) pass an open file along with the header."""
        data = json.dumps(header, allow_nan=False).encode()
        if len(data) > MAX_HEADER_BYTES:
            raise ProtocolError("a header is too long")
        self.write(_LENGTH.pack(len(data)) + data, fd)
        if payload is not None:
            self.write(payload, None)

    def receive(self) -> Header:
        """The next header.

        Raises:
            Closed: the other end is gone, also in the middle of a message.
            Silence: the deadline passed.
            ProtocolError: not a header.
        """
        prefix = bytearray(_LENGTH.size)
        self.receive_into(memoryview(prefix))
        (length,) = _LENGTH.unpack(prefix)
        if not 2 <= length <= MAX_HEADER_BYTES:
            raise ProtocolError("a header of impossible length")
        data = bytearray(length)
        self.receive_into(memoryview(data))
        return _parse(bytes(data))

    def receive_into(self, view: memoryview) -> None:
        """Fill the whole of ``view`` (bytes, contiguous) with what comes next."""
        raise NotImplementedError

    def take_fd(self) -> int:
        """The open file that came with the last header. The caller closes it."""
        raise NotImplementedError

    def close(self) -> None:
        """Hang up."""
        raise NotImplementedError

    def write(self, data: Buffer, fd: int | None) -> None:
        """Hand over the whole of ``data``, and with it the open file ``fd`` where one is given."""
        raise NotImplementedError


class SocketChannel(Channel):
    """Over a Unix socket; open files travel with headers."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._fds: list[int] = []
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            sock.setsockopt(socket.SOL_SOCKET, option, _SOCKET_BUFFER)

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self._socket.fileno()

    def _arm(self) -> None:
        if self.deadline is None:
            self._socket.settimeout(None)
            return
        remaining = self.deadline - time.monotonic()
        if remaining <= 0:
            raise Silence("no answer in time")
        self._socket.settimeout(remaining)

    @override
    def write(self, data: Buffer, fd: int | None) -> None:
        """As `Channel.write`."""
        self._arm()
        try:
            if fd is not None:
                sent = socket.send_fds(self._socket, [data], [fd])
                data = memoryview(data)[sent:]
            if len(data):  # sending nothing fails too once the other end is gone, though its answer may be here
                self._socket.sendall(data)
        except TimeoutError as error:
            raise Silence("the message was not taken in time") from error
        except OSError as error:
            raise Closed("the other end is gone") from error

    @override
    def receive(self) -> Header:
        """As `Channel.receive`; files that come along wait for `take_fd`."""
        self._arm()
        try:
            prefix, fds, _, _ = socket.recv_fds(self._socket, _LENGTH.size, 1)
        except TimeoutError as error:
            raise Silence("no answer in time") from error
        except OSError as error:
            raise Closed("the other end is gone") from error
        self._fds.extend(fds)
        if not prefix:
            raise Closed("the other end is gone")
        whole = bytearray(prefix) + bytearray(_LENGTH.size - len(prefix))
        if len(prefix) < _LENGTH.size:
            self.receive_into(memoryview(whole)[len(prefix) :])
        (length,) = _LENGTH.unpack(whole)
        if not 2 <= length <= MAX_HEADER_BYTES:
            raise ProtocolError("a header of impossible length")
        data = bytearray(length)
        self.receive_into(memoryview(data))
        return _parse(bytes(data))

    @override
    def receive_into(self, view: memoryview) -> None:
        """As `Channel.receive_into`."""
        done = 0
        while done < len(view):
            self._arm()
            try:
                count = self._socket.recv_into(view[done:])
            except TimeoutError as error:
                raise Silence("no answer in time") from error
            except OSError as error:
                raise Closed("the other end is gone") from error
            if count == 0:
                raise Closed("the other end is gone")
            done += count

    @override
    def take_fd(self) -> int:
        """As `Channel.take_fd`."""
        if not self._fds:
            raise ProtocolError("no file came with the header")
        fd = self._fds.pop()
        self._drop_fds()
        os.set_inheritable(fd, False)
        return fd

    def _drop_fds(self) -> None:
        for fd in self._fds:
            os.close(fd)
        self._fds.clear()

    @override
    def close(self) -> None:
        """As `Channel.close`."""
        self._drop_fds()
        self._socket.close()


class PipeChannel(Channel):
    """Over two pipes. They have no timeouts of their own: ``on_silence`` is called when a wait outlasts the deadline.

    It must end the other process, which makes the wait return.
    """

    def __init__(self, read_fd: int, write_fd: int, on_silence: Callable[[], None] | None = None) -> None:
        self._read_fd = read_fd
        self._write_fd = write_fd
        self._on_silence = on_silence
        self._silent = threading.Event()

    def _start_clock(self) -> threading.Timer | None:
        if self.deadline is None or self._on_silence is None:
            return None
        timer = threading.Timer(max(0.0, self.deadline - time.monotonic()), self._ring)
        timer.daemon = True
        timer.start()
        return timer

    def _ring(self) -> None:
        self._silent.set()
        if self._on_silence is not None:
            self._on_silence()

    def _gone(self, error: OSError | None = None) -> NoReturn:
        if self._silent.is_set():
            raise Silence("no answer in time") from error
        raise Closed("the other end is gone") from error

    @override
    def write(self, data: Buffer, fd: int | None) -> None:
        """As `Channel.write`."""
        if fd is not None:
            raise ProtocolError("a pipe cannot pass an open file")
        view = memoryview(data).cast("B")
        clock = self._start_clock()
        try:
            while view:
                view = view[os.write(self._write_fd, view[:_SOCKET_BUFFER]) :]
        except OSError as error:
            self._gone(error)
        finally:
            if clock is not None:
                clock.cancel()

    @override
    def receive_into(self, view: memoryview) -> None:
        """As `Channel.receive_into`."""
        done = 0
        clock = self._start_clock()
        try:
            while done < len(view):
                data = os.read(self._read_fd, min(len(view) - done, _SOCKET_BUFFER))
                if not data:
                    self._gone()
                view[done : done + len(data)] = data
                done += len(data)
        except OSError as error:
            self._gone(error)
        finally:
            if clock is not None:
                clock.cancel()

    @override
    def take_fd(self) -> int:
        """Never: pipes pass no files."""
        raise ProtocolError("a pipe cannot pass an open file")

    @override
    def close(self) -> None:
        """As `Channel.close`."""
        for fd in (self._read_fd, self._write_fd):
            os.close(fd)
