"""A run that is killed and started again ends with the same weights, to the bit, and the same losses."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from deeptrace.files import read_jsonl
from deeptrace.train import FINAL
from deeptrace.train.checkpoints import STAGING, checkpoints
from deeptrace.train.recipe import to_toml
from tests.commands import TRAINING, Command, start_command
from tests.train.clips import sft_recipe

pytestmark = [pytest.mark.recipe, pytest.mark.linux, pytest.mark.timeout(900)]

STEPS = 6


@pytest.fixture(scope="module")
def recipe_file(records: Path, bases: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = sft_recipe(
        bases["videollama3"],
        records,
        seed=7,
        data={"balance": ["label", "source"], "workers": 1},
        lora={"rank": 4, "dropout": 0.1},
        optim={"learning_rate": 1e-3, "batch_size": 2, "accumulate": 2, "max_steps": STEPS, "schedule": "cosine"},
        save={"every_steps": 2, "keep": 2},
    )
    file = tmp_path_factory.mktemp("resume") / "recipe.toml"
    file.write_text(to_toml(recipe))
    return file


def start(recipe: Path, out: Path) -> Command:
    with out.with_suffix(".txt").open("wb") as errors:
        return start_command("train", recipe, "--out", out, stderr=errors, preload=TRAINING)


def errors_of(out: Path) -> str:
    return out.with_suffix(".txt").read_text()


def kill_when(process: Command, ready: Path) -> None:
    while process.poll() is None and not ready.exists():
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()


def curve(out: Path) -> list[tuple[float, float]]:
    return [(row["loss"], row["grad_norm"]) for _, row in read_jsonl(out / "log.jsonl") if "loss" in row]


def test_killed_twice_it_ends_the_same(recipe_file: Path, tmp_path: Path) -> None:
    whole, pieces = tmp_path / "whole", tmp_path / "pieces"
    uninterrupted = start(recipe_file, whole)
    kill_when(start(recipe_file, pieces), pieces / "checkpoint-2")  # in the middle of a step
    kill_when(start(recipe_file, pieces), pieces / STAGING / "checkpoint-4")  # in the middle of a checkpoint
    assert not (pieces / FINAL).exists()
    for process in (uninterrupted, last := start(recipe_file, pieces)):
        assert process.wait(800) == 0, errors_of(whole if process is not last else pieces)
    assert len(curve(whole)) == STEPS
    assert curve(pieces) == curve(whole)
    weights = "model.safetensors"
    assert (pieces / FINAL / weights).read_bytes() == (whole / FINAL / weights).read_bytes()
    assert [path.name for path in checkpoints(pieces)] == ["checkpoint-4", "checkpoint-6"]
    assert start(recipe_file, pieces).wait(600) == 1
    assert "is done" in errors_of(pieces)


def test_asked_to_stop_it_saves_and_goes_on_later(recipe_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = start(recipe_file, out)
    while process.poll() is None and not (out / "checkpoint-2").exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait(600) == 1
    assert "The same command goes on" in errors_of(out)
    [*_, newest] = checkpoints(out)
    assert not (out / FINAL).exists()
    assert newest.name != "checkpoint-2" or "after step 2" in errors_of(out)
