"""Tiny models of the real classes learn eight clips by heart, through the very code that trains large ones.

What is checked is that the whole road carries: frames, times, question, coordinates, loss, steps, checkpoint, answers.
Not that a model of a million parameters sees anything in a clip it was not shown.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest

from deeptrace.data import load_records
from deeptrace.files import loads, read_jsonl
from deeptrace.models import load
from deeptrace.models.hf.checkpoint import read_card
from deeptrace.models.hf.families import family_of
from deeptrace.records import Verdict
from deeptrace.testing import tiny_model
from deeptrace.train import checkpoints
from deeptrace.train.vlm.dataset import AnswerDataset, Asking, Collate, Weights
from deeptrace.train.vlm.examples import Example, make_examples
from deeptrace.train.vlm.frames import FrameStore
from deeptrace.train.vlm.measure import ask
from deeptrace.train.vlm.sft import run
from tests.train.clips import make_data, sft_recipe

pytestmark = [pytest.mark.recipe, pytest.mark.timeout(1800)]  # under a minute of one idle core

# All eight clips in every step and a rate that falls to nothing: what is learned does not hang on the last step's luck.
# benchmarks/learning_margin.py shows the margin over seeds and threads.
STEPS = 80
# How much a token that decides weighs: both ways of weighing learn.
DECISIVE = {"videollama3": 1.0, "qwen2.5-vl": 3.0}


@pytest.fixture(scope="module", params=["videollama3", pytest.param("qwen2.5-vl", marks=pytest.mark.slow)])
def family_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory, seed: int) -> Path:
    """Eight clips, five of them fake."""
    return make_data(tmp_path_factory.mktemp("eight"), fakes=5, reals=3, seed=seed)


@pytest.fixture(scope="module")
def base(family_name: str, seed: int, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Smaller than the room's other tiny models: eight clips need no more, at less than half the arithmetic."""
    folder = tmp_path_factory.mktemp("base") / family_name
    return tiny_model(
        family_name, folder, seed=seed, hidden_size=96, num_layers=2, vision_hidden_size=48, vision_layers=1
    )


@pytest.fixture(scope="module")
def learned(family_name: str, base: Path, records: Path, seed: int, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has learned the clips by heart."""
    out = tmp_path_factory.mktemp("learned") / family_name
    out.mkdir()
    recipe = sft_recipe(
        base,
        records,
        loss={"decisive": DECISIVE[family_name]},
        seed=seed,
        optim={"learning_rate": 3e-3, "batch_size": 8, "max_steps": STEPS, "schedule": "cosine", "warmup": 0.05},
        eval={"videos": 8, "every_steps": 0},
        save={"every_steps": 40, "keep": 4},
        log={"every_steps": 20},
        licences={"weights": "apache-2.0", "annotations": "cc-by-4.0", "videos": "cc-by-nc-4.0"},
    )
    assert run(recipe, out) == out / "final"
    return out


def dataset(folder: Path, examples: tuple[Example, ...]) -> AnswerDataset:
    family = family_of(folder)
    return AnswerDataset(examples, family, FrameStore(family.sampling), Asking("trained", family.space_kind), Weights())


def load_examples(records: Path) -> tuple[Example, ...]:
    return make_examples(load_records(records), split="train").examples


def test_the_clips_are_learned_by_heart(
    learned: Path, family_name: str, record_property: Callable[[str, object], None]
) -> None:
    metrics = loads((learned / "final/metrics.json").read_text())
    bars = {"answer_loss": 0.1, "accuracy": 0.75, "box_iou": 0.25, "time_distance": metrics["blind_time_distance"]}
    for name, bar in bars.items():
        record_property(f"{family_name} {name}", f"{metrics[name]:.3g} ({bar:.3g})")
    assert metrics["videos"] == 8
    assert metrics["answer_loss"] < 0.1
    assert metrics["accuracy"] >= 0.75 > metrics["blind_accuracy"]
    assert metrics["box_iou"] >= 0.25
    assert metrics["time_distance"] < metrics["blind_time_distance"]
    losses = [row["loss"] for _, row in read_jsonl(learned / "log.jsonl") if "loss" in row]
    assert losses[-1] < losses[0] / 10


def test_with_the_videos_shuffled_the_answers_are_no_longer_known(
    learned: Path, records: Path, family_name: str, record_property: Callable[[str, object], None]
) -> None:
    """The prompt is the same for all: what the loss is lower by can only have come from the video."""
    examples = load_examples(records)
    shuffled = tuple(
        replace(example, path=other.path) for example, other in zip(examples, examples[3:] + examples[:3], strict=True)
    )
    final = learned / "final"
    model = family_of(final).load_model(final)
    options: dict[str, Any] = {"batch_size": 8, "max_new_tokens": 1, "device": "cpu"}
    right = ask(model, dataset(final, examples), range(8), **options).loss
    wrong = ask(model, dataset(final, shuffled), range(8), **options).loss
    record_property(f"{family_name} loss of shuffled videos", f"{wrong:.3g} ({max(0.3, 3 * right):.3g})")
    assert right < 0.1
    assert wrong > max(0.3, 3 * right)


def test_the_result_answers_like_any_model(learned: Path, records: Path) -> None:
    final = learned / "final"
    examples = load_examples(records)
    outcomes = load(f"hf:{final}", device="cpu").inspect([example.path for example in examples])
    said = [outcome.label if isinstance(outcome, Verdict) else None for outcome in outcomes]
    right = sum(label == example.record.label for label, example in zip(said, examples, strict=True))
    assert right / len(examples) == loads((final / "metrics.json").read_text())["accuracy"]


def test_the_result_says_what_it_is(learned: Path, family_name: str) -> None:
    final = learned / "final"
    card = read_card(final)
    assert card is not None
    assert (card.format, card.sampling.fps if card.sampling else None) == ("trained", 2.0)
    assert card.space == ("per-mille" if family_name == "videollama3" else "resized")
    assert card.extra["licences"]["strictest"] == "cc-by-nc-4.0"
    assert card.extra["data"]["labels"] == {"fake": 5, "real": 3}
    readme = (final / "README.md").read_text()
    assert "**Licence: cc-by-nc-4.0** (non-commercial)" in readme
    assert f"| accuracy | {card.extra['metrics']['accuracy']:.4g} |" in readme
    names = {path.name for path in final.iterdir()}
    assert not {name for name in names if name.endswith((".bin", ".pt", ".pth"))}
    assert [path.name for path in checkpoints.checkpoints(learned)][:2] == ["checkpoint-40", "checkpoint-80"]
    assert read_card(learned / "checkpoint-40") == replace(card, extra={**card.extra, "metrics": {}, "git_commit": ANY})


def test_saved_and_loaded_the_logits_are_the_same(learned: Path, records: Path) -> None:
    """The final folder is the last checkpoint, to the bit."""
    import torch

    final, newest = learned / "final", checkpoints.latest(learned)
    assert newest is not None
    items = [dataset(final, load_examples(records))[i] for i in (0, 7)]
    batch = Collate(family_of(final))(items)
    del batch["labels"]
    with torch.inference_mode():
        first, second = (family_of(folder).load_model(folder)(**batch).logits for folder in (final, newest))
    assert torch.equal(first, second)
