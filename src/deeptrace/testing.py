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
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from deeptrace.errors import ModelError
from deeptrace.files import make_folder
from deeptrace.models.hf.library import load_transformers, no_bars

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
    family: str,
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
        FileError: the folder cannot be made.
        MissingExtra: torch, torchvision, transformers or tokenizers is not installed.
    """
    from deeptrace.models.hf.families import TinySizes, families

    known = {cls.name: cls for cls in families().values()}
    cls = known.get(family)
    if cls is None:
        raise ModelError(f"{family!r} is not a family. Known: {', '.join(known)}.")
    if hidden_size % 32 or vision_hidden_size % 48 or min(hidden_size, vision_hidden_size) < 1:
        raise ModelError(
            f"hidden_size {hidden_size} must be a multiple of 32, vision_hidden_size {vision_hidden_size} of 48."
        )
    transformers = load_transformers("a tiny model")
    import torch

    folder = _folder(family, dst)
    sizes = TinySizes(hidden_size, num_layers, vision_hidden_size, vision_layers, initializer_range)
    config, processor = cls.tiny(sizes, tiny_tokenizer(cls.tokenizer_tokens))
    config.text_config.vocab_size = -(-len(processor.tokenizer) // 64) * 64  # rows beyond the tokens, as released
    for name, token in (("image", cls.chat.image), ("video", cls.chat.video)):
        if hasattr(config, f"{name}_token_id"):
            setattr(config, f"{name}_token_id", processor.tokenizer.convert_tokens_to_ids(token))
    for name in ("vision_start", "vision_end"):
        if hasattr(config, f"{name}_token_id"):
            setattr(config, f"{name}_token_id", processor.tokenizer.convert_tokens_to_ids(f"<|{name}|>"))
    end, pad = processor.tokenizer.convert_tokens_to_ids([cls.chat.end, cls.chat.pad])
    config.text_config.eos_token_id, config.text_config.pad_token_id = end, pad
    config.text_config.bos_token_id = pad
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = getattr(transformers, cls.model_class)(config)
    model.generation_config = transformers.GenerationConfig(eos_token_id=end, pad_token_id=pad, do_sample=False)
    with no_bars():
        model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def _folder(family: str, dst: str | os.PathLike[str] | None) -> Path:
    if dst is None:
        folder = Path(tempfile.mkdtemp(prefix=f"deeptrace-tiny-{family}-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        return folder
    folder = make_folder(dst)
    if any(folder.iterdir()):
        raise ModelError(f"{folder.name!r} is not empty: a checkpoint needs a folder of its own.")
    return folder


# ── the tokenizer ────────────────────────────────────────────────────────────────────────────────────────────────────


def tiny_tokenizer(tokens: Mapping[str, str] | None = None) -> Any:
    """A byte-level tokenizer trained on a few sentences: any text goes through it and back, in more tokens.

    ``tokens`` are special tokens besides Qwen's, by the names under which a processor looks for them.
    """
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
    tokenizer.add_special_tokens([*SPECIAL_TOKENS, *(tokens or {}).values()])
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
            **(tokens or {}),
        },
    )
