"""The motion model finds abrupt local events that were put there, and nothing in clips where all is as it should be."""

from itertools import pairwise

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from deeptrace.inject import make_demo_pair
from deeptrace.measures.overlap import box_iou
from deeptrace.models import load
from deeptrace.models.motion.model import SAMPLED_THINLY, MotionModel, probability
from deeptrace.records import Frames, Verdict
from deeptrace.video import write_video

FPS, HEIGHT, WIDTH, COUNT = 8.0, 240, 320, 28
SIDE = 36  # of the thing, pixels
MODEL = MotionModel()


def look(images, fps=FPS):
    """The verdict on an array of frames, checked for what every verdict must hold."""
    [verdict] = MODEL.inspect([Frames.from_array(np.asarray(images), fps)])
    assert isinstance(verdict, Verdict)
    assert 0.0 < verdict.p_fake < 1.0
    assert verdict.p_fake == verdict.p_fake_raw == verdict.p_trace
    assert verdict.calibration is None
    assert (verdict.label == "fake") == (verdict.p_fake >= 0.5) == bool(verdict.traces)
    return verdict


# ── clips made here: a thing on a textured wall ─────────────────────────────────────────────────────────────────────


def texture(seed, height, width, scale):
    """Smooth random colours, grey levels around 128."""
    small = np.random.default_rng(seed).normal(0, 1, (height // scale + 2, width // scale + 2, 3))
    return 128 + 30 * cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def wall(width=WIDTH, seed=0):
    return np.clip(texture(seed, HEIGHT, width, 5) * [0.9, 1.0, 1.1], 0, 255)


def thing():
    """A reddish patch with a pattern of its own, and round."""
    patch = np.clip(texture(7, SIDE, SIDE, 6) + np.array([95, -60, -70]), 0, 255)
    ys, xs = np.mgrid[0:SIDE, 0:SIDE] - (SIDE - 1) / 2
    return patch, (np.hypot(xs, ys) < SIDE / 2)[..., None]


def clip(where, count=COUNT, background=None, over=None):
    """Frames with the thing's top left corner at ``where(k)`` (None: absent), then ``over(k, frame)``."""
    patch, mask = thing()
    background = wall() if background is None else background
    frames = []
    for k in range(count):
        canvas = np.pad(background, ((SIDE, SIDE), (SIDE, SIDE), (0, 0)), mode="edge")
        at = where(k)
        if at is not None:
            x, y = (int(v) + SIDE for v in at)
            region = canvas[y : y + SIDE, x : x + SIDE]
            region[:] = np.where(mask, patch, region)
        frame = canvas[SIDE:-SIDE, SIDE:-SIDE]
        frame = frame if over is None else over(k, frame)
        noise = np.random.default_rng(k).normal(0, 2, (*frame.shape[:2], 1))
        frames.append(np.clip(frame + noise, 0, 255).astype(np.uint8))
    return np.stack(frames)


def walk(k):
    """To the right by 7 pixels a frame."""
    return 40 + 7 * k, 100


def expect(verdict, category, corner, onset_frame):
    trace = verdict.traces[0]
    assert trace.categories == (category,)
    assert abs(trace.onset_seconds - onset_frame / FPS) <= 0.15
    x, y = corner
    truth = (x / WIDTH, y / HEIGHT, (x + SIDE) / WIDTH, (y + SIDE) / HEIGHT)
    assert box_iou(trace.bbox_xyxy, truth) >= 0.5
    assert trace.onset_seconds < trace.offset_seconds <= COUNT / FPS + 1e-6
    return trace


# ── the demo ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("seed", "fps", "size_hw"), [(0, 24.0, (360, 640)), (1, 8.0, (240, 427)), (2, 8.0, (240, 427))]
)
def test_it_finds_the_demo_trace_and_calls_the_clean_twin_real(seed, fps, size_hw):
    pair = make_demo_pair(seed, fps=fps, size_hw=size_hw)
    [found] = MODEL.inspect([pair.fake])
    assert found.label == "fake"
    assert found.traces[0].categories == ("Object Disappearance",)
    assert abs(found.traces[0].onset_seconds - pair.trace.onset_seconds) <= 0.15
    assert box_iou(found.traces[0].bbox_xyxy, pair.trace.bbox_xyxy) >= 0.5
    [clean] = MODEL.inspect([pair.clean])
    assert (clean.label, clean.traces) == ("real", ())
    assert clean.p_fake < found.p_fake


def test_it_is_the_model_named_motion():
    model = load("motion")
    assert isinstance(model, MotionModel)
    assert (model.name, model.revision) == ("motion", "1")


def test_it_is_deterministic():
    images = clip(lambda k: walk(k) if k < 14 else None)
    assert look(images) == look(images.copy())


# ── what it finds ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_moving_thing_that_vanishes():
    trace = expect(look(clip(lambda k: walk(k) if k < 14 else None)), "Object Disappearance", walk(14), 14)
    assert "moving thing at the centre vanishes within 0.12 s at 1.7 s" in trace.explanation


def test_a_resting_thing_that_vanishes():
    trace = expect(look(clip(lambda k: (60, 30) if k < 12 else None)), "Object Disappearance", (60, 30), 12)
    assert "resting thing in the upper left vanishes" in trace.explanation


def test_a_thing_that_appears_from_nowhere():
    trace = expect(look(clip(lambda k: walk(k) if k >= 12 else None)), "Redundant Object", walk(12), 12)
    assert "appears from nowhere" in trace.explanation


def test_a_thing_that_jumps():
    """Its box is where it would have gone on, its onset the first frame at the new place."""
    trace = expect(
        look(clip(lambda k: (20 + 5 * k, 30) if k < 14 else (60 + 5 * k, 170))),
        "Object Trajectory",
        (20 + 5 * 14, 30),
        14,
    )
    assert " jumps within " in trace.explanation
    assert "a thing faster than 8 pictures a second can follow would look the same" in trace.explanation


def test_a_region_that_loses_its_detail():
    def smear(k, frame):
        if k < 13:
            return frame
        frame = frame.copy()
        frame[80:160, 120:220] = cv2.GaussianBlur(frame, (0, 0), 5)[80:160, 120:220]
        return frame

    fine = np.clip(wall() + np.random.default_rng(3).normal(0, 30, (HEIGHT, WIDTH, 1)), 0, 255)
    verdict = look(clip(lambda _: None, background=fine, over=smear))
    trace = verdict.traces[0]
    assert trace.categories == ("Sudden Blurring",)
    assert abs(trace.onset_seconds - 13 / FPS) <= 0.15
    assert box_iou(trace.bbox_xyxy, (120 / WIDTH, 80 / HEIGHT, 220 / WIDTH, 160 / HEIGHT)) >= 0.5
    assert "loses its fine detail" in trace.explanation


def test_under_a_panning_camera_too():
    wide = wall(2 * WIDTH)
    patch, mask = thing()
    frames = []
    for k in range(COUNT):
        scene = wide.copy()
        if k < 14:
            x = 150 + 3 * k
            scene[100 : 100 + SIDE, x : x + SIDE] = np.where(mask, patch, scene[100 : 100 + SIDE, x : x + SIDE])
        frames.append(scene[:, 5 * k : 5 * k + WIDTH].astype(np.uint8))
    expect(look(frames), "Object Disappearance", (150 + 3 * 14 - 5 * 14, 100), 14)


# ── what is no trace ────────────────────────────────────────────────────────────────────────────────────────────────


def pillar(k, frame):
    """Hides what is behind its 60 pixels."""
    frame = frame.copy()
    frame[:, 150:210] = wall(seed=5)[:, 150:210] * 0.7
    return frame


def shade(k, frame):
    """A shadow falls for a second and a half."""
    frame = frame.copy()
    if 8 <= k < 20:
        frame[60:120, 80:160] *= 0.6
    return frame


NO_TRACE = {
    "nothing moves": lambda: clip(lambda _: None),
    "a thing walks": lambda: clip(walk),
    "a thing leaves through the edge": lambda: clip(lambda k: (150 + 12 * k, 100) if k < 15 else None),
    "a thing comes in through the edge": lambda: clip(lambda k: (-SIDE + 9 * k, 100) if k > 0 else None),
    "a thing walks behind a pillar and comes out": lambda: clip(walk, over=pillar),
    "a thing walks behind a pillar and stays there": lambda: clip(lambda k: (min(40 + 7 * k, 160), 100), over=pillar),
    "a thing comes to rest": lambda: clip(lambda k: (min(40 + 7 * k, 160), 100)),
    "a shadow comes and goes": lambda: clip(lambda _: (30, 30), over=shade),
    "a flash": lambda: clip(walk, over=lambda k, f: f * 1.9 + 30 if k == 12 else f),
    "the exposure jumps": lambda: clip(walk, over=lambda k, f: f * (0.6 if k >= 12 else 1.0)),
    "a fade to black": lambda: clip(walk, over=lambda k, f: f * max(0.0, 1 - k / 20)),
    "the focus is lost everywhere": lambda: clip(
        walk, over=lambda k, f: cv2.GaussianBlur(f, (0, 0), 4) if k >= 13 else f
    ),
    "a cut": lambda: np.concatenate([clip(walk, 14), clip(lambda _: None, 14, wall(seed=9))]),
    "a cut to a place where the thing is not": lambda: np.concatenate(
        [clip(walk, 14, wall(seed=8)), clip(lambda _: None, 14, wall(seed=8)[::-1, ::-1])]
    ),
    "a pan": lambda: np.stack([wall(2 * WIDTH)[:, 8 * k : 8 * k + WIDTH].astype(np.uint8) for k in range(COUNT)]),
}


@pytest.mark.parametrize("make", NO_TRACE.values(), ids=NO_TRACE.keys())
def test_what_can_be_explained_is_no_trace(make):
    verdict = look(make())
    assert verdict.label == "real", verdict.traces


# ── odd inputs ──────────────────────────────────────────────────────────────────────────────────────────────────────


@given(
    images=st.tuples(st.integers(1, 14), st.integers(1, 70), st.integers(1, 70)).flatmap(
        lambda shape: arrays(np.uint8, (*shape, 3), elements=st.integers(0, 255), fill=st.integers(0, 255))
    ),
    fps=st.sampled_from([0.2, 5.0, 8.0, 29.97, 240.0]),
)
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_any_frames_give_a_verdict(images, fps):
    assert look(images, fps).p_fake < 1.0


@pytest.mark.parametrize("shape", [(1, 240, 320), (2, 240, 320), (30, 1, 1), (30, 5, 3), (30, 100, 1), (3, 400, 60)])
@pytest.mark.parametrize("level", [0, 128, 255])
def test_flat_frames_are_real_and_uncertain(shape, level):
    verdict = look(np.full((*shape, 3), level, np.uint8))
    assert (verdict.label, verdict.uncertain) == ("real", True)
    assert verdict.p_fake == probability(0.0)


def test_noise_is_real():
    assert look(np.random.default_rng(0).integers(0, 256, (20, 120, 160, 3), dtype=np.uint8)).label == "real"


def test_a_clip_too_long_for_its_rate_is_uncertain_and_says_so(tmp_path):
    """A minute at eight frames a second is more than the model takes: the file is looked at more thinly."""
    path = tmp_path / "long.mp4"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    write_video(path, Frames.from_array(np.broadcast_to(noise, (60 * 8, 64, 64, 3)), 8))
    [verdict] = MotionModel().inspect([path])
    assert (verdict.uncertain, verdict.flags) == (True, (SAMPLED_THINLY,))
    assert verdict.origin.sampling["sampled_fps"] == pytest.approx(8 / 3)


def test_the_probability_rises_with_the_strength():
    values = [probability(s) for s in np.linspace(0, 3, 50)]
    assert all(b > a for a, b in pairwise(values))
    assert probability(1.0) == 0.5
    assert values[0] == pytest.approx(1 / 12)
