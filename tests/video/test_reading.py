"""Frames and times are exact: held against a decode of everything, against ffprobe, and against what was burnt in."""

from __future__ import annotations

import io
import json
import math
import subprocess
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from deeptrace import video
from deeptrace.errors import VideoError
from deeptrace.records import Frames
from tests.clips import decode_everything, make_clip, number_of, on_screen
from tests.video import fuzz as seeds

OPEN_GOP = {"x264-params": "open-gop=1:keyint=12:min-keyint=12:scenecut=0:bframes=3"}
ALT_REF = {"deadline": "good", "auto-alt-ref": "1", "lag-in-frames": "16", "cpu-used": "5", "b": "300k"}
UNEVEN = [0, 3, 4, 9, 10, 30, 31, 33, 50, 55, 56, 90]

CLIPS: dict[str, dict[str, Any]] = {
    "h264": {},
    "h264, one long group": {"gop": 250, "num_frames": 60},
    "h264, no reordering": {"b_frames": 0},
    "h264, deep pyramid": {"b_frames": 5, "gop": 24, "num_frames": 60, "options": {"b-pyramid": "normal", "refs": "4"}},
    "h264, open groups": {"num_frames": 60, "options": OPEN_GOP},
    "h264, open groups, mkv": {"num_frames": 60, "options": OPEN_GOP, "container": "matroska"},
    "h264, intra refresh": {"num_frames": 60, "options": {"x264-params": "intra-refresh=1:keyint=12"}},
    "h264, all intra": {"gop": 1, "b_frames": 0},
    "h264, one frame": {"num_frames": 1},
    "h264, two frames": {"num_frames": 2},
    "h264, mkv": {"container": "matroska"},
    "h264, fragmented": {"num_frames": 60, "container_options": {"movflags": "frag_keyframe+empty_moov"}},
    "h264, fragmented, first fragment in the header": {
        "num_frames": 60,
        "container_options": {"movflags": "frag_keyframe"},
    },
    "h264, fragmented, sound": {
        "num_frames": 60,
        "audio_seconds": 2.5,
        "container_options": {"movflags": "frag_keyframe+empty_moov+default_base_moof"},
    },
    "h264, starts at 2 s": {"ticks": [50 + i for i in range(24)], "container": "matroska"},
    "h264, starts at 2 s, mp4": {"ticks": [50 + i for i in range(24)]},
    "h264, uneven": {"num_frames": 12, "ticks": UNEVEN, "time_base": Fraction(1, 60)},
    "h264, uneven, mkv": {
        "num_frames": 12,
        "b_frames": 3,
        "ticks": UNEVEN,
        "time_base": Fraction(1, 60),
        "container": "matroska",
    },
    "h264, 29.97": {"fps": Fraction(30000, 1001), "num_frames": 60},
    "h264, 10 bit": {"pix_fmt": "yuv420p10le"},
    "h264, odd size": {"hw": (33, 51), "pix_fmt": "yuv444p"},
    "h264, sound": {"audio_seconds": 1.3},
    "h264, sound, mkv": {"audio_seconds": 1.3, "container": "matroska"},
    "hevc": {"codec": "libx265", "num_frames": 60},
    "hevc, open groups, mkv": {"codec": "libx265", "num_frames": 60, "b_frames": 4, "container": "matroska"},
    "vp9": {"codec": "libvpx-vp9", "container": "webm", "num_frames": 60},
    "vp9, hidden pictures": {
        "codec": "libvpx-vp9",
        "container": "webm",
        "num_frames": 60,
        "gop": 30,
        "options": ALT_REF,
    },
    "vp8, hidden pictures": {"codec": "libvpx", "container": "webm", "num_frames": 60, "gop": 30, "options": ALT_REF},
    "av1": {"codec": "libsvtav1", "num_frames": 40, "gop": 30, "hw": (128, 128)},
    "mpeg4": {"codec": "mpeg4", "num_frames": 30},
    "mpeg4, avi": {"codec": "mpeg4", "container": "avi", "num_frames": 30, "b_frames": 0},
    "mpeg2, mkv": {"codec": "mpeg2video", "container": "matroska", "num_frames": 30},
    "mjpeg, avi": {"codec": "mjpeg", "container": "avi", "pix_fmt": "yuvj420p"},
    "prores, mov": {"codec": "prores_ks", "container": "mov", "pix_fmt": "yuv422p10le"},
    "ffv1, mkv": {"codec": "ffv1", "container": "matroska"},
    "png, mov": {"codec": "png", "container": "mov", "pix_fmt": "rgba"},
    "qtrle, mov": {"codec": "qtrle", "container": "mov", "pix_fmt": "rgb24"},
}


