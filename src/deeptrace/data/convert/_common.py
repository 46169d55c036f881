"""What all readers share: reporting, boxes, ids and paths, frame rates, labels and tags. Knows no format."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, Final
from urllib.parse import parse_qs, quote, unquote, urlsplit

from typing_extensions import override

from deeptrace.categories import Category, read_tags
from deeptrace.data.convert._frames import Segment, clip, place
from deeptrace.data.read.infos import InfoMissing, ProbedInfos
from deeptrace.data.read.log import Log as PlainLog
from deeptrace.data.read.problems import Action, Problem
from deeptrace.data.read.tolerant import Bad, is_text, loads, number_or_none, refuse_bad, show, show_name
from deeptrace.errors import JsonError, RecordError
from deeptrace.files import MAX_DEPTH, open_regular
from deeptrace.records import Box, Record, RecordLabel, Trace, VideoInfo, check_bbox

LOCAL_FILES_PATH: Final = "local-files/"
"""How the path of an address ends behind which Label Studio names a local file, in ``d``."""

TRACE_NAME: Final = "fake_trace"
"""The name of a box whose category is not said."""

NO_CATEGORY: Final = "None of the above"
"""The tag of a trace whose annotator chose no category, on purpose (``categories`` is empty, not None)."""

EDGE: Final = 1e-6
"""Boxes that leave the frame by less than this fraction of it are clipped without a word: rounding."""

_LABELS: Final[dict[str, RecordLabel]] = {
    "fake": "fake",
    "ai generated": "fake",
    "real": "real",
    "unsure": "unsure",
    "uncertain": "unsure",
    "cannot tell": "unsure",
    "can't tell": "unsure",
    "not sure": "unsure",
}

VERDICTS: Final[dict[RecordLabel, str]] = {"fake": "FAKE", "real": "REAL", "unsure": "CANNOT_TELL"}
"""How a label is written where the tool shows it to people."""


# ── reporting ───────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class ConvertLog(PlainLog):
    """The problems of one file, and the videos that cannot be read because their frame rate is not known."""

    without_rate: list[str] = field(default_factory=list)
    variable_rate: list[str] = field(default_factory=list)
    without_size: list[str] = field(default_factory=list)

    def at(self, row: int | None, video_id: str | None = None) -> Where:
        """A place in this file to report at."""
        return Where(self, row, video_id)

    def check(self) -> None:
        """Refuse frame numbers that cannot be turned into seconds, all videos at once.

        Raises:
            RecordError: videos with a variable frame rate, or without frame rate or frame size.
        """
        if self.variable_rate:
            names = _names(list(dict.fromkeys(self.variable_rate)))
            raise RecordError(
                "variable_frame_rate",
                f"{self.file}: {names} has a variable frame rate, so its frame numbers are no times. "
                "Re-encode it at a constant rate before annotating, or use the 'hf' format, which holds seconds",
            )
        for what, videos in (("frame rate", self.without_rate), ("width and height", self.without_size)):
            if videos:
                videos = list(dict.fromkeys(videos))  # noqa: PLW2901
                raise InfoMissing(
                    f"{self.file}: no {what} for {_names(videos)}, and the file does not say",
                    "Name the folder of the videos and ask to read their headers (load_records: root=, probe=True), "
                    f"pass infos={{{videos[0]!r}: VideoInfo(...)}}, or set Record.info",
                )


def _names(videos: Sequence[str], most: int = 5) -> str:
    listing = ", ".join(repr(video) for video in videos[:most])
    return listing if len(videos) <= most else f"{listing} and {len(videos) - most} more"


@dataclass(frozen=True)
class Where:
    """A place in a file: its row and its video."""

    log: ConvertLog
    row: int | None
    video_id: str | None

    def add(self, field_name: str, problem: str, action: Action) -> None:
        """Report one bad value."""
        self.log.add(self.row, self.video_id, field_name, problem, action)


# ── JSON from outside ───────────────────────────────────────────────────────────────────────────────────────────────

_NAMES: Final = frozenset({"external_id", "global_key", "row_data", "video", "file_name"})
"""Keys of file names, which may hold U+DC80 to U+DCFF: what Python makes of bytes that are not UTF-8."""


def read_json(data: bytes) -> Any:
    """The JSON value, with a `Bad` for each number that is none, and for each text with a lone surrogate but a name.

    Raises:
        JsonError: not JSON, not UTF-8, or nested too deeply.
    """
    value = loads(data)
    if b"\\u" in data:  # only an escape brings one in
        for holder, key, child in list(_leaves(value)):
            if isinstance(child, str) and key not in _NAMES and not is_text(child):
                holder[key] = Bad("holds a lone surrogate")
    return value


def read_lines(path: Path) -> Iterator[tuple[int, Any]]:
    """Each line's number (from 1) and value (see `read_json`); empty lines are skipped.

    Raises:
        FileError: the file cannot be read.
        JsonError: a line is not JSON; names the file and the line.
    """
    with open(open_regular(path), "rb") as file:
        for row, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                yield row, read_json(line)
            except JsonError as error:
                raise JsonError(f"{path.name} line {row}: {error}") from None


def _leaves(value: Any) -> Iterator[tuple[Any, Any, object]]:
    """Every value in a JSON value that is neither object nor list, with what holds it and under which key."""
    stack = [value]
    while stack:
        holder = stack.pop()
        pairs = holder.items() if isinstance(holder, dict) else enumerate(holder) if isinstance(holder, list) else ()
        for key, child in pairs:
            if isinstance(child, (dict, list)):
                stack.append(child)
            else:
                yield holder, key, child


def report_bad(row: object, where: Where) -> None:
    """Report the values of a row that could not be taken and that no reader of a field has reported."""
    for _, key, child in _leaves(row):
        if isinstance(child, Bad) and not child.is_reported:
            child.is_reported = True
            where.add(show_name(str(key)) if isinstance(key, str) else "a list", child.reason, "emptied")


def report_if_bad(value: object, where: Where, field_name: str) -> bool:
    """Report a value that could not be taken; whether it is one."""
    try:
        refuse_bad(value, field_name)
    except RecordError as error:
        where.add(field_name, error.problem, "emptied")
        return True
    return False


def _plain(value: object, depth: int = 1) -> Any:
    """A value for ``extra``: JSON that can be written again; what cannot be is None."""
    if isinstance(value, Mapping) and depth <= MAX_DEPTH:
        return {key: _plain(child, depth + 1) for key, child in value.items() if is_text(key)}
    if isinstance(value, (list, tuple)) and depth <= MAX_DEPTH:
        return [_plain(child, depth + 1) for child in value]
    is_plain = is_text(value) or isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))
    return value if is_plain else None


# ── values from outside ─────────────────────────────────────────────────────────────────────────────────────────────


def obj(value: object) -> Mapping[str, Any]:
    """The JSON object, or an empty one."""
    return value if isinstance(value, Mapping) else {}


class Fields(Mapping[str, Any]):
    """An object of a file that remembers which of its keys were read, so that the others can be reported."""

    def __init__(self, value: object) -> None:
        self._value = obj(value)
        self._read: set[str] = set()

    @override
    def __getitem__(self, key: str) -> Any:
        self._read.add(key)
        return self._value[key]

    @override
    def __iter__(self) -> Iterator[str]:
        return iter(self._value)

    @override
    def __len__(self) -> int:
        return len(self._value)

    def skip(self, *keys: str) -> None:
        """Count keys as read: book-keeping of the tool, which says nothing of the video."""
        self._read.update(keys)

    def report(self, where: Where, prefix: str = "") -> None:
        """Report the keys that nobody read and that hold something (false, 0 and empty things are nothing)."""
        unread_keys = [key for key in self._value if key not in self._read and self._value[key] not in _NOTHING]
        for key in unread_keys[:_MOST_LEFT]:
            if not isinstance(self._value[key], Bad):  # `report_bad` does that
                where.add(f"{prefix}{show_name(key)}", f"{show(self._value[key])} is not read", "kept")
        if len(unread_keys) > _MOST_LEFT:
            where.add(prefix.rstrip("."), f"{len(unread_keys) - _MOST_LEFT} more keys are not read", "kept")


_NOTHING: Final[tuple[object, ...]] = (None, "", False, 0, [], {})
_MOST_LEFT: Final = 20


def items(value: object) -> list[Any]:
    """The JSON list, or an empty one."""
    return value if isinstance(value, list) else []


def text(value: object) -> str | None:
    """The text, when it is one and not empty."""
    return value if isinstance(value, str) and value else None


def number(fields: Mapping[str, Any], name: str, *, low: float = -math.inf, high: float = math.inf) -> float:
    """The number under a key, loosely written ("25", "30000/1001").

    Raises:
        RecordError: it is missing, not a number, or outside ``[low, high]``.
    """
    value = number_or_none(fields.get(name), name, low=low, high=high)
    if value is None:
        raise RecordError(name, "is missing")
    return value


def positive(value: object, where: Where, field_name: str) -> float | None:
    """A positive number, or None where nothing is said; anything else is reported and emptied."""
    try:
        return number_or_none(value, field_name, above=0.0)
    except RecordError as error:
        where.add(field_name, error.problem, "emptied")
        return None


def whole(value: object, where: Where, field_name: str) -> int | None:
    """A positive whole number, or None (see `positive`)."""
    amount = positive(value, where, field_name)
    if amount is None or amount == int(amount):
        return None if amount is None else int(amount)
    where.add(field_name, f"{amount:g} is not a whole number", "emptied")
    return None


def read_box(corners: tuple[float, float, float, float], where: Where, field_name: str) -> Box | None:
    """A box ``(x0, y0, x1, y1)`` in fractions, clipped to the frame; None where nothing is inside. Reports both."""
    x0, y0, x1, y1 = corners
    if not (x0 < x1 and y0 < y1):
        where.add(field_name, f"[{x0:g}, {y0:g}, {x1:g}, {y1:g}] (fractions of the frame) is empty", "emptied")
        return None
    clipped = (max(0.0, x0), max(0.0, y0), min(1.0, x1), min(1.0, y1))
    try:
        box = check_bbox(clipped, field_name)
    except RecordError:
        where.add(field_name, f"[{x0:g}, {y0:g}, {x1:g}, {y1:g}] (fractions) is outside the frame", "emptied")
        return None
    if min(x0, y0) < -EDGE or max(x1, y1) > 1 + EDGE:
        where.add(field_name, f"[{x0:g}, {y0:g}, {x1:g}, {y1:g}] (fractions) leaves the frame: clipped", "repaired")
    return box


def turned(
    corners: tuple[float, float, float, float], degrees: float, about: tuple[float, float]
) -> tuple[float, float, float, float]:
    """The box (pixels) that encloses a box turned clockwise about a point."""
    x0, y0, x1, y1 = corners
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    points = [
        (about[0] + (x - about[0]) * cos - (y - about[1]) * sin, about[1] + (x - about[0]) * sin + (y - about[1]) * cos)
        for x, y in ((x0, y0), (x1, y0), (x1, y1), (x0, y1))
    ]
    across, down = zip(*points, strict=True)
    return min(across), min(down), max(across), max(down)


def read_label(value: object) -> RecordLabel | None:
    """fake, real or unsure in the words that tools use for them, else None."""
    if not isinstance(value, str):
        return None
    return _LABELS.get(" ".join(value.lower().replace("_", " ").replace("-", " ").split()))


def read_categories(
    raw: Sequence[str], where: Where, field_name: str
) -> tuple[tuple[Category, ...] | None, tuple[str, ...]]:
    """The categories in raw tags (None: nothing is said), and the tags that fit none of the nine, reported."""
    tags = read_tags(tag for tag in raw if tag != TRACE_NAME)
    for tag in tags.unknown:
        where.add(field_name, f"{tag!r} is none of the nine categories; it is in extra['unknown_tags']", "kept")
    has_tags = any(tag != TRACE_NAME and tag not in tags.unknown for tag in raw)
    return (tags.categories if has_tags else None), tags.unknown


def tags_of(trace: Trace) -> list[str]:
    """The tags under which a trace is written: its categories, "none of the above", or nothing."""
    if trace.categories is None:
        return []
    return list(trace.categories) or [NO_CATEGORY]


# ── which video ─────────────────────────────────────────────────────────────────────────────────────────────────────


def clean_path(value: str, where: Where, field_name: str) -> str | None:
    """A path or web address as a path relative to the data's root, with forward slashes; None where none remains."""
    plain = value.replace("\\", "/")
    try:
        parts = urlsplit(plain)
    except ValueError:  # "//[": no web address
        parts = urlsplit("")
    query = parse_qs(parts.query, errors="surrogateescape") if parts.path.endswith(LOCAL_FILES_PATH) else {}
    drive = len(parts.scheme) == 1
    address = unquote(parts.path, errors="surrogateescape") if parts.scheme and not drive else plain
    file_path = query.get("d", [""])[0] or address
    path = PurePosixPath((file_path[2:] if drive else file_path).lstrip("/"))
    if ".." in path.parts:
        where.add(field_name, f"{value!r} climbs out of the data's folder: only its name is used", "repaired")
        path = PurePosixPath(path.name)
    return None if path.name in {"", ".", ".."} else str(path)


