"""Everything that training writes while the system refuses: each write, open, fsync, rename of it fails in turn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from deeptrace.data import load_records
from deeptrace.errors import FileError
from deeptrace.files import read_jsonl
from deeptrace.lock import LockError, folder_lock
from deeptrace.models.hf.checkpoint import CheckpointCard, write_card
from deeptrace.models.hf.staging import staged
from deeptrace.models.hf.weights import copy_renamed, read_file
from deeptrace.records import Frames
from deeptrace.train import FINAL, checkpoints
from deeptrace.train.recipe import build
from deeptrace.train.vlm import grpo
from deeptrace.train.vlm.examples import make_examples
from deeptrace.train.vlm.frames import _load, _store
from deeptrace.train.vlm.identity import DATA_NAME, check_files
from tests.failing_os import EVERY_CALL, FEW, REFUSALS, attack
from tests.train.test_damage import FILES, write

# A run takes seconds: a full disk from its first write on, and a name that is refused.
RUN = REFUSALS if EVERY_CALL else (FEW[0], FEW[3])


def state(step: int) -> dict[str, bytes]:
    return {**FILES, "trainer_state.json": f'{{"global_step": {step}}}'.encode()}


def test_a_checkpoint_is_whole_or_the_one_before_it_is(tmp_path: Path) -> None:
    def flow(folder: Path) -> None:
        with checkpoints.saving(folder, "checkpoint-4", 100):
            write(folder, 4, state(4))
            checkpoints.prune(folder, 2)

    def before(folder: Path) -> None:
        for step in (1, 2):
            write(folder, step, state(step))

    def kept(folder: Path) -> None:
        there = checkpoints.checkpoints(folder)
        assert folder / "checkpoint-2" in there
        for checkpoint in there:
            checkpoints.verify(checkpoint)

    def done(folder: Path) -> None:
        kept(folder)
        assert checkpoints.latest(folder) == folder / "checkpoint-4"

    found = attack(tmp_path / "w", flow, before=before, kept=kept, done=done)
    assert found.tries["fsync: EIO"] > 5
    assert found.tries["write: ENOSPC from then on"] > 4


def test_a_folder_appears_when_it_is_whole(tmp_path: Path) -> None:
    """What conversion and merging write: weights under other names, a card, and the folder's own name."""

    def flow(folder: Path) -> None:
        with staged(folder / "dst", "converting", nbytes=1000) as work:
            copy_renamed([("b", tensor) for tensor in read_file(folder / "src.safetensors").values()], work / "w")
            write_card(work, CheckpointCard())

    def before(folder: Path) -> None:
        header = b'{"a":{"dtype":"U8","shape":[64],"data_offsets":[0,64]}}  '
        (folder / "src.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"x" * 64)

    def kept(folder: Path) -> None:
        assert not (folder / "dst").exists()

    def done(folder: Path) -> None:
        assert sorted(path.name for path in (folder / "dst").iterdir()) == ["deeptrace.json", "w"]

    attack(tmp_path / "w", flow, before=before, kept=kept, done=done)
    (tmp_path / ".dst.converting").mkdir()
    with (
        folder_lock(tmp_path / ".dst.converting"),
        pytest.raises(LockError, match="another process is at work"),
        staged(tmp_path / "dst", "converting"),
    ):
        pass


def test_frames_and_the_list_of_files(records: Path, tmp_path: Path) -> None:
    examples = make_examples(load_records(records), split="train").examples[:2]
    frames = Frames.from_array(np.zeros((2, 8, 8, 3), np.uint8), 2.0)

    def flow(folder: Path) -> None:
        _store(folder / "cache" / "a.npz", frames)
        check_files(examples, folder)

    def done(folder: Path) -> None:
        assert _load(folder / "cache" / "a.npz") is not None
        assert (folder / DATA_NAME).read_text().count("\n") == 2

    attack(tmp_path / "w", flow, done=done)


def test_a_disk_too_full_is_seen_before_anything_is_written(tmp_path: Path) -> None:
    write(tmp_path, 1, state(1))
    with (
        pytest.raises(FileError, match=r"'checkpoint-2': the disk is too full for it \(about 1,152,921,504,606,846"),
        checkpoints.saving(tmp_path, "checkpoint-2", 1 << 60),
    ):
        pass
    assert checkpoints.latest(tmp_path) == tmp_path / "checkpoint-1"


def test_a_run_by_reward_says_what_is_kept_and_goes_on(records: Path, bases: dict[str, Path], tmp_path: Path) -> None:
    """GRPO with a tiny model: its checkpoints, its log and its result, as the language models' other training."""
    table = {
        "kind": "grpo",
        "model": {"base": str(bases["videollama3"])},
        "data": {"records": str(records), "workers": 0, "balance": [], "cache": str(tmp_path / "cache")},
        "sampling": {"fps": 1.0, "max_frames": 2},
        "grpo": {"group": 2, "max_new_tokens": 4},
        "optim": {"batch_size": 2, "max_steps": 2},
        "save": {"every_steps": 1},
        "eval": {"videos": 0},
        "log": {"every_steps": 1},
        "hardware": {"device": "cpu"},
    }

    def flow(folder: Path) -> None:
        (folder / "out").mkdir(exist_ok=True)
        grpo.run(build(grpo.GrpoRecipe, table, "grpo"), folder / "out")

    def kept(folder: Path) -> None:
        for checkpoint in checkpoints.checkpoints(folder / "out"):
            checkpoints.verify(checkpoint)
        assert not (folder / "out" / FINAL).exists()

    def done(folder: Path) -> None:
        rows = [row for _, row in read_jsonl(folder / "out" / "log.jsonl")]
        assert [row["step"] for row in rows if "reward" in row] == [1, 2]
        assert (folder / "out" / FINAL / "model.safetensors").is_file()

    attack(tmp_path / "w", flow, kept=kept, done=done, refusals=RUN, most=10_000 if EVERY_CALL else 1)
