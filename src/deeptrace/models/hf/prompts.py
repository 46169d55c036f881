"""Which system prompt a checkpoint was trained with, as far as labelled videos tell: each is scored with both.

The training code of VideoLLaMA 3 writes no system turn, its inference example writes one, and weights do not say which
they saw. A model knows more under the prompt it was trained with, so its labels are more likely there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import numpy as np

from deeptrace.errors import MissingExtra, ModelError
from deeptrace.records import Score
from deeptrace.video import VideoSource

if TYPE_CHECKING:
    from deeptrace.models.hf.model import HfModel

Fit: TypeAlias = Literal["released", "none", "cannot tell"]

LEVEL: Final = 0.95
EDGE: Final = 0.01
"""P(fake) counts as at least this far from 0 and 1: no single video decides."""


@dataclass(frozen=True)
class PromptComparison:
    """How much better labels are told with the released system prompt than with none.

    ``difference`` is the mean log-probability of the true label (natural, of P(fake) before any calibration, held
    `EDGE` from 0 and 1) with the prompt, less that without one; of fakes and of reals apart, then halved. ``low`` and
    ``high`` bound it with 95 % confidence; all three are None where a label has fewer than two videos that were scored
    both times. ``fakes`` and ``reals`` count those, ``unscored`` the others. ``with_released``, ``with_none``: the two
    means themselves.
    """

    fit: Fit
    difference: float | None
    low: float | None
    high: float | None
    with_released: float | None
    with_none: float | None
    fakes: int
    reals: int
    unscored: int


def compare_prompts(model: HfModel, videos: Sequence[VideoSource], are_fake: Sequence[bool]) -> PromptComparison:
    """Score every video with the family's released system prompt and with none, and say which fits.

    The model keeps the prompt that it had. "cannot tell" where the interval of the difference holds 0.

    Raises:
        ModelError: the family's released models have no system prompt, or the lists differ in length.
    """
    released, own = model.family.released_system_prompt, model.system_prompt
    if not released:
        raise ModelError(f"released models of the {model.family.name} family have no system prompt: none to compare.")
    if len(videos) != len(are_fake):
        raise ModelError(f"{len(videos)} videos and {len(are_fake)} labels: one label a video is expected.")
    try:
        model.system_prompt = released
        with_released = model.score(list(videos))
        model.system_prompt = ""
        with_none = model.score(list(videos))
    finally:
        model.system_prompt = own
    both = [
        (_logprob(one, fake), _logprob(other, fake), fake)
        for one, other, fake in zip(with_released, with_none, are_fake, strict=True)
        if isinstance(one, Score) and isinstance(other, Score)
    ]
    return _judge(both, unscored=len(videos) - len(both))


def _logprob(score: Score, is_fake: bool) -> float:
    p_fake = min(1 - EDGE, max(EDGE, score.p_fake_raw))  # a calibration was fitted under one of the two prompts
    return math.log(p_fake if is_fake else 1 - p_fake)


def _judge(both: Sequence[tuple[float, float, bool]], *, unscored: int) -> PromptComparison:
    groups = [
        np.array([row[:2] for row in both if row[2] is fake], np.float64).reshape(-1, 2) for fake in (True, False)
    ]
    fakes, reals = map(len, groups)
    if min(fakes, reals) < 2:
        return PromptComparison("cannot tell", None, None, None, None, None, fakes, reals, unscored)
    try:
        from scipy.stats import t
    except ImportError:
        raise MissingExtra("comparing system prompts", "data") from None
    steps = [group[:, 0] - group[:, 1] for group in groups]
    difference = float(np.mean([step.mean() for step in steps]))
    # Two independent means, halved; the degrees of freedom of the smaller group, which errs to the wide side.
    error = math.sqrt(sum(float(step.var(ddof=1)) / len(step) for step in steps)) / 2
    reach = float(t.ppf((1 + LEVEL) / 2, min(fakes, reals) - 1)) * error
    low, high = difference - reach, difference + reach
    fit: Fit = "released" if low > 0 else "none" if high < 0 else "cannot tell"
    means = np.mean([group.mean(axis=0) for group in groups], axis=0)
    return PromptComparison(fit, difference, low, high, float(means[0]), float(means[1]), fakes, reals, unscored)
