"""Tiny models of the real classes, for tests: built offline in a second, with random weights and a real tokenizer.

In goes the name of a family, out comes a checkpoint folder that `load("hf:<folder>")` and training take like any
other: `config.json`, safetensors, a processor with the released sizes, and a byte-level tokenizer of a few hundred
tokens with Qwen's special ones. The weights know nothing; everything around them is what a 7B model goes through.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, get_args

from deeptrace.errors import ModelError
from deeptrace.models._library import load_transformers, no_bars

FamilyName: TypeAlias = Literal["videollama3", "qwen2.5-vl", "qwen3-vl"]

SPECIAL_TOKENS: Final = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>",
    "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
    "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip
"""Qwen's, in the order of its vocabulary."""

_WORDS: Final = """
FAKE. The video is AI-generated. The unnatural part is at [385, 451, 704, 986] starting 1.5 seconds. The reason is
because the hand of the person merges with the cup and then vanishes. REAL. The video is real. There is no unnatural
part. Decide whether the video is AI-generated or real by detecting unnatural parts. If you don't detect any unnatural
parts and think the video is real, reply with REAL. Otherwise, if you detect any, reply with FAKE, and provide the
coordinates of the unnatural parts in [x0, y0, x1, y1] format, the starting time of them, and an explanation. You are a
helpful assistant. system user assistant Time 0.0s: Time 12.5s: <0.2 seconds> <coordinates> </coordinates> <start_time>
</start_time> <explanation> </explanation> A small thing at the left jumps, blurs, splits, moves by itself, disappears.
"""
# Qwen's: contractions, words with one character before them, digits one by one, punctuation, white space.
_SPLIT: Final = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_VOCABULARY: Final = 512


