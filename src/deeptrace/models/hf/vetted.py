"""A checkpoint as transformers and peft may read it: a private folder of configurations that were checked key by key.

A configuration can choose code: ``attn_implementation`` a kernel that is fetched from the hub and run, ``auto_map`` a
Python file, ``auto_mapping`` and ``megatron_core`` a module to import, a chat template a program. So no file of a
checkpoint goes to a library as it is. Keys and names of classes are taken by whitelist, from one reading of each file,
and what is read later is the copy. Weights are linked: their headers are checked, and they hold numbers alone.
"""

from __future__ import annotations

import json
import logging
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from deeptrace.errors import FileError, JsonError, ModelError
from deeptrace.files import dumps, loads, read_bytes
from deeptrace.models.hf.checkpoint import MAX_JSON_BYTES, read_config
from deeptrace.models.hf.weights import INDEX_NAME, shard_files

logger = logging.getLogger(__name__)

ADAPTER_CONFIG: Final = "adapter_config.json"

# ── configurations of models ────────────────────────────────────────────────────────────────────────────────────────

_TEXT: Final = frozenset({
    "attention_bias", "attention_dropout", "bos_token_id", "eos_token_id", "head_dim", "hidden_act", "hidden_size",
    "initializer_range", "intermediate_size", "layer_types", "max_position_embeddings", "max_window_layers",
    "model_type", "num_attention_heads", "num_hidden_layers", "num_key_value_heads", "pad_token_id", "rms_norm_eps",
    "rope_parameters", "rope_scaling", "rope_theta", "sliding_window", "tie_word_embeddings", "use_cache",
    "use_sliding_window", "vocab_size",
})  # fmt: skip
_VISION: Final = frozenset({
    "attention_dropout", "deepstack_visual_indexes", "depth", "fullatt_block_indexes", "hidden_act", "hidden_size",
    "in_channels", "initializer_range", "intermediate_size", "layer_norm_eps", "model_type", "num_attention_heads",
    "num_channels", "num_heads", "num_hidden_layers", "num_position_embeddings", "out_hidden_size", "patch_size",
    "rope_parameters", "spatial_merge_size", "temporal_patch_size", "tokens_per_second", "window_size",
})  # fmt: skip
_TOP: Final = frozenset({
    "image_token_id", "model_type", "text_config", "tie_word_embeddings", "video_token_id", "vision_config",
    "vision_end_token_id", "vision_start_token_id",
})  # fmt: skip
_ROPE: Final = frozenset(
    {"mrope_interleaved", "mrope_section", "partial_rotary_factor", "rope_theta", "rope_type", "type"}
)
_ROPE_TYPES: Final = frozenset({"default", "mrope", "axial"})
_ACTIVATIONS: Final = frozenset({"silu", "gelu", "gelu_pytorch_tanh", "gelu_new", "quick_gelu", "relu"})
_WORDS: Final = {
    "hidden_act": _ACTIVATIONS,
    "projector_hidden_act": _ACTIVATIONS,
    "layer_types": frozenset({"full_attention", "sliding_attention"}),
    "vision_aspect_ratio": frozenset({"anyres", *(f"anyres_max_{count}" for count in range(1, 17))}),
    "norm_type": frozenset({"layer_norm", "rms_norm"}),
    "vision_feature_select_strategy": frozenset({"default", "full"}),
}
_DTYPES: Final = frozenset({"float32", "bfloat16", "float16"})
# Means nothing to what is built here, and stands in every released file.
_HARMLESS: Final = frozenset({
    "architectures", "transformers_version", "vision_token_id", "torch_dtype", "dtype", "auto_map", "_name_or_path",
    "in_chans", "spatial_patch_size", "min_pixels", "max_pixels", "name_or_path", "chat_template", "is_local",
    "local_files_only",
})  # fmt: skip

MAX_LAYERS: Final = 512
MAX_NUMBER: Final = 10_000_000
"""Of any whole number in a configuration: the largest released vocabulary has 0.26 million words."""

