"""Limits that the decoder process puts on itself, where the system has them. Worker side.

They bound what a hostile file can cost. The caller's own wall clock works everywhere and does not rely on them.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
from typing import Any

try:
    import resource
except ImportError:  # Windows
    _resource: Any = None
else:
    _resource = resource


def _limit(name: str, soft: int) -> str:
    """Set a soft limit; the hard one stays, so that the next job can raise it again. What came of it, in words."""
    if _resource is None or not hasattr(_resource, name):
        return "not available on this system"
    kind = getattr(_resource, name)
    try:
        _, hard = _resource.getrlimit(kind)
        if hard != _resource.RLIM_INFINITY:
            soft = min(soft, hard)
        _resource.setrlimit(kind, (soft, hard))
    except (OSError, ValueError):
        return "refused by this system"
    return "active"


def confine_process() -> dict[str, str]:
    """Set the limits that hold for the life of the process. Names of limits to what came of each."""
    if hasattr(signal, "SIGXFSZ"):
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    if hasattr(signal, "SIGINT"):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the caller, who then hangs up
    return {
        "no writing to files": _limit("RLIMIT_FSIZE", 0),
        "no core dumps": _limit("RLIMIT_CORE", 0),
        "few open files": _limit("RLIMIT_NOFILE", 32),
        "memory limit": _limit("RLIMIT_AS", 2**40) if sys.platform != "darwin" else "not enforced by macOS",
        "CPU time limit": _limit("RLIMIT_CPU", 24 * 3600),
    }


def confine_job(memory_bytes: int, cpu_seconds: float) -> None:
    """Allow this much address space in all, and this much CPU time from now on."""
    if sys.platform != "darwin":
        _limit("RLIMIT_AS", memory_bytes)
    if _resource is not None:
        usage = _resource.getrusage(_resource.RUSAGE_SELF)
        _limit("RLIMIT_CPU", int(usage.ru_utime + usage.ru_stime + cpu_seconds) + 1)


def end_with_caller(fd: int) -> str:
    """End this process as soon as the other end of the socket is hung up, also in the middle of a decode.

    A parent-death signal would do this too, but it is tied to the thread that started the process, not to the program.
    """
    if not hasattr(select, "poll"):
        return "at the next message"

    def watch() -> None:
        poll = select.poll()
        poll.register(fd, 0)  # only hang-ups and errors
        while not poll.poll():
            pass
        os._exit(0)

    threading.stack_size(256 * 1024)
    threading.Thread(target=watch, daemon=True).start()
    threading.stack_size(0)
    return "active"
