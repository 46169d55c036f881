"""What every model shares: the protocol, and the road from a list of videos to a list of outcomes.

A model sees `Frames` and says a `Verdict` (or an `Unparsed`). This file reads the frames, keeps the order, turns a
video that cannot be read into `Failed`, and writes down what made each outcome. Knows no model in particular; those
that answer in words have their common part in `deeptrace.models.text`.
"""

from __future__ import annotations

import logging
import os
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Final, Literal, Protocol, TypeAlias, TypeVar, runtime_checkable

import numpy as np
from typing_extensions import override

from deeptrace.errors import DeepTraceError, VideoError
from deeptrace.records import Failed, Frames, Origin, Outcome, Reading, Score, Unparsed, Verdict
from deeptrace.schema import Count, Range
from deeptrace.video import DEFAULT_LIMITS, ReadLimits, VideoSource, sample_frames

_log = logging.getLogger(__name__)

MODEL_CRASHED: Final = "MODEL_CRASHED"
"""Code of the `Failed` for a video on which the model itself raised what is none of our errors."""


_Item = TypeVar("_Item")
_Done = TypeVar("_Done")


@dataclass(frozen=True)
class Sampling:
    """Which frames a model looks at: ``fps`` per second, at most ``max_frames``, shrunk to ``short_side`` pixels."""

    fps: Annotated[float, Range(above=0, high=1000)]
    max_frames: Count | None = None
    short_side: Count | None = None


Transport: TypeAlias = Literal["images", "video", "video-frames", "video-in-image", "file"]
"""How a video travels.

``images``: a JPEG in an ``image_url`` part for each frame. ``video``: the frames as one H.264 mp4 in a ``video_url``
part, as vLLM and SGLang take it. ``video-frames``: the same part with the frames as JPEG, one behind the other, which
vLLM takes as a video whose frames are chosen. ``video-in-image``: the mp4 in an ``image_url`` part, where an endpoint
tells media apart by their type. ``file``: the bytes of the file itself in a ``video_url`` part: the server chooses
frames.
"""


@dataclass(frozen=True)
class Look:
    """One look at a video: which frames of which window. Times are seconds of the video; ``end_seconds`` None: all."""

    video: VideoSource
    sampling: Sampling
    start_seconds: float = 0.0
    end_seconds: float | None = None
    limits: ReadLimits = DEFAULT_LIMITS


@runtime_checkable
class Model(Protocol):
    """Video in, outcome out. Lists keep order and length: one outcome a video, whatever happens to it."""

    name: str
    revision: str | None

    def inspect_iter(self, videos: VideoSource | Iterable[VideoSource]) -> Iterator[Outcome]:
        """The outcome of each video, in order, each as soon as it is there."""
        ...

    def inspect(self, videos: VideoSource | Iterable[VideoSource]) -> list[Outcome]:
        """The outcome of each video, in order."""
        ...

    def score(self, videos: VideoSource | Iterable[VideoSource]) -> list[Score | Unparsed | Failed]:
        """P(fake) of each video, in order."""
        ...


@dataclass(frozen=True)
class Progress:
    """How far the reading of one video is. ``total_seconds`` is its declared length; None where it is not known."""

    video_id: str | None
    done_seconds: float
    total_seconds: float | None


