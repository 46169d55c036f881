"""A look at the outer structure of a file before the media library opens it. Worker side; plain bytes, no av.

Finds what the library does not tell: whether the file was cut off, how large its tables are, how a picture is turned.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

import numpy as np

from deeptrace.video._ebml import read_header, void_large_remarks
from deeptrace.video._hiding import LARGE_BYTES
from deeptrace.video._nearby import ReadAt
from deeptrace.video._streams import WALKS

Matrix = tuple[float, float, float, float]
"""``(a, b, c, d)``: a pixel at (x, y) is shown at (a x + c y, b x + d y), up to a shift; y points down."""

_MAX_BOXES = 100_000
_MAX_DEPTH = 8
_MAX_INDEX_BYTES = 1 << 20
# Segments of 2 s in 11 hours. The library's time grows with the square of the number of entries: 15 s at 300,000.
_MAX_INDEX_ENTRIES = 20_000
_REMARKS = frozenset({b"udta", b"meta", b"uuid"})  # nothing of it is shown
_NESTED = frozenset({b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"moof", b"traf", b"mvex"})
_TOP_LEVEL = frozenset(
    {b"ftyp", b"moov", b"mdat", b"moof", b"mfra", b"free", b"skip", b"wide", b"sidx", b"styp", b"emsg", b"uuid",
     b"meta", b"udta", b"pnot", b"prft", b"ssix"}
)  # fmt: skip


@dataclass
class Track:
    """What an mp4 says of one track. ``offsets``: where in the file its composition offsets ("ctts") lie."""

    track_id: int = 0
    is_video: bool = False
    is_enabled: bool = True
    samples: int = 0
    edits: int = 0
    matrix: Matrix | None = None
    offsets: tuple[int, int] | None = None


@dataclass
class Layout:
    """The outer structure of a file.

    ``cut``: the structure ends after the end of the file. ``damaged``: its parts do not follow each other.
    ``header_cut``: the list of streams and pictures of an mp4 ends after the end of the file. ``has_header``: the
    tables that describe the streams are there. ``fragmented``: an mp4 whose pictures are listed in pieces along the
    file. ``listed``: samples of all tracks in all these lists, or the pictures of a GIF; None when the walk gave up
    before the end. ``fragments_seconds``: how long the longest track is with all its fragments, where an mp4 says so.
    ``pictures_seconds``: how long the pictures last, by the tags of an FLV. ``disabled``: streams, by their place in
    the file, that Matroska or AVI calls disabled. ``hidden``: what to show the media library instead of the bytes at
    some offsets (see `deeptrace.video._hiding`).
    """

    kind: str
    cut: bool = False
    damaged: bool = False
    header_cut: bool = False
    has_header: bool = False
    fragmented: bool = False
    may_be_turned: bool = False
    largest_run: int = 0
    listed: int | None = 0
    fragments_seconds: float | None = None
    pictures_seconds: float | None = None
    tracks: list[Track] = field(default_factory=list)
    disabled: frozenset[int] = frozenset()
    hidden: dict[int, bytes] = field(default_factory=dict)


def scan(kind: str, read_at: ReadAt, size: int) -> Layout:
    """The layout of a file of this kind (see `deeptrace.video._open.container_kind`)."""
    if kind in WALKS:
        walk = WALKS[kind](read_at, size)
        return Layout(
            kind,
            walk.cut,
            walk.damaged,
            has_header=walk.has_header,
            listed=walk.pictures,
            pictures_seconds=walk.seconds,
        )
    if kind == "mov":
        return _MovScan(read_at, size).run()
    if kind == "matroska":
        return _scan_matroska(read_at, size)
    assert kind == "avi", f"{kind} has no walk in WALKS"
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
        self.index_places: list[int] = []  # of the segment indexes: where their kinds stand in the file
        self.index_entries = 0
        self.index_seconds = 0.0  # the longest of them

    def run(self) -> Layout:
        self._walk(0, self.size, 0)
        layout = self.layout
        layout.listed = self.listed + sum(track.samples for track in layout.tracks) if self.boxes < _MAX_BOXES else None
        layout.cut |= self.index_end > self.size
        if self.index_entries > _MAX_INDEX_ENTRIES:
            layout.hidden |= dict.fromkeys(self.index_places, b"free")
            layout.fragments_seconds = max(layout.fragments_seconds or 0.0, self.index_seconds)
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
            self._read_index(start, stop)
        elif kind in _REMARKS and stop - start > LARGE_BYTES:
            layout.hidden[start - 4] = b"free"
        elif kind == b"ctts" and layout.tracks:
            layout.tracks[-1].offsets = (start, stop)
        elif kind in (b"tkhd", b"hdlr", b"elst", b"stsz", b"stz2", b"trun", b"mvhd", b"mehd"):
            self._read(kind, self.read_at(start, min(stop - start, 96)))

    def _read_index(self, start: int, stop: int) -> None:
        index = _read_segment_index(self.read_at(start, min(stop - start, _MAX_INDEX_BYTES)), stop)
        self.index_places.append(start - 4)
        if index is not None:
            self.index_end = max(self.index_end, index.end)
            self.index_entries += index.entries
            self.index_seconds = max(self.index_seconds, index.seconds)

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
        track.is_enabled = bool(data[3] & 1)
        track.track_id = int.from_bytes(data[id_at : id_at + 4], "big")
        a, b, _, c, d = struct.unpack(">5i", data[matrix_at : matrix_at + 20])
        track.matrix = (a / 65536, b / 65536, c / 65536, d / 65536)
        self.layout.may_be_turned = True


@dataclass(frozen=True)
class _SegmentIndex:
    """A "sidx" box: where the last fragment ends that it lists, how many it lists, and how long they are."""

    end: int
    entries: int
    seconds: float


def _read_segment_index(data: bytes, anchor: int) -> _SegmentIndex | None:
    """The segment index in a "sidx" box; ``anchor`` is the end of the box. None when it is cut off."""
    wide = data[:1] == b"\1"  # 64-bit times and offsets
    at = 28 if wide else 20  # of the reserved bytes before the count of entries
    if len(data) < at + 4:
        return None
    scale = int.from_bytes(data[8:12], "big")
    first = int.from_bytes(data[20 if wide else 16 : at], "big")
    count = min(int.from_bytes(data[at + 2 : at + 4], "big"), (len(data) - at - 4) // 12)
    entries = np.frombuffer(data, ">u4", 3 * count, at + 4).reshape(count, 3).astype(np.int64)
    size, ticks = int((entries[:, 0] & 0x7FFFFFFF).sum()), int(entries[:, 1].sum())
    return _SegmentIndex(anchor + first + size, count, ticks / scale if scale else 0.0)


def _scan_matroska(read_at: ReadAt, size: int) -> Layout:
    head = read_header(read_at)
    # A turned picture is described by a "projection", which needs a frame to be understood; most files have none.
    return Layout(
        "matroska",
        cut=not head.length_unknown and (head.segment_end is None or head.segment_end > size),
        has_header=head.has_tracks,
        may_be_turned=head.has_projection,
        disabled=head.disabled,
        hidden=void_large_remarks(read_at, size, head),
    )


_AVI_DISABLED = 1


def _scan_avi(read_at: ReadAt, size: int) -> Layout:
    head = read_at(0, 64 * 1024)
    length = int.from_bytes(head[4:8], "little")
    disabled, streams, at = set(), 0, head.find(b"strh")
    while 0 <= at < len(head) - 24:
        if head[at + 16] & _AVI_DISABLED:
            disabled.add(streams)
        streams, at = streams + 1, head.find(b"strh", at + 4)
    return Layout("avi", cut=8 + length > size, has_header=streams > 0, disabled=frozenset(disabled))
