"""Tokens out of a model: greedy answers, and the first token's log-probabilities by one pass. Knows no family."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Generated:
    """An answer as it was generated. ``ended`` is False where it was cut off at the limit of new tokens.

    ``first_logprobs`` are the log-probabilities ``(vocabulary,)`` of its first token, float32 on the CPU.
    """

    text: str
    ended: bool
    tokens: int
    first_logprobs: torch.Tensor


class _FirstLogits:
    """A step of the library's generation that changes nothing and keeps the first logits; all would be too many."""

    def __init__(self) -> None:
        self.logits: Any = None

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if self.logits is None:
            self.logits = scores.float().cpu()
        return scores


def greedy(
    model: Any, batch: Mapping[str, torch.Tensor], *, max_new_tokens: int, end: int, pad: int
) -> tuple[list[list[int]], torch.Tensor]:
    """The tokens of each answer, and the log-probabilities ``(B, vocabulary)`` of their first ones (float32, CPU)."""
    import torch
    from transformers import LogitsProcessorList

    inputs = {name: value for name, value in batch.items() if name != "labels"}
    first = _FirstLogits()
    with torch.inference_mode():
        out = model.generate(
            **inputs,
            max_new_tokens=max_new_tokens,
            do_sample=False,
            num_beams=1,
            # The checkpoint's own settings for sampling mean nothing to a greedy run, and would be warned of.
            temperature=None,
            top_p=None,
            top_k=None,
            repetition_penalty=1.0,
            eos_token_id=end,
            pad_token_id=pad,
            logits_processor=LogitsProcessorList([first]),
        )
    made: list[list[int]] = out[:, inputs["input_ids"].shape[1] :].tolist()
    return made, torch.log_softmax(first.logits, dim=-1)


def next_logprobs(model: Any, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Log-probabilities ``(B, vocabulary)`` of the token behind each prompt, float32 on the CPU."""
    import torch

    inputs = {name: value for name, value in batch.items() if name != "labels"}
    with torch.inference_mode():
        out = model(**inputs, logits_to_keep=1, use_cache=False)
    return torch.log_softmax(out.logits[:, -1].float(), dim=-1).cpu()
