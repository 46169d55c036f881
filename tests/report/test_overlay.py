"""Boxes on frames: the right pixels at the right time, and none outside the frame."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deeptrace.categories import CATEGORIES
from deeptrace.pages.overlay import (
    PALETTE,
    ascii_text,
    chip_text,
    draw,
    draw_frames,
    time_words,
    trace_colors,
    write_overlay,
)
from deeptrace.records import KeyBox, Trace, Verdict
from tests.report.clips import FPS, MOVING_BOX, SIZE_HW, STILL_BOX, fake, grey_clip

GREY = np.full((*SIZE_HW, 3), 110, np.uint8)


def changed(image: np.ndarray, before: np.ndarray = GREY) -> np.ndarray:
    return (image != before).any(axis=2)


def rectangle(trace: Trace, time: float, size_hw: tuple[int, int] = SIZE_HW) -> tuple[slice, slice]:
    x0, y0, x1, y1 = trace.box_at(time)  # type: ignore[misc]
    height, width = size_hw
    return (
        slice(int(y0 * height), int(np.ceil(y1 * height - 1e-9))),
        slice(int(x0 * width), int(np.ceil(x1 * width - 1e-9))),
    )


@pytest.mark.parametrize("trace", [STILL_BOX, MOVING_BOX], ids=["still", "moving"])
def test_the_box_is_there_exactly_while_visible(trace: Trace) -> None:
    seen = []
    for k in range(30):
        time = k / FPS
        mask = changed(draw(GREY, [trace], time, tags=False))
        if trace.box_at(time) is None:
            assert not mask.any(), time
            continue
        seen.append(k)
        rows, columns = rectangle(trace, time)
        outside = mask.copy()
        outside[rows, columns] = False
        assert not outside.any()
        assert mask[rows, columns][[0, -1]].all()  # all four sides of the box, to the pixel
        assert mask[rows, columns][:, [0, -1]].all()
        assert not mask[rows, columns][8:-8, 8:-8].any()  # and nothing over what is inside
    assert seen == (list(range(10, 20)) if trace is STILL_BOX else [*range(5, 18), *range(22, 25)])


@settings(deadline=None)
@given(
    size_hw=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    corners=st.tuples(*[st.floats(0, 1, allow_subnormal=False)] * 4),
    label=st.sampled_from([None, "FAKE 0.87", "REAL", "日本", "", "?" * 300]),
    uncertain=st.booleans(),
    confidence=st.none() | st.floats(0, 1),
)
def test_any_size_any_box(
    size_hw: tuple[int, int], corners: tuple[float, ...], label: str | None, uncertain: bool, confidence: float | None
) -> None:
    height, width = size_hw
    x0, x1 = sorted(corners[:2])
    y0, y1 = sorted(corners[2:])
    box = (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else (0.0, 0.0, 1.0, 1.0)
    image = np.full((height, width, 3), 110, np.uint8)
    before = image.copy()
    trace = Trace(box, 0.0, 1.0, ("Object Merging", "Sudden Blurring"), None, None, confidence)
    drawn = draw(image, [trace], 0.5, label=label, uncertain=uncertain)
    assert drawn.shape == image.shape
    assert drawn.dtype == np.uint8
    assert (image == before).all()
    plain = changed(draw(image, [trace], 0.5, tags=False), image)
    assert plain.any()
    plain[rectangle(trace, 0.5, (height, width))] = False
    # A box thinner than a pixel still marks the pixel beside it.
    if (x1 - x0) * width >= 1 and (y1 - y0) * height >= 1:
        assert not plain.any()


@pytest.mark.parametrize("size_hw", [(240, 320), (720, 1280), (1280, 720), (2160, 3840)])
def test_text_is_readable_and_in_its_corner(size_hw: tuple[int, int]) -> None:
    image = np.full((*size_hw, 3), 110, np.uint8)
    mask = changed(draw(image, [], 0.0, label="FAKE 0.87"), image)
    rows, columns = np.nonzero(mask)
    assert rows.max() - rows.min() >= 12
    assert rows.max() < size_hw[0] / 4
    assert columns.max() < size_hw[1] / 2
    wider = changed(draw(image, [], 0.0, label="UNCERTAIN (leans fake) 0.55", uncertain=True), image)
    assert np.nonzero(wider)[1].max() > columns.max()


def test_a_view_that_is_not_contiguous_and_read_only_is_drawn_too() -> None:
    image = np.full((80, 120, 3), 110, np.uint8)[::-1, ::2]
    image.flags.writeable = False
    assert changed(draw(image, [STILL_BOX], 1.5), image).any()


@pytest.mark.parametrize("image", [np.zeros((4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8), np.zeros((4, 4, 3))])
def test_what_is_no_image_is_refused(image: np.ndarray) -> None:
    with pytest.raises(ValueError, match="uint8 of shape"):
        draw(image, [], 0.0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("Déjà vu", "Deja vu"), ("日本", "??"), ("a\u202eb\n\tc", "a?b c"), ("\x1b[31m", "?[31m"), ("caf\udce9", "caf?")],
)
def test_ascii_text(text: str, expected: str) -> None:
    assert ascii_text(text) == expected


def test_colours_are_the_category_s_and_differ() -> None:
    for i, category in enumerate(CATEGORIES):
        assert trace_colors([Trace(categories=(category,))]) == (i,)
    many = trace_colors([STILL_BOX] * len(PALETTE))
    assert sorted(many) == list(range(len(PALETTE)))
    assert len(trace_colors([STILL_BOX] * 25)) == 25


def test_words() -> None:
    assert chip_text(Verdict("fake", p_fake=0.871)) == "FAKE 0.87"
    assert chip_text(Verdict("real")) == "REAL"
    assert time_words(STILL_BOX) == "from 1.0 s to 2.0 s"
    assert time_words(Trace(onset_seconds=1.25)) == "from 1.25 s on"
    assert time_words(Trace(offset_seconds=3)) == "until 3.0 s"
    assert time_words(Trace()) == ""


def decode(path: Path) -> tuple[list[float], list[np.ndarray]]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        frames = list(container.decode(stream))
        return [float(frame.time) for frame in frames], [frame.to_ndarray(format="rgb24") for frame in frames]


def test_write_overlay_keeps_times_and_shows_the_box_only_while_visible(tmp_path: Path) -> None:
    clip = grey_clip()
    path = tmp_path / "overlay.mp4"
    write_overlay(clip, fake(STILL_BOX), path)
    times, images = decode(path)
    assert times == pytest.approx(clip.pts_seconds, abs=1e-3)
    expected = draw_frames(clip, fake(STILL_BOX)).images
    for k, image in enumerate(images):
        left = image[rectangle(STILL_BOX, 1.5)][:, :3].astype(int)
        # The palette's magenta against grey: the codec blurs, but blue stays far above green on the box's side.
        assert ((left[8:-8, :, 2] - left[8:-8, :, 1]).mean() > 15) == (10 <= k < 20), k
        assert np.abs(image.astype(int) - expected[k]).mean() < 8


def test_uneven_times_are_kept(tmp_path: Path) -> None:
    even = grey_clip(1.0)
    times = np.array([0.0, 0.04, 0.1, 0.11, 0.3, 0.5, 0.52, 0.9, 1.4, 1.5])
    clip = type(even)(even.images, times, even.source_hw)
    write_overlay(clip, fake(STILL_BOX), tmp_path / "overlay.mp4")
    assert decode(tmp_path / "overlay.mp4")[0] == pytest.approx(times, abs=1e-3)


def test_a_hidden_key_hides_the_box() -> None:
    trace = Trace(track=(KeyBox(0.0, (0.1, 0.1, 0.5, 0.5)), KeyBox(1.0, None, visible=False)))
    assert changed(draw(GREY, [trace], 0.9)).any()
    assert not changed(draw(GREY, [trace], 1.0)).any()


@pytest.mark.linux
def test_memory_does_not_grow_with_the_length(tmp_path: Path) -> None:
    script = """
import resource, sys
import numpy as np
from deeptrace.pages.overlay import FrameSink, write_overlay
from deeptrace.records import Frames
from tests.report.clips import STILL_BOX, fake
count, folder = int(sys.argv[1]), sys.argv[2]
with FrameSink(f"{folder}/long.mp4") as writer:
    for k in range(0, count, 20):
        images = np.full((20, 180, 320, 3), k % 200, np.uint8)
        writer.write(Frames(images, np.arange(k, k + 20) / 30.0, (180, 320)))
write_overlay(f"{folder}/long.mp4", fake(STILL_BOX), f"{folder}/overlay.mp4")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
    root = Path(__file__).parents[2]
    peaks = []
    for count in (160, 960):  # 28 MB and 166 MB of pixels
        run = subprocess.run(
            [sys.executable, "-c", script, str(count), str(tmp_path)], capture_output=True, text=True, cwd=root
        )
        assert run.returncode == 0, run.stderr
        peaks.append(int(run.stdout) / 1024)
    assert peaks[1] - peaks[0] < 60, peaks