class FrameModel(ABC):
    """A model that looks at sampled frames. A subclass sets the attributes and writes `verdict`.

    `read_frames` and `verdict_of_parts` are hooks: a model that has rules of its own for which frames it is shown, or
    that looks at a long video part by part, overrides them. ``limits`` are the bounds on reading each video; set them
    to read 8K or what symbolic links point to.
    """

    name: str
    revision: str | None = None
    question: str | None = None
    sampling: Sampling
    limits: ReadLimits = DEFAULT_LIMITS
    on_progress: Callable[[Progress], None] | None = None
    """Called now and then while a long video is looked at, by models that take it in parts."""

    @abstractmethod
    def verdict(self, frames: Frames, origin: Origin) -> Outcome:
        """What the model says of these frames, at their own times in seconds.

        ``origin`` is filled in already; it may be left out of the result.
        """

    def read_frames(self, video: VideoSource) -> Iterator[Frames]:
        """The frames of a video that the model is shown, ``(T, H, W, 3)`` uint8, in time order, in one part or several.

        Raises:
            VideoError: the video cannot be read.
        """
        sampling = self.sampling
        yield sample_frames(
            video,
            fps=sampling.fps,
            max_frames=sampling.max_frames,
            short_side=sampling.short_side,
            limits=self.limits,
        )

    def verdict_of_parts(self, parts: Iterator[Frames], origin: Origin) -> Outcome:
        """The verdict on what `read_frames` gives: times in seconds of the video, boxes in fractions of the frame.

        ``origin`` knows the video, not yet how its reading went.
        """
        [frames] = parts
        origin = with_reading(origin, frames)
        verdict = self.verdict(frames, origin)
        return replace(verdict, origin=origin) if verdict.origin == Origin() else verdict

    def inspect_iter(self, videos: VideoSource | Iterable[VideoSource]) -> Iterator[Outcome]:
        """The outcome of each video, in order, each as soon as it is there. One video counts as a list of it.

        The next video is opened and its first part read by another thread while the model looks at this one. A video
        or a model that fails costs its own outcome (`Failed`), not the others.
        """
        with closing(_ahead(sources(videos), self._open)) as readings:
            for parts, origin in readings:
                if isinstance(parts, Failed):
                    yield parts
                    continue
                with closing(parts):
                    yield self._outcome(parts, origin)

    def inspect(self, videos: VideoSource | Iterable[VideoSource]) -> list[Outcome]:
        """The outcome of each video, in order. One video counts as a list of it."""
        return list(self.inspect_iter(videos))

    def score(self, videos: VideoSource | Iterable[VideoSource]) -> list[Score | Unparsed | Failed]:
        """P(fake) of each video, in order. A verdict without a probability is `Unparsed`, never a number."""
        return [score_of(outcome) for outcome in self.inspect_iter(videos)]

    def _open(self, video: VideoSource) -> tuple[_Opened | Failed, Origin]:
        """A video with its first part read."""
        made_by = Origin(model=self.name, revision=self.revision, question=self.question)
        try:
            known = origin_of(video)
            origin = replace(made_by, video_id=known.video_id, path=known.path, sampling=asdict(self.sampling))
        except VideoError as error:
            return Failed(error.code, str(error), made_by), made_by
        parts = self.read_frames(video)
        try:
            return _Opened(next(parts), parts), origin
        except VideoError as error:
            return Failed(error.code, str(error), origin), origin

    def _outcome(self, parts: Iterator[Frames], origin: Origin) -> Outcome:
        try:
            verdict = self.verdict_of_parts(parts, origin)
        except DeepTraceError as error:
            return Failed(error.code, str(error), origin)
        except Exception as error:  # noqa: BLE001 - a model is anyone's code; others must not lose their outcome
            _log.exception("model %s failed on %s", self.name, origin.video_id)
            return Failed(MODEL_CRASHED, f"the model raised {type(error).__name__}: {error}", origin)
        return verdict


class _Opened(Iterator[Frames]):
    """The parts of a video, the first of which is there already."""

    def __init__(self, first: Frames, rest: Iterator[Frames]) -> None:
        self._first: Frames | None = first
        self._rest = rest

    @override
    def __next__(self) -> Frames:
        if self._first is not None:
            first, self._first = self._first, None
            return first
        return next(self._rest)

    def close(self) -> None:
        """Free what reads the rest."""
        self._first = None
        if isinstance(self._rest, Generator):
            self._rest.close()


def sources(videos: VideoSource | Iterable[VideoSource]) -> Iterable[VideoSource]:
    """The videos: what was given, or, where that is one video, a list of it."""
    one = isinstance(videos, (str, os.PathLike, bytes, bytearray, memoryview, Frames))
    return [videos] if one else videos  # type: ignore[list-item, return-value]  # narrowed by ``one``


def read_ahead(
    looks: Iterable[Look], made_by: Origin, *, ahead: int = 1
) -> Generator[tuple[Frames | Failed, Origin], None, None]:
    """The frames of each look ``(T, H, W, 3)``, or the `Failed` of one that cannot be read, with its origin; in order.

    The next ``ahead`` looks are taken and read by another thread while the caller is busy with the current one.
    ``made_by`` says which model asks. Close it to leave early.
    """
    return _ahead(looks, lambda look: _read(look, made_by), ahead=ahead)


