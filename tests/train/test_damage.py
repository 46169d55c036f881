"""A damaged, foreign or refused state is one error that says which, why, and what there is to go on from."""

from __future__ import annotations

import json
import logging
import os
import resource
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deeptrace.data import load_records
from deeptrace.errors import FileError, TrainError
from deeptrace.lock import LockError, folder_lock
from deeptrace.models.hf.estimate_training import estimate_training
from deeptrace.train import checkpoints, train
from deeptrace.train.recipe import to_toml
from deeptrace.train.vlm.example_sets import warn_of_one_label
from deeptrace.train.vlm.examples import make_examples
from deeptrace.train.vlm.identity import check_facts, check_files, facts_of
from tests.train.clips import sft_recipe

FILES = {
    "trainer_state.json": b'{"global_step": 4}',
    "optimizer.pt": b"o" * 40,
    "scheduler.pt": b"s" * 40,
    "rng_state.pth": b"r" * 40,
    "adapter_model.safetensors": b"w" * 40,
}


def write(out: Path, step: int, files: dict[str, bytes]) -> Path:
    staged = checkpoints.begin(out) / f"checkpoint-{step}"
    staged.mkdir()
    for name, content in files.items():
        (staged / name).write_bytes(content)
    checkpoints.write_manifest(staged, step, {"processes": 1})
    checkpoints.publish(staged, out / staged.name)
    return out / staged.name


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut off": (lambda c: os.truncate(c / "adapter_model.safetensors", 7), "safetensors has 7 bytes of 40"),
    "changed": (lambda c: (c / "optimizer.pt").write_bytes(b"O" * 40), "optimizer.pt is not what was written"),
    "no random state": (lambda c: (c / "rng_state.pth").unlink(), "rng_state.pth is missing"),
    "no manifest": (lambda c: (c / "manifest.json").unlink(), "cannot read 'manifest.json'"),
    "no object": (lambda c: (c / "manifest.json").write_text("[1]"), "manifest.json is not one"),
    "a link": (lambda c: ((c / "optimizer.pt").unlink(), (c / "optimizer.pt").symlink_to("/dev/zero")), "is missing"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_named_and_what_to_do(tmp_path: Path, name: str) -> None:
    write(tmp_path, 2, {**FILES, "trainer_state.json": b'{"global_step": 2}'})
    newest = write(tmp_path, 4, FILES)
    assert checkpoints.verify(newest) == {"processes": 1}
    damage, reason = DAMAGE[name]
    damage(newest)
    with pytest.raises(TrainError, match=r"'checkpoint-4' cannot be gone on from") as caught:
        checkpoints.verify(newest)
    assert reason in str(caught.value)
    assert "The one before it is 'checkpoint-2': --resume previous goes on from there" in str(caught.value)
    checkpoints.put_aside(tmp_path)
    assert checkpoints.latest(tmp_path) == tmp_path / "checkpoint-2"
    assert (tmp_path / "damaged-checkpoint-4").exists()
    with pytest.raises(TrainError, match="none before the newest"):
        checkpoints.put_aside(tmp_path)


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"trainer_state.json": b'{"global_step": 40}'}, "trainer_state.json is of another step"),
        ({"rng_state.pth": None}, "names no file like rng_state"),
        ({"optimizer.pt": None}, "names no file like optimizer"),
    ],
)
def test_a_state_that_was_never_whole_is_refused(tmp_path: Path, files: dict[str, Any], reason: str) -> None:
    mixed = {name: content for name, content in {**FILES, **files}.items() if content is not None}
    with pytest.raises(TrainError) as caught:
        checkpoints.verify(write(tmp_path, 4, mixed))
    assert reason in str(caught.value)
    assert "There is none before it" in str(caught.value)


def test_another_run_is_not_gone_on_with(records: Path, tmp_path: Path) -> None:
    examples = make_examples(load_records(records), split="train").examples
    before = facts_of(examples, processes=2, batch_size=2, accumulate=2)
    check_facts(before, before, "checkpoint-4")
    with pytest.raises(TrainError, match=r"in 2 processes \(global batch 8\), and this is one in 1 .* batch 4\)"):
        check_facts(before, facts_of(examples, processes=1, batch_size=2, accumulate=2), "checkpoint-4")
    with pytest.raises(TrainError, match="on 16 examples, and the records now give 15"):
        check_facts(before, facts_of(examples[1:], processes=2, batch_size=2, accumulate=2), "checkpoint-4")
    other = (*examples[1:], examples[0])
    with pytest.raises(TrainError, match="on other records: as many"):
        check_facts(before, facts_of(other, processes=2, batch_size=2, accumulate=2), "checkpoint-4")


