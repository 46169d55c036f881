"""Backbone and temporal net as ONNX files: pictures in, features out; those and motion maps in, maps and logits out."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from deeptrace.files import atomic_write
from deeptrace.models.embedded.windows import BACKBONE_NAME, SAID, SEEN, TRACES_NAME
from deeptrace.train.embedded.network import COARSE, DETAIL_BLOCKS, FINE, Backbone, DeepStage, KindHead, TraceNet


def generated_features(coarse: Tensor, deep: Tensor) -> Tensor:
    """What the head for ``p_generated`` sees of a window's features: ``(432,)``.

    Means over frames and cells of the stages at strides 16 and 32, ``(T, 112, h, w)`` and ``(T, 320, h // 2, w // 2)``.
    """
    return torch.cat([coarse.mean(dim=(0, 2, 3)), deep.mean(dim=(0, 2, 3))])


def detail_features(stages: dict[int, Tensor]) -> Tensor:
    """What the head for crops at their own size sees: ``(768,)``, means over frames and cells of `DETAIL_BLOCKS`."""
    return torch.cat([stages[block].mean(dim=(0, 2, 3)) for block in DETAIL_BLOCKS])


class Seeing(nn.Module):
    """The frozen backbone: ``images`` (T, H, W, 3) uint8 to the values of `SEEN`."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone, self.deep = Backbone(), DeepStage()

    @override
    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """The values of `SEEN`."""
        stages = self.backbone.stages(images)
        fine, coarse = stages[4], stages[10]
        stages |= self.deep.stages(coarse)
        deep = stages[15]
        return fine, coarse, deep, generated_features(coarse, deep), detail_features(stages)


class Saying(nn.Module):
    """The temporal net on one window: ``fine`` (T, 40, H/8, W/8), ``coarse`` (T, 112, H/16, W/16), and motion maps."""

    def __init__(self, net: TraceNet, kind: KindHead) -> None:
        super().__init__()
        self.net, self.kind = net, kind

    @override
    def forward(self, fine: Tensor, coarse: Tensor, aux: Tensor, flow: Tensor) -> tuple[Tensor, ...]:
        """The values of `SAID`."""
        outputs = self.net(fine[None], coarse[None], aux[None], flow[None])
        return (
            outputs.trace[0],
            outputs.started[0],
            outputs.box[0],
            self.kind(outputs.evidence)[0],
            outputs.clip[0],
            outputs.onset[0],
        )


_AXES = {
    "images": {0: "frames", 1: "height", 2: "width"},
    "fine": {0: "frames", 2: "rows8", 3: "columns8"},
    "coarse": {0: "frames", 2: "rows16", 3: "columns16"},
    "deep": {0: "frames", 2: "rows32", 3: "columns32"},
    "aux": {0: "frames", 2: "rows4", 3: "columns4"},
    "flow": {0: "frames", 2: "rows8", 3: "columns8"},
    "trace": {0: "frames", 1: "rows8", 2: "columns8"},
    "started": {0: "frames", 1: "rows8", 2: "columns8"},
    "box": {0: "frames", 2: "rows8", 3: "columns8"},
    "onset": {0: "frames"},
}


def export(net: TraceNet, kind: KindHead, folder: Path) -> None:
    """Write both ONNX files, weights halved to float16 and cast back when they are loaded."""
    import onnx

    count, height, width = 24, 144, 256
    images = torch.zeros(count, height, width, 3, dtype=torch.uint8)
    seen = (
        torch.zeros(count, FINE, height // 8, width // 8),
        torch.zeros(count, COARSE, height // 16, width // 16),
        torch.zeros(count, 13, height // 4, width // 4),
        torch.zeros(count, 2, height // 8, width // 8),
    )
    for name, module, example, inputs, outputs in (
        (BACKBONE_NAME, Seeing(), (images,), ("images",), SEEN),
        (TRACES_NAME, Saying(net, kind), seen, ("fine", "coarse", "aux", "flow"), SAID),
    ):
        names = {*inputs, *outputs}
        content = _export(
            module.eval(),
            example,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_axes={axis: value for axis, value in _AXES.items() if axis in names},
        )
        model = onnx.load_model_from_string(content)
        halve(model)
        onnx.checker.check_model(model)
        with atomic_write(folder / name) as file:
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
