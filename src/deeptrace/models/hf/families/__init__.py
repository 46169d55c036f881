"""The language-model families that transformers has classes for: what is particular to each, one file a family.

`family_of` finds the family of a checkpoint folder. A `Family` turns frames and a question into the model's inputs,
for inference and for training alike, and loads the model itself. Nothing of transformers is imported before that.
"""

from __future__ import annotations

import os
import pkgutil
from functools import cache
from importlib import import_module

from deeptrace.errors import ModelError
from deeptrace.models.hf.checkpoint import CheckpointCard, read_card, read_config
from deeptrace.models.hf.families.base import IGNORED, Encoded, Family, TinySizes, VisionSize

__all__ = ["IGNORED", "Encoded", "Family", "TinySizes", "VisionSize", "families", "family_class", "family_of"]


@cache
def families() -> dict[str, type[Family]]:
    """Every family by the ``model_type`` of its ``config.json``: one for each file of this folder that has a class."""
    classes: list[type[Family]] = []
    for module in pkgutil.iter_modules(__path__, f"{__name__}."):
        entries = vars(import_module(module.name)).values()
        classes += [
            entry
            for entry in entries
            if isinstance(entry, type) and issubclass(entry, Family) and entry.__module__ == module.name
        ]
    return {cls.model_type: cls for cls in classes if hasattr(cls, "model_type")}


def family_class(model_type: object) -> type[Family]:
    """The family of a ``model_type``.

    Raises:
        ModelError: it is not known here.
    """
    if model_type == "videollama3_qwen2":
        raise ModelError(
            "the checkpoint is in the format of VideoLLaMA 3's own code (videollama3_qwen2), which is not run here. "
            "Convert it once: deeptrace models convert SRC DST --trained-for general (rewarddata for the paper's own)"
        )
    known = families()
    if not isinstance(model_type, str) or model_type not in known:
        raise ModelError(f"{str(model_type)[:60]!r} is not a family known here. Known: {', '.join(known)}.")
    return known[model_type]


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
    family = family_class(read_config(folder).get("model_type"))
    return family.from_folder(folder, card=read_card(folder) if card is None else card, size=size)
