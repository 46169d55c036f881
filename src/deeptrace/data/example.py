"""A small dataset in exactly the layout of the RewardData release, made from nothing, with traces whose truth is known.

A folder goes in; ``all_data.json``, ``videos/*.mp4`` and ``real_videos/*.mp4`` appear in it. Every fake has a trace put
there by `deeptrace.inject`, every real video is the clean twin of a fake. It has the release's quirks on purpose:
several rows for one video, rows without explanation or tags, numbers as text, fakes and reals of different size and
rate, a file without a row, and one real video that stands in two splits.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from deeptrace import files
from deeptrace.categories import Category
from deeptrace.errors import FileError, RecordError
from deeptrace.inject import INJECTORS, InjectedPair, make_demo_pair
from deeptrace.records import Box, Frames

GENERATORS: Final = ("Demo-A", "Demo-B")
CAMERA: Final = "demo_camera"

# What the two "generators" and the "camera" give away without a trace: height and width, rate, quality.
_FAKE_HW: Final = ((180, 320), (160, 288))
_FPS: Final = 24.0
_FAKE_CRF: Final = (20, 26)
_REAL_HW: Final = ((120, 160), (144, 256), (120, 200))
_REAL_CRF: Final = 30

_TAGS: Final[Mapping[Category, str]] = {
    "Object Distortion": "Shape distortion (e.g. human arm bending as rubbery)",
    "Sudden Blurring": "Blurring (e.g. sudden blurring)",
    "Object Trajectory": "weird motion (e.g. unnatural movement paths / patterns)",
    "Redundant Object": "sudden appearance",
    "Object Merging": "merging (e.g. two objects merge into one.)",
    "Object Splitting": "splitting (e.g. one object splits into two)",
    "Background Distortion": "overlap background distortion (e.g. because of object movement)",
    "Object Disappearance": "sudden disappearance",
    "Unexpected Move": "unexpected move for still things (e.g. trail moves)",
}
_NONE_OF_THESE: Final = "None of the above, but I've written in the explanations"


@dataclass(frozen=True)
class Example:
    """What was made: the folder, and counts of videos (fake and real each), of rows, and of files without a row."""

    root: Path
    fakes: int
    reals: int
    rows: int
    unmatched_files: int


def make_example(dst: str | os.PathLike[str], *, n: int = 12, seed: int = 0) -> Example:
    """Make ``n`` fake videos and their ``n`` clean twins in ``dst``, which must be new or empty.

    With ``n`` of at least 6 there is also a copy of a real video in another split (n + 1 reals), and a file without a
    row. The same arguments give the same rows anywhere, and the same pixels on one machine. About a second a pair.

    Raises:
        RecordError: ``n`` is not between 1 and 1000.
        FileError: the folder is not empty, or cannot be written.
    """
    if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= 1000:
        raise RecordError("n", f"{n!r} is not a count of pairs between 1 and 1000")
    root = Path(dst)
    try:
        for folder in ("videos", "real_videos"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        if any(entry.name not in ("videos", "real_videos") for entry in root.iterdir()) or any(root.glob("*/*")):
            raise FileError(f"{root.name!r} is not empty; choose another folder")
    except OSError as error:
        raise FileError(f"cannot write {root.name!r}: {error.strerror or error}") from None
    fakes: list[dict[str, Any]] = []
    reals: list[dict[str, Any]] = []
    for i in range(n):
        fake_rows, real_row = _pair(root, i, seed)
        fakes += fake_rows
        reals.append(real_row)
    extras = n >= 6
    if extras:
        reals.append(_copy(root, reals[0]))
        shutil.copyfile(root / fakes[0]["video_path"], root / "videos/cm2demo_no_row.mp4")
    files.write_text(root / "all_data.json", files.dumps(fakes + reals, indent=1) + "\n")
    return Example(root, n, len(reals), len(fakes) + len(reals), int(extras))


def _pair(root: Path, i: int, seed: int) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Write the two videos of one pair; their rows."""
    from deeptrace.video import write_video

    kind = i % len(GENERATORS)
    category = tuple(INJECTORS)[i % len(INJECTORS)]
    seconds = 2.0 + (i % 3) * 0.5
    pair = make_demo_pair(
        seed * 1000 + i, category=category, duration_seconds=seconds, fps=_FPS, size_hw=_FAKE_HW[kind]
    )
    fake_path, real_path = f"videos/cm2demo{i:04d}.mp4", f"real_videos/demo_{i:04d}.mp4"
    write_video(root / fake_path, pair.fake, _FPS, crf=_FAKE_CRF[kind])
    clean = _as_camera(pair.clean, i)
    write_video(root / real_path, clean, _FPS / 2, crf=_REAL_CRF)
    split = {8: "val", 9: "test"}.get(i % 10, "train")
    fake = _video_fields(f"cm2demo{i:04d}", fake_path, pair.fake, _FPS) | {
        "video_type": "fake_video",
        "video_source": GENERATORS[kind],
        "split": split,
        "video_prompt": None if i % 5 == 2 else "balls roll and hop through a room, hand-held camera",
    }
    real = _video_fields(f"demo_camera_{i:04d}", real_path, clean, _FPS / 2) | {
        "video_type": "real_video",
        "video_source": CAMERA,
        "split": split,
        "video_prompt": None,
    }
    if i % 5 == 2:
        fake |= {name: str(fake[name]) for name in ("video_width", "video_height", "video_frame_rate")}
    if i % 5 == 3:
        real |= {"video_frame_count": None, "faketrace_bbox": None, "faketrace_explanations": None}
    return [fake | row for row in _trace_rows(pair, i)], real


