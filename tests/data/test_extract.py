"""Extraction from byte-split parts: hostile and broken archives, kill -9, space. Archives are made here."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import random
import shutil
import signal
import stat
import struct
import subprocess
import sys
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from deeptrace.data.hub.archive import Limits
from deeptrace.data.hub.extract import extract, extract_release
from deeptrace.data.hub.parts import ExtractError, PartReader, find_parts
from deeptrace.lock import folder_lock


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting for the disk proves nothing here and takes most of the time; processes that are killed do wait."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@dataclass
class Item:
    """One entry of a zip that zipfile would not write."""

    name: bytes | str
    data: bytes = b"video"
    method: int = 0
    mode: int = 0
    flags: int = 0x800
    size: int | None = None
    crc: int | None = None
    offset: int | None = None
    local_name: bytes | None = None
    packed: bytes | None = None


def make_zip(items: list[Item], *, comment: bytes = b"", count: int | None = None) -> bytes:
    """A zip with exactly these entries, however wrong."""
    out, listed = bytearray(), bytearray()
    for item in items:
        name = item.name if isinstance(item.name, bytes) else item.name.encode()
        packed = item.packed
        if packed is None:
            deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
            packed = item.data if item.method == 0 else deflate.compress(item.data) + deflate.flush()
        crc = zlib.crc32(item.data) if item.crc is None else item.crc
        size = len(item.data) if item.size is None else item.size
        offset = len(out) if item.offset is None else item.offset
        local = name if item.local_name is None else item.local_name
        if item.offset is None:
            fields = (20, item.flags, item.method, 0, 0, crc, len(packed), size, len(local), 0)
            out += b"PK\x03\x04" + struct.pack("<5H3L2H", *fields) + local + packed
        fields = (0x0314, 20, item.flags, item.method, 0, 0, crc, len(packed), size, len(name), 0, 0, 0, 0)
        listed += b"PK\x01\x02" + struct.pack("<6H3L5H2L", *fields, item.mode << 16, offset) + name
    n = len(items) if count is None else count
    end = struct.pack("<4H2LH", 0, 0, n, n, len(listed), len(out), len(comment))
    return bytes(out + listed) + b"PK\x05\x06" + end + comment


def videos(count: int, seed: int = 0, size: int = 20_000) -> dict[str, bytes]:
    rng = random.Random(seed)
    return {f"videos/clip{n:03d}.mp4": rng.randbytes(rng.randint(1, size)) for n in range(count)}


def pack(files: dict[str, bytes], *, method: int = zipfile.ZIP_STORED) -> bytes:
    import io

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def split(folder: Path, data: bytes, parts: int, name: str = "videos.zip") -> list[Path]:
    """Cut as `split -b` does: equal parts and a rest."""
    folder.mkdir(parents=True, exist_ok=True)
    size = -(-len(data) // parts)
    paths = []
    for number in range(parts):
        path = folder / f"{name}.{number + 1:03d}"
        path.write_bytes(data[number * size : (number + 1) * size])
        paths.append(path)
    return paths


def found(dest: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(dest)): p.read_bytes() for p in dest.rglob("*") if p.is_file() and p.name != ".deeptrace.lock"
    }


# ── what must work ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("parts", [1, 2, 3, 4, 9])
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_parts_give_the_files_and_stay_themselves(tmp_path: Path, parts: int, method: int) -> None:
    files = {**videos(20), "empty.mp4": b"", "text.json": b'{"a": 1}' * 3000, "ütf/日本.mp4": b"x"}
    paths = split(tmp_path / "in", pack(files, method=method), parts)
    before = [path.read_bytes() for path in paths]
    seen: list[tuple[int, int, str]] = []
    result = extract(paths[0], tmp_path / "out", progress=lambda *step: seen.append(step))
    assert found(tmp_path / "out") == files
    assert sorted(result.written) == sorted(files)
    assert (result.skipped, result.damaged) == ((), ())
    assert result.bytes_written == sum(map(len, files.values())) == seen[-1][0] == seen[-1][1]
    assert [path.read_bytes() for path in paths] == before
    again = extract(tmp_path / "in" / "videos.zip", tmp_path / "out")
    assert (again.written, sorted(again.skipped)) == ((), sorted(files))


def test_an_ordinary_zip_and_zipfiles_own_streaming_form(tmp_path: Path) -> None:
    files = videos(5)
    with open(tmp_path / "a.zip", "wb") as raw, zipfile.ZipFile(_Unseekable(raw), "w", zipfile.ZIP_DEFLATED) as archive:  # type: ignore[arg-type]
        archive.mkdir("videos")
        for name, data in files.items():
            archive.writestr(name, data)
    extract(tmp_path / "a.zip", tmp_path / "out")
    assert found(tmp_path / "out") == files


class _Unseekable:
    def __init__(self, file: Any) -> None:
        self.write, self.flush = file.write, file.flush


def test_64_bit_sizes_are_read(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive, archive.open("big.mp4", "w", force_zip64=True) as file:
        file.write(b"abc" * 1000)
    extract(tmp_path / "a.zip", tmp_path / "out")
    # The end record too, as in an archive of more than 4 GB.
    data = make_zip([Item("videos/a.mp4", b"A" * 50), Item("videos/b.mp4", b"B" * 70)])
    at = data.rindex(b"PK\x05\x06")
    _, _, n, _, size, place, _ = struct.unpack_from("<4H2LH", data, at + 4)
    record = b"PK\x06\x06" + struct.pack("<Q2H2L4Q", 44, 45, 45, 0, 0, n, n, size, place)
    locator = b"PK\x06\x07" + struct.pack("<LQL", 0, at, 1)
    end = b"PK\x05\x06" + struct.pack("<4H2LH", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    split(tmp_path / "long", data[:at] + record + locator + end, 3)
    extract(tmp_path / "long" / "videos.zip", tmp_path / "out")
    assert found(tmp_path / "out") == {
        "big.mp4": b"abc" * 1000, "videos/a.mp4": b"A" * 50, "videos/b.mp4": b"B" * 70,
    }  # fmt: skip


def test_the_release_with_and_without_its_top_folder(tmp_path: Path) -> None:
    nested = videos(3)
    flat = {name.split("/")[1]: data for name, data in videos(3, seed=5).items()}
    split(tmp_path, pack(nested), 4)
    (tmp_path / "real_videos.zip").write_bytes(pack(flat))
    results = extract_release(tmp_path, tmp_path / "data")
    assert set(results) == {"videos.zip", "real_videos.zip"}
    assert found(tmp_path / "data") | {"real_videos/.deeptrace.lock": b""} == {
        **nested, **{f"real_videos/{name}": data for name, data in flat.items()}, "real_videos/.deeptrace.lock": b"",
    }  # fmt: skip


def test_extra_space_stays_below_one_video(tmp_path: Path) -> None:
    files = videos(30, size=100_000)
    split(tmp_path / "in", pack(files), 4)
    out, peak = tmp_path / "out", [0]

    real = os.fsync

    def measure(descriptor: int) -> None:
        real(descriptor)
        there = sum(p.stat().st_size for p in out.rglob("*") if p.is_file())
        done = sum(len(files[n]) for n in files if (out / n).exists())
        peak[0] = max(peak[0], there - done)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", measure)
        extract(tmp_path / "in" / "videos.zip", out)
    assert 0 < peak[0] <= max(map(len, files.values()))


def test_a_wrong_file_in_the_way_is_replaced_and_others_are_left(tmp_path: Path) -> None:
    files = videos(6)
    split(tmp_path / "in", pack(files), 2)
    out = tmp_path / "out"
    extract(tmp_path / "in" / "videos.zip", out)
    names = list(files)
    (out / names[0]).write_bytes(bytes(len(files[names[0]])))  # right length, wrong bytes
    (out / names[1]).write_bytes(b"short")
    (out / names[2]).unlink()
    (out / "mine.txt").write_text("mine")
    result = extract(tmp_path / "in" / "videos.zip", out)
    assert sorted(result.written) == names[:3]
    assert found(out) == {**files, "mine.txt": b"mine"}


# ── hostile archives ──────────────────────────────────────────────────────────────────────────────────────────────────

GOOD = Item("videos/good.mp4")
DEEP = "a/" * 600 + "b.mp4"

HOSTILE_NAMES: list[bytes | str] = [
    "../evil.mp4", "../../evil.mp4", "videos/../../evil.mp4", "videos/..", "..", ".", "./evil.mp4", "videos/./evil.mp4",
    "/abs.mp4", "//host/share.mp4", "/", "C:/evil.mp4", "C:evil.mp4", "c:\\evil.mp4", "videos/C:evil.mp4",
    "..\\evil.mp4", "videos\\evil.mp4", "\\\\host\\share.mp4", "videos/..\\..\\evil.mp4", "a.mp4:stream",
    "nul\0.mp4", "evil.mp4\0.txt", b"\0", "", "a//b.mp4", "videos//", "line\nbreak.mp4", "esc\x1b[31m.mp4", "tab\t.mp4",
    "x" * 256 + ".mp4", "videos/" + "é" * 128 + ".mp4", DEEP,
    ".deeptrace.lock", ".deeptrace-extract.tmp", ".DeepTrace-partial/x", "videos/.deeptrace.lock",
    "deeptrace-download.json", "videos.zip", "videos.zip.001", "Videos.ZIP.002/a.mp4", "real_videos.zip.001",
    "COM¹", "lpt².mp4", "videos/com³.txt", "CONIN$", "conout$.mp4", "con .mp4", "LPT0",
    "videos/\u202e4pm.a", "videos/\u2066a.mp4", "\u200fa.mp4", "\u061ca.mp4",
    "dot.", "space ", "videos./a.mp4", "videos /a.mp4", "videos/a.mp4.", "videos/a.mp4 ", "CON", "con.mp4",
    "videos/NUL", "lpt1.mp4", "COM9", "aux/a.mp4", b"caf\xe9.mp4", b"\xff\xfe.mp4", b"\xed\xa0\x80.mp4",
]  # fmt: skip
COLLISIONS: list[tuple[str, str]] = [
    ("videos/a.mp4", "videos/a.mp4"),
    ("videos/a.mp4", "videos/A.mp4"),
    ("videos/a.mp4", "Videos/b.mp4"),
    ("videos/stra\u00dfe.mp4", "videos/STRASSE.mp4"),
    ("videos/caf\u00e9.mp4", "videos/cafe\u0301.mp4"),
    ("videos/\u00c5.mp4", "videos/\u212b.mp4"),
    ("videos/\u1e9b\u0323.mp4", "videos/\u017f\u0323\u0307.mp4"),
    ("videos", "videos/a.mp4"),
    ("videos/a.mp4/b", "videos/a.mp4"),
]
SPECIAL: list[Item] = [
    Item("link", b"../../etc/passwd", mode=stat.S_IFLNK | 0o777),
    Item("videos/link.mp4", b"/etc/passwd", mode=stat.S_IFLNK),
    Item("dev", b"", mode=stat.S_IFCHR | 0o666),
    Item("blk", b"", mode=stat.S_IFBLK),
    Item("fifo", b"", mode=stat.S_IFIFO),
    Item("sock", b"", mode=stat.S_IFSOCK),
    Item("odd", b"", mode=0xF000),
    Item("folder", b"", mode=stat.S_IFDIR),
    Item("folder/", b"bytes"),
]
UNSUPPORTED: list[Item] = [
    Item("locked.mp4", flags=0x801),
    Item("strong.mp4", flags=0x841),
    Item("masked.mp4", flags=0x2800),
    Item("deflate64.mp4", method=9),
    Item("bzip2.mp4", method=12),
    Item("lzma.mp4", method=14),
    Item("zstd.mp4", method=93),
]

TABLE: list[tuple[str, bytes, str]] = [
    *((f"name {n!r:.40}", make_zip([GOOD, Item(n)]), "HOSTILE_NAME") for n in HOSTILE_NAMES),
    *((f"first {n!r:.40}", make_zip([Item(n), GOOD]), "HOSTILE_NAME") for n in HOSTILE_NAMES[:3]),
    *((f"{a} and {b}", make_zip([Item(a), Item(b)]), "HOSTILE_NAME") for a, b in COLLISIONS),
    *((f"special {i.name!r}", make_zip([GOOD, i]), "SPECIAL_FILE") for i in SPECIAL),
    *((f"unsupported {i.name!r}", make_zip([GOOD, i]), "UNSUPPORTED") for i in UNSUPPORTED),
    ("under a link", make_zip([Item("v", b"/tmp", mode=stat.S_IFLNK), Item("v/a.mp4")]), "SPECIAL_FILE"),
]


def refused(tmp_path: Path, data: bytes, code: str, *, parts: int = 2, limits: Limits | None = None) -> str:
    paths = split(tmp_path / "in", data, parts)
    with pytest.raises(ExtractError) as caught:
        extract(paths[0], tmp_path / "in" / "out", limits=limits)
    assert caught.value.code == code, str(caught.value)
    assert str(tmp_path) not in str(caught.value)
    assert not (tmp_path / "in" / "out").exists()
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == sorted(p.name for p in paths)
    return str(caught.value)


@pytest.mark.parametrize(("data", "code"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_one_hostile_entry_refuses_the_whole_archive(tmp_path: Path, data: bytes, code: str) -> None:
    assert len(TABLE) >= 60
    refused(tmp_path, data, code)


def test_tar_archives_and_other_files_are_no_zip(tmp_path: Path) -> None:
    for number, mode in enumerate(["w", "w:gz", "w:bz2", "w:xz"]):
        path = tmp_path / f"{number}.zip"
        with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
            archive.add(__file__, "../evil.py")
        with pytest.raises(ExtractError) as caught:
            extract(path, tmp_path / "out")
        assert caught.value.code == "NOT_A_ZIP"
    for data in (b"", b"P", b"PK\x03\x04", b"not a zip" * 100, bytes(70_000), b"MZ" + make_zip([GOOD])):
        (tmp_path / "x.zip").write_bytes(data)
        with pytest.raises(ExtractError):
            extract(tmp_path / "x.zip", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def _overlapping() -> bytes:
    """Many entries that all point at one block of bytes."""
    first = Item("a.bin", b"\0" * 900_000, method=8)
    rest = [Item(f"{n}.bin", first.data, method=8, offset=0, local_name=b"a.bin") for n in range(40)]
    return make_zip([first, *rest])


def _quoted() -> bytes:
    """Entries whose bytes hold the next entry's header (the 42-kB style)."""
    inner = make_zip([Item("b.mp4", b"B" * 100)])
    inner_local = inner[: inner.index(b"PK\x01\x02")]
    outer = Item("a.mp4", b"A" * 10 + inner_local)
    at = 30 + len(b"a.mp4") + 10
    return make_zip([outer, Item("b.mp4", b"B" * 100, offset=at)])


