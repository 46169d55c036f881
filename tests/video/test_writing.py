"""What is written is read back: pixels, times, sizes, colour tags; and a failure leaves nothing behind."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from deeptrace import video
from deeptrace.errors import VideoError
from deeptrace.inject import render_scene
from deeptrace.records import Frames
from tests.clips import number_of, numbered


def frames_of(count: int, fps: float = 25, hw: tuple[int, int] = (64, 96)) -> Frames:
    return Frames.from_array(np.stack([numbered(i, hw) for i in range(count)]), fps)


@pytest.mark.parametrize("fps", [8, 12.5, 23.976, 24, 29.97, 30, 60])
def test_round_trip_at_a_constant_rate(tmp_path: Path, fps: float) -> None:
    path = tmp_path / "out.mp4"
    video.write_video(path, frames_of(30, fps))
    back = video.sample_frames(path, fps=500)
    assert [number_of(image) for image in back.images] == list(range(30))
    np.testing.assert_allclose(back.pts_seconds, np.arange(30) / fps, atol=1e-3)
    assert back.duration_seconds == pytest.approx(30 / fps, abs=1e-3)
    info = video.probe(path)
    assert info.fps == pytest.approx(fps, rel=1e-3)
    assert (info.num_frames, info.codec, info.variable_frame_rate) == (30, "h264", False)


def test_uneven_times_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    times = np.array([0.0, 0.1, 0.15, 0.4, 0.41, 0.9, 1.0, 1.5, 2.5])
    images = np.stack([numbered(i) for i in range(9)])
    video.write_video(path, Frames(images, times, (64, 96), duration_seconds=3.0))
    back = video.sample_frames(path, fps=500)
    np.testing.assert_allclose(back.pts_seconds, times, atol=2e-5)
    assert back.duration_seconds == pytest.approx(3.0, abs=1e-3)
    assert [number_of(image) for image in back.images] == list(range(9))


def test_a_given_rate_overrides_the_times(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    video.write_video(path, frames_of(10, 25), fps=5)
    np.testing.assert_allclose(video.sample_frames(path, fps=100).pts_seconds, np.arange(10) / 5)


@pytest.mark.parametrize("hw", [(64, 96), (63, 95), (63, 96), (64, 95), (1, 1), (3, 201)])
def test_odd_sides_get_one_more(tmp_path: Path, hw: tuple[int, int]) -> None:
    path = tmp_path / "out.mp4"
    images = np.full((3, *hw, 3), 90, np.uint8)
    video.write_video(path, Frames.from_array(images, 10))
    back = video.sample_frames(path, fps=10)
    assert back.images.shape[1:3] == (hw[0] + hw[0] % 2, hw[1] + hw[1] % 2)
    assert np.abs(back.images.astype(int) - 90).max() <= 3


@pytest.mark.parametrize("side", [128, 720])
def test_colours_survive(tmp_path: Path, side: int) -> None:
    colours = np.array(
        [
            [255, 0, 0],
            [0, 255, 0],
            [0, 0, 255],
            [200, 30, 120],
            [128, 128, 128],
            [255, 255, 255],
            [0, 0, 0],
            [9, 99, 199],
        ]
    )
    image = np.repeat(np.repeat(colours[None].astype(np.uint8), side, axis=0), side // 4, axis=1)
    path = tmp_path / "out.mp4"
    video.write_video(path, Frames.from_array(np.stack([image] * 3), 10), crf=4)
    back = video.sample_frames(path, fps=10)
    assert back.reading is not None
    assert back.reading.color_tagged
    step = side // 4
    for index, colour in enumerate(colours):
        got = back.images[:, side // 4 : -side // 4, index * step + 8 : (index + 1) * step - 8].astype(int)
        assert np.abs(got - colour).max() <= 3, (index, got[0, 0, 0])


def test_browsers_can_play_it(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    video.write_video(path, frames_of(30))
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    with av.open(io.BytesIO(data)) as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")
        assert (context.colorspace, context.color_primaries, context.color_trc, context.color_range) == (1, 1, 1, 1)


def test_a_writer_takes_frames_one_by_one(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    with video.VideoWriter(path, fps=10) as writer:
        for index in range(25):
            writer.add(numbered(index)[None])
        assert not path.exists()
    assert [number_of(image) for image in video.sample_frames(path, fps=10).images] == list(range(25))
    assert os.listdir(tmp_path) == ["out.mp4"]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    path.write_bytes(b"old")

    def fail() -> None:
        with video.VideoWriter(path, fps=10) as writer:
            writer.add(numbered(0)[None])
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError):
        fail()
    assert os.listdir(tmp_path) == ["out.mp4"]
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize("wrong", ["shape", "size", "times", "empty", "rate", "quality"])
def test_wrong_use_is_told(tmp_path: Path, wrong: str) -> None:
    def use() -> None:
        rate = -1.0 if wrong == "rate" else 10
        with video.VideoWriter(tmp_path / "out.mp4", fps=rate, crf=99 if wrong == "quality" else 18) as writer:
            if wrong == "empty":
                return
            writer.add(numbered(0)[None], [0.5] if wrong == "times" else None)
            if wrong == "shape":
                writer.add(numbered(0))
            elif wrong == "size":
                writer.add(numbered(0, (32, 32))[None])
            elif wrong == "times":
                writer.add(numbered(1)[None], [0.5])

    with pytest.raises(VideoError) as caught:
        use()
    assert caught.value.code == "WRITE_FAILED"
    assert os.listdir(tmp_path) == []


@pytest.mark.linux  # other systems count otherwise
def test_a_name_of_the_greatest_length(tmp_path: Path) -> None:
    for name in ("\N{CLAPPER BOARD}" * 60 + ".mp4", "x" * 251 + ".mp4"):  # 244 and 255 bytes
        video.write_video(tmp_path / name, frames_of(2))
        assert len(video.sample_frames(tmp_path / name, fps=25)) == 2


def test_the_preset_is_the_encoders(tmp_path: Path) -> None:
    sizes = {}
    for preset in ("ultrafast", "medium"):
        with video.VideoWriter(tmp_path / preset, fps=10, preset=preset) as writer:
            writer.add(frames_of(20).images)
        sizes[preset] = (tmp_path / preset).stat().st_size
        assert len(video.sample_frames(tmp_path / preset, fps=10)) == 20
    assert sizes["ultrafast"] > sizes["medium"]
    for wrong in ("fastest", "", "medium:crf=0"):
        with pytest.raises(VideoError) as caught:
            video.VideoWriter(tmp_path / "out.mp4", fps=10, preset=wrong)
        assert caught.value.code == "WRITE_FAILED"


def test_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(VideoError) as caught:
        video.write_video(tmp_path / "no" / "out.mp4", frames_of(2))
    assert caught.value.code == "WRITE_FAILED"
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.linux  # other systems refuse such names
def test_unusual_names(tmp_path: Path) -> None:
    for name in ("file:x", "http:x.mp4", "%03d.mp4", "caf\udce9.mp4", "with\nnewline.mp4", "-x.mp4", "no-suffix"):
        path = tmp_path / name
        video.write_video(path, frames_of(2))
        assert len(video.sample_frames(path, fps=25)) == 2


def test_the_same_frames_give_the_same_bytes(tmp_path: Path) -> None:
    scene = render_scene(3, size_hw=(126, 224), seconds=3.0)
    files = [tmp_path / f"{k}.mp4" for k in range(6)]
    for path in files:
        video.write_video(path, scene.frames)
    assert len({path.read_bytes() for path in files}) == 1


@pytest.mark.linux
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="processors cannot be chosen here")
def test_the_number_of_processors_does_not_show_in_the_bytes(tmp_path: Path) -> None:
    """Written by two processes, one of which may use one processor only."""
    code = (
        "import os, sys; os.sched_setaffinity(0, eval(sys.argv[2]))\n"
        "from deeptrace.inject import render_scene; from deeptrace.video import write_video\n"
        "write_video(sys.argv[1], render_scene(3, size_hw=(126, 224), seconds=2.0).frames)"
    )
    all_of_them = os.sched_getaffinity(0)
    for name, allowed in (("one", {min(all_of_them)}), ("all", all_of_them)):
        subprocess.run([sys.executable, "-c", code, str(tmp_path / name), repr(allowed)], check=True, timeout=120)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "all").read_bytes()
