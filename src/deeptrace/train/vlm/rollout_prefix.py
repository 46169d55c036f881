"""A video's prompt encoded once for all answers that are tried to it: frames and question are the same for its group.

A prompt of thousands of video tokens costs far more than the answers behind it. It goes through the model once, and
what attention keeps of it (the library's cache) is repeated for the group: to sample the answers, and to compute how
likely they are, gradients included.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch

from deeptrace.models.hf.families import Family
from deeptrace.train.vlm.positions import last_positions

_BESIDE: Final = ("input_ids", "attention_mask", "mm_token_type_ids")
"""Inputs that have a number a token."""


@dataclass(frozen=True)
class Prefix:
    """Prompts up to their last token, encoded, each once for every answer of its group: N rows of L tokens."""

    cache: Any
    ids: torch.Tensor  # (N, L), the last token too
    mask: torch.Tensor  # (N, L)
    ahead: torch.Tensor | None  # (N, 1): how far positions run ahead of the token count; None: not at all

    def positions(self, mask: torch.Tensor) -> torch.Tensor | None:
        """Positions ``(3, N, C)`` of the last tokens of ``mask`` ``(N, L - 1 + C)``, where they are in three parts."""
        if self.ahead is None:
            return None
        counted = (mask.long().cumsum(dim=1) - 1)[:, self.ids.shape[1] - 1 :]
        return (counted + self.ahead).expand(3, -1, -1)


def encode_prefix(model: Any, bare: Any, batch: Mapping[str, torch.Tensor], group: int) -> Prefix:
    """The prompts ``(B, L)`` of a batch, collated with ``pad_left=True``, encoded once; N is ``B * group``.

    ``model`` may be ``bare`` wrapped for several processes.
    """
    inputs = {name: value[:, :-1] if name in _BESIDE else value for name, value in batch.items()}
    inner = _inner(bare)
    inner.rope_deltas = None  # of other prompts
    with last_positions(bare, 1):
        cache = model(**inputs, use_cache=True)[_cache_name(bare)]
    ahead = inner.rope_deltas
    cache.batch_repeat_interleave(group)
    return Prefix(
        cache,
        batch["input_ids"].repeat_interleave(group, dim=0),
        batch["attention_mask"].repeat_interleave(group, dim=0),
        None if ahead is None else ahead.repeat_interleave(group, dim=0),
    )


def sample_from(
    model: Any, family: Family, prefix: Prefix, *, temperature: float, max_new_tokens: int, never: Sequence[int]
) -> torch.Tensor:
    """``(N, C)`` tokens of an answer to each row, drawn at a temperature by torch's own random state."""
    if prefix.ahead is not None:
        _inner(model).rope_deltas = prefix.ahead
    with torch.no_grad():
        out = model.generate(
            input_ids=prefix.ids,
            attention_mask=prefix.mask,
            **{_cache_name(model): prefix.cache},
            max_new_tokens=max_new_tokens,
            do_sample=True,
            temperature=temperature,
            top_p=1.0,
            top_k=0,
            num_beams=1,
            repetition_penalty=1.0,
            suppress_tokens=list(never),
            eos_token_id=list(family.end_ids),
            pad_token_id=family.pad_id,
        )
    tokens: torch.Tensor = out[:, prefix.ids.shape[1] :]
    return tokens


def likelihoods_behind(  # noqa: PLR0917 - as `log_likelihoods`
    model: Any,
    bare: Any,
    prefix: Prefix,
    tokens: torch.Tensor,
    mask: torch.Tensor,
    temperature: float,
    *,
    never: Sequence[int] = (),
) -> torch.Tensor:
    """``(N, C)`` log-likelihood of each token behind the prompts, as `log_likelihoods` of whole texts gives it.

    The prefix is used up: its cache then holds the answers too.
    """
    shown = torch.cat([prefix.ids[:, -1:], tokens[:, :-1]], dim=1)
    all_mask = torch.cat([prefix.mask, mask[:, :-1].to(prefix.mask.dtype)], dim=1)
    positions = prefix.positions(all_mask)
    logits = model(
        input_ids=shown,
        attention_mask=all_mask,
        **{_cache_name(bare): prefix.cache},
        **({} if positions is None else {"position_ids": positions}),
        use_cache=True,
    ).logits
    logits = logits.float() / temperature
    if never:
        logits[..., list(never)] = -torch.inf
    picked = torch.log_softmax(logits, dim=-1).gather(2, tokens[:, :, None]).squeeze(2)
    return picked * mask


def _inner(bare: Any) -> Any:
    """The part of the model that knows how positions run on behind a video."""
    owner = bare.get_base_model() if hasattr(bare, "get_base_model") else bare
    return owner.model


def _cache_name(bare: Any) -> str:
    """What the library calls the cache: the older name until its 5.40, the newer one since 5.2x."""
    owner = bare.get_base_model() if hasattr(bare, "get_base_model") else bare
    return "cache" if "cache" in inspect.signature(owner.forward).parameters else "past_key_values"
