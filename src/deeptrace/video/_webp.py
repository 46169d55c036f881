"""Animated WebP: the media library decodes a still picture of it, not an animation. Worker side.

Each picture of an animation lies in a chunk of its own. It is put before the library's decoder as a still WebP, and
laid on the canvas as the format says: https://developers.google.com/speed/webp/docs/riff_container. Knows nothing of
requests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction

import av
import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame

from deeptrace.records import VideoInfo
from deeptrace.video._decode import Picture, Selection, Tally
from deeptrace.video._limits import ReadLimits
from deeptrace.video._nearby import Nearby, ReadAt
from deeptrace.video._refusal import Refusal
from deeptrace.video._table import SHOWN, START, PacketTable

_TIME_BASE = Fraction(1, 1000)
_HASTY_MS, _USUAL_MS = 10, 100  # up to 10 ms a picture is meant as "not said": browsers show it for 100
_IMAGE_CHUNKS = frozenset({b"VP8 ", b"VP8L", b"ALPH"})
_ALPHA_FLAG = 0x10


@dataclass(frozen=True)
class _Place:
    """Where a picture's chunks lie in the file, where it goes on the canvas, and what becomes of it afterwards."""

    start: int
    stop: int
    x: int
    y: int
    width: int
    height: int
    milliseconds: int
    overwrites: bool
    is_cleared: bool


@dataclass
class Animation:
    """An animated WebP, by its chunks. ``partial``: it ends before it should, or its parts do not follow each other."""

    read_at: ReadAt
    width: int
    height: int
    places: list[_Place] = field(default_factory=list)
    partial: bool = False

    def info(self) -> VideoInfo:
        """What the file says of itself; its chunks are all of it."""
        lengths = [place.milliseconds for place in self.places]
        seconds = sum(lengths) / 1000
        return VideoInfo(
            width=self.width,
            height=self.height,
            fps=len(lengths) / seconds if seconds else None,
            num_frames=len(lengths),
            duration_seconds=seconds,
            codec="webp",
            has_audio=False,
            variable_frame_rate=max(lengths) - min(lengths) > 1,  # a rate that milliseconds do not divide is constant
        )

    def table(self) -> PacketTable:
        """The pictures as packets, so that they are chosen as those of any video."""
        table = PacketTable(_TIME_BASE, packets=None)
        now = 0
        for place in self.places:
            table.pts.append(now)
            table.dts.append(now)
            table.durations.append(place.milliseconds)
            table.flags.append(SHOWN | START)
            now += place.milliseconds
        return table


def open_animation(read_at: ReadAt, size: int, limits: ReadLimits) -> Animation:
    """List the pictures of the file.

    Raises:
        Refusal: it is a still picture, has no picture, or is beyond the limits.
    """
    head = read_at(0, 30)
    if head[12:16] != b"VP8X" or not head[20] & 2:
        if head[12:16] in (b"VP8 ", b"VP8L", b"VP8X"):
            raise Refusal("NO_VIDEO_STREAM", "no video stream. It is a still picture.")
        raise Refusal("VIDEO_DAMAGED", "its header is damaged.")
    if len(head) < 30:
        raise Refusal("VIDEO_TRUNCATED", "it is cut off within its header.")
    width, height = 1 + _little(head, 24, 3), 1 + _little(head, 27, 3)
    if width * height > limits.max_pixels:
        raise Refusal(
            "FRAME_TOO_LARGE", f"its pictures are {width} x {height}; at most {limits.max_pixels} pixels are read."
        )
    animation = Animation(read_at, width, height)
    end = 8 + _little(head, 4, 4)
    animation.partial = end > size
    _list_pictures(animation, min(end, size), limits.max_frames)
    if not animation.places:
        raise Refusal("VIDEO_TRUNCATED" if animation.partial else "VIDEO_DAMAGED", "it holds no pictures.")
    return animation


def _list_pictures(animation: Animation, end: int, most: int) -> None:
    nearby = Nearby(animation.read_at)
    position = 12
    while position + 8 <= end:
        head = nearby.at(position, 24)
        start, length = position + 8, _little(head, 4, 4)
        position = start + length + length % 2
        if position > end or not head[:4].isascii():
            animation.partial = True
        if head[:4] != b"ANMF":
            continue
        if length < 16 or len(head) < 24 or start + length > end:
            animation.partial = True
            continue
        if len(animation.places) >= most:
            raise Refusal("TOO_MANY_FRAMES", f"it has more than {most} pictures.")
        place = _place(head[8:], start + 16, start + length)
        if place.x + place.width > animation.width or place.y + place.height > animation.height:
            animation.partial = True  # it would hang over the canvas: damaged
            continue
        animation.places.append(place)
    animation.partial |= position != end


def _place(head: bytes, start: int, stop: int) -> _Place:
    milliseconds = _little(head, 12, 3)
    return _Place(
        start=start,
        stop=stop,
        x=2 * _little(head, 0, 3),
        y=2 * _little(head, 3, 3),
        width=1 + _little(head, 6, 3),
        height=1 + _little(head, 9, 3),
        milliseconds=milliseconds if milliseconds > _HASTY_MS else _USUAL_MS,
        overwrites=bool(head[15] & 2),
        is_cleared=bool(head[15] & 1),
    )


