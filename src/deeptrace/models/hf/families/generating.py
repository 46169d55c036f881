"""Tokens out of a model: answers, greedy or drawn, and the first token by one pass. Knows no family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import torch


LABEL_STEPS: Final = 48
"""Tokens of an answer within which its label is looked for; behind them stands the explanation."""


@dataclass(frozen=True)
class LabelMass:
    """The probabilities at one token of all tokens that begin FAKE, and of all that begin REAL."""

    fake: float
    real: float

    @property
    def p_fake(self) -> float:
        """P(FAKE) / (P(FAKE) + P(REAL)), in [0, 1]; 0.5 where both are too small to be told from nothing."""
        both = self.fake + self.real
        return self.fake / both if both > 0 else 0.5


def label_mass(logprobs: torch.Tensor, labels: tuple[Sequence[int], Sequence[int]]) -> LabelMass:
    """Of the log-probabilities ``(vocabulary,)`` of one token; ``labels``: the ids that begin FAKE and REAL."""
    fake, real = (float(logprobs[list(ids)].exp().sum()) for ids in labels)
    return LabelMass(fake, real)


@dataclass(frozen=True)
class Generated:
    """An answer as it was generated. ``ended`` is False where it was cut off at the limit of new tokens.

    ``first_logprobs`` are the log-probabilities ``(vocabulary,)`` of its first token, float32 on the CPU. ``label``:
    what the labels had at the token with which its own begins; None where no label was recognised.
    """

    text: str
    ended: bool
    tokens: int
    first_logprobs: torch.Tensor
    label: LabelMass | None = None


class _Logits:
    """A step of the library's generation that keeps the first logits; all would be too many.

    Of the first `LABEL_STEPS` it keeps how likely a label was. To rows that are drawn it adds Gumbel's noise times the
    temperature: the largest sum is a sample of the softmax at that temperature, whatever stands in the other rows.
    """

    def __init__(
        self,
        labels: tuple[Sequence[int], Sequence[int]] | None,
        draws: Sequence[tuple[float, int] | None] | None = None,
    ) -> None:
        import torch

        self._temperatures = [0.0 if draw is None else draw[0] for draw in draws or ()]
        self._generators = [torch.Generator().manual_seed(0 if draw is None else draw[1]) for draw in draws or ()]
        self.logits: Any = None
        self.masses: list[list[LabelMass]] = []
        self._labels = labels

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if self.logits is None:
            self.logits = scores.float().cpu()
        if self._labels is not None and len(self.masses) < LABEL_STEPS:
            logprobs = scores.float().log_softmax(dim=-1)
            self.masses.append([label_mass(row, self._labels) for row in logprobs])
        return self._with_noise(scores) if any(self._temperatures) else scores

    def _with_noise(self, scores: torch.Tensor) -> torch.Tensor:
        import torch

        noise = torch.zeros(scores.shape, dtype=torch.float64)
        for row, (temperature, generator) in enumerate(zip(self._temperatures, self._generators, strict=True)):
            if temperature:
                uniform = torch.rand(scores.shape[1], generator=generator, dtype=torch.float64).clamp_min(1e-300)
                noise[row] = -temperature * torch.log(-torch.log(uniform))
        return (scores.double() + noise.to(scores.device)).float()


def write_answers(
    model: Any,
    batch: Mapping[str, torch.Tensor],
    *,
    max_new_tokens: int,
    end: Sequence[int],
    pad: int,
    labels: tuple[Sequence[int], Sequence[int]] | None = None,
    draws: Sequence[tuple[float, int] | None] | None = None,
) -> tuple[list[list[int]], torch.Tensor, list[list[LabelMass]]]:
    """The tokens of each answer; the log-probabilities ``(B, vocabulary)`` of their first ones (float32, CPU).

    ``end``: the tokens that end one.

    Third, for each answer the masses of its first tokens, where ``labels`` are given: see `LabelMass`. Answers are
    greedy but those with a temperature and a seed in ``draws``.
    """
    import torch
    from transformers import LogitsProcessorList

    inputs = {name: value for name, value in batch.items() if name != "labels"}
    recorder = _Logits(labels, draws)
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
            eos_token_id=list(end),
            pad_token_id=pad,
            logits_processor=LogitsProcessorList([recorder]),
        )
    answers: list[list[int]] = out[:, inputs["input_ids"].shape[1] :].tolist()
    masses = [[step[row] for step in recorder.masses] for row in range(len(answers))]
    return answers, torch.log_softmax(recorder.logits, dim=-1), masses


def next_logprobs(model: Any, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Log-probabilities ``(B, vocabulary)`` of the token behind each prompt, float32 on the CPU."""
    import torch

    inputs = {name: value for name, value in batch.items() if name != "labels"}
    with torch.inference_mode():
        out = model(**inputs, logits_to_keep=1, use_cache=False)
    return torch.log_softmax(out.logits[:, -1].float(), dim=-1).cpu()
