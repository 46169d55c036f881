"""``run.json``: everything needed to do a run again, and how it ended."""

from __future__ import annotations

import platform
import shutil
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import deeptrace
from deeptrace.files import dumps, write_text

RUN_NAME: Final = "run.json"
SCHEMA: Final = "deeptrace.bench.run"
SCHEMA_VERSION: Final = 1

_PACKAGES: Final = ("av", "numpy", "opencv-python-headless", "torch", "transformers", "onnxruntime", "httpx")


def write_run(
    folder: Path, settings: Mapping[str, Any], result: Mapping[str, Any] | None, *, command: str | None = None
) -> None:
    """Write ``run.json``; ``result`` is None while the run goes on.

    Raises:
        FileError: the system refused.
    """
    row = {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
        "settings": dict(settings),
        "versions": versions(),
        "git_commit": git_commit(),
        "result": None if result is None else dict(result),
    }
    write_text(folder / RUN_NAME, dumps(row, indent=2) + "\n")


def versions() -> dict[str, str]:
    """Of Python, deeptrace and the packages that can change an answer, as far as they are installed."""
    found = {"python": platform.python_version(), "deeptrace": deeptrace.__version__}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def git_commit() -> str | None:
    """The commit of the checkout that this code lies in, with ``-dirty`` where it was changed; None outside of one."""
    git, here = shutil.which("git"), Path(deeptrace.__file__).parent
    if git is None or not (here.parents[1] / ".git").exists():
        return None
    try:
        said = [
            subprocess.run([git, "-C", str(here), *what], capture_output=True, text=True, timeout=10, check=True).stdout
            for what in (["rev-parse", "HEAD"], ["status", "--porcelain", "-uno"])
        ]
    except (OSError, subprocess.SubprocessError):
        return None
    return said[0].strip() + ("-dirty" if said[1].strip() else "")
