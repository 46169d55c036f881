"""Shortcut probes: what is planted is found, what is not there is at chance, groups are never split."""

from __future__ import annotations

import numpy as np
import pytest

from deeptrace.data.audit.features import FeatureTable, container_table, geometry_table
from deeptrace.data.audit.probes import ProbeScore, Shortcuts, assign_folds, run_probes
from deeptrace.errors import RecordError
from deeptrace.measures.probabilities import weighted_auroc
from deeptrace.records import RecordLabel, VideoInfo


def labels_of(n: int) -> list[RecordLabel | None]:
    return ["fake" if i % 2 else "real" for i in range(n)]


def noise(n: int, seed: int = 0, columns: int = 4) -> FeatureTable:
    values = np.random.default_rng(seed).normal(size=(n, columns))
    return FeatureTable(tuple(f"x{i}" for i in range(columns)), values)


def run(table: FeatureTable, labels: list[RecordLabel | None], **options: object) -> Shortcuts:
    return run_probes({"it": table}, labels, **{"resamples": 200, **options})  # type: ignore[arg-type]


def test_a_planted_shortcut_is_found() -> None:
    labels = labels_of(100)
    table = noise(100)
    table.values[:, 2] = [label == "fake" for label in labels]
    result = run(table, labels).get("it")
    assert result.auroc is not None
    assert result.balanced_accuracy is not None
    assert result.auroc.value == pytest.approx(1.0)
    assert result.auroc.low > 0.95
    assert not result.auroc.at_chance
    assert result.balanced_accuracy.value > 0.95
    assert result.accuracy is None
    assert dict(result.classes) == {"real": 50, "fake": 50}


@pytest.mark.parametrize("seed", range(3))
def test_noise_is_at_chance(seed: int) -> None:
    result = run(noise(240, seed), labels_of(240), seed=seed).get("it")
    assert result.auroc is not None
    assert 0.38 < result.auroc.value < 0.62
    assert 0.05 < result.auroc.high - result.auroc.low < 0.25


def test_what_is_the_same_for_all_is_exactly_at_chance() -> None:
    infos = [VideoInfo(640, 360, 8.0, 24, 3.0, "h264", False, False)] * 60
    labels: list[RecordLabel | None] = ["fake" if i % 3 else "real" for i in range(60)]
    result = run(geometry_table(infos), labels).get("it")
    assert result.auroc is not None
    assert (result.auroc.value, result.auroc.low, result.auroc.high) == (0.5, 0.5, 0.5)
    assert result.balanced_accuracy is not None
    assert result.balanced_accuracy.value == 0.5


def test_the_same_seed_gives_the_same_numbers() -> None:
    table, labels = noise(80), labels_of(80)
    assert run(table, labels, seed=3).to_json() == run(table, labels, seed=3).to_json()


def test_unknown_values_are_a_shortcut_too() -> None:
    labels = labels_of(60)
    infos = [None if label == "fake" else VideoInfo(640, 360) for label in labels]
    result = run(geometry_table(infos), labels).get("it")
    assert result.auroc is not None
    assert result.auroc.value == 1.0


def test_a_group_that_gives_itself_away_is_of_no_use() -> None:
    """Ten sources, each with its own value and one label: learned by heart in random folds, useless in grouped ones."""
    rng = np.random.default_rng(0)
    source = np.repeat(np.arange(20), 12)
    labels: list[RecordLabel | None] = ["fake" if s % 2 else "real" for s in source]
    values = rng.normal(size=20)[source] + 0.001 * rng.normal(size=240)
    table = FeatureTable(("x",), values[:, None])
    plain = run(table, labels).get("it").auroc
    grouped = run(table, labels, groups=source.tolist()).get("it")
    assert plain is not None
    assert grouped.auroc is not None
    assert plain.value > 0.95
    assert grouped.auroc.value < 0.8
    assert grouped.groups == 20
    # Drawn by groups the interval is honest: twenty things were seen, not 240.
    assert grouped.auroc.high - grouped.auroc.low > 0.2


def test_generators_are_told_apart_with_the_majority_as_chance() -> None:
    labels: list[RecordLabel | None] = ["fake"] * 90 + ["real"] * 30
    sources = ["kling"] * 60 + ["sora"] * 30 + ["camera"] * 30
    table = noise(120)
    table.values[:60, 0] = 50.0
    result = run(table, labels, sources=sources).get("it", "generator")
    assert result.accuracy is not None
    assert result.balanced_accuracy is not None
    assert result.accuracy.chance == pytest.approx(2 / 3)
    assert result.balanced_accuracy.chance == 0.5
    assert result.accuracy.value > 0.95
    assert dict(result.classes) == {"kling": 60, "sora": 30}


