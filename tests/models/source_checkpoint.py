"""A checkpoint as VideoLLaMA 3's own code writes it: original names, config and preprocessing, tiny random weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from deeptrace.testing import tiny_model

BACK = (
    ("model.vision_model.", "model.vision_encoder."),
    ("model.projector.", "model.mm_projector."),
    ("model.language_model.", "model."),
)

CONFIG_7B = {
    "architectures": ["Videollama3Qwen2ForCausalLM"],
    "auto_map": {"AutoConfig": "configuration_videollama3.Videollama3Qwen2Config"},
    "attention_dropout": 0.0,
    "bos_token_id": 151643,
    "eos_token_id": 151645,
    "hidden_act": "silu",
    "hidden_size": 3584,
    "image_aspect_ratio": "avt",
    "image_token_index": 151665,
    "initializer_range": 0.02,
    "intermediate_size": 18944,
    "is_alignment": False,
    "max_position_embeddings": 32768,
    "max_window_layers": 28,
    "mm_attn_implementation": "flash_attention_2",
    "mm_projector_type": "mlp2x_gelu",
    "model_type": "videollama3_qwen2",
    "num_attention_heads": 28,
    "num_hidden_layers": 28,
    "num_key_value_heads": 4,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 1000000.0,
    "sliding_window": None,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "use_cache": True,
    "use_sliding_window": False,
    "use_token_compression": True,
    "vision_encoder": None,
    "vision_encoder_config": {
        "attention_dropout": 0.0,
        "hidden_act": "gelu_pytorch_tanh",
        "hidden_size": 1152,
        "intermediate_size": 4304,
        "layer_norm_eps": 1e-06,
        "model_type": "videollama3_vision_encoder",
        "num_attention_heads": 16,
        "num_channels": 3,
        "num_hidden_layers": 27,
        "patch_size": 14,
    },
    "vocab_size": 152064,
}


def original_name(native: str) -> str:
    for new, old in BACK:
        if native.startswith(new):
            return old + native.removeprefix(new)
    return native


def make_source(dst: Path, *, shards: int = 2, tied: bool = False, nested: bool = False, seed: int = 0) -> Path:
    """A tiny source checkpoint in ``shards`` files; ``nested`` as the training code names the vision encoder."""
    from safetensors.torch import load_file, save_file

    native = tiny_model("videollama3", dst.with_name(f"{dst.name}-native"), hidden_size=64, num_layers=2, seed=seed)
    weights = load_file(native / "model.safetensors")
    if tied:
        weights.pop("lm_head.weight")
    renamed = {original_name(name): tensor for name, tensor in weights.items()}
    if nested:
        renamed = {
            name.replace("model.vision_encoder.", "model.vision_encoder.vision_encoder."): tensor
            for name, tensor in renamed.items()
        }
    dst.mkdir()
    names = sorted(renamed)
    index: dict[str, str] = {}
    for number in range(shards):
        file = "model.safetensors" if shards == 1 else f"model-{number + 1:05d}-of-{shards:05d}.safetensors"
        part = {name: renamed[name] for name in names[number::shards]}
        save_file(part, dst / file, metadata={"format": "pt"})
        index |= dict.fromkeys(part, file)
    if shards > 1:
        (dst / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    config = json.loads((native / "config.json").read_text())
    text, vision = config["text_config"], config["vision_config"]
    source: dict[str, Any] = {**CONFIG_7B, "torch_dtype": "float32", "tie_word_embeddings": tied}
    source |= {key: text[key] for key in source if key in text and key not in ("torch_dtype", "tie_word_embeddings")}
    source["model_type"] = "videollama3_qwen2"
    source["architectures"] = CONFIG_7B["architectures"]
    source["vision_encoder_config"] = {
        key: vision.get(key, value) for key, value in CONFIG_7B["vision_encoder_config"].items()
    }
    (dst / "config.json").write_text(json.dumps(source, indent=2))
    (dst / "preprocessor_config.json").write_text(
        json.dumps(
            {
                "auto_map": {"AutoProcessor": "processing_videollama3.Videollama3Qwen2Processor"},
                "image_mean": [0.5, 0.5, 0.5],
                "image_std": [0.5, 0.5, 0.5],
                "max_tokens": 16384,
                "min_tokens": 16,
                "patch_size": 14,
                "resample": 3,
                "rescale_factor": 0.00392156862745098,
            }
        )
    )
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (dst / name).write_bytes((native / name).read_bytes())
    settings = json.loads((dst / "tokenizer_config.json").read_text())
    settings |= {"auto_map": {"AutoProcessor": "x.Y"}, "model_max_length": 10**30}
    (dst / "tokenizer_config.json").write_text(json.dumps(settings))
    (dst / "configuration_videollama3.py").write_text("raise SystemExit('the code of a checkpoint was run')\n")
    return dst
