"""A look at the structure of Matroska and WebM. Worker side; plain bytes, no av.

A Matroska file declares no number of pictures, and the library steps over damage without a word. Walking the elements
shows whether the file is whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from deeptrace.video._hiding import LARGE_BYTES
from deeptrace.video._nearby import Nearby, ReadAt

_SEGMENT = 0x18538067
_CLUSTER = 0x1F43B675
_BLOCK, _BLOCK_GROUP = 0xA3, 0xA0
# Seek head, info, tracks, cluster, cues, attachments, chapters, tags, void, checksum.
_IN_SEGMENT = frozenset(
    {0x114D9B74, 0x1549A966, 0x1654AE6B, _CLUSTER, 0x1C53BB6B, 0x1941A469, 0x1043A770, 0x1254C367, 0xEC, 0xBF}
)
# Timestamp, block, block group, position, previous size, void, checksum, silent tracks, encrypted block.
_IN_CLUSTER = frozenset({0xE7, _BLOCK, _BLOCK_GROUP, 0xA7, 0xAB, 0xEC, 0xBF, 0x5854, 0xAF})
_REMARKS = frozenset({0x1941A469, 0x1043A770, 0x1254C367})  # attachments, chapters, tags
_TRACKS = b"\x16\x54\xae\x6b"
_TRACK_ENTRY, _FLAG_ENABLED = 0xAE, 0xB9
_PROJECTION = b"\x76\x70"

_HEADER_BYTES = 64 * 1024
_MAX_ELEMENTS = 100_000
_LONGEST_HEAD = 12  # bytes of an identifier and a length


@dataclass(frozen=True)
class MatroskaHeader:
    """The start of a file. ``segment_end`` is where everything ends, by its own length. None where there is no such
    length: with ``length_unknown`` because the file does not say it (a live recording), else because it is cut off.
    """

    segment_start: int = 0
    segment_end: int | None = None
    length_unknown: bool = False
    has_tracks: bool = False
    has_projection: bool = False
    disabled: frozenset[int] = frozenset()  # tracks, by their order, that are not to be shown


def read_header(read_at: ReadAt) -> MatroskaHeader:
    """The start of a file; an empty header when it is no Matroska."""
    data = read_at(0, _HEADER_BYTES)
    try:
        _, position = _identifier(data, 0)
        length, position = _length(data, position)
        identifier, position = _identifier(data, position + (length or 0))
        length, position = _length(data, position)
    except ValueError:
        return MatroskaHeader()
    if identifier != _SEGMENT:
        return MatroskaHeader()
    return MatroskaHeader(
        segment_start=position,
        segment_end=None if length is None else position + length,
        length_unknown=length is None,
        has_tracks=_TRACKS in data,
        disabled=_disabled_tracks(data, position),
        has_projection=_PROJECTION in data.partition(_CLUSTER.to_bytes(4, "big"))[0],
    )


def _disabled_tracks(data: bytes, segment_start: int) -> frozenset[int]:
    """Which tracks say FlagEnabled 0. The list of tracks must lie within the first bytes, as it does in every file."""
    disabled = set()
    try:
        for start, stop in _children(data, segment_start, len(data), int.from_bytes(_TRACKS, "big")):
            for order, (first, last) in enumerate(_children(data, start, stop, _TRACK_ENTRY)):
                if any(not data[begin:end].strip(b"\0") for begin, end in _children(data, first, last, _FLAG_ENABLED)):
                    disabled.add(order)
            break  # there is one list
    except ValueError:
        pass  # a damaged list; the library will say what of it can be read
    return frozenset(disabled)


def _children(data: bytes, position: int, end: int, wanted: int) -> Iterator[tuple[int, int]]:
    """Where the contents of the elements of this kind begin and end, directly within ``position..end``."""
    while position < end:
        identifier, position = _identifier(data, position)
        length, position = _length(data, position)
        if length is None or position + length > end:
            return
        if identifier == wanted:
            yield position, position + length
        position += length


def void_large_remarks(read_at: ReadAt, size: int, header: MatroskaHeader) -> dict[int, bytes]:
    """Heads of void elements, by offset, for the attachments, tags and chapters that are too large to be held."""
    nearby = Nearby(read_at)
    position, end = header.segment_start, min(size, header.segment_end or size)
    hidden: dict[int, bytes] = {}
    for _ in range(_MAX_ELEMENTS if position else 0):
        try:
            data = nearby.at(position, _LONGEST_HEAD)
            identifier, at = _identifier(data, 0)
            length, at = _length(data, at)
        except ValueError:
            break
        if identifier not in _IN_SEGMENT or length is None or position >= end:
            break
        if identifier in _REMARKS and length > LARGE_BYTES:
            # A void element with a head as long, or with as much more to void.
            width = min(8, at - 1)
            voided = length + at - 1 - width
            hidden[position] = b"\xec" + (voided | 1 << 7 * width).to_bytes(width, "big")
        position += at + length
    return hidden


def is_intact(read_at: ReadAt, size: int, busy: Callable[[], None]) -> bool:
    """Whether the elements of the file follow each other without damage up to its end.

    Reads heads of elements only. A file whose length is not said (a live recording) is walked to its last byte.
    """
    header = read_header(read_at)
    if not header.segment_start:
        return False
    end = size if header.segment_end is None else header.segment_end
    nearby = Nearby(read_at)
    position, cluster_end = header.segment_start, 0
    count = 0
    while position < end:
        count += 1
        if count % 4096 == 0:
            busy()
        try:
            data = nearby.at(position, _LONGEST_HEAD)
            identifier, at = _identifier(data, 0)
            length, at = _length(data, at)
        except ValueError:
            return False
        inside = position < cluster_end and identifier in _IN_CLUSTER
        if not inside and identifier not in _IN_SEGMENT:
            return False
        if identifier == _CLUSTER:
            # Its children come next; a cluster of unknown length ends where the next element of the segment begins.
            position += at
            cluster_end = end if length is None else position + length
            if cluster_end > end:
                return False
            continue
        if length is None:
            return False
        position += at + length
        if inside and position > cluster_end:
            return False
    return position == end and end <= size


def _identifier(data: bytes, position: int) -> tuple[int, int]:
    """An element's identifier and the position after it."""
    end = position + _width(data, position, longest=4)
    return int.from_bytes(data[position:end], "big"), end


def _length(data: bytes, position: int) -> tuple[int | None, int]:
    """An element's length and the position after it; None when it says "unknown"."""
    width = _width(data, position, longest=8)
    all_ones = (1 << (7 * width)) - 1
    value = int.from_bytes(data[position : position + width], "big") & all_ones
    return (None if value == all_ones else value), position + width


def _width(data: bytes, position: int, longest: int) -> int:
    """How many bytes the number at ``position`` has, by the zeros it begins with."""
    if position >= len(data):
        raise ValueError("cut off")
    width = 9 - data[position].bit_length()
    if width > longest or position + width > len(data):
        raise ValueError("not a number, or cut off")
    return width
