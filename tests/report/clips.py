"""Clips and outcomes whose truth is known by construction."""

from __future__ import annotations

import numpy as np

from deeptrace.records import Frames, KeyBox, Origin, Trace, Verdict

FPS = 10.0
SIZE_HW = (120, 160)

STILL_BOX = Trace((0.25, 0.25, 0.5, 0.75), 1.0, 2.0, ("Object Disappearance",), "A square vanishes.", None, 0.9)
MOVING_BOX = Trace(
    (0.5, 0.1, 0.7, 0.3),
    0.5,
    2.5,
    ("Unexpected Move",),
    "A square slides down.",
    (
        KeyBox(0.5, (0.5, 0.1, 0.7, 0.3)),
        KeyBox(1.5, (0.5, 0.6, 0.7, 0.8)),
        KeyBox(1.8, (0.5, 0.6, 0.7, 0.8), visible=False),
        KeyBox(2.2, (0.7, 0.6, 0.9, 0.8)),
    ),
    0.6,
)


def grey_clip(seconds: float = 3.0, size_hw: tuple[int, int] = SIZE_HW) -> Frames:
    """A grey clip with a white square that moves to the right by one pixel a frame."""
    count = round(seconds * FPS)
    images = np.full((count, *size_hw, 3), 110, np.uint8)
    for k in range(count):
        images[k, 20:30, k : k + 10] = 255
    return Frames.from_array(images, FPS)


def origin(name: str = "clip.mp4", *, partial: bool = False) -> Origin:
    return Origin(
        video_id=name.rsplit(".", 1)[0],
        path=f"folder/{name}",
        sha256="ab" * 32,
        model="scripted",
        revision="r1",
        question="q1",
        sampling={"fps": 8.0, "max_frames": 64},
        frames_declared=30,
        frames_decoded=20 if partial else 30,
        partial=partial,
    )


def fake(*traces: Trace, name: str = "clip.mp4") -> Verdict:
    return Verdict(
        "fake",
        p_fake=0.87,
        p_fake_raw=0.9,
        calibration="isotonic",
        p_trace=0.8,
        p_generated=0.3,
        traces=traces,
        flags=("confidence-dropped",),
        text="FAKE",
        origin=origin(name),
    )
