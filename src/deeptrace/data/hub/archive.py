"""A zip in byte-split parts (``videos.zip.001`` ...), read as one file: its parts, and its list of contents, checked.

Parts in, `Contents` out; nothing is written. An archive with one hostile name, link, bomb or overlap is refused as a
whole. `deeptrace.data.hub.extract` writes the files.
"""

from __future__ import annotations

import re
import stat
import struct
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

from deeptrace.data.hub.parts import ExtractError, PartReader, find_end, has_end, split_advice


@dataclass(frozen=True)
class Limits:
    """What an archive may hold: entries, bytes in total when unpacked, and unpacked / packed bytes of one entry."""

    max_entries: int = 100_000
    max_total_bytes: int = 64 * 1024**3
    max_ratio: float = 200.0


@dataclass(frozen=True)
class ArchiveEntry:
    """One entry of the list of contents; ``offset`` is where its own header lies, counted over all parts."""

    name: str
    size: int
    packed: int
    crc: int
    offset: int
    method: int
    is_folder: bool


@dataclass(frozen=True)
class Damage:
    """An entry that cannot be extracted, while others can."""

    name: str
    part: str
    reason: str


@dataclass(frozen=True)
class Contents:
    """A checked list. ``data_at`` says where each entry's packed bytes begin; an entry in ``damaged`` has none."""

    entries: tuple[ArchiveEntry, ...]
    data_at: dict[str, int]
    damaged: tuple[Damage, ...]
    total_bytes: int


_SMALL: Final = 1024 * 1024  # below it a ratio says nothing
_MAX_LIST_BYTES: Final = 64 * 1024 * 1024
# "Naming Files, Paths, and Namespaces" (Microsoft): superscript digits count as digits; a blank before the dot is cut.
_RESERVED: Final = re.compile(r"(?i)^(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³]) *(\.|$)")
_ARCHIVE: Final = re.compile(r"(?i)^(real_)?videos\.zip(\.\d+)?$")
_OURS: Final = re.compile(r"(?i)^(\.deeptrace|deeptrace-download\.json$)")
# Characters that turn the order of what is shown: "gpj.4pm" reads as "mp4.jpg" (Trojan Source, CVE-2021-42574).
_TURNING: Final = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


# ── names ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def name_problem(name: str) -> str | None:
    """Why a relative name with forward slashes cannot be used on every system, or None where it can."""
    if not name:
        return "is empty"
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in name):
        return "holds a control character"
    if _TURNING & set(name):
        return "holds a character that turns the order of letters"
    if "\\" in name:
        return "holds a backslash"
    if name.startswith("/"):
        return "is absolute"
    if len(name.encode()) > 1024:
        return "is longer than 1024 bytes"
    for piece in name.split("/"):
        if piece in ("", ".", ".."):
            return f"holds {piece!r} as a folder" if piece else "holds an empty folder name"
        if len(piece.encode()) > 255:
            return "holds a piece of more than 255 bytes"
        if re.match(r"[A-Za-z]:", piece) or ":" in piece:
            return "holds a drive letter or a stream name"
        if piece[-1] in ". ":
            return "holds a piece that ends in a dot or a space"
        if _RESERVED.match(piece):
            return "holds a reserved device name"
        if _OURS.match(unicodedata.normalize("NFKC", piece)):
            return "is called like one of our own files"
    return None


