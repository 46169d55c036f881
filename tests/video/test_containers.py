"""Containers that people have beside MP4, and the one rule for which of a file's lengths and tracks is meant."""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from deeptrace import video
from deeptrace.errors import VideoError
from tests.video.fuzz import FPS, NUM_FRAMES, SEED_CLIPS, clip, picture, write_tone

NEW = [name for name in SEED_CLIPS if name.endswith((".gif", ".webp", ".ts", ".mpg", ".wmv", ".flv", ".ogv"))]
MPEG = (".ts", ".mpg")  # containers that declare neither a count nor a length


@pytest.fixture(scope="module")
def seeds() -> dict[str, bytes]:
    return {name: SEED_CLIPS[name]() for name in NEW}


def rate(name: str) -> int:
    return 24 if name.endswith(".mpg") else FPS


@pytest.mark.parametrize("name", NEW)
def test_every_picture_is_read_at_its_time(name: str, seeds: dict[str, bytes]) -> None:
    fps = rate(name)
    with video.iter_frames(seeds[name]) as stream:
        frames = list(stream)
    times = np.concatenate([chunk.pts_seconds for chunk in frames])
    np.testing.assert_allclose(times, np.arange(NUM_FRAMES) / fps, atol=0.006)  # GIF counts in hundredths
    assert frames[0].duration_seconds == pytest.approx(NUM_FRAMES / fps, abs=0.006)
    assert stream.reading is not None
    assert not stream.reading.partial
    if "theora" not in name:  # that one is a file made by another program
        height, width = frames[0].source_hw
        images = np.concatenate([chunk.images for chunk in frames]).astype(int)
        for index in (0, 9, NUM_FRAMES - 1):
            wanted = picture(index, width=width, height=height).astype(int)
            if name.endswith(".gif"):
                wanted = wanted.mean(-1, keepdims=True)
            assert np.abs(images[index] - wanted).mean() < 25, index
            others = [np.abs(images[index] - picture(i, width=width, height=height)).mean() for i in range(NUM_FRAMES)]
            assert name.endswith(".gif") or int(np.argmin(others)) == index


@pytest.mark.parametrize("name", NEW)
def test_sampling_gives_what_reading_everything_gives(name: str, seeds: dict[str, bytes]) -> None:
    with video.iter_frames(seeds[name]) as stream:
        images = np.concatenate([chunk.images for chunk in stream])
    frames = video.sample_frames(seeds[name], fps=4, start_seconds=0.5)
    indices = np.rint(frames.pts_seconds * rate(name)).astype(int)
    assert len(frames) == (6 if rate(name) == FPS else 2)
    np.testing.assert_array_equal(frames.images, images[indices])


@pytest.mark.parametrize("name", NEW)
@pytest.mark.parametrize("share", [0.4, 0.9])
def test_what_is_cut_off_is_partial(name: str, share: float, seeds: dict[str, bytes]) -> None:
    data = seeds[name]
    at = int(len(data) * share)
    at += name.endswith(".ts") and at % 188 == 0
    with video.iter_frames(data[:at]) as stream:
        count = sum(map(len, stream))
    assert stream.reading is not None
    assert stream.reading.partial
    assert 0 < count <= NUM_FRAMES - (share < 0.5)  # the last bytes may be sound, or padding


@pytest.mark.parametrize("name", NEW)
def test_the_header_tells_what_it_can(name: str, seeds: dict[str, bytes]) -> None:
    info = video.probe(seeds[name])
    assert info.fps == pytest.approx(rate(name), rel=0.05)
    if name.endswith(".mpg"):
        assert info.duration_seconds is None  # nothing in the file says it
    else:
        assert info.duration_seconds == pytest.approx(2.0, abs=0.01)
    assert info.has_audio == ("aac" in name)


def test_a_damaged_middle_of_a_stream_is_partial(seeds: dict[str, bytes]) -> None:
    for name in NEW:
        data = bytearray(seeds[name])
        middle = len(data) // 2
        data[middle : middle + 40] = bytes(40)
        del data[middle + 100 : middle + 400]
        with video.iter_frames(bytes(data)) as stream:
            list(stream)
        assert stream.reading is not None
        assert stream.reading.partial, name


def test_a_stream_that_begins_in_the_middle_of_a_recording_is_passed_over(seeds: dict[str, bytes]) -> None:
    """Sound that starts later: the media library does not expect packets of a stream that it did not know."""
    with video.iter_frames(seeds["h264.ts"] + seeds["h264_aac.ts"]) as stream:
        assert sum(map(len, stream)) >= NUM_FRAMES
    assert stream.reading is not None


def test_a_folder_knows_their_endings() -> None:
    assert {Path(name).suffix for name in SEED_CLIPS} <= video.VIDEO_SUFFIXES
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in video.VIDEO_SUFFIXES)


