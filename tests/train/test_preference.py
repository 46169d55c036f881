"""Preference stages: answers are tried once, paired by what they earn, and learned from; a kill changes nothing."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from deeptrace.answer import Space, render
from deeptrace.data import load_records, write_records
from deeptrace.errors import FileError, RecipeError, TrainError
from deeptrace.files import read_jsonl
from deeptrace.models.hf.families import family_of
from deeptrace.records import Annotation, Frames, Record, Trace, VideoInfo
from deeptrace.testing import tiny_model
from deeptrace.train import load_recipe
from deeptrace.train.recipe import build
from deeptrace.train.vlm.candidates import TriedAnswer, TriedVideo
from deeptrace.train.vlm.dpo import DpoRecipe, DpoTable, run
from deeptrace.train.vlm.examples import Example
from deeptrace.train.vlm.rejection import RejectionRecipe, RejectionTable
from deeptrace.train.vlm.rejection import run as run_rejection
from deeptrace.train.vlm.reward import grounded_reward

torch = pytest.importorskip("torch")

FORMAT = "trained-no-box-no-time-no-explanation"


def tried(*rewards: float) -> TriedVideo:
    candidates = tuple(TriedAnswer(f"answer {i}", reward, ended=True, tokens=(i,)) for i, reward in enumerate(rewards))
    return TriedVideo(0, Example(Path("v.mp4"), Record("v", "v.mp4", "fake")), candidates)


def recipe(kind: Any, base: Path, records: Path, **tables: Any) -> Any:
    name = {DpoRecipe: "dpo", RejectionRecipe: "rejection"}[kind]
    table: dict[str, Any] = {
        "kind": name,
        "model": {"base": str(base)},
        "data": {"records": str(records), "workers": 0, "balance": []},
        "question": {"format": FORMAT},
        "sampling": {"fps": 1.0, "max_frames": 2},
        "candidates": {"count": 6, "max_new_tokens": 12},
        "optim": {"learning_rate": 1e-3, "batch_size": 2, "max_steps": 4, "schedule": "constant", "warmup": 0.0},
        "eval": {"videos": 0},
        "save": {"every_steps": 2},
        "log": {"every_steps": 1},
        "hardware": {"device": "cpu"},
    }
    for key, values in tables.items():
        table[key] = {**table.get(key, {}), **values}
    return build(kind, table, "test")


@pytest.fixture(scope="module")
def undecided(records: Path, bases: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A model that knows the words and tosses a coin for the label, and four records, all fake."""
    from deeptrace.train.vlm.sft import run as run_sft
    from tests.train.clips import sft_recipe

    clips = [replace(record, annotations=()) for record in list(load_records(records))[7:11]]
    both = [
        replace(clip, video_id=f"{clip.video_id}-{label}", label=label)  # type: ignore[arg-type]
        for clip in clips
        for label in ("fake", "real")
    ]
    write_records(records.parent / "preference-both.jsonl", both)
    four = records.parent / "preference-four.jsonl"
    write_records(four, [replace(clip, label="fake") for clip in clips])
    out = tmp_path_factory.mktemp("undecided") / "out"
    out.mkdir()
    learned = run_sft(
        sft_recipe(
            bases["videollama3"],
            records.parent / "preference-both.jsonl",
            question={"format": FORMAT},
            sampling={"fps": 1.0, "max_frames": 2},
            optim={"learning_rate": 1e-3, "batch_size": 8, "max_steps": 60},
        ),
        out,
    )
    return learned, four


def test_the_loss_is_the_formula() -> None:
    """By hand: beta 0.5, chosen from -10 to -8, rejected from -12 to -13: 0.5 ((-8 + 13) - (-10 + 12)) = 1.5."""
    from deeptrace.train.vlm.preference import preference_loss

    chosen, rejected = torch.tensor([-8.0, -9.0]), torch.tensor([-13.0, -9.0])
    loss, margin = preference_loss(chosen, rejected, torch.tensor([[-10.0, -12.0], [-9.0, -9.0]]), 0.5)
    assert margin.tolist() == [1.5, 0.0]
    assert float(loss) == pytest.approx((math.log(1 + math.exp(-1.5)) + math.log(2)) / 2, abs=1e-6)


def test_pairs_are_the_best_against_the_worst() -> None:
    from deeptrace.train.vlm.preference import pair_answers

    video = tried(0.1, 0.9, -0.4, 0.5, 0.5)
    pairs = pair_answers([video], DpoTable(margin=0.3, pairs=3))
    assert [(pair.chosen.text, pair.rejected.text) for pair in pairs] == [
        ("answer 1", "answer 2"),
        ("answer 3", "answer 0"),
    ]
    assert len(pair_answers([video], DpoTable(margin=0.3, pairs=1))) == 1
    assert pair_answers([tried(0.5, 0.5, 0.5)], DpoTable()) == []
    assert pair_answers([tried(0.5)], DpoTable()) == []


