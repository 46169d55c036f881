"""What makes clips for the tests leaves the processor to others."""

from __future__ import annotations

import os

import pytest

from tests.clips import make_clip
from tests.video import fuzz

pytestmark = pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="only Linux has such a call")


def test_coding_av1_leaves_no_realtime_priority() -> None:
    make_clip(codec="libsvtav1", num_frames=4)
    fuzz.clip("libsvtav1", num_frames=4)
    assert {os.sched_getscheduler(int(task)) for task in os.listdir("/proc/self/task")} == {os.SCHED_OTHER}
