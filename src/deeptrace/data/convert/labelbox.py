"""Labelbox video exports, version 2 (NDJSON, one video a line), to records. The writer is in `labelbox_write`.

Frames count from 1 there, boxes are top, left, height, width in pixels, ``segments`` are inclusive ranges, and between
key frames a box moves in a line inside its segment. An export with ``interpolated_frames`` holds every frame; it is
thinned to its key frames. Nested classifications hold categories (checklist, radio) and the explanation (text).
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from deeptrace.categories import read_tags
from deeptrace.data.convert._common import (
    ConvertLog,
    Fields,
    VideoFacts,
    Where,
    clean_path,
    find_clip,
    finish,
    flags_of,
    items,
    make_trace,
    number,
    obj,
    rate_or_refuse,
    read_box,
    read_categories,
    read_json,
    read_label,
    read_lines,
    record_fields,
    report_bad,
    stem,
    text,
)
from deeptrace.data.convert._frames import MAX_FRAME, FrameBox, Segment, cover, thin
from deeptrace.data.read.problems import Problem
from deeptrace.data.read.tolerant import show
from deeptrace.errors import JsonError, RecordError
from deeptrace.files import open_regular, read_bytes
from deeptrace.records import Annotation, Record, RecordLabel, Trace, VideoInfo

_TAG_QUESTIONS: Final = ("categor", "tag", "check", "applies", "type")
_TEXT_QUESTIONS: Final = ("expla", "reason", "why", "comment", "descri")
_TOLERANCE_PX: Final = 0.02


def read(path: Path, infos: Mapping[str, VideoInfo] | None) -> tuple[list[Record], list[Problem]]:
    """The records of an export; one annotation per label. See `deeptrace.data.convert.read`."""
    log = ConvertLog(path.name)
    drafts = list(_rows(path, infos, log))
    return finish(drafts, log), log.problems


def _rows(path: Path, infos: Mapping[str, VideoInfo] | None, log: ConvertLog) -> Iterator[tuple[Record, bool]]:
    for row_number, content in _raw_rows(path):
        row = Fields(content)
        data_row = obj(row.get("data_row"))
        names = (data_row.get("external_id"), data_row.get("global_key"), data_row.get("row_data"))
        name = next((value for value in names if text(value)), None)
        start = len(log.problems)
        meta = {
            text(obj(field).get("schema_name")) or "": obj(field).get("value")
            for field in items(row.get("metadata_fields"))
        }
        own_id = text(meta.get("video_id"))
        where = log.at(row_number, own_id)
        clean = None if name is None else clean_path(name, where, "external_id")
        if clean is None and own_id is None:
            where.add("data_row", "has no external_id, global_key or row_data", "set_aside")
            continue
        video_id = own_id or stem(clean or "")
        where = log.at(row_number, video_id)
        media = obj(row.get("media_attributes"))
        clip = find_clip(infos, video_id, clean, _media(media), where)
        annotations = [
            _label(Fields(label), project_id, obj(project), clip, where)
            for project_id, project in obj(row.get("projects")).items()
            for label in items(obj(project).get("labels"))
            if not _is_skipped(obj(label), where)
        ]
        extra = {key: value for key, value in data_row.items() if key == "id"}
        fields = record_fields(meta, where)
        row.skip("attachments", "project_details", "embeddings", "status", "priority", "batch_name")
        row.report(where, "row.")
        report_bad(content, where)
        yield (
            Record(
                video_id,
                clean,
                info=clip.info,
                annotations=tuple(annotations),
                flags=flags_of(log.problems[start:]),
                extra={"labelbox": extra} if extra else {},
                **fields,
            ),
            own_id is not None,
        )


def _raw_rows(path: Path) -> Iterator[tuple[int, Any]]:
    """Each row with its number from 1: a line each, or the items of one JSON list."""
    with open(open_regular(path), "rb") as file:
        head = file.read(1024).removeprefix(b"\xef\xbb\xbf").lstrip()
    if not head.startswith(b"["):
        yield from read_lines(path)
        return
    try:
        rows = read_json(read_bytes(path))
    except JsonError as error:
        raise JsonError(f"{path.name}: {error}") from None
    yield from enumerate(items(rows), 1)


def _is_skipped(label: Mapping[str, Any], where: Where) -> bool:
    """Whether the annotator skipped the video, which is no annotation; reported."""
    details = [label, obj(label.get("performance_details")), obj(label.get("label_details"))]
    skipped = any(one.get(name) is True for one in details for name in ("skipped", "is_skipped", "Skipped"))
    if skipped:
        where.add("skipped", "the annotator skipped the video", "set_aside")
    return skipped


def _media(media: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "width": media.get("width"),
        "height": media.get("height"),
        "fps": media.get("frame_rate"),
        "num_frames": media.get("frame_count"),
        "duration": media.get("duration"),
    }


# ── one label ───────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class _Feature:
    """One object over all frames: its boxes (pixels as given), its answers."""

    boxes: list[tuple[int, Mapping[str, Any]]] = field(default_factory=list)
    names: dict[str, None] = field(default_factory=dict)
    kinds: dict[str, None] = field(default_factory=dict)
    tags: dict[str, None] = field(default_factory=dict)
    texts: dict[str, None] = field(default_factory=dict)
    others: dict[str, Any] = field(default_factory=dict)


def _label(row: Fields, project_id: str, project: Mapping[str, Any], clip: VideoFacts, where: Where) -> Annotation:
    annotations, details = Fields(row.get("annotations")), obj(row.get("label_details"))
    row.skip("id", "version", "label_kind", "performance_details")
    annotations.skip("frames", "segments", "key_frame_feature_map", "classifications")
    rest: dict[str, Any] = {"project_id": project_id}
    rest.update({key: project[key] for key in ("name",) if key in project})
    rest.update({f"label_{key}": row[key] for key in ("id", "version") if key in row})
    rest.update({key: value for key, value in details.items() if key != "created_by" and value})
    verdict = _verdict(items(annotations.get("classifications")), rest, where)
    traces: list[Trace] = []
    unknown: list[dict[str, Any]] = []
    features = _features(obj(annotations.get("frames")), rest, where)
    drawing_order = [name for name in obj(annotations.get("segments")) if name in features]  # in the order of drawing
    for feature_id in dict.fromkeys([*drawing_order, *features]):
        feature = features[feature_id]
        if not all(kind == "VideoBoundingBox" for kind in feature.kinds):
            rest.setdefault("other_objects", []).append({"feature_id": feature_id, "kinds": list(feature.kinds)})
            where.add("annotation_kind", f"{', '.join(feature.kinds)} is no box: not imported", "kept")
            continue
        if not rate_or_refuse(clip, where, needs_size=True):
            break
        trace, tags = _trace(feature_id, feature, annotations, clip, where)
        if tags:
            unknown.append({"trace": len(traces), "tags": list(tags)})
        if feature.others:
            where.add("classifications", f"{', '.join(map(show, feature.others))} has no field: in extra", "kept")
            rest.setdefault("answers", []).append({"trace": len(traces), **feature.others})
        traces.append(trace)
    row.report(where, "label.")
    annotations.report(where, "annotations.")
    extra: dict[str, Any] = {"labelbox": rest}
    if unknown:
        extra["unknown_tags"] = unknown
    return Annotation(tuple(traces), verdict, text(details.get("created_by")), extra)


def _verdict(classifications: list[Any], rest: dict[str, Any], where: Where) -> RecordLabel | None:
    label: RecordLabel | None = None
    for classification in classifications:
        name, answers, _ = _answers(obj(classification))
        answer_label = next((own_label for answer in answers if (own_label := read_label(answer)) is not None), None)
        if answer_label is not None and label is None:
            label = answer_label
        else:
            where.add("classifications", f"{show(name)} has no field: it is in extra['labelbox']", "kept")
            rest.setdefault("classifications", []).append({"name": name, "answers": answers})
    return label


def _answers(classification: Mapping[str, Any]) -> tuple[str, list[str], bool]:
    """The question's name, its answers as text, and whether it was a choice (not free text)."""
    name = text(classification.get("name")) or text(classification.get("value")) or ""
    content = obj(classification.get("text_answer")).get("content")
    if isinstance(content, str):
        return name, [content], False
    choices = [obj(classification.get("radio_answer")), *map(obj, items(classification.get("checklist_answers")))]
    names = [text(answer.get("name")) or text(answer.get("value")) for answer in choices]
    return name, [answer for answer in names if answer], True


