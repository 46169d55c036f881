"""Boxes on frames: frames and traces go in, frames with boxes, tags and a label chip come out.

Called by the report (still pictures and the overlay video) and by whoever wants a picture of a verdict. Everything is
drawn inside the frame; the frame given is never changed. Video text is ASCII: the drawing font holds no more.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from deeptrace.categories import CATEGORIES, FACTS
from deeptrace.errors import FileError
from deeptrace.files import atomic_write
from deeptrace.pages.sentences import chip_text, time_words, trace_name
from deeptrace.records import Box, Frames, Trace, Verdict

if TYPE_CHECKING:
    from deeptrace.video import VideoWriter

__all__ = [
    "PALETTE",
    "FrameSink",
    "ascii_text",
    "chip_text",
    "draw",
    "draw_frames",
    "time_words",
    "trace_colors",
    "trace_name",
    "write_jpeg",
    "write_overlay",
]

Image: TypeAlias = npt.NDArray[np.uint8]
Color: TypeAlias = tuple[int, int, int]

PALETTE: Final[tuple[Color, ...]] = (*(facts.color for facts in FACTS.values()), (0x7D, 0x85, 0x90))
"""RGB: one colour per category in their order, then one for "no category"."""

_INK: Final[Color] = (0x0C, 0x0E, 0x12)
_WHITE: Final[Color] = (255, 255, 255)
_CHIPS: Final[dict[str, Color]] = {"FAKE": (0xC6, 0x2A, 0x2F), "REAL": (0x18, 0x79, 0x4E)}
_UNCERTAIN: Final[Color] = (0x9A, 0x5B, 0x00)
_NEUTRAL: Final[Color] = (0x4A, 0x52, 0x5E)


# ── words and colours, shared with the page ─────────────────────────────────────────────────────────────────────────


def trace_colors(traces: Sequence[Trace]) -> tuple[int, ...]:
    """An index into `PALETTE` for each trace: its first category's colour, or the next free one when that is taken."""
    used_indices: set[int] = set()
    indices: list[int] = []
    for trace in traces:
        wish = CATEGORIES.index(trace.categories[0]) if trace.categories else len(PALETTE) - 1
        if len(used_indices) == len(PALETTE):
            used_indices.clear()
        index = next(i % len(PALETTE) for i in range(wish, wish + len(PALETTE)) if i % len(PALETTE) not in used_indices)
        used_indices.add(index)
        indices.append(index)
    return tuple(indices)


def ascii_text(text: str) -> str:
    """The text in printable ASCII: accents dropped, every other character as ``?``, white space as one space."""
    plain = unicodedata.normalize("NFKD", text)
    bare = (character for character in plain if not unicodedata.combining(character))
    printable = (character if " " <= character <= "~" else " " if character.isspace() else "?" for character in bare)
    return " ".join("".join(printable).split())


# ── drawing ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class _Rect(NamedTuple):
    """Pixels ``[x0, x1) x [y0, y1)``."""

    x0: int
    y0: int
    x1: int
    y1: int

    def meets(self, other: _Rect) -> bool:
        return self.x0 < other.x1 and other.x0 < self.x1 and self.y0 < other.y1 and other.y0 < self.y1


class _VisibleTrace(NamedTuple):
    """A trace that is visible now."""

    trace: Trace
    rect: _Rect
    color: Color