BOMBS: list[tuple[str, Callable[[], bytes], Limits]] = [
    ("ratio 1028", lambda: make_zip([GOOD, Item("bomb.mp4", bytes(50_000_000), method=8)]), Limits()),
    ("says 1 GB", lambda: make_zip([Item("a.mp4", b"x" * 1000, method=8, size=2**30)]), Limits()),
    ("total", lambda: make_zip([Item(f"{n}.mp4", b"x" * 1000) for n in range(20)]), Limits(max_total_bytes=15_000)),
    ("stored, lying", lambda: make_zip([Item("a.mp4", b"x" * 10, size=1000)]), Limits()),
    ("overlapping", _overlapping, Limits()),
    ("quoted", _quoted, Limits()),
    ("two names, one place", lambda: make_zip([GOOD, Item("b.mp4", GOOD.data, offset=0)]), Limits()),
    ("too many", lambda: make_zip([Item(f"{n}", b"") for n in range(2000)]), Limits(max_entries=1000)),
    ("too many, uncounted", lambda: make_zip([Item(f"{n}", b"") for n in range(2000)], count=7), Limits(max_entries=9)),
]


@pytest.mark.parametrize(("make", "limits"), [b[1:] for b in BOMBS], ids=[b[0] for b in BOMBS])
def test_bombs_are_refused_before_anything_is_written(
    tmp_path: Path, make: Callable[[], bytes], limits: Limits
) -> None:
    data = make()
    started = time.process_time()
    refused(tmp_path, data, "BOMB", parts=1, limits=limits)
    assert time.process_time() - started < 5.0


