"""The checkpoint that a run begins from: its family with the recipe's sampling, its weights with the recipe's parts."""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from typing import Any

from deeptrace.errors import MissingExtra, TrainError
from deeptrace.models.hf.adapter import dtype_of, join
from deeptrace.models.hf.families import Family, family_of
from deeptrace.train.vlm.tables import LanguageRecipe, LoraTable

logger = logging.getLogger(__name__)


def base_family(recipe: LanguageRecipe) -> Family:
    """The family of the base, with the sampling and the sizes of the recipe where it says any.

    Raises:
        ModelError: the base is no checkpoint of a family known here.
    """
    table = recipe.sampling
    size = None
    if table.shortest_edge is not None and table.longest_edge is not None:
        size = {"shortest_edge": table.shortest_edge, "longest_edge": table.longest_edge}
    family = family_of(recipe.model.base, size=size)
    overrides = {name: getattr(table, name) for name in ("fps", "max_frames", "short_side")}
    family.sampling = replace(
        family.sampling, **{name: value for name, value in overrides.items() if value is not None}
    )
    return family


def load_for_training(family: Family, recipe: LanguageRecipe) -> Any:
    """The base, parts frozen or small matrices put beside its weights, as the recipe says."""
    table, lora = recipe.model, recipe.lora
    quantized = table.quantization != "none"
    model: Any = family.load_model(
        table.base,
        dtype="bfloat16" if table.precision == "bfloat16" or quantized else "float32",
        device=f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if quantized else "cpu",
        quantization=None if table.quantization == "none" else table.quantization,
    )
    if lora is not None:
        model = _with_lora(family, model, lora, quantized=quantized, recipe=recipe)
    for name, parameter in model.named_parameters():
        if lora is None:
            parameter.requires_grad_(family.part_of(name) not in table.freeze)
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    if not trained:
        raise TrainError("nothing is left to train: every part is frozen, or no module has a name in lora.modules")
    logger.info("%d of %d parameters are trained", trained, sum(parameter.numel() for parameter in model.parameters()))
    return model


def _with_lora(family: Family, model: Any, lora: LoraTable, *, quantized: bool, recipe: LanguageRecipe) -> Any:
    try:
        import peft
    except ImportError:
        raise MissingExtra("LoRA", "train") from None
    from torch import nn

    if quantized:
        ready: Any = peft.prepare_model_for_kbit_training
        model = ready(model, use_gradient_checkpointing=recipe.model.gradient_checkpointing)
    names = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
        and name.rpartition(".")[2] in lora.modules
        and family.part_of(name) in lora.parts
    ]
    if not names:
        raise TrainError(f"lora.modules: no module of {', '.join(lora.parts)} is called {', '.join(lora.modules)}")
    config = peft.LoraConfig(
        r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=names, task_type="CAUSAL_LM"
    )
    return peft.get_peft_model(model, config)


def merge_adapter(family: Family, base: str | os.PathLike[str], adapter: str | os.PathLike[str]) -> Any:
    """The base with an adapter's matrices added to its weights: a model of the native class, in the base's dtype."""
    return join(family.load_model(base, dtype=dtype_of(base), device="cpu"), adapter)
