"""What every model shares: the protocol, and the road from a list of videos to a list of outcomes.

A model sees `Frames` and says a `Verdict` (or an `Unparsed`). This file reads the frames, keeps the order, turns a
video that cannot be read into `Failed`, and writes down what made each outcome. Knows no model in particular.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

from deeptrace.errors import VideoError
from deeptrace.records import Failed, Frames, Origin, Outcome, Score, Unparsed, Verdict
from deeptrace.video import VideoSource, sample_frames


@dataclass(frozen=True)
class Sampling:
    """Which frames a model looks at: ``fps`` per second, at most ``max_frames``, shrunk to ``short_side`` pixels."""

    fps: float
    max_frames: int | None = None
    short_side: int | None = None


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
        """The outcome of each video, in order. The next video is read while the model looks at this one."""
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="deeptrace-read") as reader:
            pending: Future[tuple[Frames | Failed, Origin]] | None = None
            iterator = iter(videos)
            try:
                for video in iterator:
                    following = reader.submit(self._read, video)
                    if pending is not None:
                        yield self._outcome(*pending.result())
                    pending = following
                if pending is not None:
                    yield self._outcome(*pending.result())
            finally:
                reader.shutdown(wait=False, cancel_futures=True)

    def inspect(self, videos: Iterable[VideoSource]) -> list[Outcome]:
        """The outcome of each video, in order."""
        return list(self.inspect_iter(videos))

    def score(self, videos: Iterable[VideoSource]) -> list[Score | Unparsed | Failed]:
        """P(fake) of each video, in order. A verdict without a probability is `Unparsed`, never a number."""
        return [score_of(outcome) for outcome in self.inspect_iter(videos)]

    def _read(self, video: VideoSource) -> tuple[Frames | Failed, Origin]:
        origin = replace(
            origin_of(video),
            model=self.name,
            revision=self.revision,
            question=self.question,
            sampling=asdict(self.sampling),
        )
        try:
            frames = sample_frames(
                video,
                fps=self.sampling.fps,
                max_frames=self.sampling.max_frames,
                short_side=self.sampling.short_side,
            )
        except VideoError as error:
            return Failed(error.code, str(error), origin), origin
        return frames, with_reading(origin, frames)

    def _outcome(self, frames: Frames | Failed, origin: Origin) -> Outcome:
        if isinstance(frames, Failed):
            return frames
        said = self.verdict(frames, origin)
        return replace(said, origin=origin) if said.origin == Origin() else said


def origin_of(video: VideoSource) -> Origin:
    """What is known of a video before it is read. The id of a file is its name without the suffix.

    Bytes of a name that are not UTF-8 are written as ``\\xe9``, so that the row is text everywhere.
    """
    if isinstance(video, (bytes, Frames)):
        return Origin()
    path = os.fsencode(video).decode("utf-8", "backslashreplace")
    return Origin(video_id=Path(path).stem or path, path=path)


def with_reading(origin: Origin, frames: Frames) -> Origin:
    """The origin, completed by how the reading went."""
    reading = frames.reading
    if reading is None:
        return replace(origin, frames_decoded=len(frames))
    return replace(
        origin,
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
