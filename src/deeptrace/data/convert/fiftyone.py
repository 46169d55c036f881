"""Records to FiftyOne, as the dictionaries of its samples. Export only; FiftyOne itself is not needed.

Frames count from 1. ``support`` of a temporal detection is written from frame numbers: FiftyOne's own way from times,
``1 + round(t / duration * (N - 1))``, moves them by up to a frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deeptrace.data.convert._common import TRACE_NAME
from deeptrace.data.convert._write import Ready, prepare
from deeptrace.data.read.problems import Problem
from deeptrace.files import dumps, write_text
from deeptrace.records import Record


def write(path: Path, records: Sequence[Record]) -> list[Problem]:
    """Write ``{"samples": [...]}``, each like ``Sample.to_dict(include_frames=True)``; ``filepath`` is the record's."""
    log, ready = prepare(records, path, "FiftyOne", confidence=True)
    write_text(path, dumps({"samples": [_sample(item) for item in ready]}) + "\n")
    return log.problems


def _sample(item: Ready) -> dict[str, Any]:
    record, info = item.record, item.record.info
    sample: dict[str, Any] = {
        "filepath": record.path or record.video_id,
        "_media_type": "video",
        "tags": [] if record.split is None else [record.split],
        "metadata": None,
        "video_id": record.video_id,
        "source": record.source,
        "prompt": record.prompt,
        "label": None if record.label is None else _classification(record.label),
        "annotator_labels": {
            "_cls": "Classifications",
            "classifications": [
                {**_classification(annotation.label), "annotator": annotation.annotator}
                for annotation in record.annotations
                if annotation.label is not None
            ],
        },
    }
    if info is not None:
        sample["metadata"] = {
            "_cls": "VideoMetadata",
            "frame_width": info.width,
            "frame_height": info.height,
            "frame_rate": info.fps,
            "total_frame_count": item.num_frames,
            "duration": info.duration_seconds,
        }
    detections: list[dict[str, Any]] = []
    frames: dict[str, dict[str, Any]] = {}
    index = 0
    for annotation in record.annotations:
        for placed in item.place(annotation, boxless=True):
            fields: dict[str, Any] = {
                "label": (placed.trace.categories or (TRACE_NAME,))[0],
                "categories": None if placed.trace.categories is None else list(placed.trace.categories),
                "explanation": placed.trace.explanation,
                "annotator": annotation.annotator,
                "confidence": placed.trace.confidence,
                "index": index,
                "tags": [],
            }
            for segment in placed.segments:
                span = [segment.first + 1, segment.last + 1]
                detections.append({"_cls": "TemporalDetection", **fields, "support": span})
                keys = {key.frame for key in segment.closed()}
                for box in segment.boxes():
                    number = box.frame + 1
                    empty = {"frame_number": number, "trace_boxes": {"_cls": "Detections", "detections": []}}
                    x0, y0, x1, y1 = box.bbox_xyxy
                    frames.setdefault(str(number), empty)["trace_boxes"]["detections"].append(
                        {
                            "_cls": "Detection",
                            **fields,
                            "bounding_box": [x0, y0, x1 - x0, y1 - y0],
                            "keyframe": box.frame in keys,
                        }
                    )
            index += 1
    sample["traces"] = {"_cls": "TemporalDetections", "detections": detections}
    sample["frames"] = dict(sorted(frames.items(), key=lambda pair: int(pair[0])))
    return sample


def _classification(label: str) -> dict[str, Any]:
    return {"_cls": "Classification", "label": label, "tags": []}
