"""Backbone and temporal net as one ONNX file: pictures and motion maps in, maps and logits out; weights in float16."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from deeptrace.files import atomic_write
from deeptrace.train.embedded.network import Backbone, DeepStage, KindHead, TraceNet

OUTPUTS = ("trace", "started", "box", "category", "clip", "onset", "look", "coarse", "deep")
"""Names of the ONNX outputs. ``look`` is what the whole-clip head sees, see `generated_features`, and ``coarse``
and ``deep`` what that is made of, for those who ask which place it comes from."""


def generated_features(coarse: Tensor, deep: Tensor) -> Tensor:
    """What the head for ``p_generated`` sees of a window's features: ``(432,)``.

    Means over frames and cells of the stages at strides 16 and 32, ``(T, 112, h, w)`` and ``(T, 320, h // 2, w // 2)``.
    """
    return torch.cat([coarse.mean(dim=(0, 2, 3)), deep.mean(dim=(0, 2, 3))])


class Whole(nn.Module):
    """One window: ``images`` (T, H, W, 3) uint8, ``aux`` (T, 13, H/4, W/4), ``flow`` (T, 2, H/8, W/8)."""

    def __init__(self, backbone: Backbone, net: TraceNet, kind: KindHead) -> None:
        super().__init__()
        self.backbone, self.net, self.kind, self.deep = backbone, net, kind, DeepStage()

    @override
    def forward(self, images: Tensor, aux: Tensor, flow: Tensor) -> tuple[Tensor, ...]:
        """The values of `OUTPUTS`."""
        fine, coarse = self.backbone(images)
        deep = self.deep(coarse)
        outputs = self.net(fine[None], coarse[None], aux[None], flow[None])
        return (
            outputs.trace[0],
            outputs.started[0],
            outputs.box[0],
            self.kind(outputs.evidence)[0],
            outputs.clip[0],
            outputs.onset[0],
            generated_features(coarse, deep),
            coarse,
            deep,
        )


def export(backbone: Backbone, net: TraceNet, kind: KindHead, path: Path) -> None:
    """Write the ONNX file, weights halved to float16 and cast back when it is loaded."""
    import onnx

    whole = Whole(backbone, net, kind).eval()
    count, height, width = 24, 144, 256
    example = (
        torch.zeros(count, height, width, 3, dtype=torch.uint8),
        torch.zeros(count, 13, height // 4, width // 4),
        torch.zeros(count, 2, height // 8, width // 8),
    )
    axes = {
        "images": {0: "frames", 1: "height", 2: "width"},
        "aux": {0: "frames", 2: "rows4", 3: "columns4"},
        "flow": {0: "frames", 2: "rows8", 3: "columns8"},
        "trace": {0: "frames", 1: "rows8", 2: "columns8"},
        "started": {0: "frames", 1: "rows8", 2: "columns8"},
        "box": {0: "frames", 2: "rows8", 3: "columns8"},
        "onset": {0: "frames"},
        "coarse": {0: "frames", 2: "rows16", 3: "columns16"},
        "deep": {0: "frames", 2: "rows32", 3: "columns32"},
    }
    content = _export(
        whole,
        example,
        input_names=["images", "aux", "flow"],
        output_names=list(OUTPUTS),
        dynamic_axes=axes,
    )
    model = onnx.load_model_from_string(content)
    halve(model)
    onnx.checker.check_model(model)
    with atomic_write(path) as file:
        file.write(model.SerializeToString())


def export_backbone(path: Path) -> None:
    """Write the backbone alone: ``images`` (N, H, W, 3) uint8 to ``fine`` and ``coarse``."""
    content = _export(
        Backbone(),
        (torch.zeros(2, 144, 256, 3, dtype=torch.uint8),),
        input_names=["images"],
        output_names=["fine", "coarse"],
        dynamic_axes={"images": {0: "n", 1: "h", 2: "w"}},
    )
    with atomic_write(path) as file:
        file.write(content)


def _export(module: nn.Module, example: tuple[Tensor, ...], **options: Any) -> bytes:
    """By the exporter that traces: the newer one writes grid_sample with fixed sizes."""
    import warnings

    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # A buffer is taken by the exporter that traces, whatever the annotation says.
        torch.onnx.export(module, example, content, dynamo=False, opset_version=17, **options)  # type: ignore[arg-type]
    return content.getvalue()


def halve(model: object) -> None:
    """Store float32 weights of more than 256 values as float16, with a cast behind each."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    graph = model.graph  # type: ignore[attr-defined]
    casts = []
    for weight in list(graph.initializer):
        if weight.data_type != TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(weight)
        if values.size <= 256 or np.abs(values).max() > 6e4:
            continue
        name = f"{weight.name}_half"
        graph.initializer.remove(weight)
        graph.initializer.append(numpy_helper.from_array(values.astype(np.float16), name))
        casts.append(helper.make_node("Cast", [name], [weight.name], to=TensorProto.FLOAT, name=f"{name}_cast"))
    for cast in reversed(casts):
        graph.node.insert(0, cast)