def path_url(prefix: str, path: str) -> str:
    """A path behind a prefix, so that `clean_path` reads it back: escaped where the prefix makes it a web address."""
    try:
        parts = urlsplit(prefix)
    except ValueError:
        return prefix + path
    if len(parts.scheme) > 1 or (parts.path.endswith(LOCAL_FILES_PATH) and parts.query):
        return prefix + quote(path.encode("utf-8", "surrogateescape"))
    return prefix + path


def stem(path: str) -> str:
    """An id made of the name of a file, without folder and extension."""
    return _id_of_path(PurePosixPath(path).stem)


def _id_of_path(name: str) -> str:
    """A text without surrogates; bytes of the name that are not UTF-8 become "\\xe9"."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def safe_name(video_id: str) -> str:
    """A file name for a video's id."""
    return "".join(char if char.isalnum() or char in "-_." else "_" for char in video_id).lstrip(".") or "video"


@dataclass(frozen=True)
class VideoFacts:
    """What is known of a video when its annotations are read. Width and height in pixels, ``fps`` frames a second.

    ``last_annotated`` is the frame (from 0) with which the annotated range ends, where a file says so. Which extent
    wins: what is annotated says when a track without an end ends, the video's own count cuts what lies beyond it.
    """

    width: float | None = None
    height: float | None = None
    fps: float | None = None
    num_frames: int | None = None
    info: VideoInfo | None = None
    last_annotated: int | None = None

    @property
    def open_end(self) -> int:
        """The last frame (from 0) of a track that is not closed; -1 where nobody says."""
        return (self.num_frames or 0) - 1 if self.last_annotated is None else self.last_annotated