def test_a_million_empty_entries(tmp_path: Path) -> None:
    one = bytearray(make_zip([Item("0000000", b"")]))
    entry = one[one.index(b"PK\x01\x02") : one.index(b"PK\x05\x06")]
    local = one[: one.index(b"PK\x01\x02")]
    listed = bytes(entry) * 1_000_000
    end = b"PK\x05\x06" + struct.pack("<4H2LH", 0, 0, 0xFFFF, 0xFFFF, len(listed), len(local), 0)
    (tmp_path / "a.zip").write_bytes(bytes(local) + listed + end)
    started = time.process_time()
    with pytest.raises(ExtractError) as caught:
        extract(tmp_path / "a.zip", tmp_path / "out")
    assert caught.value.code == "BOMB"
    assert time.process_time() - started < 5.0


def test_an_entry_that_unpacks_to_more_than_it_says_is_stopped(tmp_path: Path) -> None:
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = deflate.compress(bytes(50_000_000)) + deflate.flush()
    lying = Item("lying.mp4", b"x" * 500_000, method=8, packed=packed)
    nested = Item("nested.zip", make_zip([Item("../evil.mp4")]))
    (tmp_path / "a.zip").write_bytes(make_zip([GOOD, lying, nested]))
    result = extract(tmp_path / "a.zip", tmp_path / "out")
    assert [(d.name, d.part) for d in result.damaged] == [("lying.mp4", "a.zip")]
    assert "more than the 500,000 bytes declared" in result.damaged[0].reason
    assert set(found(tmp_path / "out")) == {"videos/good.mp4", "nested.zip"}