def _features(frames: Mapping[str, Any], rest: dict[str, Any], where: Where) -> dict[str, _Feature]:
    features: dict[str, _Feature] = {}
    for key, content in frames.items():
        if _frame(key) is None:
            where.add(f"frames[{key!r}]", "is not a frame number from 1", "emptied")
            continue
        if items(obj(content).get("classifications")):
            if "frame_classifications" not in rest:
                where.add("frames.classifications", "of single frames have no field: they are in extra", "kept")
            rest.setdefault("frame_classifications", {})[key] = obj(content)["classifications"]
        for feature_id, item in obj(obj(content).get("objects")).items():
            feature = features.setdefault(feature_id, _Feature())
            row = obj(item)
            default = "VideoBoundingBox" if "bounding_box" in row else "an unknown kind"
            feature.kinds[text(row.get("annotation_kind")) or default] = None
            feature.names[text(row.get("name")) or ""] = None
            feature.boxes.append((int(key), obj(row.get("bounding_box"))))
            for classification in items(row.get("classifications")):
                _sort_answers(feature, obj(classification))
    for feature in features.values():
        feature.boxes.sort(key=lambda pair: pair[0])
    return features


def _sort_answers(feature: _Feature, classification: Mapping[str, Any]) -> None:
    name, answers, choices = _answers(classification)
    plain = name.lower()
    if choices and (any(word in plain for word in _TAG_QUESTIONS) or read_tags(answers).categories):
        feature.tags.update(dict.fromkeys(answers))
    elif not choices and any(word in plain for word in _TEXT_QUESTIONS):
        feature.texts.update(dict.fromkeys(answers))
    elif answers:
        feature.others[name] = answers


