"""The same trace in every format, built here: a video of 640x480 at 20 frames a second, 100 frames, 5 seconds.

Visible on frames 8..27 (from 0), so on [0.40 s, 1.40 s); the box moves from (64, 96, 192, 240) to (96, 120, 224, 264)
pixels; Object Merging; "Two cups become one."
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from deeptrace.records import KeyBox, Trace, VideoInfo

INFO = VideoInfo(640, 480, fps=20.0, num_frames=100, duration_seconds=5.0)
TEXT = "Two cups become one."
START = (0.1, 0.2, 0.3, 0.5)
END = (0.15, 0.25, 0.35, 0.55)
TRACE = Trace(
    bbox_xyxy=START,
    onset_seconds=0.4,
    offset_seconds=1.4,
    categories=("Object Merging",),
    explanation=TEXT,
    track=(KeyBox(0.4, START), KeyBox(1.35, END), KeyBox(1.4, None, visible=False)),
)


def labelbox(**changes: Any) -> dict[str, Any]:
    """A row of an export. ``changes`` replace parts of ``annotations``."""
    answers = [
        {"name": "category", "checklist_answers": [{"name": "merging (e.g. two objects merge into one.)"}]},
        {"name": "explanation", "text_answer": {"content": TEXT}},
    ]

    def frame(left: float, top: float) -> dict[str, Any]:
        box = {"left": left, "top": top, "width": 128.0, "height": 144.0}
        said = {"annotation_kind": "VideoBoundingBox", "name": "fake_trace", "classifications": answers}
        return {"objects": {"f1": {**said, "bounding_box": box}}, "classifications": []}

    annotations = {
        "frames": {"9": frame(64.0, 96.0), "28": frame(96.0, 120.0)},
        "segments": {"f1": [[9, 28]]},
        "key_frame_feature_map": {"f1": {"9": True, "28": True}},
        "classifications": [{"name": "verdict", "radio_answer": {"name": "Fake", "value": "fake"}}],
        **changes,
    }
    label = {"id": "l1", "label_details": {"created_by": "ann@example.com"}, "annotations": annotations}
    return {
        "data_row": {"id": "d1", "global_key": "cups.mp4", "external_id": "cups.mp4"},
        "media_attributes": {"width": 640, "height": 480, "frame_rate": 20.0, "frame_count": 100},
        "projects": {"p1": {"name": "traces", "labels": [label]}},
    }


def label_studio(**changes: Any) -> dict[str, Any]:
    """A task. ``changes`` replace parts of the box region."""
    sequence = [
        {"frame": 9, "enabled": True, "rotation": 0, "x": 10, "y": 20, "width": 20, "height": 30, "time": 0.45},
        {"frame": 28, "enabled": False, "rotation": 0, "x": 15, "y": 25, "width": 20, "height": 30, "time": 1.4},
    ]
    region = {
        "id": "r1",
        "from_name": "box",
        "to_name": "video",
        "type": "videorectangle",
        "value": {"framesCount": 100, "duration": 5.0, "sequence": sequence, "labels": ["Object Merging"]},
        "meta": {"text": [TEXT]},
        **changes,
    }
    verdict = {"id": "v1", "from_name": "verdict", "type": "choices", "value": {"choices": ["FAKE"]}}
    annotation = {"id": 5, "completed_by": {"email": "ann@example.com"}, "result": [region, verdict]}
    return {"id": 3, "data": {"video": "/data/local-files/?d=clips/cups.mp4"}, "annotations": [annotation]}


def cvat(tracks: str | None = None, meta: str = "") -> str:
    """A document with key frames only. ``tracks`` replaces the track, ``meta`` is added to the task."""
    attribute = f'<attribute name="explanation">{TEXT}</attribute>'
    own = f"""<track id="0" label="Object Merging">
      <box frame="8" keyframe="1" outside="0" xtl="64.00" ytl="96.00" xbr="192.00" ybr="240.00">{attribute}</box>
      <box frame="27" keyframe="1" outside="0" xtl="96.00" ytl="120.00" xbr="224.00" ybr="264.00">{attribute}</box>
      <box frame="28" keyframe="1" outside="1" xtl="96.00" ytl="120.00" xbr="224.00" ybr="264.00">{attribute}</box>
    </track>"""
    return f"""<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version><meta><task><name>cups</name><size>100</size>
<start_frame>0</start_frame><stop_frame>99</stop_frame>{meta}
<original_size><width>640</width><height>480</height></original_size><source>cups.mp4</source></task></meta>
{own if tracks is None else tracks}</annotations>"""


def hf(**changes: Any) -> dict[str, Any]:
    """A row of metadata. ``changes`` replace fields."""
    track = [
        {"time_seconds": 0.4, "bbox_xyxy": list(START), "visible": True},
        {"time_seconds": 1.35, "bbox_xyxy": list(END), "visible": True},
        {"time_seconds": 1.4, "bbox_xyxy": None, "visible": False},
    ]
    trace = {
        "categories": ["Object Merging"],
        "explanation": TEXT,
        "onset_seconds": 0.4,
        "offset_seconds": 1.4,
        "bbox_xyxy": list(START),
        "track": track,
    }
    shape = {"width": 640, "height": 480, "fps": 20.0, "num_frames": 100, "duration": 5.0}
    return {"file_name": "cups.mp4", "video_id": "cups", "label": "fake", **shape, "traces": [trace], **changes}


def lines(path: Path, *rows: Any) -> Path:
    """Write JSON Lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def put(path: Path, content: Any) -> Path:
    """Write JSON, or text as it is."""
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path
