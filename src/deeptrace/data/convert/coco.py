"""Records to COCO, a picture for each frame that shows a trace. Export only: COCO knows neither time nor real videos.

Boxes are x, y, width, height in pixels. ``frame_index`` counts from 0; ``track_id`` joins the boxes of one trace.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deeptrace.categories import CATEGORIES
from deeptrace.data.convert._common import TRACE_NAME
from deeptrace.data.convert._write import prepare
from deeptrace.data.read.problems import Problem
from deeptrace.files import dumps, write_text
from deeptrace.records import Record


def write(
    path: Path, records: Sequence[Record], *, file_name: str = "{video_id}/frame_{frame:06d}.png", every: int = 1
) -> list[Problem]:
    """Write one JSON file. ``file_name`` names a frame's picture; of each trace every ``every``-th frame is written.

    A trace of several categories is under its first; all stand in the annotation's own ``categories``.
    """
    log, ready = prepare(records, path, "COCO", confidence=True)
    ids = {name: number for number, name in enumerate((*CATEGORIES, TRACE_NAME), 1)}
    videos: list[dict[str, Any]] = []
    images: dict[tuple[int, int], dict[str, Any]] = {}
    boxes: list[dict[str, Any]] = []
    track = 0
    for item in ready:
        record, video = item.record, len(videos) + 1
        fields: dict[str, Any] = {
            "label": record.label,
            "source": record.source,
            "split": record.split,
            "prompt": record.prompt,
        }
        fields = {**fields, "num_frames": item.num_frames}
        shape = {} if record.info is None else {"width": item.width, "height": item.height, "fps": record.info.fps}
        videos.append({"id": video, "name": record.video_id, "file_name": record.path, **shape, **fields})
        for annotation in record.annotations:
            for placed in item.place(annotation):
                track += 1
                names = placed.trace.categories or (TRACE_NAME,)
                for number, box in enumerate(box for segment in placed.segments for box in segment.boxes()):
                    if number % every:
                        continue
                    image = images.setdefault(
                        (video, box.frame),
                        {
                            "id": len(images) + 1,
                            "video_id": video,
                            "frame_index": box.frame,
                            "file_name": file_name.format(video_id=record.video_id, frame=box.frame),
                            "width": item.width,
                            "height": item.height,
                        },
                    )
                    x0, y0, x1, y1 = box.bbox_xyxy
                    x, y, width, height = (
                        x0 * item.width,
                        y0 * item.height,
                        (x1 - x0) * item.width,
                        (y1 - y0) * item.height,
                    )
                    boxes.append(
                        {
                            "id": len(boxes) + 1,
                            "image_id": image["id"],
                            "category_id": ids[names[0]],
                            "categories": list(placed.trace.categories or ()),
                            "bbox": [x, y, width, height],
                            "area": width * height,
                            "segmentation": [[x, y, x + width, y, x + width, y + height, x, y + height]],
                            "iscrowd": 0,
                            "track_id": track,
                            "explanation": placed.trace.explanation,
                            "annotator": annotation.annotator,
                        }
                    )
        if any(annotation.label is not None for annotation in record.annotations):
            item.where.add("annotations.label", "has no place in COCO; the video's label is written", "emptied")
    content = {
        "info": {"description": "fake traces, one picture for each frame that shows one"},
        "licenses": [],
        "categories": [{"id": number, "name": name, "supercategory": "fake trace"} for name, number in ids.items()],
        "videos": videos,
        "images": list(images.values()),
        "annotations": boxes,
    }
    write_text(path, dumps(content) + "\n")
    return log.problems
