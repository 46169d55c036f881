"""VideoLLaMA 3's own names, shapes and settings (``videollama3_qwen2``) and those of the class that transformers has.

Which tensor becomes which, and what does not fit. Reads no file and takes no memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from deeptrace.errors import ModelError
from deeptrace.models.hf.library import load_errors, load_transformers, one_line
from deeptrace.models.hf.vetted import dtype_in, plain

SOURCE_TYPE: Final = "videollama3_qwen2"

_PREFIXES: Final = (
    # Checkpoints of the training code carry the vision encoder one level deeper.
    ("model.vision_encoder.vision_encoder.", "model.vision_model."),
    ("model.vision_encoder.", "model.vision_model."),
    ("model.mm_projector.", "model.projector."),
    ("model.embed_tokens.", "model.language_model.embed_tokens."),
    ("model.layers.", "model.language_model.layers."),
    ("model.norm.", "model.language_model.norm."),
    ("lm_head.", "lm_head."),
)

_TEXT_KEYS: Final = (
    "attention_dropout", "bos_token_id", "eos_token_id", "hidden_act", "hidden_size", "initializer_range",
    "intermediate_size", "max_position_embeddings", "max_window_layers", "num_attention_heads", "num_hidden_layers",
    "num_key_value_heads", "pad_token_id", "rms_norm_eps", "sliding_window", "tie_word_embeddings", "use_cache",
    "use_sliding_window", "vocab_size",
)  # fmt: skip
_VISION_KEYS: Final = (
    "attention_dropout", "hidden_act", "hidden_size", "intermediate_size", "layer_norm_eps", "num_attention_heads",
    "num_channels", "num_hidden_layers", "patch_size",
)  # fmt: skip
USED_KEYS: Final = frozenset(
    {*_TEXT_KEYS, "rope_theta", "rope_scaling", "vision_encoder_config", "mm_projector_type", "use_token_compression",
     "torch_dtype", "dtype", "model_type", "architectures", "fps", "max_frames", "image_token_index"}
)  # fmt: skip


@dataclass(frozen=True)
class ConversionPlan:
    """Which tensor becomes which, and what does not fit: nothing is converted unless all three lists are empty.

    ``names`` maps every source tensor that is taken over to its native name. ``tied`` are copies of the embedding that
    a model with tied embeddings does not store. ``left_out`` are keys of config.json that mean nothing to the native
    class.
    """

    names: Mapping[str, str]
    tied: tuple[str, ...]
    missing: tuple[str, ...]
    extra: tuple[str, ...]
    wrong_shape: tuple[str, ...]
    config: Any
    left_out: tuple[str, ...]

    @property
    def fits(self) -> bool:
        """Every tensor is accounted for."""
        return not (self.missing or self.extra or self.wrong_shape)


def native_name(name: str) -> str | None:
    """The native name of a tensor; None when the native class has no place for it."""
    for old, new in _PREFIXES:
        if name.startswith(old):
            return new + name.removeprefix(old)
    return None


def native_config(config: Mapping[str, Any], *, image_token_id: int, video_token_id: int) -> Any:
    """The native configuration of a source's config.json.

    Raises:
        ModelError: it is of another kind, or asks for something that the native class does not do.
    """
    transformers = load_transformers("converting a model")
    if config.get("model_type") != SOURCE_TYPE:
        raise ModelError(f"config.json is of {config.get('model_type')!r}; only {SOURCE_TYPE!r} is converted.")
    if config.get("mm_projector_type") != "mlp2x_gelu":
        raise ModelError(f"mm_projector_type is {config.get('mm_projector_type')!r}, expected 'mlp2x_gelu'.")
    if config.get("rope_scaling") is not None:
        raise ModelError(f"rope_scaling is {config['rope_scaling']!r}; only models without it are converted.")
    vision = config.get("vision_encoder_config")
    if not isinstance(vision, Mapping):
        raise ModelError("config.json has no vision_encoder_config: the vision encoder's sizes are not known.")
    try:
        native = transformers.VideoLlama3Config(
            text_config={
                "model_type": "qwen2",
                **{key: plain(config[key], key) for key in _TEXT_KEYS if key in config},
                "rope_parameters": {"rope_type": "default", "rope_theta": float(config.get("rope_theta", 1e6))},
            },
            vision_config={key: plain(vision[key], key) for key in _VISION_KEYS if key in vision},
            image_token_id=image_token_id,
            video_token_id=video_token_id,
            tie_word_embeddings=bool(config.get("tie_word_embeddings", False)),
            dtype=dtype_in(config),
        )
    except load_errors() as error:
        raise ModelError(f"config.json does not describe such a model: {one_line(error)}") from None
    native.architectures = ["VideoLlama3ForConditionalGeneration"]
    return native


def native_shapes(config: Any) -> dict[str, tuple[int, ...]]:
    """Every tensor that the native model stores, with its shape; built without memory."""
    transformers = load_transformers("converting a model")
    import torch

    with torch.device("meta"):
        model = transformers.VideoLlama3ForConditionalGeneration(config)
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    if config.tie_word_embeddings:
        shapes.pop("lm_head.weight", None)
    return shapes


def match(shapes: Mapping[str, tuple[int, ...]], config: Any) -> ConversionPlan:
    """Match source tensors (name -> shape) with the native model of a configuration. Reads nothing."""
    wanted = native_shapes(config)
    names, tied, extra, wrong = {}, [], [], []
    sources: dict[str, str] = {}
    for source, shape in shapes.items():
        native = native_name(source)
        if native == "lm_head.weight" and config.tie_word_embeddings:
            tied.append(source)
        elif native is None or native not in wanted:
            extra.append(source)
        elif native in sources:
            extra.append(f"{source} (as {sources[native]})")
        elif tuple(shape) != wanted[native]:
            wrong.append(f"{source}: {list(shape)}, expected {list(wanted[native])}")
            sources[native] = source
        else:
            names[source] = native
            sources[native] = source
    missing = sorted(set(wanted) - set(sources))
    return ConversionPlan(
        names, tuple(sorted(tied)), tuple(missing), tuple(sorted(extra)), tuple(sorted(wrong)), config, ()
    )
