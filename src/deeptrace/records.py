"""The core types: what is known of a video (`Record`), and what a model says of it (`Verdict`, `Unparsed`, `Failed`).

Truth and prediction are the same thing here: an annotator's trace and a model's trace are both a `Trace`.

Units: boxes are ``(x0, y0, x1, y1)`` in fractions of the displayed frame, origin top left; times are seconds from the
first displayed frame; a trace is visible on ``[onset, offset)``. None means "not said"; whatever is said is valid, or
the constructor raises `RecordError` with the field's name. Knows nothing of files, models or answer texts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Final, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from deeptrace.categories import CATEGORIES, Category
from deeptrace.errors import RecordError, VideoError

Box: TypeAlias = tuple[float, float, float, float]
"""``(x0, y0, x1, y1)``, fractions of the displayed frame, ``0 <= x0 < x1 <= 1`` and ``0 <= y0 < y1 <= 1``."""

Label = Literal["fake", "real"]
RecordLabel = Literal["fake", "real", "unsure"]
Conclusion = Literal["fake", "uncertain", "real"]


# ── checks ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def check_number(
    value: object, field_name: str, *, low: float = -math.inf, high: float = math.inf, above: float | None = None
) -> float:
    """The value as a float, when it is a finite number in ``[low, high]`` (and greater than ``above``).

    Raises:
        RecordError: it is not a number, is a bool, NaN or infinite, or lies outside.
    """
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise RecordError(field_name, f"{value!r} is not a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise RecordError(field_name, f"{number} is not a finite number")
    if not low <= number <= high:
        raise RecordError(field_name, f"{number:g} is not in [{low:g}, {high:g}]")
    if above is not None and not number > above:
        raise RecordError(field_name, f"{number:g} is not greater than {above:g}")
    return number


def check_bbox(value: object, field_name: str = "bbox_xyxy") -> Box:
    """The value as a `Box`, when it is four fractions with ``x0 < x1`` and ``y0 < y1``.

    Raises:
        RecordError: anything else.
    """
    if isinstance(value, (str, bytes)) or not isinstance(value, (Sequence, np.ndarray)) or len(value) != 4:
        raise RecordError(field_name, f"{value!r} is not a box of four numbers (x0, y0, x1, y1)")
    x0, y0, x1, y1 = (
        check_number(side, f"{field_name}.{name}", low=0.0, high=1.0)
        for side, name in zip(value, ("x0", "y0", "x1", "y1"), strict=True)
    )
    if not (x0 < x1 and y0 < y1):
        raise RecordError(field_name, f"[{x0:g}, {y0:g}, {x1:g}, {y1:g}] is empty: x0 < x1 and y0 < y1 are needed")
    return (x0, y0, x1, y1)


def _check_choice(value: object, field_name: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise RecordError(field_name, f"{value!r} is not one of {', '.join(choices)}")


def _check_text(value: object, field_name: str) -> None:
    if not isinstance(value, str):
        raise RecordError(field_name, f"{value!r} is not text")


# ── video ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class VideoInfo:
    """What a video file says of itself.

    ``width`` and ``height`` are pixels as displayed (after rotation and pixel aspect). ``fps`` is the average rate;
    29.97 stays 29.97. ``num_frames`` is the declared count and ``duration_seconds`` the declared length; None where
    the file does not say. ``variable_frame_rate`` is None where it cannot be told without reading the whole file.
    """

    width: int
    height: int
    fps: float | None = None
    num_frames: int | None = None
    duration_seconds: float | None = None
    codec: str | None = None
    has_audio: bool | None = None
    variable_frame_rate: bool | None = None

    def __post_init__(self) -> None:
        for name in ("width", "height"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise RecordError(name, f"{value!r} is not a positive whole number of pixels")
        if self.fps is not None:
            object.__setattr__(self, "fps", check_number(self.fps, "fps", above=0.0))
        if self.num_frames is not None and (
            isinstance(self.num_frames, bool) or not isinstance(self.num_frames, int) or self.num_frames < 0
        ):
            raise RecordError("num_frames", f"{self.num_frames!r} is not a count of frames")
        if self.duration_seconds is not None:
            object.__setattr__(
                self, "duration_seconds", check_number(self.duration_seconds, "duration_seconds", low=0.0)
            )

    @property
    def length_seconds(self) -> float | None:
        """The declared length, else frames / rate; None where neither is known."""
        if self.duration_seconds is not None:
            return self.duration_seconds
        return self.num_frames / self.fps if self.num_frames is not None and self.fps is not None else None


@dataclass(frozen=True)
class Reading:
    """How the reading of a video went: whether the frames are all there, and of exactly which bytes.

    ``sha256`` is of the file's bytes. ``frames_declared`` is the count the container promises (None: it does not say),
    ``frames_decoded`` how many pictures could be read, pictures skipped on purpose included. ``corrupt_frames`` counts
    pictures that the decoder flagged as damaged among those decoded. ``partial`` means less was read than promised, or
    part of it was damaged: a verdict on it does not speak of the whole video. ``color_tagged`` is False where the file
    does not say its colour matrix and BT.601 was assumed.
    """

    info: VideoInfo
    sha256: str
    frames_declared: int | None
    frames_decoded: int
    corrupt_frames: int = 0
    partial: bool = False
    color_tagged: bool = True


@dataclass(frozen=True)
class Frames:
    """Frames of one video, in time order, with their times. ``len(frames)`` is T.

    ``duration_seconds`` is the length of the whole video where it is known (not of the sampled window).
    ``reading`` tells how the file was read; it is None for frames that came from an array.
    """

    images: npt.NDArray[np.uint8]  # (T, H, W, 3) RGB
    pts_seconds: npt.NDArray[np.float64]  # (T,) seconds from the first displayed frame, strictly increasing
    source_hw: tuple[int, int]  # (height, width) as displayed, before any resize
    duration_seconds: float | None = None
    reading: Reading | None = None

    def __post_init__(self) -> None:
        images, times = self.images, self.pts_seconds
        if not isinstance(images, np.ndarray) or images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
            got = f"{images.dtype} {images.shape}" if isinstance(images, np.ndarray) else type(images).__name__
            raise VideoError("BAD_FRAMES", f"frames must be uint8 of shape (T, H, W, 3), got {got}")
        if 0 in images.shape:
            raise VideoError("BAD_FRAMES", f"frames must not be empty, got shape {images.shape}")
        if not isinstance(times, np.ndarray) or times.dtype != np.float64 or times.shape != (len(images),):
            raise VideoError("BAD_FRAMES", f"{len(images)} frames need as many float64 times in pts_seconds")
        if not np.isfinite(times).all() or times[0] < 0 or (np.diff(times) <= 0).any():
            raise VideoError("BAD_FRAMES", "pts_seconds must be finite, not negative and strictly increasing")

    def __len__(self) -> int:
        return len(self.images)

    @classmethod
    def from_array(cls, array: npt.ArrayLike, fps: float) -> Frames:
        """Frames of an array: ``(T, H, W, 3)`` uint8 RGB in 0..255, or floats in [0, 1] (rounded to uint8).

        Frame k is shown at ``k / fps``. A PyTorch tensor works when it is on the CPU and channels come last.

        Raises:
            VideoError: ``BAD_FRAMES`` for any other shape, type or range, NaN, no frames, or a rate that is not a
                positive number.
        """
        try:
            rate = check_number(fps, "fps", above=0.0)
            values = np.asarray(array)
        except RecordError as error:
            raise VideoError("BAD_FRAMES", str(error)) from None
        except (TypeError, ValueError, RuntimeError, MemoryError) as error:
            raise VideoError("BAD_FRAMES", f"cannot be read as an array: {error}") from None
        if values.ndim != 4 or values.shape[-1] != 3:
            hint = " (channels come last here)" if values.ndim == 4 and 3 in values.shape[1:2] else ""
            raise VideoError("BAD_FRAMES", f"expected shape (T, H, W, 3), got {values.shape}{hint}")
        if 0 in values.shape:
            raise VideoError("BAD_FRAMES", f"frames must not be empty, got shape {values.shape}")
        if values.dtype.kind == "f":
            if not np.isfinite(values).all():
                raise VideoError("BAD_FRAMES", "frames hold NaN or infinity")
            low, high = float(values.min()), float(values.max())
            if low < 0.0 or high > 1.0:
                raise VideoError("BAD_FRAMES", f"floats must lie in [0, 1], got [{low:g}, {high:g}]: divide by 255?")
            values = np.rint(values * 255.0).astype(np.uint8)
        elif values.dtype != np.uint8:
            raise VideoError("BAD_FRAMES", f"expected uint8 or floats in [0, 1], got {values.dtype}")
        count, height, width, _ = values.shape
        return cls(
            images=np.ascontiguousarray(values),
            pts_seconds=np.arange(count, dtype=np.float64) / rate,
            source_hw=(height, width),
            duration_seconds=count / rate,
        )


# ── traces ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class KeyBox:
    """A box of a track at one moment; with ``visible=False`` the trace is hidden from here to the next key."""

    time_seconds: float
    bbox_xyxy: Box | None
    visible: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "time_seconds", check_number(self.time_seconds, "track.time_seconds", low=0.0))
        if not isinstance(self.visible, bool):
            raise RecordError("track.visible", f"{self.visible!r} is not true or false")
        if self.bbox_xyxy is not None:
            object.__setattr__(self, "bbox_xyxy", check_bbox(self.bbox_xyxy, "track.bbox_xyxy"))
        elif self.visible:
            raise RecordError("track.bbox_xyxy", "a visible key needs a box")


@dataclass(frozen=True)
class Trace:
    """One fake trace: where, when, which kind, why. Every field may be None: not said.

    ``bbox_xyxy`` is the box at onset. ``track`` refines it over time: linear between visible keys, hidden from a key
    with ``visible=False`` to the next. ``categories`` holds names of the nine. ``confidence`` is in [0, 1].

    Raises:
        RecordError: a field that is said and not valid, by name.
    """

    bbox_xyxy: Box | None = None
    onset_seconds: float | None = None
    offset_seconds: float | None = None
    categories: tuple[Category, ...] | None = None
    explanation: str | None = None
    track: tuple[KeyBox, ...] | None = None
    confidence: float | None = None

    def __post_init__(self) -> None:
        if self.bbox_xyxy is not None:
            object.__setattr__(self, "bbox_xyxy", check_bbox(self.bbox_xyxy))
        for name in ("onset_seconds", "offset_seconds"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, check_number(value, name, low=0.0))
        if (
            self.onset_seconds is not None
            and self.offset_seconds is not None
            and self.offset_seconds <= self.onset_seconds
        ):
            raise RecordError(
                "offset_seconds", f"{self.offset_seconds:g} is not after onset_seconds {self.onset_seconds:g}"
            )
        if self.categories is not None:
            categories: object = self.categories
            if isinstance(categories, str) or not isinstance(categories, Sequence):
                raise RecordError("categories", f"{categories!r} is not a list of categories")
            for category in categories:
                _check_choice(category, "categories", CATEGORIES)
            object.__setattr__(self, "categories", tuple(categories))
        if self.explanation is not None:
            _check_text(self.explanation, "explanation")
        if self.track is not None:
            self._check_track()
        if self.confidence is not None:
            confidence = check_number(self.confidence, "confidence", low=0.0, high=1.0)
            object.__setattr__(self, "confidence", confidence)

    def _check_track(self) -> None:
        if not isinstance(self.track, Sequence) or not self.track:
            raise RecordError("track", "must hold at least one key; leave it None when there is none")
        if not all(isinstance(key, KeyBox) for key in self.track):
            raise RecordError("track", "must hold KeyBox objects")
        times = [key.time_seconds for key in self.track]
        if any(b <= a for a, b in pairwise(times)):
            raise RecordError("track", "times must increase from key to key")
        object.__setattr__(self, "track", tuple(self.track))

    def box_at(self, time_seconds: float) -> Box | None:
        """The box in fractions of the frame at a moment in seconds; None where the trace is not visible or has none.

        An onset that is not said counts as the start of the video, an offset that is not said as its end. Before the
        first key of a track its first box holds, after the last key its last (when that key is visible).
        """
        if self.onset_seconds is not None and time_seconds < self.onset_seconds:
            return None
        if self.offset_seconds is not None and time_seconds >= self.offset_seconds:
            return None
        if not self.track:
            return self.bbox_xyxy
        before = [key for key in self.track if key.time_seconds <= time_seconds]
        if not before:
            return self.track[0].bbox_xyxy if self.track[0].visible else None
        here = before[-1]
        if not here.visible or here.bbox_xyxy is None:
            return None
        after = self.track[len(before)] if len(before) < len(self.track) else None
        # A hidden key ends the segment: up to it the box moves towards the hidden key's own box where it has one.
        if after is None or after.bbox_xyxy is None:
            return here.bbox_xyxy
        share = (time_seconds - here.time_seconds) / (after.time_seconds - here.time_seconds)
        a, b = here.bbox_xyxy, after.bbox_xyxy
        return (
            a[0] + (b[0] - a[0]) * share,
            a[1] + (b[1] - a[1]) * share,
            a[2] + (b[2] - a[2]) * share,
            a[3] + (b[3] - a[3]) * share,
        )


@dataclass(frozen=True)
class Annotation:
    """What one annotator, or one row of a release, says of a video. ``extra`` keeps fields we do not know."""

    traces: tuple[Trace, ...] = ()
    label: RecordLabel | None = None
    annotator: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.label is not None:
            _check_choice(self.label, "label", get_args(RecordLabel))
        object.__setattr__(self, "traces", tuple(self.traces))


@dataclass(frozen=True)
class Record:
    """What is known of one video.

    ``path`` is relative to the dataset's root, with forward slashes. ``label`` is None where nobody said. ``flags``
    lists what was emptied or repaired on import; ``extra`` keeps fields we do not know.
    """

    video_id: str
    path: str | None = None
    label: RecordLabel | None = None
    info: VideoInfo | None = None
    source: str | None = None
    split: str | None = None
    prompt: str | None = None
    annotations: tuple[Annotation, ...] = ()
    flags: tuple[str, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_text(self.video_id, "video_id")
        if not self.video_id:
            raise RecordError("video_id", "is empty")
        if self.label is not None:
            _check_choice(self.label, "label", get_args(RecordLabel))
        object.__setattr__(self, "annotations", tuple(self.annotations))
        object.__setattr__(self, "flags", tuple(self.flags))

    @property
    def traces(self) -> tuple[Trace, ...]:
        """All traces of all annotations, in the order in which they were annotated."""
        return tuple(trace for annotation in self.annotations for trace in annotation.traces)


# ── what a model says ───────────────────────────────────────────────────────────────────────────────────────────────

DECIDES: Final = 0.5
"""The ``p_fake`` from which on a label is "fake"."""

LABEL_AGAINST_WORDS: Final = "label_against_words"
"""Flag of a verdict whose label follows ``p_fake`` while the model's own words say the other one."""


