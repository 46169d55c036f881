"""What the RL stage computes on: likelihoods, what is kept of an answer, and how much answers vary."""

from __future__ import annotations

import logging
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deeptrace.answer import Space, render
from deeptrace.data import load_records
from deeptrace.errors import TrainError
from deeptrace.files import read_jsonl
from deeptrace.models.base import Sampling
from deeptrace.models.hf.families import families, family_of
from deeptrace.records import Frames, Record, Trace, Verdict, VideoInfo
from deeptrace.testing import tiny_model
from deeptrace.train.recipe import build
from deeptrace.train.vlm.dataset import AnswerDataset, Asking, Weights
from deeptrace.train.vlm.examples import Example, make_examples
from deeptrace.train.vlm.frames import FrameStore
from deeptrace.train.vlm.grpo import GrpoRecipe, run
from deeptrace.train.vlm.reward import GroundedReward, grounded_reward

torch = pytest.importorskip("torch")

SPACE = Space("per-mille")
INFO = VideoInfo(100, 100, fps=10.0, num_frames=50, duration_seconds=5.0)


def reward(record: Record, text: str) -> tuple[Record, GroundedReward]:
    return record, grounded_reward(text, record, "trained", SPACE)


def test_entropy_by_hand() -> None:
    from deeptrace.train.vlm.rollouts import entropy

    assert entropy("aabc") == pytest.approx(1.5)
    assert entropy("aaaa") == entropy("") == 0.0


def test_answers_that_are_all_alike_are_noticed(caplog: pytest.LogCaptureFixture) -> None:
    from deeptrace.train.vlm.rollouts import rollout_metrics

    truths = [
        Record(f"v{i}", label="fake" if i % 2 else "real", info=INFO, annotations=())  # type: ignore[arg-type]
        for i in range(40)
    ]
    alike = render(Verdict("fake", traces=(Trace((0.1, 0.1, 0.2, 0.2), 1.0),)), "trained", SPACE)
    with caplog.at_level(logging.WARNING):
        metrics = rollout_metrics([reward(record, alike) for record in truths])
    assert metrics["entropy_verdict"] == 0.0 == metrics["variety_verdict"]
    assert metrics["reward_right"] == 0.5
    assert "answers have collapsed: verdict varies 0%" in caplog.text
    right = [reward(record, alike if record.label == "fake" else "REAL. The video is real.") for record in truths]
    assert rollout_metrics(right)["variety_verdict"] == pytest.approx(1.0)


def test_what_follows_the_end_of_an_answer_does_not_count() -> None:
    from deeptrace.train.vlm.rollouts import until_end

    said = torch.tensor([[5, 6, 9, 9, 0], [9, 0, 0, 0, 0], [5, 6, 7, 8, 5]])
    assert until_end(said, end=(9,)).tolist() == [[1, 1, 1, 0, 0], [1, 0, 0, 0, 0], [1, 1, 1, 1, 1]]


@pytest.fixture(scope="module", params=["videollama3", "qwen2.5-vl"])
def asked(request: pytest.FixtureRequest, records: Path, bases: dict[str, Path]) -> tuple[Any, AnswerDataset]:
    from deeptrace.data import load_records

    base = bases[request.param]
    family = family_of(base)
    family.sampling = Sampling(fps=2.0, max_frames=4)
    examples = make_examples(load_records(records), split="train").examples
    data = AnswerDataset(examples, family, FrameStore(family.sampling), Asking("trained", family.space_kind), Weights())
    return family.load_model(base), data


def test_likelihoods_are_those_of_the_whole_text_in_one_pass(asked: tuple[Any, AnswerDataset]) -> None:
    """Prompts padded on the left with answers behind them, against each text alone."""
    from deeptrace.train.vlm.positions import last_positions
    from deeptrace.train.vlm.rollouts import log_likelihoods

    model, data = asked
    family = data.family
    answers = [data[i].answer for i in (0, 15)]
    end = family.processor.tokenizer.convert_tokens_to_ids("<|im_end|>")
    ids = [[*family.tokenize(answer), end] for answer in answers]
    width = max(map(len, ids))
    said = torch.tensor([one + [0] * (width - len(one)) for one in ids])
    kept = torch.tensor([[1.0] * len(one) + [0.0] * (width - len(one)) for one in ids])
    batch = family.collate([data.prompt(i)[0] for i in (0, 15)], pad_left=True)
    with torch.inference_mode():
        together = log_likelihoods(model, batch, said, kept, 1.0)
        with last_positions(model, width + 1):
            assert torch.allclose(log_likelihoods(model, batch, said, kept, 1.0), together, atol=1e-5)
        for row, i in enumerate((0, 15)):
            encoded = data[i].encoded
            logits = model(**encoded.inputs).logits[0, :-1]
            alone = torch.log_softmax(logits, -1).gather(1, encoded.inputs["input_ids"][0, 1:, None])[:, 0]
            count = len(ids[row])
            assert torch.allclose(together[row, :count], alone[-count:], atol=1e-4)
            assert not together[row, count:].any()


