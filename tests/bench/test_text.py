"""Explanations by words: the libraries' own numbers, on a scale of ours."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deeptrace.bench.score.text import Pair, bleu, chrf, embedding_similarity, rouge_l, text_metrics

sacrebleu = pytest.importorskip("sacrebleu")
rouge_scorer = pytest.importorskip("rouge_score.rouge_scorer")

words = st.sampled_from(
    ["the", "kettle", "melts", "a", "third", "hand", "grows", "and", "when", "it", "moves", ",", "."]
)
sentences = st.lists(words, max_size=12).map(" ".join) | st.text(max_size=20)
pairs = st.lists(st.tuples(sentences.filter(str.strip), sentences), min_size=1, max_size=6)


@given(pairs)
def test_bleu_and_chrf_are_sacrebleus(given_pairs: list[Pair]) -> None:
    written, candidates = [w for w, _ in given_pairs], [c for _, c in given_pairs]
    assert bleu(given_pairs) == pytest.approx(sacrebleu.BLEU().corpus_score(candidates, [written]).score / 100)
    assert chrf(given_pairs) == pytest.approx(sacrebleu.CHRF().corpus_score(candidates, [written]).score / 100)


@given(pairs)
def test_rouge_l_is_the_mean_of_rouge_scores(given_pairs: list[Pair]) -> None:
    scorer = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=True)
    expected = sum(scorer.score(w, c)["rougeL"].fmeasure for w, c in given_pairs) / len(given_pairs)
    assert rouge_l(given_pairs) == pytest.approx(expected)


def test_rouge_l_by_hand() -> None:
    # "the kettle melts" of 3 words and "the kettle slowly melts" of 4 share 3 in order: 2 * 1 * 0.75 / 1.75.
    assert rouge_l([("the kettle melts", "the kettle slowly melts")]) == pytest.approx(6 / 7)


def test_the_embedding_knows_what_is_near() -> None:
    pytest.importorskip("wordllama")
    near = embedding_similarity([("the hand has six fingers", "an extra finger grows on the hand")])
    far = embedding_similarity([("the hand has six fingers", "a car drives through the rain")])
    assert 0 <= far < near < 1
    assert embedding_similarity([("same", "same"), ("not", "")]) == pytest.approx(0.5, abs=1e-6)


def test_all_of_them() -> None:
    pytest.importorskip("wordllama")
    found = text_metrics([("the lid of the kettle melts", "the lid of the kettle melts"), ("an arm grows", "")])
    assert (found["n"], found["empty"]) == (2, 1)
    assert all(0 < found[name] < 1 for name in ("bleu", "rouge_l", "chrf", "embedding_similarity"))
    assert text_metrics([]) == {}
