"""Every command of `deeptrace data` that writes makes the folder that is not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from deeptrace.cli import cli
from deeptrace.data import write_records
from deeptrace.records import Annotation, Record, VideoInfo
from tests.clips import make_clip


@pytest.fixture
def source(tmp_path: Path) -> str:
    (tmp_path / "videos").mkdir()
    for name, frames in (("fake", 8), ("real", 16)):
        make_clip(tmp_path / "videos" / f"{name}.mp4", num_frames=frames, hw=(36, 64), fps=8)
    annotation = Annotation((), "fake", "ann")
    listed = [
        Record("f", "videos/fake.mp4", "fake", VideoInfo(64, 36, 8.0, 8, 1.0), annotations=(annotation,)),
        Record("r", "videos/real.mp4", "real", VideoInfo(64, 36, 8.0, 16, 2.0)),
    ]  # fmt: skip
    write_records(tmp_path / "records.jsonl", listed)
    return str(tmp_path / "records.jsonl")


COMMANDS = {
    "split": ["SRC", "OUT/split.jsonl"],
    "merge": ["SRC", "OUT/merged.jsonl"],
    "filter": ["SRC", "OUT/kept.jsonl", "--log", "OUT/log/why.jsonl", "--no-motion", "--no-quality"],
    "match-lengths": ["SRC", "OUT"],
    "normalise": ["SRC", "OUT", "--short-side", "36"],
    "stats": ["SRC", "--out", "OUT"],
    "audit": ["SRC", "--out", "OUT"],
    "convert": ["SRC", "OUT/to.json", "--to", "coco"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_missing_folder_is_made(source: str, tmp_path: Path, command: str) -> None:
    out = tmp_path / "not" / "there yet"
    arguments = [text.replace("SRC", source).replace("OUT", str(out)) for text in COMMANDS[command]]
    cli.main(["data", command, *arguments], standalone_mode=False)
    assert any(path.is_file() and path.stat().st_size for path in out.rglob("*"))
