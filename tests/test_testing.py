"""The tiny models that users test with: real classes, the same bytes for the same arguments, refused where nonsense."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deeptrace.errors import FileError, ModelError
from deeptrace.models.hf.families import families
from deeptrace.testing import SPECIAL_TOKENS, tiny_model, tiny_tokenizer

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

CLASSES = {
    "videollama3": ("VideoLlama3ForConditionalGeneration", "VideoLlama3Processor"),
    "qwen2.5-vl": ("Qwen2_5_VLForConditionalGeneration", "Qwen2_5_VLProcessor"),
    "qwen3-vl": ("Qwen3VLForConditionalGeneration", "Qwen3VLProcessor"),
    "qwen2-vl": ("Qwen2VLForConditionalGeneration", "Qwen2VLProcessor"),
    "internvl": ("InternVLForConditionalGeneration", "InternVLProcessor"),
    "llava-onevision": ("LlavaOnevisionForConditionalGeneration", "LlavaOnevisionProcessor"),
    "glm-4.1v": ("Glm4vForConditionalGeneration", "Glm4vProcessor"),
    "glm-4.5v": ("Glm4vMoeForConditionalGeneration", "Glm4vProcessor"),
    "glm-4.6v": ("Glm46VForConditionalGeneration", "Glm46VProcessor"),
    "video-llava": ("VideoLlavaForConditionalGeneration", "VideoLlavaProcessor"),
}


@pytest.mark.parametrize("family", [family.name for family in families().values()])
def test_a_tiny_model_is_of_the_real_classes(family: Any, tmp_path: Path) -> None:
    folder = tiny_model(family, tmp_path / "a")
    assert {path.suffix for path in folder.iterdir()} == {".json", ".safetensors"}
    model = transformers.AutoModelForImageTextToText.from_pretrained(folder)
    processor = transformers.AutoProcessor.from_pretrained(folder)
    assert (type(model).__name__, type(processor).__name__) == CLASSES[family]
    assert model.num_parameters() < 2_000_000
    again, other = tiny_model(family, tmp_path / "b"), tiny_model(family, tmp_path / "c", seed=1)
    weights = [(path / "model.safetensors").read_bytes() for path in (folder, again, other)]
    assert weights[0] == weights[1] != weights[2]
    tokens = [(path / "tokenizer.json").read_bytes() for path in (folder, again)]
    assert tokens[0] == tokens[1]


def test_any_text_survives_the_tokenizer() -> None:
    tokenizer = tiny_tokenizer()
    text = "FAKE at [12, 345, 6, 7] 0.5 s\n\n  – naïve 手 \U0001f590"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert tokenizer.tokenize("1234") == ["1", "2", "3", "4"]
    assert len({*tokenizer("FAKE")["input_ids"][:1], *tokenizer("REAL")["input_ids"][:1]}) == 2
    assert all(len(tokenizer(token)["input_ids"]) == 1 for token in SPECIAL_TOKENS)


def test_without_a_folder_it_is_a_temporary_one() -> None:
    assert (tiny_model("videollama3", num_layers=1, vision_layers=1) / "config.json").is_file()


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"'llava' is not a family\. Known: .*videollama3"):
        tiny_model("llava")  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="hidden_size 100 must be a multiple of 32"):
        tiny_model("videollama3", hidden_size=100)
    (tmp_path / "mine").write_text("")
    with pytest.raises(ModelError, match="not empty"):
        tiny_model("videollama3", tmp_path)
    with pytest.raises(FileError, match="cannot make the folder"):
        tiny_model("videollama3", tmp_path / "mine")
