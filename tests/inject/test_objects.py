"""What is taken for an object: closed all round, moving alone, and looked for once in a window."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deeptrace.categories import CATEGORIES, Category
from deeptrace.errors import InjectionError
from deeptrace.inject import inject, pairs, render_scene
from deeptrace.inject.engine import VISIBLE_LEVELS
from deeptrace.inject.footage import watch
from deeptrace.inject.pairs import SMALL, Source, footage_of
from deeptrace.inject.plan import plan_pair
from deeptrace.inject.regions import open_share, stands_alone
from deeptrace.inject.things import Things, TrackedThing
from deeptrace.records import Frames
from deeptrace.video import write_video

SCENE = render_scene(4, size_hw=(90, 160), seconds=2.5)


def wall(grain: int = 4) -> np.ndarray:
    return (90 + np.random.default_rng(0).integers(-grain, grain + 1, (96, 168, 3))).astype(np.uint8)


def box_mask(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    inside = np.zeros((96, 168), np.bool_)
    inside[y0:y1, x0:x1] = True
    return inside


@settings(max_examples=30, deadline=None)
@given(
    x=st.integers(20, 100), y=st.integers(20, 50), wide=st.integers(18, 40), high=st.integers(18, 40),
    colour=st.sampled_from([(200, 60, 50), (60, 80, 210), (20, 20, 20), (230, 230, 230), (60, 170, 60)]),
)  # fmt: skip
def test_a_thing_is_closed_all_round_and_a_part_of_it_or_of_the_wall_is_not(
    x: int, y: int, wide: int, high: int, colour: tuple[int, int, int]
) -> None:
    image = wall()
    image[y : y + high, x : x + wide] = colour
    assert open_share(image, box_mask(x, y, x + wide, y + high)) < 0.05
    half = open_share(image, box_mask(x, y, x + wide, y + high // 2))
    cut_side = wide / (2 * wide + 2 * (high // 2))
    assert 0.5 * cut_side < half < cut_side + 0.1
    assert open_share(wall(), box_mask(x, y, x + wide, y + high)) == 1.0


def test_the_frames_own_edge_opens_nothing() -> None:
    image = wall()
    image[60:, 40:80] = (200, 60, 50)
    assert open_share(image, box_mask(40, 60, 80, 96)) < 0.05


def test_what_moves_with_something_larger_is_a_part_of_it() -> None:
    """A yellow label on a large red box: closed all round, and carried by the box."""
    rng = np.random.default_rng(1)
    box = np.clip(np.array((190, 60, 50)) + rng.integers(-30, 30, (60, 70, 3)), 0, 255).astype(np.uint8)
    box[20:40, 25:45] = np.clip(np.array((220, 210, 60)) + rng.integers(-30, 30, (20, 20, 3)), 0, 255)
    bricks = np.kron(rng.integers(50, 140, (16, 28, 3)), np.ones((6, 6, 1))).astype(np.uint8)
    images = np.repeat(bricks[None], 10, 0)
    for t in range(10):
        images[t, 18:78, 10 + 4 * t : 80 + 4 * t] = box
    motion = watch(images)
    label = [(t, box_mask(35 + 4 * t, 38, 55 + 4 * t, 58)) for t in (2, 5, 8)]
    whole = [(t, box_mask(10 + 4 * t, 18, 80 + 4 * t, 78)) for t in (2, 5, 8)]
    assert max(open_share(images[t], inside) for t, inside in label) < 0.05
    assert stands_alone(motion, whole)
    assert not stands_alone(motion, label)


def test_a_fill_unlike_its_surroundings_is_refused() -> None:
    """A still thing on a small busy rug on a plain floor: nothing in the frame is like what lies below it."""
    rng = np.random.default_rng(2)
    image = wall(1)
    image[28:68, 30:70] = rng.integers(0, 2, (40, 40, 1)) * 200 + 20
    image[36:60, 38:62] = (200, 60, 50)
    images = np.repeat(image[None], 12, 0)
    motion = watch(images)
    masks = np.repeat((box_mask(38, 36, 62, 60) * np.uint8(255))[None], 12, 0)
    things = Things((TrackedThing.of(motion, masks, 0, 12, moving=False),), motion)
    with pytest.raises(InjectionError) as caught:
        inject(Frames(images, np.arange(12) / 8.0, (96, 168)), "Object Disappearance", seed=0, things=things)
    assert caught.value.code == "NO_BACKGROUND"


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), category=st.sampled_from(CATEGORIES), strength=st.floats(0.3, 1.0))
def test_the_box_holds_the_change_whatever_is_drawn(seed: int, category: Category, strength: float) -> None:
    try:
        one = inject(SCENE.frames, category, seed=seed, strength=strength, things=SCENE.things)
    except InjectionError:
        return
    height, width = one.mask.shape[1:]
    changed = np.abs(one.fake.images.astype(np.int16) - one.clean.images).max(-1).astype(np.float32)
    shown = np.stack([cv2.GaussianBlur(change, (0, 0), 1.0) for change in changed]) > VISIBLE_LEVELS
    outside = shown.copy()
    for t, time in enumerate(one.clean.pts_seconds):
        box = one.trace.box_at(float(time) + 1e-6)
        if box is not None:
            x0, y0, x1, y1 = (round(v * s) for v, s in zip(box, (width, height) * 2, strict=True))
            outside[t, y0:y1, x0:x1] = False
    assert outside.sum() <= 0.02 * shown.sum()
    first, end = one.params["onset_frame"], one.params["offset_frame"]
    assert np.array_equal(one.fake.images[:first], one.clean.images[:first])
    assert np.array_equal(one.sham.images[end:], one.clean.images[end:])


def test_a_window_is_searched_once_for_all_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_video(tmp_path / "a.mp4", SCENE.frames, 8.0)
    searched: list[int] = []
    search = pairs.find_things

    def counted(frames: Frames, seed: int = 0) -> Things:
        searched.append(seed)
        return search(frames, seed)

    monkeypatch.setattr(pairs, "_remembered", OrderedDict())  # another test of this process may know these pixels
    monkeypatch.setattr(pairs, "find_things", counted)
    source = Source("a.mp4", str(tmp_path / "a.mp4"))
    frames, things, _ = footage_of(plan_pair(0, 0), source, SMALL)
    again_frames, again, _ = footage_of(plan_pair(0, 1), source, SMALL)
    assert len(searched) == 1
    assert len(things) == len(again) > 0
    fresh = search(frames, searched[0])
    for one, other in zip(fresh, again, strict=True):
        assert np.array_equal(one.masks, other.masks)
        assert replace(one, masks=one.masks[:0]).whole == other.whole
    for category in ("Sudden Blurring", "Object Distortion"):
        first, second = (inject(frames, category, seed=3, things=each, strength=1.0) for each in (fresh, again))
        assert np.array_equal(first.fake.images, second.fake.images)
        assert first.trace == second.trace
    assert np.array_equal(frames.images, again_frames.images)
