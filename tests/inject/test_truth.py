"""Labels are true: the track holds what changed, what changed is seen, and what is not so is refused."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from deeptrace.categories import CATEGORIES, Category
from deeptrace.errors import InjectionError
from deeptrace.inject import Injection, find_things, inject, render_scene
from deeptrace.inject.engine import EDITS, VISIBLE_LEVELS
from deeptrace.inject.footage import watch
from deeptrace.inject.things import Things, TrackedThing
from deeptrace.inject.visibility import noticed
from deeptrace.records import Frames

SCENES = {seed: render_scene(seed, size_hw=(90, 160), seconds=2.5) for seed in (2, 4)}


@pytest.fixture(scope="module")
def pairs() -> list[Injection]:
    made = []
    for seed, scene in SCENES.items():
        for category in CATEGORIES:
            try:
                made.append(inject(scene.frames, category, seed=seed, things=scene.things))
            except InjectionError:
                continue
    return made


def texture(seed: int, size_hw: tuple[int, int], levels: tuple[int, int], cell: int) -> np.ndarray:
    (height, width), rng = size_hw, np.random.default_rng(seed)
    small = rng.integers(*levels, (height // cell + 1, width // cell + 1, 3))
    return np.kron(small, np.ones((cell, cell, 1)))[:height, :width].astype(np.uint8)


def clip(squares: list[tuple[int, int, int, tuple[int, int, int]]], count: int = 16) -> Frames:
    """Squares (x, y, step a frame, colour) of 24 pixels before a quiet wall."""
    rng = np.random.default_rng(0)
    images = np.repeat(texture(0, (96, 168), (80, 100), 6)[None], count, 0)
    for x, y, step, colour in squares:
        look = np.clip(np.array(colour) + rng.integers(-12, 12, (24, 24, 3)), 0, 255).astype(np.uint8)
        for t in range(count):
            images[t, y : y + 24, x + step * t : x + step * t + 24] = look
    return Frames(images, np.arange(count) / 8.0, (96, 168))


def test_all_that_changed_lies_inside_the_track_the_place_left_behind_too(pairs: list[Injection]) -> None:
    assert {one.category for one in pairs} >= {"Object Trajectory", "Unexpected Move", "Object Disappearance"}
    for one in pairs:
        height, width = one.mask.shape[1:]
        inside = changed = 0
        for t, time in enumerate(one.clean.pts_seconds):
            change = np.abs(one.fake.images[t].astype(np.int16) - one.clean.images[t]).max(-1).astype(np.float32)
            shown = cv2.GaussianBlur(change, (0, 0), 1.0) > VISIBLE_LEVELS
            changed += int(shown.sum())
            box = one.trace.box_at(float(time) + 1e-6)
            if box is not None:
                x0, y0, x1, y1 = (round(v * s) for v, s in zip(box, (width, height) * 2, strict=True))
                inside += int(shown[y0:y1, x0:x1].sum())
        assert inside >= 0.97 * changed, one.category


def test_a_trace_is_as_plain_as_its_category_asks(pairs: list[Injection]) -> None:
    for one in pairs:
        assert one.params["noticed_jnd"] >= EDITS[one.category].least_noticed


def test_just_noticeable_differences_are_those_of_lab_less_in_texture() -> None:
    flat = np.full((40, 40, 3), 120, np.uint8)
    lighter = flat + np.uint8(6)  # 2.4 in L
    assert noticed(flat, flat).max() == 0
    assert noticed(flat, lighter).mean() == pytest.approx(1.0, abs=0.15)
    rough = texture(1, (40, 40), (60, 180), 2)
    assert noticed(rough, rough + np.uint8(6)).mean() < 0.6


@pytest.mark.parametrize("category", ["Sudden Blurring", "Object Distortion"])
def test_what_nobody_would_see_is_refused(category: Category) -> None:
    """A square without texture on a wall of nearly its own colour."""
    scene = SCENES[2]
    dull = (scene.frames.images.astype(np.float32) * 0.02 + 100).astype(np.uint8)
    with pytest.raises(InjectionError) as caught:
        inject(replace(scene.frames, images=dull), category, seed=0, things=replace(scene.things, behind=None))
    assert caught.value.code == "TOO_FAINT"


def test_a_fill_that_is_one_more_of_the_same_is_refused() -> None:
    """Still squares in a row: the places beside one are wall and the others, and only wall will do."""
    frames = clip([(6 + 33 * k, 36, 0, (200, 60, 50)) for k in range(5)])
    things = find_things(frames)
    assert len(things)
    refusals = []
    for seed in range(3):
        try:
            one = inject(frames, "Object Disappearance", seed=seed, strength=1.0, things=things)
        except InjectionError as error:
            refusals.append(error.code)
        else:
            gone = one.mask[one.params["onset_frame"]] > 63
            left = one.fake.images[one.params["onset_frame"]][gone].astype(np.int16)
            assert np.abs(left - (200, 60, 50)).mean() > 30
    assert set(refusals) <= {"NO_BACKGROUND", "NO_OBJECT"}


def test_two_things_become_one_in_footage() -> None:
    frames = clip([(20, 36, 3, (210, 60, 50)), (110, 36, 0, (60, 80, 210))])
    things = find_things(frames)
    assert len(things) >= 2
    one = inject(frames, "Object Merging", seed=0, onset_seconds=0.4, things=things)
    assert one.trace.categories == ("Object Merging",)
    end = one.params["offset_frame"] - 1
    before, after = (int((i[end].astype(int) @ (1, -1, -1) > 60).sum()) for i in (one.clean.images, one.fake.images))
    assert before > 400  # the red square, which the clean twin still has
    assert after < 0.1 * before


def test_the_sentence_says_still_of_what_is_still_and_the_way_of_what_goes() -> None:
    frames = clip([(20, 20, 5, (210, 60, 50)), (110, 60, 0, (60, 80, 210))])
    things = find_things(frames)
    words = set()
    for seed in range(4):
        for category in ("Object Distortion", "Unexpected Move", "Object Trajectory"):
            try:
                one = inject(frames, category, seed=seed, onset_seconds=0.5, things=things)
            except InjectionError:
                continue
            text = one.trace.explanation or ""
            words.add(text.split(" object ")[1].split(",")[0])
            if "red object" in text:
                assert "moving right" in text
            if "blue object" in text:
                assert "standing still" in text
    assert words


def test_a_thing_that_stirs_in_its_place_is_not_called_still() -> None:
    """A square that stays where it is while its inside swings to and fro."""
    frames = clip([(70, 36, 0, (200, 200, 60))])
    images = frames.images.copy()
    rng = np.random.default_rng(4)
    inside = cv2.GaussianBlur(rng.integers(0, 255, (24, 60, 3)).astype(np.uint8), (0, 0), 1.5)
    for t in range(len(images)):
        at = 18 + round(9 * np.sin(t * 1.1))
        images[t, 36:60, 70:94] = inside[:, at : at + 24]
    things = find_things(replace(frames, images=images))
    for seed in range(3):
        try:
            one = inject(replace(frames, images=images), "Redundant Object", seed=seed, things=things)
        except InjectionError:
            continue
        assert "standing still" not in (one.trace.explanation or "")


def test_what_no_frame_shows_is_copied_from_where_the_picture_is_alike() -> None:
    """A still square before a wall that comes a second time, 84 pixels to the right: no nearer place is like it."""
    wall = np.tile(60 + 70 * (texture(5, (96, 84), (0, 2), 7)[..., :1] * np.ones(3, np.uint8)), (1, 2, 1)).astype(
        np.uint8
    )
    images = np.repeat(wall[None], 12, 0)
    images[:, 36:60, 20:44] = (230, 60, 40)
    frames = Frames(images, np.arange(12) / 8.0, (96, 168))
    motion = watch(images)
    masks = np.zeros((12, 96, 168), np.uint8)
    masks[:, 36:60, 20:44] = 255
    things = Things((TrackedThing.of(motion, masks, 0, 12, moving=False),), motion)
    one = inject(frames, "Object Disappearance", seed=0, strength=1.0, onset_seconds=0.5, things=things)
    filled = one.fake.images[8, 36:60, 20:44].astype(np.int16)
    assert np.abs(filled - wall[36:60, 20:44]).mean() < 6
