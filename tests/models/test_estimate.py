"""What a run is said to take is what it takes: tokens, weights and cache exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deeptrace.answer import QUESTIONS
from deeptrace.errors import ModelError
from deeptrace.records import Frames
from deeptrace.testing import tiny_model

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from deeptrace.models.hf.estimate import estimate  # noqa: E402
from deeptrace.models.hf.estimate_training import LORA_MODULES, estimate_training  # noqa: E402
from deeptrace.models.hf.families import family_of  # noqa: E402


@pytest.mark.parametrize("name", ["videollama3", "qwen2.5-vl", "qwen3-vl"])
def test_an_estimate_is_what_it_takes(name: Any, tmp_path: Path) -> None:
    folder = tiny_model(name, tmp_path / "m", hidden_size=64, num_layers=2)
    said = estimate(folder, seconds=3.0, width=160, height=112, max_new_tokens=1)
    family = family_of(folder)
    rate = family.sampling.fps
    images = np.random.default_rng(0).integers(0, 255, (said.frames, 112, 160, 3), dtype=np.uint8)
    assert said.frames == round(3 * rate)
    shown = family.encode(Frames.from_array(images, rate), QUESTIONS["zero-shot"])
    assert said.video_tokens == shown.size.tokens
    assert said.resized_hw == shown.size.resized_hw
    # Letters may join across the places where times were cut out.
    assert said.prompt_tokens == pytest.approx(shown.inputs["input_ids"].shape[1], abs=4)
    model = family.load_model(folder, device="cpu")
    assert said.weights == sum(p.numel() * p.element_size() for p in model.parameters())
    with torch.inference_mode():
        cache = model(**shown.inputs, use_cache=True).past_key_values
    held = sum(t.numel() * t.element_size() for layer in cache.layers for t in (layer.keys, layer.values))
    per_token = held / shown.inputs["input_ids"].shape[1]
    assert said.cache == (said.prompt_tokens + 1) * per_token
    assert said.total == said.weights + said.cache + said.activations


@pytest.mark.parametrize("name", ["videollama3", "qwen2.5-vl"])
@pytest.mark.parametrize("lora_rank", [None, 4])
def test_a_training_step_takes_what_was_said(name: Any, lora_rank: int | None, tmp_path: Path) -> None:
    """Weights, gradients and states to the byte; what is kept for the backward pass within a quarter."""
    peft = pytest.importorskip("peft")
    folder = tiny_model(name, tmp_path / "m", hidden_size=256, num_layers=4, vision_hidden_size=96)
    family = family_of(folder)
    answer = "FAKE. " * 20
    size = {"seconds": 4.0, "width": 224, "height": 224}
    bill = estimate_training(
        folder, **size, answer_tokens=len(family.tokenize(answer)) + 1, precision="float32", lora_rank=lora_rank
    )
    model = family.load_model(folder, device="cpu").train()
    if lora_rank is not None:
        wanted = [n for n, _ in model.named_modules() if "language" in n and n.rpartition(".")[2] in LORA_MODULES]
        model = peft.get_peft_model(model, peft.LoraConfig(r=lora_rank, target_modules=wanted))
    images = np.random.default_rng(0).integers(0, 255, (bill.frames, 224, 224, 3), dtype=np.uint8)
    encoded = family.encode(Frames.from_array(images, family.sampling.fps), QUESTIONS["zero-shot"], answer)
    batch = family.collate([encoded])
    held: dict[int, int] = {}
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}

    def keep(tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            held[storage.data_ptr()] = storage.nbytes()
        return tensor

    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    batch.pop("labels")
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        outputs = model(**batch, use_cache=False)
    loss = outputs.logits[:, -2:].float().square().mean()
    measured = sum(held.values())
    loss.backward()
    optimizer.step()
    sizes = [(p.numel() * p.element_size(), p.grad is not None) for p in model.parameters()]
    assert bill.weights == sum(size for size, _ in sizes)
    assert bill.trained * 4 == bill.gradients == sum(size for size, trained in sizes if trained)
    states = sum(t.numel() * 4 for state in optimizer.state.values() for k, t in state.items() if k != "step")
    assert bill.states == states
    assert bill.tokens == pytest.approx(encoded.inputs["input_ids"].shape[1], abs=4)
    assert bill.activations == pytest.approx(measured, rel=0.25)


def test_what_is_shared_out_and_what_is_saved(tmp_path: Path) -> None:
    folder = tiny_model("qwen2.5-vl", tmp_path / "m", hidden_size=64, num_layers=2)
    size = {"seconds": 4.0, "width": 320, "height": 240}
    one, shared = (estimate_training(folder, **size, gpus=8, fsdp=fsdp) for fsdp in (False, True))
    assert shared.weights * 8 == pytest.approx(one.weights, abs=8)
    assert (one.checkpoint, one.host) == (3 * one.weights, 8 * one.weights)
    assert shared.host == one.host + one.checkpoint
    again = estimate_training(folder, **size, gradient_checkpointing=True)
    assert again.activations < one.activations
    small = estimate_training(folder, **size, lora_rank=4)
    assert small.checkpoint == 3 * 4 * small.trained < one.checkpoint / 10
    with pytest.raises(ModelError, match="packed weights cannot be trained"):
        estimate_training(folder, **size, quantization="nf4")


def test_smaller_numbers_take_less(tmp_path: Path) -> None:
    folder = tiny_model("qwen2.5-vl", tmp_path / "m", hidden_size=64, num_layers=1)
    full, half = (estimate(folder, seconds=5, width=640, height=360, dtype=d) for d in ("float32", "bfloat16"))
    assert half.total * 2 == full.total
    packed = [
        estimate(folder, seconds=5, width=640, height=360, dtype="bfloat16", quantization=q).weights
        for q in (None, "int8", "nf4")
    ]
    assert packed[0] > packed[1] > packed[2]
    twice = estimate(folder, seconds=5, width=640, height=360, batch_size=2)
    assert (twice.cache, twice.weights) == (2 * full.cache, full.weights)


def test_a_size_that_makes_no_sense_is_refused(tmp_path: Path) -> None:
    folder = tiny_model("videollama3", tmp_path / "m", hidden_size=64, num_layers=1)
    with pytest.raises(ModelError, match="must be positive"):
        estimate(folder, seconds=0, width=10, height=10)
    with pytest.raises(ModelError, match="do not fit the processor"):
        estimate(folder, seconds=1, width=9000, height=10)