def tiny_model(
    family: FamilyName,
    dst: str | os.PathLike[str] | None = None,
    *,
    seed: int = 0,
    hidden_size: int = 128,
    num_layers: int = 3,
    vision_hidden_size: int = 96,
    vision_layers: int = 2,
    initializer_range: float = 0.02,
) -> Path:
    """Build a tiny checkpoint of a family and return its folder.

    Without ``dst`` the folder is a temporary one that goes when Python ends. The same arguments give the same bytes of
    weights. About 0.7 million parameters by default; ``hidden_size`` is a multiple of 32 (heads of 32),
    ``vision_hidden_size`` of 48 (heads of 24).

    Raises:
        ModelError: the family is unknown, a size does not fit, or ``dst`` holds something already.
        MissingExtra: torch, torchvision, transformers or tokenizers is not installed.
    """
    if family not in get_args(FamilyName):
        raise ModelError(f"{family!r} is not a family. Known: {', '.join(get_args(FamilyName))}.")
    if hidden_size % 32 or vision_hidden_size % 48 or min(hidden_size, vision_hidden_size) < 1:
        raise ModelError(
            f"hidden_size {hidden_size} must be a multiple of 32, vision_hidden_size {vision_hidden_size} of 48."
        )
    transformers = load_transformers("a tiny model")
    import torch

    folder = _folder(family, dst)
    sizes = {
        "hidden_size": hidden_size,
        "num_layers": num_layers,
        "vision_hidden_size": vision_hidden_size,
        "vision_layers": vision_layers,
        "initializer_range": initializer_range,
    }
    config = _CONFIGS[family](**sizes)
    processor = _processor(family)
    config.text_config.vocab_size = -(-len(processor.tokenizer) // 64) * 64  # rows beyond the tokens, as released
    for name in ("image", "video"):
        setattr(config, f"{name}_token_id", processor.tokenizer.convert_tokens_to_ids(f"<|{name}_pad|>"))
    for name in ("vision_start", "vision_end"):
        if hasattr(config, f"{name}_token_id"):
            setattr(config, f"{name}_token_id", processor.tokenizer.convert_tokens_to_ids(f"<|{name}|>"))
    end, pad = processor.tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"])
    config.text_config.eos_token_id, config.text_config.pad_token_id = end, pad
    config.text_config.bos_token_id = pad
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = getattr(transformers, _CLASSES[family])(config)
    model.generation_config = transformers.GenerationConfig(eos_token_id=end, pad_token_id=pad, do_sample=False)
    with no_bars():
        model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


_CLASSES: Final[dict[str, str]] = {
    "videollama3": "VideoLlama3ForConditionalGeneration",
    "qwen2.5-vl": "Qwen2_5_VLForConditionalGeneration",
    "qwen3-vl": "Qwen3VLForConditionalGeneration",
}


def _folder(family: str, dst: str | os.PathLike[str] | None) -> Path:
    if dst is None:
        folder = Path(tempfile.mkdtemp(prefix=f"deeptrace-tiny-{family}-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        return folder
    folder = Path(dst)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise ModelError(f"{folder.name!r} is not empty: a checkpoint needs a folder of its own.")
    except OSError as error:
        raise ModelError(f"cannot make the folder {folder.name!r}: {error.strerror}.") from None
    return folder


# ── configurations ──────────────────────────────────────────────────────────────────────────────────────────────────


def _text(hidden_size: int, num_layers: int, initializer_range: float) -> dict[str, Any]:
    heads = hidden_size // 32
    return {
        "hidden_size": hidden_size,
        "intermediate_size": 2 * hidden_size,
        "num_hidden_layers": num_layers,
        "num_attention_heads": heads,
        "num_key_value_heads": max(1, heads // 2) if heads % 2 == 0 else heads,
        "max_position_embeddings": 8192,
        "initializer_range": initializer_range,
        "rms_norm_eps": 1e-6,
    }


def _videollama3(
    *, hidden_size: int, num_layers: int, vision_hidden_size: int, vision_layers: int, initializer_range: float
) -> Any:
    from transformers import VideoLlama3Config

    return VideoLlama3Config(
        text_config={
            "model_type": "qwen2",
            **_text(hidden_size, num_layers, initializer_range),
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
        },
        vision_config={
            "hidden_size": vision_hidden_size,
            "intermediate_size": 2 * vision_hidden_size,
            "num_hidden_layers": vision_layers,
            "num_attention_heads": vision_hidden_size // 24,
            "patch_size": 14,
            "initializer_range": initializer_range,
        },
    )


def _qwen25(
    *, hidden_size: int, num_layers: int, vision_hidden_size: int, vision_layers: int, initializer_range: float
) -> Any:
    from transformers import Qwen2_5_VLConfig

    return Qwen2_5_VLConfig(
        text_config={
            **_text(hidden_size, num_layers, initializer_range),
            # Half a head of 32: as many for time as released (16 of 64), the rest for height and width.
            "rope_parameters": {"rope_type": "default", "mrope_section": [4, 6, 6], "rope_theta": 1e6},
        },
        vision_config={
            "hidden_size": vision_hidden_size,
            "intermediate_size": 2 * vision_hidden_size,
            "depth": vision_layers,
            "num_heads": vision_hidden_size // 24,
            "out_hidden_size": hidden_size,
            "fullatt_block_indexes": [vision_layers - 1],
            "tokens_per_second": 2,  # as released; the class's default is 4
            "initializer_range": initializer_range,
        },
    )


def _qwen3(
    *, hidden_size: int, num_layers: int, vision_hidden_size: int, vision_layers: int, initializer_range: float
) -> Any:
    from transformers import Qwen3VLConfig

    return Qwen3VLConfig(
        text_config={
            **_text(hidden_size, num_layers, initializer_range),
            "head_dim": 32,
            "rope_parameters": {
                "rope_type": "default",
                "mrope_section": [6, 5, 5],
                "mrope_interleaved": True,
                "rope_theta": 5e6,
            },
        },
        vision_config={
            "hidden_size": vision_hidden_size,
            "intermediate_size": 2 * vision_hidden_size,
            "depth": vision_layers,
            "num_heads": vision_hidden_size // 24,
            "out_hidden_size": hidden_size,
            "deepstack_visual_indexes": [0],
            "num_position_embeddings": 64,
            "initializer_range": initializer_range,
        },
    )


_CONFIGS: Final[dict[str, Any]] = {"videollama3": _videollama3, "qwen2.5-vl": _qwen25, "qwen3-vl": _qwen3}


# ── processors ──────────────────────────────────────────────────────────────────────────────────────────────────────


def tiny_tokenizer() -> Any:
    """A byte-level tokenizer trained on a few sentences: any text goes through it and back, in more tokens."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=_VOCABULARY,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_WORDS.split("\n"), trainer)
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        clean_up_tokenization_spaces=False,
        extra_special_tokens={
            "image_token": "<|image_pad|>",
            "video_token": "<|video_pad|>",
            "vision_start_token": "<|vision_start|>",
            "vision_end_token": "<|vision_end|>",
        },
    )


def _processor(family: str) -> Any:
    import transformers

    tokenizer = tiny_tokenizer()
    if family == "videollama3":
        size = {"shortest_edge": 16 * 28 * 28, "longest_edge": 16384 * 28 * 28}
        return transformers.VideoLlama3Processor(
            transformers.VideoLlama3ImageProcessor(size=size),
            tokenizer,
            transformers.VideoLlama3VideoProcessor(size=size),
        )
    if family == "qwen2.5-vl":
        return transformers.Qwen2_5_VLProcessor(
            transformers.Qwen2VLImageProcessor(),
            tokenizer,
            # Released: at least 128 tokens a frame. Here 16, so that a test's small frames stay small.
            transformers.Qwen2VLVideoProcessor(
                size={"shortest_edge": 16 * 28 * 28, "longest_edge": 768 * 28 * 28}, cap_pixels_per_frame=True
            ),
        )
    return transformers.Qwen3VLProcessor(
        transformers.Qwen2VLImageProcessor(patch_size=16),
        tokenizer,
        transformers.Qwen3VLVideoProcessor(
            size={"shortest_edge": 4 * 32 * 32, "longest_edge": 24576 * 32 * 32}, cap_pixels_per_frame=True
        ),
    )
