"""A look at the outer structure of a file before the media library opens it. Worker side; plain bytes, no av.

Finds what the library does not tell: whether the file was cut off, how large its tables are, how a picture is turned.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field

from deeptrace.video._ebml import read_header

Matrix = tuple[float, float, float, float]
"""``(a, b, c, d)``: a pixel at (x, y) is shown at (a x + c y, b x + d y), up to a shift; y points down."""

ReadAt = Callable[[int, int], bytes]

_MAX_BOXES = 100_000
_MAX_DEPTH = 8
_MAX_INDEX_BYTES = 1 << 20
_NESTED = frozenset({b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"moof", b"traf", b"mvex"})
_TOP_LEVEL = frozenset(
    {b"ftyp", b"moov", b"mdat", b"moof", b"mfra", b"free", b"skip", b"wide", b"sidx", b"styp", b"emsg", b"uuid",
     b"meta", b"udta", b"pnot", b"prft", b"ssix"}
)  # fmt: skip


@dataclass
class Track:
    """What an mp4 says of one track."""

    track_id: int = 0
    is_video: bool = False
    samples: int = 0
    edits: int = 0
    matrix: Matrix | None = None


@dataclass
class Layout:
    """The outer structure of a file.

    ``cut``: the structure ends after the end of the file. ``header_cut``: so does the list of streams and pictures of
    an mp4. ``has_header``: the tables that describe the streams are there. ``fragmented``: an mp4 whose pictures are
    listed in pieces along the file. ``listed``: samples of all tracks in all these lists; None when the walk gave up
    before the end. ``fragments_seconds``: how long the longest track is with all its fragments, where an mp4 says so.
    """

    kind: str
    cut: bool = False
    header_cut: bool = False
    has_header: bool = False
    fragmented: bool = False
    may_be_turned: bool = False
    largest_run: int = 0
    listed: int | None = 0
    fragments_seconds: float | None = None
    tracks: list[Track] = field(default_factory=list)


def scan(kind: str, read_at: ReadAt, size: int) -> Layout:
    """The layout of a file of this kind (``"mov"``, ``"matroska"``, ``"avi"``)."""
    if kind == "mov":
        return _MovScan(read_at, size).run()
    if kind == "matroska":
        return _scan_matroska(read_at, size)
    return _scan_avi(read_at, size)


class _MovScan:
    """Walks the boxes of an mp4 or mov, reading only headers and a few short boxes."""

    def __init__(self, read_at: ReadAt, size: int) -> None:
        self.read_at = read_at
        self.size = size
        self.layout = Layout("mov")
        self.boxes = 0
        self.listed = 0
        self.ticks_per_second = 0
        self.index_end = 0  # where the last byte of the fragments lies that segment indexes list

    def run(self) -> Layout:
        self._walk(0, self.size, 0)
        layout = self.layout
        layout.listed = self.listed + sum(t.samples for t in layout.tracks) if self.boxes < _MAX_BOXES else None
        layout.cut |= self.index_end > self.size
        return layout

    def _walk(self, position: int, end: int, depth: int) -> None:
        while position + 8 <= end and self.boxes < _MAX_BOXES:
            self.boxes += 1
            head = self.read_at(position, 16)
            if len(head) < 8:
                return
            length, kind = struct.unpack(">I4s", head[:8])
            start = position + 8
            if length == 1 and len(head) == 16:
                length, start = struct.unpack(">Q", head[8:])[0], position + 16
            elif length == 0:
                length = end - position
            if length < start - position:
                return  # garbage from here on
            stop = position + length
            if depth == 0:
                if kind not in _TOP_LEVEL:
                    return
                if stop > self.size:
                    self.layout.cut = True
                    self.layout.header_cut |= kind == b"moov"
            self._visit(kind, start, min(stop, end), depth)
            position = stop
        if depth == 0 and self.layout.fragmented and 0 < end - position < 8:
            self.layout.cut = True  # within the head of the next box

    def _visit(self, kind: bytes, start: int, stop: int, depth: int) -> None:
        layout = self.layout
        if kind == b"moov":
            layout.has_header = True
        elif kind in (b"moof", b"mvex"):
            layout.fragmented = True
        elif kind == b"trak":
            layout.tracks.append(Track())
        if kind in _NESTED:
            if depth < _MAX_DEPTH:
                self._walk(start, stop, depth + 1)
        elif kind == b"sidx":
            end = _end_of_index(self.read_at(start, min(stop - start, _MAX_INDEX_BYTES)), stop)
            self.index_end = max(self.index_end, end)
        elif kind in (b"tkhd", b"hdlr", b"elst", b"stsz", b"stz2", b"trun", b"mvhd", b"mehd"):
            self._read(kind, self.read_at(start, min(stop - start, 96)))

    def _read(self, kind: bytes, data: bytes) -> None:
        if kind == b"trun" and len(data) >= 8:
            count = int.from_bytes(data[4:8], "big")
            self.layout.largest_run = max(self.layout.largest_run, count)
            self.listed += count
            return
        if kind == b"mvhd" and len(data) >= 24:
            self.ticks_per_second = int.from_bytes(data[20:24] if data[0] == 1 else data[12:16], "big")
            return
        if kind == b"mehd" and len(data) >= 8:
            if self.ticks_per_second:
                ticks = int.from_bytes(data[4:12] if data[0] == 1 else data[4:8], "big")
                self.layout.fragments_seconds = ticks / self.ticks_per_second
            return
        if not self.layout.tracks:
            return
        track = self.layout.tracks[-1]
        if kind == b"hdlr" and len(data) >= 12:
            # A media handler inside "mdia" comes first; others ("mhlr" of old mov data handlers) must not undo it.
            track.is_video = track.is_video or data[8:12] == b"vide"
        elif kind == b"elst" and len(data) >= 8:
            track.edits = max(track.edits, int.from_bytes(data[4:8], "big"))
        elif kind in (b"stsz", b"stz2") and len(data) >= 12:
            track.samples = max(track.samples, int.from_bytes(data[8:12], "big"))
        elif kind == b"tkhd" and data:
            self._read_track_header(track, data)

    def _read_track_header(self, track: Track, data: bytes) -> None:
        wide = data[0] == 1  # 64-bit times
        id_at, matrix_at = (20, 52) if wide else (12, 40)
        if len(data) < matrix_at + 36:
            return
        track.track_id = int.from_bytes(data[id_at : id_at + 4], "big")
        a, b, _, c, d = struct.unpack(">5i", data[matrix_at : matrix_at + 20])
        track.matrix = (a / 65536, b / 65536, c / 65536, d / 65536)
        self.layout.may_be_turned = True


def _end_of_index(data: bytes, anchor: int) -> int:
    """Where the last fragment ends that a segment index ("sidx") lists; ``anchor`` is the end of the index itself."""
    wide = data[:1] == b"\1"  # 64-bit times and offsets
    at = 28 if wide else 20  # of the reserved bytes before the count of entries
    if len(data) < at + 4:
        return 0
    first = int.from_bytes(data[20 if wide else 16 : at], "big")
    count = int.from_bytes(data[at + 2 : at + 4], "big")
    entries = data[at + 4 : at + 4 + 12 * count]
    sizes = (int.from_bytes(entries[i : i + 4], "big") & 0x7FFFFFFF for i in range(0, len(entries) - 11, 12))
    return anchor + first + sum(sizes)


def _scan_matroska(read_at: ReadAt, size: int) -> Layout:
    head = read_header(read_at)
    # A turned picture is described by a "projection", which needs a frame to be understood; most files have none.
    return Layout(
        "matroska",
        cut=not head.length_unknown and (head.segment_end is None or head.segment_end > size),
        has_header=head.has_tracks,
        may_be_turned=head.has_projection,
    )


def _scan_avi(read_at: ReadAt, size: int) -> Layout:
    head = read_at(0, 4096)
    length = int.from_bytes(head[4:8], "little")
    return Layout("avi", cut=8 + length > size, has_header=b"strh" in head)
