"""The losses of the embedded network: where, when, which kind, whether, and which of two twins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import generalized_box_iou_loss, sigmoid_focal_loss

from deeptrace.train.embedded.network import Outputs

# All chosen but the focal loss's power. What each loss weighs in the sum stands in `loop.WEIGHTS`.
_POSITIVE: Final = 0.5
"""Between the two values of a target map: 1 in a cell of the trace, else 0."""
_FEWEST_CELLS: Final = 20
"""A map's loss is divided by its positive cells, or by so many where there are fewer: no small trace rules a step."""
_ONSET_FRAMES: Final = 1
"""Frames before and after the onset at which ``started`` is right too: 0.125 s at 8 a second."""
_ONSET_DEVIATION: Final = 0.7
"""In frames, of the bell around the true onset that the onset's distribution is to learn."""
_FOCAL_POWER: Final = 2.0
"""Gamma of the focal loss: the value of Lin et al. 2017."""


@dataclass(frozen=True)
class TargetBatch:
    """Targets of B clips; clips without a trace have ``fake`` 0, zero maps, onset -1 and category -1."""

    fake: Tensor  # (B,) float
    trace: Tensor  # (B, T, h, w) float
    box: Tensor  # (B, T, 4) cells
    onset: Tensor  # (B,) long
    category: Tensor  # (B,) long


def dense_losses(outputs: Outputs, truth: TargetBatch) -> dict[str, Tensor]:
    """Losses of the maps, scalars; ``box`` only where B clips have a positive cell.

    ``trace`` and ``started`` are focal losses (Lin et al. 2017, gamma 2, both classes weighed alike) over the number of
    positive cells; ``box`` is 1 - GIoU (Rezatofighi et al. 2019) on positive cells.
    """
    positive = truth.trace > _POSITIVE
    trace = _focal(outputs.trace, truth.trace) / positive.sum().clamp(min=_FEWEST_CELLS)
    frames = torch.arange(truth.trace.shape[1])[None]
    near = ((frames - truth.onset[:, None]).abs() <= _ONSET_FRAMES) & (truth.onset[:, None] >= 0)  # (B, T)
    # The cells of the onset frame hold for the frame before and after too.
    first = truth.trace[torch.arange(len(truth.onset)), truth.onset.clamp(min=0)]
    started_truth = first[:, None] * near[..., None, None].to(first.dtype)
    started = _focal(outputs.started, started_truth) / (started_truth > _POSITIVE).sum().clamp(min=_FEWEST_CELLS)
    losses = {"trace": trace, "started": started}
    if positive.any():
        at = positive.nonzero()  # (P, 4): clip, frame, row, column
        reach = outputs.box[at[:, 0], at[:, 1], :, at[:, 2], at[:, 3]]
        x, y = at[:, 3].to(reach.dtype) + 0.5, at[:, 2].to(reach.dtype) + 0.5
        boxes = torch.stack([x - reach[:, 0], y - reach[:, 1], x + reach[:, 2], y + reach[:, 3]], 1)
        losses["box"] = generalized_box_iou_loss(boxes, truth.box[at[:, 0], at[:, 1]], reduction="mean")
    return losses


def clip_losses(outputs: Outputs, truth: TargetBatch, pairs: int) -> dict[str, Tensor]:
    """Losses of the clip-level logits; the first ``pairs`` clips are fakes, the next ``pairs`` their twins."""
    clip = outputs.clip.float()
    losses = {
        "clip": F.binary_cross_entropy_with_logits(clip, truth.fake),
        "rank": F.softplus(-(clip[:pairs] - clip[pairs : 2 * pairs])).mean(),
    }
    fakes = truth.category >= 0
    if fakes.any():
        losses["category"] = F.cross_entropy(outputs.category[fakes].float(), truth.category[fakes])
        losses["category_there"] = F.cross_entropy(outputs.category_there[fakes].float(), truth.category[fakes])
        logits = outputs.onset[fakes].float()
        frames = torch.arange(logits.shape[1])[None]
        soft = torch.exp(-0.5 * ((frames - truth.onset[fakes][:, None]) / _ONSET_DEVIATION) ** 2)
        losses["onset"] = F.cross_entropy(logits, soft / soft.sum(1, keepdim=True))
    return losses


def _focal(logits: Tensor, truth: Tensor) -> Tensor:
    loss: Tensor = sigmoid_focal_loss(logits.float(), truth, alpha=-1, gamma=_FOCAL_POWER, reduction="sum")
    return loss
