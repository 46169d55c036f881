"""What an import drags in, and what the package says of itself."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import pytest

import deeptrace
from deeptrace import errors

HEAVY = ("av", "cv2", "torch", "onnxruntime", "fastapi", "starlette", "flask", "jinja2", "scipy", "sklearn", "PIL")
SOURCE = Path(deeptrace.__file__).parent


def _loaded_after(statement: str) -> set[str]:
    code = f"{statement}\nimport sys; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in run.stdout.split()}


@pytest.mark.parametrize(
    "statement",
    ["import deeptrace", "import deeptrace.records, deeptrace.rows, deeptrace.answer", "import deeptrace.models",
     "import deeptrace.video"],
)  # fmt: skip
def test_imports_stay_light(statement: str) -> None:
    assert not _loaded_after(statement) & set(HEAVY)


def test_importing_the_command_line_loads_no_decoder() -> None:
    assert not _loaded_after("import deeptrace.cli") & {"av", "cv2", "torch"}


def test_the_version_is_the_packages() -> None:
    assert deeptrace.__version__ == importlib.metadata.version("deeptrace")


def test_all_names_what_is_public() -> None:
    public = {name for name in vars(deeptrace) if not name.startswith("_")}
    modules = {path.stem for path in SOURCE.iterdir()}
    assert public - modules - {"annotations"} == set(deeptrace.__all__) - {"__version__"}


def test_every_error_of_ours_is_one() -> None:
    raised = {e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, Exception)}
    assert all(issubclass(error, deeptrace.DeepTraceError) for error in raised)
    codes = [error.code for error in raised]
    assert all(re.fullmatch(r"[A-Z_]+", code) for code in codes)


def test_only_the_command_line_prints() -> None:
    """Library code logs; a print in it would end up in somebody's JSON lines."""
    for path in SOURCE.rglob("*.py"):
        if "cli" not in path.parts:
            assert not re.search(r"^\s*print\(", path.read_text(), re.MULTILINE), path
