"""One run: its folder, what it refuses, what is frozen, and LoRA."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from deeptrace.cli import cli
from deeptrace.data import load_records, write_records
from deeptrace.errors import FileError, RecipeError, TrainError
from deeptrace.models.hf.checkpoint import read_card
from deeptrace.models.hf.families import family_of
from deeptrace.train import find_recipe, load_recipe, shipped, train
from deeptrace.train.recipe import to_toml
from deeptrace.train.vlm.grpo import GrpoRecipe
from deeptrace.train.vlm.sft import SftRecipe, run
from tests.train.clips import sft_recipe

PAPER = {"paper-videollama3-7b": (1, 2.0, 180), "paper-qwen2.5-vl-7b": (2, 1.0, 20)}


@pytest.mark.parametrize("name", list(PAPER))
def test_the_papers_recipes_are_the_papers(name: str) -> None:
    """arXiv 2509.22646, the table of hyper-parameters: batch a GPU, fps / frames, 1e-5, AdamW, one epoch."""
    _, recipe = load_recipe(name)
    assert isinstance(recipe, SftRecipe)
    batch, fps, frames = PAPER[name]
    assert (recipe.optim.batch_size, recipe.optim.accumulate) == (batch, 1)
    assert (recipe.sampling.fps, recipe.sampling.max_frames) == (fps, frames)
    assert (recipe.optim.learning_rate, recipe.optim.epochs) == (1e-5, 1.0)
    assert (recipe.data.answers, recipe.data.balance) == ("per-trace", ())
    assert (recipe.question.format, recipe.question.space) == ("trained", "source")
    assert recipe.loss.decisive == recipe.loss.other
    assert recipe.lora is None
    assert recipe.model.freeze == ()


@pytest.mark.parametrize("name", list(shipped()))
def test_every_recipe_that_ships_can_be_read_and_says_what_it_is(name: str) -> None:
    text = find_recipe(name).read_text()
    assert text.startswith("# ")
    _, recipe = load_recipe(name)
    assert getattr(recipe, "name", name) == name
    result = CliRunner().invoke(cli, ["train", "--list"])
    assert name in result.output


def test_settings_change_a_recipe_and_are_shown() -> None:
    result = CliRunner().invoke(cli, ["train", "tiny", "--set", "optim.max_steps=7", "--show"])
    assert result.exit_code == 0
    assert "max_steps = 7" in result.output
    with pytest.raises(RecipeError, match=r"optim\.max_step: is not a setting. Did you mean 'max_steps'"):
        load_recipe("tiny", ["optim.max_step=7"])
    with pytest.raises(RecipeError, match="kind: 'stf' is not one of sft, dpo"):
        load_recipe("tiny", ["kind=stf"])
    with pytest.raises(FileError, match="Did you mean 'tiny'"):
        load_recipe("tinny")


def test_what_cannot_work_is_refused_before_anything_is_loaded() -> None:
    with pytest.raises(RecipeError, match="packed weights cannot be trained"):
        load_recipe("tiny", ["model.quantization=nf4"])
    with pytest.raises(RecipeError, match="nothing can be asked of weights that are shared out"):
        load_recipe("tiny", ["hardware.fsdp=true"])
    with pytest.raises(RecipeError, match="nothing is trained"):
        load_recipe("tiny", ['model.freeze=["vision", "projector", "language"]'])
    with pytest.raises(RecipeError, match="cannot be generated from weights that are shared out"):
        load_recipe("grpo", ["hardware.fsdp=true"])
    assert isinstance(load_recipe("grpo")[1], GrpoRecipe)


def test_one_process_has_nobody_to_share_weights_with(tmp_path: Path, records: Path, bases: dict[str, Path]) -> None:
    """The paper's recipe for one base says fsdp, and somebody starts it without torchrun."""
    recipe = sft_recipe(bases["videollama3"], records, hardware={"fsdp": True})
    file = tmp_path / "recipe.toml"
    file.write_text(to_toml(recipe))
    with pytest.raises(TrainError, match=r"several processes, and this is one: start it by torchrun .*hardware\.fsdp"):
        train(file, tmp_path / "out")


def test_a_folder_belongs_to_one_recipe(tmp_path: Path, records: Path, bases: dict[str, Path]) -> None:
    recipe = sft_recipe(bases["videollama3"], records)
    file = tmp_path / "recipe.toml"
    file.write_text(to_toml(recipe))
    begun = tmp_path / "begun"
    begun.mkdir()
    (begun / "recipe.toml").write_text(to_toml(recipe))
    with pytest.raises(TrainError, match=r"begun with another recipe \(max_steps = 5; max_steps = 4\)"):
        train(file, begun, ["optim.max_steps=5"])
    other = tmp_path / "other"
    other.mkdir()
    (other / "photo.jpg").touch()
    with pytest.raises(TrainError, match="is not empty"):
        train(file, other)
    (begun / "final").mkdir()
    with pytest.raises(TrainError, match="is done"):
        train(file, begun)


