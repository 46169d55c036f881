"""A model that sees no pixels: what the training records alone teach. Every table has it: much of a score is luck.

Records of the split "train" go in, a `Blind` comes out: a verdict from what a file's header says (size, rate, length),
and for every fake the same box, onset, length, category and explanation, each the best constant on train. Beside it
three simpler ones that need no header: always REAL, always FAKE, and FAKE on the whole frame.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from deeptrace.categories import CATEGORIES, Category
from deeptrace.errors import MissingExtra, RecordError
from deeptrace.measures.video import is_explained
from deeptrace.records import Box, Label, Origin, Record, Trace, Verdict, VideoInfo

Floats = npt.NDArray[np.float64]

BlindName = Literal["blind", "always FAKE", "always REAL", "whole frame"]

METADATA: Final = ("width", "height", "aspect", "fps", "duration_seconds", "num_frames")
"""What a header says and a viewer sees without looking at the picture."""

TREES: Final = 100
_STEP_SECONDS: Final = 0.1
_COARSE: Final = 8
_STEPS: Final = (0.05, 0.02, 0.01, 0.005)


def metadata_row(info: VideoInfo | None) -> list[float]:
    """The values of `METADATA`: pixels, frames a second, seconds; NaN where not known."""
    if info is None:
        return [np.nan] * len(METADATA)
    seconds = info.length_seconds
    return [
        info.width,
        info.height,
        info.width / info.height,
        np.nan if info.fps is None else info.fps,
        np.nan if seconds is None else seconds,
        np.nan if info.num_frames is None else info.num_frames,
    ]


@dataclass(frozen=True)
class Blind:
    """The constants and the verdict, as learned. ``trained_on`` counts videos by label.

    ``bbox_xyxy`` has the largest mean IoU with the training rows' boxes, ``onset_seconds`` the smallest mean time
    distance, ``trace_seconds`` the largest mean tIoU from there; ``category`` and ``explanation`` are the most
    frequent. None: no training row says it.
    """

    bbox_xyxy: Box | None
    onset_seconds: float | None
    trace_seconds: float | None
    category: Category | None
    explanation: str | None
    trained_on: Mapping[Label, int]
    seed: int
    _forest: Any

    def trace(self) -> Trace:
        """The one trace that is claimed of every fake."""
        onset, length = self.onset_seconds, self.trace_seconds
        return Trace(
            bbox_xyxy=self.bbox_xyxy,
            onset_seconds=onset,
            offset_seconds=None if onset is None or length is None else onset + length,
            categories=None if self.category is None else (self.category,),
            explanation=self.explanation,
        )

    def p_fake(self, records: Sequence[Record]) -> list[float]:
        """P(fake) of each video by its header alone."""
        if not records:
            return []
        return [float(p) for p in self._forest.predict_proba(_table(records))[:, 1]]

    def verdicts(self, records: Sequence[Record], name: BlindName = "blind") -> dict[str, Verdict]:
        """What one of the rows says of each video, by ``video_id``."""
        if name == "blind":
            trace = self.trace()
            return {
                record.video_id: _verdict(record, name, "fake" if p >= 0.5 else "real", trace, p)
                for record, p in zip(records, self.p_fake(records), strict=True)
            }
        return constant_verdicts(records, name, self.trace())


def constant_verdicts(
    records: Iterable[Record], name: Literal["always FAKE", "always REAL", "whole frame"], trace: Trace
) -> dict[str, Verdict]:
    """What a row says that does not even look at the header; ``trace`` is what "always FAKE" claims."""
    if name == "whole frame":
        trace = Trace(bbox_xyxy=(0.0, 0.0, 1.0, 1.0), onset_seconds=0.0)
    label: Label = "real" if name == "always REAL" else "fake"
    return {record.video_id: _verdict(record, name, label, trace, None) for record in records}


def _verdict(record: Record, name: str, label: Label, trace: Trace, p: float | None) -> Verdict:
    return Verdict(
        label,
        p_fake=p,
        p_fake_raw=p,
        traces=(trace,) if label == "fake" and trace != Trace() else (),
        origin=Origin(video_id=record.video_id, path=record.path, model=name),
    )


# ── learning ────────────────────────────────────────────────────────────────────────────────────────────────────────


def fit_blind(records: Iterable[Record], *, seed: int = 0) -> Blind:
    """Learn from the records of the split "train"; all others are left aside. No file is opened.

    Raises:
        RecordError: no training record is fake, or none is real.
        MissingExtra: scikit-learn is not installed.
    """
    train = [record for record in records if record.split == "train" and record.label in ("fake", "real")]
    fakes = [record for record in train if record.label == "fake"]
    if not fakes or len(fakes) == len(train):
        reals = len(train) - len(fakes)
        raise RecordError("split", f"'train' holds {len(fakes)} fake and {reals} real videos; a blind row needs both")
    rows = [(trace, _length(record)) for record in fakes for trace in record.traces]
    timed = [(trace.onset_seconds, length) for trace, length in rows if trace.onset_seconds is not None and length]
    onset = _best_onset(timed)
    spans = [
        (trace.onset_seconds, trace.offset_seconds, length)
        for trace, length in rows
        if trace.onset_seconds is not None and trace.offset_seconds is not None and length
    ]
    return Blind(
        bbox_xyxy=best_box([trace.bbox_xyxy for trace, _ in rows if trace.bbox_xyxy is not None]),
        onset_seconds=onset,
        trace_seconds=None if onset is None else _best_length(spans, onset),
        category=_most_frequent_category([trace for trace, _ in rows]),
        explanation=_most_frequent_text([str(trace.explanation) for trace, _ in rows if is_explained(trace)]),
        trained_on={"fake": len(fakes), "real": len(train) - len(fakes)},
        seed=seed,
        _forest=_forest(train, seed),
    )


def _length(record: Record) -> float | None:
    return None if record.info is None else record.info.length_seconds


def _table(records: Sequence[Record]) -> Floats:
    """(N, D); what is not known is -1, which trees tell apart."""
    return np.nan_to_num(np.array([metadata_row(record.info) for record in records], np.float64), nan=-1.0)


def _forest(train: Sequence[Record], seed: int) -> Any:
    """Extremely randomised trees: exact values and their combinations give labels away, and trees find them."""
    try:
        from sklearn.ensemble import ExtraTreesClassifier
    except ImportError:
        raise MissingExtra("the blind row", "bench") from None
    truth = np.array([record.label == "fake" for record in train], np.intp)
    forest = ExtraTreesClassifier(TREES, min_samples_leaf=2, class_weight="balanced", random_state=seed, n_jobs=1)
    return forest.fit(_table(train), truth)


def best_box(boxes: Sequence[Box]) -> Box | None:
    """The box of the largest mean IoU with the given ones: the best of a coarse grid, moved side by side to the top.

    Boxes are xyxy in fractions of the frame. None of none. The mean IoU has no simple maximum, so a better box may
    exist; this one is never worse than the whole frame, or than the median of each side.
    """
    if not boxes:
        return None
    sides = np.array(boxes, np.float64)
    edges = np.linspace(0.0, 1.0, _COARSE + 1)
    spans = [(a, b) for i, a in enumerate(edges) for b in edges[i + 1 :]]
    middle = np.median(sides, axis=0)
    candidates = [middle, *(np.array([x0, y0, x1, y1]) for x0, x1 in spans for y0, y1 in spans)]
    best = max(candidates, key=lambda box: _mean_iou(box, sides))
    value = _mean_iou(best, sides)
    for step in _STEPS:
        moved = True
        while moved:
            moved = False
            for side in range(4):
                for change in (-step, step):
                    box = best.copy()
                    box[side] = np.clip(box[side] + change, 0.0, 1.0)
                    if box[0] < box[2] and box[1] < box[3] and (iou := _mean_iou(box, sides)) > value + 1e-12:
                        best, value, moved = box, iou, True
    x0, y0, x1, y1 = (float(side) for side in best)
    return (x0, y0, x1, y1)


def _mean_iou(box: Floats, boxes: Floats) -> float:
    shared = np.clip(np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2]), 0.0, None).prod(1)
    union = (box[2:] - box[:2]).prod() + (boxes[:, 2:] - boxes[:, :2]).prod(1) - shared
    return float((shared / np.maximum(union, 1e-300)).mean())


def _grid(longest: float) -> Floats:
    return np.arange(0.0, min(longest, 1e4) + _STEP_SECONDS, _STEP_SECONDS).round(1)


def _best_onset(timed: Sequence[tuple[float, float]]) -> float | None:
    """The onset of the smallest mean time distance, to 0.1 s; the earliest of equal ones."""
    if not timed:
        return None
    onset, length = (np.array(values) for values in zip(*timed, strict=True))
    candidates = _grid(float(onset.max()))
    means = [np.minimum(1.0, np.abs(onset - candidate) / length).mean() for candidate in candidates]
    return float(candidates[int(np.argmin(means))])


def _best_length(spans: Sequence[tuple[float, float, float]], onset: float) -> float | None:
    """The length of the largest mean tIoU for traces that begin at ``onset``, to 0.1 s; the shortest of equal ones."""
    if not spans:
        return None
    first, last, length = (np.array(values) for values in zip(*spans, strict=True))
    candidates = _grid(float(length.max()))[1:]
    means = []
    for candidate in candidates:
        end, begin = np.minimum(onset + candidate, length), np.minimum(onset, length)
        shared = np.clip(np.minimum(end, last) - np.maximum(begin, first), 0.0, None)
        means.append((shared / (np.maximum(end, last) - np.minimum(begin, first))).mean())
    return float(candidates[int(np.argmax(means))])


def _most_frequent_category(traces: Iterable[Trace]) -> Category | None:
    counts = Counter(category for trace in traces for category in trace.categories or ())
    ranked: list[Category] = sorted(counts, key=lambda category: (-counts[category], CATEGORIES.index(category)))
    return ranked[0] if ranked else None


def _most_frequent_text(texts: Iterable[str]) -> str | None:
    """The most frequent text, white space aside; the first in the alphabet of equally frequent ones."""
    counts = Counter(" ".join(text.split()) for text in texts)
    return min(counts, key=lambda text: (-counts[text], text)) if counts else None
