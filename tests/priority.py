"""The usual priority of a process, after a library that takes more."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator


@contextlib.contextmanager
def usual_priority() -> Iterator[None]:
    """Give the processor back after the block, which may encode AV1.

    SVT-AV1, where it runs as root, sets the process to realtime priority (SCHED_FIFO, 99) and leaves it so: whatever
    it starts afterwards, a browser for one, then keeps everything else from running.
    """
    try:
        yield
    finally:
        if hasattr(os, "sched_setscheduler"):
            for task in os.listdir("/proc/self/task"):
                with contextlib.suppress(ProcessLookupError):  # a thread that ended meanwhile
                    os.sched_setscheduler(int(task), os.SCHED_OTHER, os.sched_param(0))
