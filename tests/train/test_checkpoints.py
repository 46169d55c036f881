"""Checkpoints are whole or not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from deeptrace.errors import FileError
from deeptrace.train import checkpoints


def write(out: Path, step: int) -> Path:
    staged = checkpoints.begin(out) / f"checkpoint-{step}"
    (staged / "inner").mkdir(parents=True)
    (staged / "weights").write_bytes(b"w" * step)
    (staged / "inner/state").write_bytes(b"s")
    checkpoints.publish(staged, out / staged.name)
    return out / staged.name


def test_the_newest_counts_by_number(tmp_path: Path) -> None:
    assert checkpoints.latest(tmp_path / "nowhere") is None
    for step in (9, 100, 20):
        write(tmp_path, step)
    (tmp_path / "checkpoint-best").mkdir()
    assert [path.name for path in checkpoints.checkpoints(tmp_path)] == [f"checkpoint-{n}" for n in (9, 20, 100)]
    newest = checkpoints.latest(tmp_path)
    assert newest is not None
    assert checkpoints.step_of(newest) == 100
    checkpoints.prune(tmp_path, 2)
    assert [path.name for path in checkpoints.checkpoints(tmp_path)] == ["checkpoint-20", "checkpoint-100"]


def test_what_is_half_written_or_half_deleted_does_not_count(tmp_path: Path) -> None:
    write(tmp_path, 1)
    staged = checkpoints.begin(tmp_path) / "checkpoint-2"
    staged.mkdir()
    (staged / "weights").write_bytes(b"half")
    (tmp_path / ".deleting-checkpoint-0").mkdir()
    assert checkpoints.latest(tmp_path) == tmp_path / "checkpoint-1"
    write(tmp_path, 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-1", "checkpoint-2"]
    assert (tmp_path / "checkpoint-2/weights").read_bytes() == b"ww"


def test_the_same_step_again_takes_the_old_ones_place(tmp_path: Path) -> None:
    write(tmp_path, 3)
    assert (write(tmp_path, 3) / "weights").read_bytes() == b"www"
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-3"]


def test_a_failure_leaves_the_old_one(tmp_path: Path) -> None:
    write(tmp_path, 1)
    with pytest.raises(FileError, match="cannot write 'checkpoint-2'"):
        checkpoints.publish(tmp_path / ".saving/checkpoint-2", tmp_path / "checkpoint-2")
    assert checkpoints.latest(tmp_path) == tmp_path / "checkpoint-1"
