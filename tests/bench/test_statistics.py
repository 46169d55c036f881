"""Intervals, tests and Holm: by hand, by enumeration, and by what they promise."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deeptrace.bench.score.measure import doubt
from deeptrace.bench.score.statistics import (
    Draws,
    bounded_interval,
    cluster_sums,
    draw,
    hits_interval,
    holm,
    interval,
    permutation_test,
    replicate_sums,
    smallest_detectable,
    spread,
)
from deeptrace.bench.score.totals import COLUMNS, PLACE
from deeptrace.errors import RecordError


def test_whole_clusters_are_drawn() -> None:
    draws = draw(["a", "b", "a", "c", "b"], replicates=50, seed=1)
    assert draws.clusters == 3
    assert (draws.weights[0] == 1).all()
    assert (draws.weights[:, 0] == draws.weights[:, 2]).all()
    assert (draws.weights[:, 1] == draws.weights[:, 4]).all()
    distinct = draws.weights[1:, [0, 1, 3]]
    assert (distinct.sum(1) == 3).all()  # three clusters are drawn each time
    assert (draw(["a", "b"], replicates=5, seed=1).weights == draw(["a", "b"], replicates=5, seed=1).weights).all()
    assert (draw(range(9), replicates=5, seed=1).weights != draw(range(9), replicates=5, seed=2).weights).any()
    with pytest.raises(RecordError):
        draw(["a"], replicates=-1)


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=8), st.integers(0, 5))
def test_sums_of_replicates_are_sums_of_copies(values: list[float], seed: int) -> None:
    rows = np.array(values)[:, None]
    draws = draw(range(len(values)), replicates=4, seed=seed)
    for weights, total in zip(draws.weights, replicate_sums(rows, draws), strict=True):
        assert total == pytest.approx(np.repeat(rows, weights.astype(int), axis=0).sum(0), abs=1e-9)


def test_interval_covers_as_often_as_it_says() -> None:
    """The mean of 60 draws from a known distribution lies in its 95 % interval about 19 times of 20."""
    rng, hits = np.random.default_rng(0), 0
    for trial in range(300):
        rows = rng.exponential(size=(60, 1))
        sums = replicate_sums(rows, draw(range(60), replicates=300, seed=trial))[:, 0]
        found = interval(sums / 60, clusters=60)
        assert found.low is not None
        assert found.high is not None
        hits += found.low <= 1.0 <= found.high
    assert 0.91 <= hits / 300 <= 0.98


def test_a_mean_of_nothing_has_no_interval() -> None:
    assert interval(np.array([np.nan, 1.0, 2.0])).value is None
    assert interval(np.array([1.0])).low is None
    lonely = interval(np.array([1.0, 1.0, 1.0]), clusters=1)
    assert (lonely.low, lonely.reason) == (None, "needs 2 independent videos of each label; there are 1")
    assert interval(np.array([1.0, np.nan, 2.0, 2.0])).high == 2.0


def test_a_metric_at_its_end_still_has_an_interval() -> None:
    """20 clusters, all right: 1.92 of 1 and of 0 put beside them make (20 + 1.92) / 23.84, the reach 2.093 errors."""
    found = bounded_interval(np.ones(50), 20)
    squares = 20 * 0.080576**2 + 1.92073 * (0.919424**2 + 0.080576**2)
    assert found.low == pytest.approx(0.919424 - 2.093024 * squares**0.5 / 23.84146, abs=1e-4)
    assert found.high == 1.0
    assert bounded_interval(np.zeros(50), 20).high == pytest.approx(1 - found.low, abs=1e-9)
    assert bounded_interval(np.array([np.nan, 1.0]), 3).value is None
    assert bounded_interval(np.array([0.5]), 3).low is None
    assert "needs 2" in str(bounded_interval(np.ones(50), 1).reason)


def test_a_category_of_too_few_videos_gets_no_interval() -> None:
    rows = np.zeros((25, len(COLUMNS)), np.float32)
    rows[:12, PLACE["hit_0"]] = rows[12:24, PLACE["missed_1"]] = 1
    assert doubt(rows, list(range(25)), "category_f1") is None
    copies = [0, 0, 0, *range(3, 25)]
    assert doubt(rows, copies, "category_f1") is None
    rows[24, PLACE["missed_2"]] = 1
    assert "each category; " in str(doubt(rows, copies, "category_f1"))
    assert doubt(rows, copies, "viou_f1") is None
    assert "above the truth" in str(doubt(rows, copies, "calibration_error"))


def test_shares_of_clusters_of_copies_are_held_as_often_as_promised() -> None:
    """20 clusters of three copies, each right with probability 0.9: a third of the 60 answers are independent."""
    rng, hits = np.random.default_rng(0), 0
    for trial in range(200):
        right = np.repeat(rng.random(20) < 0.9, 3)[:, None].astype(float)
        clusters = np.repeat(np.arange(20), 3).tolist()
        shares = replicate_sums(right, draw(clusters, replicates=100, seed=trial))[:, 0]
        sizes = replicate_sums(np.ones((60, 1)), draw(clusters, replicates=100, seed=trial))[:, 0]
        found = bounded_interval(shares / sizes, 20)
        assert found.low is not None
        assert found.high is not None
        hits += found.low <= 0.9 <= found.high
    assert hits / 200 >= 0.92


def test_hit_rates_hold_the_truth_and_need_enough_reals() -> None:
    """Normal scores two apart: at 1 % false alarms the hit rate is P(z > 2.326 - 2) = 0.372, at 10 % 0.764."""
    rng = np.random.default_rng(0)
    for fpr, reals, truth in ((0.01, 400, 0.372), (0.1, 40, 0.764)):
        inside = 0
        for _ in range(200):
            score = np.r_[rng.normal(2, 1, reals), rng.normal(0, 1, reals)]
            found = hits_interval(score, np.arange(2 * reals) < reals, list(range(2 * reals)), fpr=fpr)
            assert not isinstance(found, str)
            inside += found[0] <= truth <= found[1]
        assert inside / 200 >= 0.95
    score, positive = rng.random(662), np.arange(662) < 331
    assert not isinstance(hits_interval(score, positive, list(range(662)), fpr=0.01), str)
    words = "needs 331 independent real videos; there are 165"
    assert hits_interval(score, positive, [i // 2 for i in range(662)], fpr=0.01) == words


def mean(sums: np.ndarray) -> dict[str, np.ndarray]:
    return {"mean": sums[..., 0] / sums[..., 1]}


def test_a_permutation_test_is_the_enumeration_of_all_swaps() -> None:
    a = np.array([[3.0, 1], [2.0, 1], [5.0, 1], [4.0, 1], [1.0, 1], [2.5, 1]])
    b = np.array([[1.0, 1], [2.0, 1], [1.0, 1], [3.5, 1], [0.0, 1], [3.5, 1]])
    observed = abs((a - b)[:, 0].mean())
    swaps = [abs(float((np.array(signs) * (a - b)[:, 0]).mean())) for signs in product((1, -1), repeat=6)]
    exact = sum(value >= observed - 1e-12 for value in swaps) / len(swaps)
    found = permutation_test(a, b, mean, permutations=20_000, seed=0)["mean"]
    assert found == pytest.approx(exact, abs=0.015)


def test_equal_models_are_never_told_apart() -> None:
    a = np.random.default_rng(0).random((20, 2))
    assert permutation_test(a, a.copy(), mean, permutations=50)["mean"] == 1.0
    nothing = np.zeros((3, 2))
    with np.errstate(invalid="ignore"):
        assert permutation_test(nothing, nothing, mean, permutations=50)["mean"] is None


def test_false_alarms_of_the_test_are_as_rare_as_promised() -> None:
    rng = np.random.default_rng(1)
    p_values = []
    for seed in range(200):
        a, b = (np.stack([rng.random(30), np.ones(30)], axis=1) for _ in range(2))
        p_values.append(permutation_test(a, b, mean, permutations=199, seed=seed)["mean"])
    assert 0.01 <= np.mean([p is not None and p <= 0.05 for p in p_values]) <= 0.1


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, None, 0.9]) == [1.0, None, 1.0]
    assert holm([]) == []


@given(st.lists(st.none() | st.floats(0, 1), max_size=8))
def test_holm_raises_and_keeps_the_order(p_values: list[float | None]) -> None:
    adjusted = holm(p_values)
    pairs = [(p, q) for p, q in zip(p_values, adjusted, strict=True) if p is not None and q is not None]
    assert all(p <= q <= 1 for p, q in pairs)
    assert [q for _, q in sorted(pairs)] == sorted(q for _, q in pairs)
    assert [p is None for p in p_values] == [q is None for q in adjusted]


def test_the_smallest_detectable_difference_is_found_in_four_cases_of_five() -> None:
    values = np.r_[0.0, np.random.default_rng(0).normal(0.0, 1.0, 20_000)]
    assert smallest_detectable(values) == pytest.approx(2.80, abs=0.05)
    assert smallest_detectable(np.array([0.0, 1.0])) is None


def test_cluster_sums_and_spread() -> None:
    assert cluster_sums(np.array([[1.0], [2.0], [4.0]]), ["x", "y", "x"]).tolist() == [[5.0], [2.0]]
    assert spread([1.0, None, 3.0]).sd == pytest.approx(2**0.5)
    assert (spread([1.0]).sd, spread([]).mean) == (None, None)
    assert len(Draws(np.ones((3, 2), np.float32), 2)) == 2
