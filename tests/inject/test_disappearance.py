"""The pair is what it says it is: the same video but for one thing that is gone from a known moment on."""

import numpy as np
import pytest

from deeptrace.errors import RecordError, VideoError
from deeptrace.inject import INJECTORS, make_demo_pair, make_scene, object_disappearance

SEEDS = (0, 1, 2)


@pytest.fixture(scope="module", params=SEEDS)
def scene_and_pair(request):
    scene = make_scene(request.param, fps=12.0, size_hw=(240, 427))
    return scene, object_disappearance(scene)


def pixels(box, shape):
    """Rows and columns of a box, rounded outwards."""
    height, width = shape
    x0, y0, x1, y1 = box
    return slice(int(y0 * height), int(np.ceil(y1 * height))), slice(int(x0 * width), int(np.ceil(x1 * width)))


def test_twins_are_identical_before_the_onset_and_differ_in_the_onset_frame(scene_and_pair):
    _, pair = scene_and_pair
    onset = int(np.searchsorted(pair.fake.pts_seconds, pair.trace.onset_seconds))
    assert pair.fake.pts_seconds[onset] == pair.trace.onset_seconds
    assert 0 < onset < len(pair.fake) - 1
    assert np.array_equal(pair.fake.images[:onset], pair.clean.images[:onset])
    assert not np.array_equal(pair.fake.images[onset], pair.clean.images[onset])
    assert np.array_equal(pair.fake.pts_seconds, pair.clean.pts_seconds)


def test_the_trace_box_holds_the_missing_object_and_little_else(scene_and_pair):
    """In the onset frame the object hangs in mid-air, apart from its shadow: the box must fit the difference."""
    _, pair = scene_and_pair
    onset = int(np.searchsorted(pair.fake.pts_seconds, pair.trace.onset_seconds))
    changed = np.abs(pair.fake.images[onset].astype(int) - pair.clean.images[onset]).max(axis=2) > 12
    box = pixels(pair.trace.bbox_xyxy, changed.shape)
    # The ball fills pi / 4 of its box; the margins and colours near the wall's take some of it.
    assert changed[box].mean() > 0.55
    assert changed[box].any(axis=1).mean() > 0.8
    assert changed[box].any(axis=0).mean() > 0.8


def test_pixels_differ_only_in_the_track_box_and_in_the_shadow_below_it(scene_and_pair):
    scene, pair = scene_and_pair
    target = scene.thing(scene.target)
    height = scene.size_hw[0]
    for index, time in enumerate(pair.fake.pts_seconds):
        changed = np.abs(pair.fake.images[index].astype(int) - pair.clean.images[index]).max(axis=2) > 0
        box = pair.trace.box_at(float(time))
        if box is not None:
            changed[pixels(box, changed.shape)] = False
        # The shadow lies on the floor: within a radius of the ground line, and reaches sideways by a few radii.
        ground = target.ground_y_px + np.array([-1.5, 1.5]) * target.radius_px
        ground = np.clip(ground + np.array([-1, 1]) * 0.03 * height, 0, height).astype(int)
        changed[ground[0] : ground[1]] = False
        assert not changed.any(), f"frame {index} differs outside"


def test_the_track_follows_the_object_and_ends_with_it(scene_and_pair):
    scene, pair = scene_and_pair
    trace = pair.trace
    assert trace.track[0].time_seconds == trace.onset_seconds
    assert trace.track[0].bbox_xyxy == trace.bbox_xyxy
    for key in trace.track:
        assert key.bbox_xyxy == scene.box_at(scene.target, key.time_seconds)
    assert trace.track[-1].time_seconds < trace.offset_seconds <= scene.duration_seconds
    if trace.offset_seconds < scene.duration_seconds:
        assert scene.box_at(scene.target, trace.offset_seconds) is None
    assert trace.categories == ("Object Disappearance",)


