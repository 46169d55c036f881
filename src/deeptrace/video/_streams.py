"""A look at the structure of GIF, MPEG-TS, MPEG-PS, ASF (WMV), FLV and Ogg (OGV). Worker side; plain bytes, no av.

None of them declares a number of pictures, and the library steps over damage without a word. Each walk reads heads of
parts only, takes time in proportion to the size, and says whether the parts follow each other up to the file's end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from deeptrace.video._nearby import Nearby, ReadAt

_TAIL_BYTES = 256 * 1024
_TS_PACKETS = ((188, 0), (192, 4), (204, 0))  # size of a packet, and where in it the sync byte stands
_TS_SYNC = 0x47


@dataclass(frozen=True)
class Structure:
    """What the walk tells. ``cut``: the file ends before its structure does. ``damaged``: the parts do not follow each
    other. ``pictures``: how many there are, where the container tells pictures apart (GIF). ``seconds``: how long they
    last, where it tells the times of pictures from those of sound (FLV).
    """

    cut: bool = False
    damaged: bool = False
    has_header: bool = True
    pictures: int | None = None
    seconds: float | None = None


# ── GIF ──


def walk_gif(read_at: ReadAt, size: int) -> Structure:
    """Blocks up to the trailer; each picture is one block."""
    nearby = Nearby(read_at)
    head = nearby.at(0, 13)
    position = 13 + _color_table(head[10]) if len(head) == 13 else size
    pictures = 0
    while position < size:
        kind = nearby.at(position, 1)
        if kind == b";":
            return Structure(pictures=pictures)
        if kind == b"!":
            position += 2
        elif kind == b",":
            descriptor = nearby.at(position, 10)
            if len(descriptor) < 10:
                break
            pictures += 1
            position += 11 + _color_table(descriptor[9])
        else:
            return Structure(damaged=True, pictures=pictures)
        while position < size and (length := nearby.at(position, 1)[0]):
            position += 1 + length
        position += 1
    return Structure(cut=True, pictures=pictures)


def _color_table(flags: int) -> int:
    """How many bytes the colour table has that these flags announce."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


# ── MPEG ──


def transport_packet(first: bytes) -> tuple[int, int] | None:
    """``(size, offset of the sync byte)`` of the packets of an MPEG-TS that begins like this; None: it is none."""
    for length, at in _TS_PACKETS:
        if first[at : at + 2 * length + 1 : length] == bytes([_TS_SYNC]) * 3:
            return length, at
    return None


def walk_transport(read_at: ReadAt, size: int) -> Structure:
    """Packets have one size: the last one must be whole and begin as all do. The library flags what is missing between.

    What is lost between the last whole packet and the end of the recording, nothing can tell.
    """
    packet = transport_packet(read_at(0, 1024))
    if packet is None:
        return Structure(damaged=True, has_header=False)
    length, at = packet
    last = size - size % length - length
    return Structure(cut=size % length != 0, damaged=read_at(last + at, 1) != bytes([_TS_SYNC]))


def walk_program(read_at: ReadAt, size: int) -> Structure:
    """The packs in the last part of the file: each packet says its length, and the last must end with the file."""
    start = max(0, size - _TAIL_BYTES)
    tail = read_at(start, _TAIL_BYTES)
    position = tail.find(b"\0\0\1\xba")
    if position < 0:
        return Structure(damaged=True)
    while position + 4 <= len(tail):
        code = tail[position + 3]
        if tail[position : position + 3] != b"\0\0\1" or code < 0xB9:
            padding = not any(tail[position:])
            return Structure(damaged=not padding)
        position += _program_part(tail, position, code)
    return Structure(cut=position != len(tail))


def _program_part(data: bytes, position: int, code: int) -> int:
    """How long the pack header, packet or end mark at ``position`` is."""
    if code == 0xB9:
        return 4
    if code == 0xBA:
        if data[position + 4 : position + 5] < b"\x40":  # MPEG-1
            return 12
        stuffing = data[position + 13 : position + 14] or b"\0"
        return 14 + (stuffing[0] & 7)
    return 6 + int.from_bytes(data[position + 4 : position + 6], "big")


# ── ASF ──

_ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_ASF_DATA = bytes.fromhex("3626b2758e66cf11a6d900aa0062ce6c")
_ASF_HEADER_BYTES = 1 << 20
_ASF_BROADCAST = 1


