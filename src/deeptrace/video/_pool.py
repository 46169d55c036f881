"""The decoder processes: started when needed, lent to one call at a time, replaced after a crash or 200 files.

The caller's side. No process outlives its use: all end with `close` or with the program, and a worker whose caller dies
notices that its socket was hung up.
"""

from __future__ import annotations

import atexit
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import Literal

from deeptrace.errors import VideoError
from deeptrace.video._protocol import Channel, Header, PipeChannel, ProtocolError, Silence, SocketChannel

_START_SECONDS = 60.0
_FILES_PER_WORKER = 200
TEST_HOOKS = "DEEPTRACE_VIDEO_TEST_HOOKS"  # lets a test ask the worker to crash; read by the worker at its start

ENDED = "reading was ended by deeptrace.video.close()."

Transport = Literal["socket", "pipe"]

# Run with -I: no current folder, no user site, no PYTHON* variables. What the caller can import comes as an argument.
_BOOTSTRAP = (
    "import sys, os; sys.path[:] = sys.argv.pop(1).split(os.pathsep); "
    "from deeptrace.video._worker import main; main(sys.argv[1:])"
)


def default_transport() -> Transport:
    """``"socket"`` where an open file can be passed to another process, else ``"pipe"``."""
    return "socket" if hasattr(socket, "send_fds") and hasattr(socket, "AF_UNIX") else "pipe"


def _import_path() -> str:
    """The caller's module search path without the current folder and relative entries, this package's root last."""
    here = os.path.realpath(os.getcwd()) if os.path.exists(os.curdir) else ""
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    folders = [folder for folder in sys.path if folder and os.path.isabs(folder) and os.path.realpath(folder) != here]
    return os.pathsep.join([*folders, root])


