"""Gold clips: short videos whose one trace is known to the pixel, for people to learn annotating on.

They are the example dataset (`deeptrace.data.example`), made once in the work folder: a clip for each of the nine
categories and some without a trace. What a learner hands in is compared with what was put there.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from deeptrace.data.example import make_example
from deeptrace.data.read.load import Records, load_records
from deeptrace.errors import DeepTraceError
from deeptrace.explorer.annotate import traces_of
from deeptrace.explorer.index import DatasetIndex
from deeptrace.explorer.pictures import ClipPictures
from deeptrace.lock import folder_lock
from deeptrace.measures.overlap import box_iou
from deeptrace.records import Record, Trace

__all__ = ["GoldFeedback", "GoldSet", "compare_with_gold"]

PAIRS: Final = 12
SEED: Final = 77
MIN_IOU: Final = 0.5
MAX_ONSET_ERROR_SECONDS: Final = 0.3
_FAKES: Final = 9
"""One of each category; the clips without a trace are of the other pairs, so that no scene is seen twice."""

_DONE: Final = "all_data.json"


class GoldSet:
    """The gold clips in a folder. They are made when `ready` is first called: about a second for each."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._maker: threading.Thread | None = None
        self._ready: tuple[DatasetIndex, ClipPictures] | None = None

    def begin(self) -> bool:
        """Make the clips in the background, where nobody did yet; whether they are being made."""
        if self._maker is None and self._ready is None:
            self._maker = threading.Thread(target=self._make_quietly, name="gold clips", daemon=True)
            self._maker.start()
        return self._maker is not None and self._maker.is_alive()

    def _make_quietly(self) -> None:
        with contextlib.suppress(DeepTraceError):  # whoever asks for them next is told
            self.ready()

    @property
    def is_ready(self) -> bool:
        """Whether they can be shown at once."""
        return self._ready is not None

    @property
    def is_there(self) -> bool:
        """Whether nothing has to be made any more."""
        return (self._folder / "clips" / _DONE).is_file()

    def ready(self) -> tuple[DatasetIndex, ClipPictures]:
        """The clips and their pictures.

        Raises:
            FileError: they cannot be written.
        """
        with self._lock:
            if self._ready is None:
                clips = self._folder / "clips"
                if not self.is_there:
                    with folder_lock(self._folder):
                        if not self.is_there:
                            make_example(clips, n=PAIRS, seed=SEED)
                records = _chosen(load_records(clips))
                self._ready = DatasetIndex(records), ClipPictures(self._folder / "pictures", records.root)
            return self._ready


def _chosen(records: Records) -> Records:
    """Fakes and reals mixed, always in the same order, under ids that do not give away which is which."""
    fakes = [record for record in records if record.label == "fake"][:_FAKES]
    reals = [record for record in records if record.label == "real"][_FAKES:PAIRS]
    mixed: list[Record] = []
    for number, fake in enumerate(fakes):
        mixed.append(fake)
        if number % 3 == 1 and reals:
            mixed.append(reals.pop())
    named = [replace(record, video_id=f"gold {number:02d}") for number, record in enumerate(mixed, 1)]
    return Records(named, root=records.root)


@dataclass(frozen=True)
class GoldFeedback:
    """What a learner got right. ``box_iou`` in [0, 1] at onset; ``onset_error_seconds`` is signed: positive = late.

    None where there was nothing to compare.
    """

    label_right: bool
    category_right: bool | None
    box_iou: float | None
    onset_error_seconds: float | None
    words: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether the clip was annotated as the guideline asks."""
        box = self.box_iou is None or self.box_iou >= MIN_IOU
        onset = self.onset_error_seconds is None or abs(self.onset_error_seconds) <= MAX_ONSET_ERROR_SECONDS
        return self.label_right and self.category_right is not False and box and onset


def compare_with_gold(record: Record, body: Mapping[str, Any]) -> GoldFeedback:
    """What the guideline says of a learner's annotation, against the trace that was put there."""
    if record.label != "fake":
        right = body.get("label") == "real"
        words = "Right: nothing was put into this clip." if right else "Nothing was put into this clip: it is real."
        return GoldFeedback(right, None, None, None, (words,))
    truth = record.annotations[0].traces[0]
    if body.get("label") != "fake":
        kind = ", ".join(truth.categories or ()) or "a trace"
        return GoldFeedback(
            False, None, None, None, (f"A trace was put here: {kind}, from {truth.onset_seconds:.2f} s.",)
        )
    own = _nearest(truth, traces_of(body))
    iou = None if own.bbox_xyxy is None or truth.bbox_xyxy is None else box_iou(own.bbox_xyxy, truth.bbox_xyxy)
    late = None if own.onset_seconds is None or truth.onset_seconds is None else own.onset_seconds - truth.onset_seconds
    category = None if not truth.categories else bool(set(own.categories or ()) & set(truth.categories))
    return GoldFeedback(True, category, iou, late, tuple(_words(truth, iou, late, category)))


def _nearest(truth: Trace, traces: tuple[Trace, ...]) -> Trace:
    def overlap(trace: Trace) -> float:
        return 0.0 if trace.bbox_xyxy is None or truth.bbox_xyxy is None else box_iou(trace.bbox_xyxy, truth.bbox_xyxy)

    return max(traces, key=overlap)


def _words(truth: Trace, iou: float | None, late: float | None, category: bool | None) -> list[str]:
    words = ["Right: it is fake."]
    if iou is not None:
        verdict = "close enough" if iou >= MIN_IOU else "not the same place, or not tight: at least 0.5 is asked for"
        words.append(f"Your box and the true one overlap by {iou:.2f} (IoU at onset): {verdict}.")
    if late is not None:
        side = "late" if late > 0 else "early"
        verdict = (
            "close enough" if abs(late) <= MAX_ONSET_ERROR_SECONDS else "step back frame by frame to the first one"
        )
        words.append(
            "The onset is exact." if abs(late) < 0.005 else f"The onset is {abs(late):.2f} s {side}: {verdict}."
        )
    if category is not None:
        names = ", ".join(truth.categories or ())
        words.append(f"The category is right: {names}." if category else f"It is {names}; read its rule once more.")
    return words