@dataclass(frozen=True)
class Highlight:
    """A part of a video that speaks for "fake" more than the rest of it: when, where and how much.

    It is no `Trace`: nothing says that a person would see anything there. ``bbox_xyxy`` None: the whole frame.
    ``p_fake`` is P(fake) of this part by itself, at the verdict's prior. ``p_generated_without`` is what the verdict's
    ``p_generated`` becomes when this part is hidden from the model's head. Either may be None.
    """

    start_seconds: float
    end_seconds: float
    bbox_xyxy: Box | None = None
    p_fake: float | None = None
    p_generated_without: float | None = None

    def __post_init__(self) -> None:
        start = check_number(self.start_seconds, "highlights.start_seconds", low=0.0)
        end = check_number(self.end_seconds, "highlights.end_seconds", above=start)
        object.__setattr__(self, "start_seconds", start)
        object.__setattr__(self, "end_seconds", end)
        if self.bbox_xyxy is not None:
            object.__setattr__(self, "bbox_xyxy", check_bbox(self.bbox_xyxy, "highlights.bbox_xyxy"))
        for name in ("p_fake", "p_generated_without"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, check_number(value, f"highlights.{name}", low=0.0, high=1.0))


@dataclass(frozen=True)
class Origin:
    """What an outcome is about, and what made it.

    ``path`` is as the caller gave it (None for bytes and arrays). ``sampling`` holds the model's frame sampling and,
    where it speaks in coordinates, their space. ``partial``: the reading was cut short or damaged (see `Reading`).
    """

    video_id: str | None = None
    path: str | None = None
    sha256: str | None = None
    model: str | None = None
    revision: str | None = None
    question: str | None = None
    sampling: Mapping[str, Any] | None = None
    frames_declared: int | None = None
    frames_decoded: int | None = None
    partial: bool = False


