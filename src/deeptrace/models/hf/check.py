"""What a checkpoint folder lacks: tensors that are missing, left over, of another shape, or not finite.

The names are compared by transformers' own loading code, on a model without memory, so that what is reported is what
would happen: a missing tensor would be filled with random numbers, one left over would be ignored.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deeptrace.errors import DeepTraceError, ModelError
from deeptrace.models.hf.checkpoint import read_card, read_config, refuse_unsafe, training_state
from deeptrace.models.hf.families.placement import LOADING
from deeptrace.models.hf.library import load_errors, load_transformers, no_bars, one_line, quiet
from deeptrace.models.hf.vetted import ADAPTER_CONFIG, read_adapter, vet_adapter, vetted
from deeptrace.models.hf.weights import Tensor, count_not_finite, read_weights

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class CheckReport:
    """What was found. ``ok`` when nothing is missing, left over, of another shape or not finite.

    ``missing`` tensors would be newly initialized: random numbers. ``not_finite`` maps a tensor to how many of its
    numbers are NaN or infinite; None when they were not looked at. ``notes`` are worth knowing and break nothing.
    """

    model_type: str
    tensors: int
    parameters: int
    nbytes: int
    missing: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    wrong_shape: tuple[str, ...] = ()
    not_finite: dict[str, int] | None = None
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Nothing is wrong with it."""
        return not (self.missing or self.extra or self.wrong_shape or self.not_finite)


def check(
    folder: str | os.PathLike[str],
    *,
    base: str | os.PathLike[str] | None = None,
    numbers: bool = True,
    progress: Progress | None = None,
) -> CheckReport:
    """Look at a checkpoint without running it. ``base`` is the model that an adapter (LoRA) was trained on.

    With ``numbers`` every weight is read once, in pieces, for NaN and infinity.

    Raises:
        ModelError: the folder is no checkpoint, holds files that could run code, or its files are damaged.
        MissingExtra: transformers is not installed.
    """
    path = Path(folder)
    report = _check_adapter(path, base) if (path / ADAPTER_CONFIG).is_file() else _check_model(path)
    tensors = read_weights(path)
    not_finite: dict[str, int] | None = None
    if numbers:
        not_finite = {}
        done, total = 0, sum(tensor.nbytes for tensor in tensors.values())
        for tensor in tensors.values():
            if bad := count_not_finite(tensor):
                not_finite[tensor.name] = bad
            done += tensor.nbytes
            if progress is not None:
                progress(done, total)
    return CheckReport(**{**report, "not_finite": not_finite})


def _sizes(tensors: dict[str, Tensor]) -> dict[str, Any]:
    parameters = 0
    for tensor in tensors.values():
        count = 1
        for side in tensor.shape:
            count *= side
        parameters += count
    return {
        "tensors": len(tensors),
        "parameters": parameters,
        "nbytes": sum(tensor.nbytes for tensor in tensors.values()),
    }


def _check_model(path: Path) -> dict[str, Any]:
    config = read_config(path)
    tensors = read_weights(path)
    model_type = str(config.get("model_type"))
    if model_type == "videollama3_qwen2":
        from deeptrace.models.hf.convert import plan

        planned = plan(path)
        return {
            "model_type": model_type,
            **_sizes(tensors),
            "missing": planned.missing,
            "extra": planned.extra,
            "wrong_shape": planned.wrong_shape,
            "notes": (
                "not yet in the native format: deeptrace models convert SRC DST --trained-for general|rewarddata",
                *_state_notes(path),
            ),
        }
    report = _loading_report(path, model_type)
    return {
        "model_type": model_type,
        **_sizes(tensors),
        "missing": tuple(sorted(report["missing_keys"])),
        "extra": tuple(sorted(report["unexpected_keys"])),
        "wrong_shape": tuple(
            f"{name}: {list(has)} in the file, {list(wants)} in the model"
            for name, has, wants in sorted(report["mismatched_keys"], key=lambda row: str(row[0]))
        ),
        "notes": (*_notes(path), *(f"not taken over: {key}" for key in report["dropped"])),
    }


def _loading_report(path: Path, model_type: str) -> dict[str, Any]:
    from deeptrace.models.hf.families import family_class

    transformers = load_transformers("checking a model")
    cls = getattr(transformers, family_class(model_type).model_class)
    with vetted(path, weights=True) as private, no_bars(), quiet():
        try:
            _, report = cls.from_pretrained(
                private.folder, **LOADING, device_map="meta", ignore_mismatched_sizes=True, output_loading_info=True
            )
        except load_errors() as error:
            raise ModelError(f"{path.name!r} cannot be loaded: {one_line(error)}") from None
        findings: dict[str, Any] = {**report, "dropped": private.dropped}
    return findings


def _notes(path: Path) -> tuple[str, ...]:
    try:
        card = read_card(path)
    except DeepTraceError as error:
        return (str(error), *_state_notes(path))
    notes = () if card is not None else ("no deeptrace.json: asked as the family's released models are",)
    return (*notes, *_state_notes(path))


def _state_notes(path: Path) -> tuple[str, ...]:
    names = training_state(path)
    return (f"a trainer's state, never opened: {', '.join(names)}",) if names else ()


# ── adapters ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _check_adapter(path: Path, base: str | os.PathLike[str] | None) -> dict[str, Any]:
    """Every pair of LoRA matrices must fit one matrix of the base model."""
    refuse_unsafe(path)
    config = read_adapter(path)
    tensors = read_weights(path)
    vet_adapter(config, list(tensors))
    if base is None:
        named = config.get("base_model_name_or_path")
        raise ModelError(f"this is an adapter for {Path(str(named)).name!r}: say where that is (--base FOLDER).")
    read_config(base)
    shapes = {name: tensor.shape for name, tensor in _native_names(Path(base)).items()}
    missing, extra, wrong = [], [], []
    for name, tensor in tensors.items():
        target, side = _lora_target(name)
        if target is None or target not in shapes:
            extra.append(name)
            continue
        out_features, in_features = shapes[target][0], shapes[target][-1]
        fits = tensor.shape[-1] == in_features if side == "A" else tensor.shape[0] == out_features
        if not fits:
            wrong.append(f"{name}: {list(tensor.shape)} for a matrix of {list(shapes[target])}")
        other = name.replace(f"lora_{side}", f"lora_{'B' if side == 'A' else 'A'}")
        if other not in tensors:
            missing.append(other)
    return {
        "model_type": "LoRA adapter",
        **_sizes(tensors),
        "missing": tuple(sorted(missing)),
        "extra": tuple(sorted(extra)),
        "wrong_shape": tuple(sorted(wrong)),
        "notes": _state_notes(path),
    }


def _lora_target(name: str) -> tuple[str | None, str]:
    for side in ("A", "B"):
        head, separator, _ = name.partition(f".lora_{side}.")
        if separator:
            return f"{head.removeprefix('base_model.model.')}.weight", side
    return None, ""


def _native_names(base: Path) -> dict[str, Any]:
    """The base model's parameters by the names they have in memory, with their shapes."""
    from deeptrace.models.hf.families import family_class

    transformers = load_transformers("checking an adapter")
    import torch

    cls = getattr(transformers, family_class(read_config(base).get("model_type")).model_class)
    with vetted(base) as private:
        try:
            config = transformers.AutoConfig.from_pretrained(
                private.folder, trust_remote_code=False, local_files_only=True
            )
            with torch.device("meta"):
                model = cls(config)
        except load_errors() as error:
            raise ModelError(f"config.json of {base.name!r}: {one_line(error)}") from None
    return dict(model.state_dict())
