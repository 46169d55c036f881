"""Parts of a file that cost the media library more than they weigh: it is not shown them."""

from __future__ import annotations

import os
import struct
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from deeptrace import video
from deeptrace.video._boxes import scan
from deeptrace.video._hiding import LARGE_BYTES
from deeptrace.video._streams import WALKS
from tests.video.fuzz import FRAGMENTS, NUM_FRAMES, clip
from tests.video.hostile import box

LARGE = LARGE_BYTES + 2**20


def segment_index(entries: int) -> bytes:
    """A "sidx" box that lists so many segments of no bytes and of a tick each."""
    head = struct.pack(">IIIIIHH", 0, 1, 1000, 0, 0, 0, entries)
    return box(b"sidx", head + struct.pack(">III", 0, 1, 0) * entries)


def cpu_seconds() -> float:
    """Processor time of the decoder processes so far, of this process's children."""
    return sum(sum(child.cpu_times()[:2]) for child in psutil.Process().children())


@pytest.mark.linux
def test_five_long_segment_indexes_cost_no_more_than_five_short_ones() -> None:
    data = clip(container_options=FRAGMENTS)
    at = data.index(b"moof") - 4
    video.probe(data)
    before = cpu_seconds()
    frames = video.sample_frames(data[:at] + segment_index(65_535) * 5 + data[at:], fps=2)
    assert cpu_seconds() - before < 1.5  # 15 s where the library is shown them
    assert len(frames) == 4


def test_the_length_in_a_long_segment_index_still_counts() -> None:
    """It is not shown to the library, but what it promises is compared with what is there."""
    data = clip(container_options=FRAGMENTS)
    at = data.index(b"moof") - 4
    promised = segment_index(65_535)  # 65 s, of a clip of 2 s
    reading = video.sample_frames(data[:at] + promised + data[at:], fps=2).reading
    assert reading is not None
    assert reading.partial


def with_attachment(data: bytes, path: Path, size: int) -> Path:
    """The Matroska file with an attachment of so many zeros (not on the disk) before its pictures."""
    data = void(data, b"\x11\x4d\x9b\x74")  # the list of places, which would be wrong now
    at = data.index(b"\x1f\x43\xb6\x75")
    body = data.index(b"\x18\x53\x80\x67") + 4
    assert data[body] == 1  # a length of eight bytes
    element = b"\x19\x41\xa4\x69\x01" + size.to_bytes(7, "big")
    length = int.from_bytes(data[body + 1 : body + 8], "big") + len(element) + size
    with path.open("wb") as file:
        file.write(data[: body + 1] + length.to_bytes(7, "big") + data[body + 8 : at] + element)
        # The file within: its name, type and data, so that it is an attachment as programs write them.
        name = b"\x46\x6e\x81a" + b"\x46\x60\x8aapplication"[:13] + b"\x46\xae\x81\x01"
        inner = len(name) + 2 + 8
        file.write(b"\x61\xa7\x01" + (size - 10).to_bytes(7, "big") + name)
        file.write(b"\x46\x5c\x01" + (size - 10 - inner).to_bytes(7, "big"))
        file.seek(len(data[: body + 1]) + 7 + len(data[body + 8 : at]) + len(element) + size)
        file.write(data[at:])
    return path


def is_hidden(kind: str, path: Path) -> bool:
    """Whether the library is not shown a part of the file: it would hold all of it in memory."""
    data = path.read_bytes()
    return bool(scan(kind, lambda at, count: data[at : at + count], len(data)).hidden)


def void(data: bytes, identifier: bytes) -> bytes:
    """The Matroska file with the element of this kind (a length of one byte) made void."""
    at = data.index(identifier)
    width = 9 - data[at + 4].bit_length()
    length = int.from_bytes(data[at + 4 : at + 4 + width], "big") & ((1 << 7 * width) - 1)
    head = b"\xec" + (length | 1 << 7 * (width + 3)).to_bytes(width + 3, "big")
    return data[:at] + head + data[at + 4 + width :]


@pytest.mark.parametrize("size", [4096, LARGE])
def test_a_matroska_file_with_an_attachment_is_read(tmp_path: Path, size: int) -> None:
    whole = clip(container="matroska")
    path = with_attachment(whole, tmp_path / "attached.mkv", size)
    frames = video.sample_frames(path, fps=12)
    np.testing.assert_array_equal(frames.images, video.sample_frames(whole, fps=12).images)
    assert frames.reading is not None
    assert len(frames) == NUM_FRAMES
    assert not frames.reading.partial
    assert is_hidden("matroska", path) == (size == LARGE)


def test_an_mp4_with_a_large_remark_is_read(tmp_path: Path) -> None:
    """A large cover picture within "udta"."""
    data = clip()
    at = data.index(b"moov") - 4
    moov = int.from_bytes(data[at : at + 4], "big")
    path = tmp_path / "cover.mp4"
    with path.open("wb") as file:
        file.write(data[:at] + struct.pack(">I4s", moov + LARGE, b"moov") + data[at + 8 : at + moov])
        file.write(struct.pack(">I4s", LARGE, b"udta") + struct.pack(">I4sI", LARGE - 8, b"meta", 0))
        file.truncate(at + moov + LARGE)
        file.seek(0, os.SEEK_END)
        file.write(data[at + moov :])
    assert len(video.sample_frames(path, fps=12)) == NUM_FRAMES
    assert is_hidden("mov", path)


@pytest.mark.parametrize("kind", [b"GIF89a", b"FLV\x01", b"OggS\0", b"G" * 200])
def test_a_long_run_of_the_smallest_parts_takes_time_in_proportion(kind: bytes) -> None:
    smallest = {
        b"GIF89a": (b"GIF89a" + bytes(7), b"!\xfe\0"),
        b"FLV\x01": (b"FLV\x01\x01\0\0\0\x09\0\0\0\0", b"\x12" + bytes(10) + b"\0\0\0\x0b"),
        b"OggS\0": (b"", b"OggS\0" + bytes(22)),
    }
    head, part = smallest.get(kind, (b"", b"G" + bytes(187)))
    name = {b"GIF89a": "gif", b"FLV\x01": "flv", b"OggS\0": "ogg"}.get(kind, "mpegts")
    data = head + part * (200_000 // len(part))
    start = time.process_time()
    WALKS[name](lambda at, count: data[at : at + count], len(data))
    assert time.process_time() - start < 2.0
