"""Inputs that grow, and what each parser of the project pays for them: processor time a byte, at x1, x2, x4 and x8.

A parser of a stranger's bytes must not pay more a byte for a large input than for a small one, up to its limit. Called
by `test_cost.py` (a seeded slice) and `benchmarks/soak/cost.py` (up to the limits). Every input is a pure function of
(shape, size, seed).
"""

from __future__ import annotations

import io
import itertools
import random
import resource
import struct
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from deeptrace import video
from deeptrace.answer import FORMATS, parse
from deeptrace.answer.space import Space
from deeptrace.bench.judge.humans import read_sheet
from deeptrace.bench.judge.rubric import read_grade
from deeptrace.bench.score.reading import iter_lines
from deeptrace.chat.reading import HttpAnswer, read_answer
from deeptrace.data import convert, load_records
from deeptrace.data.convert import cvat
from deeptrace.data.hub.archive import Limits, read_contents
from deeptrace.data.hub.parts import PartReader
from deeptrace.data.read import tolerant
from deeptrace.errors import DeepTraceError
from deeptrace.files import loads
from deeptrace.journal import Journal
from deeptrace.measures.calibration import read_calibration
from deeptrace.models.hf.checkpoint import read_card, read_config
from deeptrace.models.hf.weights import header_of
from deeptrace.records import VideoInfo
from deeptrace.train import checkpoints
from deeptrace.train.recipe import read_toml
from deeptrace.video._boxes import scan
from deeptrace.video._ebml import is_intact
from deeptrace.video._limits import ReadLimits
from deeptrace.video._refusal import Refusal
from deeptrace.video._webp import open_animation
from tests.video.fuzz import FRAGMENTS, clip
from tests.video.hostile import box

GROWTH = (1, 2, 4, 8)
SMALLEST_SECONDS = 0.004  # below this a measurement is noise
MOST_GROWTH = 3.0  # of the time a byte from x1 to x8; a square has 8
MOST_SECONDS_A_MEGABYTE = 8.0  # of the whole, whatever its growth: a real clip takes about 1
ENOUGH_SECONDS = 0.1  # what is faster in all may have any growth

Shape = Callable[[int, random.Random], bytes]
"""``(bytes wanted, rng)`` to about so many bytes of input."""


@dataclass(frozen=True)
class Parser:
    """Something that reads a stranger's bytes, the shapes it is given, and how many bytes it takes at most.

    ``refuses``: what it may raise. ``runs_elsewhere``: the work is done in a decoder process.
    """

    name: str
    read: Callable[[bytes], object]
    shapes: dict[str, Shape]
    limit_bytes: int
    refuses: tuple[type[Exception], ...] = (DeepTraceError,)
    runs_elsewhere: bool = False


@dataclass(frozen=True)
class Cost:
    """What one shape cost a parser: ``(bytes, seconds)`` at each size. ``problem``: an exception nobody thought of."""

    parser: str
    shape: str
    points: tuple[tuple[int, float], ...]
    problem: str = ""

    @property
    def growth(self) -> float:
        """How much more a byte cost at the largest size than at the smallest."""
        (small, first), (large, last) = self.points[0], self.points[-1]
        return (max(last, SMALLEST_SECONDS) / large) / (max(first, SMALLEST_SECONDS) / small)

    @property
    def seconds_a_megabyte(self) -> float:
        """At the largest size."""
        size, seconds = self.points[-1]
        return seconds / size * 1e6

    @property
    def is_bad(self) -> bool:
        """Whether a byte costs more in a large input than in a small one, or too much in any."""
        slow = self.points[-1][1] > ENOUGH_SECONDS
        steep = self.growth > MOST_GROWTH or self.seconds_a_megabyte > MOST_SECONDS_A_MEGABYTE
        return bool(self.problem) or (slow and steep)