# ── WebP ──


def webp_of(lossless: bool) -> tuple[bytes, list[np.ndarray]]:
    """An animation with transparent, half transparent and opaque places, and how Pillow shows it on white."""
    image_module = pytest.importorskip("PIL.Image")
    images = []
    for index in range(6):
        image = np.zeros((48, 64, 4), np.uint8)
        image[5:25, index * 6 : index * 6 + 20] = (200, 30 * index, 50, 160 if index % 2 else 255)
        image[30:40, 10:30] = (10, 200, index * 40, 255)
        images.append(image_module.fromarray(image))
    file = io.BytesIO()
    images[0].save(
        file, "WEBP", save_all=True, append_images=images[1:], duration=[40, 40, 5, 100, 40, 300], lossless=lossless
    )
    shown = []
    with image_module.open(io.BytesIO(file.getvalue())) as again:
        for index in range(again.n_frames):
            again.seek(index)
            white = image_module.new("RGBA", again.size, (255, 255, 255, 255))
            white.alpha_composite(again.convert("RGBA"))
            shown.append(np.asarray(white)[..., :3].astype(int))
    return file.getvalue(), shown


@pytest.mark.parametrize("lossless", [True, False])
def test_an_animated_webp_is_shown_as_another_library_shows_it(lossless: bool) -> None:
    data, shown = webp_of(lossless)
    frames = video.sample_frames(data, fps=1000)
    np.testing.assert_allclose(frames.pts_seconds, [0, 0.04, 0.08, 0.18, 0.28, 0.32])  # 5 ms means "not said": 100 ms
    for ours, theirs in zip(frames.images.astype(int), shown, strict=True):
        difference = np.abs(ours - theirs)
        assert difference.max() == 0 if lossless else difference.mean() < 2  # colours at edges differ by decoder
    info = video.probe(data)
    assert (info.num_frames, info.duration_seconds, info.variable_frame_rate) == (6, 0.62, True)


def test_a_still_webp_is_no_video() -> None:
    image_module = pytest.importorskip("PIL.Image")
    file = io.BytesIO()
    image_module.fromarray(picture(0)).save(file, "WEBP")
    with pytest.raises(VideoError) as caught:
        video.probe(file.getvalue())
    assert caught.value.code == "NO_VIDEO_STREAM"


# ── which length, which track ──


def two_tracks(container: str, sizes: tuple[tuple[int, int], tuple[int, int]] = ((96, 64), (128, 96))) -> bytes:
    """A file with two streams of pictures."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        streams = []
        for width, height in sizes:
            stream = output.add_stream("mpeg4", rate=FPS)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            streams.append(stream)
        for index in range(6):
            for stream in streams:
                image = picture(index, width=stream.width, height=stream.height)
                frame = av.VideoFrame.from_ndarray(image, format="rgb24")
                frame.pts, frame.time_base = index, Fraction(1, FPS)
                output.mux(stream.encode(frame))
        for stream in streams:
            output.mux(stream.encode(None))
    return file.getvalue()


def disable_mp4(data: bytes, track: int) -> bytes:
    at = -1
    for _ in range(track + 1):
        at = data.index(b"tkhd", at + 1)
    return data[: at + 7] + bytes([data[at + 7] & ~1]) + data[at + 8 :]


def enable_mp4(data: bytes) -> bytes:
    """All tracks enabled, which the writer does for the first of each kind."""
    changed, at = bytearray(data), -1
    while (at := data.find(b"tkhd", at + 1)) >= 0:
        changed[at + 7] |= 1
    return bytes(changed)


def disable_avi(data: bytes, track: int) -> bytes:
    at = -1
    for _ in range(track + 1):
        at = data.index(b"strh", at + 1)
    return data[: at + 16] + struct.pack("<I", 1) + data[at + 20 :]


def disable_matroska(data: bytes, track: int) -> bytes:
    """The track's FlagLacing (0x9C), which says nothing of pictures, becomes a FlagEnabled (0xB9) of 0."""
    number = b"\xd7\x81" + bytes([track + 1])
    at = data.index(b"\x9c\x81\x00", data.index(number, data.index(b"\xae")))
    return data[:at] + b"\xb9\x81\x00" + data[at + 3 :]


@pytest.mark.parametrize(
    ("container", "disable"),
    [("mp4", disable_mp4), ("mov", disable_mp4), ("avi", disable_avi), ("matroska", disable_matroska)],
)
def test_a_disabled_track_is_not_inspected(container: str, disable: Callable[[bytes, int], bytes]) -> None:
    data = two_tracks(container)
    data = enable_mp4(data) if disable is disable_mp4 else data
    assert video.probe(data).width == 96
    assert video.probe(disable(data, 1)).width == 96
    shown = disable(data, 0)
    assert video.probe(shown).width == 128
    assert video.sample_frames(shown, fps=2).source_hw == (96, 128)
    assert video.probe(disable(shown, 1)).width == 96  # where none is enabled, the first is taken


