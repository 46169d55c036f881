"""Records to Labelbox: in the shape of its export (reads back exactly), or as NDJSON to import there.

The import shape holds boxes, answers and verdicts, but neither annotators nor the size and rate of a video: Labelbox
keeps these itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from deeptrace.data.convert._common import TRACE_NAME, VERDICTS, record_texts, tags_of
from deeptrace.data.convert._frames import FrameBox
from deeptrace.data.convert._write import FrameTrace, Ready, prepare
from deeptrace.data.read.problems import Problem
from deeptrace.files import write_jsonl
from deeptrace.records import Annotation, Record


def write(
    path: Path,
    records: Sequence[Record],
    *,
    shape: Literal["export", "import"] = "export",
    interpolated_frames: bool = False,
) -> list[Problem]:
    """Write NDJSON. ``interpolated_frames`` writes a box for every frame, not only for key frames (export shape)."""
    log, ready = prepare(records, path, "Labelbox")
    rows: list[dict[str, Any]] = []
    for item in ready:
        if shape == "import":
            rows += _import_rows(item)
        else:
            rows.append(_export_row(item, interpolated_frames))
    write_jsonl(path, rows)
    return log.problems


def _name(record: Record) -> str:
    return record.path or record.video_id


def _px(item: Ready, key: FrameBox) -> dict[str, float]:
    x0, y0, x1, y1 = key.bbox_xyxy
    return {
        "top": y0 * item.height,
        "left": x0 * item.width,
        "height": y1 * item.height - y0 * item.height,
        "width": x1 * item.width - x0 * item.width,
    }


# ── the export's shape ──────────────────────────────────────────────────────────────────────────────────────────────


def _export_row(item: Ready, interpolated: bool) -> dict[str, Any]:
    record, info = item.record, item.record.info
    labels = [
        _export_label(item, index, annotation, interpolated) for index, annotation in enumerate(record.annotations)
    ]
    media: dict[str, Any] = {}
    if info is not None:
        facts = {
            "height": info.height,
            "width": info.width,
            "frame_rate": info.fps,
            "frame_count": info.num_frames,
            "duration": info.duration_seconds,
        }
        media = {key: value for key, value in facts.items() if value is not None}
    return {
        "data_row": {"id": f"row-{item.row}", "global_key": _name(record), "external_id": _name(record)},
        "media_attributes": media,
        "metadata_fields": [{"schema_name": key, "value": value} for key, value in record_texts(record).items()],
        "projects": {"deeptrace": {"name": "deeptrace", "labels": labels}},
    }


def _export_label(item: Ready, index: int, annotation: Annotation, interpolated: bool) -> dict[str, Any]:
    frames: dict[int, dict[str, Any]] = {}
    segments: dict[str, list[list[int]]] = {}
    key_frames: dict[str, dict[str, bool]] = {}
    for number, placed in enumerate(item.place(annotation)):
        feature_id = f"trace-{item.row}-{index}-{number}"
        segments[feature_id] = [[segment.first + 1, segment.last + 1] for segment in placed.segments]
        marked = {key.frame for segment in placed.segments for key in segment.closed()}
        key_frames[feature_id] = {str(frame + 1): True for frame in sorted(marked)}
        for segment in placed.segments:
            for key in segment.boxes() if interpolated else segment.closed():
                objects = frames.setdefault(key.frame + 1, {"objects": {}, "classifications": []})["objects"]
                objects[feature_id] = _export_object(item, feature_id, placed, key)
    details = {} if annotation.annotator is None else {"created_by": annotation.annotator}
    verdict = [] if annotation.label is None else [_radio("verdict", VERDICTS[annotation.label])]
    return {
        "label_kind": "Video",
        "version": "1.0.0",
        "id": f"label-{item.row}-{index}",
        "label_details": details,
        "annotations": {
            "frames": {str(frame): frames[frame] for frame in sorted(frames)},
            "segments": segments,
            "key_frame_feature_map": key_frames,
            "classifications": verdict,
        },
    }


def _export_object(item: Ready, feature_id: str, placed: FrameTrace, key: FrameBox) -> dict[str, Any]:
    answers: list[dict[str, Any]] = []
    if tags := tags_of(placed.trace):
        choices = [{"name": tag, "value": _value(tag), "classifications": []} for tag in tags]
        answers.append({"name": "category", "value": "category", "checklist_answers": choices})
    if placed.trace.explanation is not None:
        content = {"content": placed.trace.explanation}
        answers.append({"name": "explanation", "value": "explanation", "text_answer": content})
    return {
        "feature_id": feature_id,
        "name": TRACE_NAME,
        "value": TRACE_NAME,
        "annotation_kind": "VideoBoundingBox",
        "classifications": answers,
        "bounding_box": _px(item, key),
    }


def _radio(name: str, answer: str) -> dict[str, Any]:
    return {
        "name": name,
        "value": name,
        "radio_answer": {"name": answer, "value": answer.lower(), "classifications": []},
    }


def _value(tag: str) -> str:
    return tag.lower().replace(" ", "_")


# ── the import's shape ──────────────────────────────────────────────────────────────────────────────────────────────


def _import_rows(item: Ready) -> list[dict[str, Any]]:
    record = item.record
    rows: list[dict[str, Any]] = []
    data_row = {"globalKey": _name(record)}
    if any(annotation.annotator for annotation in record.annotations):
        item.where.add("annotator", "has no place in an import: Labelbox takes the importing user", "emptied")
    if len([annotation for annotation in record.annotations if annotation.label]) > 1:
        item.where.add("label", "stands in several annotations; an import makes one label of them", "kept")
    for name in record_texts(record):
        if name not in {"video_id", "label"}:
            item.where.add(name, "has no place in an import", "emptied")
    if record.label is not None and not any(annotation.label for annotation in record.annotations):
        item.where.add("label", "of the record has no place in an import: only annotators' labels have", "emptied")
    for annotation in record.annotations:
        if annotation.label is not None:
            rows.append({"dataRow": data_row, "name": "verdict", "answer": {"name": VERDICTS[annotation.label]}})
        for placed in item.place(annotation):
            rows.append(
                {
                    "dataRow": data_row,
                    "name": TRACE_NAME,
                    "classifications": [],
                    "segments": [
                        {
                            "keyframes": [
                                {
                                    "frame": key.frame + 1,
                                    "bbox": _px(item, key),
                                    "classifications": _import_answers(placed),
                                }
                                for key in segment.closed()
                            ]
                        }
                        for segment in placed.segments
                    ],
                }
            )
    return rows


def _import_answers(placed: FrameTrace) -> list[dict[str, Any]]:
    answers: list[dict[str, Any]] = []
    if tags := tags_of(placed.trace):
        answers.append({"name": "category", "answer": [{"name": tag} for tag in tags]})
    if placed.trace.explanation:
        answers.append({"name": "explanation", "answer": placed.trace.explanation})
    return answers
