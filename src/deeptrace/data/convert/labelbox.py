"""Labelbox video exports, version 2 (NDJSON, one video a line), to records. The writer is in `labelbox_write`.

Frames count from 1 there, boxes are top, left, height, width in pixels, ``segments`` are inclusive ranges, and between
key frames a box moves in a line inside its segment. An export with ``interpolated_frames`` holds every frame; it is
thinned to its key frames. Nested classifications hold categories (checklist, radio) and the explanation (text).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from deeptrace.categories import read_tags
from deeptrace.data.convert._common import (
    Clip,
    Log,
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
    read_label,
    read_lines,
    record_fields,
    report_bad,
    stem,
    text,
)
from deeptrace.data.convert._frames import MAX_FRAME, FrameBox, Segment, cover, thin
from deeptrace.data.problems import Problem
from deeptrace.errors import RecordError
from deeptrace.records import Annotation, Record, RecordLabel, Trace, VideoInfo

_TAG_QUESTIONS: Final = ("categor", "tag", "check", "applies", "type")
_TEXT_QUESTIONS: Final = ("expla", "reason", "why", "comment", "descri")
_TOLERANCE_PX: Final = 0.02


def read(path: Path, infos: Mapping[str, VideoInfo] | None) -> tuple[list[Record], list[Problem]]:
    """The records of an export; one annotation per label. See `deeptrace.data.convert.read`."""
    log = Log(path.name)
    drafts = list(_rows(path, infos, log))
    return finish(drafts, log), log.problems


def _rows(path: Path, infos: Mapping[str, VideoInfo] | None, log: Log) -> Iterator[tuple[Record, bool]]:
    for row_number, row in read_lines(path):
        data_row = obj(obj(row).get("data_row"))
        names = (data_row.get("external_id"), data_row.get("global_key"), data_row.get("row_data"))
        name = next((value for value in names if text(value)), None)
        start = len(log.problems)
        meta = {
            text(obj(m).get("schema_name")) or "": obj(m).get("value") for m in items(obj(row).get("metadata_fields"))
        }
        said = text(meta.get("video_id"))
        where = log.at(row_number, said)
        clean = None if name is None else clean_path(name, where, "external_id")
        if clean is None and said is None:
            where.add("data_row", "has no external_id, global_key or row_data", "set_aside")
            continue
        video_id = said or stem(clean or "")
        where = log.at(row_number, video_id)
        media = obj(row.get("media_attributes"))
        clip = find_clip(infos, video_id, clean, _media(media), where)
        annotations = [
            _label(label, project_id, obj(project), clip, where)
            for project_id, project in obj(row.get("projects")).items()
            for label in items(obj(project).get("labels"))
        ]
        extra = {key: value for key, value in data_row.items() if key == "id"}
        fields = record_fields(meta, where)
        report_bad(row, where)
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
            said is not None,
        )


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


def _label(label: object, project_id: str, project: Mapping[str, Any], clip: Clip, where: Where) -> Annotation:
    said = obj(label)
    annotations, details = obj(said.get("annotations")), obj(said.get("label_details"))
    kept: dict[str, Any] = {"project_id": project_id}
    kept.update({key: project[key] for key in ("name",) if key in project})
    kept.update({f"label_{key}": said[key] for key in ("id", "version") if key in said})
    kept.update({key: value for key, value in details.items() if key != "created_by" and value})
    verdict = _verdict(items(annotations.get("classifications")), kept)
    traces: list[Trace] = []
    unknown: list[dict[str, Any]] = []
    features = _features(obj(annotations.get("frames")), kept, where)
    listed = [name for name in obj(annotations.get("segments")) if name in features]  # in the order of drawing
    for feature_id in dict.fromkeys([*listed, *features]):
        feature = features[feature_id]
        if not all(kind == "VideoBoundingBox" for kind in feature.kinds):
            kept.setdefault("other_objects", []).append({"feature_id": feature_id, "kinds": list(feature.kinds)})
            where.add("annotation_kind", f"{', '.join(feature.kinds)} is no box: not imported", "kept")
            continue
        if not rate_or_refuse(clip, where, needs_size=True):
            break
        trace, tags = _trace(feature_id, feature, annotations, clip, where)
        if tags:
            unknown.append({"trace": len(traces), "tags": list(tags)})
        if feature.others:
            kept.setdefault("answers", []).append({"trace": len(traces), **feature.others})
        traces.append(trace)
    extra: dict[str, Any] = {"labelbox": kept}
    if unknown:
        extra["unknown_tags"] = unknown
    return Annotation(tuple(traces), verdict, text(details.get("created_by")), extra)


def _verdict(classifications: list[Any], kept: dict[str, Any]) -> RecordLabel | None:
    label: RecordLabel | None = None
    for classification in classifications:
        name, answers, _ = _answers(obj(classification))
        found = next((read for answer in answers if (read := read_label(answer)) is not None), None)
        if found is not None and label is None:
            label = found
        else:
            kept.setdefault("classifications", []).append({"name": name, "answers": answers})
    return label


def _answers(classification: Mapping[str, Any]) -> tuple[str, list[str], bool]:
    """The question's name, its answers as text, and whether it was a choice (not free text)."""
    name = text(classification.get("name")) or text(classification.get("value")) or ""
    content = obj(classification.get("text_answer")).get("content")
    if isinstance(content, str):
        return name, [content], False
    chosen = [obj(classification.get("radio_answer")), *map(obj, items(classification.get("checklist_answers")))]
    names = [text(answer.get("name")) or text(answer.get("value")) for answer in chosen]
    return name, [answer for answer in names if answer], True