def test_a_link_in_the_destination_that_leads_out_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(make_zip([GOOD]))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "videos").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ExtractError, match="leads out"):
        extract(tmp_path / "a.zip", tmp_path / "out")
    assert list((tmp_path / "elsewhere").iterdir()) == []


# ── broken parts ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def four(tmp_path: Path) -> tuple[list[Path], dict[str, bytes]]:
    files = videos(40, seed=3)
    return split(tmp_path / "in", pack(files), 4), files


@pytest.mark.parametrize("part", [0, 1, 2, 3])
def test_a_missing_part_is_named(tmp_path: Path, four: Any, part: int) -> None:
    paths, _ = four
    paths[part].unlink()
    with pytest.raises(ExtractError) as caught:
        extract(tmp_path / "in" / "videos.zip", tmp_path / "out")
    if part < 3:
        assert caught.value.code == "PART_MISSING"
        assert f"videos.zip.00{part + 1}" in str(caught.value)
    else:
        assert caught.value.code == "PART_TRUNCATED"
        assert "videos.zip.003" in str(caught.value)
        assert "parts after it lack" in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("part", [0, 1, 2, 3])
@pytest.mark.parametrize("cut", [1, 1000, 10**9])
def test_a_truncated_part_is_named(tmp_path: Path, four: Any, part: int, cut: int) -> None:
    paths, _ = four
    paths[part].write_bytes(paths[part].read_bytes()[: -min(cut, paths[part].stat().st_size)])
    with pytest.raises(ExtractError) as caught:
        extract(paths[0], tmp_path / "out")
    assert caught.value.code == "PART_TRUNCATED"
    assert paths[part].name in str(caught.value)