def test_a_video_that_was_replaced_is_named(records: Path, tmp_path: Path) -> None:
    for file in records.parent.glob("*.*"):
        shutil.copyfile(file, tmp_path / file.name)
    examples = make_examples(load_records(tmp_path / records.name), split="train").examples
    out = tmp_path / "out"
    out.mkdir()
    check_files(examples, out)
    os.utime(examples[0].path)  # as a copy would have it: the same bytes
    check_files(examples, out)
    shutil.copyfile(examples[1].path, examples[0].path)
    with pytest.raises(TrainError, match=r"1 of 16 videos are not what the run began with \('train00'\)"):
        check_files(examples, out)
    examples[0].path.unlink()
    with pytest.raises(TrainError, match="video 'train00': cannot read"):
        check_files(examples, out)


def test_one_label_alone_is_warned_of(records: Path, caplog: pytest.LogCaptureFixture) -> None:
    examples = make_examples(load_records(records), split="train").examples
    with caplog.at_level(logging.WARNING):
        warn_of_one_label(examples)
        assert not caplog.messages
        warn_of_one_label([example for example in examples if example.record.label == "fake"])
    assert caplog.messages[0].startswith("all 9 examples are fake: data.balance names the label")


# ── through the front door ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def recipe_file(records: Path, bases: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = sft_recipe(
        bases["videollama3"],
        records,
        optim={"batch_size": 2, "max_steps": 2},
        save={"every_steps": 1, "keep": 3},
    )
    file = tmp_path_factory.mktemp("damage") / "recipe.toml"
    file.write_text(to_toml(recipe))
    return file


def test_two_in_one_folder_are_one_too_many(recipe_file: Path, tmp_path: Path) -> None:
    with folder_lock(tmp_path / "out"), pytest.raises(LockError) as caught:
        train(recipe_file, tmp_path / "out")
    assert caught.value.code == "BUSY"


@pytest.mark.recipe
@pytest.mark.linux
def test_a_disk_that_fills_up_costs_one_checkpoint_and_the_run_goes_on_later(
    recipe_file: Path, bases: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system's own limit on the size of a file, from the first checkpoint on: weights take three times as much."""
    out = tmp_path / "out"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "prune", lambda *_: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1])))
        try:
            with pytest.raises(FileError, match=r"write 'checkpoint-2': .*about [\d,]+ bytes are needed") as caught:
                train(recipe_file, out)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, previous)
    assert "The newest checkpoint is 'checkpoint-1'" in str(caught.value)
    assert not (out / checkpoints.STAGING).exists()
    assert checkpoints.latest(out) == out / "checkpoint-1"
    bill = estimate_training(bases["videollama3"], seconds=2, width=112, height=112, precision="float32")
    sizes = [(out / "checkpoint-1" / name).stat().st_size for name in ("model.safetensors", "optimizer.pt")]
    assert sum(sizes) == pytest.approx(bill.checkpoint, rel=0.05)

    # A pickle in the training state, in a manifest that agrees with it: not run, and named.
    ran = tmp_path / "ran"
    optimizer = out / "checkpoint-1/optimizer.pt"
    kept = optimizer.read_bytes(), (out / "checkpoint-1/manifest.json").read_bytes()
    optimizer.write_bytes(f"cos\nsystem\n(S'touch {ran}'\ntR.".encode())
    facts = json.loads(kept[1])["facts"]
    checkpoints.write_manifest(out / "checkpoint-1", 1, facts)
    with pytest.raises(TrainError, match=r"'checkpoint-1' cannot be gone on from: .*There is none before it"):
        train(recipe_file, out)
    assert not ran.exists()
    optimizer.write_bytes(kept[0])
    (out / "checkpoint-1/manifest.json").write_bytes(kept[1])

    final = train(recipe_file, out)
    assert (final / "model.safetensors").is_file()
