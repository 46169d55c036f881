"""Environments of other tools, one each because their pins differ; made once and kept in the user's cache."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

REASON = "other tools' own packages judge our files: DEEPTRACE_VALIDATORS=1 installs them (about 1.6 GB)"
WANTED = os.environ.get("DEEPTRACE_VALIDATORS") == "1"


def python_of(name: str, *requirements: str) -> str:
    """The interpreter of the environment ``name``, made with exactly these requirements when it is not there."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base / "deeptrace-validators" / f"{name}-py{sys.version_info.major}.{sys.version_info.minor}"
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    stamp = folder / "requirements.txt"
    wanted = "\n".join(requirements)
    if not stamp.is_file() or stamp.read_text() != wanted:
        venv.create(folder, with_pip=True, clear=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements]
        subprocess.run(install, check=True, timeout=1500)
        stamp.write_text(wanted)
    return str(python)


def check(python: str, script: str, *arguments: str | Path) -> str:
    """Run a script of ``validators/`` there, offline; its output. Its own words on failure."""
    file = Path(__file__).parent / "validators" / script
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    ran = subprocess.run(
        [python, str(file), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=280,
        env=environment,
        check=False,
    )
    assert ran.returncode == 0, f"{script}: {ran.stderr[-3000:]}"
    return ran.stdout
