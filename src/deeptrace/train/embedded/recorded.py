"""Pairs from a dataset's own traces: a window of an annotated fake, and a window of a real video.

For whoever has the RewardData release, or traces of their own in its layout. The twins are then not twins: a real video
of the same dataset stands in, and the boxes of the annotators are the truth.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from deeptrace.categories import CATEGORIES
from deeptrace.data.read.load import RELEASE_NAME, load_records
from deeptrace.errors import TrainError
from deeptrace.models.embedded.inputs import FPS, Bytes
from deeptrace.records import Trace
from deeptrace.train.embedded.footage import Stored, store_clip

__all__ = ["RELEASE_NAME", "Recorded", "RecordedWindow"]


@dataclass(frozen=True)
class RecordedWindow:
    """Frames of a fake and of a real video, and the fake's trace in the window's own time."""

    fake: Bytes  # (T, H, W, 3)
    real: Bytes  # (T, H, W, 3)
    trace: Trace
    start_seconds: float
    source: str


@dataclass(frozen=True)
class Recorded:
    """Videos of a dataset, stored as arrays: fakes with each trace that has box, onset and category; reals."""

    fakes: tuple[tuple[Stored, Trace, str], ...]
    reals: tuple[Stored, ...]

    @classmethod
    def load(cls, root: Path, cache: Path, *, split: str = "train") -> Recorded:
        """Read one split of a dataset (videos without one belong to train). Unreadable videos are left out.

        Raises:
            TrainError: no usable trace, or no real video, is left.
        """
        fakes, reals = [], []
        for record in load_records(root):
            if (record.split or "train") != split or record.path is None:
                continue
            traces = [
                trace
                for trace in record.traces
                if trace.bbox_xyxy and trace.onset_seconds is not None and trace.categories
            ]
            if record.label == "fake" and not traces:
                continue
            path = root / record.path
            key = hashlib.sha256(f"{path.resolve()} {path.stat().st_size if path.exists() else 0}".encode()).hexdigest()
            stored = store_clip(path, key[:16], cache)
            if stored is None:
                continue
            if record.label == "fake":
                fakes += [(stored, trace, record.source or "unknown") for trace in traces]
            elif record.label == "real":
                reals.append(stored)
        if not fakes or not reals:
            raise TrainError(
                f"{root.name!r}: {len(fakes)} traces with box, onset and category and {len(reals)} real videos "
                f"could be read in the {split} split; both are needed"
            )
        return cls(tuple(fakes), tuple(reals))

    def window(self, rng: np.random.Generator, size_hw: tuple[int, int], count: int) -> RecordedWindow:
        """A window of ``count`` frames around the onset of one trace, and one of a real video."""
        annotated = {category for _, trace, _ in self.fakes for category in trace.categories or ()}
        present = [category for category in CATEGORIES if category in annotated]
        wanted = present[int(rng.integers(len(present)))]
        fitting = [entry for entry in self.fakes if wanted in (entry[1].categories or ())]
        stored, trace, source = fitting[int(rng.integers(len(fitting)))]
        assert trace.onset_seconds is not None
        lead = float(rng.uniform(0.1, 0.7)) * count / FPS
        fake, start = _cut(stored, max(0.0, trace.onset_seconds - lead), size_hw, count)
        real_of = self.reals[int(rng.integers(len(self.reals)))]
        seconds = len(real_of.frames()) / real_of.fps
        real, _ = _cut(real_of, float(rng.uniform(0, max(1e-6, seconds - count / FPS))), size_hw, count)
        window_trace = Trace(
            trace.bbox_xyxy, trace.onset_seconds, trace.offset_seconds, (wanted,), None, trace.track, None
        )
        return RecordedWindow(fake, real, window_trace, start, source)


def _cut(stored: Stored, start_seconds: float, size_hw: tuple[int, int], count: int) -> tuple[Bytes, float]:
    """``count`` frames from about that time on at whole steps, and the first one's time; a short clip ends still."""
    frames = stored.frames()
    step = max(1, round(stored.fps / FPS))
    first = min(round(start_seconds * stored.fps), max(0, len(frames) - step * count))
    picked = frames[np.minimum(first + step * np.arange(count), len(frames) - 1)]
    images = np.stack([cv2.resize(image, size_hw[::-1], interpolation=cv2.INTER_AREA) for image in picked])
    return images, first / stored.fps
