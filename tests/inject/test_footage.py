"""Traces in footage: what holds for every category, implementation and seed, on frames whose objects are known."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deeptrace.categories import CATEGORIES, Category
from deeptrace.errors import InjectionError, RecordError
from deeptrace.inject import IMPLEMENTATIONS, Injection, RenderedScene, find_things, inject, render_scene
from deeptrace.measures.overlap import box_iou
from deeptrace.records import Frames

SCENES = {seed: render_scene(seed, size_hw=(90, 160), seconds=2.5) for seed in (0, 2, 4, 6)}


def try_inject(scene: RenderedScene, category: Category, **options: object) -> Injection | None:
    try:
        return inject(scene.frames, category, things=scene.things, **options)  # type: ignore[arg-type]
    except InjectionError:  # this scene offers nothing for it
        return None


@pytest.fixture(scope="module")
def made() -> list[Injection]:
    """Every category in both implementations, in every scene that takes it."""
    results = [
        try_inject(scene, category, seed=seed, implementation=implementation)
        for seed, scene in SCENES.items()
        for category in CATEGORIES
        for implementation in IMPLEMENTATIONS
    ]
    return [one for one in results if one is not None]


def test_every_category_can_be_made_both_ways(made: list[Injection]) -> None:
    found = {(one.category, one.params["implementation"]) for one in made}
    assert found == {(category, way) for category in CATEGORIES for way in IMPLEMENTATIONS}


def test_outside_the_trace_all_three_are_the_same_bytes(made: list[Injection]) -> None:
    for one in made:
        first, end = one.params["onset_frame"], one.params["offset_frame"]
        outside = np.r_[0:first, end : len(one.clean)]
        for twin in (one.fake, one.sham):
            assert (twin.images[outside] == one.clean.images[outside]).all(), one.category
        assert not one.mask[outside].any()


def test_the_box_holds_what_the_mask_shows_and_the_track_is_valid(made: list[Injection]) -> None:
    for one in made:
        height, width = one.mask.shape[1:]
        times = one.clean.pts_seconds
        assert one.trace.onset_seconds == times[one.params["onset_frame"]]
        assert one.trace.track is not None
        assert one.trace.bbox_xyxy == one.trace.track[0].bbox_xyxy
        for key in one.trace.track:
            if not key.visible:
                continue
            shown = one.mask[int(np.searchsorted(times, key.time_seconds))] > 63
            x0, y0, x1, y1 = (round(v * s) for v, s in zip(key.bbox_xyxy or (), (width, height) * 2, strict=True))
            assert shown[y0:y1, x0:x1].sum() >= 0.96 * shown.sum()
            # Tight but for a rim of a pixel: every side of the box is near something that shows.
            inner = shown[y0:y1, x0:x1]
            assert all(side.any() for side in (inner[:2], inner[-2:], inner[:, :2], inner[:, -2:]))


def test_a_sham_shows_far_less_than_its_fake(made: list[Injection]) -> None:
    shares = []
    for one in made:
        where = one.mask > 63
        clean = one.clean.images[where].astype(np.int16)
        fake, sham = (float(np.abs(t.images[where] - clean).mean()) for t in (one.fake, one.sham))
        assert sham < 0.5 * fake, one.category
        shares.append(sham / fake)
    assert np.median(shares) < 0.2


def test_a_sham_is_an_edit_all_the_same(made: list[Injection]) -> None:
    """It is no copy of the clean twin: the same pixels went through the same steps."""
    for one in made:
        assert (one.sham.images != one.clean.images).any(), one.category


def test_a_fake_changes_enough_to_be_seen(made: list[Injection]) -> None:
    for one in made:
        assert one.params["mean_change_levels"] >= 3.0


def test_the_same_seed_makes_the_same_trace_and_another_seed_another(made: list[Injection]) -> None:
    scene = SCENES[2]
    first, again, other = (try_inject(scene, "Object Distortion", seed=seed) for seed in (5, 5, 6))
    assert first is not None
    assert again is not None
    assert other is not None
    assert (first.fake.images == again.fake.images).all()
    assert first.trace == again.trace
    assert dict(first.params) == dict(again.params)
    assert (first.fake.images != other.fake.images).any()


def test_params_are_json_and_the_explanation_names_colour_place_and_time(made: list[Injection]) -> None:
    for one in made:
        assert json.loads(json.dumps(one.params)) == dict(one.params)
        text = one.trace.explanation or ""
        assert text.startswith(("A ", "An ")), text
        assert " object " in text
        assert text.endswith(f"from {one.trace.onset_seconds:.1f} s on.")


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**32 - 1),
    category=st.sampled_from(CATEGORIES),
    strength=st.floats(0.05, 1.0),
    onset=st.floats(0.0, 2.5),
    scene=st.sampled_from(sorted(SCENES)),
)
def test_any_seed_gives_a_valid_trace_or_a_refusal(
    seed: int, category: Category, strength: float, onset: float, scene: int
) -> None:
    one = try_inject(SCENES[scene], category, seed=seed, strength=strength, onset_seconds=onset)
    if one is not None:
        assert one.trace.onset_seconds is not None
        assert one.trace.onset_seconds >= onset - 1e-6
        assert one.mask[one.params["onset_frame"]].any()


def test_a_stronger_trace_changes_more() -> None:
    """Of one thing: where a weak change of one cannot be seen, another is taken."""
    scene = SCENES[0]
    things = replace(scene.things, found=scene.things.found[1:2])
    for category in ("Object Distortion", "Sudden Blurring", "Object Disappearance"):
        weak, strong = (
            inject(scene.frames, category, seed=1, strength=strength, onset_seconds=0.5, things=things)
            for strength in (0.35, 1.0)
        )
        assert weak.params["mean_change_levels"] < strong.params["mean_change_levels"]


# ── finding things ──────────────────────────────────────────────────────────────────────────────────────────────────


def moving_square(count: int = 16) -> tuple[Frames, list[tuple[float, float, float, float]]]:
    """A bright textured square that crosses a textured wall, and its box in each frame."""
    rng = np.random.default_rng(0)
    wall = np.kron(rng.integers(60, 120, (16, 28, 3)), np.ones((6, 6, 1))).astype(np.uint8)
    square = np.kron(rng.integers(170, 250, (6, 6, 3)), np.ones((4, 4, 1))).astype(np.uint8)
    images, boxes = np.repeat(wall[None], count, 0), []
    for t in range(count):
        x, y = 20 + 4 * t, 36
        images[t, y : y + 24, x : x + 24] = square
        boxes.append((x / 168, y / 96, (x + 24) / 168, (y + 24) / 96))
    return Frames(images, np.arange(count) / 8.0, (96, 168)), boxes


def test_a_moving_square_is_found_and_followed() -> None:
    frames, boxes = moving_square()
    things = find_things(frames)
    assert things
    thing = things[0]
    assert thing.moving
    for t in range(thing.first, thing.last + 1):
        x0, y0, x1, y1 = thing.box_px(t)
        assert box_iou((x0 / 168, y0 / 96, x1 / 168, y1 / 96), boxes[t]) > 0.5


def test_behind_a_square_that_vanishes_the_true_wall_shows() -> None:
    frames, _ = moving_square()
    wall = np.median(frames.images, axis=0)
    for implementation in IMPLEMENTATIONS:
        one = inject(frames, "Object Disappearance", seed=0, strength=1.0, implementation=implementation)
        assert one.params["thing_moving"]
        for t in range(one.params["onset_frame"], one.params["offset_frame"]):
            gone = one.mask[t] > 63
            assert np.abs(one.fake.images[t][gone] - wall[gone]).mean() < 12


@pytest.mark.parametrize("alpha", [90, 126, 129, 255])
def test_a_cut_out_that_one_sees_through_is_no_thing_or_one_with_a_box_in_every_frame(alpha: int) -> None:
    rng = np.random.default_rng(alpha)
    picture = np.dstack([rng.integers(0, 255, (60, 60, 3)), np.full((60, 60), alpha)]).astype(np.uint8)
    for seed in range(6):
        scene = render_scene(seed, cutouts=[picture], size_hw=(90, 160), seconds=2.0)
        for thing in scene.things:
            for index in range(thing.first, thing.last + 1):
                x0, y0, x1, y1 = thing.box_px(index)
                assert x0 < x1
                assert y0 < y1


def test_footage_without_any_object_is_refused() -> None:
    flat = Frames.from_array(np.full((12, 64, 96, 3), 90, np.uint8), 8.0)
    assert len(find_things(flat)) == 0
    with pytest.raises(InjectionError) as caught:
        inject(flat, "Object Distortion", seed=0)
    assert caught.value.code == "NO_OBJECT"


def test_a_cut_is_never_crossed() -> None:
    frames, _ = moving_square()
    rng = np.random.default_rng(3)
    other = np.kron(rng.integers(0, 255, (16, 28, 3)), np.ones((6, 6, 1))).astype(np.uint8)
    images = np.concatenate([frames.images[:9], np.repeat(other[None], 7, 0)])
    cut = Frames(images, frames.pts_seconds, frames.source_hw)
    for thing in find_things(cut):
        assert thing.last < 9 or thing.first >= 9


def test_wrong_arguments_are_refused() -> None:
    frames, _ = moving_square()
    with pytest.raises(RecordError, match="strength"):
        inject(frames, "Object Distortion", seed=0, strength=0.0)
    with pytest.raises(RecordError, match="category"):
        inject(frames, "Weird", seed=0)  # type: ignore[arg-type]
    with pytest.raises(RecordError, match="implementation"):
        inject(frames, "Object Distortion", seed=0, implementation="third")  # type: ignore[arg-type]
