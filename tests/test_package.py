"""What an import drags in, and what the package says of itself."""

from __future__ import annotations

import importlib
import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import deeptrace
from deeptrace import errors

HEAVY = ("av", "cv2", "torch", "onnxruntime", "fastapi", "starlette", "flask", "jinja2", "scipy", "sklearn", "PIL")
SOURCE = Path(deeptrace.__file__).parent


def _loaded_after(statement: str) -> set[str]:
    code = f"{statement}\nimport sys; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in run.stdout.split()}


def test_the_top_of_the_package_loads_nothing_but_itself() -> None:
    assert not _loaded_after("import deeptrace") & {*HEAVY, "numpy", "click", "rich"}


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


PUBLIC = [
    "CATEGORIES",
    "Annotation",
    "DeepTraceError",
    "Failed",
    "FileError",
    "Frames",
    "JsonError",
    "KeyBox",
    "MissingExtra",
    "Model",
    "ModelError",
    "Origin",
    "Outcome",
    "Record",
    "RecordError",
    "ReportItem",
    "Reward",
    "Score",
    "Trace",
    "Unparsed",
    "Verdict",
    "VideoError",
    "VideoInfo",
    "__version__",
    "inspect",
    "iter_frames",
    "load",
    "load_records",
    "outcome_from_row",
    "outcome_to_row",
    "probe",
    "sample_frames",
    "write_overlay",
    "write_report",
    "write_video",
]
"""What users import from the top of the package: this list, and nothing else."""


def test_the_public_names_are_this_list() -> None:
    assert sorted(deeptrace.__all__) == sorted(PUBLIC)
    assert set(PUBLIC) <= set(dir(deeptrace))
    for name in PUBLIC:
        assert getattr(deeptrace, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'laod'"):
        _ = deeptrace.laod


def test_a_public_name_is_the_one_of_its_room() -> None:
    from deeptrace.data import load_records
    from deeptrace.models import load
    from deeptrace.records import Frames

    assert (deeptrace.load, deeptrace.Frames, deeptrace.load_records) == (load, Frames, load_records)


def test_inspect_takes_one_video_or_several(tmp_path: Path) -> None:
    frames = deeptrace.Frames.from_array(np.zeros((8, 48, 64, 3), np.uint8), 8)
    clip = tmp_path / "clip.mp4"
    deeptrace.write_video(clip, frames)
    model = deeptrace.load("motion")
    for one in (str(clip), clip, clip.read_bytes(), frames):
        [outcome] = deeptrace.inspect(one, model)
        assert isinstance(outcome, deeptrace.Verdict)
    good, bad = deeptrace.inspect([str(clip), "absent.mp4"], "motion")
    assert isinstance(good, deeptrace.Verdict)
    assert isinstance(bad, deeptrace.Failed)
    with pytest.raises(deeptrace.ModelError, match="takes no option"):
        deeptrace.inspect(str(clip), "motion", priro=0.1)


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


def test_a_broken_package_is_told_from_one_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "brokenpackage.py").write_text("raise ImportError('/usr/lib/libnone.so.12: undefined symbol: a/b')")
    said = []
    for name in ("brokenpackage", "nosuchpackage"):
        try:
            importlib.import_module(name)
        except ImportError:
            said.append(str(errors.MissingExtra("training", "train")))
    assert said == [
        "training needs a package that is installed and cannot be loaded: libnone.so.12: undefined symbol: a/b. "
        "Reinstall that package.",
        "training needs packages that are not installed. Run: pip install 'deeptrace[train]'",
    ]
