"""Logits of the last positions only, for any family: over thousands of video tokens all of them would not fit.

At 16,000 tokens and a vocabulary of 152,000 the logits of one example take 10 GB in float32. Some classes of
transformers have an argument for this and some ignore it, so the output layer is handed less.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def last_positions(model: Any, count: int) -> Iterator[None]:
    """Within, the model's ``logits`` are ``(B, count, V)``: those of the last ``count`` positions.

    ``model`` is the model itself, not wrapped for several processes.
    """

    def shorten(_: Any, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        hidden, *rest = arguments
        return (hidden[:, -count:], *rest)

    hook = model.get_output_embeddings().register_forward_pre_hook(shorten)
    try:
        yield
    finally:
        hook.remove()