def find_clip(
    infos: Mapping[str, VideoInfo] | None, video_id: str, path: str | None, declared: Mapping[str, Any], where: Where
) -> VideoFacts:
    """What ``infos`` knows of a video (by id, path or file name), else what the file says of it.

    ``declared`` has the file's own ``width``, ``height``, ``fps``, ``num_frames`` and ``duration``. A frame rate that
    differs from the one in ``infos`` is reported; ``infos`` wins.
    """
    names = [video_id, *([] if path is None else [path, PurePosixPath(path).name])]
    own_info = next((infos[name] for name in names if name in infos), None) if infos else None
    width, height = whole(declared.get("width"), where, "width"), whole(declared.get("height"), where, "height")
    fps, count = positive(declared.get("fps"), where, "fps"), whole(declared.get("num_frames"), where, "num_frames")
    duration = positive(declared.get("duration"), where, "duration")
    if own_info is None and isinstance(infos, ProbedInfos) and path is not None and None in (fps, width, height):
        own_info = infos.look(path)
    if own_info is not None:
        if fps is not None and own_info.fps is not None and abs(fps / own_info.fps - 1) > 5e-4:
            where.add("fps", f"{fps:g} differs from the video's own {own_info.fps:g}, which is used", "repaired")
        return VideoFacts(own_info.width, own_info.height, own_info.fps or fps, own_info.num_frames or count, own_info)
    info = None
    if width is not None and height is not None:
        info = VideoInfo(width, height, fps=fps, num_frames=count, duration_seconds=duration)
    return VideoFacts(width, height, fps, count, info)


