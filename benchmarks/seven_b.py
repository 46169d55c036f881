"""A folder with the shapes of a 7B checkpoint and no weights, and what `models estimate --train` says of it.

    python benchmarks/seven_b.py [--keep FOLDER]

Shapes are those of VideoLLaMA 3 7B (Qwen2.5 7B and a SigLIP encoder of 27 layers), built by the real class without
memory; the weight file is a hole of 16 GB that takes no disk. The tokenizer is that of the tiny models, so prompts
count some hundred tokens more than with the released one.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from pathlib import Path

import torch
import transformers

from deeptrace.models.hf.estimate_training import TrainingEstimate, estimate_training
from deeptrace.testing import tiny_model

CLIP = {"seconds": 5.0, "width": 1280, "height": 720}
RUNS = {
    "paper-videollama3-7b: all weights, 8 GPUs, FSDP": {"gpus": 8, "fsdp": True, "gradient_checkpointing": True},
    "the same without FSDP": {"gpus": 8, "gradient_checkpointing": True},
    "videollama3-7b: LoRA 16, bfloat16, one GPU": {
        "lora_rank": 16,
        "precision": "bfloat16",
        "gradient_checkpointing": True,
    },
    "LoRA 16 on 4-bit weights, one GPU": {"lora_rank": 16, "quantization": "nf4", "gradient_checkpointing": True},
}


def make_folder(folder: Path) -> Path:
    """The configuration of 7B, the processor of a tiny model, and a weight file that is a hole."""
    tiny_model("videollama3", folder)
    text = {
        "model_type": "qwen2",
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "vocab_size": 152064,
        "max_position_embeddings": 32768,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
    }
    vision = {
        "hidden_size": 1152,
        "intermediate_size": 4304,
        "num_hidden_layers": 27,
        "num_attention_heads": 16,
        "patch_size": 14,
    }
    config = transformers.VideoLlama3Config(text_config=text, vision_config=vision, dtype="bfloat16")
    config.architectures = ["VideoLlama3ForConditionalGeneration"]
    config.save_pretrained(folder)
    with torch.device("meta"):
        model = transformers.VideoLlama3ForConditionalGeneration(config)
    header, at = {}, 0
    for name, tensor in model.state_dict().items():
        end = at + 2 * math.prod(tensor.shape)
        header[name] = {"dtype": "BF16", "shape": list(tensor.shape), "data_offsets": [at, end]}
        at = end
    words = json.dumps(header).encode()
    with open(folder / "model.safetensors", "wb") as file:
        file.write(len(words).to_bytes(8, "little") + words)
        file.truncate(8 + len(words) + at)
    return folder


def line(name: str, bill: TrainingEstimate) -> str:
    parts = (bill.weights, bill.gradients, bill.states, bill.activations, bill.logits, bill.gpu, bill.host)
    cells = [f"{part / 2**30:.1f}" for part in (*parts, bill.checkpoint, bill.result)]
    return f"| {name} | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path, help="leave the folder here, for `deeptrace models estimate`")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="deeptrace-seven-b-") as name:
        folder = make_folder(options.keep or Path(name) / "model")
        bills = {run: estimate_training(folder, **CLIP, **kind) for run, kind in RUNS.items()}
    first = next(iter(bills.values()))
    print(f"{first.parameters:,} parameters; {first.frames} frames, {first.tokens:,} tokens\n")
    print("| GiB | weights | gradients | states | activations | logits | a GPU | host | checkpoint | result |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for run, bill in bills.items():
        print(line(run, bill))


if __name__ == "__main__":
    main()
