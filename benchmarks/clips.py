"""Clips to measure with: a pan over a textured scene with moving things and grain, encoded by the ffmpeg program.

Synthetic, but in what costs a decoder time like a camera's: detail at all scales, motion everywhere, noise; 4 to 15
Mb/s with x264's own defaults (medium, crf 21).
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

SIZES = {"720p24": (1280, 720, 24), "1080p30": (1920, 1080, 30)}
SECONDS = 5


def texture(rng: np.random.Generator, height: int, width: int) -> npt.NDArray[np.float32]:
    """A picture with the 1/f spectrum of photographs, each colour its own: (height, width, 3), mean 128."""
    rows, columns = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :]
    falloff = 1 / np.maximum(np.hypot(rows, columns), 1 / max(height, width)) ** 1.5
    common = rng.standard_normal((height, width))
    planes = []
    for _ in range(3):
        noise = np.fft.rfft2(0.8 * common + 0.2 * rng.standard_normal((height, width)))
        plane = np.fft.irfft2(noise * falloff, s=(height, width))
        planes.append(plane / plane.std() * 45 + 128)
    return np.stack(planes, axis=-1).astype(np.float32)


def scene(width: int, height: int, fps: int, *, grain: float = 3.2) -> Iterator[bytes]:
    """RGB pictures of ``SECONDS`` of the scene, as bytes; the same for the same arguments."""
    rng = np.random.default_rng(1)
    ground = texture(rng, height + 256, width + 512)
    things = [texture(rng, height // 4, height // 3) for _ in range(3)]
    noise = rng.standard_normal((height + 64, width + 64, 1)).astype(np.float32) * grain
    for index in range(SECONDS * fps):
        time = index / fps
        x, y = int(256 + 200 * np.sin(time * 0.9)), int(128 + 100 * np.sin(time * 0.7))
        image = ground[y : y + height, x : x + width].copy()
        for number, thing in enumerate(things):
            tall, wide = thing.shape[:2]
            left = int((np.sin(time * (0.8 + 0.3 * number) + number) * 0.5 + 0.5) * (width - wide))
            top = int((np.cos(time * (0.6 + 0.4 * number)) * 0.5 + 0.5) * (height - tall))
            image[top : top + tall, left : left + wide] = thing
        shift = rng.integers(0, 64, 2)
        image += noise[shift[0] : shift[0] + height, shift[1] : shift[1] + width]
        yield np.clip(image, 0, 255).astype(np.uint8).tobytes()


def make_clip(folder: Path, size: str, gop: int) -> Path:
    """The path of a clip of one of `SIZES`, made where it is not there yet; complete or not there."""
    path = folder / f"{size}_gop{gop}.mp4"
    if path.exists():
        return path
    if shutil.which("ffmpeg") is None:
        raise SystemExit("this benchmark needs the ffmpeg program with libx264")
    folder.mkdir(parents=True, exist_ok=True)
    width, height, fps = SIZES[size]
    unfinished = path.with_suffix(".part")
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(fps), "-i", "-"]
    colour = "scale=out_color_matrix=bt709:out_range=tv,format=yuv420p"
    tags = ["-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709"]
    codec = ["-c:v", "libx264", "-preset", "medium", "-crf", "21", "-g", str(gop), *tags, "-f", "mp4"]
    command = ["ffmpeg", "-v", "error", "-y", *source, "-vf", colour, *codec, str(unfinished)]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as encoder:
        assert encoder.stdin is not None
        for picture in scene(width, height, fps):
            encoder.stdin.write(picture)
    if encoder.returncode != 0:
        raise SystemExit("ffmpeg could not make the clip")
    os.replace(unfinished, path)
    return path


def megabits_per_second(path: Path) -> float:
    """The clip's bit rate."""
    return path.stat().st_size * 8 / SECONDS / 1e6
