"""What all readers share: reporting, boxes, ids and paths, frame rates, labels and tags. Knows no format."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, Final
from urllib.parse import parse_qs, quote, unquote, urlsplit

from deeptrace.categories import Category, read_tags
from deeptrace.data.convert._frames import Segment, clip, place
from deeptrace.data.infos import InfoMissing, ProbedInfos
from deeptrace.data.log import Log as PlainLog
from deeptrace.data.problems import Action, Problem
from deeptrace.data.tolerant import Bad, is_text, loads, number_or_none, open_regular, refuse_bad, show_name
from deeptrace.errors import JsonError, RecordError
from deeptrace.files import MAX_DEPTH
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
class Log(PlainLog):
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
    shown = ", ".join(repr(video) for video in videos[:most])
    return shown if len(videos) <= most else f"{shown} and {len(videos) - most} more"


@dataclass(frozen=True)
class Where:
    """A place in a file: its row and its video."""

    log: Log
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
        if isinstance(child, Bad) and not child.told:
            child.told = True
            where.add(show_name(str(key)) if isinstance(key, str) else "a list", child.reason, "emptied")


def said_bad(value: object, where: Where, field_name: str) -> bool:
    """Whether a value could not be taken; reported if so."""
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
    kept = is_text(value) or isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))
    return value if kept else None


# ── values from outside ─────────────────────────────────────────────────────────────────────────────────────────────


def obj(value: object) -> Mapping[str, Any]:
    """The JSON object, or an empty one."""
    return value if isinstance(value, Mapping) else {}


def items(value: object) -> list[Any]:
    """The JSON list, or an empty one."""
    return value if isinstance(value, list) else []


def text(value: object) -> str | None:
    """The text, when it is one and not empty."""
    return value if isinstance(value, str) and value else None


def number(given: Mapping[str, Any], name: str, *, low: float = -math.inf, high: float = math.inf) -> float:
    """The number under a key, loosely written ("25", "30000/1001").

    Raises:
        RecordError: it is missing, not a number, or outside ``[low, high]``.
    """
    found = number_or_none(given.get(name), name, low=low, high=high)
    if found is None:
        raise RecordError(name, "is missing")
    return found


def positive(value: object, where: Where, field_name: str) -> float | None:
    """A positive number, or None where nothing is said; anything else is reported and emptied."""
    try:
        return number_or_none(value, field_name, above=0.0)
    except RecordError as error:
        where.add(field_name, error.problem, "emptied")
        return None


def whole(value: object, where: Where, field_name: str) -> int | None:
    """A positive whole number, or None (see `positive`)."""
    found = positive(value, where, field_name)
    if found is None or found == int(found):
        return None if found is None else int(found)
    where.add(field_name, f"{found:g} is not a whole number", "emptied")
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
    said = any(tag != TRACE_NAME and tag not in tags.unknown for tag in raw)
    return (tags.categories if said else None), tags.unknown


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
    named = query.get("d", [""])[0] or address
    path = PurePosixPath((named[2:] if drive else named).lstrip("/"))
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
    return _made_id(PurePosixPath(path).stem)


def _made_id(name: str) -> str:
    """A text without surrogates; bytes of the name that are not UTF-8 become "\\xe9"."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def safe_name(video_id: str) -> str:
    """A file name for a video's id."""
    return "".join(char if char.isalnum() or char in "-_." else "_" for char in video_id).lstrip(".") or "video"


@dataclass(frozen=True)
class Clip:
    """What is known of a video when its annotations are read. Width and height in pixels, ``fps`` frames a second."""

    width: float | None = None
    height: float | None = None
    fps: float | None = None
    num_frames: int | None = None
    info: VideoInfo | None = None