def check_exact(data: bytes, times: np.ndarray, images: list[np.ndarray], fps: float) -> None:
    frames = video.sample_frames(data, fps=fps)
    assert frames.duration_seconds is not None
    count = math.ceil(frames.duration_seconds * fps - 1e-9)
    with av.open(io.BytesIO(data)) as container:
        tick = container.streams.video[0].time_base
    assert tick is not None
    expected = on_screen(times, [k / fps for k in range(count)], tolerance=min(float(tick) / 2, 0.0005) + 1e-9)
    np.testing.assert_allclose(frames.pts_seconds, times[expected], atol=1e-9)
    for image, index in zip(frames.images, expected, strict=True):
        np.testing.assert_array_equal(image, images[index])
    assert frames.reading is not None
    assert not frames.reading.partial
    assert frames.reading.frames_decoded == len(times)


@pytest.mark.parametrize("name", CLIPS)
def test_sampled_frames_are_those_of_a_full_decode(name: str) -> None:
    data = make_clip(**CLIPS[name])
    times, images = decode_everything(data)
    for fps in (2.0, 7.3, 12.5, 200.0):
        check_exact(data, times, images, fps)


def test_streamed_frames_are_those_of_a_full_decode() -> None:
    data = make_clip(num_frames=60)
    times, images = decode_everything(data)
    with video.iter_frames(data, chunk=7) as stream:
        chunks = list(stream)
        reading = stream.reading
    assert [len(chunk) for chunk in chunks] == [7] * 8 + [4]
    np.testing.assert_allclose(np.concatenate([chunk.pts_seconds for chunk in chunks]), times)
    np.testing.assert_array_equal(np.concatenate([chunk.images for chunk in chunks]), np.stack(images))
    assert reading is not None
    assert chunks[-1].reading == reading
    assert all(chunk.reading is None for chunk in chunks[:-1])


def test_a_stream_of_a_window_begins_with_the_frame_on_screen() -> None:
    data = make_clip(num_frames=60)
    with video.iter_frames(data, start_seconds=0.5, end_seconds=1.0) as stream:
        frames = next(stream)
        assert [number_of(image) for image in frames.images] == list(range(12, 25))
        assert next(stream, None) is None


def test_a_stream_can_be_left_early() -> None:
    data = make_clip(num_frames=60)
    for _ in range(3):
        with video.iter_frames(data, chunk=4) as stream:
            assert len(next(stream)) == 4
            assert stream.reading is None
    assert len(video.sample_frames(data, fps=25)) == 60


def test_avi_with_reordered_pictures_is_shown_in_order() -> None:
    """AVI has no presentation times; the library makes up wrong ones. The burnt-in numbers say what is right."""
    for codec in ("libx264", "mpeg4"):
        data = make_clip(codec=codec, container="avi", num_frames=30, b_frames=2)
        frames = video.sample_frames(data, fps=25)
        assert [number_of(image) for image in frames.images] == list(range(30))
        np.testing.assert_allclose(frames.pts_seconds, np.arange(30) / 25)


