"""What a run will take, before it is run: tokens and memory of a checkpoint on clips of a size. Loads no weights."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deeptrace.answer import QUESTIONS
from deeptrace.errors import ModelError
from deeptrace.models.hf.checkpoint import read_config
from deeptrace.models.hf.families import Family, family_of
from deeptrace.models.hf.families.placement import Dtype, Quantization
from deeptrace.models.hf.weights import ITEM_BYTES, Tensor, read_weights

_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
# Of one quantized weight: 8 bits; or 4 and what they are scaled by (a 32-bit number for 64 of them, itself packed).
PACKED = {"int8": 1.0, "nf4": 0.5 + 4 / 64}


@dataclass(frozen=True)
class RunEstimate:
    """Tokens of one clip and bytes of a batch of them.

    ``weights`` and ``cache`` (of a full answer) follow from the checkpoint; ``activations`` is a rough upper figure of
    what one pass over the prompts holds besides. ``total`` is their sum.
    """

    frames: int
    resized_hw: tuple[int, int]
    video_tokens: int
    prompt_tokens: int
    weights: int
    cache: int
    activations: int

    @property
    def total(self) -> int:
        """Bytes in all."""
        return self.weights + self.cache + self.activations


def estimate(
    folder: str | os.PathLike[str],
    *,
    seconds: float,
    width: int,
    height: int,
    batch_size: int = 1,
    max_new_tokens: int = 512,
    dtype: Dtype = "auto",
    quantization: Quantization | None = None,
) -> RunEstimate:
    """What clips of ``seconds`` and ``width`` x ``height`` pixels take, sampled as the checkpoint says.

    ``dtype`` "auto" is the checkpoint's own.

    Raises:
        ModelError: no such checkpoint, or a size that makes no sense.
        MissingExtra: transformers is not installed.
    """
    if batch_size < 1 or max_new_tokens < 1:
        raise ModelError(f"{batch_size} at once, {max_new_tokens} tokens: all must be positive.")
    family = family_of(folder)
    config = read_config(folder)
    tensors = read_weights(folder)
    clip = clip_size(family, seconds=seconds, width=width, height=height)
    prompt = clip.prompt_tokens
    item = _item_bytes(tensors, dtype)
    text, vision = text_config(config), config.get("vision_config", {})
    return RunEstimate(
        frames=clip.frames,
        resized_hw=clip.resized_hw,
        video_tokens=clip.video_tokens,
        prompt_tokens=prompt,
        weights=sum(_weight_bytes(tensor, dtype, quantization) for tensor in tensors.values()),
        cache=batch_size * (prompt + max_new_tokens) * _cache_bytes(text) * item,
        activations=batch_size * _activations(prompt, clip.patches, family.patch_values, text, vision) * item,
    )


@dataclass(frozen=True)
class ClipSize:
    """What a clip becomes: frames, pixels of each, patches of the vision part, its tokens, and those of the prompt."""

    frames: int
    resized_hw: tuple[int, int]
    patches: int
    video_tokens: int
    prompt_tokens: int


def clip_size(family: Family, *, seconds: float, width: int, height: int) -> ClipSize:
    """What a clip of ``seconds`` and ``width`` x ``height`` pixels becomes, sampled as the checkpoint says.

    Raises:
        ModelError: a size that makes no sense, or that does not fit the processor.
    """
    if not (0 < seconds < 1e6 and 0 < width < 1e5 and 0 < height < 1e5):
        raise ModelError(f"{seconds:g} s of {width} x {height}: all must be positive.")
    frames = max(1, math.ceil(seconds * family.sampling.fps - 1e-6))
    if family.sampling.max_frames is not None:
        frames = min(frames, family.sampling.max_frames)
    size = family.vision_size(frames, height, width)
    prompt = _prompt_tokens(family, size.grid_thw[0]) + size.tokens
    return ClipSize(frames, size.resized_hw, math.prod(size.grid_thw), size.tokens, prompt)


def _prompt_tokens(family: Family, steps: int) -> int:
    """Tokens of everything but the frames: the conversation, and the time before each step where there is one."""
    question = family.card.question or QUESTIONS[family.card.format]
    words = len(family.tokenize(family.render_prompt(question).replace(family.chat.video, "")))
    return words + steps * family.time_tokens()


def text_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The language part of a configuration; flat ones are it themselves."""
    text = config.get("text_config")
    return text if isinstance(text, dict) else config


def _item_bytes(tensors: dict[str, Tensor], dtype: Dtype) -> int:
    if dtype != "auto":
        return _BYTES[dtype]
    largest = max(tensors.values(), key=lambda tensor: tensor.nbytes)
    return ITEM_BYTES[largest.dtype]


def _weight_bytes(tensor: Tensor, dtype: Dtype, quantization: Quantization | None) -> int:
    count = tensor.nbytes // ITEM_BYTES[tensor.dtype]
    # Matrices of linear layers are packed; embeddings, the output layer, norms and convolutions are not.
    packed = len(tensor.shape) == 2 and not any(word in tensor.name for word in ("embed", "lm_head"))
    if quantization is not None and packed:
        return math.ceil(count * PACKED[quantization])
    return count * (ITEM_BYTES[tensor.dtype] if dtype == "auto" else _BYTES[dtype])


def _cache_bytes(text: Mapping[str, Any]) -> int:
    """Numbers kept for one token: a key and a value in every layer."""
    heads = int(text["num_attention_heads"])
    head = text.get("head_dim") or int(text["hidden_size"]) // heads
    return 2 * int(text["num_hidden_layers"]) * int(text.get("num_key_value_heads") or heads) * int(head)


def _activations(
    tokens: int, patches: int, patch_values: int, text: Mapping[str, Any], vision: Mapping[str, Any]
) -> int:
    """Numbers alive at once in the widest layer: of the language part, or of the vision part before it.

    A layer holds its input, the residual, queries, keys, values and the attention's result, then the two wide branches
    of its feed-forward part and their product. Attention itself is computed in pieces.
    """
    hidden, wide = int(text["hidden_size"]), int(text["intermediate_size"])
    language = tokens * (6 * hidden + 3 * wide) + 2 * int(text["vocab_size"])
    v_hidden, v_wide = int(vision.get("hidden_size", 0)), int(vision.get("intermediate_size", 0))
    # The pixels of a patch come as float32 whatever the model's type.
    return max(language, patches * (6 * v_hidden + 3 * v_wide)) + patches * 2 * patch_values
