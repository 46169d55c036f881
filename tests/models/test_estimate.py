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

from deeptrace.models._families import family_of  # noqa: E402
from deeptrace.models.estimate import estimate  # noqa: E402


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
