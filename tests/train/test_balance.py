"""What an epoch shows: each once, or balanced, and always the same for the same seed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deeptrace.records import Record, VideoInfo
from deeptrace.train.vlm.balance import By, Order, lopsided
from deeptrace.train.vlm.examples import Example


def example(i: int, label: str, source: str = "a", seconds: float | None = 5.0) -> Example:
    info = VideoInfo(64, 64, duration_seconds=seconds)
    return Example(Path(f"{i}.mp4"), Record(f"v{i}", f"{i}.mp4", label, info, source))  # type: ignore[arg-type]


examples = st.lists(
    st.tuples(st.sampled_from(["fake", "real"]), st.sampled_from("abc"), st.sampled_from([1.0, 5.0, 30.0, None])),
    min_size=1,
    max_size=60,
).map(lambda rows: [example(i, *row) for i, row in enumerate(rows)])
ways = st.lists(st.sampled_from(["label", "source", "length"]), unique=True).map(tuple)


@given(examples, st.integers(0, 5), st.integers(0, 4))
def test_without_balance_an_epoch_shows_each_example_once(shown: list[Example], seed: int, epoch: int) -> None:
    assert sorted(Order(shown, seed=seed).indices(epoch)) == list(range(len(shown)))


@given(examples, ways, st.integers(0, 3))
def test_an_epoch_is_as_long_as_the_examples_and_the_same_again(
    shown: list[Example], by: tuple[By, ...], epoch: int
) -> None:
    order = Order(shown, by=by, seed=3)
    order.set_epoch(epoch)
    assert list(order) == Order(shown, by=by, seed=3).indices(epoch)
    assert len(list(order)) == len(order) == len(shown)


def test_half_is_fake_whatever_the_counts() -> None:
    shown = [example(i, "fake" if i < 90 else "real") for i in range(100)]
    labels = Counter(shown[i].record.label for i in Order(shown, by=("label",)).indices(0))
    assert labels == {"fake": 50, "real": 50}


def test_within_a_length_half_is_fake_so_that_length_does_not_tell() -> None:
    shown = [example(i, "fake", seconds=5.0 if i % 10 else 15.0) for i in range(100)]
    shown += [example(100 + i, "real", seconds=15.0 if i % 10 else 5.0) for i in range(100)]
    order = Order(shown, by=("label", "length"))
    drawn = Counter((shown[i].record.label, shown[i].seconds) for e in range(3) for i in order.indices(e))
    for seconds in (5.0, 15.0):
        assert abs(drawn["fake", seconds] - drawn["real", seconds]) <= 2
    assert lopsided(shown) == {}
    assert lopsided([*shown, example(200, "fake", seconds=40.0)]) == {"fake": 1}


def test_a_rare_generator_is_shown_more_often_but_not_as_often_as_a_frequent_one() -> None:
    shown = [example(i, "fake", "rare" if i < 25 else "frequent") for i in range(425)]
    drawn = Counter(shown[i].record.source for i in Order(shown, by=("source",)).indices(0))
    assert drawn["rare"] == pytest.approx(425 * 5 / 25, abs=1)  # square roots: 5 to 20


def test_over_epochs_every_example_comes_up_before_any_comes_twice() -> None:
    shown = [example(i, "fake" if i < 80 else "real") for i in range(100)]
    order = Order(shown, by=("label",))
    drawn = Counter(i for e in range(2) for i in order.indices(e))
    assert {drawn[i] for i in range(80)} <= {1, 2}
    assert {drawn[i] for i in range(80, 100)} == {5}


def test_another_seed_is_another_order() -> None:
    shown = [example(i, "fake") for i in range(50)]
    assert Order(shown, seed=0).indices(0) != Order(shown, seed=1).indices(0)
    assert Order(shown, seed=0).indices(0) != Order(shown, seed=0).indices(1)
