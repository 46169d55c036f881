"""The losses of the embedded network: where, when, which kind, whether, and which of two twins."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from deeptrace.train.embedded.network import Outputs


@dataclass(frozen=True)
class Truth:
    """Targets of B clips; clips without a trace have ``fake`` 0, zero maps, onset -1 and category -1."""

    fake: Tensor  # (B,) float
    trace: Tensor  # (B, T, h, w) float
    box: Tensor  # (B, T, 4) cells
    onset: Tensor  # (B,) long
    category: Tensor  # (B,) long


def dense_losses(outputs: Outputs, truth: Truth) -> dict[str, Tensor]:
    """Losses of the maps.

    ``trace`` and ``started`` are focal losses (Lin et al. 2017, gamma 2, alpha 0.5) over the number of positive cells;
    ``box`` is 1 - GIoU (Rezatofighi et al. 2019) on positive cells.
    """
    positive = truth.trace > 0.5
    trace = focal(outputs.trace, truth.trace) / positive.sum().clamp(min=20)
    frames = torch.arange(truth.trace.shape[1])[None]
    near = ((frames - truth.onset[:, None]).abs() <= 1) & (truth.onset[:, None] >= 0)  # (B, T)
    # The cells of the onset frame hold for the frame before and after too.
    first = truth.trace[torch.arange(len(truth.onset)), truth.onset.clamp(min=0)]
    started_truth = first[:, None] * near[..., None, None].to(first.dtype)
    started = focal(outputs.started, started_truth) / (started_truth > 0.5).sum().clamp(min=20)
    losses = {"trace": trace, "started": started}
    if positive.any():
        at = positive.nonzero()  # (P, 4): clip, frame, row, column
        reach = outputs.box[at[:, 0], at[:, 1], :, at[:, 2], at[:, 3]]
        x, y = at[:, 3].to(reach.dtype) + 0.5, at[:, 2].to(reach.dtype) + 0.5
        said = torch.stack([x - reach[:, 0], y - reach[:, 1], x + reach[:, 2], y + reach[:, 3]], 1)
        losses["box"] = (1 - giou(said, truth.box[at[:, 0], at[:, 1]])).mean()
    return losses


def clip_losses(outputs: Outputs, truth: Truth, pairs: int) -> dict[str, Tensor]:
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
        soft = torch.exp(-0.5 * ((frames - truth.onset[fakes][:, None]) / 0.7) ** 2)
        losses["onset"] = F.cross_entropy(logits, soft / soft.sum(1, keepdim=True))
    return losses


def focal(logits: Tensor, truth: Tensor, gamma: float = 2.0) -> Tensor:
    """The sum of focal losses."""
    logits = logits.float()
    loss = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    p = torch.sigmoid(logits)
    miss = torch.where(truth > 0.5, 1 - p, p)
    return (loss * miss**gamma).sum()


def giou(a: Tensor, b: Tensor) -> Tensor:
    """Generalised IoU of boxes ``(P, 4)`` xyxy, in [-1, 1]."""
    x0, y0 = torch.maximum(a[:, 0], b[:, 0]), torch.maximum(a[:, 1], b[:, 1])
    x1, y1 = torch.minimum(a[:, 2], b[:, 2]), torch.minimum(a[:, 3], b[:, 3])
    both = (x1 - x0).clamp(min=0) * (y1 - y0).clamp(min=0)
    area = (a[:, 2] - a[:, 0]) * (a[:, 3] - a[:, 1]) + (b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1])
    either = area - both
    hull = (torch.maximum(a[:, 2], b[:, 2]) - torch.minimum(a[:, 0], b[:, 0])) * (
        torch.maximum(a[:, 3], b[:, 3]) - torch.minimum(a[:, 1], b[:, 1])
    )
    return both / either.clamp(min=1e-6) - (hull - either) / hull.clamp(min=1e-6)