def test_large_files_are_read_twice_with_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    from deeptrace.video import _container, _table
    from deeptrace.video._decode import Decoder, select
    from deeptrace.video._limits import ReadLimits
    from deeptrace.video._plan import TimeWindow

    monkeypatch.setattr(_table, "_KEEP_BYTES", 100)
    data = make_clip(num_frames=60, options=OPEN_GOP)
    times, images = decode_everything(data)

    def open_again() -> _container.Video:
        return _container.open_video(lambda at, count: data[at : at + count], len(data), ReadLimits())

    opened = open_again()
    table = _table.read_table(opened, lambda: None)
    assert table.packets is None
    decoder = Decoder(opened, table, open_again, lambda: None)
    shown = list(decoder.pictures(select(table, TimeWindow(5.0))))
    assert [round(time * 25) for time, _ in shown] == list(range(0, 60, 5))
    for time, frame in shown:
        np.testing.assert_array_equal(frame.to_ndarray(format="rgb24"), images[int(np.argmin(abs(times - time)))])


# ── fragments ──

FRAGMENTS = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
WITH_INDEX = {"movflags": "frag_keyframe+empty_moov+default_base_moof+dash+global_sidx"}


def boxes(data: bytes, kind: bytes) -> list[int]:
    """Where the outermost boxes of this kind begin."""
    found, at = [], 0
    while at + 8 <= len(data):
        if data[at + 4 : at + 8] == kind:
            found.append(at)
        at += int.from_bytes(data[at : at + 4], "big")
    return found


def with_declared_length(data: bytes, milliseconds: int) -> bytes:
    """A fragmented mp4 with a "mehd" box, as some packagers write it: the length of all fragments together."""
    mehd = (16).to_bytes(4, "big") + b"mehd" + bytes(4) + milliseconds.to_bytes(4, "big")
    out = bytearray(data)
    for kind in (b"moov", b"mvex"):
        at = out.index(kind) - 4
        out[at : at + 4] = (int.from_bytes(out[at : at + 4], "big") + len(mehd)).to_bytes(4, "big")
    at = out.index(b"mvex") + 4
    out[at:at] = mehd
    return bytes(out)


def read_whole(data: bytes) -> tuple[int, bool]:
    reading = video.sample_frames(data, fps=2).reading
    assert reading is not None
    return reading.frames_decoded, reading.partial


def test_a_cut_between_indexed_fragments_is_seen() -> None:
    data = seeds.clip(num_frames=60, container_options=WITH_INDEX)
    assert read_whole(data) == (60, False)
    cuts = boxes(data, b"moof")
    assert len(cuts) > 3
    for at in cuts[1:]:
        decoded, partial = read_whole(data[:at])
        assert decoded < 60
        assert partial, at


def test_a_cut_between_fragments_of_declared_length_is_seen() -> None:
    plain = make_clip(num_frames=60, container_options=FRAGMENTS)
    data = with_declared_length(plain, 2400)
    assert read_whole(data) == (60, False)
    for at in boxes(data, b"moof")[1:]:
        assert read_whole(data[:at])[1], at
    # Sound that goes on after the pictures is what makes the whole so long.
    sounding = make_clip(num_frames=25, audio_seconds=2.4, container_options=FRAGMENTS)
    assert read_whole(with_declared_length(sounding, 2400)) == (25, False)


def test_a_cut_in_the_head_of_a_fragment_is_seen() -> None:
    data = make_clip(num_frames=60, container_options={"movflags": "frag_keyframe+empty_moov"})
    start = boxes(data, b"moof")[2]
    for at in (1, 7, 8, 20):
        assert read_whole(data[: start + at])[1], at


def test_the_header_of_a_fragmented_file_does_not_count_its_pictures() -> None:
    data = make_clip(num_frames=60, container_options={"movflags": "frag_keyframe"})
    assert video.probe(data).num_frames is None
    reading = video.sample_frames(data, fps=2).reading
    assert reading is not None
    assert (reading.frames_declared, reading.frames_decoded, reading.partial) == (None, 60, False)


