"""What a result was made with: versions of packages, and the commit of our own source. Stands in every run's row."""

from __future__ import annotations

import platform
import shutil
import subprocess
from collections.abc import Iterable
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Final

import deeptrace

_PACKAGES: Final = (
    "numpy", "av", "opencv-python-headless", "onnxruntime", "torch", "transformers", "peft", "accelerate", "httpx",
)  # fmt: skip
"""What can change an answer or a checkpoint."""
_SECONDS: Final = 10  # for one call of git


def versions() -> dict[str, str]:
    """Of Python, deeptrace and the packages that can change a result, as far as they are installed."""
    installed = {"python": platform.python_version(), "deeptrace": deeptrace.__version__}
    return installed | {name: version for name in _PACKAGES if (version := _version(name)) is not None}


@cache
def _version(package: str) -> str | None:
    """Of an installed package. It is read once: what runs stays what it is, and reading takes milliseconds each."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def git_commit(package: Path | None = None) -> str | None:
    """The commit of the repository that our own files belong to, with ``-dirty`` where they were changed since.

    None where there is no such repository: a package inside a virtual environment inside somebody's project lies in
    that project's folder, but its files are not tracked there. ``package`` is the folder of our package.
    """
    folder = Path(deeptrace.__file__).parent if package is None else package
    if _git(folder, ["ls-files", "--error-unmatch", "__init__.py", "provenance.py"]) is None:
        return None
    commit = _git(folder, ["rev-parse", "HEAD"])
    changed = _git(folder, ["status", "--porcelain", "--untracked-files=no", "--", "."])
    if not commit or changed is None:
        return None
    return commit + ("-dirty" if changed else "")


def _git(folder: Path, command: Iterable[str]) -> str | None:
    """What git says, or None where it is not there, refuses or takes too long."""
    git = shutil.which("git")
    if git is None:
        return None
    try:
        return subprocess.run(
            [git, "-C", str(folder), *command], capture_output=True, text=True, timeout=_SECONDS, check=True
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