def test_what_is_kept_earns_enough() -> None:
    from deeptrace.train.vlm.preference import kept_answers

    video = tried(0.1, 0.9, -0.4, 0.5)
    second, fourth = video.candidates[1], video.candidates[3]
    assert kept_answers([video], RejectionTable(least=0.5, keep=3)) == [(0, second), (0, fourth)]
    assert kept_answers([video], RejectionTable(least=0.5)) == [(0, second)]
    assert kept_answers([tried(-0.4, -1.0)], RejectionTable(least=0.1)) == []


def test_the_better_answer_becomes_likelier(undecided: tuple[Path, Path], tmp_path: Path) -> None:
    base, four = undecided
    final = run(recipe(DpoRecipe, base, four, optim={"max_steps": 8}, dpo={"pairs": 2}), tmp_path)
    rows = [row for _, row in read_jsonl(tmp_path / "log.jsonl") if "margin" in row]
    assert rows[0]["margin"] == pytest.approx(0.0, abs=1e-4)  # nothing has moved before the first step
    assert rows[0]["loss"] == pytest.approx(math.log(2), abs=1e-3)
    assert rows[-1]["margin"] > 0.05
    assert rows[-1]["preferred"] == 1.0
    assert (final / "model.safetensors").is_file()
    answers = [row for _, row in read_jsonl(tmp_path / "candidates-0.jsonl") if "candidates" in row]
    assert [len(row["candidates"]) for row in answers] == [6] * 4
    for row in answers:
        for candidate in row["candidates"]:
            if not candidate["ended"]:
                assert candidate["reward"] == -1.0  # one that was cut off earns nothing, whatever it says
            else:
                assert candidate["reward"] == (0.5 if candidate["text"].startswith("FAKE") else -0.4)