def _environment(test_hooks: bool) -> dict[str, str]:
    """The little that the worker needs of the environment: no credentials, no locale, one thread per library."""
    env = {
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "VECLIB_MAXIMUM_THREADS": "1",
        # Each malloc arena reserves 64 MiB of address space, which the worker has little of.
        "MALLOC_ARENA_MAX": "1",
        # Pictures are allocated and freed all the time: memory that is given back is paid for again, page by page.
        "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
        "MALLOC_TRIM_THRESHOLD_": str(64 * 2**20),
    }
    for name in ("SYSTEMROOT", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PATH"):
        if name in os.environ:
            env[name] = os.environ[name]
    if test_hooks:
        env[TEST_HOOKS] = "1"
    return env


class Worker:
    """One decoder process and the conversation with it. Belongs to one thread at a time."""

    def __init__(self, transport: Transport, command: Sequence[str], test_hooks: bool) -> None:
        self.transport = transport
        self.files = 0
        self.ended = False  # by `Pool.close`, perhaps in the middle of a file
        start = self._start_with_socket if transport == "socket" else self._start_with_pipes
        try:
            self.process, self.channel = start(command, _environment(test_hooks))
        except OSError as error:
            raise VideoError(
                "DECODER_CRASHED", f"the decoder process could not be started: {os.strerror(error.errno or 0)}."
            ) from error
        try:
            self.channel.deadline = time.monotonic() + _START_SECONDS
            self.hello = self.channel.receive()
            if self.hello.get("kind") != "hello":
                raise ProtocolError("it did not say hello")
        except ProtocolError as error:
            self.kill()
            how = "did not answer" if isinstance(error, Silence) else "ended at once, or is not ours"
            raise VideoError("DECODER_CRASHED", f"the decoder process was started but {how}.") from error

    @staticmethod
    def _start_with_socket(command: Sequence[str], env: dict[str, str]) -> tuple[subprocess.Popen[bytes], Channel]:
        ours, theirs = socket.socketpair()
        try:
            process = subprocess.Popen(
                [*command, f"socket:{theirs.fileno()}"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env=env,
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        return process, SocketChannel(ours)

    @staticmethod
    def _start_with_pipes(command: Sequence[str], env: dict[str, str]) -> tuple[subprocess.Popen[bytes], Channel]:
        process = subprocess.Popen(
            [*command, "pipe"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env=env,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        # The channel owns its own descriptors, so that closing it closes the pipes.
        channel = PipeChannel(os.dup(process.stdout.fileno()), os.dup(process.stdin.fileno()), process.kill)
        process.stdin.close()
        process.stdout.close()
        return process, channel

    @property
    def has_waited(self) -> bool:
        """Whether it lay idle before the file it is lent for: what ended it may have happened then."""
        return self.files > 1

    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self.process.poll() is None

    def kill(self) -> int:
        """End the process at once; its exit status (negative: the signal that ended it)."""
        # A process that just died is given a moment to leave its own status rather than ours.
        try:
            return self.process.wait(0.05)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()
        finally:
            self.channel.close()

    def hang_up(self) -> None:
        """Let the process end by itself, and see that it does."""
        self.channel.close()
        try:
            self.process.wait(2.0)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def end(self) -> None:
        """End the process from another thread than the one it is lent to; that one sees it hang up."""
        self.ended = True
        self.process.kill()

    def forget(self) -> None:
        """In a forked child: the process belongs to the parent; only close our copy of the channel."""
        self.channel.close()
        self.process.returncode = 0  # not our child, so there is nothing to wait for


class Pool:
    """Decoder processes by need: as many as calls run at the same time; a few stay idle for the next.

    Thread-safe. ``command`` replaces the worker's program and ``fault`` makes it misbehave once; both are for tests.
    """

    def __init__(
        self,
        *,
        transport: Transport | None = None,
        command: Sequence[str] | None = None,
        test_hooks: bool = False,
        files_per_worker: int = _FILES_PER_WORKER,
    ) -> None:
        self.transport: Transport = transport or default_transport()
        self.fault: str | None = None
        self._command = command
        self._test_hooks = test_hooks
        self._files_per_worker = files_per_worker
        self._max_idle = max(2, os.cpu_count() or 1)
        self._lock = threading.Lock()
        self._idle: list[Worker] = []
        self._lent: set[Worker] = set()
        self._times_closed = 0

    def take(self) -> Worker:
        """A worker for one file. Give it back with `give_back` or `discard`.

        Raises:
            VideoError: ``DECODER_CRASHED`` when no process can be started, or `close` was called meanwhile.
        """
        times_closed = self._times_closed
        while True:
            with self._lock:
                worker = self._idle.pop() if self._idle else None
            if worker is None:
                break
            if worker.is_alive():
                return self._lend(worker, times_closed)
            worker.kill()
        return self._lend(self._start(), times_closed)

    def replace(self, worker: Worker) -> Worker:
        """A new worker for the same file, in the place of one that ended. Give it back as one of `take`.

        Raises:
            VideoError: ``DECODER_CRASHED`` when no process can be started, or `close` was called meanwhile.
        """
        with self._lock:
            self._lent.discard(worker)
            ended = worker.ended
            times_closed = self._times_closed
        worker.kill()
        if ended:
            raise VideoError("DECODER_CRASHED", ENDED)
        return self._lend(self._start(), times_closed)

    def _start(self) -> Worker:
        command = self._command or [sys.executable, "-I", "-B", "-c", _BOOTSTRAP, _import_path()]
        return Worker(self.transport, command, self._test_hooks)

    def _lend(self, worker: Worker, times_closed: int) -> Worker:
        worker.files += 1
        with self._lock:
            if times_closed == self._times_closed:
                self._lent.add(worker)
                return worker
        worker.kill()
        raise VideoError("DECODER_CRASHED", ENDED)

    def give_back(self, worker: Worker) -> None:
        """The worker is done with its file and ready for another."""
        with self._lock:
            self._lent.discard(worker)
            if not worker.ended and worker.files < self._files_per_worker and len(self._idle) < self._max_idle:
                self._idle.append(worker)
                return
        worker.hang_up()

    def discard(self, worker: Worker) -> int:
        """The worker is in the middle of something, or broken: end it. Its exit status."""
        with self._lock:
            self._lent.discard(worker)
        return worker.kill()

    def take_fault(self) -> str | None:
        """The misbehaviour a test asked for, once."""
        fault, self.fault = self.fault, None
        return fault

    def hello(self) -> Header:
        """What a worker says of itself at its start (see `limits`)."""
        worker = self.take()
        self.give_back(worker)
        return worker.hello

    def close(self) -> None:
        """End all workers at once. Calls under way raise `VideoError` with ``DECODER_CRASHED``."""
        with self._lock:
            self._times_closed += 1
            idle, self._idle = self._idle, []
            for worker in self._lent:
                worker.end()
        for worker in idle:
            worker.hang_up()

    def forget(self) -> None:
        """In a forked child: leave the parent's workers to the parent."""
        self._lock = threading.Lock()  # the old one may have been held by a thread that does not exist here
        for worker in (*self._idle, *self._lent):
            worker.forget()
        self._idle, self._lent = [], set()


_default = Pool()


def default_pool() -> Pool:
    """The pool that public functions use."""
    return _default


def close() -> None:
    """End all decoder processes now rather than with the program. The next call starts new ones.

    Reads under way in other threads end at once with `VideoError` ``DECODER_CRASHED`` ("reading was ended"). So a
    program that is interrupted calls this before it waits for its threads.
    """
    _default.close()


def _after_fork_in_child() -> None:
    _default.forget()


atexit.register(close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
