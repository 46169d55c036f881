"""What can be measured of a video without understanding it: its container and its geometry, as tables of numbers.

Paths and `VideoInfo` go in, a `FeatureTable` comes out; the shortcut probes (`probes`) learn from tables. What needs
pictures is in `pixels`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Final

import numpy as np
import numpy.typing as npt

from deeptrace.data.read.infos import info_seconds
from deeptrace.measures.blind import METADATA, metadata_row
from deeptrace.records import VideoInfo

Floats = npt.NDArray[np.float64]

_MAX_BOXES: Final = 64
_MAX_MOOV_BYTES: Final = 4 << 20
_MEDIA_HEAD_BYTES: Final = 64 << 10

# Byte patterns that encoders and tools leave behind. "x264" stands in a message in front of the first picture.
_MARKS: Final[Mapping[str, bytes]] = {
    "tool_tag": b"\xa9too",
    "lavf": b"Lavf",
    "x264": b"x264 - core",
    "google": b"Google",
    "handler_gpac": b"GPAC",
    "c2pa": b"c2pa",
}

RATE_FEATURES: Final = ("log_size", "log_bitrate", "bits_per_pixel")
"""Container features that follow from the content once all clips are encoded alike; see `container_table`."""


@dataclass(frozen=True)
class FeatureTable:
    """Features of N videos: ``values`` is ``(N, D)`` float64, NaN where not known; ``names`` names the D columns."""

    names: tuple[str, ...]
    values: Floats

    def without(self, names: Sequence[str]) -> FeatureTable:
        """The table without the named columns."""
        columns = [i for i, name in enumerate(self.names) if name not in names]
        return FeatureTable(tuple(self.names[i] for i in columns), self.values[:, columns])


@dataclass(frozen=True)
class FileFacts:
    """What a file tells of itself while no picture is decoded.

    ``brand`` is the mp4's major brand ("" for other containers), ``index_first`` whether its index stands before the
    pictures (None: not an mp4), ``marks`` which traces of tools were found (keys of a fixed list).
    """

    size_bytes: int
    info: VideoInfo
    brand: str = ""
    index_first: bool | None = None
    marks: frozenset[str] = frozenset()


def read_facts(path: str | os.PathLike[str]) -> FileFacts:
    """The facts of one file. Its header is read by `deeptrace.video.probe`; nothing is decoded.

    Raises:
        VideoError: the file cannot be opened, or is not a video that we read.
    """
    from deeptrace import video

    info = video.probe(path)
    size = os.stat(path).st_size
    with open(path, "rb") as file:
        brand, index_first, marks = _scan(file, size)
    return FileFacts(size, info, brand, index_first, marks)


def _scan(file: IO[bytes], size: int) -> tuple[str, bool | None, frozenset[str]]:
    """Brand, order of index and pictures, and marks, from the outermost boxes of an mp4."""
    head = file.read(16)
    if head[4:8] != b"ftyp":
        return "", None, _marks(head + file.read(_MEDIA_HEAD_BYTES))
    brand = head[8:12].decode("latin-1").strip()
    order: list[bytes] = []
    marks: frozenset[str] = frozenset()
    at = 0
    for _ in range(_MAX_BOXES):
        file.seek(at)
        box = file.read(16)
        if len(box) < 8:
            break
        length, kind = int.from_bytes(box[:4], "big"), box[4:8]
        if length == 1 and len(box) == 16:
            length = int.from_bytes(box[8:16], "big")
        elif length == 0:
            length = size - at
        if length < 8:
            break
        order.append(kind)
        if kind in (b"moov", b"mdat", b"udta", b"uuid", b"meta"):
            file.seek(at)
            marks |= _marks(file.read(min(length, _MEDIA_HEAD_BYTES if kind == b"mdat" else _MAX_MOOV_BYTES)))
        at += length
    if b"moov" not in order or b"mdat" not in order:
        return brand, None, marks
    return brand, order.index(b"moov") < order.index(b"mdat"), marks


def _marks(data: bytes) -> frozenset[str]:
    return frozenset(name for name, pattern in _MARKS.items() if pattern in data)


# ── tables ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def container_table(facts: Sequence[FileFacts | None]) -> FeatureTable:
    """Codec, audio, brand, order, marks of tools, size and rate; a row of NaN where there are no facts.

    ``log_size`` and ``log_bitrate`` are natural logarithms of bytes and of bits a second; ``bits_per_pixel`` is bits by
    pictures and pixels. These three (`RATE_FEATURES`) say something of the content even when every clip went through
    one encoder: a busy picture needs more bits.
    """
    codecs = _levels([fact.info.codec for fact in facts if fact is not None])
    brands = _levels([fact.brand for fact in facts if fact is not None])
    names = (
        "has_audio",
        "variable_frame_rate",
        "index_first",
        *(f"mark_{name}" for name in _MARKS),
        *(f"codec_{name}" for name in codecs),
        *(f"brand_{name}" for name in brands),
        *RATE_FEATURES,
    )
    rows = np.full((len(facts), len(names)), np.nan)
    for i, fact in enumerate(facts):
        if fact is None:
            continue
        rows[i] = [
            _truth(fact.info.has_audio),
            _truth(fact.info.variable_frame_rate),
            _truth(fact.index_first),
            *(float(name in fact.marks) for name in _MARKS),
            *(float(name == fact.info.codec) for name in codecs),
            *(float(name == fact.brand) for name in brands),
            *_rates(fact),
        ]
    return FeatureTable(names, rows)


def _levels(values: Sequence[str | None]) -> list[str]:
    return sorted({value for value in values if value})


def _truth(value: bool | None) -> float:
    return np.nan if value is None else float(value)


def _rates(fact: FileFacts) -> tuple[float, float, float]:
    seconds, frames = info_seconds(fact.info), fact.info.num_frames
    bits = 8.0 * max(fact.size_bytes, 1)
    rate = np.log(bits / seconds) if seconds else np.nan
    pixels = fact.info.width * fact.info.height * frames if frames else np.nan
    return float(np.log(max(fact.size_bytes, 1))), float(rate), float(bits / pixels)


GEOMETRY_NAMES: Final = METADATA


def geometry_table(infos: Sequence[VideoInfo | None]) -> FeatureTable:
    """What a viewer sees without looking at the picture: size in pixels, aspect, rate, length. NaN where not known."""
    return FeatureTable(
        GEOMETRY_NAMES, np.array([metadata_row(info) for info in infos], np.float64).reshape(-1, len(METADATA))
    )


def stack(rows: Sequence[Mapping[str, float] | None]) -> FeatureTable:
    """A table of rows that all have the same keys; a row of NaN for None."""
    names = next((tuple(row) for row in rows if row is not None), ())
    values = np.full((len(rows), len(names)), np.nan)
    for i, row in enumerate(rows):
        if row is not None:
            values[i] = [row[name] for name in names]
    return FeatureTable(names, values)