def rate_or_refuse(clip_: VideoFacts, where: Where, *, needs_size: bool) -> bool:
    """Whether frames and pixels can be converted; what is missing is collected for `ConvertLog.check`."""
    name, log = where.video_id or "", where.log
    if clip_.info is not None and clip_.info.variable_frame_rate:
        log.variable_rate.append(name)
    elif clip_.fps is None:
        log.without_rate.append(name)
    elif needs_size and (clip_.width is None or clip_.height is None):
        log.without_size.append(name)
    else:
        return True
    return False


# ── traces and records ──────────────────────────────────────────────────────────────────────────────────────────────


def make_trace(
    segments: Sequence[Segment], fps: float, num_frames: int | None, where: Where, field_name: str, **fields: Any
) -> Trace:
    """A trace of segments in order; frames beyond the video are cut off and reported."""
    if num_frames is not None and segments and segments[-1].last >= num_frames:
        inside = clip(segments, num_frames)
        problem = f"frame {segments[-1].last} (from 0) is beyond the video's {num_frames} frames"
        where.add(field_name, problem, "repaired" if inside else "emptied")
        if not inside:
            first_box = next((segment.keys[0].bbox_xyxy for segment in segments if segment.keys), None)
            return Trace(bbox_xyxy=first_box, **fields)
        segments = inside
    trace = Trace(**place(segments, fps), **fields)
    if trace == Trace():
        where.add("trace", "is empty: neither a place nor a time nor words were read", "kept")
    return trace


