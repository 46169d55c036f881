"""The docs stay true: help texts are generated, code runs, links lead somewhere, flags are described."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import click
import numpy as np
import pytest

from deeptrace.cli import cli
from deeptrace.errors import VideoCode
from deeptrace.records import Frames
from deeptrace.rows import ROW_FIELDS
from deeptrace.video import write_video

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "benchmarks").glob("*.md")])


def _commands(command: click.Command, path: str) -> list[tuple[str, click.Command]]:
    found = [(path, command)]
    if isinstance(command, click.Group):
        for name in sorted(command.commands):
            found += _commands(command.commands[name], f"{path} {name}")
    return found


def _help() -> str:
    parts = ["# Command line\n", "What `--help` says, command by command.\n"]
    for path, command in _commands(cli, "deeptrace"):
        context = click.Context(command, info_name=path, terminal_width=110, help_option_names=["-h", "--help"])
        parts.append(f"## {path}\n\n```text\n{command.get_help(context)}\n```\n")
    return "\n".join(parts)


def test_help_in_the_docs_is_the_help(update_golden: bool) -> None:
    page = ROOT / "docs" / "cli.md"
    if update_golden:
        page.write_text(_help())
    assert page.read_text() == _help(), "run: python -m pytest tests/test_docs.py --update-golden"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the guides suppose to be there."""
    write_video(tmp_path / "clip.mp4", Frames.from_array(np.zeros((16, 48, 64, 3), np.uint8), 8))
    (tmp_path / "broken.mp4").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    shutil.copy(tmp_path / "clip.mp4", tmp_path / "folder" / "other.mp4")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_python_in_the_docs_runs(page: Path, workplace: Path) -> None:
    names = {"__name__": "docs"}  # a block goes on where the one before it ended
    for code in re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE):
        exec(compile(code, page.name, "exec"), names)


def test_every_key_of_a_row_and_every_code_is_described() -> None:
    words = (ROOT / "docs" / "inspect.md").read_text()
    assert [key for key in ROW_FIELDS if f"`{key}`" not in words] == []
    errors = (ROOT / "docs" / "reading-video.md").read_text()
    assert [code for code in VideoCode.__args__ if f"`{code}`" not in errors] == []