def walk_asf(read_at: ReadAt, size: int) -> Structure:
    """The header says how many packets of which size there are, and how long the data is."""
    header = int.from_bytes(read_at(16, 8), "little")
    head = read_at(0, min(header, _ASF_HEADER_BYTES))
    if header > size:
        return Structure(cut=True, has_header=False)
    at = head.find(_ASF_PROPERTIES)
    data = read_at(header, 50)
    if at < 0 or len(head) < at + 104 or data[:16] != _ASF_DATA:
        return Structure(cut=len(data) < 16, damaged=True, has_header=False)
    packets, flags = _little(head, at + 56, 8), _little(head, at + 88, 4)
    if flags & _ASF_BROADCAST:
        return Structure()  # its lengths are not to be read
    end = header + max(50 + packets * _little(head, at + 96, 4), _little(data, 16, 8))
    return Structure(cut=end > size, damaged=packets != _little(data, 40, 8))


def _little(data: bytes, at: int, count: int) -> int:
    return int.from_bytes(data[at : at + count], "little")


# ── FLV ──

_FLV_PICTURE = 9
_FLV_TAGS = frozenset({8, _FLV_PICTURE, 18})  # sound, picture, script
_FLV_H264 = 7


def walk_flv(read_at: ReadAt, size: int) -> Structure:
    """Tags, each with its length before it and again behind it, up to the file's end."""
    nearby = Nearby(read_at)
    position = int.from_bytes(nearby.at(5, 4), "big") + 4
    times: list[int] = []  # of the first picture, the one before the last, and the last, in milliseconds
    damaged = False
    while position < size and not damaged:
        head = nearby.at(position, 13)
        length = 11 + int.from_bytes(head[1:4], "big")
        behind = nearby.at(position + length, 4)
        damaged = len(head) >= 11 and (head[0] & 0x1F not in _FLV_TAGS or any(head[8:11]))
        # Some writers leave the length behind a tag out, or do not count the tag's head.
        damaged |= len(behind) == 4 and int.from_bytes(behind, "big") not in (length, length - 11, 0)
        if not damaged and _is_flv_picture(head):
            times = [*times[:1], *times[-1:], head[7] << 24 | int.from_bytes(head[4:7], "big")]
        position += length + 4
    seconds = (2 * times[-1] - times[-2] - times[0]) / 1000 if len(times) > 1 else None
    return Structure(cut=position != size and not damaged, damaged=damaged, seconds=seconds)


def _is_flv_picture(head: bytes) -> bool:
    """Whether the tag that begins so holds a picture, and not the set-up or the end of the stream."""
    if len(head) < 13 or head[0] & 0x1F != _FLV_PICTURE:
        return False
    if head[11] & 0x80:  # the extended head names the kind of packet
        return head[11] & 0x0F in (1, 3)
    return head[11] & 0x0F != _FLV_H264 or head[12] == 1


# ── Ogg ──


def walk_ogg(read_at: ReadAt, size: int) -> Structure:
    """Pages, numbered in each stream; the last page of each stream is marked, so that a missing end shows."""
    nearby = Nearby(read_at)
    position = 0
    numbers: dict[bytes, int] = {}
    running: set[bytes] = set()
    damaged = False
    while position < size:
        head = nearby.at(position, 27)
        table = nearby.at(position + 27, head[26]) if len(head) == 27 else b""
        if len(head) < 27 or len(table) < head[26]:
            return Structure(cut=True, damaged=damaged)
        if head[:5] != b"OggS\0":
            return Structure(damaged=True)
        serial, number = head[14:18], _little(head, 18, 4)
        if head[5] & 2:
            running.add(serial)
        elif number != numbers.get(serial, -2) + 1:
            damaged = True
        if head[5] & 4:
            running.discard(serial)
        numbers[serial] = number
        position += 27 + len(table) + sum(table)
    return Structure(cut=position != size or bool(running), damaged=damaged)


WALKS: dict[str, Callable[[ReadAt, int], Structure]] = {
    "gif": walk_gif,
    "mpegts": walk_transport,
    "mpeg": walk_program,
    "asf": walk_asf,
    "flv": walk_flv,
    "ogg": walk_ogg,
}