# ── shapes ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def repeat(unit: str | bytes, start: str | bytes = b"", stop: str | bytes = b"") -> Shape:
    """``start``, the unit again and again, ``stop``. "%d" in the unit becomes a running number."""

    def of(size: int, _rng: random.Random) -> bytes:
        head, part, tail = (text.encode() if isinstance(text, str) else text for text in (start, unit, stop))
        if b"%d" not in part:
            return head + part * max(1, size // len(part)) + tail
        pieces, total = [], 0
        for number in itertools.count():
            piece = part.replace(b"%d", b"%d" % number)
            total += len(piece)
            if total > size and pieces:
                return head + b"".join(pieces) + tail
            pieces.append(piece)
        raise AssertionError("counts for ever")

    return of


def nested(opening: str, closing: str) -> Shape:
    """So many openings, and as many closings."""

    def of(size: int, _rng: random.Random) -> bytes:
        count = max(1, size // (len(opening) + len(closing)))
        return (opening * count + closing * count).encode()

    return of


def scrambled(pieces: list[str]) -> Shape:
    """The pieces in any order."""

    def of(size: int, rng: random.Random) -> bytes:
        chosen, total = [], 0
        while total < size:
            chosen.append(rng.choice(pieces))
            total += len(chosen[-1])
        return "".join(chosen).encode()

    return of


_JSON_SHAPES: dict[str, Shape] = {
    "one key again and again": repeat('"a":1,', "{", '"a":1}'),
    "two keys by turns": repeat('"a":1,"b":2,', "{", '"c":1}'),
    "keys, the first twice": repeat('"k%d":1,', "{", '"k0":1}'),
    "keys, the last twice": repeat('"k%d":1,', "{", '"z":1,"z":1}'),
    "keys": repeat('"k%d":1,', "{", '"k":1}'),
    "objects": repeat('{"a":1},', "[", "1]"),
    "nested lists": nested("[", "]"),
    "nested objects": repeat('{"a":', "", ""),
    "digits": repeat("7", "[", "]"),
    "a fraction": repeat("7", "[0.", "]"),
    "an exponent": repeat("9", "[1e", "]"),
    "escapes": repeat("\\\\u00e9", '["', '"]'),
    "surrogates": repeat("\\\\ud83d", '["', '"]'),
    "quotes": repeat('"'),
    "blanks": repeat(" ", "[", "1]"),
    "scrambled": scrambled([*'{}[],:"\\', '"a"', "1", "null", "-", "1e9"]),
}

_ANSWER_PIECES = [
    *(
        "<answer>",
        "</answer>",
        "<think>",
        "</think>",
        "{",
        "}",
        "[",
        "]",
        "(",
        ")",
        '"',
        ",",
        ":",
        "\n",
        "**",
        "```json",
    ),
    *(
        "fake",
        "real",
        "FAKE",
        "<FAKE>",
        "bbox",
        "from",
        "to",
        "seconds",
        "0.5",
        "1.2s",
        "between",
        "[1, 2, 3, 4]",
        "not",
    ),
    *('"label": "fake"', '"bbox_2d": [1, 2, 3, 4]', "<|box_start|>", "<|box_end|>", "\\boxed{", "Type:", "1.", " "),
]
_ANSWER_SHAPES: dict[str, Shape] = {
    "scrambled": scrambled(_ANSWER_PIECES),
    "one key again and again": repeat('"label":"fake",', "{", '"label":"fake"}'),
    "keys, one of them twice": repeat('"k%d":1,', '{"label":"fake",', '"label":"fake"}'),
    "keys without quotes, one of them twice": repeat("k%d:1,", '{"label":"fake",', "label:1}"),
    "objects that do not end": repeat('{"label":"fake","traces":[{"bbox":[1,2,3,4],'),
    "objects that end": repeat('{"label":"fake"} '),
    "open brackets": repeat("["),
    "open braces": repeat("{"),
    "open answers": repeat("<answer>"),
    "closed answers": repeat("</answer>"),
    "open thoughts": repeat("<think>fake "),
    "fences": repeat("```json\n"),
    "quotes": repeat('"'),
    "backslashes": repeat("\\"),
    "boxed": repeat("\\boxed{"),
    "sentences": repeat("Fake. From 0.5s to 1.2s at [1, 2, 3, 4] a hand melts away (n. %d). "),
    "digits": repeat("1", "fake from ", " to 2"),
    "dots": repeat(".", "fake at 1", ""),
    "blanks": repeat(" ", "fake", "real"),
    "lines": repeat("\n", "fake", "real"),
    "labels": repeat("fake real "),
    "commas": repeat("1, ", "fake [", "]"),
    "a box that does not end": repeat("71, ", "FAKE. The unnatural part is at ["),
    "names and numbers": repeat("x1 = 10.5 , ", "FAKE. The unnatural part is at ", "."),
    "points": repeat("(1 , 2) ", "FAKE. The unnatural part is at (", "1"),
    "tags": repeat("<", "fake ", ">"),
    "box tokens": repeat("<|box_start|>(1,2),(3,4)", "FAKE "),
}


def _atoms(kind: bytes, payload: bytes, outer: tuple[bytes, ...] = (), start: bytes = b"") -> Shape:
    """An mp4 of so many boxes of a kind, within other boxes."""

    def of(size: int, _rng: random.Random) -> bytes:
        data = box(kind, payload) * max(1, size // (8 + len(payload)))
        for name in reversed(outer):
            data = box(name, data)
        return box(b"ftyp", b"isom\0\0\0\0isom") + start + data

    return of


def segment_index(entries: int) -> bytes:
    """A "sidx" box that lists so many segments of no bytes and of a tick each."""
    return box(b"sidx", struct.pack(">IIIIIHH", 0, 1, 1000, 0, 0, 0, entries) + struct.pack(">III", 0, 1, 0) * entries)


_SCAN_SHAPES: dict[str, Shape] = {
    "free boxes": _atoms(b"free", b""),
    "tracks": _atoms(b"trak", b"", (b"moov",)),
    "edits": _atoms(b"elst", bytes(8), (b"moov", b"trak", b"edts")),
    "runs": _atoms(b"trun", bytes(4) + b"\0\0\0\1", (b"moof", b"traf")),
    "fragments": _atoms(b"moof", box(b"traf", b"")),
    "segment indexes": _atoms(b"sidx", bytes(24)),
    "one long segment index": lambda size, _rng: box(b"ftyp", b"isom") + segment_index(min(65_535, size // 12)),
    "boxes of nothing": repeat(bytes(8), box(b"ftyp", b"isom")),
    "nested boxes": lambda size, _rng: box(b"ftyp", b"isom") + (struct.pack(">I4s", size, b"moov")) * (size // 8),
}


def _within(data: bytes, place: bytes, part: Shape, grown: tuple[bytes, ...] = ()) -> Shape:
    """A real clip with so much more before the first box of a kind; boxes around it grow along."""

    def of(size: int, rng: random.Random) -> bytes:
        more, result = part(size, rng), bytearray(data)
        at = result.index(place) - 4
        for name in grown:
            start = result.index(name) - 4
            length = int.from_bytes(result[start : start + 4], "big") + len(more)
            result[start : start + 4] = length.to_bytes(4, "big")
        return bytes(result[:at] + more + result[at:])

    return of


def _reader_shapes() -> dict[str, Shape]:
    """Whole clips in which one part grows; what the media library makes of it counts too."""
    plain, pieces = clip(), clip(container_options=FRAGMENTS)  # the index at the end: pictures stay where they are
    chunk = struct.pack("<4sI", b"ANMF", 16) + bytes(16)
    return {
        "segment indexes": _within(pieces, b"moof", lambda size, _: segment_index(min(65_535, size // 60)) * 5),
        "small segment indexes": _within(pieces, b"moof", lambda size, _: segment_index(1) * (size // 44)),
        "fragments": _within(pieces, b"moof", repeat(box(b"moof", box(b"mfhd", bytes(8))))),
        "free boxes": _within(plain, b"moov", repeat(box(b"free", b""))),
        "remarks": _within(plain, b"trak", repeat(box(b"udta", box(b"\xa9nam", b"\0\1\0\0a"))), (b"moov",)),
        "a sound track of nothing": lambda size, _: plain + bytes(size),
        "program stream": repeat(b"\0\0\1\xba\x44\0\4\0\4\1\0\0\3\xf8" + b"\0\0\1\xe0\0\0", b"", bytes(64)),
        "transport packets": repeat(b"G\1\0\x10" + bytes(184)),
        "pages": repeat(b"OggS\0" + bytes(22), b"", bytes(64)),
        "tags": repeat(b"\x12" + bytes(10) + b"\0\0\0\x0b", b"FLV\x01\x01\0\0\0\x09\0\0\0\0", bytes(64)),
        "animation without pictures": repeat(chunk, b"RIFF\xff\xff\xff\x7fWEBPVP8X\x0a\0\0\0\2" + bytes(9), bytes(64)),
    }


def _archive(size: int, _rng: random.Random) -> bytes:
    """A ZIP of so many empty files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number in range(max(1, size // 110)):
            archive.writestr(f"{number}.mp4", b"")
    return buffer.getvalue()


def _folders(size: int, _rng: random.Random) -> bytes:
    """A ZIP of files in folders within folders."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number in range(max(1, size // 2000)):
            archive.writestr("a/" * 400 + f"{number}.mp4", b"")
    return buffer.getvalue()


# ── parsers ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _at(data: bytes) -> Callable[[int, int], bytes]:
    return lambda offset, count: data[offset : offset + count]


def _from_file(suffix: str, read: Callable[[Path], object]) -> Callable[[bytes], object]:
    """A parser of paths, given bytes in a file."""

    def of(data: bytes) -> object:
        with tempfile.NamedTemporaryFile(suffix=suffix) as file:
            file.write(data)
            file.flush()
            return read(Path(file.name))

    return of


def _safetensors(data: bytes) -> object:
    return header_of(len(data).to_bytes(8, "little") + data)


def _chat(data: bytes) -> object:
    return read_answer(HttpAnswer(200, {}, data), None, 1.0)


def _refused_chat(data: bytes) -> object:
    return read_answer(HttpAnswer(400, {}, data), None, 1.0)


def _in_folder(name: str, read: Callable[[Path], object]) -> Callable[[bytes], object]:
    """A parser of a folder, given the bytes of one file in it."""

    def of(data: bytes) -> object:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / name).write_bytes(data)
            return read(Path(folder))

    return of


def _in_file(name: str, read: Callable[[Path], object]) -> Callable[[bytes], object]:
    """A parser of a file of this name."""
    return _in_folder(name, lambda folder: read(folder / name))


def _read_journal(path: Path) -> object:
    with Journal(path, {"seed": 1}) as journal:
        return journal.rows


def _answer_parser(format_name: str) -> Parser:
    space = Space("source", 640, 480)
    read = lambda data: parse(data.decode(), format_name, space)  # type: ignore[arg-type]  # noqa: E731
    return Parser(f"answer ({format_name})", read, _ANSWER_SHAPES, 1_000_000, ())


def _list_archive(path: Path) -> object:
    with closing(PartReader([path])) as reader:
        return read_contents(reader, Limits())


def parsers() -> Iterator[Parser]:
    """All parsers of the project that read what strangers wrote."""
    mib = 2**20
    yield Parser("strict JSON", loads, _JSON_SHAPES, mib)
    yield Parser("tolerant JSON", tolerant.loads, _JSON_SHAPES, 16 * mib)
    yield from (_answer_parser(name) for name in FORMATS)
    completion = '{"choices":[{"message":{"content":"a"},"finish_reason":"stop"}],"x":'
    chat = {**_JSON_SHAPES, "choices": repeat('{"message":{"content":"a"}},', '{"choices":[', "1]}")}
    yield Parser("chat answer", _chat, {**chat, "a completion": repeat("[", completion)}, mib)
    yield Parser("chat refusal", _refused_chat, chat, mib)
    tensor = '"t%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},'
    yield Parser(
        "safetensors header",
        _safetensors,
        {**_JSON_SHAPES, "empty tensors": repeat(tensor, "{", '"__metadata__":{}}')},
        16 * mib,
    )
    toml = {
        "brackets": repeat("[", "a = "),
        "tables": repeat("[t%d]\n"),
        "deep table": repeat("a.", "[", "a]"),
        "dotted keys": repeat("a.b.c%d = 1\n"),
        "one table in another": repeat("[[a]]\n"),
        "inline": repeat("{a=", "a = "),
        "text": repeat("a", 'a = """', '"""'),
        "digits": repeat("7", "a = "),
    }
    yield Parser("recipe TOML", _from_file(".toml", read_toml), toml, mib)
    yield from _json_files()
    yield from _exports()
    yield from _lines()
    xml = {
        "tracks": repeat(
            '<track id="%d" label="a"><box frame="0" outside="0"/></track>', "<annotations>", "</annotations>"
        ),
        "boxes": repeat(
            '<box frame="%d" keyframe="1" outside="0" occluded="0" xtl="1" ytl="1" xbr="5" ybr="5"/>',
            '<annotations><track id="0" label="a">',
            "</track></annotations>",
        ),
        "nested": nested("<a>", "</a>"),
        "attributes": repeat(' a%d="1"', "<annotations", "/>"),
        "text": repeat("a", "<annotations>", "</annotations>"),
    }
    yield Parser("CVAT XML", _from_file(".xml", lambda path: cvat.read(path, None)), xml, 8 * mib)
    listing = _from_file(".zip", _list_archive)
    yield Parser("ZIP listing", listing, {"empty files": _archive, "deep folders": _folders}, 8 * mib)
    scans = (Refusal,)
    yield Parser("MP4 boxes", lambda data: scan("mov", _at(data), len(data)), _SCAN_SHAPES, 4 * mib, scans)
    ebml = b"\x1a\x45\xdf\xa3\x80\x18\x53\x80\x67\x01\xff\xff\xff\xff\xff\xff\xff"
    elements = {"void": repeat(b"\xec\x80", ebml), "clusters": repeat(b"\x1f\x43\xb6\x75\x80", ebml)}
    yield Parser("Matroska elements", lambda d: is_intact(_at(d), len(d), lambda: None), elements, 4 * mib, scans)
    yield Parser("Matroska head", lambda d: scan("matroska", _at(d), len(d)), elements, 4 * mib, scans)
    small = {
        "gif": repeat(b"!\xfe\0", b"GIF89a" + bytes(7)),
        "flv": repeat(b"\x12" + bytes(10) + b"\0\0\0\x0b", b"FLV\x01\x01\0\0\0\x09\0\0\0\0"),
        "ogg": repeat(b"OggS\0" + bytes(22)),
        "mpeg": repeat(b"\0\0\1\xb9"),
        "asf": repeat(bytes(24), bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c") + bytes([255] * 3) + bytes(5)),
        "mpegts": repeat(b"G" + bytes(187)),
    }
    for kind, shape in small.items():
        yield Parser(
            f"{kind} parts", lambda d, kind=kind: scan(kind, _at(d), len(d)), {"smallest": shape}, 4 * mib, scans
        )
    animation = {"smallest": repeat(b"ABCD\0\0\0\0", b"RIFF\xff\xff\xff\x7fWEBPVP8X\x0a\0\0\0\2" + bytes(9))}
    yield Parser("WebP chunks", lambda d: open_animation(_at(d), len(d), ReadLimits()), animation, 4 * mib, scans)
    yield Parser("whole reader", _read_video, _reader_shapes(), 4 * mib, (DeepTraceError,), runs_elsewhere=True)


def _json_files() -> Iterator[Parser]:
    """One JSON value a file: what lies beside weights, or beside answers."""
    mib = 2**20
    card = '{"schema":"deeptrace.checkpoint","schema_version":1,'
    shapes = {**_JSON_SHAPES, "a long question": repeat("a ", card + '"question":"', '"}')}
    shapes |= {"much besides": repeat('"k%d":1,', card + '"extra":{', '"z":1}}')}
    yield Parser("deeptrace.json", _in_folder("deeptrace.json", read_card), shapes, mib)
    yield Parser("config.json", _in_folder("config.json", read_config), _JSON_SHAPES, mib)
    yield Parser("calibration.json", _from_file(".json", read_calibration), _JSON_SHAPES, mib)
    facts = '{"schema":"deeptrace.manifest","schema_version":1,"step":1,"facts":{},"files":{'
    files = {**_JSON_SHAPES, "files": repeat('"f%d":{"size":1,"sha256":"a"},', facts, '"z":{"size":1,"sha256":""}}}')}
    manifest = _in_folder("manifest.json", lambda folder: checkpoints.verify(_renamed(folder)))
    yield Parser("checkpoint manifest", manifest, files, 4 * mib)


def _renamed(folder: Path) -> Path:
    """The same folder under the name of a checkpoint."""
    (folder / "checkpoint-1").mkdir()
    (folder / "manifest.json").rename(folder / "checkpoint-1" / "manifest.json")
    return folder / "checkpoint-1"


def _exports() -> Iterator[Parser]:
    """What annotation tools and the release write."""
    mib = 2**20
    infos = {"clip": VideoInfo(1280, 720, fps=25.0, num_frames=600)}
    task = '[{"data":{"video":"clip.mp4"},"annotations":[{"result":[null'
    track = task + ',{"id":"b","type":"videorectangle","value":{"framesCount":600,"duration":24,"sequence":[null'
    studio = {
        **_JSON_SHAPES,
        "results": repeat(',{"id":"%d","type":"brush","value":{}}', task, "]}]}]"),
        "one result again and again": repeat(',{"id":"1","type":"videorectangle","value":{}}', task, "]}]}]"),
        "ranges": repeat(
            ',{"id":"%d","type":"timelinelabels","value":{"ranges":[{"start":1,"end":9}]}}', task, "]}]}]"
        ),
        "key boxes": repeat(',{"frame":%d,"enabled":true,"x":1,"y":1,"width":9,"height":9}', track, "]}}]}]}]"),
        "choices": repeat(',{"id":"%d","type":"choices","value":{"choices":["fake"]}}', task, "]}]}]"),
        "one video": repeat(',{"data":{"video":"clip.mp4"},"annotations":[]}', "[0", "]"),
    }
    read = lambda name: lambda path: convert.read(path, name, infos=infos)  # noqa: E731
    yield Parser("Label Studio", _in_file("ls.json", read("label-studio")), studio, 16 * mib)
    row = '{"data_row":{"external_id":"clip.mp4"},"projects":{"p":{"labels":[{"annotations":{'
    box = '{"bounding_box":{"top":1,"left":1,"height":9,"width":9}}'
    labelbox = {
        **_JSON_SHAPES,
        "rows": repeat('{"data_row":{"external_id":"%d.mp4"}}\n'),
        "one row": repeat('{"data_row":{"external_id":"clip.mp4"}}\n'),
        "frames": repeat('"%d":{"objects":{"f":' + box + "}},", row + '"frames":{', '"1":{}}}}]}}}'),
        "objects": repeat('"f%d":' + box + ",", row + '"frames":{"1":{"objects":{', '"z":' + box + "}}}}}]}}}"),
        "segments": repeat("[%d,%d],", row + '"segments":{"f":[', "[1,1]]}}}]}}}"),
        "classifications": repeat('{"name":"c%d"},', row + '"classifications":[', "{}]}}]}}}"),
    }
    yield Parser("Labelbox", _in_file("lb.ndjson", read("labelbox")), labelbox, 16 * mib)
    release = {
        **_JSON_SHAPES,
        "rows": repeat(',{"video_id":"%d","video_path":"%d.mp4"}', "[0", "]"),
        "one video": repeat(',{"video_id":"v","video_path":"v.mp4","a":%d}', "[0", "]"),
        "tags": repeat('"t%d",', '[{"video_id":"v","video_path":"v.mp4","label":"fake","tags":[', '""]}]'),
        "boxes": repeat("[1,2,3,4],", '[{"video_id":"v","video_path":"v.mp4","label":"fake","bbox":[', "0]}]"),
    }
    yield Parser("release", _in_file("all_data.json", lambda p: load_records(p, infos=infos)), release, 16 * mib)
    rows = {
        **_JSON_SHAPES,
        "rows": repeat('{"file_name":"%d.mp4","label":"fake"}\n'),
        "one row": repeat('{"file_name":"a.mp4","label":"fake"}\n'),
        "keys": repeat('"k%d":1,', '{"file_name":"a.mp4",', '"label":"fake"}'),
    }
    yield Parser("hub metadata", _in_file("metadata.jsonl", read("hf")), rows, 16 * mib)


def _lines() -> Iterator[Parser]:
    """JSON lines and tables: records, answers, journals, grades."""
    mib = 2**20
    record = '{"schema":"deeptrace.record","schema_version":1,"video_id":"%d","path":"%d.mp4","label":"fake"}\n'
    one = record.replace("%d", "a").replace("}\n", ',"annotations":[{"traces":[')
    trace = '{"onset_seconds":%d,"categories":["Blur"],"explanation":"a"},'
    rows = {**_JSON_SHAPES, "rows": repeat(record), "one record": repeat(record.replace("%d", "a"))}
    rows |= {"traces": repeat(trace, one, "{}]}]}\n")}
    yield Parser("record lines", _in_file("records.jsonl", load_records), rows, 16 * mib)
    foreign = '{"video_id":"%d","text":"FAKE. A hand melts."}\n'
    verdict = '{"schema":"deeptrace.verdict","schema_version":1,"video_id":"a","label":"fake","traces":['
    answers = {
        **_JSON_SHAPES,
        "answers": repeat(foreign),
        "one video": repeat(foreign.replace("%d", "a")),
        "a long answer": repeat("fake at [1, 2, 3, 4] ", '{"video_id":"a","text":"', '"}'),
        "traces": repeat('{"onset_seconds":%d},', verdict, "{}]}\n"),
    }
    yield Parser("verdict rows", _in_file("v.jsonl", lambda path: list(iter_lines(path, {}))), answers, 16 * mib)
    head = '{"settings":{"seed":1}}\n'
    journal = {
        **_JSON_SHAPES,
        "rows": repeat('{"key":"%d","text":"a"}\n', head),
        "one key": repeat('{"key":"a","text":"%d"}\n', head),
        "empty lines": repeat("\n", head),
        "a line without an end": repeat("a", head),
    }
    yield Parser("journal", _in_file("journal.jsonl", _read_journal), journal, 16 * mib)
    sheet = {
        "rows": repeat("v%d,0,a,1\n", "video_id,row,grader,score\n"),
        "graders": repeat("v,0,g%d,1\n", "video_id,row,grader,score\n"),
        "a long cell": repeat("a", "video_id,row,grader,score\n", ",0,a,1\n"),
        "quotes": repeat('""', 'video_id,row,grader,score\n"', '",0,a,1\n'),
        "an open quote": repeat("a,1\n", 'video_id,row,grader,score\n"'),
        "columns": repeat("c%d,", "video_id,row,score,", "z\n"),
        "commas": repeat(",", "video_id,row,score\n", "\n"),
    }
    yield Parser("judge sheet", _in_file("sheet.csv", read_sheet), sheet, 16 * mib)
    reply = {"digits": repeat("1"), "grades": repeat("0.5 "), "words": repeat("grade: "), "brackets": repeat("[")}
    reply |= {"boxed": repeat("\\boxed{"), "lines": repeat("\n"), "scrambled": scrambled([*"01.:[]{}*\n ", "grade"])}
    yield Parser("judge reply", lambda data: read_grade(data.decode()), reply, mib)


def _read_video(data: bytes) -> object:
    return video.sample_frames(data, fps=2)


# ── measuring ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _seconds_of_decoders() -> float:
    """Processor time of the children so far: of those that ended, and of those that run."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    total = ended.ru_utime + ended.ru_stime
    for child in psutil.Process().children():
        with suppress(psutil.Error):
            times = child.cpu_times()
            total += times.user + times.system
    return total


def measure(parser: Parser, shape: str, largest: int, seed: int = 1) -> Cost:
    """The processor time of the parser on this shape up to ``largest`` bytes; the better of two tries at each size."""
    points, problem = [], ""
    for factor in GROWTH:
        point, words = _measure(parser, shape, min(largest, parser.limit_bytes) * factor // GROWTH[-1], seed)
        points.append(point)
        problem = words or problem
        if point[1] > 20.0:  # a square, surely: the next size would take four times as long
            break
    return Cost(parser.name, shape, tuple(points), problem)


def is_quick(parser: Parser, shape: str, largest: int, seed: int = 1) -> bool:
    """Whether the largest input costs so little, and fails so politely, that no growth up to it would matter."""
    (_, seconds), problem = _measure(parser, shape, min(largest, parser.limit_bytes), seed, tries=1)
    return not problem and seconds <= ENOUGH_SECONDS


def _measure(parser: Parser, shape: str, wanted: int, seed: int, tries: int = 2) -> tuple[tuple[int, float], str]:
    """``(bytes, seconds)`` of one input, and the exception nobody thought of."""
    data = parser.shapes[shape](max(64, wanted), random.Random(seed))
    best, problem = float("inf"), ""
    for _ in range(tries):
        clock = _seconds_of_decoders if parser.runs_elsewhere else time.process_time
        start = clock()
        try:
            parser.read(data)
        except parser.refuses:
            pass
        except (Exception, RecursionError) as error:  # noqa: BLE001 - this is what is looked for
            problem = f"{type(error).__name__} at {len(data)} bytes"
        best = min(best, max(0.0, clock() - start))
        if best > 2.0:
            break
    return (len(data), best), problem


def costs(largest: int, *, seed: int = 1, wanted: Callable[[str], bool] = lambda name: True) -> Iterator[Cost]:
    """Every parser whose name is wanted, with every shape."""
    for parser in parsers():
        if wanted(parser.name):
            if parser.runs_elsewhere:
                parser.read(clip())  # a warm decoder process, the same for all
            for shape in parser.shapes:
                yield measure(parser, shape, largest, seed)
