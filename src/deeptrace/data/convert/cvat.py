"""CVAT for video 1.1 (XML, or the zip that holds it) to records. The writer is in `cvat_write`.

Frames count from 0, boxes are pixels with two decimals. A box with ``outside="1"`` hides the track from its frame on;
after a last visible key frame the track goes on to the end of the video. Both layouts are read: every frame (what
CVAT exports), thinned to its key frames, and key frames only. A file holds one video and does not say its frame rate:
it comes from ``infos``, or from the ``<deeptrace>`` element that our writer adds and CVAT ignores.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from deeptrace.data.convert._common import (
    ConvertLog,
    VideoFacts,
    Where,
    clean_path,
    find_clip,
    finish,
    flags_of,
    make_trace,
    rate_or_refuse,
    read_box,
    read_categories,
    read_label,
    record_fields,
    stem,
    turned,
)
from deeptrace.data.convert._frames import MAX_FRAME, FrameBox, Segment, between, cover, thin
from deeptrace.data.read.problems import Problem
from deeptrace.errors import FileError, MissingExtra
from deeptrace.files import open_regular, read_bytes
from deeptrace.records import Annotation, Box, Record, RecordLabel, Trace, VideoInfo

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

MAX_BYTES: Final = 256 * 1024**2
"""The largest XML that is read; a zip cannot unfold beyond it."""

_TOLERANCE_PX: Final = 0.02


def read(path: Path, infos: Mapping[str, VideoInfo] | None) -> tuple[list[Record], list[Problem]]:
    """The record of a file, or the records of a folder of files. See `deeptrace.data.convert.read`."""
    files = (
        sorted(file for file in path.iterdir() if file.suffix.lower() in {".xml", ".zip"}) if path.is_dir() else [path]
    )
    log = ConvertLog(path.name)
    drafts, problems = [], []
    for file in files:
        one = ConvertLog(file.name)
        drafts.append(_read_one(file, infos, one))
        log.without_rate += one.without_rate
        log.variable_rate += one.variable_rate
        log.without_size += one.without_size
        problems += one.problems
    log.problems += problems
    return finish((draft for draft in drafts if draft is not None), log), log.problems


# ── XML ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _bytes(path: Path) -> bytes:
    try:
        if path.suffix.lower() != ".zip":
            return read_bytes(path, limit=MAX_BYTES)
        with (
            open(open_regular(path), "rb") as packed,
            zipfile.ZipFile(packed) as archive,
            archive.open("annotations.xml") as file,
        ):
            content = file.read(MAX_BYTES + 1)
    except (OSError, zipfile.BadZipFile, KeyError, EOFError, zlib.error, RuntimeError) as error:
        raise FileError(f"cannot read {path.name!r}: {error}") from None
    if len(content) > MAX_BYTES:
        raise FileError(f"annotations.xml in {path.name!r} unfolds to more than {MAX_BYTES} bytes")
    return content


def parse(content: bytes, name: str) -> Element:
    """The root of an XML document without document type and entities.

    Raises:
        FileError: not XML (with line and column), or one with entities.
        MissingExtra: defusedxml is not installed.
    """
    try:
        from defusedxml.common import DefusedXmlException
        from defusedxml.ElementTree import ParseError, fromstring
    except ImportError:
        raise MissingExtra("reading CVAT files", "data") from None
    try:
        root: Element = fromstring(content, forbid_dtd=True)
    except DefusedXmlException:
        raise FileError(f"{name!r} has a document type or entities, which annotations never need: refused") from None
    except (ParseError, ValueError, LookupError) as error:
        raise FileError(f"{name!r} is not XML: {error}") from None
    return root


# ── one file ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _read_one(path: Path, infos: Mapping[str, VideoInfo] | None, log: ConvertLog) -> tuple[Record, bool] | None:
    root = parse(_bytes(path), path.name)
    if root.tag != "annotations":
        raise FileError(f"{path.name!r} is not a CVAT file: its root is <{root.tag[:40]}>, expected <annotations>")
    if root.find("image") is not None:
        raise FileError(f"{path.name!r} is 'CVAT for images': export the task as 'CVAT for video 1.1'")
    if root.find("meta/project") is not None:
        raise FileError(f"{path.name!r} holds a whole project: export each task by itself")
    meta = root.find("meta")
    task = next(
        (element for tag in ("task", "job") if meta is not None and (element := meta.find(tag)) is not None), None
    )
    own = None if meta is None else meta.find("deeptrace")
    own_attributes = {} if own is None else dict(own.attrib)
    where = log.at(None, own_attributes.get("video_id"))
    raw_path = own_attributes.get("path") or _text(root, "meta/source") or _text(task, "source")
    clean = None if raw_path is None else clean_path(raw_path, where, "source")
    video_id = own_attributes.get("video_id") or (stem(clean) if clean else _text(task, "name"))
    if not video_id:
        where.add("source", "is missing, and so is the task's name: the file names no video", "set_aside")
        return None
    where = log.at(None, video_id)
    size = {key: _text(root, f"meta/{key}") or _text(task, key) for key in ("size", "stop_frame")}
    original = root.find("meta/original_size")
    if original is None and task is not None:
        original = task.find("original_size")
    declared: dict[str, Any] = {
        "width": _number(_text(original, "width")),
        "height": _number(_text(original, "height")),
        "fps": _number(own_attributes.get("fps")),
        "num_frames": _number(own_attributes.get("num_frames")),
        "duration": _number(own_attributes.get("duration")),
    }
    clip = find_clip(infos, video_id, clean, declared, where)
    stop = _number(size["stop_frame"])
    num_frames = clip.num_frames or (None if stop is None else int(stop) + 1)
    clip = VideoFacts(clip.width, clip.height, clip.fps, num_frames, clip.info, None if stop is None else int(stop))
    assignee = _text(task, "assignee/username")
    _report_unread(root, task, where)
    annotations = _annotations(root, own, assignee, clip, where)
    fields = record_fields(own_attributes, where)
    flags = flags_of(log.problems)
    return Record(
        video_id, clean, info=clip.info, annotations=annotations, flags=flags, **fields
    ), "video_id" in own_attributes


_KNOWN_ELEMENTS: Final = frozenset({"version", "meta", "track"})
_KNOWN_OF_A_BOX: Final = frozenset(
    {"frame", "keyframe", "outside", "occluded", "xtl", "ytl", "xbr", "ybr", "z_order", "rotation", "source"}
)


def _report_unread(root: Element, task: Element | None, where: Where) -> None:
    """Report the elements of a file that are not read, and frames that were left out."""
    for tag, count in Counter(child.tag for child in root if child.tag not in _KNOWN_ELEMENTS).items():
        where.add(str(tag)[:80], f"{count} of these elements are not read", "kept")
    step = _text(task, "frame_filter")
    if step and step.strip():
        where.add("frame_filter", f"{step.strip()[:40]!r}: frames between those that were shown hold no boxes", "kept")


def _report_shapes(shapes: list[Element], where: Where) -> None:
    """Report the attributes of a track's boxes that become no field."""
    unread = Counter(name for shape in shapes for name in shape.keys() if name not in _KNOWN_OF_A_BOX)  # noqa: SIM118
    unread["occluded"] = sum(shape.get("occluded") == "1" for shape in shapes)
    for name, count in (+unread).items():
        where.add(f"box.{str(name)[:60]}", f"of {count} boxes is not read", "kept")