@pytest.mark.parametrize("sizes", [(7, 18, 5), (18, 7, 5), (10, 10, 10), (12, 13, 5)])
def test_where_features_say_nothing_the_majority_is_reached(sizes: tuple[int, int, int]) -> None:
    """Three generators whose clips are all alike: accuracy is the largest one's share, wherever it stands."""
    sources = [name for name, n in zip("abc", sizes, strict=True) for _ in range(n)]
    infos = [VideoInfo(640, 360, 8.0, 24, 3.0)] * 60
    labels: list[RecordLabel | None] = ["fake"] * 30 + ["real"] * 30
    result = run(geometry_table(infos), labels, sources=[*sources, *["camera"] * 30]).get("it", "generator")
    assert result.accuracy is not None
    assert result.accuracy.value == result.accuracy.chance == pytest.approx(max(sizes) / 30)
    assert result.accuracy.at_chance
    assert result.balanced_accuracy is not None
    assert result.balanced_accuracy.value == pytest.approx(1 / 3)


def test_a_probe_that_cannot_be_run_says_why() -> None:
    labels = labels_of(20)
    assert run(noise(20), labels).get("it", "generator").reason == "fewer than two generators have 5 clips"
    one_each = ["a" if label == "fake" else "b" for label in labels]
    assert "two groups of a class" in (run(noise(20), labels, groups=one_each).get("it").reason or "")
    sources = ["kling" if i % 4 == 1 else "sora" for i in range(40)]
    result = run(noise(40), labels_of(40), sources=sources, groups=[f"{i % 2} {s}" for i, s in enumerate(sources)])
    assert "all of one group" in (result.get("it", "generator").reason or "")
    empty = run(FeatureTable(("x",), np.full((20, 1), np.nan)), labels).get("it")
    assert empty.auroc is None
    assert empty.reason == "no feature is known"


def test_unsure_takes_no_part() -> None:
    labels: list[RecordLabel | None] = [*labels_of(40), "unsure", "unsure", None]
    found = run(noise(43), labels)
    assert dict(found.left_out) == {"unsure": 2, "no label": 1}
    assert found.get("it").n == 40


def test_folds_keep_groups_whole_and_strata_even() -> None:
    groups = [i // 3 for i in range(120)]
    strata = ["fake" if g % 2 else "real" for g in groups]
    fold = assign_folds(strata, groups, folds=5, seed=1)
    assert all(len({int(fold[i]) for i in range(120) if groups[i] == g}) == 1 for g in set(groups))
    for name in ("fake", "real"):
        counts = np.bincount([fold[i] for i in range(120) if strata[i] == name], minlength=5)
        assert counts.tolist() == [12] * 5


def test_auroc_by_hand_and_by_scikit_learn() -> None:
    from sklearn.metrics import roc_auc_score

    # Positives .8 and .4 against negatives .4 and .1: 1 + 1 + .5 + 1 of 4.
    area = weighted_auroc(np.array([0.8, 0.4, 0.4, 0.1]), np.array([True, True, False, False]), np.ones((1, 4)))
    assert area[0] == pytest.approx(3.5 / 4)
    rng = np.random.default_rng(0)
    score, truth = rng.integers(0, 9, 70) / 9, rng.integers(0, 2, 70) > 0
    weights = rng.integers(0, 4, (5, 70)).astype(float)
    expected = [roc_auc_score(truth, score, sample_weight=w) for w in weights]
    assert weighted_auroc(score, truth, weights) == pytest.approx(expected)


def test_lengths_must_agree() -> None:
    with pytest.raises(RecordError):
        run(noise(5), labels_of(6))
    with pytest.raises(RecordError):
        run(noise(6), labels_of(6), folds=1)


def test_an_unreadable_file_is_a_row_of_unknowns() -> None:
    assert np.isnan(container_table([None]).values).all()


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.6, 0.8, "above chance"),
        (0.2, 0.4, "below chance"),
        (0.4, 0.58, "at chance"),
        (0.5, 0.5, "at chance"),
        (0.49, 0.77, "unclear"),
    ],
)
def test_an_interval_in_words(low: float, high: float, verdict: str) -> None:
    assert ProbeScore((low + high) / 2, low, high, 0.5).verdict == verdict
