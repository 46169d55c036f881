"""Metrics of probabilities against scikit-learn, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deeptrace.measures.probabilities import BINS, bin_of, calibration_error, tpr_at_fpr, weighted_auroc

pytest.importorskip("sklearn")

scored = st.lists(
    st.tuples(st.floats(0, 1) | st.sampled_from([0.0, 0.1, 0.5, 1.0]), st.booleans(), st.integers(1, 4)),
    min_size=2,
    max_size=40,
).filter(lambda rows: len({truth for _, truth, _ in rows}) == 2)


def arrays(rows: list[tuple[float, bool, int]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    score, truth, weight = zip(*rows, strict=True)
    return np.array(score), np.array(truth), np.array([weight], float)


@given(scored)
def test_auroc_is_scikit_learns(rows: list[tuple[float, bool, int]]) -> None:
    from sklearn.metrics import roc_auc_score

    score, truth, weight = arrays(rows)
    expected = roc_auc_score(truth, score, sample_weight=weight[0])
    assert weighted_auroc(score, truth, weight) == pytest.approx([expected])


@given(scored, st.sampled_from([0.0, 0.01, 0.1, 0.5, 1.0]))
def test_hits_at_few_false_alarms_are_a_point_of_scikit_learns_curve(
    rows: list[tuple[float, bool, int]], fpr: float
) -> None:
    from sklearn.metrics import roc_curve

    score, truth, weight = arrays(rows)
    alarms, hits, _ = roc_curve(truth, score, sample_weight=weight[0], drop_intermediate=False)
    expected = hits[alarms <= fpr + 1e-12].max()
    assert tpr_at_fpr(score, truth, weight, fpr=fpr) == pytest.approx([expected])


def test_weights_are_copies() -> None:
    rng = np.random.default_rng(0)
    score, truth = rng.random(30).round(1), rng.random(30) < 0.5
    weights = rng.integers(0, 3, (5, 30)).astype(float)
    copies = [np.repeat(np.arange(30), row.astype(int)) for row in weights]
    for metric in (weighted_auroc, lambda s, t, w: tpr_at_fpr(s, t, w, fpr=0.1)):
        expected = [metric(score[i], truth[i], np.ones((1, len(i))))[0] for i in copies]
        assert metric(score, truth, weights) == pytest.approx(expected)


def test_one_class_has_no_curve() -> None:
    score, weights = np.array([0.1, 0.9]), np.ones((1, 2))
    for truth in (np.array([True, True]), np.array([False, False])):
        assert np.isnan(weighted_auroc(score, truth, weights)).all()
        assert np.isnan(tpr_at_fpr(score, truth, weights, fpr=0.1)).all()


def test_by_hand() -> None:
    score, truth = np.array([0.9, 0.6, 0.2, 0.7, 0.3]), np.array([True, True, True, False, False])
    assert tpr_at_fpr(score, truth, np.ones((1, 5)), fpr=0.01) == pytest.approx([1 / 3])
    assert tpr_at_fpr(score, truth, np.ones((1, 5)), fpr=0.5) == pytest.approx([2 / 3])
    assert bin_of(np.array([0.0, 0.05, 0.1, 0.99, 1.0])).tolist() == [0, 0, 1, BINS - 1, BINS - 1]
    count, p_sum, fake = np.array([4.0, 6.0]), np.array([3.6, 1.2]), np.array([3.0, 0.0])
    assert calibration_error(count, p_sum, fake) == pytest.approx(0.18)
