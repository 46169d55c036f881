"""A small dataset in exactly the layout of the RewardData release, made from nothing, with traces whose truth is known.

A folder goes in; ``all_data.json``, ``videos/*.mp4`` and ``real_videos/*.mp4`` appear in it. Every fake has a trace put
there by `deeptrace.inject`, every real video is the clean twin of a fake. It has the release's quirks on purpose:
several rows for one video, rows without explanation or tags, numbers as text, fakes and reals of different size and
rate, a file without a row, and one real video that stands in two splits. ``two_annotators.jsonl`` holds what two named
people could have said of the same videos, with disagreements of every kind.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from deeptrace import files
from deeptrace.categories import CATEGORIES, FACTS, Category
from deeptrace.data.read.jsonl import write_records
from deeptrace.errors import FileError, InjectionError, RecordError
from deeptrace.inject import Injection, inject, render_scene
from deeptrace.records import Annotation, Box, Frames, Record, Trace

GENERATORS: Final = ("Demo-A", "Demo-B")
CAMERA: Final = "demo_camera"
ANNOTATORS: Final = ("ann", "ben")
ANNOTATORS_NAME: Final = "two_annotators.jsonl"

# What the two "generators" and the "camera" give away without a trace: height and width, rate, quality. All of them can
# be brought to 640 x 360 at 8 frames a second, the form that `data normalise` gives by default.
_FAKE_HW: Final = ((360, 640), (384, 672))
_FAKE_FPS: Final = 10.0
_FAKE_CRF: Final = (20, 26)
_REAL_HW: Final = ((360, 640), (406, 720), (480, 640))
_REAL_FPS: Final = 12.0
_REAL_CRF: Final = 30
_PRESET: Final = "ultrafast"  # making them takes the time; nobody minds 5 MB
_RENDERED_HW: Final = (180, 320)  # scenes are painted at this size and enlarged: a quarter of the time
_SCENES: Final = 20  # how many scenes are tried for one that offers the category what it needs
_MARK: Final = ".deeptrace-example"

_ALSO: Final[Mapping[int, tuple[Category, ...]]] = {4: ("Object Distortion",), 8: ("Object Trajectory",)}
"""Pairs of a dozen whose trace a person would give a second tag: what merges loses its shape, what hops has a path."""

_NONE_OF_THESE: Final = "None of the above, but I've written in the explanations"


@dataclass(frozen=True)
class ExampleDataset:
    """What was made: the folder, and counts of videos (fake and real each), of rows, and of files without a row."""

    root: Path
    fakes: int
    reals: int
    rows: int
    unmatched_files: int


def make_example(dst: str | os.PathLike[str], *, n: int = 12, seed: int = 0) -> ExampleDataset:
    """Make ``n`` fake videos and their ``n`` clean twins in ``dst``, which must be new or empty.

    From 9 on every category is there. With ``n`` of at least 6 there is also a copy of a real video in another split
    (n + 1 reals), and a file without a row. The same arguments give the same rows anywhere, and the same pixels on one
    machine. Ended at any moment, it can be called again with the same arguments. Under a second a pair.

    Raises:
        RecordError: ``n`` is not between 1 and 1000.
        FileError: the folder holds something else, or cannot be written.
    """
    if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= 1000:
        raise RecordError("n", f"{n!r} is not a count of pairs between 1 and 1000")
    root = Path(dst)
    _begin(root, n, seed)
    fakes: list[dict[str, Any]] = []
    reals: list[dict[str, Any]] = []
    annotated: list[Record] = []
    for i in range(n):
        fake_rows, real_row, injection = _pair(root, i, seed)
        fakes += fake_rows
        reals.append(real_row)
        annotated += _two_annotators(fake_rows[0], real_row, injection.trace, i)
    extras = n >= 6
    if extras:
        reals.append(_copy(root, reals[0]))
        files.copy_file(root / fakes[0]["video_path"], root / "videos/cm2demo_no_row.mp4")
    write_records(root / ANNOTATORS_NAME, annotated)
    files.write_text(root / "all_data.json", files.dumps(fakes + reals, indent=1) + "\n")
    with files.failing(root):
        (root / _MARK).unlink()
    return ExampleDataset(root, n, len(reals), len(fakes) + len(reals), int(extras))


def _begin(root: Path, n: int, seed: int) -> None:
    """Make the folder and mark it as ours while it is not whole."""
    mark = f"{n} {seed}\n"
    files.make_folder(root)
    with files.failing(root, "read"):
        there = [entry.name for entry in root.iterdir()]
    begun = _MARK in there and files.read_bytes(root / _MARK, limit=100) == mark.encode()
    if there and not begun:
        raise FileError(f"{root.name!r} is not empty; choose another folder")
    files.write_text(root / _MARK, mark)


def _pair(root: Path, i: int, seed: int) -> tuple[list[dict[str, Any]], dict[str, Any], Injection]:
    """Write the two videos of one pair; their rows."""
    kind = i % len(GENERATORS)
    injection = _injection(CATEGORIES[i % len(CATEGORIES)], seed * 1000 + i, seconds=1.6 + (i % 3) * 0.4)
    fake = _enlarged(injection.fake, _FAKE_HW[kind], _FAKE_FPS)
    clean = _enlarged(injection.clean, _REAL_HW[i % len(_REAL_HW)], _REAL_FPS)
    fake_path, real_path = f"videos/cm2demo{i:04d}.mp4", f"real_videos/demo_{i:04d}.mp4"
    for path, frames, fps, crf in (
        (fake_path, fake, _FAKE_FPS, _FAKE_CRF[kind]),
        (real_path, clean, _REAL_FPS, _REAL_CRF),
    ):
        _write(root / path, frames, fps, crf=crf)
    split = {8: "val", 9: "test"}.get(i % 10, "train")
    fake_row = _video_fields(f"cm2demo{i:04d}", fake_path, fake, _FAKE_FPS) | {
        "video_type": "fake_video",
        "video_source": GENERATORS[kind],
        "split": split,
        "video_prompt": None if i % 5 == 2 else "balls and crates move through a room, hand-held camera",
    }
    real_row = _video_fields(f"demo_camera_{i:04d}", real_path, clean, _REAL_FPS) | {
        "video_type": "real_video",
        "video_source": CAMERA,
        "split": split,
        "video_prompt": None,
    }
    if i % 5 == 2:
        fake_row |= {name: str(fake_row[name]) for name in ("video_width", "video_height", "video_frame_rate")}
    if i % 5 == 3:
        real_row |= {"video_frame_count": None, "faketrace_bbox": None, "faketrace_explanations": None}
    return [fake_row | row for row in _trace_rows(injection, fake, i)], real_row, injection


def _injection(category: Category, seed: int, *, seconds: float) -> Injection:
    """The category in the first of some scenes that offers what it needs."""
    for attempt in range(_SCENES):
        scene = render_scene(seed + 7919 * attempt, size_hw=_RENDERED_HW, fps=_FAKE_FPS, seconds=seconds)
        try:
            return inject(scene.frames, category, seed=seed, strength=1.0, things=scene.things)
        except InjectionError as error:
            problem = error
    raise problem


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


def _write(path: Path, frames: Frames, fps: float, *, crf: int) -> None:
    from deeptrace.video import VideoWriter

    files.make_folder(path.parent)
    with VideoWriter(path, fps=fps, crf=crf, preset=_PRESET) as writer:
        writer.add(frames.images)


def _enlarged(frames: Frames, hw: tuple[int, int], fps: float) -> Frames:
    """The frames about their centre in that size, at that rate: what another device would have kept of the scene."""
    import cv2

    height, width = hw
    source_height, source_width = frames.images.shape[1:3]
    wide = min(source_width, round(source_height * width / height))
    left = (source_width - wide) // 2
    images = [
        cv2.resize(image[:, left : left + wide], (width, height), interpolation=cv2.INTER_CUBIC)
        for image in frames.images
    ]
    return Frames.from_array(np.stack(images).astype(np.uint8), fps)


# ── rows of traces ──────────────────────────────────────────────────────────────────────────────────────────────────


def _trace_rows(injection: Injection, fake: Frames, i: int) -> list[dict[str, Any]]:
    """The fields of the trace: one row, or two where a second annotator looked."""
    trace = injection.trace
    assert trace.bbox_xyxy is not None
    assert trace.onset_seconds is not None
    seconds = len(fake) / _FAKE_FPS
    first = round(trace.onset_seconds * _FAKE_FPS)
    last = seconds if trace.offset_seconds is None else min(trace.offset_seconds, seconds)
    row: dict[str, Any] = {
        "faketrace_bbox": _box_px(trace.bbox_xyxy, fake.source_hw),
        "faketrace_first_frame": first,
        "faketrace_duration": round(last - first / _FAKE_FPS, 3),
        "faketrace_explanations": trace.explanation,
        "faketrace_check_applies": [FACTS[category].tag for category in (injection.category, *_ALSO.get(i % 12, ()))],
    }
    # Every category once as it should be; of each dozen the last three as rows of the release often are.
    quirk = i % 12 - 9
    if quirk == 0:
        row |= {"faketrace_explanations": "", "faketrace_check_applies": []}
    if quirk == 1:
        del row["faketrace_check_applies"]
    if quirk == 2:
        row["faketrace_check_applies"] = [_NONE_OF_THESE]
    if i % 3:
        return [row]
    other = _as_seen_by_another(trace, i, seconds)
    assert other.bbox_xyxy is not None
    assert other.onset_seconds is not None
    second = {
        "faketrace_bbox": _box_px(other.bbox_xyxy, fake.source_hw),
        "faketrace_first_frame": round(other.onset_seconds * _FAKE_FPS),
        "faketrace_duration": round((other.offset_seconds or seconds) - other.onset_seconds, 3),
    }
    if i % 2:  # as long as the whole video, though it begins later: as in rows of the release
        second["faketrace_duration"] = round(seconds, 3)
    if other.categories and other.categories != trace.categories:
        second["faketrace_check_applies"] = [FACTS[category].tag for category in other.categories]
    return [row, second]


# ── two annotators ──────────────────────────────────────────────────────────────────────────────────────────────────


def _two_annotators(fake: Mapping[str, Any], real: Mapping[str, Any], trace: Trace, i: int) -> Iterator[Record]:
    """The two videos as two people judged them. Of six pairs: one fake and one real are in dispute, one is unsure."""
    seconds = float(fake["video_duration"])
    truth = replace(trace, track=None, offset_seconds=min(trace.offset_seconds or seconds, seconds))
    first = Annotation((truth,), label="fake", annotator=ANNOTATORS[0])
    match i % 6:
        case 4:  # the second one saw nothing
            other = Annotation((), label="real", annotator=ANNOTATORS[1])
        case 5:
            other = Annotation((), label="unsure", annotator=ANNOTATORS[1])
        case _:
            other = Annotation((_as_seen_by_another(truth, i, seconds),), label="fake", annotator=ANNOTATORS[1])
    yield Record(
        str(fake["video_id"]), fake["video_path"], "fake", source=fake["video_source"], annotations=(first, other)
    )
    wrong = replace(truth, categories=("Background Distortion",), explanation="The shadow looks wrong.")
    calls = [Annotation((), label="real", annotator=name) for name in ANNOTATORS]
    if i % 6 == 3:
        calls[1] = Annotation((wrong,), label="fake", annotator=ANNOTATORS[1])
    yield Record(str(real["video_id"]), real["video_path"], "real", source=CAMERA, annotations=tuple(calls))


def _as_seen_by_another(trace: Trace, i: int, seconds: float) -> Trace:
    """A larger box, some frames later; on every other one the neighbouring category."""
    assert trace.bbox_xyxy is not None
    assert trace.onset_seconds is not None
    x0, y0, x1, y1 = trace.bbox_xyxy
    grow = 0.01 + 0.02 * (i % 4)
    later = min(trace.onset_seconds + (1 + i % 4) / _FAKE_FPS, seconds - 2 / _FAKE_FPS)
    categories = trace.categories
    if i % 2 and categories:
        categories = (CATEGORIES[(CATEGORIES.index(categories[0]) + 1) % len(CATEGORIES)],)
    return replace(
        trace,
        bbox_xyxy=(max(x0 - grow, 0.0), max(y0 - grow, 0.0), min(x1 + grow, 1.0), min(y1 + grow, 1.0)),
        track=None,
        onset_seconds=round(later, 3),
        offset_seconds=max((trace.offset_seconds or seconds) - 0.1 * (i % 3), later + 0.1),
        categories=categories,
        explanation="Something is wrong here.",
    )


# ── pixels ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _box_px(box: Box, size_hw: tuple[int, int]) -> dict[str, int]:
    """The smallest whole pixels that hold the box."""
    height, width = size_hw
    left, top = math.floor(box[0] * width), math.floor(box[1] * height)
    right, bottom = math.ceil(box[2] * width), math.ceil(box[3] * height)
    return {"left": left, "top": top, "width": right - left, "height": bottom - top}


def _copy(root: Path, row: Mapping[str, Any]) -> dict[str, Any]:
    """The first real video once more, coded anew and in the test split: footage that leaks."""
    from deeptrace.video import sample_frames

    frames = sample_frames(root / str(row["video_path"]), fps=1000.0)
    path = "real_videos/demo_again.mp4"
    _write(root / path, frames, _REAL_FPS, crf=34)
    return dict(row) | {"video_id": "demo_camera_again", "video_path": path, "split": "test"}
