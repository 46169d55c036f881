"""A LoRA adapter merged into the model it was trained on: one checkpoint folder that loads without peft."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from deeptrace.errors import FileError, MissingExtra, ModelError
from deeptrace.files import sync_folder
from deeptrace.models._families import family_of
from deeptrace.models._families.placement import Dtype
from deeptrace.models._library import load_transformers, no_bars
from deeptrace.models.check import CheckReport, check
from deeptrace.models.checkpoint import read_card, write_card
from deeptrace.models.weights import read_weights


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
    try:
        from peft import PeftModel
    except ImportError:
        raise MissingExtra("merging an adapter", "train") from None
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
    model = family.load_model(base, device="cpu", dtype=_dtype_of(base))
    work = target.with_name(f".{target.name}.merging")
    try:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        with no_bars():
            merged = PeftModel.from_pretrained(model, os.fspath(adapter)).merge_and_unload()
            merged.save_pretrained(work)
            family.processor.save_pretrained(work)
        if card is not None:
            write_card(work, card)
        report = check(work)
        if not report.ok:
            raise ModelError("what was merged does not fill the model, or is not finite.")
        sync_folder(work)
        os.replace(work, target)
        sync_folder(target.parent)
    except OSError as error:
        raise FileError(f"cannot write {target.name!r}: {error.strerror or error}") from None
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return report


def _dtype_of(base: str | os.PathLike[str]) -> Dtype:
    names: dict[str, Dtype] = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}
    largest = max(read_weights(base).values(), key=lambda tensor: tensor.nbytes)
    return names.get(largest.dtype, "float32")