def _video_fields(video_id: str, path: str, frames: Frames, fps: float) -> dict[str, Any]:
    height, width = frames.images.shape[1:3]
    return {
        "video_id": video_id,
        "video_path": path,
        "video_mime_type": "video/mp4",
        "video_width": width,
        "video_height": height,
        "video_frame_rate": fps,
        "video_frame_count": len(frames),
        "video_duration": round(len(frames) / fps, 3),
    }


def _as_camera(frames: Frames, i: int) -> Frames:
    """The clean twin as another device would have kept it: cropped, smaller, every other frame."""
    import cv2

    height, width = _REAL_HW[i % len(_REAL_HW)]
    source_height, source_width = frames.images.shape[1:3]
    wide = min(source_width, round(source_height * width / height))
    left = (source_width - wide) // 2
    images = [
        cv2.resize(image[:, left : left + wide], (width, height), interpolation=cv2.INTER_AREA)
        for image in frames.images[::2]
    ]
    return Frames.from_array(np.stack(images).astype(np.uint8), _FPS / 2)


# ── rows of traces ──────────────────────────────────────────────────────────────────────────────────────────────────


def _trace_rows(pair: InjectedPair, i: int) -> list[dict[str, Any]]:
    """The fields of the trace: one row, or two where a second annotator looked."""
    trace = pair.trace
    assert trace.bbox_xyxy is not None
    assert trace.onset_seconds is not None
    seconds = len(pair.fake) / _FPS
    first = round(trace.onset_seconds * _FPS)
    last = seconds if trace.offset_seconds is None else trace.offset_seconds
    box = _box_px(trace.bbox_xyxy, pair.fake.source_hw)
    row: dict[str, Any] = {
        "faketrace_bbox": box,
        "faketrace_first_frame": first,
        "faketrace_duration": round(last - first / _FPS, 3),
        "faketrace_explanations": trace.explanation,
        "faketrace_check_applies": [_TAGS[pair.category]],
    }
    if i % 4 == 1:
        row |= {"faketrace_explanations": "", "faketrace_check_applies": []}
    if i % 4 == 3:
        row["faketrace_check_applies"] = [_NONE_OF_THESE]
    if i % 4 == 2:
        del row["faketrace_check_applies"]
    if i % 3:
        return [row]
    # The second annotator marks a larger box some frames later, and writes nothing.
    wider = {
        "left": box["left"] - 6,
        "top": box["top"] - 6,
        "width": box["width"] + 12,
        "height": box["height"] + 12,
    }
    later = min(first + 3, len(pair.fake) - 2)
    second = {"faketrace_bbox": wider, "faketrace_first_frame": later, "faketrace_duration": round(seconds, 3)}
    return [row, second]


def _box_px(box: Box, size_hw: tuple[int, int]) -> dict[str, int]:
    """The smallest whole pixels that hold the box."""
    height, width = size_hw
    left, top = math.floor(box[0] * width), math.floor(box[1] * height)
    right, bottom = math.ceil(box[2] * width), math.ceil(box[3] * height)
    return {"left": left, "top": top, "width": right - left, "height": bottom - top}


def _copy(root: Path, row: Mapping[str, Any]) -> dict[str, Any]:
    """The first real video once more, coded anew and in the test split: footage that leaks."""
    from deeptrace.video import sample_frames, write_video

    frames = sample_frames(root / str(row["video_path"]), fps=1000.0)
    path = "real_videos/demo_again.mp4"
    write_video(root / path, frames, _FPS / 2, crf=34)
    return dict(row) | {"video_id": "demo_camera_again", "video_path": path, "split": "test"}
