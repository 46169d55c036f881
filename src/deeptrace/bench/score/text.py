"""How alike a model's explanations are to the written ones, by words: BLEU, ROUGE-L, chrF, and an embedding.

Offline, from libraries (sacrebleu, rouge-score, wordllama); a judge reads meaning better, these cost nothing and always
say the same. Pairs of texts in, numbers in [0, 1] out.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any, Final

from deeptrace.errors import MissingExtra

EMBEDDING: Final = "wordllama l2_supercat, 256 dimensions"
"""What the embedding is: static vectors of word pieces, averaged. Its weights come with the package."""

Pair = tuple[str, str]
"""(written, candidate); an empty candidate is an explanation that was not given."""


def text_metrics(pairs: Sequence[Pair]) -> dict[str, float]:
    """All four over the pairs, beside their number ``n`` and how many candidates are ``empty``.

    Empty without pairs. An empty candidate is 0 in each.

    Raises:
        MissingExtra: sacrebleu, rouge-score or wordllama is not installed.
    """
    if not pairs:
        return {}
    return {
        "bleu": bleu(pairs),
        "rouge_l": rouge_l(pairs),
        "chrf": chrf(pairs),
        "embedding_similarity": embedding_similarity(pairs),
        "n": float(len(pairs)),
        "empty": float(sum(not candidate.strip() for _, candidate in pairs)),
    }


def bleu(pairs: Sequence[Pair]) -> float:
    """Corpus BLEU with sacrebleu's defaults (13a, exponential smoothing), one reference each."""
    sacrebleu = _sacrebleu()
    written, candidates = _columns(pairs)
    return float(sacrebleu.corpus_bleu(candidates, [written]).score) / 100


def chrf(pairs: Sequence[Pair]) -> float:
    """Corpus chrF2 (character 6-grams) with sacrebleu's defaults, one reference each."""
    sacrebleu = _sacrebleu()
    written, candidates = _columns(pairs)
    return float(sacrebleu.corpus_chrf(candidates, [written]).score) / 100


def rouge_l(pairs: Sequence[Pair]) -> float:
    """The mean F-measure of ROUGE-L (longest common subsequence of stemmed words) over the pairs."""
    try:
        from rouge_score.rouge_scorer import RougeScorer
    except ImportError:
        raise MissingExtra("ROUGE-L", "bench") from None
    scorer = RougeScorer(["rougeL"], use_stemmer=True)
    return fmean(float(scorer.score(written, candidate)["rougeL"].fmeasure) for written, candidate in pairs)


def embedding_similarity(pairs: Sequence[Pair]) -> float:
    """The mean cosine of the two texts' embeddings over the pairs; a negative cosine, like an empty text, is 0."""
    import numpy as np

    model = _embedder()
    both_written = [(written, candidate) for written, candidate in pairs if written.strip() and candidate.strip()]
    if not both_written:
        return 0.0
    written, candidates = (model.embed(list(texts), norm=True) for texts in zip(*both_written, strict=True))
    cosines = np.clip((written * candidates).sum(1), 0.0, 1.0)
    return float(cosines.sum()) / len(pairs)


def _columns(pairs: Sequence[Pair]) -> tuple[list[str], list[str]]:
    return [written for written, _ in pairs], [candidate for _, candidate in pairs]


def _sacrebleu() -> Any:
    try:
        import sacrebleu
    except ImportError:
        raise MissingExtra("BLEU and chrF", "bench") from None
    return sacrebleu


@cache
def _embedder() -> Any:
    """The embedding that lies in the package; nothing is downloaded."""
    try:
        import wordllama
    except ImportError:
        raise MissingExtra("the similarity of embeddings", "bench") from None
    # The package looks for its own files first in a folder of another name; as a "cache" it finds them.
    return wordllama.WordLlama.load(cache_dir=Path(wordllama.__file__).parent, disable_download=True)