COUNTS: Final[Mapping[str, int]] = {
    **dict.fromkeys(("num_hidden_layers", "depth", "num_layers"), MAX_LAYERS),
    **dict.fromkeys(
        ("head_dim", "hidden_size", "image_seq_length", "in_channels", "intermediate_size", "max_position_embeddings",
         "num_attention_heads", "num_channels", "num_heads", "num_key_value_heads", "num_position_embeddings",
         "out_hidden_size", "video_seq_length", "vocab_size"),
        MAX_NUMBER,
    ),
    **dict.fromkeys(
        ("merge_size", "num_image_tokens", "patch_size", "spatial_merge_size", "temporal_patch_size"), 1 << 16
    ),
}  # fmt: skip
"""Settings that are whole numbers from 1 on, and the largest of each: sizes of what is built, and divisors."""


@dataclass(frozen=True)
class Vetted:
    """A private folder, and the keys of the checkpoint's configurations that were not taken over."""

    folder: Path
    dropped: tuple[str, ...]


def vet_config(config: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """A model's configuration of known keys alone, and the names of the others.

    Raises:
        ModelError: its weights are packed, a part is of a class that is not the family's, or a number is beyond reason.
    """
    if config.get("quantization_config") is not None or config.get("compression_config") is not None:
        raise ModelError(
            "config.json has a quantization_config: its weights are packed by a method of its own, which is not run. "
            "Take the checkpoint with plain weights, and pack them here (quantization nf4 or int8)."
        )
    from deeptrace.models.hf.families import family_class

    classes = family_class(config.get("model_type")).classes
    flat = not isinstance(config.get("text_config"), Mapping)  # as the first Qwen 2.5 VL were saved
    dropped: list[str] = []
    top = _TOP | classes.top_keys
    vetted = _keep_known(config, top | _TEXT if flat else top, "", dropped)
    for part, keys, own_types in (
        ("text_config", _TEXT, classes.text),
        ("vision_config", _VISION, classes.vision),
    ):
        if not isinstance(config.get(part), Mapping):
            vetted.pop(part, None)
            continue
        own = config[part].get("model_type")
        if own is not None and own not in own_types:  # the parts have types of their own, which name a class
            raise ModelError(f"config.json: {part} is of {str(own)[:60]!r}, expected {' or '.join(sorted(own_types))}.")
        vetted[part] = _keep_known(config[part], keys | classes.part_keys, f"{part}.", dropped)
    if (dtype := dtype_in(config)) is not None:
        vetted["dtype"] = dtype
    return vetted, tuple(dropped)


def dtype_in(config: Mapping[str, Any]) -> str | None:
    """The type of a checkpoint's weights as its configuration names it.

    Raises:
        ModelError: it is not one that is computed in here.
    """
    named = config.get("dtype") or config.get("torch_dtype")
    name = None if named is None else str(named).removeprefix("torch.")
    if name is not None and name not in _DTYPES:
        raise ModelError(f"config.json: dtype is {name[:60]!r}, expected one of {', '.join(sorted(_DTYPES))}.")
    return name


def _keep_known(row: Mapping[str, Any], keys: frozenset[str], at: str, dropped: list[str]) -> dict[str, Any]:
    entries: dict[str, Any] = {}
    for key, value in row.items():
        if key not in keys:
            if key not in _HARMLESS:
                dropped.append(f"{at}{key}"[:80])
        elif key in ("rope_parameters", "rope_scaling"):
            entries[key] = None if value is None else _rope(value, f"{at}{key}")
        elif key in ("text_config", "vision_config"):
            entries[key] = value
        else:
            entries[key] = plain(value, f"{at}{key}")
    return entries


def _rope(value: Any, at: str) -> dict[str, Any]:
    if not isinstance(value, Mapping) or set(value) - _ROPE:
        raise ModelError(f"config.json: {at} is not an object of {', '.join(sorted(_ROPE))}.")
    for name in ("rope_type", "type"):
        if value.get(name, "default") not in _ROPE_TYPES:
            raise ModelError(f"config.json: {at}.{name} is {str(value[name])[:60]!r}, expected {sorted(_ROPE_TYPES)}.")
    return {key: plain(item, f"{at}.{key}") for key, item in value.items()}


def plain(value: Any, at: str) -> Any:
    """A value of a configuration that is a number, a word of a known list, or a short list of them; ``at`` is its key.

    Raises:
        ModelError: it is anything else, or a number beyond reason.
    """
    name = at.rpartition(".")[2]
    if name in COUNTS and not isinstance(value, list):
        check_count(value, at, "config.json", high=COUNTS[name])
    if isinstance(value, list):
        if len(value) > MAX_LAYERS:
            raise ModelError(f"config.json: {at} has {len(value)} items.")
        return [plain(item, at) for item in value]
    if isinstance(value, int) and not isinstance(value, bool):
        limit = MAX_LAYERS if name in ("num_hidden_layers", "depth") else MAX_NUMBER
        lowest = -MAX_LAYERS if name == "vision_feature_layer" else -1  # counted from the last one
        if not lowest <= value <= limit:
            raise ModelError(f"config.json: {at} is {value}, expected at most {limit}.")
    elif isinstance(value, str):
        words = _WORDS.get(name, _ROPE_TYPES if name in ("rope_type", "type") else None)
        if name != "model_type" and (words is None or value not in words):
            raise ModelError(f"config.json: {at} is {value[:60]!r}, which is not known here.")
    elif value is not None and not isinstance(value, bool | float):
        raise ModelError(f"config.json: {at} is no number and no word.")
    return value


def check_count(value: object, at: str, file: str, *, low: int = 1, high: int) -> None:
    """Make sure that a setting is a whole number from ``low`` to ``high``, or null: not said.

    Raises:
        ModelError: it is not; names the file, the setting and the value.
    """
    if value is None or (type(value) is int and low <= value <= high):
        return
    shown = "a number of thousands of digits" if isinstance(value, int) and value.bit_length() > 256 else repr(value)
    raise ModelError(
        f"{file}: {at} is {shown[:60]}, expected a whole number from {low} to {high}. Use the file as it was released."
    )


# ── tokenizers and processors ───────────────────────────────────────────────────────────────────────────────────────

_TOKENIZER: Final = frozenset({
    "add_bos_token", "add_eos_token", "add_prefix_space", "added_tokens_decoder", "additional_special_tokens",
    "backend", "bos_token", "clean_up_tokenization_spaces", "context_image_token", "end_image_token", "eos_token",
    "errors", "extra_special_tokens", "image_token", "legacy", "model_max_length", "pad_token", "padding_token",
    "stop_token", "padding_side", "processor_class", "split_special_tokens", "start_image_token", "tokenizer_class",
    "unk_token", "video_token", "vision_bos_token", "vision_end_token", "vision_eos_token", "vision_start_token",
})  # fmt: skip
_PIXELS: Final = frozenset({
    "cap_pixels_per_frame", "crop_size", "crop_to_patches", "default_to_square", "do_center_crop", "do_convert_rgb",
    "do_normalize", "do_rescale", "do_resize", "do_sample_frames", "fps", "do_pad", "image_grid_pinpoints",
    "image_mean", "image_processor_type", "image_std", "initial_shift", "max_frames", "max_patches", "min_patches",
    "max_pixels", "max_tokens", "max_video_tokens", "merge_size", "min_frames", "min_pixels", "min_tokens",
    "num_frames", "patch_size", "processor_class", "resample", "rescale_factor", "return_metadata", "size",
    "temporal_patch_size", "use_token_compression", "video_processor_type",
})  # fmt: skip
_PROCESSOR: Final = frozenset({
    "image_processor", "image_seq_length", "num_additional_image_tokens", "patch_size", "image_token",
    "num_image_tokens", "processor_class", "video_processor", "video_token", "vision_aspect_ratio",
    "vision_feature_select_strategy",
})  # fmt: skip


@cache
def _class_names() -> dict[str, frozenset[str]]:
    """The classes that a checkpoint may name, by key: those of all families, old and new."""
    from deeptrace.models.hf.families import families

    known = [family.classes for family in families().values()]
    return {
        "processor_class": frozenset().union(*(classes.processors for classes in known)),
        "tokenizer_class": frozenset().union(*(classes.tokenizers for classes in known)),
        "image_processor_type": frozenset().union(*(classes.image_processors for classes in known)),
        "video_processor_type": frozenset().union(*(classes.video_processors for classes in known)),
        "backend": frozenset({"tokenizers"}),
    }


_JSON_FILES: Final[dict[str, frozenset[str] | None]] = {
    "tokenizer_config.json": _TOKENIZER,
    "preprocessor_config.json": _PIXELS,
    "video_preprocessor_config.json": _PIXELS,
    "processor_config.json": _PROCESSOR,
    "special_tokens_map.json": _TOKENIZER,
    "tokenizer.json": None,  # words and numbers alone, read by one parser of its own
    "vocab.json": None,
    "added_tokens.json": None,
}


def _vet_table(row: Mapping[str, Any], keys: frozenset[str], name: str, dropped: list[str]) -> dict[str, Any]:
    entries: dict[str, Any] = {}
    for key, value in row.items():
        if key not in keys:
            if key not in _HARMLESS:
                dropped.append(f"{name}: {key}"[:80])
            continue
        names = _class_names().get(key)
        if names is not None and value is not None and not (isinstance(value, str) and value in names):
            raise ModelError(f"{name}: {key} is {str(value)[:60]!r}, which is not a class of the families known here.")
        if key in ("image_processor", "video_processor"):
            if not isinstance(value, Mapping):
                raise ModelError(f"{name}: {key} is no object.")
            entries[key] = _vet_table(value, _PIXELS, name, dropped)
        else:
            for item in value if isinstance(value, list) else [value]:
                if (most := COUNTS.get(key)) is not None:
                    check_count(item, key, name, high=most)
            if key == "num_additional_image_tokens":
                check_count(value, key, name, low=0, high=1 << 16)
            entries[key] = value
    return entries


def _vet_file(path: Path, keys: frozenset[str] | None, dropped: list[str]) -> bytes:
    try:
        content = read_bytes(path, limit=MAX_JSON_BYTES)
        if keys is None:
            return content
        # Not our strict reader for the tokenizer's: released files state a length of 10^30.
        row = json.loads(content) if path.name == "tokenizer_config.json" else loads(content)
    except (FileError, JsonError) as error:
        raise ModelError(f"{path.name}: {error}.") from None
    except (ValueError, RecursionError):
        raise ModelError(f"{path.name} is not JSON.") from None
    if not isinstance(row, dict):
        raise ModelError(f"{path.name} holds no object.")
    return json.dumps(_vet_table(row, keys, path.name, dropped)).encode()


# ── the private folder ──────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def vetted(folder: str | os.PathLike[str], *, weights: bool = False) -> Iterator[Vetted]:
    """Within, a private folder with the configurations of a checkpoint as they were checked, and links to its weights.

    Without ``weights`` there are no links. Generation settings and chat templates are left behind: both are ours.

    Raises:
        ModelError: the checkpoint cannot be read safely, see `read_config` and `vet_config`.
        FileError: the private folder cannot be written.
    """
    source = Path(folder)
    config, names = vet_config(read_config(source))
    dropped = list(names)
    files: dict[str, bytes] = {"config.json": dumps(config).encode()}
    for name, keys in _JSON_FILES.items():
        if (source / name).is_file():
            files[name] = _vet_file(source / name, keys, dropped)
    if (source / "merges.txt").is_file():
        files["merges.txt"] = _read(source / "merges.txt")
    with _private(files) as private:
        if weights:
            _link(source, private)
        if dropped:
            logger.info("%s: keys that are not taken over: %s", source.name, ", ".join(dropped[:20]))
        yield Vetted(private, tuple(dropped))


@contextmanager
def vetted_tokenizer(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """Within, a private folder with the tokenizer's files alone, its configuration checked key by key.

    Beside the config.json of a class that it does not know, the library would look for that class's code.

    Raises:
        ModelError: there is none, or it cannot be read safely.
    """
    source, dropped = Path(folder), list[str]()
    files = {
        name: _vet_file(source / name, keys, dropped)
        for name, keys in _JSON_FILES.items()
        if (keys is None or keys is _TOKENIZER) and (source / name).is_file()
    }
    if not files.keys() & {"tokenizer.json", "vocab.json"}:
        raise ModelError(f"{source.name!r} has no tokenizer (tokenizer.json).")
    if (source / "merges.txt").is_file():
        files["merges.txt"] = _read(source / "merges.txt")
    with _private(files) as private:
        yield private


@contextmanager
def vetted_adapter(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """Within, a private folder with a LoRA adapter: a configuration of numbers, and a link to its weights.

    Its modules are those that its tensors are named for, whatever its configuration says.

    Raises:
        ModelError: no LoRA adapter, or one that asks for more than the two matrices a module.
    """
    from deeptrace.models.hf.weights import read_weights

    source = Path(folder)
    config = vet_adapter(read_adapter(source), list(read_weights(source)))
    with _private({ADAPTER_CONFIG: dumps(config).encode()}) as private:
        _link(source, private)
        yield private


def read_adapter(folder: Path) -> dict[str, Any]:
    """``adapter_config.json`` of a LoRA adapter as it stands.

    Raises:
        ModelError: it cannot be read, or is of another kind of adapter.
    """
    try:
        config = loads(read_bytes(folder / ADAPTER_CONFIG, limit=1 << 20))
    except (FileError, JsonError) as error:
        raise ModelError(f"{ADAPTER_CONFIG}: {error}.") from None
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        raise ModelError(f"{ADAPTER_CONFIG} is not one of a LoRA adapter.")
    return config


_LORA_TENSOR: Final = re.compile(r"base_model\.model\.(.+)\.lora_[AB]\.weight")
_NUMBERS: Final[dict[str, Callable[[Any], bool]]] = {
    "r": lambda value: type(value) is int and 1 <= value <= 65536,
    "lora_alpha": lambda value: type(value) in (int, float) and 0 < value <= 1e6,
    "lora_dropout": lambda value: type(value) in (int, float) and 0 <= value < 1,
    "use_rslora": lambda value: type(value) is bool,
}
# What else peft writes, and what each is when it asks for nothing.
_NOTHING: Final[dict[str, tuple[Any, ...]]] = {
    "bias": ("none", None), "use_dora": (False, None), "fan_in_fan_out": (False, None), "modules_to_save": (None, []),
    "layers_to_transform": (None,), "layer_replication": (None,), "lora_bias": (False, None),
    "rank_pattern": ({}, None), "alpha_pattern": ({}, None), "trainable_token_indices": (None,),
    "target_parameters": (None, []), "use_qalora": (False, None), "use_bdlora": (None, False),
}  # fmt: skip


def vet_adapter(config: Mapping[str, Any], tensors: list[str]) -> dict[str, Any]:
    """The configuration of a LoRA adapter in numbers, with the modules that its tensors are named for.

    Raises:
        ModelError: a number is out of range, or it asks for what is not done here.
    """
    for key, empty in _NOTHING.items():
        if key in config and not any(type(config[key]) is type(value) and config[key] == value for value in empty):
            raise ModelError(f"{ADAPTER_CONFIG}: {key} is {str(config[key])[:60]!r}; only plain LoRA is taken.")
    for key, fits in _NUMBERS.items():
        if config.get(key) is not None and not fits(config[key]):
            raise ModelError(f"{ADAPTER_CONFIG}: {key} is {str(config[key])[:60]!r}, which makes no sense.")
    modules = sorted({match[1] for name in tensors if (match := _LORA_TENSOR.fullmatch(name))})
    if not modules:
        raise ModelError(f"{ADAPTER_CONFIG} is one of LoRA, but no tensor beside it is.")
    numbers = {key: config[key] for key in _NUMBERS if config.get(key) is not None}
    return {"peft_type": "LORA", "task_type": "CAUSAL_LM", "inference_mode": True, "target_modules": modules, **numbers}


@contextmanager
def _private(files: Mapping[str, bytes]) -> Iterator[Path]:
    words = "cannot write a private copy of the configurations"
    try:
        temporary = tempfile.TemporaryDirectory(prefix="deeptrace-vetted-", ignore_cleanup_errors=True)
    except OSError as error:
        raise FileError(f"{words}: {error.strerror or error}") from None
    with temporary as name:
        try:
            for file, content in files.items():
                (Path(name) / file).write_bytes(content)
        except OSError as error:
            raise FileError(f"{words}: {error.strerror or error}") from None
        yield Path(name)


def _link(source: Path, private: Path) -> None:
    try:
        if (source / INDEX_NAME).is_file():
            (private / INDEX_NAME).write_bytes(_read(source / INDEX_NAME))
        for file in shard_files(source):
            try:
                (private / file.name).symlink_to(file.resolve())
            except OSError:  # a system without symbolic links for everyone
                os.link(file.resolve(), private / file.name)
    except OSError as error:
        raise FileError(f"cannot link the weights of {source.name!r}: {error.strerror or error}") from None


def _read(path: Path) -> bytes:
    try:
        return read_bytes(path, limit=MAX_JSON_BYTES)
    except FileError as error:
        raise ModelError(f"{error}.") from None