def draw(
    image: Image,
    traces: Sequence[Trace],
    time_seconds: float,
    *,
    label: str | None = None,
    uncertain: bool = False,
    tags: bool = True,
) -> Image:
    """A copy of the frame (H, W, 3) with the box, category and confidence of every trace visible at ``time_seconds``.

    ``label`` is the chip in the top left corner, for example ``FAKE 0.87`` (see `chip_text`); ``uncertain`` gives it
    its colour. ``tags=False`` leaves category and confidence out and draws thicker boxes: for thumbnails. A trace
    without a box draws nothing. Text that does not fit is shortened, then left out.

    Raises:
        ValueError: the image is not uint8 of shape (H, W, 3) with H, W >= 1.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(f"the image must be uint8 of shape (H, W, 3), got {image.dtype} {image.shape}")
    out: Image = np.array(image, order="C")
    height, width = out.shape[:2]
    text_px = int(np.clip(round(min(height, width) * 0.032), 9, 40))
    visible = [
        _VisibleTrace(trace, _pixels(box, height, width), PALETTE[color])
        for trace, color in zip(traces, trace_colors(traces), strict=True)
        if (box := trace.box_at(time_seconds)) is not None
    ]
    for _, rect, color in visible:
        _draw_box(out, rect, color, min(height, width) / (190 if tags else 90))
    busy_rects: list[_Rect] = []
    if label:
        _draw_chip(out, ascii_text(label), uncertain, text_px, busy_rects)
    for visible_trace in visible if tags else ():
        _draw_tag(out, visible_trace, text_px, busy_rects)
    return out


def _pixels(box: Box, height: int, width: int) -> _Rect:
    # Every pixel that the box touches; at least one.
    x0, y0 = min(int(box[0] * width), width - 1), min(int(box[1] * height), height - 1)
    x1, y1 = int(np.ceil(box[2] * width - 1e-9)), int(np.ceil(box[3] * height - 1e-9))
    return _Rect(x0, y0, min(max(x1, x0 + 1), width), min(max(y1, y0 + 1), height))


def _fill(out: Image, rect: _Rect, color: Color, alpha: float = 1.0) -> None:
    """Blend a colour over the rectangle, cut to the frame."""
    height, width = out.shape[:2]
    x0, y0, x1, y1 = max(rect.x0, 0), max(rect.y0, 0), min(rect.x1, width), min(rect.y1, height)
    if x0 >= x1 or y0 >= y1:
        return
    area = out[y0:y1, x0:x1]
    if alpha >= 1.0:
        area[:] = color
    else:
        area[:] = np.rint(area * (1.0 - alpha) + np.array(color) * alpha).astype(np.uint8)


def _frame_strips(rect: _Rect, line: int) -> tuple[_Rect, ...]:
    """The four sides of a rectangle, ``line`` pixels wide, inside it."""
    x0, y0, x1, y1 = rect
    return (
        _Rect(x0, y0, x1, y0 + line),
        _Rect(x0, y1 - line, x1, y1),
        _Rect(x0, y0 + line, x0 + line, y1 - line),
        _Rect(x1 - line, y0 + line, x1, y1 - line),
    )


def _draw_box(out: Image, rect: _Rect, color: Color, line_px: float) -> None:
    # A dark hairline on both sides keeps the colour readable on any picture. All of it lies inside the box, so that
    # the box covers exactly the pixels that were said.
    side = min(rect.x1 - rect.x0, rect.y1 - rect.y0)
    line = max(1, min(round(line_px), side // 8))
    hair = 1 if side >= 8 else 0
    if hair:
        for strip in _frame_strips(rect, 1):
            _fill(out, strip, _INK, 0.65)
    inner = _Rect(rect.x0 + hair, rect.y0 + hair, rect.x1 - hair, rect.y1 - hair)
    for strip in _frame_strips(inner, line):
        _fill(out, strip, color)
    if side < 24:
        return
    within = _Rect(inner.x0 + line, inner.y0 + line, inner.x1 - line, inner.y1 - line)
    for strip in _frame_strips(within, 1):
        _fill(out, strip, _INK, 0.45)
    arm = max(side // 6, 2 * line)  # heavier corners: the eye finds the box
    for x, y in ((inner.x0, inner.y0), (inner.x1, inner.y0), (inner.x0, inner.y1), (inner.x1, inner.y1)):
        left, top = x == inner.x0, y == inner.y0
        wide = _Rect(
            x if left else x - arm, y if top else y - 2 * line, x + arm if left else x, y + 2 * line if top else y
        )
        tall = _Rect(
            x if left else x - 2 * line, y if top else y - arm, x + 2 * line if left else x, y + arm if top else y
        )
        _fill(out, wide, color)
        _fill(out, tall, color)


@lru_cache(maxsize=512)
def _text_mask(text: str, text_px: int) -> npt.NDArray[np.float32]:
    """Coverage (h, w) in [0, 1] of one line of text whose capitals are about ``text_px`` * 0.7 pixels high."""
    # OpenCV's strokes are coarse at small sizes: draw four times as large, then shrink.
    scale, thick = text_px * 4 / 30, max(2, round(text_px * 4 / 11))
    (width, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thick)
    # The height is that of a line, whatever its letters, so that all tags are equally high.
    (_, height), below = cv2.getTextSize("Ag0,j", cv2.FONT_HERSHEY_SIMPLEX, scale, thick)
    large = np.zeros((height + below + 2 * thick, width + 2 * thick), np.uint8)
    cv2.putText(large, text, (thick, height + thick), cv2.FONT_HERSHEY_SIMPLEX, scale, 255, thick, cv2.LINE_AA)
    columns = np.nonzero(large.any(axis=0))[0]
    if len(columns) == 0:
        return np.zeros((text_px, 1), np.float32)
    large = large[:, columns[0] : columns[-1] + 1]
    size = (max(1, round(large.shape[1] / 4)), max(1, round(large.shape[0] / 4)))
    small = cv2.resize(large, size, interpolation=cv2.INTER_AREA)
    return small.astype(np.float32) / np.float32(255)


def _draw_text(out: Image, mask: npt.NDArray[np.float32], x: int, y: int, color: Color) -> None:
    height, width = mask.shape
    area = out[y : y + height, x : x + width]
    cover = mask[: area.shape[0], : area.shape[1], None]
    area[:] = np.rint(area * (1.0 - cover) + np.array(color) * cover).astype(np.uint8)


def _fitting(texts: Sequence[str], text_px: int, room: int) -> npt.NDArray[np.float32] | None:
    """The first text that is at most ``room`` pixels wide, drawn; None when none is."""
    return next((mask for text in texts if (mask := _text_mask(text, text_px)).shape[1] <= room), None)


def _draw_chip(out: Image, label: str, uncertain: bool, text_px: int, busy_rects: list[_Rect]) -> None:
    height, width = out.shape[:2]
    pad, margin = max(2, text_px // 2), max(1, text_px // 2)
    short = label.partition(" ")[0]
    texts = [label, re.sub(r" \(.*?\)", "", label), short, "?" if uncertain else short[:1]]
    mask = _fitting(texts, text_px, width - 2 * (pad + margin))
    if mask is None or mask.shape[0] + pad + margin > height // 2:
        return
    rect = _Rect(margin, margin, margin + mask.shape[1] + 2 * pad, margin + mask.shape[0] + pad)
    _fill(out, rect, _UNCERTAIN if uncertain else _CHIPS.get(short, _NEUTRAL), 0.94)
    _draw_text(out, mask, margin + pad, margin + pad // 2, _WHITE)
    busy_rects.append(rect)


def _draw_tag(out: Image, visible_trace: _VisibleTrace, text_px: int, busy_rects: list[_Rect]) -> None:
    trace, box, color = visible_trace
    height, width = out.shape[:2]
    pad, bar = max(2, text_px // 3), max(2, text_px // 4)
    name = trace_name(trace)
    texts = [name, trace.categories[0] if trace.categories else name]
    if trace.confidence is not None:
        texts = [f"{text} {trace.confidence:.2f}" for text in texts] + texts[1:] + [f"{trace.confidence:.2f}"]
    mask = _fitting(texts, text_px, width - bar - 2 * pad)
    if mask is None or mask.shape[0] + pad > height // 3:
        return
    tag_w, tag_h = mask.shape[1] + bar + 2 * pad, mask.shape[0] + pad
    x = min(max(box.x0, 0), width - tag_w)
    tops = (box.y0 - tag_h, box.y1, box.y0, box.y1 - tag_h)  # above, below, inside at the top, inside at the bottom
    inside = [_Rect(x, y, x + tag_w, y + tag_h) for y in tops if 0 <= y <= height - tag_h]
    place = next((rect for rect in inside if not any(rect.meets(other) for other in busy_rects)), None)
    if place is None:
        if not inside:
            return
        place = inside[0]
    _fill(out, place, _INK, 0.82)
    _fill(out, _Rect(place.x0, place.y0, place.x0 + bar, place.y1), color)
    _draw_text(out, mask, place.x0 + bar + pad, place.y0 + pad // 2, _WHITE)
    busy_rects.append(place)


def write_jpeg(path: str | os.PathLike[str], image: Image, *, quality: int = 86) -> None:
    """Write a picture (H, W, 3) as JPEG, atomically.

    Raises:
        FileError: it cannot be coded or written.
    """
    name = os.path.basename(os.fspath(path))
    is_coded, coded = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not is_coded:
        raise FileError(f"cannot write {name!r}: the picture could not be coded as JPEG")
    with atomic_write(path) as file:
        file.write(coded.tobytes())


# ── whole videos ────────────────────────────────────────────────────────────────────────────────────────────────────


def draw_frames(frames: Frames, verdict: Verdict) -> Frames:
    """The frames ``(T, H, W, 3)`` uint8 with the verdict drawn on each at its own time; times and sizes stay."""
    label = chip_text(verdict)
    images = np.stack(
        [
            draw(image, verdict.traces, float(time), label=label, uncertain=verdict.uncertain)
            for image, time in zip(frames.images, frames.pts_seconds, strict=True)
        ]
    )
    return Frames(images, frames.pts_seconds, frames.source_hw, frames.duration_seconds, frames.reading)


def write_overlay(
    source: str | os.PathLike[str] | bytes | Frames,
    outcome: Verdict,
    out_path: str | os.PathLike[str],
    *,
    short_side: int | None = 720,
) -> None:
    """Write the video with its verdict drawn on it as H.264 in MP4, without sound, each frame at its true time.

    The video is streamed: memory does not grow with its length. ``short_side`` shrinks larger frames to that many
    pixels (None: keep the size).

    Raises:
        VideoError: the video cannot be read, or the result not written.
    """
    from deeptrace.video import iter_frames

    with FrameSink(out_path) as sink, iter_frames(source, short_side=short_side) as stream:
        for frames in stream:
            sink.write(draw_frames(frames, outcome))


class FrameSink:
    """An MP4 file that takes `Frames` chunk by chunk, each frame at its own time. A context manager.

    ``crf`` is the encoder's quality. The file appears when the block ends well; after an exception nothing is left
    behind.

    Raises:
        VideoError: ``WRITE_FAILED`` from every method.
    """

    def __init__(self, path: str | os.PathLike[str], *, crf: int = 18) -> None:
        self._path, self._crf = path, crf
        self._writer: VideoWriter | None = None

    def __enter__(self) -> FrameSink:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if self._writer is not None:
            self._writer.__exit__(kind, *rest)

    def write(self, frames: Frames) -> None:
        """Append a chunk, ``(T, H, W, 3)`` uint8; its times, in seconds, come after those of the chunk before."""
        from deeptrace.video import VideoWriter

        times = frames.pts_seconds
        if self._writer is None:
            # The rate only guides the encoder: every frame carries its own time. A copy to look at need not be small.
            fps = 1.0 / float(np.median(np.diff(times))) if len(times) > 1 else 25.0
            rate = float(np.clip(fps, 1.0, 240.0))
            self._writer = VideoWriter(self._path, fps=rate, crf=self._crf, preset="veryfast")
        self._writer.add(frames.images, times)
        seconds_left = (frames.duration_seconds or 0.0) - float(times[-1])
        self._writer.last_seconds = min(seconds_left, 10.0) if seconds_left > 0.0 else None
