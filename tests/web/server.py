"""A guarded server in a process of its own, as its operator would run it, and raw requests to it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

TOKEN = "a-token-of-the-tests"


@dataclass
class RunningServer:
    """``address`` is ``http://127.0.0.1:PORT``."""

    address: str
    process: subprocess.Popen[str]

    @property
    def port(self) -> int:
        return urlsplit(self.address).port or 0

    def raw(self, data: bytes, *, wait: float = 5.0) -> bytes:
        """What the server says to these bytes until it closes, or for so long."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=wait) as connection:
            with contextlib.suppress(ConnectionError):
                connection.sendall(data)
            return read_all(connection)

    def memory_bytes(self) -> int:
        """What the process holds in memory now."""
        with open(f"/proc/{self.process.pid}/statm") as text:
            return int(text.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def read_all(connection: socket.socket) -> bytes:
    """Everything until the other side closes or falls silent."""
    pieces = []
    with contextlib.suppress(TimeoutError, ConnectionError):
        while piece := connection.recv(1 << 16):
            pieces.append(piece)
    return b"".join(pieces)


@contextlib.contextmanager
def running(*command: str) -> Iterator[RunningServer]:
    """A server process that prints its address as its first line."""
    process = subprocess.Popen(
        [sys.executable, *command], stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert address.startswith("http://"), "the server did not start"
        yield RunningServer(address, process)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        assert process.stdout is not None
        process.stdout.close()


def status_of(answer: bytes) -> int:
    """The status of a raw answer; 0 for none."""
    first = answer.split(b"\r\n", 1)[0].split()
    return int(first[1]) if len(first) > 1 and first[1].isdigit() else 0