def test_an_edit_list_cannot_multiply_the_first_fragment() -> None:
    data = bytearray(make_clip(num_frames=40, gop=40, container_options={"movflags": "frag_keyframe"}))
    entry = (1600).to_bytes(4, "big") + bytes(4) + (1 << 16).to_bytes(4, "big")  # the whole first fragment
    elst = bytes(4) + (41).to_bytes(4, "big") + entry * 41
    elst = (len(elst) + 8).to_bytes(4, "big") + b"elst" + elst
    edts = (len(elst) + 8).to_bytes(4, "big") + b"edts" + elst
    for kind in (b"moov", b"trak"):
        at = data.index(kind) - 4
        data[at : at + 4] = (int.from_bytes(data[at : at + 4], "big") + len(edts)).to_bytes(4, "big")
    at = data.index(b"mdia") - 4
    data[at:at] = edts
    with pytest.raises(VideoError) as caught:
        video.sample_frames(bytes(data), fps=25)
    assert caught.value.code == "TOO_MANY_FRAMES"


# ── windows ──


def test_a_frame_on_screen_at_two_moments_is_returned_once() -> None:
    frames = video.sample_frames(make_clip(num_frames=5, fps=5), fps=20)
    np.testing.assert_allclose(frames.pts_seconds, np.arange(5) / 5)


def test_too_many_moments_become_even_ones() -> None:
    data = make_clip(num_frames=50)  # 2 s
    frames = video.sample_frames(data, fps=10, max_frames=8)
    assert [number_of(image) for image in frames.images] == [int(i * 2.0 / 8 * 25 + 1e-9) for i in range(8)]
    assert len(video.sample_frames(data, fps=10, max_frames=20)) == 20


def test_the_window_is_half_open() -> None:
    data = make_clip(num_frames=50)
    frames = video.sample_frames(data, fps=5, start_seconds=0.5, end_seconds=1.1)
    assert [number_of(image) for image in frames.images] == [12, 17, 22]
    with pytest.raises(VideoError) as caught:
        video.sample_frames(data, fps=5, start_seconds=2.0)
    assert caught.value.code == "NO_FRAMES"


@pytest.mark.parametrize(
    "options",
    [
        {"fps": 0},
        {"fps": -1.0},
        {"fps": math.nan},
        {"fps": math.inf},
        {"fps": True},
        {"fps": 2, "start_seconds": -0.1},
        {"fps": 2, "start_seconds": 1.0, "end_seconds": 1.0},
        {"fps": 2, "max_frames": 0},
        {"fps": 2, "max_frames": 1.5},
        {"fps": 2, "short_side": 0},
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any]) -> None:
    with pytest.raises(VideoError) as caught:
        video.sample_frames(make_clip(num_frames=2), **options)
    assert caught.value.code == "BAD_WINDOW"


def test_frames_are_a_source_too() -> None:
    source = video.sample_frames(make_clip(num_frames=50), fps=25)
    frames = video.sample_frames(source, fps=5, start_seconds=0.5, short_side=32)
    assert [number_of(image) for image in frames.images] == [12, 17, 22, 27, 32, 37, 42, 47]
    assert frames.images.shape[1:3] == (32, 48)
    assert frames.source_hw == (64, 96)
    assert frames.reading == source.reading
    assert source.reading is not None
    assert video.probe(source) == source.reading.info
    with video.iter_frames(source, chunk=30) as stream:
        assert [len(chunk) for chunk in stream] == [30, 20]
    assert video.probe(Frames.from_array(np.zeros((4, 6, 8, 3), np.uint8), fps=8)).fps == pytest.approx(8)


# ── what the header says ──


def test_probe_says_what_the_file_says() -> None:
    info = video.probe(make_clip(num_frames=60, fps=Fraction(30000, 1001), audio_seconds=1.0))
    assert (info.width, info.height, info.num_frames, info.codec, info.has_audio) == (96, 64, 60, "h264", True)
    assert info.fps == pytest.approx(30000 / 1001, rel=1e-6)
    assert info.duration_seconds == pytest.approx(2.002, abs=1e-3)
    assert info.variable_frame_rate is False
    uneven = make_clip(num_frames=12, ticks=UNEVEN, time_base=Fraction(1, 60))
    assert video.probe(uneven).variable_frame_rate is True
    assert video.probe(make_clip(container="matroska")).variable_frame_rate is None