def test_a_run_goes_on_as_if_nothing_had_happened(undecided: tuple[Path, Path], tmp_path: Path) -> None:
    base, four = undecided
    (tmp_path / "whole").mkdir()
    whole = run(recipe(DpoRecipe, base, four), tmp_path / "whole")
    begun = tmp_path / "begun"
    shutil.copytree(tmp_path / "whole", begun)
    shutil.rmtree(begun / "final")
    shutil.rmtree(begun / "checkpoint-4")
    # A video's answers, and a pair's likelihoods, were not yet there when it was killed.
    for name in ("candidates-0.jsonl", "reference-0.jsonl"):
        lines = (begun / name).read_text().splitlines(keepends=True)
        (begun / name).write_text("".join(lines[:-1]) + lines[-1][:20])
    again = run(recipe(DpoRecipe, base, four), begun)
    assert (again / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    for name in ("candidates-0.jsonl", "reference-0.jsonl"):
        assert (begun / name).read_text() == (tmp_path / "whole" / name).read_text()
    shutil.rmtree(begun / "final")
    with pytest.raises(FileError, match="temperature"):
        run(recipe(DpoRecipe, base, four, candidates={"temperature": 0.5}), begun)


def test_an_answer_that_was_cut_off_is_not_taught_to_end_there() -> None:
    family: Any = SimpleNamespace(end_id=9)
    assert TriedAnswer("ab", 0.5, ended=True, tokens=(1, 2)).learned(family) == [1, 2, 9]
    assert TriedAnswer("ab", -1.0, ended=False, tokens=(1, 2)).learned(family) == [1, 2]


@pytest.mark.parametrize("name", ["glm-4.1v", "qwen2.5-vl"])
def test_an_answer_is_learned_in_the_tokens_that_were_drawn(name: str, tmp_path: Path) -> None:
    """Control tokens too, which a reasoning model writes: in a text of ours they would be refused."""
    family = family_of(tiny_model(name, tmp_path / "model"))
    frames = Frames.from_array(np.zeros((2, 112, 112, 3), np.uint8), 2.0)
    prompt, whole = family.encode(frames, "Fake?"), family.encode(frames, "Fake?", "REAL.")
    again = family.answered(prompt, [*family.tokenize("REAL."), family.end_id])
    assert again.labels is not None
    assert whole.labels is not None
    assert torch.equal(again.labels, whole.labels)
    assert set(again.inputs) == set(whole.inputs)
    assert all(torch.equal(again.inputs[key], value) for key, value in whole.inputs.items())
    mark = family.processor.tokenizer.convert_tokens_to_ids("<|vision_start|>")
    own = family.answered(prompt, [mark, family.end_id])
    assert own.labels is not None
    assert own.labels[0, -2:].tolist() == [mark, family.end_id]


def test_in_mixed_precision_too_nothing_has_moved_before_the_first_step(
    undecided: tuple[Path, Path], tmp_path: Path
) -> None:
    base, four = undecided
    run(recipe(DpoRecipe, base, four, model={"precision": "mixed"}, optim={"max_steps": 1, "batch_size": 1}), tmp_path)
    [first, *_] = [row for _, row in read_jsonl(tmp_path / "log.jsonl") if "margin" in row]
    assert (first["chosen"], first["rejected"]) == pytest.approx((0.0, 0.0), abs=1e-5)


def test_the_truth_may_be_one_of_the_candidates(undecided: tuple[Path, Path], tmp_path: Path) -> None:
    base, four = undecided
    run(recipe(DpoRecipe, base, four, dpo={"truth": True, "pairs": 1}, optim={"max_steps": 1}), tmp_path)
    [head, *_] = [row for _, row in read_jsonl(tmp_path / "reference-0.jsonl")]
    assert all(chosen.startswith("FAKE") for _, chosen, _ in head["settings"]["pairs"])


def test_nothing_to_prefer_is_said(undecided: tuple[Path, Path], tmp_path: Path) -> None:
    base, four = undecided
    for name in ("dpo", "rejection"):
        (tmp_path / name).mkdir()
    with pytest.raises(TrainError, match=r"no two answers to a video differ by 3 in reward.*candidates\.temperature"):
        run(recipe(DpoRecipe, base, four, dpo={"margin": 3.0}), tmp_path / "dpo")
    with pytest.raises(TrainError, match=r"no answer earns 0\.9.*rejection\.least"):
        run_rejection(recipe(RejectionRecipe, base, four, rejection={"least": 0.9}), tmp_path / "rejection")


def test_the_best_answers_are_learned(undecided: tuple[Path, Path], tmp_path: Path) -> None:
    """Of a coin that is tossed, heads alone are kept: then it says FAKE."""
    from deeptrace.models.hf.model import HfModel

    base, four = undecided
    final = run_rejection(recipe(RejectionRecipe, base, four, optim={"max_steps": 12, "batch_size": 4}), tmp_path)
    losses = [row["loss"] for _, row in read_jsonl(tmp_path / "log.jsonl") if "loss" in row]
    assert losses[-1] < losses[0] / 2
    videos = [four.parent / str(record.path) for record in load_records(four)]
    outcomes = HfModel(str(final), device="cpu", max_new_tokens=12).inspect(videos)
    assert [getattr(outcome, "label", None) for outcome in outcomes] == ["fake"] * 4
    card = json.loads((final / "deeptrace.json").read_text())
    assert card["format"] == FORMAT


def test_recipes_that_do_not_fit(undecided: tuple[Path, Path]) -> None:
    base, four = undecided
    for kind in (DpoRecipe, RejectionRecipe):
        with pytest.raises(RecipeError, match="answers cannot be generated from weights that are shared out"):
            recipe(kind, base, four, hardware={"fsdp": True})
        with pytest.raises(RecipeError, match="the reward speaks of all traces"):
            recipe(kind, base, four, data={"answers": "per-trace"})
    with pytest.raises(RecipeError, match=r"dpo\.margin"):  # answers that earn the same are no pair
        recipe(DpoRecipe, base, four, dpo={"margin": 0.0})
    with pytest.raises(RecipeError, match=r"least"):
        recipe(RejectionRecipe, base, four, rejection={"least": 0.0})


def test_the_rejection_recipe_that_ships_learns_from_reals_too() -> None:
    """The right answer to each kind of video is kept: else the model learns to say FAKE of everything."""
    from deeptrace.train.vlm.preference import kept_answers

    _, shipped = load_recipe("rejection")
    space, format = Space("per-mille"), shipped.question.format
    marked = (Annotation((Trace((0.1, 0.1, 0.4, 0.4), 2.0),)),)
    info = VideoInfo(96, 96, 16.0, 64, duration_seconds=4.0)
    records = [
        Record("real", "r.mp4", "real", info),
        Record("whole", "w.mp4", "fake", info),
        Record("marked", "m.mp4", "fake", info, annotations=marked),
    ]
    videos = []
    for index, record in enumerate(records):
        text = render(record, format, space)
        reward = grounded_reward(text, record, format, space).total
        answer = TriedAnswer(text, reward, ended=True, tokens=(index,))
        videos.append(TriedVideo(index, Example(Path("v.mp4"), record), (answer,)))
    assert [index for index, _ in kept_answers(videos, shipped.rejection)] == [0, 1, 2]


def test_answers_of_one_label_alone_are_warned_of(
    undecided: tuple[Path, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    base, four = undecided
    both = four.parent / "preference-both.jsonl"

    def never_real(text: str, record: Record, *given: Any, **options: Any) -> Any:
        reward = grounded_reward(text, record, *given, **options)
        return replace(reward, total=-1.0) if record.label == "real" else reward

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("deeptrace.train.vlm.reward.grounded_reward", never_real)
        run_rejection(
            recipe(RejectionRecipe, base, both, data={"balance": ["label"]}, optim={"max_steps": 1}), tmp_path
        )
    assert "examples are fake" in caplog.text


@pytest.mark.parametrize("name", ["dpo", "rejection"])
def test_the_recipes_that_ship(name: str) -> None:
    kind, shipped = load_recipe(name)
    assert shipped.kind == name
    assert shipped.lora is not None
    assert kind.recipe in (DpoRecipe, RejectionRecipe)
