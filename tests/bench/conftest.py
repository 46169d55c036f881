"""A small dataset for tests of the benchmark: clips with a square that appears at a known place and time."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deeptrace.answer import Space, render
from deeptrace.data import Records, load_records, write_records
from deeptrace.records import Annotation, Frames, Record, Trace, VideoInfo
from deeptrace.video import write_video

HW = (120, 160)
HOSTILE = "<script>alert('source')</script>\u202e"


def clip(box: tuple[float, float, float, float] | None) -> Frames:
    """Two seconds of grey; with a box, a white square in it from 0.5 s on."""
    images = np.full((16, *HW, 3), 90, np.uint8)
    if box is not None:
        x0, y0, x1, y1 = (round(v * s) for v, s in zip(box, (HW[1], HW[0]) * 2, strict=True))
        images[4:, y0:y1, x0:x1] = 255
    return Frames.from_array(images, 8)


@pytest.fixture(scope="session")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Records:
    """Eight fakes, eight reals in test, four of each in train; one file is broken, one source has a hostile name."""
    root = tmp_path_factory.mktemp("squares")
    (root / "videos").mkdir()
    records = []
    for i in range(24):
        fake, x = i % 2 == 0, 0.1 + 0.02 * i
        box = (x, 0.3, x + 0.25, 0.6)
        write_video(root / f"videos/{i:02d}.mp4", clip(box if fake else None), 8)
        kind = ("Redundant Object", "Sudden Blurring")[i // 2 % 2]
        trace = Trace(box, 0.5, 2.0, categories=(kind,), explanation=f"Square {i} appears.")  # type: ignore[arg-type]
        records.append(
            Record(
                f"clip {i:02d}",
                f"videos/{i:02d}.mp4",
                "fake" if fake else "real",
                info=VideoInfo(HW[1], HW[0], 8.0, 16, 2.0),
                source=(HOSTILE if i % 4 else "Gen A") if fake else "camera",
                split="test" if i < 16 else "train",
                annotations=(Annotation((trace,), "fake"),) if fake else (),
            )
        )
    (root / "videos/15.mp4").write_bytes(b"broken")
    write_records(root / "records.jsonl", records)
    return load_records(root)


@pytest.fixture(scope="session")
def answers(squares: Records, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scripted answers: right on most, one miss, one false alarm, one echo of the options, one with markup in it."""
    space, rows = Space("source", HW[1], HW[0]), []
    for i, record in enumerate(squares):
        text = render(record, "trained", space)
        if i == 2:
            text = "REAL. The video is real. There is no unnatural part."
        elif i == 3:
            text = "FAKE. The video is AI-generated. The unnatural part is at [5, 5, 40, 40] starting 0.2 seconds."
        elif i == 4:
            text = "REAL or FAKE"
        elif i == 6:
            trace = replace(
                record.traces[0], bbox_xyxy=(0.7, 0.7, 0.9, 0.9), explanation="<img src=x onerror=alert(1)>"
            )
            text = render(replace(record, annotations=(Annotation((trace,), "fake"),)), "trained", space)
        rows.append({"video_id": record.video_id, "text": text})
    path = tmp_path_factory.mktemp("answers") / "answers.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