@pytest.mark.parametrize("name", [cls.name for cls in families().values()])
def test_a_prompt_encoded_once_gives_what_one_for_each_answer_gives(name: str, tmp_path: Path) -> None:
    """The same answers at the same random state, the same likelihoods, and the same gradients; two prompts by three."""
    from deeptrace.train.vlm.positions import last_positions
    from deeptrace.train.vlm.rollout_prefix import encode_prefix, likelihoods_behind, sample_from
    from deeptrace.train.vlm.rollouts import log_likelihoods, unsayable, until_end

    family = family_of(tiny_model(name, tmp_path / "model", hidden_size=64, num_layers=2))
    model = family.load_model(tmp_path / "model", device="cpu")
    rng = np.random.default_rng(0)
    prompts = [
        family.encode(Frames.from_array(rng.integers(0, 255, (4, 112, 112, 3), np.uint8), 2.0), question)
        for question in ("Is it fake?", "Is it fake, or is it anything else that you know of?")
    ]
    group, never = 3, unsayable(family)
    once = family.collate(prompts, pad_left=True)
    each = family.collate([prompt for prompt in prompts for _ in range(group)], pad_left=True)
    torch.manual_seed(0)
    said = model.generate(
        **each, max_new_tokens=7, do_sample=True, temperature=0.9, top_p=1.0, top_k=0, suppress_tokens=never,
        eos_token_id=list(family.end_ids), pad_token_id=family.pad_id,
    )[:, each["input_ids"].shape[1] :]  # fmt: skip
    torch.manual_seed(0)
    with torch.no_grad():
        prefix = encode_prefix(model, model, once, group)
    assert torch.equal(sample_from(model, family, prefix, temperature=0.9, max_new_tokens=7, never=never), said)

    mask = until_end(said, family.end_ids)
    weights = torch.arange(1.0, 1 + said.numel()).view(said.shape) / said.numel()
    found = []
    for shared in (False, True):
        model.zero_grad()
        if shared:
            prefix = encode_prefix(model, model, once, group)
            logp = likelihoods_behind(model, model, prefix, said, mask, 0.9, never=never)
        else:
            with last_positions(model, said.shape[1] + 1):
                logp = log_likelihoods(model, each, said, mask, 0.9, never=never)
        (logp * weights).sum().backward()
        gradients = {key: value.grad.clone() for key, value in model.named_parameters() if value.grad is not None}
        found.append((logp.detach(), gradients))
    (logp, gradients), (shared_logp, shared_gradients) = found
    assert torch.allclose(shared_logp, logp, atol=1e-5)
    assert set(gradients) == set(shared_gradients)
    for key, value in gradients.items():
        assert torch.allclose(shared_gradients[key], value, rtol=1e-3, atol=1e-4 * float(value.abs().max()) + 1e-7), key