def _ahead(items: Iterable[_Item], work: Callable[[_Item], _Done], *, ahead: int = 1) -> Generator[_Done, None, None]:
    """What ``work`` makes of each item, in order, ``ahead`` of them by another thread before they are wanted."""
    reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="deeptrace-read")
    iterator = iter(items)

    def following() -> tuple[_Done] | None:
        for item in iterator:
            return (work(item),)
        return None

    try:
        waiting: deque[Future[tuple[_Done] | None]] = deque()
        waiting.extend(reader.submit(following) for _ in range(ahead))
        while (ready := waiting.popleft().result()) is not None:
            waiting.append(reader.submit(following))
            yield ready[0]
    finally:
        # Not waited for: when the caller leaves early, a read under way must not hold it up.
        reader.shutdown(wait=False, cancel_futures=True)


def _read(look: Look, made_by: Origin) -> tuple[Frames | Failed, Origin]:
    sampling = asdict(look.sampling)
    if look.start_seconds or look.end_seconds is not None:
        sampling["window_seconds"] = [look.start_seconds, look.end_seconds]
    origin = replace(made_by, sampling=sampling)
    try:
        known = origin_of(look.video)
        origin = replace(origin, video_id=known.video_id, path=known.path)
        frames = sample_frames(
            look.video,
            fps=look.sampling.fps,
            start_seconds=look.start_seconds,
            end_seconds=look.end_seconds,
            max_frames=look.sampling.max_frames,
            short_side=look.sampling.short_side,
            limits=look.limits,
        )
    except VideoError as error:
        return Failed(error.code, str(error), origin), origin
    return frames, with_reading(origin, frames)


def sampled_fps(frames: Frames) -> float | None:
    """How many frames a second were looked at, from the median step; None for a single frame."""
    return None if len(frames) < 2 else 1.0 / float(np.median(np.diff(frames.pts_seconds)))


def origin_of(video: object) -> Origin:
    """What is known of a video before it is read. The id of a file is its name without the suffix.

    Bytes of a name that are not UTF-8 are written as ``\\xe9``, so that the row is text everywhere.

    Raises:
        VideoError: ``NOT_A_VIDEO`` for what is neither a path, nor bytes, nor `Frames`.
    """
    if isinstance(video, (bytes, bytearray, memoryview, Frames)):
        return Origin()
    if not isinstance(video, (str, os.PathLike)):
        hint = " Frames.from_array(array, fps) makes frames of it." if hasattr(video, "shape") else ""
        hint = " Give its path, or what its read() gives." if hasattr(video, "read") else hint
        expected = "a video is a path, the bytes of a file, or Frames"
        raise VideoError("NOT_A_VIDEO", f"{expected}, got {type(video).__name__}.{hint}")
    name = os.fspath(video)
    try:
        path = os.fsencode(name).decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # no file can have this name; reading it will say so
        path = name.encode("utf-8", "backslashreplace").decode()
    return Origin(video_id=Path(path).stem or path, path=path)


def with_reading(origin: Origin, frames: Frames) -> Origin:
    """The origin, completed by how the reading went: how many frames, and at what fps they were taken."""
    return read_origin(origin, frames.reading, frames=len(frames), fps=sampled_fps(frames))


def read_origin(origin: Origin, reading: Reading | None, *, frames: int, fps: float | None) -> Origin:
    """The origin, completed by how a reading went that gave so many frames, ``fps`` a second by the median step."""
    sampling = {**(origin.sampling or {}), "sampled_fps": fps}
    if reading is None:
        return replace(origin, sampling=sampling, frames_decoded=frames)
    return replace(
        origin,
        sampling=sampling,
        video_id=origin.video_id or reading.sha256[:16],
        sha256=reading.sha256,
        frames_declared=reading.frames_declared,
        frames_decoded=reading.frames_decoded,
        partial=reading.partial,
    )


def score_of(outcome: Outcome) -> Score | Unparsed | Failed:
    """The score in a verdict; a verdict without a probability becomes `Unparsed`."""
    if not isinstance(outcome, Verdict):
        return outcome
    if outcome.p_fake is None:
        return Unparsed("the answer holds no probability", outcome.text or "", outcome.origin)
    raw = outcome.p_fake if outcome.p_fake_raw is None else outcome.p_fake_raw
    return Score(outcome.p_fake, raw)
