"""A real Chromium for the tests of pages: one that can neither outlive its test nor push other work aside."""

from __future__ import annotations

import contextlib
import os
import shutil
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
_PATIENCE_MS = 60_000


@contextlib.contextmanager
def chromium(folder: Path) -> Iterator[Any]:
    """A browser for the block, started through a script in ``folder``; afterwards none of its processes is left."""
    from playwright.sync_api import sync_playwright

    before = {child.pid for child in psutil.Process().children(recursive=True)}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=_launcher(folder), args=FLAGS, timeout=_PATIENCE_MS, env=dict(os.environ)
        )
        started = [child for child in psutil.Process().children(recursive=True) if child.pid not in before]
        try:
            yield browser
            browser.close()
        finally:
            for process in reversed(started):
                with contextlib.suppress(psutil.NoSuchProcess):
                    if "chrom" in process.name():
                        process.kill()


def _launcher(folder: Path) -> str:
    """A script that starts Chromium without the right to realtime priority, where the system can take it away.

    As root, a thread of Chromium's may ask for it; one that then spins leaves the machine to nobody else.
    """
    program = shutil.which(os.environ.get("CHROMIUM", "chromium"))
    assert program is not None
    before = ""
    if hasattr(os, "geteuid") and os.geteuid() == 0 and shutil.which("setpriv"):
        before = "setpriv --bounding-set=-sys_nice --inh-caps=-sys_nice "
    script = folder / "chromium.sh"
    script.write_text(f'#!/bin/sh\nexec {before}{program} "$@"\n', encoding="utf-8")
    script.chmod(0o755)
    return str(script)