@pytest.mark.parametrize("name", ["videollama3", "qwen2.5-vl"])
def test_with_gradient_checkpointing_prompts_are_encoded_for_each_answer(
    name: str, records: Path, bases: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It keeps no cache; the log says so, and the first step is the same to rounding."""
    from deeptrace.train.vlm import rollouts

    def by_words(text: str, *given: Any, **options: Any) -> GroundedReward:
        """A model that has learned nothing says nothing that can be parsed: a reward that differs all the same."""
        return replace(grounded_reward(text, *given, **options), total=zlib.crc32(text.encode()) % 100 / 100)

    norms = []
    for checkpointing in (False, True):
        recipe = {
            "kind": "grpo",
            "model": {"base": str(bases[name]), "gradient_checkpointing": checkpointing},
            "data": {"records": str(records), "workers": 0, "balance": []},
            "sampling": {"fps": 1.0, "max_frames": 2},
            "grpo": {"group": 4, "max_new_tokens": 8, "scale": False},
            "optim": {"batch_size": 2, "max_steps": 1},
            "eval": {"videos": 0},
            "log": {"every_steps": 1},
            "hardware": {"device": "cpu"},
        }
        out = tmp_path / str(checkpointing)
        out.mkdir()
        with caplog.at_level(logging.INFO), pytest.MonkeyPatch.context() as patch:
            caplog.clear()
            patch.setattr(rollouts, "grounded_reward", by_words)
            run(build(GrpoRecipe, recipe, "grpo"), out)
        assert ("keeps no cache" in caplog.text) is checkpointing
        norms += [row["grad_norm"] for _, row in read_jsonl(out / "log.jsonl") if "grad_norm" in row]
    assert norms[0] > 0.1
    assert norms[0] == pytest.approx(norms[1], rel=1e-3)


def test_in_mixed_precision_too_the_model_begins_where_it_is_held(
    records: Path, bases: dict[str, Path], tmp_path: Path
) -> None:
    """Every answer of a model that has learned nothing earns the same: what is left of the loss is the divergence."""
    recipe = {
        "kind": "grpo",
        "model": {"base": str(bases["videollama3"]), "precision": "mixed"},
        "data": {"records": str(records), "workers": 0, "balance": []},
        "sampling": {"fps": 1.0, "max_frames": 2},
        "grpo": {"group": 4, "max_new_tokens": 32, "beta": 10.0},
        "optim": {"max_steps": 1},
        "eval": {"videos": 0},
        "log": {"every_steps": 1},
        "hardware": {"device": "cpu"},
    }
    run(build(GrpoRecipe, recipe, "grpo"), tmp_path)
    [first, *_] = [row for _, row in read_jsonl(tmp_path / "log.jsonl") if "grad_norm" in row]
    assert (first["loss"], first["grad_norm"]) == (0.0, 0.0)


def test_an_answer_never_holds_a_token_that_stands_for_pixels(
    records: Path, bases: dict[str, Path], tmp_path: Path
) -> None:
    """A model that knows nothing yet says every token now and then; these would ask for frames that are not there."""
    recipe = {
        "kind": "grpo",
        "model": {"base": str(bases["videollama3"])},
        "data": {"records": str(records), "workers": 0, "balance": []},
        "sampling": {"fps": 1.0, "max_frames": 2},
        "grpo": {"group": 8, "max_new_tokens": 64, "beta": 0.01},
        "optim": {"batch_size": 4, "max_steps": 1},
        "eval": {"videos": 0},
        "log": {"every_steps": 1},
        "hardware": {"device": "cpu"},
    }
    run(build(GrpoRecipe, recipe, "grpo"), tmp_path)  # some 2,000 tokens of a vocabulary of 576
    assert (tmp_path / "final/model.safetensors").is_file()


def test_a_prompt_without_its_video_is_an_error_before_the_first_step(asked: tuple[Any, AnswerDataset]) -> None:
    from deeptrace.train.vlm.rollouts import PromptDataset, check_prompts

    _, data = asked

    class Forgetful(AnswerDataset):
        """A data set whose prompts forgot the video, as those of trainers for text do."""

        def prompt(self, index: int) -> Any:
            encoded, space = super().prompt(index)
            ids = encoded.inputs["input_ids"]
            video = data.family.processor.tokenizer.convert_tokens_to_ids("<|video_pad|>")
            encoded.inputs["input_ids"] = ids[ids != video][None]  # type: ignore[index]
            return encoded, space

    def of(kind: type[AnswerDataset]) -> PromptDataset:
        examples: tuple[Example, ...] = data.examples[:2]
        return PromptDataset(kind(examples, data.family, data.store, data.asking, data.weights))

    check_prompts(of(AnswerDataset), workers=0)
    with pytest.raises(TrainError, match="'train00': the prompt holds no video tokens"):
        check_prompts(of(Forgetful), workers=0)


@pytest.mark.parametrize("name", [cls.name for cls in families().values()])
def test_the_prompt_of_every_family_holds_its_video(name: str, records: Path, tmp_path: Path) -> None:
    """Some write a video as pictures, whose tokens are others than the chat template's."""
    from deeptrace.train.vlm.rollouts import PromptDataset, check_prompts

    family = family_of(tiny_model(name, tmp_path / "model", hidden_size=64, num_layers=1))
    family.sampling = Sampling(fps=1.0, max_frames=2)
    [first, *_] = make_examples(load_records(records), split="train").examples
    asking = Asking("informed", family.space_kind)
    prompts = PromptDataset(AnswerDataset([first], family, FrameStore(family.sampling), asking, Weights()))
    check_prompts(prompts, workers=0)
