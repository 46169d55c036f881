"""The laws of a split: by unique video, nothing moves, near-duplicates stay together, ratios hold in every stratum."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deeptrace.data import leave_one_source_out, split
from deeptrace.errors import RecordError
from deeptrace.files import dumps
from deeptrace.records import Record

SPLITS = ("train", "val", "test")
splits = st.sampled_from([None, None, None, *SPLITS])


@st.composite
def data_sets(draw: st.DrawFn) -> list[Record]:
    kinds = draw(
        st.lists(
            st.tuples(st.sampled_from(["fake", "real", "unsure", None]), st.sampled_from("ABC"), splits), max_size=60
        )
    )
    return [Record(f"v{i}", label=label, source=source, split=name) for i, (label, source, name) in enumerate(kinds)]


def videos(count: int, label: str = "fake", source: str = "A") -> list[Record]:
    return [Record(f"{label}-{source}-{i}", label=label, source=source) for i in range(count)]  # type: ignore[arg-type]


@given(data_sets(), st.integers(0, 5), st.randoms(), st.integers(1, 20))
def test_laws(records: list[Record], seed: int, shuffler: random.Random, groups: int) -> None:
    clusters = {record.video_id: hash(record.video_id) % groups for record in records[::2]}
    result = split(records, seed=seed, clusters=clusters)
    # Every video has one split; what was assigned did not move.
    assert set(result.splits) == {record.video_id for record in records}
    assert set(result.splits.values()) <= set(SPLITS)
    assert all(result[r.video_id] == r.split for r in records if r.split is not None)
    assert set(result.new) == {r.video_id for r in records if r.split is None}
    # A group stands in one split unless it was torn before; then it is reported.
    torn = {bridge.cluster for bridge in result.bridges}
    for cluster in set(clusters.values()):
        members = [r for r in records if clusters.get(r.video_id) == cluster]
        before = {r.split for r in members} - {None}
        assert (cluster in torn) == (len(before) > 1)
        after = {result[r.video_id] for r in members}
        assert after == before or (not before and len(after) == 1)
    # The order of the records and a second run change nothing.
    shuffled = list(records)
    shuffler.shuffle(shuffled)
    assert split(shuffled, seed=seed, clusters=clusters).splits == result.splits
    assert split(result.apply(records), seed=seed + 1, clusters=clusters).splits == result.splits
    counted = Counter((r.label, r.source, result[r.video_id]) for r in records)
    assert {(*s, n): c for s, row in result.counts.items() for n, c in row.items() if c} == dict(counted)


@given(
    st.lists(st.integers(0, 45), min_size=1, max_size=6),
    st.sampled_from([(8, 1, 1), (1, 1, 1), (7, 2, 1), (0.6, 0.2, 0.2), (1, 0, 1)]),
    st.integers(0, 3),
)
def test_ratios_hold_in_every_stratum_and_over_the_label(
    sizes: list[int], ratios: tuple[float, ...], seed: int
) -> None:
    records = [record for i, size in enumerate(sizes) for record in videos(size, source=f"S{i}")]
    result = split(records, seed=seed, ratios=ratios)
    for i, size in enumerate(sizes):
        row = result.counts.get(("fake", f"S{i}"), dict.fromkeys(SPLITS, 0))
        for name, ratio in zip(SPLITS, ratios, strict=True):
            assert abs(row[name] - size * ratio / sum(ratios)) < 1 + 1e-6
    for name, ratio in zip(SPLITS, ratios, strict=True):
        held = sum(row[name] for row in result.counts.values())
        assert abs(held - sum(sizes) * ratio / sum(ratios)) < 2 + 1e-6


@given(data_sets(), data_sets(), st.integers(0, 3))
def test_a_growing_set_keeps_what_it_has(first: list[Record], more: list[Record], seed: int) -> None:
    before = split(first, seed=seed)
    later = [replace(record, video_id=f"new-{record.video_id}", split=None) for record in more]
    after = split([*before.apply(first), *later], seed=seed + 1)
    assert before.splits.items() <= after.splits.items()


def test_exact_shares_of_round_numbers() -> None:
    result = split(videos(100) + videos(30, "real", "R") + videos(10, "unsure", "A"), seed=0)
    assert {key: tuple(row.values()) for key, row in result.counts.items()} == {
        ("fake", "A"): (80, 10, 10),
        ("real", "R"): (24, 3, 3),
        ("unsure", "A"): (8, 1, 1),
    }


def test_the_seed_decides() -> None:
    records = videos(100)
    assert split(records, seed=0).splits == split(records, seed=0).splits
    assert split(records, seed=0).splits != split(records, seed=1).splits


def test_a_newcomer_joins_its_near_duplicate() -> None:
    old = [Record("old", label="fake", source="A", split="test")]
    result = split([*old, *videos(20)], seed=0, clusters={"old": 1, "fake-A-3": 1})
    assert result["fake-A-3"] == "test"
    assert result.bridges == ()


def test_a_bridge_is_reported_and_not_moved() -> None:
    records = [Record("a", split="train"), Record("b", split="test"), Record("c", split="test"), Record("d")]
    result = split(records, seed=0, clusters=dict.fromkeys("abcd", "k"))
    assert result.splits == {"a": "train", "b": "test", "c": "test", "d": "test"}
    (bridge,) = result.bridges
    assert bridge.cluster == "k"
    assert bridge.video_ids == {"train": ("a",), "test": ("b", "c")}
    assert dumps(result.to_json())


@pytest.mark.parametrize("ratios", [(8, 1), (0, 0, 0), (1, -1, 1), (float("nan"), 1, 1), (float("inf"), 1, 1)])
def test_ratios_that_make_no_sense(ratios: tuple[float, ...]) -> None:
    with pytest.raises(RecordError, match="ratios"):
        split(videos(3), seed=0, ratios=ratios)


def test_records_that_contradict_each_other() -> None:
    with pytest.raises(RecordError, match="two records"):
        split([Record("a", split="train"), Record("a", split="test")], seed=0)
    with pytest.raises(RecordError, match="holdout"):
        split([Record("a", split="holdout")], seed=0)


def test_leave_one_source_out() -> None:
    records = (
        videos(10) + videos(6, source="B") + videos(2, source="C") + videos(9, "real", "R") + videos(4, "unsure", "A")
    )
    clusters = {"fake-A-0": 1, "fake-B-0": 1, "fake-B-1": 2, "fake-B-2": 2}
    folds = leave_one_source_out(records, seed=0, clusters=clusters)
    assert [fold.source for fold in folds] == ["A", "B", "C"]
    tested = Counter(video_id for fold in folds for video_id in fold.test)
    assert tested == Counter(r.video_id for r in records if r.label in ("fake", "real"))  # each once, unsure never
    for fold in folds:
        assert not set(fold.train) & set(fold.test)
        assert {v for v in fold.test if v.startswith("fake")} == {
            r.video_id for r in records if r.source == fold.source and r.label == "fake"
        }
        assert sum(v.startswith("real") for v in fold.test) == 3
        assert not any(v.startswith("unsure") for v in fold.train)
        assert len(fold.train) + len(fold.test) + len(fold.excluded) == 27
    assert [fold.excluded for fold in folds] == [("fake-B-0",), ("fake-A-0",), ()]
    with pytest.raises(RecordError, match="two are needed"):
        leave_one_source_out(videos(4), seed=0)
