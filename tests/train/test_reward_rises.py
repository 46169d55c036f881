"""Reward alone moves a model towards the answers that earn it.

First a tiny model learns the form of an answer from four clips that are shown with either label: it says FAKE of half
of what it sees, whatever that is. Then the reward knows all four as fake, and FAKE becomes what it says. This shows
that answers are sampled, rewarded and learned from; not that reward teaches to tell one clip from another.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import pytest

from deeptrace.data import load_records, write_records
from deeptrace.files import read_jsonl
from deeptrace.testing import tiny_model
from deeptrace.train.recipe import build
from deeptrace.train.vlm.grpo import GrpoRecipe, run
from deeptrace.train.vlm.reward import CLEAN, VERDICT
from deeptrace.train.vlm.sft import run as run_sft
from tests.train.clips import sft_recipe

pytestmark = [pytest.mark.recipe, pytest.mark.timeout(900)]

FORMAT = "trained-no-box-no-time-no-explanation"
STEPS = 24
SAMPLING = {"fps": 1.0, "max_frames": 2}


@pytest.fixture(scope="module")
def base(seed: int, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Smaller than the room's other tiny models: a word for four clips needs no more."""
    folder = tmp_path_factory.mktemp("base") / "videollama3"
    return tiny_model(
        "videollama3", folder, seed=seed, hidden_size=96, num_layers=2, vision_hidden_size=48, vision_layers=1
    )


@pytest.fixture(scope="module")
def undecided(records: Path, base: Path, seed: int, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that knows the words, and tosses a coin for the label."""
    clips = [replace(record, annotations=()) for record in list(load_records(records))[7:11]]
    both = [
        replace(clip, video_id=f"{clip.video_id}-{label}", label=label)  # type: ignore[arg-type]
        for clip in clips
        for label in ("fake", "real")
    ]
    write_records(records.parent / "both.jsonl", both)
    write_records(records.parent / "four.jsonl", [replace(clip, label="fake") for clip in clips])
    out = tmp_path_factory.mktemp("undecided") / "out"
    out.mkdir()
    recipe = sft_recipe(
        base,
        records.parent / "both.jsonl",
        seed=seed,
        question={"format": FORMAT},
        sampling=SAMPLING,
        optim={"learning_rate": 1e-3, "batch_size": 8, "max_steps": 80},
        log={"every_steps": 10},
    )
    return run_sft(recipe, out)


def test_reward_rises(
    undecided: Path, records: Path, seed: int, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    table = {
        "seed": seed,
        "kind": "grpo",
        "model": {"base": str(undecided)},
        "data": {"records": str(records.parent / "four.jsonl"), "workers": 0, "balance": []},
        "question": {"format": FORMAT},
        "sampling": SAMPLING,
        "grpo": {"group": 8, "max_new_tokens": 16},
        "optim": {"learning_rate": 6e-4, "batch_size": 4, "max_steps": STEPS, "schedule": "constant", "warmup": 0.0},
        "eval": {"videos": 0},
        "log": {"every_steps": 1},
        "hardware": {"device": "cpu"},
    }
    out = tmp_path / "grpo"
    out.mkdir()
    run(build(GrpoRecipe, table, "grpo"), out)
    rows = [row for _, row in read_jsonl(out / "log.jsonl") if "reward" in row]
    assert len(rows) == STEPS
    first, last = (fmean(row["reward"] for row in some) for some in (rows[:2], rows[-2:]))
    half_way = (first + VERDICT + CLEAN) / 2  # to what it earns that says FAKE of all
    record_property("reward", f"{first:.3g} to {last:.3g} ({half_way:.3g})")
    assert last > half_way
    assert all(0 <= row["entropy_verdict"] <= 2 for row in rows)
    assert rows[0]["reward_spread"] > 0