@pytest.mark.parametrize("cut", [1, 1000, 30_000])
def test_the_first_of_two_parts_is_cut_and_still_the_longer(tmp_path: Path, cut: int) -> None:
    data = pack(videos(40, seed=3))
    (tmp_path / "v.zip.001").write_bytes(data[: len(data) * 3 // 4][:-cut])
    (tmp_path / "v.zip.002").write_bytes(data[len(data) * 3 // 4 :])
    with pytest.raises(ExtractError) as caught:
        extract(tmp_path / "v.zip", tmp_path / "out")
    assert caught.value.code == "PART_TRUNCATED"
    assert f"{cut:,} bytes lack in or after v.zip.001" in str(caught.value)


@pytest.mark.parametrize(("a", "b"), [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)])
def test_swapped_parts_are_named(tmp_path: Path, four: Any, a: int, b: int) -> None:
    paths, _ = four
    first, second = paths[a].read_bytes(), paths[b].read_bytes()
    paths[a].write_bytes(second)
    paths[b].write_bytes(first)
    with pytest.raises(ExtractError) as caught:
        extract(paths[0], tmp_path / "out")
    assert caught.value.code == "PARTS_SWAPPED"
    assert paths[a].name in str(caught.value) or paths[b].name in str(caught.value)


@pytest.mark.parametrize("seed", range(12))
def test_a_flipped_bit_costs_one_entry_and_the_others_stay(tmp_path: Path, four: Any, seed: int) -> None:
    paths, files = four
    rng = random.Random(seed)
    part = rng.randrange(3)
    data = bytearray(paths[part].read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    paths[part].write_bytes(data)
    result = extract(paths[0], tmp_path / "out")
    assert len(result.damaged) <= 1  # a flip in a field that nobody reads costs nothing
    names = {damage.name for damage in result.damaged}
    assert found(tmp_path / "out") == {name: data for name, data in files.items() if name not in names}


def test_zip_s_parts_are_told_apart(tmp_path: Path) -> None:
    data = make_zip([GOOD])
    (tmp_path / "v.z01").write_bytes(b"PK\x07\x08" + data)
    (tmp_path / "v.zip").write_bytes(data)
    for name in ("v.zip", "v.z01"):
        with pytest.raises(ExtractError, match=r"zip -s 0 v\.zip") as caught:
            extract(tmp_path / name, tmp_path / "out")
        assert caught.value.code == "SPLIT_ZIP"
    split(tmp_path / "b", b"PK\x07\x08" + data, 2)
    disk = bytearray(data)
    disk[data.rindex(b"PK\x05\x06") + 4] = 3
    split(tmp_path / "c", bytes(disk), 2)
    for folder in ("b", "c"):
        with pytest.raises(ExtractError) as caught:
            extract(tmp_path / folder / "videos.zip", tmp_path / "out")
        assert caught.value.code == "SPLIT_ZIP"


@pytest.mark.skipif(shutil.which("zip") is None, reason="needs the zip program")
def test_what_zip_s_really_makes(tmp_path: Path) -> None:
    for name, data in videos(4, size=200_000).items():
        (tmp_path / Path(name).name).write_bytes(data)
    names = [p.name for p in tmp_path.iterdir()]
    subprocess.run(["zip", "-q", "-s", "64k", "v.zip", *names], cwd=tmp_path, check=True)
    with pytest.raises(ExtractError) as caught:
        extract(tmp_path / "v.zip", tmp_path / "out")
    assert caught.value.code == "SPLIT_ZIP"


def test_a_renumbered_or_doubled_part(tmp_path: Path, four: Any) -> None:
    paths, _ = four
    (tmp_path / "in" / "videos.zip.01").write_bytes(b"again")
    with pytest.raises(ExtractError, match="both"):
        find_parts(tmp_path / "in" / "videos.zip")
    (tmp_path / "in" / "videos.zip.01").unlink()
    paths[1].unlink()
    paths[2].rename(paths[1])
    paths[3].rename(paths[2])
    with pytest.raises(ExtractError) as caught:
        extract(paths[0], tmp_path / "out")
    assert caught.value.code == "PART_TRUNCATED"
    with pytest.raises(ExtractError) as caught:
        extract(tmp_path / "nothing.zip", tmp_path / "out")
    assert caught.value.code == "NOT_FOUND"


def test_random_damage_never_ends_in_anything_else(tmp_path: Path) -> None:
    files = videos(6, size=300)
    good = pack(files, method=zipfile.ZIP_DEFLATED)
    rng = random.Random(0)
    for number in range(60):
        data = bytearray(good)
        for _ in range(rng.randint(1, 6)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        if rng.random() < 0.3:
            del data[rng.randrange(len(data)) :]
        (tmp_path / "a.zip").write_bytes(data)
        out = tmp_path / f"out{number}"
        try:
            extract(tmp_path / "a.zip", out)
        except ExtractError:
            continue
        for name, content in found(out).items():
            # Whatever got a name has the bytes that its CRC vouches for.
            assert content in files.values() or name not in files


def test_bytes_are_read_across_parts(tmp_path: Path) -> None:
    data = random.Random(1).randbytes(1000)
    reader = PartReader(split(tmp_path, data, 7))
    for start in range(0, 1000, 13):
        for count in (1, 50, 400, 5000):
            assert reader.read_at(start, count) == data[start : start + count]
    assert reader.read_at(1000, 5) == b""
    reader.close()


# ── interruption, disk full, failing calls ────────────────────────────────────────────────────────────────────────────

RUN = "import sys; from deeptrace.data.hub.extract import extract; extract(sys.argv[1], sys.argv[2])"


@pytest.mark.linux
@pytest.mark.parametrize("seed", range(3))
def test_kill_9_then_resume(tmp_path: Path, seed: int) -> None:
    files = videos(50, seed=seed, size=60_000)
    paths = split(tmp_path / "in", pack(files), 4)
    out, rng = tmp_path / "out", random.Random(seed)
    for _ in range(2):
        process = subprocess.Popen([sys.executable, "-c", RUN, str(paths[0]), str(out)])
        while not (out / ".deeptrace.lock").exists() and process.poll() is None:
            time.sleep(0.002)
        time.sleep(rng.random() * 0.08)
        process.send_signal(signal.SIGKILL)
        process.wait()
        for name, content in found(out).items():
            assert name == ".deeptrace-extract.tmp" or content == files[name]
    result = extract(paths[0], out)
    assert found(out) == files
    assert len(result.written) + len(result.skipped) == len(files)


def test_two_at_once_do_the_work_once(tmp_path: Path) -> None:
    files = videos(60)
    paths = split(tmp_path / "in", pack(files), 3)
    processes = [subprocess.Popen([sys.executable, "-c", RUN, str(paths[0]), str(tmp_path / "out")]) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert found(tmp_path / "out") == files
    with folder_lock(tmp_path / "out"), pytest.raises(ExtractError) as caught:
        extract(paths[0], tmp_path / "out", wait_seconds=0.1)
    assert caught.value.code == "BUSY"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte, where the system lets us have one."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], capture_output=True)
    if mount.returncode:
        pytest.skip("a tmpfs cannot be mounted here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.linux
def test_a_full_disk_says_what_is_needed_and_the_run_goes_on_later(
    tmp_path: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = videos(30, size=60_000)
    total = sum(map(len, files.values()))
    paths = split(tmp_path / "in", pack(files), 4)
    filler = small_disk / "filler"
    filler.write_bytes(bytes(600_000))
    with pytest.raises(ExtractError) as caught:
        extract(paths[0], small_disk / "out")
    assert caught.value.code == "DISK_FULL"
    assert f"{total:,} more bytes are needed" in str(caught.value)
    assert found(small_disk / "out") == {}
    # The same where the room goes while we write.
    usage = shutil.disk_usage(small_disk)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=10**12))
    with pytest.raises(ExtractError) as caught:
        extract(paths[0], small_disk / "out")
    assert caught.value.code == "DISK_FULL"
    monkeypatch.undo()
    done = found(small_disk / "out")
    assert done
    assert all(files[name] == data for name, data in done.items())
    filler.unlink()
    if total < 1_000_000:
        result = extract(paths[0], small_disk / "out")
        assert len(result.skipped) == len(done)
        assert found(small_disk / "out") == files


@pytest.mark.linux
def test_a_file_size_limit_is_reported_like_a_full_disk(tmp_path: Path) -> None:
    files = {"small.mp4": b"x" * 1000, "videos/large.mp4": b"y" * 200_000}
    (tmp_path / "a.zip").write_bytes(pack(files))
    code = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "from deeptrace.data.hub.extract import extract\n"
        "from deeptrace.data.hub.parts import ExtractError\n"
        "try:\n    extract(sys.argv[1], sys.argv[2])\n"
        "except ExtractError as error:\n    print(error.code, error)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "a.zip"), str(tmp_path / "out")]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert run.stdout.startswith("DISK_FULL writing 'videos/large.mp4': 200,000 more bytes are needed")
    assert found(tmp_path / "out") == {"small.mp4": b"x" * 1000}


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENOMEM])
@pytest.mark.parametrize("call", ["fsync", "replace", "open", "unlink", "mkdir"])
def test_any_call_may_fail_at_any_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int) -> None:
    files = videos(4, size=100)
    (tmp_path / "a.zip").write_bytes(pack(files))
    real = getattr(os, call)
    for k in range(0, 10, 3):
        out, calls = tmp_path / f"out{k}", [0]

        def failing(*args: Any, calls: list[int] = calls, k: int = k, **options: Any) -> Any:
            calls[0] += 1
            if calls[0] == k + 1:
                raise OSError(code, os.strerror(code))
            return real(*args, **options)

        monkeypatch.setattr(os, call, failing)
        try:
            extract(tmp_path / "a.zip", out)
        except ExtractError as error:
            assert error.code in ("DISK_FULL", "WRITE_FAILED")  # noqa: PT017
        finally:
            monkeypatch.undo()
        assert all(files.get(name) == data for name, data in found(out).items() if not name.startswith("."))
        extract(tmp_path / "a.zip", out)
        assert found(out) == files


def test_the_digest_of_a_large_file_is_right(tmp_path: Path) -> None:
    data = random.Random(9).randbytes(1 << 20) * 5 + bytes(3_000_001)
    split(tmp_path / "in", pack({"large.mp4": data}, method=zipfile.ZIP_DEFLATED), 3)
    extract(tmp_path / "in" / "videos.zip", tmp_path / "out")
    digest = hashlib.sha256((tmp_path / "out" / "large.mp4").read_bytes()).hexdigest()
    assert digest == hashlib.sha256(data).hexdigest()


# ── archives that are no zips ───────────────────────────────────────────────────────────────────────────────────────


def tar_of(*members: tuple[str, bytes], packed: str = "") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=f"w:{packed}") as archive:  # type: ignore[call-overload]
        for name, kind in members:
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, "/etc/passwd"
            archive.addfile(entry, io.BytesIO(b""))
    return buffer.getvalue()


EVIL = (
    ("../evil.mp4", tarfile.REGTYPE), ("/abs.mp4", tarfile.REGTYPE), ("link.mp4", tarfile.SYMTYPE),
    ("hard.mp4", tarfile.LNKTYPE), ("dev", tarfile.CHRTYPE), ("fifo", tarfile.FIFOTYPE),
)  # fmt: skip


@pytest.mark.parametrize("packed", ["", "gz", "bz2", "xz"])
@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("zip_behind", [False, True])
def test_a_tar_is_refused_whatever_it_holds(tmp_path: Path, packed: str, parts: int, zip_behind: bool) -> None:
    data = tar_of(*EVIL, packed=packed) + (pack(videos(2)) if zip_behind else b"")
    split(tmp_path / "in", data, parts)
    with pytest.raises(ExtractError) as caught:
        extract(tmp_path / "in" / "videos.zip", tmp_path / "out")
    assert caught.value.code == "NOT_A_ZIP"
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "evil.mp4").exists()


@pytest.mark.parametrize(
    ("names", "code"),
    [
        (["videos.zip.000", "videos.zip.001"], "PART_MISSING"),
        (["videos.zip.001", "videos.zip.003"], "PART_MISSING"),
        (["videos.zip.001", "videos.zip.99999"], "PART_MISSING"),
        (["videos.zip.01", "videos.zip.001"], "PART_MISSING"),
        (["videos.zip.tar.001", "videos.zip.tar.002"], "NOT_FOUND"),
        (["videos.zip.1", "videos.zip.2"], "NOT_FOUND"),
        (["videos.zip.001.exe"], "NOT_FOUND"),
        (["videos.zip.-01"], "NOT_FOUND"),
        (["videos.zip.٠٠١"], "NOT_FOUND"),
    ],
)
def test_numbers_of_parts_that_make_no_sense(tmp_path: Path, names: list[str], code: str) -> None:
    for name in names:
        (tmp_path / name).write_bytes(b"x" * 100)
    with pytest.raises(ExtractError) as caught:
        extract(tmp_path / "videos.zip", tmp_path / "out")
    assert caught.value.code == code
    assert len(str(caught.value)) < 300
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(os.name == "nt", reason="no FIFOs there")
def test_parts_that_are_no_files_are_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "videos.zip.001")
    (tmp_path / "videos.zip.002").mkdir()
    with pytest.raises(ExtractError) as caught:
        extract(tmp_path / "videos.zip", tmp_path / "out")
    assert caught.value.code == "NOT_FOUND"