def test_a_missing_video_stops_before_the_first_step(tmp_path: Path, records: Path, bases: dict[str, Path]) -> None:
    (tmp_path / "out").mkdir()
    recipe = sft_recipe(bases["videollama3"], records, data={"root": str(tmp_path)})
    with pytest.raises(TrainError, match="16 of 16 videos are not there"):
        run(recipe, tmp_path / "out")


@pytest.mark.recipe
def test_a_broken_video_is_left_out_and_counted_where_that_was_asked_for(
    tmp_path: Path, records: Path, bases: dict[str, Path]
) -> None:
    few = list(load_records(records))[6:11]
    for record in few:
        (tmp_path / str(record.path)).write_bytes((records.parent / str(record.path)).read_bytes())
    (tmp_path / str(few[0].path)).write_text("no video")
    write_records(tmp_path / "few.jsonl", few)
    data = {"unreadable": "skip", "cache": str(tmp_path / "cache")}
    recipe = sft_recipe(
        bases["videollama3"],
        tmp_path / "few.jsonl",
        data=data,
        model={"freeze": ["vision"]},
        optim={"max_steps": 2, "batch_size": 2, "rates": {"projector": 1e-6}},
    )
    out = tmp_path / "out"
    out.mkdir()
    final = run(recipe, out)
    card = read_card(final)
    assert card is not None
    assert card.extra["left_out"] == {"cannot be read": 1}
    assert card.extra["data"]["videos"] == 4
    moved = _largest_moves(bases["videollama3"], final)
    assert moved["vision"] == 0.0  # frozen
    assert 0 < moved["projector"] < 2.1e-6  # two steps of Adam, each of about its rate
    assert 5e-4 < moved["language"] < 1.1e-3


def _largest_moves(base: Path, final: Path) -> dict[str, float]:
    """By how much a weight of each part has moved at most."""
    before, after = (dict(family_of(folder).load_model(folder).named_parameters()) for folder in (base, final))
    family = family_of(final)
    moved: dict[str, float] = {}
    for name, weight in before.items():
        part = family.part_of(name)
        moved[part] = max(moved.get(part, 0.0), float((weight - after[name]).detach().abs().max()))
    return moved


@pytest.mark.recipe
def test_lora_merged_equals_lora_beside(tmp_path: Path, records: Path, bases: dict[str, Path]) -> None:
    import peft
    import torch

    from deeptrace.train.vlm.base_model import merge_adapter

    base = bases["qwen2.5-vl"]
    out = tmp_path / "out"
    out.mkdir()
    recipe = sft_recipe(
        base, records, lora={"rank": 4, "keep": "adapter"}, optim={"learning_rate": 0.01, "max_steps": 3}
    )
    final = run(recipe, out)
    family = family_of(base)
    beside = peft.PeftModel.from_pretrained(family.load_model(base), str(final)).eval()
    ids = torch.arange(5, 45)[None]
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "mm_token_type_ids": torch.zeros_like(ids)}
    with torch.inference_mode():
        plain = family.load_model(base)(**inputs).logits
        apart, together = beside(**inputs).logits, merge_adapter(family, base, final)(**inputs).logits
    assert (apart - plain).abs().max() > 0.05  # it has learned something
    assert torch.allclose(apart, together, atol=2e-5)

    half = tmp_path / "half"
    family.load_model(base, dtype="bfloat16").save_pretrained(half)
    family.processor.save_pretrained(half)
    assert merge_adapter(family, half, final).dtype == torch.bfloat16  # as large as its base


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ({"model": {"precision": "bfloat16"}}, r'model\.precision: "bfloat16" alone loses most updates'),
        (
            {"model": {"freeze": ["vision"]}, "optim": {"rates": {"vision": 1e-6}}},
            r"optim\.rates\.vision: .* not trained",
        ),
        ({"lora": {"rank": 4}, "optim": {"rates": {"projector": 1e-6}}}, r"optim\.rates\.projector: .* not trained"),
    ],
)
def test_settings_that_would_train_nothing_are_refused(records: Path, tables: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        sft_recipe(Path("base"), records, **tables)


def test_a_process_that_sees_several_gpus_trains_on_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from transformers import TrainingArguments

    from deeptrace.train.vlm.trainer import on_one_device

    given = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to="none")
    assert on_one_device(given).n_gpu == given.n_gpu
    assert not caplog.records
    given._n_gpu = 4
    assert on_one_device(given).n_gpu == 1
    assert "torchrun --nproc-per-node 4" in caplog.text


@pytest.mark.recipe
def test_a_loss_that_is_no_number_ends_the_run(tmp_path: Path, records: Path, bases: dict[str, Path]) -> None:
    (tmp_path / "out").mkdir()
    recipe = sft_recipe(bases["videollama3"], records, optim={"learning_rate": 1e30, "batch_size": 1, "clip": 0.0})
    with pytest.raises(TrainError, match=r"the loss is (nan|inf) at step [234]"):
        run(recipe, tmp_path / "out")