def test_the_explanation_names_colour_direction_and_time(scene_and_pair):
    scene, pair = scene_and_pair
    target = scene.thing(scene.target)
    assert target.look.colour in pair.trace.explanation
    assert ("right" if target.velocity(scene.onset_seconds)[0] > 0 else "left") in pair.trace.explanation
    assert f"at {scene.onset_seconds:.1f} s" in pair.trace.explanation
    assert "vanishes in mid-air" in pair.trace.explanation


def test_things_leave_and_pass_behind_in_both_twins():
    """The scene holds what must not be mistaken for a trace."""
    scene = make_scene(0)
    times = scene.pts_seconds
    assert scene.box_at("leaver", times[len(times) // 4]) is not None
    assert scene.box_at("leaver", times[-1]) is None
    pillar, passer = scene.thing("pillar"), scene.thing("passer")
    inside = [abs(passer.path(t)[0] - pillar.path(t)[0]) < pillar.radius_px - passer.radius_px for t in times]
    assert any(inside)
    assert not inside[0]
    assert passer.ground_y_px < pillar.ground_y_px


def test_same_seed_same_pixels_other_seed_other_pixels():
    first, again, other = (make_demo_pair(seed, duration_seconds=0.5, size_hw=(90, 160)) for seed in (5, 5, 6))
    assert np.array_equal(first.fake.images, again.fake.images)
    assert first.trace == again.trace
    assert not np.array_equal(first.clean.images, other.clean.images)


def test_a_lower_strength_leaves_a_ghost():
    scene = make_scene(1, size_hw=(180, 320))
    plain, ghost = object_disappearance(scene), object_disappearance(scene, strength=0.5)
    assert ghost.trace.bbox_xyxy == plain.trace.bbox_xyxy
    assert ghost.trace.onset_seconds == plain.trace.onset_seconds
    onset = int(np.searchsorted(plain.fake.pts_seconds, plain.trace.onset_seconds))
    differences = []
    for pair in (plain, ghost):
        box = pixels(pair.trace.bbox_xyxy, scene.size_hw)
        rows = (pair.fake.images[onset:].astype(int) - pair.clean.images[onset:])[:, box[0], box[1]]
        differences.append(np.abs(rows).mean(axis=(1, 2, 3)))
    # At first nearly all of it is left, at the end of the fade (0.25 s) half.
    assert 0 < differences[1][0] < 0.25 * differences[0][0]
    assert np.abs(ghost.fake.images[:onset].astype(int) - ghost.clean.images[:onset]).max() == 0


@pytest.mark.parametrize("strength", [0.0, -1.0, 1.5, float("nan")])
def test_a_strength_out_of_range_is_an_error(strength):
    with pytest.raises(RecordError, match="strength"):
        object_disappearance(make_scene(0, duration_seconds=0.5, size_hw=(64, 64)), strength=strength)


@pytest.mark.parametrize("size_hw", [(64, 64), (160, 90), (90, 160), (101, 67)])
def test_any_shape_of_frame(size_hw):
    pair = make_demo_pair(3, duration_seconds=0.4, fps=10.0, size_hw=size_hw, onset_seconds=0.2)
    assert pair.fake.images.shape == (4, *size_hw, 3)
    assert pair.trace.onset_seconds == pytest.approx(0.2)
    assert pair.params["size_hw"] == list(size_hw)


@pytest.mark.parametrize(("size_hw", "duration"), [((10, 10), 4.0), ((360, 640), 0.01), ((360, 640), float("nan"))])
def test_a_scene_that_cannot_be_is_an_error(size_hw, duration):
    with pytest.raises(VideoError, match="a scene needs"):
        make_scene(0, size_hw=size_hw, duration_seconds=duration)


def test_every_injector_is_listed_under_what_it_makes():
    for category, inject in INJECTORS.items():
        pair = inject(make_scene(0, duration_seconds=0.3, size_hw=(64, 114)), strength=1.0)
        assert pair.category == category
        assert category in pair.trace.categories