def _little(data: bytes, at: int, count: int) -> int:
    return int.from_bytes(data[at : at + count], "little")


class AnimationDecoder:
    """Gives the chosen pictures of an animation, as `deeptrace.video._decode.Decoder` does those of a video.

    A picture may change a part of the canvas only, so all up to the last one chosen are decoded. Transparent places
    are shown on white.
    """

    aspect: Fraction | None = None
    is_indexed = True

    def __init__(self, animation: Animation, limits: ReadLimits, busy: Callable[[], None]) -> None:
        self.animation = animation
        self.tally = Tally()
        self._limits = limits
        self._busy = busy

    def pictures(self, selection: Selection) -> Iterator[Picture]:
        """The chosen pictures that can be decoded."""
        canvas = np.zeros((self.animation.height, self.animation.width, 4), np.uint8)
        chosen = frozenset(int(index) for index in selection.chosen)
        for index, place in enumerate(self.animation.places[: max(chosen, default=-1) + 1]):
            self._busy()
            image = self._decode(place)
            window = canvas[place.y : place.y + place.height, place.x : place.x + place.width]
            if image is not None:
                _lay(image, window, place.overwrites)
                if index in chosen:
                    yield float(selection.times[index]), _on_white(canvas)
            if place.is_cleared:
                window[:] = 0

    def _decode(self, place: _Place) -> npt.NDArray[np.uint8] | None:
        """``(H, W, 4)`` RGBA of one picture; None, and counted, when it cannot be decoded as what it says."""
        context = av.CodecContext.create("webp", "r")
        context.thread_count = 1
        context.options = {"max_pixels": str(self._limits.max_pixels)}
        try:
            frames = context.decode(av.Packet(self._still(place)))
        except MemoryError:
            raise
        except (av.error.FFmpegError, EOFError, ValueError):
            frames = []
            self.tally.errors += 1
        frame = frames[0] if frames else None
        if not isinstance(frame, VideoFrame) or (frame.width, frame.height) != (place.width, place.height):
            self.tally.lost += 1
            return None
        self.tally.decoded += 1
        self.tally.corrupt += bool(frame.is_corrupt)
        return frame.to_ndarray(format="rgba").astype(np.uint8, copy=False)

    def _still(self, place: _Place) -> bytes:
        """The picture as a file of its own."""
        data = self.animation.read_at(place.start, place.stop - place.start)
        chunks, position, alpha = b"", 0, 0
        while position + 8 <= len(data):
            length = 8 + _little(data, position + 4, 4)
            kind = data[position : position + 4]
            if position + length > len(data):
                break  # damaged: it would go on after the picture's own end
            if kind in _IMAGE_CHUNKS:
                chunks += data[position : position + length] + bytes(length % 2)
                alpha |= _ALPHA_FLAG if kind in (b"ALPH", b"VP8L") else 0
            position += length + length % 2
        size = (place.width - 1).to_bytes(3, "little") + (place.height - 1).to_bytes(3, "little")
        header = b"VP8X" + (10).to_bytes(4, "little") + bytes([alpha, 0, 0, 0]) + size
        body = b"WEBP" + (header if chunks[:4] != b"VP8L" else b"") + chunks
        return b"RIFF" + len(body).to_bytes(4, "little") + body


_STRIP_ROWS = 64  # mixed at a time, since the intermediate values take four times the room of the picture


def _lay(image: npt.NDArray[np.uint8], window: npt.NDArray[np.uint8], overwrites: bool) -> None:
    """Put an RGBA image onto its part of the canvas: in place of what is there, or over it."""
    if overwrites or image[..., 3].min() == 255:
        window[:] = image
        return
    for top in range(0, len(image), _STRIP_ROWS):
        strip, under_strip = image[top : top + _STRIP_ROWS], window[top : top + _STRIP_ROWS]
        over = strip[..., 3:].astype(np.float32) / 255
        under = (1 - over) * (under_strip[..., 3:].astype(np.float32) / 255)
        total = over + under
        mixed = (strip[..., :3] * over + under_strip[..., :3] * under) / np.maximum(total, 1e-6)
        under_strip[..., :3] = np.rint(mixed)
        under_strip[..., 3:] = np.rint(total * 255)


def _on_white(canvas: npt.NDArray[np.uint8]) -> VideoFrame:
    rgb = np.ascontiguousarray(canvas[..., :3])
    if canvas[..., 3].min() < 255:
        for top in range(0, len(canvas), _STRIP_ROWS):
            share = canvas[top : top + _STRIP_ROWS, :, 3:].astype(np.float32) / 255
            strip = rgb[top : top + _STRIP_ROWS]
            strip[:] = np.rint(strip * share + 255 * (1 - share))
    return VideoFrame.from_ndarray(rgb, format="rgb24")
