"""Adapters: merged they say what they said unmerged, and one for another base is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deeptrace.errors import ModelError
from deeptrace.models.hf.checkpoint import CheckpointCard, read_card, write_card
from deeptrace.records import Frames
from deeptrace.testing import tiny_model

torch = pytest.importorskip("torch")
peft = pytest.importorskip("peft")

from deeptrace.models.hf.adapter import merge  # noqa: E402
from deeptrace.models.hf.families import family_of  # noqa: E402


def logprobs(family: Any, model: Any) -> Any:
    images = np.random.default_rng(0).integers(0, 255, (4, 112, 112, 3), dtype=np.uint8)
    batch = family.collate([family.encode(Frames.from_array(images, 2.0), "Is it fake?")])
    return family.next_logprobs(model, batch)


@pytest.mark.parametrize("name", ["videollama3", "qwen2.5-vl"])
def test_merged_is_unmerged(name: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = tiny_model(name, tmp_path / "base", hidden_size=64, num_layers=2)
    family = family_of(base)
    config = peft.LoraConfig(r=4, target_modules=r".*language_model.*\.(q_proj|v_proj|o_proj)", init_lora_weights=False)
    torch.manual_seed(0)
    plain = logprobs(family, family.load_model(base, device="cpu"))
    model = peft.get_peft_model(family.load_model(base, device="cpu"), config).eval()
    unmerged = logprobs(family, model)
    model.save_pretrained(tmp_path / "adapter")
    card = CheckpointCard(format="trained", extra={"recipe": "test"})
    write_card(tmp_path / "adapter", card)
    assert merge(tmp_path / "adapter", base, tmp_path / "merged").ok
    again = family_of(tmp_path / "merged")
    merged = logprobs(again, again.load_model(tmp_path / "merged", device="cpu"))
    assert torch.allclose(merged, unmerged, atol=1e-5)
    assert not torch.allclose(merged, plain, atol=1e-3)
    assert read_card(tmp_path / "merged") == card
    assert again.size == family.size
    with pytest.raises(ModelError, match="is there already"):
        merge(tmp_path / "adapter", base, tmp_path / "merged")
    other = tiny_model(name, tmp_path / "other", hidden_size=96, num_layers=2)
    with pytest.raises(ModelError, match="the adapter does not fit 'other'"):
        merge(tmp_path / "adapter", other, tmp_path / "none")
    assert not (tmp_path / "none").exists()

    def refuse(*_: Any, **__: Any) -> None:
        raise ImportError("an incompatible version of torchao")

    monkeypatch.setattr(peft.PeftModel, "from_pretrained", refuse)
    with pytest.raises(ModelError, match="'adapter' cannot be merged: an incompatible version of torchao"):
        merge(tmp_path / "adapter", base, tmp_path / "none")
    assert not list(tmp_path.glob(".none*"))
