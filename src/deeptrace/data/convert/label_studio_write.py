"""Records to Label Studio: a list of tasks to import, and the labelling configuration that goes with it.

``data`` of a task says the video's own frame rate, which the configuration uses (``framerate="$fps"``): with the
tool's default of 24 the frames drift.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal
from xml.sax.saxutils import quoteattr

from deeptrace.categories import CATEGORIES
from deeptrace.data.convert._common import NO_CATEGORY, VERDICTS, path_url, record_texts, tags_of
from deeptrace.data.convert._write import FrameTrace, Ready, prepare
from deeptrace.data.read.problems import Problem
from deeptrace.files import dumps, write_text
from deeptrace.records import Annotation, Box, Record

LOCAL_FILES: Final = "/data/local-files/?d="
"""How Label Studio names a file of a local storage."""


def config(framerate: str = "$fps") -> str:
    """The labelling configuration (XML): boxes, timeline, verdict and an explanation for each region.

    ``framerate`` is frames a second as text, or the name of a task's field after a dollar sign.
    """
    labels = "".join(f"\n    <Label value={quoteattr(name)}/>" for name in (*CATEGORIES, NO_CATEGORY))
    choices = "".join(f"\n    <Choice value={quoteattr(name)}/>" for name in VERDICTS.values())
    return f"""<View>
  <Video name="video" value="$video" framerate={quoteattr(framerate)} timelineHeight="120"/>
  <VideoRectangle name="box" toName="video"/>
  <Labels name="videoLabels" toName="video">{labels}
  </Labels>
  <TimelineLabels name="onset" toName="video">{labels}
  </TimelineLabels>
  <Choices name="verdict" toName="video" choice="single">{choices}
  </Choices>
  <TextArea name="explanation" toName="video" perRegion="true" maxSubmissions="1"/>
</View>
"""


def write(
    path: Path,
    records: Sequence[Record],
    *,
    url_prefix: str = LOCAL_FILES,
    text: Literal["meta", "textarea"] = "textarea",
) -> list[Problem]:
    """Write tasks to ``path`` and the configuration beside it, ``<name>_config.xml``.

    ``url_prefix`` comes before a record's path. ``text`` is where explanations go: the region's note (``meta.text``) or
    a text area of the region.
    """
    log, ready = prepare(records, path, "Label Studio", confidence=True)
    tasks = [_task(item, url_prefix, text) for item in ready]
    write_text(path, dumps(tasks, indent=1) + "\n")
    write_text(path.with_name(f"{path.stem}_config.xml"), config())
    return log.problems


def _task(item: Ready, url_prefix: str, text: str) -> dict[str, Any]:
    record, info = item.record, item.record.info
    if record.path is None:
        item.where.add("path", f"is not said: {record.video_id!r} is written as the video", "repaired")
    data: dict[str, Any] = {"video": path_url(url_prefix, record.path or record.video_id), **record_texts(record)}
    if info is not None:
        facts = {
            "fps": info.fps,
            "width": info.width,
            "height": info.height,
            "num_frames": info.num_frames,
            "duration": info.duration_seconds,
        }
        data.update({key: value for key, value in facts.items() if value is not None})
    if any(annotation.annotator is not None for annotation in record.annotations):
        data["annotators"] = [annotation.annotator for annotation in record.annotations]
    annotations = [
        {
            "result": _results(item, index, annotation, text),
            "was_cancelled": False,
            "ground_truth": False,
        }
        for index, annotation in enumerate(record.annotations)
    ]
    return {"data": data, "annotations": annotations, "predictions": []}


def _results(item: Ready, index: int, annotation: Annotation, text: str) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = []
    for number, placed in enumerate(item.place(annotation, boxless=True)):
        region_id = f"trace-{item.row}-{index}-{number}"
        is_box = bool(placed.segments[0].keys)
        value = _sequence(item, placed) if is_box else _ranges(placed)
        kind, tag_field, name = ("videorectangle", "labels", "box") if is_box else ("timelinelabels",) * 2 + ("onset",)
        if tags := tags_of(placed.trace):
            value[tag_field] = tags
        elif not is_box:
            value[tag_field] = []
        region: dict[str, Any] = {
            "id": region_id,
            "from_name": name,
            "to_name": "video",
            "type": kind,
            "origin": "manual",
            "value": value,
        }
        if placed.trace.confidence is not None:
            region["score"] = placed.trace.confidence
        results.append(region)
        explanation = placed.trace.explanation
        if explanation is not None and text == "meta":
            region["meta"] = {"text": [explanation]}
        elif explanation is not None:
            area = {**region, "from_name": "explanation", "type": "textarea", "value": {**value, "text": [explanation]}}
            results.append(area)
    if annotation.label is not None:
        results.append(
            {
                "id": f"verdict-{item.row}-{index}",
                "from_name": "verdict",
                "to_name": "video",
                "type": "choices",
                "origin": "manual",
                "value": {"choices": [VERDICTS[annotation.label]]},
            }
        )
    return results


def _percent(bbox_xyxy: Box) -> dict[str, float]:
    x0, y0, x1, y1 = bbox_xyxy
    return {"x": x0 * 100, "y": y0 * 100, "width": (x1 - x0) * 100, "height": (y1 - y0) * 100}


def _sequence(item: Ready, placed: FrameTrace) -> dict[str, Any]:
    count = item.num_frames if item.num_frames is not None else placed.segments[-1].last + 1
    sequence = [
        {
            "frame": key.frame + 1,
            "enabled": key.frame != segment.last,
            "rotation": 0,
            **_percent(key.bbox_xyxy),
            "time": (key.frame + 1) / item.fps,
        }
        for segment in placed.segments
        for key in segment.closed()
    ]
    return {"framesCount": count, "duration": count / item.fps, "sequence": sequence}


def _ranges(placed: FrameTrace) -> dict[str, Any]:
    return {"ranges": [{"start": segment.first + 1, "end": segment.last + 1} for segment in placed.segments]}