def _fold(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def name_collision(names: Sequence[str], folders: Sequence[bool]) -> str | None:
    """The first of ``names`` that would fall on another one: twice, by case, by Unicode form, or file on folder."""
    spelled: dict[str, str] = {}
    files: set[str] = set()
    parents: set[str] = set()
    names_so_far: set[str] = set()
    for name, is_folder in zip(names, folders, strict=True):
        pieces = name.split("/")
        for depth in range(1, len(pieces) + 1):
            path = "/".join(pieces[:depth])
            if spelled.setdefault(_fold(path), path) != path:
                return name
            if depth < len(pieces) or is_folder:
                parents.add(path)
        if name in names_so_far:
            return name
        names_so_far.add(name)
        if not is_folder:
            files.add(name)
    return min(files & parents, default=None)


# ── the list of contents ────────────────────────────────────────────────────────────────────────────────────────────


def read_contents(reader: PartReader, limits: Limits) -> Contents:
    """The archive's list of contents, when every entry of it may be written, beside the archive too.

    Raises:
        ExtractError: the archive is refused as a whole; the message names the part or the entry.
    """
    count, list_size, list_at, ends_at = _end_record(reader)
    if count > limits.max_entries or list_size > _MAX_LIST_BYTES:
        raise ExtractError("BOMB", f"{count:,} entries are listed, at most {limits.max_entries:,} are allowed")
    data = reader.read_at(ends_at - list_size, list_size)
    entries = tuple(_entries(data, limits))
    if len(entries) != count:
        raise ExtractError("BAD_LIST", f"the list holds {len(entries):,} entries and says {count:,}")
    if list_at + list_size != ends_at:
        _say_where_bytes_lack(reader, entries, list_at + list_size - ends_at)
    _check_entries(entries, limits)
    _check_own_parts(reader, entries)
    data_at, damaged = _check_headers(reader, entries, list_at)
    return Contents(entries, data_at, damaged, sum(entry.size for entry in entries))


def _end_record(reader: PartReader) -> tuple[int, int, int, int]:
    """Number of entries, length and place of the list as it is written, and where the list really ends."""
    start = reader.read_at(0, 4)
    tail = reader.read_at(max(reader.length - 65557, 0), 65557)
    if start == b"PK\x07\x08":
        raise ExtractError("SPLIT_ZIP", split_advice(reader.parts[-1].name))
    if start not in (b"PK\x03\x04", b"PK\x05\x06"):
        others = [part.name for part in reader.parts[1:] if _starts_like_zip(part)]
        if others:
            raise ExtractError("PARTS_SWAPPED", f"{others[0]} holds the archive's beginning, not the first part")
        raise ExtractError("NOT_A_ZIP", f"{reader.parts[0].name} does not begin like a zip archive")
    at = find_end(tail)
    if at is None:
        last = reader.parts[-1].name
        swapped = [part.name for part in reader.parts[:-1] if has_end(part)]
        if swapped:
            raise ExtractError("PARTS_SWAPPED", f"{swapped[0]} holds the archive's end, not {last}")
        raise ExtractError("PART_TRUNCATED", f"the archive's end is not in {last}: it is cut, or parts after it lack")
    disk, list_disk, here, count, size, place = struct.unpack_from("<4H2L", tail, at + 4)
    ends_at = reader.length - len(tail) + at
    locator = tail[at - 20 : at] if at >= 20 else b""
    if locator[:4] == b"PK\x06\x07":
        record = reader.read_at(ends_at - 76, 56)
        if record[:4] != b"PK\x06\x06":
            raise ExtractError("BAD_LIST", "the 64-bit end record is not where it belongs")
        disk, list_disk, here, count, size, place = struct.unpack_from("<2L4Q", record, 16)
        ends_at -= 76
    if disk or list_disk or here != count:
        raise ExtractError("SPLIT_ZIP", split_advice(reader.parts[-1].name))
    if size > ends_at:
        raise ExtractError("BAD_LIST", "the list of contents is longer than the archive")
    return count, size, place, ends_at


def _starts_like_zip(part: Path) -> bool:
    with open(part, "rb") as file:
        return file.read(4) == b"PK\x03\x04"


def _entries(data: bytes, limits: Limits) -> Iterator[ArchiveEntry]:
    at, count = 0, 0
    while at < len(data):
        if data[at : at + 4] != b"PK\x01\x02" or at + 46 > len(data):
            raise ExtractError("BAD_LIST", f"entry {count} of the list of contents is damaged")
        count += 1
        if count > limits.max_entries:
            raise ExtractError("BOMB", f"more than {limits.max_entries:,} entries")
        _, _, flags, method, _, _, crc, packed, size, *lengths = struct.unpack_from("<6H3L3H", data, at + 4)
        _disk, _, attributes, offset = struct.unpack_from("<2H2L", data, at + 34)
        raw = data[at + 46 : at + 46 + lengths[0]]
        extra = data[at + 46 + lengths[0] : at + 46 + lengths[0] + lengths[1]]
        try:
            name = raw.decode("utf-8" if flags & 0x800 else "cp437")
        except UnicodeDecodeError:
            raise ExtractError("HOSTILE_NAME", f"the name of entry {count - 1} is not UTF-8") from None
        size, packed, offset = _long_fields(extra, size, packed, offset)
        is_folder = name.endswith("/")
        kind = stat.S_IFMT(attributes >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR) or (kind == stat.S_IFDIR and not is_folder):
            raise ExtractError("SPECIAL_FILE", f"entry {name!r} is a link, a device or no plain file")
        if flags & 0x2041:
            raise ExtractError("UNSUPPORTED", f"entry {name!r} is encrypted")
        if method not in (0, 8):
            raise ExtractError(
                "UNSUPPORTED", f"entry {name!r} is packed by method {method}; stored and deflate are read"
            )
        yield ArchiveEntry(name[:-1] if is_folder else name, size, packed, crc, offset, method, is_folder)
        at += 46 + sum(lengths)


def _long_fields(extra: bytes, size: int, packed: int, offset: int) -> tuple[int, int, int]:
    """Sizes and offset, from the 64-bit extra field where the short ones are full."""
    values, at = [size, packed, offset], 0
    while at + 4 <= len(extra):
        tag, length = struct.unpack_from("<2H", extra, at)
        if tag == 1:
            longs = iter(struct.unpack_from(f"<{min(length, len(extra) - at - 4) // 8}Q", extra, at + 4))
            values = [next(longs, value) if value == 0xFFFFFFFF else value for value in values]
            break
        at += 4 + length
    return values[0], values[1], values[2]


def _check_entries(entries: Sequence[ArchiveEntry], limits: Limits) -> None:
    for entry in entries:
        if problem := name_problem(entry.name):
            raise ExtractError("HOSTILE_NAME", f"entry {entry.name[:80]!r} {problem}")
        if entry.is_folder and entry.size:
            raise ExtractError("SPECIAL_FILE", f"entry {entry.name!r} is a folder with {entry.size:,} bytes")
        if entry.method == 0 and entry.size != entry.packed:
            raise ExtractError("BOMB", f"entry {entry.name!r} is stored, yet its two sizes differ")
        if entry.size > _SMALL and entry.size > limits.max_ratio * max(entry.packed, 1):
            raise ExtractError("BOMB", f"entry {entry.name!r} unpacks to {entry.size:,} bytes from {entry.packed:,}")
    if twice := name_collision([entry.name for entry in entries], [entry.is_folder for entry in entries]):
        raise ExtractError("HOSTILE_NAME", f"entry {twice!r} falls on another entry's name")
    total = sum(entry.size for entry in entries)
    if total > limits.max_total_bytes:
        raise ExtractError("BOMB", f"{total:,} bytes when unpacked, at most {limits.max_total_bytes:,} are allowed")


def _check_own_parts(reader: PartReader, entries: Sequence[ArchiveEntry]) -> None:
    """Archives lie where they are unpacked: no entry may have the name of a part that is still being read."""
    own = {_fold(part.name) for part in reader.parts}
    for entry in entries:
        if _fold(entry.name.split("/")[0]) in own or _ARCHIVE.match(entry.name):
            raise ExtractError("HOSTILE_NAME", f"entry {entry.name[:80]!r} is called like a part of an archive")


def _check_headers(
    reader: PartReader, entries: Sequence[ArchiveEntry], list_at: int
) -> tuple[dict[str, int], tuple[Damage, ...]]:
    """Where each entry's bytes begin, by its own header; and the entries whose header is damaged."""
    data_at: dict[str, int] = {}
    damaged: list[Damage] = []
    fine_in: Counter[str] = Counter()
    bad_in: dict[str, list[str]] = defaultdict(list)
    spans: list[tuple[int, int, str]] = []
    for entry in sorted(entries, key=lambda item: item.offset):
        part = reader.part_at(entry.offset).name
        header = reader.read_at(entry.offset, 30)
        shortest = entry.offset + 30 + len(entry.name.encode("utf-8", "replace")) // 4 + entry.packed
        if header[:4] != b"PK\x03\x04" or len(header) < 30:
            bad_in[part].append(entry.name)
            damaged.append(Damage(entry.name, part, "its header is not where the list of contents says"))
            spans.append((entry.offset, shortest, entry.name))
            continue
        fine_in[part] += 1
        flags, method = struct.unpack_from("<2H", header, 6)
        name_length, extra_length = struct.unpack_from("<2H", header, 26)
        raw = reader.read_at(entry.offset + 30, name_length)
        name = raw.decode("utf-8" if flags & 0x800 else "cp437", "replace").removesuffix("/")
        begin = entry.offset + 30 + name_length + extra_length
        if name != entry.name or method != entry.method:
            damaged.append(Damage(entry.name, part, "its header says something else than the list of contents"))
            spans.append((entry.offset, shortest, entry.name))
            continue
        data_at[entry.name] = begin
        spans.append((entry.offset, begin + entry.packed, entry.name))
    wrong = [part for part in bad_in if part not in fine_in]
    if len(wrong) > 1:
        raise ExtractError(
            "PARTS_SWAPPED", f"{' and '.join(sorted(wrong))} hold other bytes than the list of contents says"
        )
    for (_, end, name), (start, _, _) in pairwise([*spans, (list_at, list_at, "")]):
        if end > start:
            raise ExtractError("BOMB", f"entry {name!r} shares bytes with what follows it")
    return data_at, tuple(damaged)


def _say_where_bytes_lack(reader: PartReader, entries: Sequence[ArchiveEntry], lacking: int) -> None:
    """Raise the error for an archive of the wrong length, with the part's name where it can be told."""
    if lacking < 0:
        raise ExtractError("NOT_A_ZIP", f"{-lacking:,} bytes stand in the archive that do not belong to it")
    before = 0
    for entry in sorted(entries, key=lambda item: item.offset):
        if reader.read_at(entry.offset, 4) != b"PK\x03\x04":
            names = reader.parts_ending_in(before, entry.offset) or [reader.part_at(before).name]
            break
        before = entry.offset
    else:
        names = [reader.part_at(before).name]
    raise ExtractError("PART_TRUNCATED", f"{lacking:,} bytes lack in or after {', '.join(names)}. Fetch it again")
