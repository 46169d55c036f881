"""A dataset comes to its shares though footage seldom takes some categories, and never depends on the order of work."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from deeptrace.categories import CATEGORIES, Category
from deeptrace.cli import cli
from deeptrace.inject import render_scene
from deeptrace.inject.pairs import WINDOWS, Source, footage_sources
from deeptrace.inject.plan import PairPlan, Prior, plan_pair, share_of
from deeptrace.inject.quota import ROUND, assign
from deeptrace.video import write_video

# About what camera footage takes of each.
TAKES = dict(zip(CATEGORIES, (0.8, 0.5, 0.15, 0.8, 0.15, 0.7, 0.7, 0.25, 0.15), strict=True))


def dataset(size: int, seed: int = 0) -> Counter[tuple[Prior, Category]]:
    """A dataset of pairs whose windows take each category with a chance of its own."""
    rng, counts = np.random.default_rng(seed), Counter[tuple[Prior, Category]]()
    for low in range(0, size, ROUND):
        planned = assign([plan_pair(seed, n) for n in range(low, min(size, low + ROUND))], counts)
        counts.update((plan.prior, taken) for plan in planned if (taken := first_taken(plan, rng)))
    return counts


def first_taken(plan: PairPlan, rng: np.random.Generator) -> Category | None:
    windows = [{c for c in CATEGORIES if rng.uniform() < TAKES[c]} for _ in range(WINDOWS)]
    for takes in windows:
        for category in plan.categories:
            if category in takes:
                return category
    return next((c for c in plan.spare if c in windows[0]), None)


@pytest.mark.parametrize("seed", range(3))
def test_each_category_comes_to_its_share_though_footage_seldom_takes_it(seed: int) -> None:
    counts = dataset(480, seed)
    for prior in ("paper", "uniform"):
        total = sum(number for (which, _), number in counts.items() if which == prior)
        assert total > 200
        for category in CATEGORIES:
            meant = share_of(category, prior)
            assert counts[prior, category] / total == pytest.approx(meant, abs=0.2 * meant + 0.012), category


def test_the_order_is_a_matter_of_the_counts_alone() -> None:
    plans = [plan_pair(1, number) for number in range(ROUND)]
    assert assign(plans, {}) == assign(plans, Counter())
    few = {("paper", "Object Distortion"): 30, ("uniform", "Object Distortion"): 30}
    for plan in assign(plans, few):
        assert "Object Distortion" in plan.spare
        assert set(plan.categories) | set(plan.spare) == set(CATEGORIES)
    narrow = [plan_pair(1, number, ("Object Merging",)) for number in range(ROUND)]
    assert {plan.categories for plan in assign(narrow, {})} == {("Object Merging",)}


def test_other_clips_stand_in_after_a_pairs_own() -> None:
    clips = [Source(f"{k}.mp4", f"{k}.mp4") for k in range(20)]
    for number in range(20):
        chosen = footage_sources(0, number, clips[number], clips[:number] + clips[number + 1 :])
        assert chosen[0] == clips[number]
        assert len({one.name for one in chosen}) == len(chosen) == WINDOWS
    assert footage_sources(0, 0, clips[0], []) == [clips[0]] * WINDOWS


def test_a_clip_that_shows_no_object_leaves_its_pair_to_another(tmp_path: Path) -> None:
    clips, target = tmp_path / "clips", tmp_path / "set"
    clips.mkdir()
    scene = render_scene(4, size_hw=(90, 160), seconds=2.5).frames
    write_video(clips / "b.mp4", scene, 8.0)
    wall = np.full_like(scene.images, 90)
    write_video(clips / "a.mp4", type(scene).from_array(wall, 8.0), 8.0)
    result = CliRunner().invoke(cli, ["inject", str(clips), str(target), "--small"], standalone_mode=False)
    assert result.return_value == 0, result.output
    fakes = [row for row in json.loads((target / "all_data.json").read_text()) if row["video_type"] == "fake_video"]
    assert [row["inject_source"] for row in fakes] == ["b.mp4", "b.mp4"]
    assert fakes[0]["inject_tries"] > 1


def test_a_category_more_changes_nothing_else_of_a_pair() -> None:
    few, more = (plan_pair(5, 3, CATEGORIES[:count]) for count in (8, 9))
    assert replace(few, categories=()) == replace(more, categories=())
