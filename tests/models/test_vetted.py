"""A checkpoint cannot choose code: what the libraries read is a copy of what was checked, key by key."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deeptrace.errors import ModelError
from deeptrace.models.hf.vetted import vet_adapter, vet_config, vetted, vetted_tokenizer
from deeptrace.testing import tiny_model

pytest.importorskip("transformers")

from deeptrace.models.hf.check import check
from deeptrace.models.hf.families import family_of

KERNEL = "someone/kernel"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model("qwen2.5-vl", tmp_path_factory.mktemp("vetted") / "m", hidden_size=64, num_layers=1)


def config_of(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "config.json").read_text()))


def poisoned(folder: Path, tmp_path: Path) -> Path:
    """A copy whose files name code wherever a library would look for it."""
    copy = tmp_path / "poisoned"
    copy.mkdir()
    for file in folder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    config = config_of(folder)
    names = ("attn_implementation", "_attn_implementation", "_attn_implementation_internal", "experts_implementation")
    for row in (config, config["text_config"], config["vision_config"]):
        row.update(dict.fromkeys(names, KERNEL))
    config["auto_map"] = {"AutoModel": f"{KERNEL}--evil.Evil"}
    (copy / "config.json").write_text(json.dumps(config))
    for name in ("tokenizer_config.json", "processor_config.json"):
        row = json.loads((folder / name).read_text())
        row |= {"auto_map": {"AutoTokenizer": [f"{KERNEL}--evil.Evil", None]}, "chat_template": "{{ evil() }}"}
        (copy / name).write_text(json.dumps(row))
    generation = {"custom_generate": KERNEL, "cache_implementation": KERNEL}
    (copy / "generation_config.json").write_text(json.dumps(generation))
    (copy / "chat_template.jinja").write_text("{{ evil() }}")
    return copy


def test_what_names_code_is_left_behind(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = poisoned(folder, tmp_path)

    def no_network(*_: Any, **__: Any) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "create_connection", no_network)
    monkeypatch.setattr(socket.socket, "connect", no_network)
    report = check(copy)
    assert report.ok
    assert "not taken over: text_config.attn_implementation" in report.notes
    family = family_of(copy)
    model = family.load_model(copy, device="cpu")
    assert {part._attn_implementation for part in (model.config, model.config.text_config)} == {"sdpa"}
    assert model.config.vision_config._attn_implementation == "sdpa"
    assert model.generation_config.to_diff_dict().get("custom_generate") is None
    assert family.processor.tokenizer.chat_template is None
    assert model.name_or_path == str(copy)
    saved = tmp_path / "saved"
    model.save_pretrained(saved)
    family.processor.save_pretrained(saved)
    for file in saved.glob("*.json"):
        assert KERNEL not in file.read_text()
        assert "deeptrace-vetted-" not in file.read_text()
    with vetted(copy, weights=True) as private:
        assert {file.suffix for file in private.folder.iterdir()} == {".json", ".safetensors"}
        assert not (private.folder / "generation_config.json").exists()
    with vetted_tokenizer(copy) as alone:
        assert KERNEL not in (alone / "tokenizer_config.json").read_text()


def put(*path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(config: dict[str, Any]) -> None:
        row = config
        for key in path[:-1]:
            row = row[key]
        row[path[-1]] = value

    return change


REFUSED = [
    (put("quantization_config", value={"quant_method": "gptq"}), "packed by a method of its own"),
    (put("text_config", "model_type", value="evil"), "text_config is of 'evil'"),
    (put("vision_config", "model_type", value="siglip"), "vision_config is of 'siglip'"),
    (put("text_config", "num_hidden_layers", value=10**9), "num_hidden_layers is 1000000000"),
    (put("text_config", "vocab_size", value=10**15), "vocab_size is"),
    (put("text_config", "hidden_act", value=KERNEL), "hidden_act is 'someone/kernel'"),
    (put("text_config", "rope_parameters", value={"rope_type": KERNEL}), "rope_type is 'someone/kernel'"),
    (put("text_config", "rope_parameters", "code", value="x"), "rope_parameters is not an object of"),
    (put("text_config", "layer_types", value=["full_attention"] * 10_000), "layer_types has 10000 items"),
    (put("text_config", "hidden_size", value=0), "config.json: text_config.hidden_size is 0, expected a whole number"),
    (put("text_config", "num_attention_heads", value=-1), "num_attention_heads is -1, expected a whole number from 1"),
    (put("vision_config", "patch_size", value=True), "vision_config.patch_size is True, expected a whole number"),
    (put("vision_config", "patch_size", value=14.5), "vision_config.patch_size is 14.5, expected a whole number"),
    (put("dtype", value="os"), "dtype is 'os'"),
    (put("model_type", value="llama"), "'llama' is not a family"),
    (put("image_token_id", value={"evil": 1}), "is no number and no word"),
]


@pytest.mark.parametrize(("change", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_a_configuration_beyond_reason_is_refused(folder: Path, change: Any, message: str) -> None:
    config = config_of(folder)
    change(config)
    with pytest.raises(ModelError, match=message):
        vet_config(config)


@pytest.mark.parametrize(
    ("file", "key"), [("tokenizer_config.json", "tokenizer_class"), ("processor_config.json", "processor_class")]
)
def test_a_class_of_another_family_is_refused(folder: Path, tmp_path: Path, file: str, key: str) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for each in folder.iterdir():
        (copy / each.name).write_bytes(each.read_bytes())
    (copy / file).write_text(json.dumps({**json.loads((folder / file).read_text()), key: "BertJapaneseTokenizer"}))
    with pytest.raises(ModelError, match=f"{key} is 'BertJapaneseTokenizer', which is not a class of the families"):
        family_of(copy)


@pytest.mark.parametrize(
    ("family", "key", "value", "words"),
    [
        ("internvl", "image_seq_length", -4, "processor_config.json: image_seq_length is -4, expected a whole number"),
        ("internvl", "image_seq_length", "4", "processor_config.json: image_seq_length is '4', expected a whole"),
        ("llava-onevision", "num_image_tokens", True, "processor_config.json: num_image_tokens is True, expected"),
        ("llava-onevision", "num_image_tokens", None, "processor_config.json: num_image_tokens is missing"),
        ("video-llava", "patch_size", 0, "processor_config.json: patch_size is 0, expected a whole number from 1 to"),
        ("video-llava", "patch_size", 10**17, "processor_config.json: patch_size is 1000"),
        ("video-llava", "num_additional_image_tokens", -1, "num_additional_image_tokens is -1, expected a whole"),
    ],
)
def test_numbers_that_tokens_are_counted_by_are_checked(
    family: Any, key: str, value: object, words: str, tmp_path: Path
) -> None:
    folder = tiny_model(family, tmp_path / "m", hidden_size=64, num_layers=1)
    row = json.loads((folder / "processor_config.json").read_text())
    (folder / "processor_config.json").write_text(json.dumps({**row, key: value}))
    with pytest.raises(ModelError, match=words):
        family_of(folder)


def test_released_flat_configurations_are_taken(folder: Path) -> None:
    """Qwen 2.5 VL was first saved with the language part's keys at the top."""
    config = config_of(folder)
    text = config.pop("text_config")
    text.pop("rope_parameters")
    flat = {**text, **config, "rope_theta": 1e6, "rope_scaling": {"type": "mrope", "mrope_section": [4, 6, 6]}}
    flat.pop("dtype")
    flat |= {"torch_dtype": "bfloat16", "vision_token_id": 151654, "architectures": ["Q"]}
    kept, dropped = vet_config(flat)
    assert dropped == ()
    assert (kept["hidden_size"], kept["dtype"], kept["rope_scaling"]["type"]) == (64, "bfloat16", "mrope")


def test_an_adapter_is_numbers_and_the_modules_of_its_tensors() -> None:
    tensors = [f"base_model.model.model.layers.0.{name}.lora_{side}.weight" for name in ("q", "v") for side in "AB"]
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": "(a+)+$", "auto_mapping": {"x": "os"}}
    config |= {"megatron_core": "os", "base_model_name_or_path": KERNEL, "bias": "none"}
    assert vet_adapter(config, tensors) == {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "inference_mode": True,
        "target_modules": ["model.layers.0.q", "model.layers.0.v"],
        "r": 4,
        "lora_alpha": 8,
    }
    for key, value in (("r", 0), ("lora_alpha", "x"), ("use_dora", True), ("rank_pattern", {"(a+)+": 2})):
        with pytest.raises(ModelError, match=f"adapter_config.json: {key} is"):
            vet_adapter({**config, key: value}, tensors)
    with pytest.raises(ModelError, match="no tensor beside it is"):
        vet_adapter(config, ["weight"])