@dataclass(frozen=True)
class Verdict:
    """What a model says of one video. ``label`` is always forced; ``uncertain``: the evidence supports neither.

    What people see is `conclusion`, one of three. ``thresholds`` are the two values of ``p_fake`` between which a
    verdict is uncertain, and ``prior`` the share of fakes that ``p_fake`` supposes, where a model has them.

    ``p_fake`` is P(fake) in [0, 1], higher = more fake, after ``calibration`` (its name; None: ``p_fake`` equals
    ``p_fake_raw``). ``p_trace`` (a trace is there) and ``p_generated`` (the whole clip looks generated) are its parts
    where a model has them. ``flags`` names what was dropped from the answer and what contradicts itself in it.
    ``highlights`` names the parts of the video that spoke for "fake" most, where there is no trace to show or the video
    is long.
    """

    label: Label
    uncertain: bool = False
    p_fake: float | None = None
    p_fake_raw: float | None = None
    calibration: str | None = None
    p_trace: float | None = None
    p_generated: float | None = None
    thresholds: tuple[float, float] | None = None
    prior: float | None = None
    traces: tuple[Trace, ...] = ()
    highlights: tuple[Highlight, ...] = ()
    flags: tuple[str, ...] = ()
    text: str | None = None
    origin: Origin = Origin()

    def __post_init__(self) -> None:
        _check_choice(self.label, "label", get_args(Label))
        if not isinstance(self.uncertain, bool):
            raise RecordError("uncertain", f"{self.uncertain!r} is not true or false")
        for name in ("p_fake", "p_fake_raw", "p_trace", "p_generated"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, check_number(value, name, low=0.0, high=1.0))
        if self.prior is not None:
            object.__setattr__(self, "prior", check_number(self.prior, "prior", low=0.0, high=1.0))
        if self.thresholds is not None:
            object.__setattr__(self, "thresholds", _check_thresholds(self.thresholds))
        for name in ("calibration", "text"):
            if getattr(self, name) is not None:
                _check_text(getattr(self, name), name)
        if self.calibration is None and None not in (self.p_fake, self.p_fake_raw) and self.p_fake != self.p_fake_raw:
            raise RecordError("calibration", "is not said, but p_fake and p_fake_raw differ")
        object.__setattr__(self, "traces", tuple(self.traces))
        object.__setattr__(self, "flags", tuple(self.flags))
        if not all(isinstance(trace, Trace) for trace in self.traces):
            raise RecordError("traces", "must hold Trace objects")
        object.__setattr__(self, "highlights", tuple(self.highlights))
        if not all(isinstance(highlight, Highlight) for highlight in self.highlights):
            raise RecordError("highlights", "must hold Highlight objects")
        for flag in self.flags:
            _check_text(flag, "flags")

    @property
    def conclusion(self) -> Conclusion:
        """What people see: "uncertain" where the evidence supports neither label, else the label."""
        return "uncertain" if self.uncertain else self.label

    def following_probability(self) -> Verdict:
        """The verdict with the label that its ``p_fake`` says: "fake" from 0.5 on. Without ``p_fake``, as it is.

        Where the label was another one, the model's own words say so still: flagged `LABEL_AGAINST_WORDS`.
        """
        label: Label = "fake" if self.p_fake is not None and self.p_fake >= DECIDES else "real"
        if self.p_fake is None or label == self.label:
            return self
        return replace(self, label=label, flags=tuple(dict.fromkeys([*self.flags, LABEL_AGAINST_WORDS])))


def _check_thresholds(value: object) -> tuple[float, float]:
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise RecordError("thresholds", f"{value!r} is not a pair of probabilities")
    low, high = (check_number(number, "thresholds", low=0.0, high=1.0) for number in value)
    if low > high:
        raise RecordError("thresholds", f"the lower one, {low}, is above the upper one, {high}")
    return low, high


@dataclass(frozen=True)
class Unparsed:
    """The model spoke and could not be understood. Not "real", not zero, not an empty box."""

    reason: str
    text: str
    origin: Origin = Origin()


@dataclass(frozen=True)
class Failed:
    """The model did not speak: the video could not be read, or the model could not be run. ``code`` is stable."""

    code: str
    reason: str
    origin: Origin = Origin()


@dataclass(frozen=True)
class Score:
    """P(fake) of one video in [0, 1], higher = more fake; ``p_fake_raw`` is before calibration."""

    p_fake: float
    p_fake_raw: float

    def __post_init__(self) -> None:
        for name in ("p_fake", "p_fake_raw"):
            object.__setattr__(self, name, check_number(getattr(self, name), name, low=0.0, high=1.0))


Outcome: TypeAlias = Verdict | Unparsed | Failed
