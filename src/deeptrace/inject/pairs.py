"""One pair of a dataset: footage or a rendered scene in, two coded videos and their rows out.

Both twins come from the same frames (one decode, one resize) and go through the same encoder with the same settings.
Knows one pair; the dataset's journal and the order of work are the caller's.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from deeptrace.errors import InjectionError
from deeptrace.inject.blend import Implementation
from deeptrace.inject.engine import Injection, inject
from deeptrace.inject.plan import Plan, split_of
from deeptrace.inject.rendered import render_scene
from deeptrace.inject.things import Things, find_things
from deeptrace.records import Frames
from deeptrace.video import VideoWriter, probe, sample_frames

# Shortest clip worth a trace: its onset, and something after it to see.
_FEWEST_FRAMES = 8
_TRIES_PER_CATEGORY = 2


@dataclass(frozen=True)
class Size:
    """What clips are made of: frames a second, seconds, and pixels of one side."""

    fps: float
    seconds: float
    long_side: int | None = None
    short_side: int | None = None
    preset: str = "medium"

    def of(self, width: int, height: int) -> int:
        """The shorter side for footage of that size; it is never enlarged."""
        short = self.short_side or round((self.long_side or 0) * min(width, height) / max(width, height))
        return max(2, min(short, width, height) // 2 * 2)


FULL = Size(fps=24.0, seconds=5.0, short_side=480)
SMALL = Size(fps=8.0, seconds=3.0, long_side=224, preset="veryfast")


@dataclass(frozen=True)
class Source:
    """Where a pair's footage comes from: a video file, or None for a scene rendered from assets."""

    name: str
    path: str | None = None
    photos: Sequence[str] = ()
    cutouts: Sequence[str] = ()
    facts: Mapping[str, str] | None = None  # of a manifest: source, licence
    split: str | None = None  # None: by its name

    @property
    def in_split(self) -> str:
        """train, val or test."""
        return self.split or split_of(self.name)


def make_pair(
    root: Path,
    plan: Plan,
    source: Source,
    *,
    size: Size,
    strength: float,
    implementation: Implementation,
    look: bool = False,
) -> dict[str, Any]:
    """Write ``videos/ID.mp4`` and ``real_videos/ID_real.mp4`` below ``root``; their rows, under "fake" and "real".

    With ``look`` there are also ``look/ID.mp4`` (clean beside fake, with the box) and ``look/ID.jpg`` (a strip).

    Raises:
        InjectionError: the footage offers nothing for any of the planned categories.
        VideoError: the footage cannot be read, or a file cannot be written.
        FileError: an asset cannot be read.
    """
    frames, things, made_of = _footage(plan, source, size)
    injection, tries = _inject(frames, things, plan, strength, implementation)
    real = injection.sham if plan.sham else injection.clean
    paths = {"fake": f"videos/{plan.pair_id}.mp4", "real": f"real_videos/{plan.pair_id}_real.mp4"}
    for path, twin in ((paths["fake"], injection.fake), (paths["real"], real)):
        _write(root / path, twin, size, plan.crf)
    if look:
        _write(root / "look" / f"{plan.pair_id}.mp4", _side_by_side(injection), size, 20)
        strip = cv2.cvtColor(_strip(injection), cv2.COLOR_RGB2BGR)
        ok, data = cv2.imencode(".jpg", strip, [cv2.IMWRITE_JPEG_QUALITY, 88])
        assert ok
        _replace(root / "look" / f"{plan.pair_id}.jpg", data.tobytes())
    facts = {"inject_source": source.name, **({"inject_source_facts": dict(source.facts)} if source.facts else {})}
    shared = facts | {"inject_prior": plan.prior, "inject_crf": plan.crf, "inject_footage": made_of}
    return {
        "fake": _video_fields(plan.pair_id, paths["fake"], frames, size.fps)
        | {"video_type": "fake_video", "video_source": f"injected ({implementation})", "split": source.in_split}
        | _trace_fields(injection, size.fps)
        | shared
        | {"inject_twin": f"{plan.pair_id}_real", "inject_tries": tries},
        "real": _video_fields(f"{plan.pair_id}_real", paths["real"], frames, size.fps)
        | {"video_type": "real_video", "video_source": "footage" if source.path else "rendered scene"}
        | {"split": source.in_split, "sham": plan.sham}
        | shared
        | {"inject_twin": plan.pair_id},
    }


