"""From a decoded picture to RGB as it is meant to be seen: turned upright, square pixels, resized. Worker side."""

from __future__ import annotations

import struct
from fractions import Fraction

import av
import numpy as np
import numpy.typing as npt
from av.sidedata.sidedata import SideDataContainer, Type
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from deeptrace.video._boxes import Matrix
from deeptrace.video._plan import shrink
from deeptrace.video._refusal import Refusal

_UPRIGHT: Matrix = (1.0, 0.0, 0.0, 1.0)
_BT601 = 5
_UNKNOWN_COLORSPACE = 2
_MAX_ASPECT = 32  # a stranger pixel shape than 32:1 is a mistake in the file


def display_hw(height: int, width: int, aspect: Fraction | None, matrix: Matrix | None) -> tuple[int, int]:
    """``(height, width)`` as displayed: the pixel aspect applied to the width, then turned."""
    if aspect and Fraction(1, _MAX_ASPECT) <= aspect <= _MAX_ASPECT:
        width = max(1, round(width * aspect))
    return (width, height) if swaps_sides(matrix) else (height, width)


def swaps_sides(matrix: Matrix | None) -> bool:
    """Whether the picture is turned by a quarter: its rows become columns."""
    if matrix is None:
        return False
    a, b, c, d = matrix
    return abs(b) + abs(c) > abs(a) + abs(d)


def turn(image: npt.NDArray[np.uint8], matrix: Matrix | None) -> npt.NDArray[np.uint8]:
    """The image ``(H, W, 3)`` turned and mirrored as the matrix says, to the nearest quarter turn."""
    if matrix is None or matrix == _UPRIGHT:
        return image
    a, b, c, d = matrix
    if swaps_sides(matrix):
        image = image.transpose(1, 0, 2)
        across, down = c, b
    else:
        across, down = a, d
    if across < 0:
        image = image[:, ::-1]
    if down < 0:
        image = image[::-1]
    return image


def frame_matrix(frame: VideoFrame) -> Matrix | None:
    """How the frame is to be turned, by its side data; None when it says nothing."""
    side_data: SideDataContainer = frame.side_data  # type: ignore[assignment]  # the library's stub is wrong
    try:
        data = bytes(side_data[Type.DISPLAYMATRIX])
    except KeyError:
        return None
    if len(data) < 36:
        return None
    a, b, _, c, d = struct.unpack("=5i", data[:20])
    matrix = (a / 65536, b / 65536, c / 65536, d / 65536)
    return matrix if any(matrix) else None


class Converter:
    """Turns pictures of one video into RGB of one size.

    The first picture decides the display size; later ones of another size are scaled to it.
    """

    def __init__(self, aspect: Fraction | None, short_side: int | None, max_pixels: int) -> None:
        self._aspect = aspect
        self._short_side = short_side
        self._max_pixels = max_pixels
        self._reformatter = VideoReformatter()
        self._matrix: Matrix | None = None
        self.source_hw: tuple[int, int] | None = None
        self.image_hw: tuple[int, int] = (0, 0)

    def set_up(self, frame: VideoFrame) -> None:
        """Take the display size and orientation from the first picture."""
        self._matrix = frame_matrix(frame)
        self.source_hw = display_hw(frame.height, frame.width, self._aspect, self._matrix)
        if self.source_hw[0] * self.source_hw[1] > self._max_pixels:
            raise Refusal(
                "FRAME_TOO_LARGE",
                f"a picture is {self.source_hw[1]} x {self.source_hw[0]}; at most {self._max_pixels} pixels are read.",
            )
        self.image_hw = shrink(*self.source_hw, self._short_side)

    def convert(self, frame: VideoFrame) -> npt.NDArray[np.uint8]:
        """The picture as contiguous RGB ``(H, W, 3)`` of `image_hw`."""
        if self.source_hw is None:
            self.set_up(frame)
        height, width = self.image_hw
        if swaps_sides(self._matrix):
            height, width = width, height
        rgb = self._reformat(frame, height, width)
        plane = rgb.planes[0]
        rows = np.frombuffer(memoryview(plane), np.uint8, plane.line_size * height).reshape(height, plane.line_size)
        image = rows[:, : width * 3].reshape(height, width, 3)
        return np.ascontiguousarray(turn(image, self._matrix))

    def _reformat(self, frame: VideoFrame, height: int, width: int) -> VideoFrame:
        # One pass from YUV to small RGB; one thread, because the caller may run one worker per core.
        try:
            return self._one_pass(frame, height, width)
        except av.error.FFmpegError:
            # A colour matrix that the scaler does not know: treated as not tagged, like every player does.
            frame.colorspace = _BT601
            return self._one_pass(frame, height, width)

    def _one_pass(self, frame: VideoFrame, height: int, width: int) -> VideoFrame:
        return self._reformatter.reformat(frame, width, height, "rgb24", interpolation="AREA", threads=1)


def is_color_tagged(frame: VideoFrame) -> bool:
    """Whether the picture says how its colours are coded (RGB and grey need not)."""
    if frame.format.is_rgb or len(frame.format.components) < 3:
        return True
    return int(frame.colorspace) != _UNKNOWN_COLORSPACE
