"""Which tokens decide, and the loss that weighs them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deeptrace.answer import Space, render
from deeptrace.errors import TrainError
from deeptrace.records import Trace, Verdict
from deeptrace.train.vlm.decisive import answer_loss, decisive_spans, token_weights

torch = pytest.importorskip("torch")

FAKE = Verdict("fake", traces=(Trace((0.25, 0.25, 0.5, 0.5), 1.5, explanation="2 hands merge, which looks FAKE."),))


def words(answer: str) -> list[tuple[int, int]]:
    return [match.span() for match in re.finditer(r"\w+|[^\w\s]", answer)]


@pytest.mark.parametrize("format", ["trained", "zero-shot"])
def test_label_box_and_time_decide_and_the_explanation_does_not(format: str) -> None:
    answer = render(FAKE, format, Space("per-mille"))  # type: ignore[arg-type]
    said = [answer[start:stop] for start, stop in decisive_spans(answer, ["2 hands merge, which looks FAKE."])]
    assert said == ["FAKE", "250", "250", "500", "500", "1.5"]


def test_real_decides_once() -> None:
    answer = render(Verdict("real"), "trained", Space("per-mille"))
    assert [answer[a:b] for a, b in decisive_spans(answer, [])] == ["REAL"]


@given(st.floats(0.0, 20.0), st.floats(0.01, 5.0))
def test_a_label_weighs_the_same_in_every_answer(decisive: float, other: float) -> None:
    """Long or short, FAKE or REAL: else a model that sees nothing would lean to one of them."""
    for verdict in (FAKE, Verdict("real")):
        answer = render(verdict, "trained", Space("per-mille"))
        explanations = [trace.explanation for trace in verdict.traces]
        weights = token_weights(answer, words(answer), explanations, decisive=decisive, other=other)
        assert len(weights) == len(words(answer)) + 1
        assert weights[0] == decisive
        assert weights[-1] == other


def test_only_what_decides() -> None:
    weights = token_weights("FAKE. No.", words("FAKE. No."), [], decisive=1.0, other=0.0)
    assert weights == [1.0, 0.0, 0.0, 0.0, 0.0]


def test_an_answer_without_any_weight_is_refused() -> None:
    with pytest.raises(TrainError, match="has a weight"):
        token_weights("No.", words("No."), [], decisive=1.0, other=0.0)


def test_the_loss_is_torchs_own_on_the_answer() -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 7, 11)
    labels = torch.tensor([[-100, -100, -100, 4, 2, 9, -100], [-100, -100, 3, 3, 1, 0, 5]])
    expected = torch.nn.functional.cross_entropy(logits[:, :-1].reshape(-1, 11), labels[:, 1:].reshape(-1))
    assert torch.allclose(answer_loss(logits, labels), expected)
    assert torch.allclose(answer_loss(logits[:, 1:], labels), expected)  # only the last positions were computed
    assert torch.allclose(answer_loss(logits, labels, torch.ones(2, 7)), expected)
    assert torch.allclose(answer_loss(logits, labels, tokens=4), expected * 8 / 4)


def test_a_heavier_token_pulls_harder() -> None:
    logits = torch.zeros(1, 3, 5, requires_grad=True)
    labels, weights = torch.tensor([[-100, 1, 2]]), torch.tensor([[0.0, 3.0, 1.0]])
    answer_loss(logits, labels, weights).backward()
    assert logits.grad is not None
    assert torch.allclose(logits.grad[0, 0, 1], 3 * logits.grad[0, 1, 2])
