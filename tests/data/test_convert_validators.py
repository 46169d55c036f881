"""Our exports, judged by the packages of the tools that will read them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from deeptrace.data import convert
from deeptrace.records import Annotation, KeyBox, Record, Trace
from tests.data.interop.environments import REASON, WANTED, check, python_of
from tests.data.interop.samples import INFO, TEXT, TRACE

pytestmark = [pytest.mark.skipif(not WANTED, reason=REASON), pytest.mark.timeout(1800)]

TWICE = Trace(
    bbox_xyxy=(0.1, 0.1, 0.2, 0.2),
    onset_seconds=1.0,
    offset_seconds=3.0,
    explanation="It comes back.",
    track=(
        KeyBox(1.0, (0.1, 0.1, 0.2, 0.2)),
        KeyBox(1.5, None, visible=False),
        KeyBox(2.0, (0.3, 0.3, 0.4, 0.4)),
    ),
)
TIMED = Trace(onset_seconds=1.0, offset_seconds=2.0, categories=("Sudden Blurring",))
RECORD = Record(
    "cups",
    "cups.mp4",
    label="fake",
    info=INFO,
    split="test",
    annotations=(Annotation((TRACE, TWICE, TIMED), "fake", "ann"), Annotation((), "unsure", "bob")),
)


@pytest.mark.parametrize("text", ["meta", "textarea"])
def test_label_studio_accepts_tasks_and_configuration(tmp_path: Path, text: str) -> None:
    python = python_of("label-studio-sdk", "label-studio-sdk==2.1.2")
    convert.write(tmp_path / "tasks.json", [RECORD], "label-studio", text=text)
    check(python, "check_label_studio.py", tmp_path / "tasks.json", tmp_path / "tasks_config.xml", "9", "28")


def test_labelbox_reads_and_writes_the_same_import(tmp_path: Path) -> None:
    python = python_of("labelbox", "labelbox[data]==7.17.0")
    convert.write(tmp_path / "import.ndjson", [RECORD], "labelbox", shape="import")
    check(python, "check_labelbox.py", tmp_path / "import.ndjson")


def test_datumaro_sees_every_frame_of_a_dense_file(tmp_path: Path) -> None:
    python = python_of("datumaro", "datumaro==1.13.12")
    one = replace(RECORD, annotations=(Annotation((TRACE,), "fake", "ann"),))
    convert.write(tmp_path / "annotations.xml", [one], "cvat")
    check(python, "check_datumaro.py", tmp_path, "8", "27", TEXT)


@pytest.mark.parametrize("layout", ["jsonl", "parquet"])
def test_datasets_loads_the_folder(tmp_path: Path, layout: Literal["jsonl", "parquet"]) -> None:
    python = python_of("datasets", "datasets==5.2.0")
    for name in ("cups", "mugs", "real"):
        (tmp_path / f"{name}.mp4").write_bytes(name.encode())
    other = replace(RECORD, video_id="mugs", path="mugs.mp4", split="train")
    real = Record("real", "real.mp4", label="real", split="train")
    convert.write(tmp_path / "out", [RECORD, other, real], "hf", layout=layout, videos=tmp_path)
    assert "['test', 'train']" in check(python, "check_datasets.py", tmp_path / "out", "3", "6")


def test_datasets_loads_splits_of_different_kinds_from_parquet(tmp_path: Path) -> None:
    python = python_of("datasets", "datasets==5.2.0")
    for name in ("cups", "real"):
        (tmp_path / f"{name}.mp4").write_bytes(name.encode())
    records = [RECORD, Record("real", "real.mp4", label="real", split="train")]
    problems = convert.write(tmp_path / "lines", records, "hf", videos=tmp_path)
    assert any("some splits only" in problem.problem for problem in problems)
    convert.write(tmp_path / "out", records, "hf", layout="parquet", videos=tmp_path)
    check(python, "check_datasets.py", tmp_path / "out", "2", "3")
