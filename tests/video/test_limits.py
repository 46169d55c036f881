"""What a caller may allow beyond the defaults: links, large pictures; and that a stream stays small."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from deeptrace import video
from deeptrace.errors import VideoError
from deeptrace.models import load
from deeptrace.records import Failed, Frames
from deeptrace.video import ReadLimits
from tests.video.fuzz import FPS, NUM_FRAMES, clip
from tests.video.hostile import grey_h264, mux_h264

FOLLOW = ReadLimits(follow_links=True)


@pytest.fixture
def linked(tmp_path: Path) -> Path:
    """A link to a link to a clip that lies in another folder, as in a cache of blobs."""
    blob = tmp_path / "blobs" / "5f0c"
    blob.parent.mkdir()
    blob.write_bytes(clip())
    (tmp_path / "snapshot").mkdir()
    (tmp_path / "snapshot" / "inner.mp4").symlink_to("../blobs/5f0c")
    (tmp_path / "clip.mp4").symlink_to("snapshot/inner.mp4")
    return tmp_path / "clip.mp4"


def code(source: Path | bytes, limits: ReadLimits) -> str:
    with pytest.raises(VideoError) as caught:
        video.probe(source, limits=limits)
    return caught.value.code


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="no symbolic links")
def test_a_link_is_followed_only_where_that_is_allowed(linked: Path) -> None:
    assert code(linked, ReadLimits()) == "NOT_A_REGULAR_FILE"
    assert video.probe(linked, limits=FOLLOW).num_frames == NUM_FRAMES
    assert len(video.sample_frames(linked, fps=2, limits=FOLLOW)) == 4
    with video.iter_frames(linked, limits=FOLLOW) as stream:
        assert sum(map(len, stream)) == NUM_FRAMES


@pytest.mark.linux
@pytest.mark.parametrize(
    ("target", "expected"),
    [("/dev/zero", "NOT_A_REGULAR_FILE"), (".", "NOT_A_REGULAR_FILE"), ("fifo", "NOT_A_REGULAR_FILE"),
     ("link.mp4", "NOT_A_REGULAR_FILE"), ("absent.mp4", "NOT_FOUND"), ("notes.txt", "NOT_A_VIDEO")],
)  # fmt: skip
def test_what_a_link_points_to_must_be_a_regular_file_with_a_video(tmp_path: Path, target: str, expected: str) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "notes.txt").write_text("nothing to see here\n" * 20)
    (tmp_path / "link.mp4").symlink_to(target)
    assert code(tmp_path / "link.mp4", FOLLOW) == expected


@pytest.mark.parametrize("name", ["motion", "embedded"])
def test_a_model_is_given_the_limits(linked: Path, name: str) -> None:
    (refused,) = load(name).inspect([linked])
    (seen,) = load(name, limits=FOLLOW).inspect([linked])
    assert isinstance(refused, Failed)
    assert refused.code == "NOT_A_REGULAR_FILE"
    assert not isinstance(seen, Failed)


def test_a_picture_of_8k_is_read_where_that_is_allowed() -> None:
    width, height = 7680, 4320
    data = mux_h264(grey_h264(width, height, 2))
    assert code(data, ReadLimits()) == "FRAME_TOO_LARGE"
    frames = video.sample_frames(data, fps=25, short_side=72, limits=ReadLimits(max_pixels=8192 * 4320))
    assert frames.source_hw == (height, width)
    assert frames.images.shape[1:] == (72, 128, 3)


def test_the_memory_limit_grows_with_the_pixels_unless_it_is_given() -> None:
    usual = ReadLimits().allowed_memory_bytes()
    assert ReadLimits(max_pixels=64 * 64).allowed_memory_bytes() == usual
    assert ReadLimits(max_pixels=2 * 4096 * 4096).allowed_memory_bytes() == 2 * usual
    assert ReadLimits(max_pixels=2 * 4096 * 4096, memory_bytes=usual).allowed_memory_bytes() == usual


@pytest.mark.parametrize("in_memory", [False, True], ids=["file", "frames"])
def test_a_stream_at_a_rate_gives_what_sampling_gives(in_memory: bool) -> None:
    source: bytes | Frames = clip()
    if in_memory:
        source = video.sample_frames(source, fps=FPS)
    whole = video.sample_frames(source, fps=FPS / 3, start_seconds=0.25)
    with video.iter_frames(source, fps=FPS / 3, start_seconds=0.25, chunk=3) as stream:
        chunks = list(stream)
    assert [len(chunk) for chunk in chunks] == [3, 3, 1]
    np.testing.assert_array_equal(np.concatenate([chunk.pts_seconds for chunk in chunks]), whole.pts_seconds)
    np.testing.assert_array_equal(np.concatenate([chunk.images for chunk in chunks]), whole.images)
    np.testing.assert_allclose(np.diff(whole.pts_seconds), 3 / FPS, atol=1e-3)
