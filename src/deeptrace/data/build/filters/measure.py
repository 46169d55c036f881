"""What the filters measure of one video. Called by `deeptrace.data.build.filters`."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from deeptrace.data.audit.pixels import lowlevel_features
from deeptrace.data.normalise.files import journal_key
from deeptrace.data.paths import resolve
from deeptrace.errors import MissingExtra, RecordError, VideoError
from deeptrace.journal import Journal
from deeptrace.records import Record
from deeptrace.stamps import file_stamp, is_stamped

VERSION: Final = 2
"""Goes up when a measure changes: noted ones are then not used."""

PAIRS: Final = 6
_LOOKS: Final = 4
_FLOW_SIDE: Final = 128
_SHARP_SIDE: Final = 256
_PAIR_SECONDS: Final = 0.15  # two frames of a pair are this far apart, at least one frame
_STILL_PX: Final = 0.2  # flow below this at 128 pixels is noise


@dataclass(frozen=True)
class Measures:
    """``motion``: diagonals a second, None for a single frame. The others as `filters.filter_quality` says."""

    motion: float | None
    sharpness: float
    exposure: float
    clipped: float
    blockiness: float


class Meter:
    """The `Measures` of records, each file read once; with a journal that is begun with `settings`, once for all runs.

    A file that cannot be read gives the reason instead, and is tried again in the next run.
    """

    settings: Final = {"run": "measure", "version": VERSION}

    def __init__(self, root: str | os.PathLike[str], journal: Journal | None = None) -> None:
        self._root = root
        self._journal = journal
        self._known: dict[str, Measures | str] = {}

    def __call__(self, record: Record) -> Measures | str:
        """What was measured, or ``unreadable: CODE``, or ``no_usable_path``."""
        try:
            path = resolve(self._root, record)
        except RecordError:
            return "no_usable_path"
        if str(path) not in self._known:
            self._known[str(path)] = self._look(record, path)
        return self._known[str(path)]

    def _look(self, record: Record, path: Path) -> Measures | str:
        key = journal_key(record)
        if self._journal is not None:
            row = self._journal.rows.get(key)
            if row is not None and is_stamped(row.get("file"), path):
                return Measures(**row["measures"])
        try:
            measures = measure(path)
        except VideoError as error:
            return f"unreadable: {error.code}"
        if self._journal is not None:
            self._journal.add(key, {"file": file_stamp(path), "measures": asdict(measures)})
        return measures


def measure(path: str | os.PathLike[str]) -> Measures:
    """Measure a video: a few frames at native size, and pairs of neighbouring frames small.

    Raises:
        VideoError: it cannot be read.
    """
    from deeptrace import video

    images = video.sample_frames(path, fps=1e6, max_frames=_LOOKS).images
    grays = [np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8) for image in images]
    sharp = [float(cv2.Laplacian(_small(gray, _SHARP_SIDE), cv2.CV_64F).var()) for gray in grays]
    return Measures(
        motion=_motion(path),
        sharpness=max(sharp),
        exposure=float(np.mean([gray.mean() for gray in grays])),
        clipped=float(np.mean([((gray <= 16) | (gray >= 239)).mean() for gray in grays])),
        blockiness=lowlevel_features(images)["block_grid"],
    )


def _motion(path: str | os.PathLike[str]) -> float | None:
    """The median over pairs of frames of the 90th percentile of flow, by the diagonal and the time between the frames.

    The percentile sees an object of a tenth of the frame; the median is not moved by a cut. Flow is Farneback's
    ("Two-frame motion estimation based on polynomial expansion", 2003).
    """
    from deeptrace import video

    frames = video.sample_frames(path, fps=1 / _PAIR_SECONDS, short_side=_FLOW_SIDE)
    if len(frames) < 2:
        return None
    starts = np.unique(np.linspace(0, len(frames) - 2, PAIRS).round().astype(int))
    speeds = []
    for at in starts.tolist():
        a, b = (np.asarray(cv2.cvtColor(frames.images[k], cv2.COLOR_RGB2GRAY), np.uint8) for k in (at, at + 1))
        flow = _flow(a, b)
        size = np.hypot(flow[..., 0], flow[..., 1])
        step = float(np.percentile(np.where(size < _STILL_PX, 0.0, size), 90))
        seconds = float(frames.pts_seconds[at + 1] - frames.pts_seconds[at])
        speeds.append(step / float(np.hypot(*a.shape)) / seconds)
    return float(np.median(speeds))


def _flow(a: npt.NDArray[np.uint8], b: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
    start = np.zeros((*a.shape, 2), np.float32)
    soft = [cv2.GaussianBlur(gray, (0, 0), 1.0) for gray in (a, b)]
    return np.asarray(cv2.calcOpticalFlowFarneback(soft[0], soft[1], start, 0.5, 3, 21, 3, 7, 1.5, 0))


def _small(gray: npt.NDArray[np.uint8], side: int) -> npt.NDArray[np.uint8]:
    scale = side / min(gray.shape)
    if scale >= 1:
        return gray
    size = (max(1, round(gray.shape[1] * scale)), max(1, round(gray.shape[0] * scale)))
    return np.asarray(cv2.resize(gray, size, interpolation=cv2.INTER_AREA), np.uint8)


def scipy_stats(feature: str) -> Any:
    """``scipy.stats``.

    Raises:
        MissingExtra: SciPy is not installed.
    """
    try:
        from scipy import stats
    except ImportError as error:
        raise MissingExtra(feature, "data") from error
    return stats
