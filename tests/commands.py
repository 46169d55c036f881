"""The command line as real processes, without a new interpreter for each: its imports cost a second, with torch ten.

    run = run_command("inspect", clip, "--json")  # like subprocess.run, with captured text
    process = start_command("train", recipe, preload=TRAINING)  # like subprocess.Popen
    process.send_signal(signal.SIGKILL)
    process.wait()

A process with the package loaded forks one child for each command (`tests/command_server.py`). Where the system cannot
do that, and where a variable asks the interpreter itself for something, Python is started anew.
"""

from __future__ import annotations

import atexit
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from functools import cache
from json import dumps
from pathlib import Path
from typing import IO, Final

DATA: Final = ("matplotlib.pyplot", "sklearn.linear_model", "scipy.stats", "pyarrow.parquet", "deeptrace.data")
"""What most of ``deeptrace data`` imports."""

TRAINING: Final = ("deeptrace.train.vlm.sft", "transformers.models.video_llama_3.modeling_video_llama_3")
"""What ``deeptrace train`` imports for a language model."""

_ROOT: Final = Path(__file__).parents[1]
_LOCK: Final = threading.Lock()


class ForkedCommand:
    """A running command: the part of `subprocess.Popen` that tests use."""

    def __init__(self, told: socket.socket) -> None:
        self._told = told.makefile("rb")
        self._socket = told
        self.pid = int(self._told.readline())
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit code, or None while it runs; -9 for one that was killed by signal 9."""
        return self._end(0)

    def wait(self, timeout: float | None = None) -> int:
        """The exit code. Raises ``TimeoutExpired``."""
        code = self._end(timeout)
        if code is None:
            raise subprocess.TimeoutExpired("deeptrace", timeout or 0)
        return code

    def _end(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._socket], [], [], timeout)[0]:
            self.returncode = int(self._told.readline())
            self._told.close()
            self._socket.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """As of ``Popen``: nothing, where it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)


Command = ForkedCommand | subprocess.Popen[bytes]


def start_command(
    *arguments: str | Path,
    stdin: IO[bytes] | int = subprocess.DEVNULL,
    stdout: IO[bytes] | int = subprocess.DEVNULL,
    stderr: IO[bytes] | int = subprocess.DEVNULL,
    cwd: Path | None = None,
    env: dict[str, str] | None = None,
    preload: Sequence[str] = (),
    session: bool = False,
    module: str = "deeptrace",
) -> Command:
    """Start ``deeptrace`` with these arguments; ``env`` is added to the environment.

    ``preload``: modules that are loaded before. ``session``: in a session of its own, to be killed with its children.
    ``module``: another program than the command line, as of ``python -m``.
    """
    words, env = [str(word) for word in arguments], env or {}
    if not hasattr(os, "pidfd_open") or any(name.startswith("PYTHON") for name in env):
        return subprocess.Popen(
            [sys.executable, "-m", module, *words],
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            cwd=cwd,
            env={**os.environ, **env},
            start_new_session=session,
        )
    request = {
        "module": module,
        "arguments": words,
        "env": {**os.environ, **env},
        "cwd": str(cwd or Path.cwd()),
        "session": session,
    }
    ours, theirs = socket.socketpair()
    try:
        with open(os.devnull, "r+b") as nothing, theirs:
            streams = [nothing if stream == subprocess.DEVNULL else stream for stream in (stdin, stdout, stderr)]
            numbers = [stream if isinstance(stream, int) else stream.fileno() for stream in (*streams, theirs)]
            with _LOCK:
                socket.send_fds(_server(tuple(preload)), [dumps(request).encode()], numbers)
        return ForkedCommand(ours)
    except BaseException:  # as when a test's time is over
        ours.close()
        raise


@cache
def _server(preload: tuple[str, ...]) -> socket.socket:
    """The control socket of a process with these modules loaded. It ends when the socket is closed, as at our end."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.command_server", str(theirs.fileno()), *preload],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            cwd=_ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )
    atexit.register(_end_server, process, ours)
    return ours


def _end_server(process: subprocess.Popen[bytes], control: socket.socket) -> None:
    control.close()
    process.kill()  # it may be loading still
    process.wait()


def run_command(
    *arguments: str | Path,
    cwd: Path | None = None,
    env: dict[str, str] | None = None,
    preload: Sequence[str] = (),
    timeout: float = 300,
) -> subprocess.CompletedProcess[str]:
    """Run ``deeptrace`` with these arguments to its end; its output as text, on lines of 140 columns."""
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        process = start_command(
            *arguments, stdout=stdout, stderr=stderr, cwd=cwd, env={"COLUMNS": "140", **(env or {})}, preload=preload
        )
        try:
            code = process.wait(timeout)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
        texts = []
        for file in (stdout, stderr):
            file.seek(0)
            texts.append(file.read().decode())
    return subprocess.CompletedProcess(["deeptrace", *map(str, arguments)], code, *texts)
