"""Clips for tests: every frame carries its own number, so that a wrong frame shows; and a reader of everything.

Made with PyAV in the test itself. The reference reader shares no code with `deeptrace.video`.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from tests.priority import usual_priority

BITS = 10


def numbered(index: int, hw: tuple[int, int] = (64, 96)) -> np.ndarray:
    """Frame ``index`` (0..1023): its number as black and white blocks above, a moving texture below; ``(H, W, 3)``."""
    height, width = hw
    image = np.zeros((height, width, 3), np.uint8)
    edges = np.linspace(0, width, BITS + 1).round().astype(int)
    for bit in range(BITS):
        image[: height // 2, edges[bit] : edges[bit + 1]] = 235 if index >> bit & 1 else 20
    y, x = np.mgrid[0 : height - height // 2, 0:width]
    waves = 128 + 60 * np.sin((x + 3 * index) / 7.0) + 50 * np.cos((y - 2 * index) / 5.0)
    for channel, shift in enumerate((0, 17, -23)):
        image[height // 2 :, :, channel] = np.clip(waves + shift + (x * (channel + 1) + index * 5) % 23, 0, 255)
    return image


def number_of(image: np.ndarray) -> int:
    """The number burnt into a frame (any size)."""
    height, width = image.shape[:2]
    row = image[height // 8 : max(height // 8 + 1, height * 3 // 8)].mean(axis=(0, 2))
    centres = ((np.arange(BITS) + 0.5) * width / BITS).astype(int)
    return sum(int(row[c] > 128) << bit for bit, c in enumerate(centres))


@usual_priority()
def make_clip(
    path: Path | str | None = None,
    *,
    num_frames: int = 24,
    hw: tuple[int, int] = (64, 96),
    fps: Fraction | int = 25,
    ticks: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    container: str = "mp4",
    codec: str = "libx264",
    gop: int = 12,
    b_frames: int = 2,
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    images: Sequence[np.ndarray] | None = None,
    aspect: Fraction | None = None,
    rotation: int | None = None,
    audio_seconds: float = 0.0,
    colorspace: int | None = None,
    color_range: int | None = None,
) -> bytes:
    """A clip as bytes, also written to ``path`` when one is given.

    ``images`` replace the numbered frames. ``ticks`` are presentation times in ``time_base`` (default: frame k at k /
    fps). ``rotation`` is the angle in degrees, counterclockwise, by which a player turns the frames.
    """
    frames = list(images) if images is not None else [numbered(i, hw) for i in range(num_frames)]
    height, width = frames[0].shape[:2]
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container, options=container_options or {}) as output:
        stream: Any = output.add_stream(
            codec, rate=Fraction(fps), options=_codec_options(codec, gop, b_frames, options)
        )
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        stream.codec_context.gop_size = gop
        if codec not in ("mjpeg", "png", "prores_ks", "libvpx", "libvpx-vp9", "ffv1", "qtrle", "libsvtav1"):
            stream.codec_context.max_b_frames = b_frames
        stream.codec_context.time_base = time_base or 1 / Fraction(fps)
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        if rotation is not None:
            stream.set_display_rotation(rotation)
        if colorspace is not None:
            stream.codec_context.colorspace = colorspace
        if color_range is not None:
            stream.codec_context.color_range = color_range
        sound: Any = (
            output.add_stream("aac" if container == "mp4" else "libopus", rate=48000) if audio_seconds else None
        )
        if sound is not None:
            sound.codec_context.layout = "mono"
        for index, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame = frame.reformat(
                format=pix_fmt, dst_colorspace=colorspace, dst_color_range=color_range, interpolation="AREA"
            )
            frame.pts = index if ticks is None else ticks[index]
            frame.time_base = stream.codec_context.time_base
            output.mux(stream.encode(frame))
        if sound is not None:
            _add_sound(output, sound, audio_seconds)
        output.mux(stream.encode(None))
    data = buffer.getvalue()
    if path is not None:
        Path(path).write_bytes(data)
    return data


def _codec_options(codec: str, gop: int, b_frames: int, extra: dict[str, str] | None) -> dict[str, str]:
    options: dict[str, str] = {}
    if codec == "libx264":
        options = {"preset": "veryfast", "threads": "1", "sc_threshold": "0", "bf": str(b_frames)}
    elif codec == "libx265":
        options = {"preset": "ultrafast", "x265-params": f"log-level=none:keyint={gop}:bframes={b_frames}:pools=none"}
    elif codec == "libvpx-vp9":
        options = {"cpu-used": "8", "deadline": "realtime", "threads": "1", "g": str(gop)}
    elif codec == "libsvtav1":
        options = {"preset": "12", "svtav1-params": f"keyint={gop}:lp=1"}
    return {**options, **(extra or {})}


def _add_sound(output: Any, sound: Any, seconds: float) -> None:
    size, rate = 960, 48000
    for at in range(0, int(seconds * rate), size):
        frame = av.AudioFrame.from_ndarray(np.zeros((1, size), np.int16), format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, at, Fraction(1, rate)
        output.mux(sound.encode(frame))
    output.mux(sound.encode(None))


def decode_everything(data: bytes, size_hw: tuple[int, int] | None = None) -> tuple[np.ndarray, list[np.ndarray]]:
    """All frames of a file in display order: ``(T,)`` seconds from the first, and RGB images as coded (not turned).

    ``size_hw`` resizes them in the conversion to RGB.
    """
    times: list[Fraction] = []
    images: list[np.ndarray] = []
    with av.open(io.BytesIO(data)) as container:
        stream = container.streams.video[0]
        for frame in container.decode(stream):
            assert frame.pts is not None
            times.append(frame.pts * stream.time_base)
            height, width = size_hw or (frame.height, frame.width)
            images.append(frame.reformat(width, height, "rgb24", interpolation="AREA").to_ndarray())
    return np.array([float(t - times[0]) for t in times]), images


def on_screen(times: np.ndarray, moments: Sequence[float], tolerance: float = 1e-6) -> list[int]:
    """Indices of the frames on screen at the moments, each once: the last with a time <= the moment."""
    chosen = {int(np.flatnonzero(times <= moment + tolerance)[-1]) for moment in moments}
    return sorted(chosen)