@pytest.mark.ffmpeg
@pytest.mark.parametrize("name", ["h264", "h264, uneven", "h264, starts at 2 s", "hevc", "vp9", "mpeg4"])
def test_times_are_those_of_ffprobe(name: str, tmp_path: Path) -> None:
    path = tmp_path / "clip"
    make_clip(path, **CLIPS[name])
    command = ["ffprobe", "-v", "error", "-select_streams", "v:0", "-show_entries", "frame=pts_time", "-of", "json"]
    answer = subprocess.run([*command, str(path)], capture_output=True, check=True).stdout
    times = np.array([float(frame["pts_time"]) for frame in json.loads(answer)["frames"]])
    frames = video.sample_frames(path, fps=200)
    np.testing.assert_allclose(frames.pts_seconds, times - times[0], atol=2e-6)


@pytest.mark.ffmpeg
def test_an_edit_list_hides_frames(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole.mp4", tmp_path / "cut.mp4"
    make_clip(whole, num_frames=75, gop=25)
    trim = ["ffmpeg", "-v", "error", "-ss", "1.4", "-i", str(whole), "-t", "1.0", "-c", "copy", str(cut)]
    subprocess.run(trim, check=True)
    times, images = decode_everything(cut.read_bytes())
    check_exact(cut.read_bytes(), times, images, 200.0)
    frames = video.sample_frames(cut, fps=5)
    assert number_of(frames.images[0]) == 35
    assert frames.pts_seconds[0] == 0.0
    assert frames.reading is not None
    assert frames.reading.frames_declared == frames.reading.frames_decoded == len(times)


# ── pictures as they are meant to be seen ──


@pytest.mark.parametrize("container", ["mp4", "matroska"])
@pytest.mark.parametrize("rotation", [0, 90, 180, -90])
def test_turned_pictures_stand_upright(rotation: int, container: str) -> None:
    data = make_clip(num_frames=3, rotation=rotation, container=container)
    _, images = decode_everything(data)
    frames = video.sample_frames(data, fps=25)
    upright = np.rot90(images[0], rotation // 90)  # counterclockwise, both
    np.testing.assert_array_equal(frames.images[0], upright)
    assert frames.source_hw == upright.shape[:2]
    info = video.probe(data)
    assert (info.height, info.width) == upright.shape[:2]
    small = video.sample_frames(data, fps=25, short_side=32)
    assert small.images.shape[1:3] == ((48, 32) if rotation % 180 else (32, 48))


@pytest.mark.ffmpeg
@pytest.mark.parametrize("matrix", [(1, 0, 0, 1), (-1, 0, 0, 1), (1, 0, 0, -1), (0, 1, 1, 0), (0, -1, -1, 0)])
def test_mirrored_pictures(matrix: tuple[int, int, int, int], tmp_path: Path) -> None:
    """The eight ways to place a picture; ffmpeg itself says what is right."""
    path = tmp_path / "clip.mp4"
    data = bytearray(make_clip(num_frames=2))
    at = data.index(b"tkhd") + 4 + 40
    a, b, c, d = (int(v * 65536).to_bytes(4, "big", signed=True) for v in matrix)
    data[at : at + 20] = a + b + bytes(4) + c + d
    path.write_bytes(data)
    size = "64x96" if matrix[0] == 0 else "96x64"
    command = ["ffmpeg", "-v", "error", "-i", str(path), "-frames:v", "1", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    raw = subprocess.run(command, capture_output=True, check=True).stdout
    width, height = map(int, size.split("x"))
    expected = np.frombuffer(raw, np.uint8).reshape(height, width, 3)
    frames = video.sample_frames(path, fps=25)
    assert (
        np.abs(frames.images[0].astype(int) - expected).mean() < 4
    )  # another scaler rounds and sites chroma otherwise
    info = video.probe(path)
    assert (info.width, info.height) == (width, height)


def test_pixel_aspect_widens_the_picture() -> None:
    for container, rotation, shape in (("mp4", 0, (64, 128)), ("matroska", 0, (64, 128)), ("mp4", 90, (128, 64))):
        data = make_clip(num_frames=2, aspect=Fraction(4, 3), container=container, rotation=rotation)
        frames = video.sample_frames(data, fps=25)
        assert frames.images.shape[1:3] == frames.source_hw == shape
        info = video.probe(data)
        assert (info.height, info.width) == shape


def test_short_side_only_shrinks() -> None:
    data = make_clip(num_frames=2)
    for short_side, shape in ((32, (32, 48)), (64, (64, 96)), (500, (64, 96)), (1, (1, 2))):
        frames = video.sample_frames(data, fps=25, short_side=short_side)
        assert frames.images.shape[1:3] == shape
        assert frames.source_hw == (64, 96)


PATCHES = np.array(
    [
        [255, 0, 0],
        [0, 255, 0],
        [0, 0, 255],
        [255, 255, 0],
        [0, 255, 255],
        [255, 0, 255],
        [128, 128, 128],
        [40, 90, 160],
    ],
    np.uint8,
)


@pytest.mark.parametrize(
    ("colorspace", "color_range", "pix_fmt", "tagged"),
    [
        (1, 1, "yuv444p", True),  # BT.709, limited
        (5, 1, "yuv444p", True),  # BT.601, limited
        (1, 2, "yuv444p", True),  # BT.709, full range
        (None, None, "yuv444p", False),  # not said: BT.601, limited
        (1, 1, "yuv444p10le", True),
    ],
)
def test_colours(colorspace: int | None, color_range: int | None, pix_fmt: str, tagged: bool) -> None:
    image = np.repeat(np.repeat(PATCHES[None], 32, axis=0), 16, axis=1)
    data = make_clip(
        images=[image] * 2,
        pix_fmt=pix_fmt,
        colorspace=colorspace,
        color_range=color_range,
        options={"qp": "0" if pix_fmt == "yuv444p" else "1"},
    )
    for short_side in (None, 16):
        frames = video.sample_frames(data, fps=25, short_side=short_side)
        step = frames.images.shape[2] // len(PATCHES)
        for index, patch in enumerate(PATCHES):
            got = frames.images[0, :, index * step + step // 4 : (index + 1) * step - step // 4].astype(int)
            assert np.abs(got - patch).max() <= 2, (index, got[0, 0])
        assert frames.reading is not None
        assert frames.reading.color_tagged is tagged


@pytest.mark.parametrize("hw", [(1, 1), (1, 7), (7, 1), (3, 5), (2, 2)])
def test_tiny_pictures(hw: tuple[int, int]) -> None:
    images = [np.full((*hw, 3), value, np.uint8) for value in (10, 130, 250)]
    data = make_clip(images=images, codec="png", container="mov", pix_fmt="rgb24")
    np.testing.assert_array_equal(video.sample_frames(data, fps=25).images, np.stack(images))


def test_pictures_that_change_size_keep_the_first_size() -> None:
    """Two clips of one codec joined in one stream: nothing crashes, all frames have the first one's size."""
    small = make_clip(num_frames=5, codec="mjpeg", container="avi", pix_fmt="yuvj420p")
    large = make_clip(num_frames=5, codec="mjpeg", container="avi", pix_fmt="yuvj420p", hw=(128, 192))
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="avi") as output:
        stream: Any = output.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuvj420p"
        at = 0
        for data in (small, large):
            with av.open(io.BytesIO(data)) as source:
                for packet in source.demux(source.streams.video[0]):
                    if packet.size:
                        packet.stream = stream
                        packet.pts = packet.dts = at
                        at += 1
                        output.mux(packet)
    frames = video.sample_frames(buffer.getvalue(), fps=25)
    assert frames.images.shape == (10, 64, 96, 3)
    assert [number_of(image) for image in frames.images] == [0, 1, 2, 3, 4] * 2
