"""Teaches a tiny checkpoint a handful of examples until it says them word for word."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch


def learn_by_heart(model: Any, batch: Any, steps: int, folder: Path) -> None:
    """Train on one batch, on the processor, until the loss is next to nothing; the weights go to ``folder``."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    torch.manual_seed(0)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = model(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    assert float(loss.detach()) < 0.05
    model.save_pretrained(folder)