def _text(element: Element | None, tag: str) -> str | None:
    child = None if element is None else element.find(tag)
    return (child.text or None) if child is not None else None


def _number(value: str | None) -> float | None:
    if value is None:
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


# ── tracks ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class _Group:
    """What one annotator said."""

    traces: list[Trace]
    unknown: list[dict[str, Any]]
    tracks: list[dict[str, Any]]
    label: RecordLabel | None = None


def _annotations(
    root: Element, own: Element | None, assignee: str | None, clip: VideoFacts, where: Where
) -> tuple[Annotation, ...]:
    groups: dict[str | None, _Group] = {}
    for element in () if own is None else own.iter("annotation"):
        group = groups.setdefault(element.get("annotator"), _Group([], [], []))
        group.label = group.label or read_label(element.get("label"))
    for index, track in enumerate(root.iter("track")):
        place = where.log.at(index, where.video_id)
        if not rate_or_refuse(clip, place, needs_size=True):
            break
        attributes = _attributes(track, place)
        annotator = attributes.pop("annotator", None) or assignee
        group = groups.setdefault(annotator, _Group([], [], []))
        trace, unknown, rest = _trace(track, attributes, clip, place)
        if trace is None:
            continue
        if unknown:
            group.unknown.append({"trace": len(group.traces), "tags": list(unknown)})
        for name in attributes:
            place.add(f"attribute {name[:60]!r}", "has no field: it is in extra['cvat']", "kept")
        if rest:
            group.tracks.append({"trace": len(group.traces), **rest})
        group.traces.append(trace)
    others = sorted({shape.tag for track in root.iter("track") for shape in track if shape.tag != "box"})
    if others:
        where.add("track", f"holds {', '.join(others)}: only boxes are imported", "kept")
    return tuple(
        Annotation(tuple(group.traces), group.label, annotator, dict(_extra(group)))
        for annotator, group in groups.items()
    )


def _extra(group: _Group) -> Iterator[tuple[str, Any]]:
    if group.unknown:
        yield "unknown_tags", group.unknown
    if group.tracks:
        yield "cvat", group.tracks


