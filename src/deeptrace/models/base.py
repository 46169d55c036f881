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
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final, Protocol, runtime_checkable

import numpy as np

from deeptrace.errors import DeepTraceError, VideoError
from deeptrace.records import Failed, Frames, Origin, Outcome, Score, Unparsed, Verdict
from deeptrace.video import VideoSource, sample_frames

_log = logging.getLogger(__name__)

MODEL_CRASHED: Final = "MODEL_CRASHED"
"""Code of the `Failed` for a video on which the model itself raised what is none of our errors."""


@dataclass(frozen=True)
class Sampling:
    """Which frames a model looks at: ``fps`` per second, at most ``max_frames``, shrunk to ``short_side`` pixels."""

    fps: float
    max_frames: int | None = None
    short_side: int | None = None


@dataclass(frozen=True)
class Look:
    """One look at a video: which frames of which window. Times are seconds of the video; ``end_seconds`` None: all."""

    video: VideoSource
    sampling: Sampling
    start_seconds: float = 0.0
    end_seconds: float | None = None


@runtime_checkable
class Model(Protocol):
    """Video in, outcome out. Lists keep order and length: one outcome a video, whatever happens to it."""

    name: str
    revision: str | None

    def inspect_iter(self, videos: Iterable[VideoSource]) -> Iterator[Outcome]:
        """The outcome of each video, in order, each as soon as it is there."""
        ...

    def inspect(self, videos: Iterable[VideoSource]) -> list[Outcome]:
        """The outcome of each video, in order."""
        ...

    def score(self, videos: Iterable[VideoSource]) -> list[Score | Unparsed | Failed]:
        """P(fake) of each video, in order."""
        ...


class FrameModel(ABC):
    """A model that looks at sampled frames. A subclass sets the attributes and writes `verdict`."""

    name: str
    revision: str | None = None
    question: str | None = None
    sampling: Sampling

    @abstractmethod
    def verdict(self, frames: Frames, origin: Origin) -> Outcome:
        """What the model says of these frames. ``origin`` is filled in already; it may be left out of the result."""

    def inspect_iter(self, videos: Iterable[VideoSource]) -> Iterator[Outcome]:
        """The outcome of each video, in order, each as soon as it is there.

        The next video is taken and read by another thread while the model looks at this one. A video or a model that
        fails costs its own outcome (`Failed`), not the others.
        """
        made_by = Origin(model=self.name, revision=self.revision, question=self.question)
        with closing(read_ahead((Look(video, self.sampling) for video in videos), made_by)) as readings:
            for frames, origin in readings:
                yield self._outcome(frames, origin)

    def inspect(self, videos: Iterable[VideoSource]) -> list[Outcome]:
        """The outcome of each video, in order."""
        return list(self.inspect_iter(videos))

    def score(self, videos: Iterable[VideoSource]) -> list[Score | Unparsed | Failed]:
        """P(fake) of each video, in order. A verdict without a probability is `Unparsed`, never a number."""
        return [score_of(outcome) for outcome in self.inspect_iter(videos)]

    def _outcome(self, frames: Frames | Failed, origin: Origin) -> Outcome:
        if isinstance(frames, Failed):
            return frames
        try:
            said = self.verdict(frames, origin)
        except DeepTraceError as error:
            return Failed(error.code, str(error), origin)
        except Exception as error:  # noqa: BLE001 - a model is anyone's code; others must not lose their outcome
            _log.exception("model %s failed on %s", self.name, origin.video_id)
            return Failed(MODEL_CRASHED, f"the model raised {type(error).__name__}: {error}", origin)
        return replace(said, origin=origin) if said.origin == Origin() else said


def read_ahead(
    looks: Iterable[Look], made_by: Origin, *, ahead: int = 1
) -> Generator[tuple[Frames | Failed, Origin], None, None]:
    """The frames of each look, or the `Failed` of one that cannot be read, with what is known of it; in order.

    The next ``ahead`` looks are taken and read by another thread while the caller is busy with the current one.
    ``made_by`` says which model asks. Close it to leave early.
    """
    reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="deeptrace-read")
    iterator = iter(looks)

    def following() -> tuple[Frames | Failed, Origin] | None:
        for look in iterator:
            return _read(look, made_by)
        return None

    try:
        waiting: deque[Future[tuple[Frames | Failed, Origin] | None]] = deque()
        waiting.extend(reader.submit(following) for _ in range(ahead))
        while (ready := waiting.popleft().result()) is not None:
            waiting.append(reader.submit(following))
            yield ready
    finally:
        # Not waited for: when the caller leaves early, a read under way must not hold it up.
        reader.shutdown(wait=False, cancel_futures=True)


def _read(look: Look, made_by: Origin) -> tuple[Frames | Failed, Origin]:
    sampling = asdict(look.sampling)
    if look.start_seconds or look.end_seconds is not None:
        sampling["window_seconds"] = [look.start_seconds, look.end_seconds]
    known = origin_of(look.video)
    origin = replace(made_by, video_id=known.video_id, path=known.path, sampling=sampling)
    try:
        frames = sample_frames(
            look.video,
            fps=look.sampling.fps,
            start_seconds=look.start_seconds,
            end_seconds=look.end_seconds,
            max_frames=look.sampling.max_frames,
            short_side=look.sampling.short_side,
        )
    except VideoError as error:
        return Failed(error.code, str(error), origin), origin
    return frames, with_reading(origin, frames)


def sampled_fps(frames: Frames) -> float | None:
    """How many frames a second were looked at, from the median step; None for a single frame."""
    return None if len(frames) < 2 else 1.0 / float(np.median(np.diff(frames.pts_seconds)))


def origin_of(video: VideoSource) -> Origin:
    """What is known of a video before it is read. The id of a file is its name without the suffix.

    Bytes of a name that are not UTF-8 are written as ``\\xe9``, so that the row is text everywhere.
    """
    if isinstance(video, (bytes, bytearray, memoryview, Frames)):
        return Origin()
    name = os.fspath(video)
    try:
        path = os.fsencode(name).decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # no file can have this name; reading it will say so
        path = name.encode("utf-8", "backslashreplace").decode()
    return Origin(video_id=Path(path).stem or path, path=path)


def with_reading(origin: Origin, frames: Frames) -> Origin:
    """The origin, completed by how the reading went."""
    reading = frames.reading
    sampling = {**(origin.sampling or {}), "sampled_fps": sampled_fps(frames)}
    if reading is None:
        return replace(origin, sampling=sampling, frames_decoded=len(frames))
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