def find_clip(
    infos: Mapping[str, VideoInfo] | None, video_id: str, path: str | None, said: Mapping[str, Any], where: Where
) -> Clip:
    """What ``infos`` knows of a video (by id, path or file name), else what the file says of it.

    ``said`` has the file's own ``width``, ``height``, ``fps``, ``num_frames`` and ``duration``. A frame rate that
    differs from the one in ``infos`` is reported; ``infos`` wins.
    """
    names = [video_id, *([] if path is None else [path, PurePosixPath(path).name])]
    known = next((infos[name] for name in names if name in infos), None) if infos else None
    width, height = whole(said.get("width"), where, "width"), whole(said.get("height"), where, "height")
    fps, count = positive(said.get("fps"), where, "fps"), whole(said.get("num_frames"), where, "num_frames")
    duration = positive(said.get("duration"), where, "duration")
    if known is None and isinstance(infos, ProbedInfos) and path is not None and None in (fps, width, height):
        known = infos.look(path)
    if known is not None:
        if fps is not None and known.fps is not None and abs(fps / known.fps - 1) > 5e-4:
            where.add("fps", f"{fps:g} differs from the video's own {known.fps:g}, which is used", "repaired")
        return Clip(known.width, known.height, known.fps or fps, known.num_frames or count, known)
    info = None
    if width is not None and height is not None:
        info = VideoInfo(width, height, fps=fps, num_frames=count, duration_seconds=duration)
    return Clip(width, height, fps, count, info)


def rate_or_refuse(clip_: Clip, where: Where, *, needs_size: bool) -> bool:
    """Whether frames and pixels can be converted; what is missing is collected for `Log.check`."""
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
    segments: Sequence[Segment], fps: float, num_frames: int | None, where: Where, field_name: str, **said: Any
) -> Trace:
    """A trace of segments in order; frames beyond the video are cut off and reported."""
    if num_frames is not None and segments and segments[-1].last >= num_frames:
        inside = clip(segments, num_frames)
        problem = f"frame {segments[-1].last} (from 0) is beyond the video's {num_frames} frames"
        where.add(field_name, problem, "repaired" if inside else "emptied")
        if not inside:
            boxed = next((segment.keys[0].bbox_xyxy for segment in segments if segment.keys), None)
            return Trace(bbox_xyxy=boxed, **said)
        segments = inside
    return Trace(**place(segments, fps), **said)


def finish(drafts: Iterable[tuple[Record, bool]], log: Log) -> list[Record]:
    """Records with unique ids, labels and flags, of records and whether each one's id was said (not made of its path).

    Rows of the same video become one record. Made ids that meet get their folders. A record whose label nobody said is
    fake where it has a trace, with the flag "label: from its traces"; where annotators say different things it is None.
    """
    listed = list(drafts)
    log.check()
    paths: dict[str, set[str | None]] = {}
    for record, _ in listed:
        paths.setdefault(record.video_id, set()).add(record.path)
    merged: dict[tuple[str, str | None], Record] = {}
    for record, said in listed:
        name = record.video_id
        if len(paths[name]) > 1 and record.path is not None and not said:
            name = _made_id(record.path.removesuffix(PurePosixPath(record.path).suffix))
            record = replace(record, video_id=name)  # noqa: PLW2901
        elif len(paths[name]) > 1:
            log.at(None, name).add("video_id", f"stands for {len(paths[name])} different files", "kept")
        key = (record.video_id, record.path)
        if key in merged:
            first = merged[key]
            record = replace(  # noqa: PLW2901
                first, annotations=first.annotations + record.annotations, flags=first.flags + record.flags
            )
        merged[key] = record
    return [_labelled(record, log) for record in merged.values()]


def flags_of(problems: Iterable[Problem]) -> tuple[str, ...]:
    """What was emptied or repaired while a record was read, as its flags."""
    changed = (problem for problem in problems if problem.action in {"emptied", "repaired"})
    return tuple(dict.fromkeys(problem.tag for problem in changed))


def _labelled(record: Record, log: Log) -> Record:
    flags = record.flags
    label, said = record.label, {a.label for a in record.annotations if a.label is not None}
    if label is None and len(said) == 1:
        label = said.pop()
    elif label is None and said:
        problem = f"annotators say {', '.join(sorted(said))}: see deeptrace.data.annotators.merge"
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


def record_fields(said: Mapping[str, Any], where: Where) -> dict[str, Any]:
    """``label``, ``source``, ``split`` and ``prompt`` of a mapping that our own writers filled."""
    fields: dict[str, Any] = {}
    for name in RECORD_FIELDS[1:]:
        value = said.get(name)
        if value is None or said_bad(value, where, name):
            continue
        if not isinstance(value, str) or (name == "label" and read_label(value) is None):
            where.add(name, f"{value!r} is not {'a label' if name == 'label' else 'text'}", "emptied")
            continue
        fields[name] = read_label(value) if name == "label" else value
    return fields


def said_fields(record: Record) -> dict[str, str]:
    """What of `RECORD_FIELDS` a record says."""
    return {name: getattr(record, name) for name in RECORD_FIELDS if getattr(record, name) is not None}
