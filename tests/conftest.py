"""Options and fixtures of the whole suite."""

from __future__ import annotations

import faulthandler
import os
import shutil
from collections.abc import Iterator

import pytest
from _pytest.faulthandler import fault_handler_stderr_fd_key
from hypothesis import settings

# In CI the same examples every time, so that a failure there is the change's own; elsewhere new ones, which find bugs.
settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("search", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "search")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write frozen texts anew after an intended change")


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--update-golden"))


PROGRAMS = {
    "browser": (os.environ.get("CHROMIUM", "chromium"),),
    "ffmpeg": ("ffmpeg", "ffprobe"),
    "strace": ("strace",),
}


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose program is missing, and say so; with DEEPTRACE_REQUIRE naming it, fail instead."""
    for marker, programs in PROGRAMS.items():
        missing = [program for program in programs if shutil.which(program) is None]
        if item.get_closest_marker(marker) is None or not missing:
            continue
        words = f"needs {' and '.join(missing)}"
        if marker in os.environ.get("DEEPTRACE_REQUIRE", "").split(","):
            pytest.fail(f"{words}, which DEEPTRACE_REQUIRE demands", pytrace=False)
        pytest.skip(words)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """A limit for what ends a test, too: once it has failed, as by a timeout, both of pytest's own are off."""
    faulthandler.dump_traceback_later(300, exit=True, file=item.config.stash[fault_handler_stderr_fd_key])
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()
