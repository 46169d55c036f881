"""Which system prompt fits a checkpoint: told from labelled videos, or not told."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from deeptrace.cli import cli
from deeptrace.data import write_records
from deeptrace.errors import ModelError
from deeptrace.models.base import Sampling
from deeptrace.records import Frames, Label, Record
from deeptrace.testing import tiny_model

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from deeptrace.models.hf.checkpoint import CheckpointCard, write_card  # noqa: E402
from deeptrace.models.hf.families import family_of  # noqa: E402
from deeptrace.models.hf.model import HfModel  # noqa: E402
from deeptrace.models.hf.prompts import PromptComparison, compare_prompts  # noqa: E402
from tests.clips import make_clip  # noqa: E402
from tests.models.by_heart import learn_by_heart  # noqa: E402

LABELS: tuple[Label, ...] = ("fake", "real", "fake", "real")


class Flat:
    """A calibration by which nothing is known any more."""

    name = "flat"

    def __call__(self, p_fake_raw: float) -> float:
        return 0.5


def clip(fake: bool, seed: int) -> Frames:
    images = np.random.default_rng(seed).integers(20, 23, (2, 56, 56, 3), dtype=np.uint8)
    if fake:
        images[1] += 200
    return Frames.from_array(images, 2.0)


def teach(folder: Path, prompt: str, steps: int = 80) -> None:
    """Let a checkpoint learn one clip of each label under a system prompt, and to say FAKE to both under the other."""
    family = family_of(folder)
    model = family.load_model(folder, device="cpu").train()
    examples = []
    for words in ("", family.released_system_prompt):
        family.set_system_prompt(words)
        for fake in (True, False):
            answer = "FAKE." if fake or words != prompt else "REAL."
            examples.append(family.encode(clip(fake, 0), "Is it fake?", answer))
    batch = family.collate(examples)
    learn_by_heart(model, batch, steps, folder)
    write_card(folder, CheckpointCard(format="trained", question="Is it fake?", sampling=Sampling(2.0, 16)))


@pytest.fixture(scope="module")
def without(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that was trained without a system prompt."""
    folder = tiny_model("videollama3", tmp_path_factory.mktemp("without") / "model", hidden_size=64, num_layers=2)
    teach(folder, "")
    return folder


def compared(folder: Path, count: int = 4) -> PromptComparison:
    model = HfModel(folder, device="cpu", max_new_tokens=4)
    clips = [clip(fake, 1000 + seed) for seed in range(count) for fake in (True, False)]
    own = model.system_prompt
    found = compare_prompts(model, clips, [True, False] * count)
    assert model.system_prompt == own
    return found


def check_fit(found: PromptComparison, fit: str) -> None:
    assert (found.fit, found.fakes, found.reals, found.unscored) == (fit, 4, 4, 0), found
    assert found.difference is not None
    assert found.low is not None
    assert found.high is not None
    assert found.low <= found.difference <= found.high


def test_the_prompt_it_was_trained_with_is_found(without: Path, tmp_path: Path) -> None:
    check_fit(compared(without), "none")
    folder = tiny_model("videollama3", tmp_path / "model", hidden_size=64, num_layers=2)
    teach(folder, family_of(folder).released_system_prompt)
    check_fit(compared(folder), "released")


def test_too_few_videos_cannot_tell(without: Path) -> None:
    found = compared(without, count=1)
    assert (found.fit, found.difference, found.low) == ("cannot tell", None, None)


def test_a_model_that_says_no_label_cannot_tell(tmp_path: Path) -> None:
    found = compared(tiny_model("videollama3", tmp_path / "model", hidden_size=64, num_layers=2))
    assert (found.fit, found.fakes, found.reals, found.unscored) == ("cannot tell", 0, 0, 8)


def test_a_family_without_one_is_refused(tmp_path: Path) -> None:
    model = HfModel(tiny_model("qwen3-vl", tmp_path / "model"), device="cpu")
    with pytest.raises(ModelError, match="have no system prompt"):
        compare_prompts(model, [], [])


def test_the_command_says_which_fits(without: Path, tmp_path: Path) -> None:
    records = []
    for number, label in enumerate(LABELS):
        make_clip(tmp_path / f"{number}.mp4", hw=(56, 56))  # what they show has nothing to do with their labels
        records.append(Record(f"{number}", f"{number}.mp4", label=label, split="val"))
    (tmp_path / "out.mp4").symlink_to("/dev/null")
    records.append(Record("out", "out.mp4", label="fake", split="val"))
    records.append(Record("unsure", "0.mp4", label="unsure", split="val"))
    write_records(tmp_path / "records.jsonl", records)
    command = ["models", "check", str(without), "--compare-prompts", str(tmp_path / "records.jsonl")]
    run = CliRunner().invoke(cli, command)
    assert run.exit_code == 0, run.output
    assert "these videos cannot tell which one fits" in run.output
    row = json.loads(CliRunner().invoke(cli, [*command, "--json"]).stdout)
    assert (row["fit"], row["fakes"], row["reals"], row["unscored"], row["left_out"]) == ("cannot tell", 2, 2, 0, 2)
    assert "note: left out: 1 x not labelled fake or real" in run.stderr
    assert "note: left out: 1 x no usable path" in run.stderr
    for option in (["--base", str(without)], ["--no-numbers"]):
        refused = CliRunner().invoke(cli, [*command, *option])
        assert refused.exit_code == 2
        assert f"{option[0]}: does not go with --compare-prompts" in refused.stderr


def test_a_calibration_does_not_decide_which_fits(without: Path) -> None:
    model = HfModel(without, device="cpu", max_new_tokens=4)
    clips, labels = [clip(fake, 1000 + seed) for seed in range(4) for fake in (True, False)], [True, False] * 4
    own = compare_prompts(model, clips, labels)
    model.calibration = Flat()
    assert compare_prompts(model, clips, labels) == own


def test_the_system_prompt_is_an_option_and_in_every_row(tmp_path: Path) -> None:
    folder = tiny_model("videollama3", tmp_path / "model", hidden_size=64, num_layers=2)
    model = HfModel(folder, device="cpu", max_new_tokens=2, system_prompt="Look closely.")
    assert "<|im_start|>system\nLook closely.<|im_end|>" in model.family.render_prompt("Is it fake?")
    outcome = model.inspect([clip(True, 0)])[0]
    assert outcome.origin.sampling is not None
    assert outcome.origin.sampling["system_prompt"] == "Look closely."
    with pytest.raises(ModelError, match="the system prompt holds"):
        HfModel(folder, device="cpu", system_prompt="<|im_end|>")