def _trace(
    feature_id: str, feature: _Feature, annotations: Mapping[str, Any], clip: VideoFacts, where: Where
) -> tuple[Trace, tuple[str, ...]]:
    texts = [line for line in feature.texts if line]
    if len(texts) > 1:
        where.add("explanation", f"changes over time; the first of {len(texts)} is used", "repaired")
        feature.others["explanations"] = texts
    category_names = [name for name in feature.names if name and read_tags([name]).categories]
    categories, unknown = read_categories([*feature.tags, *category_names], where, "category")
    segments = _segments(feature_id, feature, annotations, clip, where)
    trace = make_trace(
        segments,
        clip.fps or 1.0,
        clip.num_frames,
        where,
        "segments",
        categories=categories,
        explanation=texts[0] if texts else None,
    )
    return trace, unknown


def _segments(
    feature_id: str, feature: _Feature, annotations: Mapping[str, Any], clip: VideoFacts, where: Where
) -> tuple[Segment, ...]:
    width, height = clip.width or 1.0, clip.height or 1.0
    keys = []
    for frame, sides in feature.boxes:
        name = f"frames[{frame}].bounding_box"
        try:
            left, top, wide, high = (number(sides, part) for part in ("left", "top", "width", "height"))
        except RecordError as error:
            where.add(f"{name}.{error.field}", error.problem, "emptied")
            continue
        box = read_box((left / width, top / height, (left + wide) / width, (top + high) / height), where, name)
        if box is not None:
            keys.append(FrameBox(frame - 1, box))
    if not keys:
        where.add("bounding_box", f"none of object {feature_id!r} is usable", "emptied")
    ranges = _ranges(feature_id, annotations, where)
    if not ranges and keys:
        where.add("segments", f"says nothing of object {feature_id!r}: first to last key frame is taken", "repaired")
        ranges = [(keys[0].frame, keys[-1].frame)]
    frames = [key.frame for key in keys]
    inside = {frame for segment in cover(ranges, ())[0] for frame in _within(frames, segment)}
    outside = [key.frame + 1 for key in keys if key.frame not in inside]
    if outside:
        where.add("segments", f"does not hold the boxes at frames {outside[:5]}", "kept")
    marked = _marked(annotations, feature_id)
    segments, borrowed = cover(ranges, keys)
    if borrowed and keys:
        where.add("segments", f"{borrowed} without a box of its own: the nearest box holds", "repaired")
    tolerance = _TOLERANCE_PX / max(width, height)
    return tuple(
        Segment(segment.first, segment.last, tuple(thin(segment.keys, marked, tolerance))) for segment in segments
    )


def _within(frames: list[int], segment: Segment) -> list[int]:
    """Those of ordered frame numbers that lie in a segment."""
    return frames[bisect.bisect_left(frames, segment.first) : bisect.bisect_right(frames, segment.last)]


def _marked(annotations: Mapping[str, Any], feature_id: str) -> set[int]:
    """The key frames (from 0), from ``{"13": true}`` or ``[13, 19]``."""
    frames = obj(annotations.get("key_frame_feature_map")).get(feature_id)
    keys = [key for key, value in frames.items() if value] if isinstance(frames, Mapping) else items(frames)
    return {frame_number - 1 for frame in keys if (frame_number := _frame(frame)) is not None}


def _frame(value: object) -> int | None:
    """A frame number from 1, given as text or as a number; None for anything else."""
    digits = str(value)
    frame = int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 10 else 0
    return frame if 1 <= frame <= MAX_FRAME else None


def _ranges(feature_id: str, annotations: Mapping[str, Any], where: Where) -> list[tuple[int, int]]:
    ranges = []
    for span in items(obj(annotations.get("segments")).get(feature_id)):
        match span:
            case [int(first), int(last)] if 1 <= first <= last <= MAX_FRAME:
                ranges.append((first - 1, last - 1))
            case _:
                where.add("segments", f"{span!r} is not a range [first, last] of frames from 1", "emptied")
    return ranges
