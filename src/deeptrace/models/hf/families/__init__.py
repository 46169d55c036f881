"""The language-model families that transformers has classes for: what is particular to each, one file a family.

`family_of` finds the family of a checkpoint folder. A `Family` turns frames and a question into the model's inputs,
for inference and for training alike, and loads the model itself. Nothing of transformers is imported before that.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any, Final

from deeptrace.errors import ModelError
from deeptrace.models._families.base import IGNORED, Encoded, Family, VisionSize
from deeptrace.models.checkpoint import CheckpointCard, read_card, read_config

__all__ = ["FAMILIES", "IGNORED", "Encoded", "Family", "VisionSize", "family_of"]

FAMILIES: Final[dict[str, str]] = {
    "video_llama_3": "deeptrace.models._families.videollama3:VideoLlama3",
    "qwen2_5_vl": "deeptrace.models._families.qwen25vl:Qwen25VL",
    "qwen3_vl": "deeptrace.models._families.qwen3vl:Qwen3VL",
}
"""``model_type`` in config.json -> ``module:class``."""


def family_of(
    folder: str | os.PathLike[str], *, card: CheckpointCard | None = None, size: dict[str, int] | None = None
) -> Family:
    """The family of a checkpoint folder, with its processor and tokenizer; the weights are not touched.

    ``card`` takes the place of the folder's ``deeptrace.json``. ``size`` takes the place of its video resolution
    (``shortest_edge`` and ``longest_edge`` in pixels, as the processor of the family counts them).

    Raises:
        ModelError: the folder is no checkpoint, is of a family that is not known here, or needs code of its own.
        MissingExtra: transformers is not installed.
    """
    model_type = read_config(folder).get("model_type")
    if model_type == "videollama3_qwen2":
        raise ModelError(
            "the checkpoint is in the format of VideoLLaMA 3's own code (videollama3_qwen2), which is not run here. "
            "Convert it once: deeptrace models convert SRC DST"
        )
    if model_type not in FAMILIES:
        raise ModelError(f"{model_type!r} is not a family known here. Known: {', '.join(FAMILIES)}.")
    module, _, name = FAMILIES[model_type].partition(":")
    family: Any = getattr(import_module(module), name)
    loaded: Family = family.from_folder(folder, card=read_card(folder) if card is None else card, size=size)
    return loaded
