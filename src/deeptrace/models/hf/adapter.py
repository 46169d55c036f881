"""A LoRA adapter merged into the model it was trained on: one checkpoint folder that loads without peft."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from deeptrace.errors import MissingExtra, ModelError
from deeptrace.models.hf.check import CheckReport, check
from deeptrace.models.hf.checkpoint import read_card, write_card
from deeptrace.models.hf.families import family_of
from deeptrace.models.hf.families.placement import Dtype
from deeptrace.models.hf.library import load_errors, load_transformers, no_bars, one_line
from deeptrace.models.hf.staging import staged
from deeptrace.models.hf.vetted import vetted_adapter
from deeptrace.models.hf.weights import read_weights


def merge(adapter: str | os.PathLike[str], base: str | os.PathLike[str], dst: str | os.PathLike[str]) -> CheckReport:
    """Write ``base`` with ``adapter`` merged into it to the new folder ``dst``, and check it.

    The adapter's ``deeptrace.json`` goes along, else the base's. Weights keep the base's type; the folder appears when
    it is whole.

    Raises:
        ModelError: the adapter does not fit the base, holds NaN, or ``dst`` is there already.
        MissingExtra: peft is not installed.
        FileError: the system refused to write.
    """
    load_transformers("merging an adapter")
    if find_spec("peft") is None:
        raise MissingExtra("merging an adapter", "train")
    target = Path(dst)
    if target.exists():
        raise ModelError(f"{target.name!r} is there already.")
    fit = check(adapter, base=base)
    if not fit.ok:
        named = [*fit.missing, *fit.extra, *fit.wrong_shape, *(fit.not_finite or {})]
        raise ModelError(f"the adapter does not fit {Path(base).name!r}: {', '.join(named[:3])}.")
    card = read_card(adapter) or read_card(base)
    family = family_of(base, card=card)
    # A float32 base merges exactly; a bfloat16 one is rounded once, as the library does.
    model = family.load_model(base, device="cpu", dtype=dtype_of(base))
    with staged(target, "merging", nbytes=sum(tensor.nbytes for tensor in read_weights(base).values())) as work:
        with no_bars():
            join(model, adapter).save_pretrained(work)
            family.processor.save_pretrained(work)
        if card is not None:
            write_card(work, card)
        report = check(work)
        if not report.ok:
            raise ModelError("what was merged does not fill the model, or is not finite.")
    return report


def join(model: Any, adapter: str | os.PathLike[str]) -> Any:
    """The model with an adapter's matrices added to its weights, of the model's own class.

    Raises:
        ModelError: it is no plain LoRA adapter, or peft refuses it.
        MissingExtra: peft is not installed.
    """
    try:
        from peft import PeftModel
    except ImportError:
        raise MissingExtra("merging an adapter", "train") from None
    with vetted_adapter(adapter) as private:
        try:
            return PeftModel.from_pretrained(model, str(private)).merge_and_unload()
        except load_errors() as error:
            raise ModelError(f"the adapter {Path(adapter).name!r} cannot be merged: {one_line(error)}") from None


def dtype_of(base: str | os.PathLike[str]) -> Dtype:
    """The type of a checkpoint's largest tensor, by its header; float32 where it is none of the three."""
    names: dict[str, Dtype] = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}
    largest = max(read_weights(base).values(), key=lambda tensor: tensor.nbytes)
    return names.get(largest.dtype, "float32")
