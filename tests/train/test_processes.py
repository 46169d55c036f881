"""Two processes with half the batch each do what one process does with all of it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from deeptrace.files import read_jsonl
from deeptrace.train import train
from deeptrace.train.recipe import to_toml
from tests.commands import TRAINING, start_command
from tests.train.clips import sft_recipe

pytestmark = [pytest.mark.recipe, pytest.mark.timeout(900)]


def by_torchrun(recipe: Path, out: Path) -> None:
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
        [*command, "train", str(recipe), "--out", str(out)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr.decode()


def by_the_environment(recipe: Path, out: Path) -> None:
    """What torchrun tells its processes, without its own interpreters, which take longer to start than to train."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    logs = [out.with_suffix(f".{rank}.txt") for rank in range(2)]
    processes = []
    for rank, log in enumerate(logs):
        ranks = {name: str(rank) for name in ("RANK", "LOCAL_RANK")}
        with log.open("wb") as errors:
            arguments = ("train", recipe, "--out", out)
            processes.append(start_command(*arguments, stderr=errors, env={**shared, **ranks}, preload=TRAINING))
    assert [process.wait(800) for process in processes] == [0, 0], [log.read_text() for log in logs]


@pytest.mark.parametrize("launch", [by_the_environment, pytest.param(by_torchrun, marks=pytest.mark.slow)])
def test_two_processes_equal_one_with_twice_the_batch(
    launch: Callable[[Path, Path], None], records: Path, bases: dict[str, Path], tmp_path: Path
) -> None:
    files = {}
    for name, batch in (("one", 4), ("two", 2)):
        recipe = sft_recipe(
            bases["videollama3"],
            records,
            loss={"decisive": 3.0},
            optim={"learning_rate": 1e-3, "batch_size": batch, "max_steps": 3},
            eval={"videos": 5, "every_steps": 3, "max_new_tokens": 4},
        )
        files[name] = tmp_path / f"{name}.toml"
        files[name].write_text(to_toml(recipe))
    launch(files["two"], tmp_path / "two")
    train(files["one"], tmp_path / "one")
    one, two = (
        [row for _, row in read_jsonl(tmp_path / name / "log.jsonl") if "train_runtime" not in row]
        for name in ("one", "two")
    )
    assert [row["loss"] for row in two[:3]] == pytest.approx([row["loss"] for row in one[:3]], rel=1e-4)
    assert [row["grad_norm"] for row in two[:3]] == pytest.approx([row["grad_norm"] for row in one[:3]], rel=1e-3)
    assert two[3]["eval_videos"] == one[3]["eval_videos"] == 5
    assert two[3]["eval_answer_loss"] == pytest.approx(one[3]["eval_answer_loss"], rel=1e-2)