def _features(frames: Mapping[str, Any], kept: dict[str, Any], where: Where) -> dict[str, _Feature]:
    features: dict[str, _Feature] = {}
    for key, content in frames.items():
        if _frame(key) is None:
            where.add(f"frames[{key!r}]", "is not a frame number from 1", "emptied")
            continue
        if items(obj(content).get("classifications")):
            kept.setdefault("frame_classifications", {})[key] = obj(content)["classifications"]
        for feature_id, item in obj(obj(content).get("objects")).items():
            feature = features.setdefault(feature_id, _Feature())
            said = obj(item)
            default = "VideoBoundingBox" if "bounding_box" in said else "an unknown kind"
            feature.kinds[text(said.get("annotation_kind")) or default] = None
            feature.names[text(said.get("name")) or ""] = None
            feature.boxes.append((int(key), obj(said.get("bounding_box"))))
            for classification in items(said.get("classifications")):
                _sort_answers(feature, obj(classification))
    for feature in features.values():
        feature.boxes.sort(key=lambda pair: pair[0])
    return features


def _sort_answers(feature: _Feature, classification: Mapping[str, Any]) -> None:
    name, answers, chosen = _answers(classification)
    plain = name.lower()
    if chosen and (any(word in plain for word in _TAG_QUESTIONS) or read_tags(answers).categories):
        feature.tags.update(dict.fromkeys(answers))
    elif not chosen and any(word in plain for word in _TEXT_QUESTIONS):
        feature.texts.update(dict.fromkeys(answers))
    elif answers:
        feature.others[name] = answers


def _trace(
    feature_id: str, feature: _Feature, annotations: Mapping[str, Any], clip: Clip, where: Where
) -> tuple[Trace, tuple[str, ...]]:
    texts = [said for said in feature.texts if said]
    if len(texts) > 1:
        where.add("explanation", f"changes over time; the first of {len(texts)} is used", "repaired")
        feature.others["explanations"] = texts
    named = [name for name in feature.names if name and read_tags([name]).categories]
    categories, unknown = read_categories([*feature.tags, *named], where, "category")
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
    feature_id: str, feature: _Feature, annotations: Mapping[str, Any], clip: Clip, where: Where
) -> tuple[Segment, ...]:
    width, height = clip.width or 1.0, clip.height or 1.0
    keys = []
    for frame, given in feature.boxes:
        name = f"frames[{frame}].bounding_box"
        try:
            left, top, wide, high = (number(given, part) for part in ("left", "top", "width", "height"))
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
    outside = [key.frame + 1 for key in keys if not any(first <= key.frame <= last for first, last in ranges)]
    if outside:
        where.add("segments", f"does not hold the boxes at frames {outside[:5]}", "kept")
    marked = _marked(annotations, feature_id)
    segments, borrowed = cover(ranges, keys)
    if borrowed and keys:
        where.add("segments", f"{borrowed} without a box of its own: the nearest box holds", "repaired")
    tolerance = _TOLERANCE_PX / max(width, height)
    return tuple(Segment(s.first, s.last, tuple(thin(s.keys, marked, tolerance))) for s in segments)


def _marked(annotations: Mapping[str, Any], feature_id: str) -> set[int]:
    """The key frames (from 0), from ``{"13": true}`` or ``[13, 19]``."""
    said = obj(annotations.get("key_frame_feature_map")).get(feature_id)
    listed = [key for key, value in said.items() if value] if isinstance(said, Mapping) else items(said)
    return {found - 1 for frame in listed if (found := _frame(frame)) is not None}


def _frame(value: object) -> int | None:
    """A frame number from 1, given as text or as a number; None for anything else."""
    said = str(value)
    frame = int(said) if said.isascii() and said.isdigit() and len(said) < 10 else 0
    return frame if 1 <= frame <= MAX_FRAME else None


def _ranges(feature_id: str, annotations: Mapping[str, Any], where: Where) -> list[tuple[int, int]]:
    ranges = []
    for given in items(obj(annotations.get("segments")).get(feature_id)):
        match given:
            case [int(first), int(last)] if 1 <= first <= last <= MAX_FRAME:
                ranges.append((first - 1, last - 1))
            case _:
                where.add("segments", f"{given!r} is not a range [first, last] of frames from 1", "emptied")
    return ranges
