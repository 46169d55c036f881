"""Where a model's weights go and how they are kept: device, type, packing. Knows no family."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, Final, Literal, TypeAlias, get_args

from deeptrace.errors import MissingExtra, ModelError

Dtype: TypeAlias = Literal["auto", "float32", "bfloat16", "float16"]
Quantization: TypeAlias = Literal["int8", "nf4"]

LOADING: Final[dict[str, Any]] = {
    "trust_remote_code": False,
    "local_files_only": True,
    "use_safetensors": True,
    "attn_implementation": "sdpa",  # never what a checkpoint names: that may be a kernel to be fetched and run
}
"""What transformers is told whenever it builds a model from a folder."""


def placement(device: str, dtype: Dtype, quantization: Quantization | None) -> dict[str, Any]:
    """Options of transformers for where the weights go and how they are kept. See `Family.load_model`.

    Raises:
        ModelError: there is no such device, or it cannot do what is asked.
        MissingExtra: quantization without bitsandbytes.
    """
    import torch

    gpus = torch.cuda.device_count()
    kind, _, index = device.partition(":")
    if kind not in ("auto", "cpu", "cuda") or (index and not (kind == "cuda" and index.isdecimal())):
        raise ModelError(f"device: {device!r} is not one of auto, cpu, cuda, cuda:N.")
    if kind == "cuda" and gpus <= int(index or 0):
        raise ModelError(f"device {device!r} is not there: {gpus} CUDA GPUs are visible.")
    if dtype not in get_args(Dtype):
        raise ModelError(f"dtype: {dtype!r} is not one of {', '.join(get_args(Dtype))}.")
    on_gpu = kind == "cuda" or (kind == "auto" and gpus > 0)
    options: dict[str, Any] = {"dtype": "float32" if dtype == "auto" and not on_gpu else dtype}
    if quantization is not None:
        if quantization not in get_args(Quantization):
            raise ModelError(f"quantization: {quantization!r} is not one of {', '.join(get_args(Quantization))}.")
        if not on_gpu:
            raise ModelError(f"quantization {quantization!r} needs a CUDA GPU; on the CPU use dtype bfloat16.")
        options["quantization_config"] = _quantization_config(quantization)
    if on_gpu:
        options["device_map"] = "auto" if kind == "auto" and gpus > 1 else {"": int(index or 0)}
    return options


def _quantization_config(quantization: Quantization) -> Any:
    import torch
    import transformers

    if find_spec("bitsandbytes") is None:
        raise MissingExtra("quantized weights", "quant")
    if quantization == "int8":
        return transformers.BitsAndBytesConfig(load_in_8bit=True)
    return transformers.BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16
    )
