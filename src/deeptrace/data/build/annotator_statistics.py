"""Agreement beyond chance for choices, and the best pairing of two lists of traces. Knows no annotators."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from deeptrace.errors import MissingExtra, RecordError
from deeptrace.measures.overlap import assign, box_iou, tiou
from deeptrace.records import Trace

# ── chance-corrected agreement ──────────────────────────────────────────────────────────────────────────────────────


def cohen_kappa(a: Sequence[str], b: Sequence[str]) -> float | None:
    """Cohen's kappa of two raters who rated the same units, in [-1, 1]; by scikit-learn.

    None where it is undefined: no units, or both use one and the same value throughout. By hand: 4 units, the raters
    agree on 3; a says fake 3 times, b twice, so by chance 3/4 * 2/4 + 1/4 * 2/4 = 0.5, and kappa is 0.25 / 0.5 = 0.5.

    Raises:
        RecordError: the raters did not rate equally many units.
        MissingExtra: scikit-learn is not installed.
    """
    if len(a) != len(b):
        raise RecordError("ratings", f"{len(a)} of one rater and {len(b)} of the other are not of the same units")
    if len({*a, *b}) < 2:
        return None
    try:
        from sklearn.metrics import cohen_kappa_score
    except ImportError:
        raise MissingExtra("Cohen's kappa", "data") from None
    return float(cohen_kappa_score(list(a), list(b)))


def fleiss_kappa(ratings: Iterable[Sequence[str]]) -> float | None:
    """Fleiss' kappa of units that were all rated equally often, by whomever; in [-1, 1].

    ``ratings`` has the values of each unit. None where it is undefined: no units, fewer than two ratings of a unit, not
    equally many for all, or one value throughout. By hand: 3 ratings of each of (f f f), (f f r), (r r r): pairs agree
    in 1, 1/3, 1 of the cases, so 7/9; f has 5/9 of all ratings, so chance is 41/81; kappa is 22/40 = 0.55.
    """
    counts = [Counter(values) for values in ratings]
    sizes = {count.total() for count in counts}
    if len(sizes) != 1 or min(sizes) < 2:
        return None
    n = sizes.pop()
    observed = fmean((sum(k * k for k in count.values()) - n) / (n * (n - 1)) for count in counts)
    total = sum(counts, Counter[str]())
    chance = sum((k / total.total()) ** 2 for k in total.values())
    return None if len(total) < 2 else (observed - chance) / (1 - chance)


def krippendorff_alpha(ratings: Iterable[Sequence[str]]) -> float | None:
    """Krippendorff's alpha for nominal values, at most 1; raters may have rated different units and unequally many.

    ``ratings`` has the values of each unit; units with fewer than two are not pairable and left out. None where it is
    undefined: nothing pairable, or one value throughout. By hand: (f f), (f r), (r r) has 6 values, 3 of each;
    disagreement is 2/6 of the pairs, expected 2 * 3 * 3 / (6 * 5) = 0.6, so alpha is 1 - (1/3) / 0.6 = 4/9.
    """
    counts = [count for values in ratings if (count := Counter(values)).total() >= 2]
    total = sum(counts, Counter[str]())
    n = total.total()
    if len(total) < 2:
        return None
    apart = sum((m * m - sum(k * k for k in count.values())) / (m - 1) for count in counts for m in [count.total()])
    expected = (n * n - sum(k * k for k in total.values())) / (n - 1)
    return 1 - apart / expected


# ── matching traces ─────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class TraceMatch:
    """Two traces taken for the same artefact, by their places in the two lists. None: one of them does not say."""

    a: int
    b: int
    box_iou: float | None
    tiou: float | None
    onset_difference_seconds: float | None

    @property
    def overlap(self) -> float:
        """The mean of the overlaps that are known, in [0, 1]."""
        overlaps = [value for value in (self.box_iou, self.tiou) if value is not None]
        return fmean(overlaps) if overlaps else 0.0


def compare(a: Trace, b: Trace, i: int = 0, j: int = 0) -> TraceMatch:
    """How far two traces overlap. ``i`` and ``j`` are their places in their lists."""
    spans = [
        None
        if trace.onset_seconds is None or trace.offset_seconds is None
        else (trace.onset_seconds, trace.offset_seconds)
        for trace in (a, b)
    ]
    onsets = [trace.onset_seconds for trace in (a, b) if trace.onset_seconds is not None]
    return TraceMatch(
        i,
        j,
        None if a.bbox_xyxy is None or b.bbox_xyxy is None else box_iou(a.bbox_xyxy, b.bbox_xyxy),
        None if spans[0] is None or spans[1] is None else tiou(spans[0], spans[1]),
        abs(onsets[0] - onsets[1]) if len(onsets) == 2 else None,
    )


def match_traces(a: Sequence[Trace], b: Sequence[Trace]) -> list[TraceMatch]:
    """The pairing of two lists of traces with the largest total overlap, in the order of ``a``.

    Overlap is the mean of the IoU of the boxes at onset and the temporal IoU, where both say them. Pairs that do not
    overlap at all are not matched.

    Raises:
        MissingExtra: scipy is not installed.
    """
    if not a or not b:
        return []
    pairs = [[compare(p, q, i, j) for j, q in enumerate(b)] for i, p in enumerate(a)]
    return [pairs[i][j] for i, j in assign([[pair.overlap for pair in row] for row in pairs])]
