"""A real Chromium for the tests of pages: one that can neither outlive its test nor push other work aside."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
_START_MS = 60_000
_END_SECONDS = 30.0


@contextlib.contextmanager
def chromium(folder: Path) -> Iterator[Any]:
    """A browser for the block, started through a script in ``folder``; afterwards none of its processes is left.

    It is asked to end, and killed when it does not: neither Playwright nor a page has a limit of its own for that.
    """
    from playwright.sync_api import sync_playwright

    before = {child.pid for child in psutil.Process().children()}
    with contextlib.ExitStack() as stack:
        playwright = stack.enter_context(sync_playwright())
        drivers = [child for child in psutil.Process().children() if child.pid not in before and "node" in child.name()]
        assert drivers
        browser = playwright.chromium.launch(executable_path=_launcher(folder), args=FLAGS, timeout=_START_MS)
        try:
            yield browser
        finally:
            started = _below(drivers)
            late = threading.Timer(_END_SECONDS, _kill, (started,))
            late.daemon = True
            late.start()
            try:
                with contextlib.suppress(Exception):  # it is killed, then, and the test has said what it had to
                    browser.close()
                stack.close()
            finally:
                late.cancel()
                _kill(started)


def _below(drivers: list[psutil.Process]) -> list[psutil.Process]:
    found = []
    for driver in drivers:
        with contextlib.suppress(psutil.Error):
            found += driver.children(recursive=True)
    return [*found, *drivers]


def _kill(processes: list[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.kill()


def _launcher(folder: Path) -> str:
    """A script that starts Chromium to end with its driver and, as root, without the right to realtime priority.

    A thread of Chromium's may ask for that; one that then spins leaves the machine to nobody else.
    """
    program = shutil.which(os.environ.get("CHROMIUM", "chromium"))
    assert program is not None
    before = ["setpriv", "--pdeathsig", "KILL"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        before += ["--bounding-set=-sys_nice", "--inh-caps=-sys_nice"]
    if shutil.which("setpriv") is None or subprocess.run([*before, "true"], capture_output=True, timeout=60).returncode:
        before = []
    script = folder / "chromium.sh"
    script.write_text(f'#!/bin/sh\nexec {shlex.join([*before, program])} "$@"\n', encoding="utf-8")
    script.chmod(0o755)
    return str(script)
