"""Which tokens of an answer decide, and how much each token of it weighs in the loss.

An answer has some sixty tokens, of which one says FAKE or REAL, a dozen say where and two or three say when. The rest
is the sentence round them and the explanation. With all alike, a model learns to write long before it learns to see.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from deeptrace.categories import CATEGORIES
from deeptrace.errors import TrainError

if TYPE_CHECKING:
    import torch

_NAMES: Final = "|".join(re.escape(name) for name in CATEGORIES)
_DECIDES: Final = re.compile(rf"\bFAKE\b|\bREAL\b|\d+(?:\.\d+)?|{_NAMES}", re.IGNORECASE)


def decisive_spans(answer: str, explanations: Iterable[str | None]) -> list[tuple[int, int]]:
    """Where in a rendered answer the label, the coordinates, the times and the categories stand, as character spans.

    Works on any format: what stands outside the explanations and is the first label, a number, or one of the nine
    categories.
    """
    shadow = answer
    for explanation in explanations:
        if explanation:
            shadow = shadow.replace(explanation, "\0" * len(explanation), 1)
    matches = list(_DECIDES.finditer(shadow))
    labels = [match for match in matches if match[0].upper() in ("FAKE", "REAL")]
    return [match.span() for match in matches if match not in labels[1:]]


def token_weights(
    answer: str,
    offsets: Sequence[tuple[int, int]],
    explanations: Iterable[str | None],
    *,
    decisive: float,
    other: float,
) -> list[float]:
    """The weight of each token of an answer, and of the token that ends it (always ``other``).

    ``offsets`` are the tokens' places in the answer, in characters. A token that decides weighs the same in every
    answer: were weights scaled by answer, the label of a short one (REAL) would weigh more than that of a long one
    (FAKE), and a model that sees nothing would lean towards it.

    Raises:
        TrainError: nothing of the answer has any weight.
    """
    spans = decisive_spans(answer, explanations)
    weights = [
        decisive if any(start < end and begin < stop for start, stop in spans) else other for begin, end in offsets
    ]
    weights.append(other)
    if sum(weights) <= 0:
        raise TrainError(f"no token of the answer {answer[:60]!r} has a weight")
    return weights


def answer_loss(
    logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor | None = None, *, tokens: Any = None
) -> torch.Tensor:
    """Mean negative log-likelihood of the labels, in nats a token, weighted.

    ``logits`` ``(B, K, V)`` are those of the last K positions of ``labels`` ``(B, L)``; labels of -100 do not count.
    ``weights`` ``(B, L)``. The sum is divided by ``tokens``, or by how many labels there are.
    """
    import torch

    count = logits.shape[1]
    targets = labels[:, labels.shape[1] - count + 1 :]  # position i predicts the label at i + 1
    counted = targets != -100
    picked = logits[:, :-1][counted].float()  # (N, V)
    losses = torch.nn.functional.cross_entropy(picked, targets[counted], reduction="none")
    if weights is not None:
        losses = losses * weights[:, labels.shape[1] - count + 1 :][counted]
    return losses.sum() / (counted.sum() if tokens is None else tokens)