def finish(drafts: Iterable[tuple[Record, bool]], log: ConvertLog) -> list[Record]:
    """Records with unique ids, labels and flags, of records and whether each one's id was said (not made of its path).

    Rows of the same video become one record. Made ids that meet get their folders. A record whose label nobody said is
    fake where it has a trace, with the flag "label: from its traces"; where annotators say different things it is None.
    """
    draft_list = list(drafts)
    log.check()
    paths: dict[str, set[str | None]] = {}
    for record, _ in draft_list:
        paths.setdefault(record.video_id, set()).add(record.path)
    merged: dict[tuple[str, str | None], list[Record]] = {}
    for record, has_own_id in draft_list:
        name = record.video_id
        if len(paths[name]) > 1 and record.path is not None and not has_own_id:
            name = _id_of_path(record.path.removesuffix(PurePosixPath(record.path).suffix))
            record = replace(record, video_id=name)  # noqa: PLW2901
        elif len(paths[name]) > 1:
            log.at(None, name).add("video_id", f"stands for {len(paths[name])} different files", "kept")
        merged.setdefault((record.video_id, record.path), []).append(record)
    return [_labelled(_joined(records), log) for records in merged.values()]


def _joined(records: Sequence[Record]) -> Record:
    """The rows of one video as one record."""
    if len(records) == 1:
        return records[0]
    annotations = tuple(annotation for record in records for annotation in record.annotations)
    return replace(
        records[0], annotations=annotations, flags=tuple(flag for record in records for flag in record.flags)
    )


def flags_of(problems: Iterable[Problem]) -> tuple[str, ...]:
    """What was emptied or repaired while a record was read, as its flags."""
    changed = (problem for problem in problems if problem.action in {"emptied", "repaired"})
    return tuple(dict.fromkeys(problem.tag for problem in changed))


def _labelled(record: Record, log: ConvertLog) -> Record:
    flags = record.flags
    label, labels = (
        record.label,
        {annotation.label for annotation in record.annotations if annotation.label is not None},
    )
    if label is None and len(labels) == 1:
        label = labels.pop()
    elif label is None and labels:
        problem = f"annotators say {', '.join(sorted(labels))}: see deeptrace.data.build.annotators.merge"
        log.at(None, record.video_id).add("label", problem, "kept")
    elif label is None and record.traces:
        label, flags = "fake", (*flags, "label: from its traces")
    annotations = tuple(
        replace(annotation, extra=_plain(annotation.extra)) if annotation.extra else annotation
        for annotation in record.annotations
    )
    flags = tuple(dict.fromkeys(flags))
    return replace(record, label=label, flags=flags, annotations=annotations, extra=_plain(record.extra))


RECORD_FIELDS: Final = ("video_id", "label", "source", "split", "prompt")
"""What of a record the formats carry beside its traces."""


def record_fields(values: Mapping[str, Any], where: Where) -> dict[str, Any]:
    """``label``, ``source``, ``split`` and ``prompt`` of a mapping that our own writers filled."""
    fields: dict[str, Any] = {}
    for name in RECORD_FIELDS[1:]:
        value = values.get(name)
        if value is None or report_if_bad(value, where, name):
            continue
        if not isinstance(value, str) or (name == "label" and read_label(value) is None):
            where.add(name, f"{value!r} is not {'a label' if name == 'label' else 'text'}", "emptied")
            continue
        fields[name] = read_label(value) if name == "label" else value
    return fields


def record_texts(record: Record) -> dict[str, str]:
    """What of `RECORD_FIELDS` a record says."""
    return {name: getattr(record, name) for name in RECORD_FIELDS if getattr(record, name) is not None}
