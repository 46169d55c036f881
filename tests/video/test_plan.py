"""The plan decodes less and shows the same: for random clips and samplings, and as arithmetic on made-up tables."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from deeptrace import video
from deeptrace.video._plan import TimeWindow, choose, plan_runs, shrink
from tests.clips import decode_everything, make_clip, on_screen

Decoded = tuple[bytes, np.ndarray, list[np.ndarray]]


@lru_cache(maxsize=32)
def clip(codec: str, container: str, num_frames: int, gop: int, b_frames: int, open_gop: bool) -> Decoded:  # noqa: PLR0917
    options = {"x264-params": f"open-gop={int(open_gop)}:scenecut=0"} if codec == "libx264" else None
    data = make_clip(
        codec=codec, container=container, num_frames=num_frames, gop=gop, b_frames=b_frames, options=options
    )
    return (data, *decode_everything(data))


clips = st.builds(
    clip,
    st.sampled_from(["libx264", "libx264", "libx265", "mpeg4"]),
    st.sampled_from(["mp4", "matroska"]),
    st.integers(1, 45),
    st.sampled_from([1, 2, 5, 12, 250]),
    st.sampled_from([0, 1, 2, 4]),
    st.booleans(),
)


@settings(max_examples=40, deadline=None)
@given(
    clip=clips,
    fps=st.floats(0.5, 60),
    start=st.floats(0, 1),
    length=st.none() | st.floats(0.05, 2),
    max_frames=st.none() | st.integers(1, 9),
)
def test_plan_equals_decoding_everything(
    clip: Decoded, fps: float, start: float, length: float | None, max_frames: int | None
) -> None:
    data, times, images = clip
    end_of_video = len(times) / 25
    start = min(start, end_of_video * 0.9)
    end = end_of_video if length is None else min(end_of_video, start + length)
    frames = video.sample_frames(
        data,
        fps=fps,
        start_seconds=start,
        end_seconds=None if length is None else start + length,
        max_frames=max_frames,
    )
    count = max(1, math.ceil((end - start) * fps - 1e-6))
    if max_frames is not None and count > max_frames:
        moments = [start + i * (end - start) / max_frames for i in range(max_frames)]
    else:
        moments = [start + k / fps for k in range(count)]
    # A moment within a tick of a frame may see this frame or the one before.
    either = [set(on_screen(times, [m], tolerance=t)) for m in moments for t in (-0.0006, 0.0006) if m + t >= 0]
    allowed = set().union(*either)
    needed = {index for m in moments for index in on_screen(times, [m], 0.0) if not near(times, m)}
    shown = {int(np.argmin(np.abs(times - t))) for t in frames.pts_seconds}
    assert needed <= shown <= allowed
    for time, image in zip(frames.pts_seconds, frames.images, strict=True):
        index = int(np.argmin(np.abs(times - time)))
        assert abs(times[index] - time) < 1e-9
        np.testing.assert_array_equal(image, images[index])


def near(times: np.ndarray, moment: float) -> bool:
    return bool((np.abs(times - moment) < 0.0006).any())


@given(
    steps=st.lists(st.integers(1, 5000), min_size=0, max_size=60),
    fps=st.floats(0.01, 500),
    start=st.floats(0, 20),
    max_frames=st.none() | st.integers(1, 50),
)
def test_choose_equals_asking_moment_by_moment(
    steps: list[int], fps: float, start: float, max_frames: int | None
) -> None:
    times = np.concatenate([[0.0], np.cumsum(steps) / 1000])
    end = float(times[-1]) + 0.04
    chosen = choose(times, end, TimeWindow(fps, start, None, max_frames), 0.0)
    if start >= end:
        assert not len(chosen)
        return
    count = math.ceil((end - start) * fps - 1e-9)
    if max_frames is not None and count > max_frames:
        moments = [start + i * ((end - start) / max_frames) for i in range(max_frames)]
    else:
        moments = [start + k / fps for k in range(min(count, 20_000))]
    expected = set(on_screen(times, moments, 0.0))
    close = {i for i, t in enumerate(times) if any(abs(t - m) < 1e-6 for m in moments)}
    touched = close | {i - 1 for i in close}
    assert set(chosen.tolist()) - touched == expected - touched
    assert (np.diff(chosen) > 0).all()


def test_choose_does_not_count_moments() -> None:
    """A file may claim a month between two pictures; the cost is that of the pictures."""
    chosen = choose(np.array([0.0, 2.5e6]), 2.5e6 + 1, TimeWindow(1000.0), 0.0)
    assert chosen.tolist() == [0, 1]


def test_runs_start_where_decoding_can_begin() -> None:
    pts = np.array([0, 3, 1, 2, 6, 4, 5, 9, 7, 8], np.int64)  # decode order; starts at 0 and 4; 5 and 6 lead
    starts = np.array([0, 4])
    runs = plan_runs(np.array([2]), starts, pts)
    assert [(r.first, r.last) for r in runs] == [(0, 2)]
    runs = plan_runs(np.array([7]), starts, pts)
    assert [(r.first, r.last) for r in runs] == [(4, 7)]
    runs = plan_runs(np.array([5]), starts, pts)  # shown before its start picture: needs the group before
    assert [(r.first, r.last) for r in runs] == [(0, 5)]
    runs = plan_runs(np.array([1, 8]), starts, pts)
    assert [(r.first, r.last, sorted(r.wanted)) for r in runs] == [(0, 1, [1]), (4, 8, [8])]
    assert plan_runs(np.array([], np.intp), starts, pts) == []


@given(height=st.integers(1, 5000), width=st.integers(1, 5000), short_side=st.none() | st.integers(1, 5000))
def test_shrink_keeps_the_shape(height: int, width: int, short_side: int | None) -> None:
    small = shrink(height, width, short_side)
    assert 1 <= small[0] <= height
    assert 1 <= small[1] <= width
    if short_side is not None and short_side < min(height, width):
        assert min(small) == short_side
        assert abs(small[0] / height - small[1] / width) <= 1.0 / min(height, width)