def _attributes(track: Element, where: Where) -> dict[str, str]:
    """The attributes of a track; of one that changes from box to box, the first that is not empty."""
    values: dict[str, str] = {}
    changing = set()
    for attribute in track.iter("attribute"):
        name, value = attribute.get("name"), attribute.text
        if name and value and values.setdefault(name, value) != value:
            changing.add(name)
    for name in sorted(changing):
        where.add(f"attribute {name!r}", "changes from box to box: the first value is used", "repaired")
    return values


def _trace(
    track: Element, attributes: dict[str, str], clip: VideoFacts, where: Where
) -> tuple[Trace | None, tuple[str, ...], dict[str, Any]]:
    label = track.get("label")
    if label is None:
        where.add("track.label", "is missing", "emptied")
    shapes = track.findall("box")
    if not shapes:
        if not len(track):
            where.add("track", "holds no box", "emptied")
        return None, (), {}
    segments = _segments(shapes, clip, where)
    others = [tag.strip() for tag in attributes.pop("other_categories", "").split(";") if tag.strip()]
    tags = ([label] if label else []) + others
    categories, unknown = read_categories(tags, where, "label")
    explanation = attributes.pop("explanation", None)
    fields = {"categories": categories, "explanation": explanation}
    trace = make_trace(segments, clip.fps or 1.0, clip.num_frames, where, "box.frame", **fields)
    return trace, unknown, {"attributes": attributes} if attributes else {}


def _segments(shapes: list[Element], clip: VideoFacts, where: Where) -> tuple[Segment, ...]:
    _report_shapes(shapes, where)
    boxes: dict[int, tuple[Box | None, bool]] = {}  # frame -> box, outside
    marked = set()
    for index, shape in enumerate(shapes):
        frame = _frame(shape, index, where)
        if frame is None:
            continue
        outside = shape.get("outside") == "1"
        box = _box(shape, clip, frame, where)
        if box is None and not outside:
            continue
        if frame in boxes:
            where.add("box.frame", f"{frame} stands twice in one track: the later box is taken", "repaired")
        boxes[frame] = (box, outside)
        if shape.get("keyframe", "1") == "1":
            marked.add(frame)
    ranges: list[tuple[int, int]] = []
    keys: list[FrameBox] = []
    first: int | None = None
    for frame in sorted(boxes):
        box, outside = boxes[frame]
        if not outside and box is not None:
            first = frame if first is None else first
            keys.append(FrameBox(frame, box))
        elif first is not None:
            ranges.append((first, frame - 1))
            first = None
            if box is not None and keys[-1].frame < frame - 1:  # the box moves on towards the one that hides it
                keys.append(FrameBox(frame - 1, between(keys[-1], FrameBox(frame, box), frame - 1)))
    if first is not None:
        ranges.append((first, max(keys[-1].frame, clip.open_end)))
    if not keys:
        where.add("box", "none of the track is usable", "emptied")
    tolerance = _TOLERANCE_PX / max(clip.width or 1.0, clip.height or 1.0)
    segments, _ = cover(ranges, keys)
    return tuple(
        Segment(segment.first, segment.last, tuple(thin(segment.keys, marked, tolerance))) for segment in segments
    )


def _frame(shape: Element, index: int, where: Where) -> int | None:
    number = shape.get("frame")
    if number is None or not (number.isascii() and number.isdigit()) or len(number) > 9 or int(number) > MAX_FRAME:
        problem = "is missing" if number is None else f"{number[:40]!r} is not a frame number from 0"
        where.add("box.frame", f"(box {index} of the track) {problem}", "emptied")
        return None
    return int(number)


def _box(shape: Element, clip: VideoFacts, frame: int, where: Where) -> Box | None:
    values = []
    for name in ("xtl", "ytl", "xbr", "ybr"):
        number = _number(shape.get(name))
        if number is None:
            problem = "is missing" if shape.get(name) is None else f"{str(shape.get(name))[:40]!r} is not a number"
            where.add(f"box.{name}", f"(frame {frame}) {problem}", "emptied")
            return None
        values.append(number)
    width, height = clip.width or 1.0, clip.height or 1.0
    x0, y0, x1, y1 = values
    degrees = _number(shape.get("rotation"))
    if degrees is None and shape.get("rotation") is not None:
        where.add("box.rotation", f"(frame {frame}) {shape.get('rotation')!r:.60} is not a number", "emptied")
    if degrees and degrees % 360:
        x0, y0, x1, y1 = turned((x0, y0, x1, y1), degrees, ((x0 + x1) / 2, (y0 + y1) / 2))
        where.add(
            "box.rotation", f"(frame {frame}) {degrees:g} degrees: the upright box around it is taken", "repaired"
        )
    return read_box((x0 / width, y0 / height, x1 / width, y1 / height), where, f"box (frame {frame})")
