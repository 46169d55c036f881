"""Two processes with half the batch each do what one process does with all of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from deeptrace.files import read_jsonl
from deeptrace.train import train
from deeptrace.train.recipe import to_toml
from tests.train.clips import sft_recipe

pytestmark = [pytest.mark.recipe, pytest.mark.timeout(900)]


def test_two_processes_equal_one_with_twice_the_batch(records: Path, bases: dict[str, Path], tmp_path: Path) -> None:
    files = {}
    for name, batch in (("one", 4), ("two", 2)):
        recipe = sft_recipe(
            bases["videollama3"],
            records,
            loss={"decisive": 3.0},
            optim={"learning_rate": 1e-3, "batch_size": batch, "max_steps": 4},
            eval={"videos": 5, "every_steps": 4, "max_new_tokens": 4},
        )
        files[name] = tmp_path / f"{name}.toml"
        files[name].write_text(to_toml(recipe))
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node",
        "2",
        "-m",
        "deeptrace",
    ]
    done = subprocess.run(
        [*command, "train", str(files["two"]), "--out", str(tmp_path / "two")],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr.decode()
    train(files["one"], tmp_path / "one")
    one, two = (
        [row for _, row in read_jsonl(tmp_path / name / "log.jsonl") if "train_runtime" not in row]
        for name in ("one", "two")
    )
    assert [row["loss"] for row in two[:4]] == pytest.approx([row["loss"] for row in one[:4]], rel=1e-4)
    assert [row["grad_norm"] for row in two[:4]] == pytest.approx([row["grad_norm"] for row in one[:4]], rel=1e-3)
    assert two[4]["eval_videos"] == one[4]["eval_videos"] == 5
    assert two[4]["eval_answer_loss"] == pytest.approx(one[4]["eval_answer_loss"], rel=1e-2)
