"""What training a checkpoint will take, before it is begun: memory of each GPU and of the host, bytes of a checkpoint.

From shapes alone; loads no weights. Every figure is a sum that docs/seven-b.md writes out.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from deeptrace.errors import ModelError
from deeptrace.models.hf.checkpoint import read_config
from deeptrace.models.hf.estimate import PACKED, clip_size, text_config
from deeptrace.models.hf.families import Family, family_of
from deeptrace.models.hf.families.placement import Quantization
from deeptrace.models.hf.weights import ITEM_BYTES, Tensor, read_weights

Precision = Literal["float32", "bfloat16", "mixed"]

LORA_MODULES: Final = (
    "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "gate_up_proj", "down_proj",
)  # fmt: skip
"""The modules that a recipe's [lora] table names by default."""

_FLOAT: Final = 4
_STATES: Final = 2
"""Numbers that Adam keeps of each weight that is trained: a mean of gradients, and one of their squares."""


@dataclass(frozen=True)
class TrainingEstimate:
    """Bytes, if not said otherwise. Of one GPU: ``weights``, ``gradients``, ``states``, ``activations`` and ``logits``.

    ``host`` is the memory of the machine while all processes load the weights and, with FSDP, gather them to be saved;
    ``checkpoint`` what one takes on the disk; ``result`` what ``final/`` takes. ``parameters`` and ``trained`` are
    counts.
    """

    parameters: int
    trained: int
    frames: int
    tokens: int
    weights: int
    gradients: int
    states: int
    activations: int
    logits: int
    checkpoint: int
    result: int
    host: int

    @property
    def gpu(self) -> int:
        """Of one GPU in all, without what the allocator cannot use (some 10 %)."""
        return self.weights + self.gradients + self.states + self.activations + self.logits


