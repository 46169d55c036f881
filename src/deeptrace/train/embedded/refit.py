"""The category head, fitted at the end: many passes over what the finished net sees of the last pairs.

Nine categories from a handful of fakes a step are learned slowly; what the net sees of a fake is one vector, so dozens
of passes over thousands of fakes cost seconds once they are there. The net is left as it is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from deeptrace.categories import CATEGORIES
from deeptrace.train.embedded.network import KindHead, TraceNet
from deeptrace.train.embedded.recipe import EmbeddedRecipe
from deeptrace.train.embedded.spool import load_pair

# All chosen.
_HELD_OUT: Final = 0.15  # share of the pairs that only choose the pass
_NOISE: Final = 0.3  # added to the evidence at each step, in standard deviations of each number
_LEARNING_RATE: Final = 1e-3  # of AdamW
_WEIGHT_DECAY: Final = 0.1
_BATCH: Final = 64  # fakes a step
_LABEL_SMOOTHING: Final = 0.05  # share of a label that is spread over all nine categories
_LEAST_DEVIATION: Final = 1e-3  # added to each number's deviation, by which it is divided


def fit_kind(net: TraceNet, recipe: EmbeddedRecipe, spool: Path) -> KindHead:
    """The head, fitted on the newest ``refit_pairs`` pairs of the spool.

    The pass that does best on held-out pairs is kept (lowest loss). Its odds are then brought to equal shares of the
    nine categories, by taking the logarithm of their shares among the pairs off the logits (Menon et al. 2021): of a
    clip's generator nothing is known.
    """
    torch.manual_seed(recipe.seed)
    head = KindHead(recipe.width)
    evidence, truth = collect(net, sorted(spool.glob("[0-9]*.npz"))[-recipe.refit_pairs :])
    fit_head(head, evidence, truth, recipe.refit_epochs)
    return head.eval()


@torch.no_grad()
def collect(net: TraceNet, paths: list[Path]) -> tuple[Tensor, Tensor]:
    """What the net sees of each fake, ``(N, evidence)``, and its category ``(N,)``."""
    evidence, truth = [], []
    for path in tqdm(paths, desc="what the net sees", unit="pair"):
        pair = load_pair(path)
        inputs = [
            torch.from_numpy(value[:1].astype(np.float32)) for value in (pair.fine, pair.coarse, pair.aux, pair.flow)
        ]
        with torch.autocast("cpu", torch.bfloat16):
            outputs = net(*inputs)
        evidence.append(outputs.evidence[0].float())
        truth.append(pair.category)
    return torch.stack(evidence), torch.tensor(truth)


def fit_head(head: KindHead, evidence: Tensor, truth: Tensor, epochs: int) -> None:
    """Fit a head in place, on ``evidence`` ``(N, evidence)`` float and categories ``truth`` ``(N,)`` int64.

    Kept are the weights of the pass with the lowest loss on the held-out share of the pairs.
    """
    order = torch.randperm(len(evidence))
    count = max(1, int(_HELD_OUT * len(evidence)))
    held_out, training = order[:count], order[count:]
    head.mean.copy_(evidence.mean(0))
    head.scale.copy_(evidence.std(0, correction=0) + _LEAST_DEVIATION)
    optimizer = torch.optim.AdamW(head.parameters(), lr=_LEARNING_RATE, weight_decay=_WEIGHT_DECAY)
    best_loss, best_state = float("inf"), {name: value.clone() for name, value in head.state_dict().items()}
    for _ in range(epochs):
        head.train()
        shuffled = training[torch.randperm(len(training))]
        for at in range(0, len(training), _BATCH):
            batch = evidence[shuffled[at : at + _BATCH]]
            loss = F.cross_entropy(
                head(batch + _NOISE * head.scale * torch.randn_like(batch)),
                truth[shuffled[at : at + _BATCH]],
                label_smoothing=_LABEL_SMOOTHING,
            )
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        head.eval()
        with torch.no_grad():
            now = float(F.cross_entropy(head(evidence[held_out]), truth[held_out]))
        if now < best_loss:
            best_loss, best_state = now, {name: value.clone() for name, value in head.state_dict().items()}
    head.load_state_dict(best_state)
    counts = torch.bincount(truth, minlength=len(CATEGORIES)).float() + 1
    last = head.layers[-1]
    assert isinstance(last, nn.Linear)
    assert last.bias is not None
    with torch.no_grad():
        last.bias.copy_(last.bias - torch.log(counts / counts.sum()))
