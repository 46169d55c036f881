"""The category head, fitted anew at the end: many passes over what the finished net sees of the last pairs.

Nine categories from a handful of fakes a step are learned slowly; what the net sees of a fake is three vectors, so
hundreds of passes over thousands of fakes cost seconds once they are there. The other heads are left as they are.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from deeptrace.train.embedded.network import TraceNet
from deeptrace.train.embedded.recipe import EmbeddedRecipe
from deeptrace.train.embedded.spool import load_pair

_HELD_OUT = 0.15


def refit_category(net: TraceNet, recipe: EmbeddedRecipe, spool: Path) -> float:
    """Fit ``net.category`` anew on the newest pairs of the spool; the accuracy on those held out, in [0, 1].

    The pass that does best on the held-out pairs is kept (lowest loss).
    """
    seen, truth = collect(net, sorted(spool.glob("[0-9]*.npz"))[-recipe.refit_pairs :])
    return fit_head(net.category, seen, truth, recipe)


@torch.no_grad()
def collect(net: TraceNet, paths: list[Path]) -> tuple[Tensor, Tensor]:
    """``(N, 3 * width)`` of what the net sees of each fake, and its category ``(N,)``."""
    seen, truth = [], []
    for path in tqdm(paths, desc="what the net sees", unit="pair"):
        pair = load_pair(path)
        inputs = [
            torch.from_numpy(value[:1].astype(np.float32)) for value in (pair.fine, pair.coarse, pair.aux, pair.flow)
        ]
        with torch.autocast("cpu", torch.bfloat16):
            outputs = net(*inputs)
        seen.append(outputs.evidence[0].float())
        truth.append(pair.category)
    return torch.stack(seen), torch.tensor(truth)


def fit_head(head: nn.Module, seen: Tensor, truth: Tensor, recipe: EmbeddedRecipe) -> float:
    """Fit a head in place; the accuracy on the held-out share."""
    torch.manual_seed(recipe.seed)
    order = torch.randperm(len(seen))
    held, used = order[: max(1, int(_HELD_OUT * len(seen)))], order[max(1, int(_HELD_OUT * len(seen))) :]
    for layer in head.modules():
        if isinstance(layer, nn.Linear):
            layer.reset_parameters()
    optimizer = torch.optim.AdamW(head.parameters(), lr=1e-3, weight_decay=0.1)
    best, kept = float("inf"), {name: value.clone() for name, value in head.state_dict().items()}
    for _ in range(recipe.refit_epochs):
        head.train()
        shuffled = used[torch.randperm(len(used))]
        for at in range(0, len(used), 64):
            batch = shuffled[at : at + 64]
            noisy = seen[batch] * (1 + 0.1 * torch.randn_like(seen[batch]))
            loss = F.cross_entropy(head(noisy), truth[batch], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        head.eval()
        with torch.no_grad():
            now = float(F.cross_entropy(head(seen[held]), truth[held]))
        if now < best:
            best, kept = now, {name: value.clone() for name, value in head.state_dict().items()}
    head.load_state_dict(kept)
    with torch.no_grad():
        return float((head(seen[held]).argmax(1) == truth[held]).float().mean())