# ── footage ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _footage(plan: Plan, source: Source, size: Size) -> tuple[Frames, Things, dict[str, Any]]:
    if source.path is None:
        long = size.long_side or round((size.short_side or 0) * 16 / 9)
        hw = (round(long * 9 / 16) // 2 * 2, long // 2 * 2)
        scene = render_scene(
            plan.seed, photos=source.photos, cutouts=source.cutouts, size_hw=hw, fps=size.fps, seconds=size.seconds
        )
        return scene.frames, scene.things, scene.params
    info = probe(source.path)
    length = info.duration_seconds or size.seconds
    start = max(0.0, length - size.seconds) * plan.start_share
    frames = sample_frames(
        source.path,
        fps=size.fps,
        start_seconds=start,
        end_seconds=start + size.seconds,
        short_side=size.of(info.width, info.height),
    )
    images = frames.images[:, : frames.images.shape[1] // 2 * 2, : frames.images.shape[2] // 2 * 2]
    if len(images) < _FEWEST_FRAMES:
        raise InjectionError("NO_ROOM", f"{len(images)} frames are too few, {_FEWEST_FRAMES} needed")
    # At the grid's own times: both twins are written at one constant rate.
    times = np.arange(len(images), dtype=np.float64) / size.fps
    even = Frames(np.ascontiguousarray(images), times, (images.shape[1], images.shape[2]), len(images) / size.fps)
    return even, find_things(even, plan.seed), {"start_seconds": round(start, 3)}


def _inject(
    frames: Frames, things: Things, plan: Plan, strength: float, implementation: Implementation
) -> tuple[Injection, int]:
    """The first category of the plan that this footage takes, at the planned time or (second try) at any."""
    length = frames.duration_seconds or float(frames.pts_seconds[-1])
    last: InjectionError | None = None
    tries = 0
    for category in plan.categories:
        for attempt in range(_TRIES_PER_CATEGORY):
            tries += 1
            planned = attempt == 0
            try:
                return inject(
                    frames,
                    category,
                    seed=plan.seed + attempt,
                    strength=strength,
                    implementation=implementation,
                    onset_seconds=plan.onset_share * length if planned else None,
                    offset_seconds=plan.offset_share * length if planned and plan.offset_share < 1 else None,
                    things=things,
                ), tries
            except InjectionError as error:
                last = error
    assert last is not None
    raise last


# ── rows ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _video_fields(video_id: str, path: str, frames: Frames, fps: float) -> dict[str, Any]:
    height, width = frames.images.shape[1:3]
    return {
        "video_id": video_id,
        "video_path": path,
        "video_prompt": None,
        "video_mime_type": "video/mp4",
        "video_width": width,
        "video_height": height,
        "video_frame_rate": fps,
        "video_frame_count": len(frames),
        "video_duration": round(len(frames) / fps, 3),
    }


def _trace_fields(injection: Injection, fps: float) -> dict[str, Any]:
    trace = injection.trace
    assert trace.bbox_xyxy is not None
    assert trace.onset_seconds is not None
    assert trace.offset_seconds is not None
    height, width = injection.clean.images.shape[1:3]
    x0, y0, x1, y1 = trace.bbox_xyxy
    left, top = math.floor(x0 * width), math.floor(y0 * height)
    first = round(trace.onset_seconds * fps)
    return {
        "faketrace_bbox": {
            "left": left,
            "top": top,
            "width": math.ceil(x1 * width) - left,
            "height": math.ceil(y1 * height) - top,
        },
        "faketrace_first_frame": first,
        "faketrace_duration": round(trace.offset_seconds - first / fps, 3),
        "faketrace_explanations": trace.explanation,
        "faketrace_check_applies": list(trace.categories or ()),
        "inject_category": injection.category,
        "inject_params": dict(injection.params),
        "inject_track": [
            {
                "time_seconds": round(key.time_seconds, 4),
                "bbox_xyxy": None if key.bbox_xyxy is None else [round(v, 5) for v in key.bbox_xyxy],
                "visible": key.visible,
            }
            for key in trace.track or ()
        ],
    }


# ── files ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _write(path: Path, frames: Frames, size: Size, crf: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with VideoWriter(path, fps=size.fps, crf=crf, preset=size.preset) as writer:
        writer.add(frames.images)


def _replace(path: Path, data: bytes) -> None:
    from deeptrace.files import atomic_write

    with atomic_write(path) as file:
        file.write(data)


def _boxed(injection: Injection, index: int) -> npt.NDArray[np.uint8]:
    """The fake frame with the trace's box."""
    image: npt.NDArray[np.uint8] = injection.fake.images[index].copy()
    box = injection.trace.box_at(float(injection.clean.pts_seconds[index]) + 1e-6)
    if box is not None:
        height, width = image.shape[:2]
        line = max(1, round(height / 240))
        start, end = (round(box[0] * width), round(box[1] * height)), (round(box[2] * width), round(box[3] * height))
        cv2.rectangle(image, start, end, (255, 40, 40), line)
    return image


def _side_by_side(injection: Injection) -> Frames:
    clean = injection.clean
    images = np.concatenate([clean.images, np.stack([_boxed(injection, t) for t in range(len(clean))])], axis=2)
    return replace(clean, images=images, source_hw=(images.shape[1], images.shape[2]))


def _strip(injection: Injection) -> npt.NDArray[np.uint8]:
    """Onset, middle and end of the fake with its box; below, the same frames of the clean twin and of the sham."""
    first, end = injection.params["onset_frame"], injection.params["offset_frame"]
    rows = []
    chosen = (first, (first + end) // 2, end - 1)
    for images in (
        [_boxed(injection, t) for t in chosen],
        [injection.clean.images[t] for t in chosen],
        [injection.sham.images[t] for t in chosen],
    ):
        width = 224
        height = round(images[0].shape[0] * width / images[0].shape[1])
        rows.append(np.hstack([cv2.resize(i, (width, height), interpolation=cv2.INTER_AREA) for i in images]))
    strip = np.vstack(rows)
    cv2.putText(strip, str(injection.category), (4, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255, 255, 0), 1, cv2.LINE_AA)
    return np.asarray(strip, dtype=np.uint8)


def contact_sheet(root: Path, ids: Sequence[str], columns: int = 3) -> bool:
    """``sheet.jpg`` of the strips in ``look/``; False where there are none."""
    strips = []
    for pair_id in ids:
        path = root / "look" / f"{pair_id}.jpg"
        if path.is_file():
            image = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
            if image is not None:
                strips.append(image)
    if not strips:
        return False
    width = max(s.shape[1] for s in strips) + 6
    lines = []
    for at in range(0, len(strips), columns):
        line = strips[at : at + columns]
        height = max(s.shape[0] for s in line) + 6
        line = [np.pad(s, ((0, height - s.shape[0]), (0, width - s.shape[1]), (0, 0))) for s in line]
        blank = np.zeros((height, width, 3), np.uint8)
        lines.append(np.hstack(line + [blank] * (columns - len(line))))
    ok, data = cv2.imencode(".jpg", np.vstack(lines), [cv2.IMWRITE_JPEG_QUALITY, 88])
    assert ok
    _replace(root / "sheet.jpg", data.tobytes())
    return True


def scene_source(number: int, photos: Sequence[str], cutouts: Sequence[str]) -> Source:
    """Scene ``number``, made of assets of its own split only: a picture seen in training is never seen in a test.

    A split that has none of the given assets gets no scenes; they go to train.
    """
    name = f"scene {number:06d}"
    split = split_of(name)
    kept = [[a for a in assets if split_of(os.path.basename(a)) == split] for assets in (photos, cutouts)]
    if any(assets and not own for assets, own in zip((photos, cutouts), kept, strict=True)):
        split = "train"
        kept = [
            [a for a in assets if split_of(os.path.basename(a)) == split] or list(assets)
            for assets in (photos, cutouts)
        ]
    return Source(name, None, kept[0], kept[1], split=split)