def with_sound(container: str, sound_seconds: float, codec: str = "libx264", sound: str = "aac") -> bytes:
    """Pictures for 2 s, and sound of another length."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream = output.add_stream(codec, rate=FPS)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        voice = output.add_stream(sound, rate=16000, layout="mono")
        for index in range(NUM_FRAMES):
            frame = av.VideoFrame.from_ndarray(picture(index), format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, FPS)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
        write_tone(output, voice, seconds=sound_seconds)
    return file.getvalue()


def without_tags(data: bytes) -> bytes:
    """The Matroska file whose tags (which tell each stream's own length) are void."""
    return data.replace(b"\x44\x7a", b"\x44\x7b").replace(b"DURATION", b"DURATIOM")


@pytest.mark.parametrize("container", ["mp4", "mov", "matroska", "mpegts", "flv", "asf"])
@pytest.mark.parametrize("sound_seconds", [1.0, 5.0])
def test_the_length_is_the_pictures_and_not_the_sounds(container: str, sound_seconds: float) -> None:
    data = with_sound(container, sound_seconds, *(("wmv2", "libmp3lame") if container == "asf" else ()))
    frames = video.sample_frames(data, fps=FPS)
    assert frames.duration_seconds == pytest.approx(2.0, abs=0.01)
    assert video.probe(data).duration_seconds == pytest.approx(2.0, abs=0.01)
    assert len(frames) == NUM_FRAMES
    assert frames.reading is not None
    assert not frames.reading.partial


def test_the_length_of_the_pictures_is_looked_for_where_no_tag_says_it() -> None:
    data = without_tags(with_sound("matroska", 5.0))
    assert video.probe(data).duration_seconds == pytest.approx(2.0, abs=0.01)


@pytest.mark.parametrize("container", ["mp4", "matroska"])
def test_a_long_pause_is_part_of_the_length_and_makes_the_rate_variable(container: str) -> None:
    times = [0, 40, 80, 2000, 2040]
    data = clip(container=container, num_frames=5, pts=times)
    info = video.probe(data)
    frames = video.sample_frames(data, fps=1000)
    np.testing.assert_allclose(frames.pts_seconds, np.array(times) / 1000, atol=1e-3)
    assert info.duration_seconds == pytest.approx(2.08, abs=0.045)
    assert frames.duration_seconds == pytest.approx(info.duration_seconds, abs=1e-3)
    assert info.variable_frame_rate in ((True,) if container == "mp4" else (True, None))


def test_composition_offsets_alone_make_the_rate_variable() -> None:
    """Decoding times in steps of 40 ms, and the last two pictures shown 1.92 s later, as some cutters write it."""
    data = clip(
        num_frames=5,
        pts=[0, 40, 80, 120, 160],
        codec_options={"bf": "0"},
        container_options={"use_editlist": "0"},
    )
    at = data.index(b"stsc") - 4
    scale = int.from_bytes(data[(m := data.index(b"mdhd")) + 16 : m + 20], "big")
    offsets = struct.pack(">IIIIII", 0, 2, 3, 0, 2, round(1.88 * scale))
    table = struct.pack(">I4s", 8 + len(offsets), b"ctts") + offsets
    for name in (b"moov", b"trak", b"mdia", b"minf", b"stbl"):
        start = data.index(name) - 4
        length = int.from_bytes(data[start : start + 4], "big") + len(table)
        data = data[:start] + length.to_bytes(4, "big") + data[start + 4 :]
    data = data[:at] + table + data[at:]
    info, frames = video.probe(data), video.sample_frames(data, fps=1000)
    np.testing.assert_allclose(frames.pts_seconds, [0, 0.04, 0.08, 2.0, 2.04], atol=1e-3)
    assert info.duration_seconds == pytest.approx(2.08, abs=0.01)
    assert info.variable_frame_rate is True


def test_a_steady_rate_with_reordered_pictures_is_constant() -> None:
    info = video.probe(clip(codec_options={"bf": "2"}))
    assert info.variable_frame_rate is False
    assert info.duration_seconds == pytest.approx(2.0)


# ── forks ──


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_that_goes_on_with_its_parents_stream_gets_an_error_of_ours() -> None:
    data = clip()
    with video.iter_frames(data, chunk=4) as stream:
        next(stream)
        next(stream)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                next(stream)
            except VideoError as error:
                status = 0 if "forked" in str(error) and len(video.sample_frames(data, fps=2)) == 4 else 2
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert sum(map(len, stream)) == NUM_FRAMES - 8  # the parent's goes on
    assert stream.reading is not None
    assert not stream.reading.partial
