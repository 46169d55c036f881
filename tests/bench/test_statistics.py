"""Intervals, tests and Holm: by hand, by enumeration, and by what they promise."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deeptrace.bench.statistics import (
    Draws,
    cluster_sums,
    draw,
    holm,
    interval,
    permutation_test,
    replicate_sums,
    smallest_detectable,
    spread,
)
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
        found = interval(sums / 60)
        assert found.low is not None
        assert found.high is not None
        hits += found.low <= 1.0 <= found.high
    assert 0.89 <= hits / 300 <= 0.98


def test_a_mean_of_nothing_has_no_interval() -> None:
    assert interval(np.array([np.nan, 1.0, 2.0])).value is None
    assert interval(np.array([1.0])).low is None
    assert interval(np.array([1.0, np.nan, 2.0, 2.0])).high == 2.0


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