def estimate_training(
    folder: str | os.PathLike[str],
    *,
    seconds: float,
    width: int,
    height: int,
    batch_size: int = 1,
    answer_tokens: int = 128,
    precision: Precision = "mixed",
    gpus: int = 1,
    fsdp: bool = False,
    gradient_checkpointing: bool = False,
    lora_rank: int | None = None,
    quantization: Quantization | None = None,
) -> TrainingEstimate:
    """What a step on ``batch_size`` clips a GPU takes, and what is saved of it, in bytes.

    A clip lasts ``seconds`` and has frames of ``width`` x ``height`` pixels; ``answer_tokens`` is one answer's length.

    ``precision``, ``fsdp``, ``gradient_checkpointing``, ``lora_rank`` and ``quantization`` as a recipe has them.

    Raises:
        ModelError: no such checkpoint, or options that do not fit together.
        MissingExtra: transformers is not installed.
    """
    if min(batch_size, gpus, answer_tokens) < 1:
        raise ModelError(f"{batch_size} clips, {gpus} GPUs, {answer_tokens} tokens: all must be positive.")
    if quantization is not None and lora_rank is None:
        raise ModelError("packed weights cannot be trained: give a lora_rank.")
    family, config = family_of(folder), read_config(folder)
    tensors = read_weights(folder)
    clip = clip_size(family, seconds=seconds, width=width, height=height)
    whole = {name: math.prod(tensor.shape) for name, tensor in tensors.items()}
    trained = sum(whole.values()) if lora_rank is None else _lora(family, tensors, lora_rank)
    half = precision == "bfloat16" or quantization is not None
    each = 2 if half else _FLOAT
    base = sum(_bytes_of(tensor, each, quantization) for tensor in tensors.values())
    small = 0 if lora_rank is None else trained * _FLOAT  # peft keeps its matrices in float32
    # What is trained: the weights themselves, in their own type, or the small matrices.
    of_trained = trained * (each if lora_rank is None else _FLOAT)
    share = gpus if fsdp else 1
    tokens = clip.prompt_tokens + answer_tokens
    item = _FLOAT if precision == "float32" else 2
    saved = _count_saved(
        tokens,
        clip.patches,
        config,
        whole_layers=not gradient_checkpointing,
        beside=0 if lora_rank is None else (_FLOAT // 2 if half else 0),
        all_parts=lora_rank is None,
    )
    checkpoint = (base if lora_rank is None else small) + _STATES * of_trained
    return TrainingEstimate(
        parameters=sum(whole.values()),
        trained=trained,
        frames=clip.frames,
        tokens=tokens,
        weights=math.ceil((base + small) / share),
        gradients=math.ceil(of_trained / share),
        states=math.ceil(_STATES * of_trained / share),
        activations=batch_size * saved * item,
        # As the model gives them, as float32, and the gradient of both.
        logits=batch_size * (answer_tokens + 1) * int(text_config(config)["vocab_size"]) * (2 * item + 2 * _FLOAT),
        checkpoint=checkpoint,
        result=base if quantization is None else sum(whole.values()) * 2,
        host=gpus * (base + small) + (checkpoint if fsdp else 0),
    )


def _bytes_of(tensor: Tensor, each: int, quantization: Quantization | None) -> int:
    count = tensor.nbytes // ITEM_BYTES[tensor.dtype]
    packed = len(tensor.shape) == 2 and not any(word in tensor.name for word in ("embed", "lm_head"))
    return math.ceil(count * PACKED[quantization]) if quantization is not None and packed else count * each


def _lora(family: Family, tensors: Mapping[str, Tensor], rank: int) -> int:
    """Numbers of the two matrices beside each module of the language part: rank x (in + out)."""
    return sum(
        rank * sum(tensor.shape)
        for name, tensor in tensors.items()
        if len(tensor.shape) == 2
        and name.removesuffix(".weight").rpartition(".")[2] in LORA_MODULES
        # On the disk some names begin a level deeper than in memory.
        and {family.part_of(name), family.part_of(f"model.{name}")} == {"language"}
    )


def _count_saved(
    tokens: int, patches: int, config: Mapping[str, Any], *, whole_layers: bool, beside: int, all_parts: bool
) -> int:
    """Numbers that a forward pass keeps for the backward pass, for one clip.

    A layer keeps, of each token: what goes into its two norms, each as it is and normalised (4 hidden), queries, keys
    and values and the attention's result (2 hidden, 2 keys), the two wide branches, the activation of one and the
    product (4 wide). Attention itself is computed in pieces. The vision part keeps its pixels besides, and what joins
    four patches to a token, unless nothing before the language part is trained. ``beside``: numbers for each that goes
    into a module beside which small matrices in float32 are trained. With gradient checkpointing only what goes into
    each layer is kept, and one layer in full while it is computed again.
    """
    text, vision = text_config(config), config.get("vision_config", {})
    heads = int(text["num_attention_heads"])
    hidden, wide, layers = (int(text[key]) for key in ("hidden_size", "intermediate_size", "num_hidden_layers"))
    keys = int(text.get("num_key_value_heads") or heads) * int(text.get("head_dim") or hidden // heads)
    language_layer = tokens * (6 * hidden + 2 * keys + 4 * wide + beside * (6 * hidden + wide))
    v_hidden, v_wide = int(vision.get("hidden_size", 0)), int(vision.get("intermediate_size", 0))
    v_layers = int(vision.get("num_hidden_layers") or vision.get("depth") or 0)
    vision_layer = patches * (8 * v_hidden + 4 * v_wide)
    pixels = patches * (3 * int(vision.get("patch_size", 14)) ** 2 * int(vision.get("temporal_patch_size", 1)))
    if not all_parts:
        v_layers = vision_layer = pixels = v_hidden = 0
    joining = pixels + 4 * patches * v_hidden
    if whole_layers:
        return layers * language_layer + v_layers * vision_layer + joining
    return joining + layers * tokens * hidden + v_layers * patches * v_hidden + max(language_layer, vision_layer)
