"""A few bits at the start of a packet: whether decoding can begin there, whether a picture is shown. Worker side.

Containers mark keyframes, but not all of these are places to start: H.264 with intra refresh or open groups marks
pictures from which a decoder recovers only slowly. Starting there would change pixels.
"""

from __future__ import annotations

from collections.abc import Iterator

from av.packet import Packet
from av.video.stream import VideoStream

# Codecs for which decoding may begin at a keyframe, and pictures that nothing refers to may be left out.
# Any other codec is decoded from the first packet to the last one needed, everything.
PLANNED_CODECS = frozenset(
    {"h264", "hevc", "mpeg4", "mpeg2video", "mpeg1video", "vp8", "vp9", "av1", "mjpeg", "prores", "png", "rawvideo"}
)

_MAX_UNITS = 64


class BitstreamReader:
    """Looks into packets of one stream."""

    def __init__(self, stream: VideoStream) -> None:
        self.codec = stream.codec_context.codec.canonical_name
        extradata = stream.codec_context.extradata or b""
        # avcC / hvcC begin with version 1 and tell the size of the length before each unit; otherwise start codes.
        self._length_size = 0
        if self.codec == "h264" and len(extradata) > 4 and extradata[0] == 1:
            self._length_size = (extradata[4] & 3) + 1
        elif self.codec == "hevc" and len(extradata) > 21 and (extradata[0] or extradata[1] or extradata[2] > 1):
            self._length_size = (extradata[21] & 3) + 1

    def can_start(self, packet: Packet[VideoStream]) -> bool:
        """Whether a decoder that starts at this keyframe shows it and all later pictures exactly."""
        if self.codec in ("h264", "hevc"):
            return self._nal_can_start(memoryview(packet))
        data = bytes(memoryview(packet)[:4096])
        if self.codec == "mpeg4":
            at = data.find(b"\x00\x00\x01\xb6")
            return 0 <= at < len(data) - 4 and data[at + 4] >> 6 == 0  # an I picture
        if self.codec == "vp8":
            return not data[0] & 1
        if self.codec == "vp9":
            header = _vp9_header(data)
            return header is not None and header[1]
        return self.codec in PLANNED_CODECS

    def shows_picture(self, packet: Packet[VideoStream]) -> bool:
        """Whether a picture is shown for this packet (VP8 and VP9 have packets that only prepare later ones)."""
        if self.codec == "vp8":
            return bool(memoryview(packet)[0] & 0x10)
        if self.codec == "vp9":
            data = memoryview(packet)
            if data[-1] & 0xE0 == 0xC0:  # a superframe: hidden and shown pictures together
                return True
            header = _vp9_header(bytes(data[:8]))
            return header is None or header[0]
        return True

    def _nal_can_start(self, data: memoryview) -> bool:
        for first in self._unit_types(data):
            if self.codec == "h264":
                kind = first & 0x1F
                if kind == 5:
                    return True
                if 1 <= kind <= 4:
                    return False
            else:
                kind = (first >> 1) & 0x3F
                if kind < 32:
                    return 16 <= kind <= 21  # BLA, IDR, CRA
        return False

    def _unit_types(self, data: memoryview) -> Iterator[int]:
        """First byte of each unit."""
        size = self._length_size
        if size == 0:
            yield from _annexb_types(bytes(data[: 64 * 1024]))
            return
        position = 0
        for _ in range(_MAX_UNITS):
            if position + size >= len(data):
                return
            length = int.from_bytes(data[position : position + size], "big")
            yield data[position + size]
            position += size + length


def _annexb_types(data: bytes) -> Iterator[int]:
    position = 0
    for _ in range(_MAX_UNITS):
        position = data.find(b"\x00\x00\x01", position)
        if position < 0 or position + 3 >= len(data):
            return
        position += 3
        yield data[position]


def _vp9_header(data: bytes) -> tuple[bool, bool] | None:
    """``(shown, keyframe)`` of a VP9 picture; None when the bits are not a VP9 header."""
    if not data or data[0] >> 6 != 2:
        return None
    bits = int.from_bytes(data[:2].ljust(2, b"\0"), "big")
    profile = (bits >> 13 & 1) | (bits >> 12 & 1) << 1
    position = 11 if profile < 3 else 10  # profile 3 has one reserved bit more
    if bits >> position & 1:  # shows a picture decoded earlier
        return True, False
    keyframe = not bits >> (position - 1) & 1
    is_shown = bool(bits >> (position - 2) & 1)
    return is_shown, keyframe
