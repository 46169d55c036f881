"""Options and fixtures of the whole suite."""

from __future__ import annotations

import faulthandler
import gc
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from _pytest.faulthandler import fault_handler_stderr_fd_key
from filelock import FileLock
from hypothesis import settings

# pytest's workers share the cores: each computes on one thread, where torch would start one for every core in each.
# What is learned does not hang on it: benchmarks/learning_margin.py runs without workers, on one thread and on two.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
# Threads that wait for each other sleep. On a busy machine two that wait at work use eight times the processor time.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# Started in the background by a shell, a process is deaf to Ctrl-C, and so would be the commands that tests interrupt.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A few examples of each property, the same every time, so that a failure is the change's own. A hundred new ones, which
# find bugs, with `--hypothesis-profile search`.
EXAMPLES = 30
settings.register_profile("quick", derandomize=True, deadline=None, max_examples=EXAMPLES)
settings.register_profile("search", deadline=None)
settings.load_profile("quick")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write frozen texts anew after an intended change")
    parser.addoption("--train-seed", type=int, default=0, help="the seed of what tests train, for looking at margins")
    parser.addoption("--require", default="", help="programs whose absence fails tests instead of skipping them")


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--update-golden"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What trains comes first: its files are few and long, and one that began last would be waited for."""
    long = {item.path for item in items if item.get_closest_marker("recipe") is not None}
    items.sort(key=lambda item: item.path not in long)


def pytest_collection_finish() -> None:
    """What was imported stays to the end: the collector need not look through it again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def six_pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example dataset of six pairs, made once for all workers; to be read only."""
    from deeptrace.data.example import make_example

    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with FileLock(shared / "six_pairs.lock"):
        if not (shared / "six_pairs").exists():
            make_example(shared / "being_made", n=6)
            (shared / "being_made").rename(shared / "six_pairs")
    return shared / "six_pairs"


PROGRAMS = {
    "browser": (os.environ.get("CHROMIUM", "chromium"),),
    "ffmpeg": ("ffmpeg", "ffprobe"),
    "strace": ("strace",),
}


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose program is missing, and say so; where ``--require`` names it, fail instead.

    DEEPTRACE_REQUIRE in the environment does the same.
    """
    required = f"{item.config.getoption('--require')},{os.environ.get('DEEPTRACE_REQUIRE', '')}".split(",")
    for marker, programs in PROGRAMS.items():
        missing = [program for program in programs if shutil.which(program) is None]
        if item.get_closest_marker(marker) is None or not missing:
            continue
        words = f"needs {' and '.join(missing)}"
        if marker in required:
            pytest.fail(f"{words}, which --require demands", pytrace=False)
        pytest.skip(words)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """A limit for what ends a test, too: once it has failed, as by a timeout, both of pytest's own are off."""
    faulthandler.dump_traceback_later(300, exit=True, file=item.config.stash[fault_handler_stderr_fd_key])
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()
