"""``deeptrace doctor``: what is installed, what protects the reader here, and whether reading and writing work."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import tempfile
from pathlib import Path
from typing import Any, Final

import click
import numpy as np
from rich.table import Table
from rich.text import Text

from deeptrace import __version__
from deeptrace.cli.show import Terminal
from deeptrace.errors import DeepTraceError
from deeptrace.files import dumps
from deeptrace.records import Frames

BASE: Final = ("av", "click", "jinja2", "numpy", "onnxruntime", "opencv-python-headless", "rich")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="The findings as JSON.")
def doctor(as_json: bool) -> int:
    """Say what is installed, which limits protect the video reader here, and try to write and read a clip.

    Exit code 1: the trial failed.
    """
    findings = _findings()
    if as_json:
        click.echo(dumps(findings, indent=1))
    else:
        _print(findings)
    return 0 if findings["trial"] == "ok" else 1


def _findings() -> dict[str, Any]:
    return {
        "deeptrace": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "packages": {name: _version(name) for name in BASE},
        "extras": _extras(),
        "limits": _limits(),
        "trial": _trial(),
    }


def _limits() -> dict[str, str]:
    """The reader's protections; where its process cannot even start, why."""
    try:
        from deeptrace.video import limits

        return limits()
    except (DeepTraceError, ImportError) as error:
        return {"unknown": str(error)}


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _extras() -> dict[str, str]:
    """Each extra of the package, and which of its distributions are missing; run from a bare source tree, unknown."""
    try:
        requirements = importlib.metadata.requires("deeptrace") or []
    except importlib.metadata.PackageNotFoundError:
        return {"unknown": "deeptrace runs from its source tree and is not installed, so its extras cannot be listed"}
    missing: dict[str, list[str]] = {}
    for requirement in requirements:
        # 'scipy>=1.11; extra == "data"': the name ends where a version, a marker or an extra of its own begins.
        extra = re.search(r"""extra\s*==\s*['"]([^'"]+)""", requirement)
        name = re.match(r"[A-Za-z0-9._-]+", requirement)
        if extra is None or name is None:
            continue
        absent = missing.setdefault(extra[1], [])
        if _version(name[0]) is None:
            absent.append(name[0])
    return {extra: f"missing: {', '.join(names)}" if names else "installed" for extra, names in missing.items()}


def _trial() -> str:
    """Write a short clip and read it back: "ok", or what went wrong."""
    images = np.zeros((8, 48, 64, 3), np.uint8)
    images[4:, 12:36, 16:48] = 255
    try:
        from deeptrace.video import sample_frames, write_video

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "trial.mp4"
            write_video(path, Frames.from_array(images, 8))
            back = sample_frames(path, fps=8)
    except DeepTraceError as error:
        return f"{error.code}: {error}"
    except ImportError as error:
        return f"a package is missing or broken: {error}"
    bright = back.images[:, 24, 32].mean(axis=1) > 128
    return "ok" if bright.tolist() == [False] * 4 + [True] * 4 else "the clip came back changed"


def _print(findings: dict[str, Any]) -> None:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for name in ("deeptrace", "python", "system"):
        table.add_row(name, Text(findings[name]))
    for section in ("packages", "extras", "limits"):
        for name, value in findings[section].items():
            table.add_row(f"{section}: {name}", Text("missing", "yellow") if value is None else Text(str(value)))
    good = findings["trial"] == "ok"
    table.add_row("write and read a clip", Text(findings["trial"], "green" if good else "bold red"))
    Terminal().print(table)
