"""One look at each video by a model: its outcome, its trace map, and whether there was anything to see.

The embedded model shows its evidence window by window, so its map comes from the same pass as its verdict and is not
cut off at a threshold. Of other models the map is that of the traces they tell, and the pictures are read once more.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt
from typing_extensions import override

from deeptrace.errors import VideoError
from deeptrace.measures.probabilities import sigmoid
from deeptrace.models import Model
from deeptrace.models.embedded.calibration import at_prior, of_kind
from deeptrace.models.embedded.finding import find
from deeptrace.models.embedded.model import EmbeddedModel
from deeptrace.models.embedded.windows import Network, WindowOutputs
from deeptrace.records import Failed, Frames, Origin, Outcome, Score, Unparsed, Verdict
from deeptrace.reward.mass import DenseMap, WindowTrace, map_of_traces, map_of_windows
from deeptrace.reward.unusual import PictureStats, UnusualCode
from deeptrace.video import VideoSource, iter_frames, probe

_CHECK_FPS: Final = 8.0
_CHECK_SIDE: Final = 72  # pixels


@dataclass(frozen=True)
class VideoLook:
    """What a model says of a video, and how much of a trace it sees where and when.

    ``traces`` is the calibrated map, ``raw_traces`` that of the model's own confidences; None where it tells none.
    ``problem`` says why the video must get no reward, whatever the model says.
    """

    outcome: Outcome | Score
    traces: DenseMap | None = None
    raw_traces: DenseMap | None = None
    problem: tuple[UnusualCode, str] | None = None


def look_at(model: Model, videos: Sequence[VideoSource], *, fast: bool = False) -> Iterator[VideoLook]:
    """One `VideoLook` a video, in order. ``fast``: a language model gives its probability alone, after one prefill."""
    if isinstance(model, EmbeddedModel):
        noting = _Noting(model)
        for outcome in noting.inspect_iter(videos):
            yield noting.look(outcome)
        return
    outcomes: Iterator[Outcome | Score] = iter(model.score(videos)) if fast else model.inspect_iter(videos)
    for video, told in zip(videos, outcomes, strict=True):
        yield outcome_look(video, told)


# ── the embedded model ──────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class _Notes:
    windows: list[WindowTrace] = field(default_factory=list)
    raw_windows: list[WindowTrace] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    duration: float = 0.0
    stats: PictureStats = field(default_factory=PictureStats)


class _NotingNetwork(Network):
    """The same network, noting what it said of each window since it was told to begin anew."""

    def __init__(self, owner: _Noting, network: Network) -> None:
        self.__dict__.update(network.__dict__)
        self._owner = owner

    @override
    def __call__(self, images: npt.NDArray[np.uint8], first: int = 0) -> WindowOutputs:
        outputs = super().__call__(images, first)
        notes, calibration = self._owner.notes, self._owner.calibration
        boxes = find(outputs).boxes
        confidence = at_prior(of_kind(calibration.trace_evidence(outputs)), self._owner.prior)
        notes.windows.append(WindowTrace(confidence, boxes))
        notes.raw_windows.append(WindowTrace(sigmoid(outputs.clip), boxes))
        notes.stats.add(images, first)
        return outputs


class _Noting(EmbeddedModel):
    """The model itself, with the same weights, prior and limits, that notes what its verdict is made of.

    It names no regions of a generated look: a reward has no use for them, and nearly every clip of a generator has one.
    """

    names_regions = False

    def __init__(self, model: EmbeddedModel) -> None:
        self.__dict__.update(model.__dict__)
        self.network = _NotingNetwork(self, model.network)
        self.notes = _Notes()

    @override
    def verdict_of_parts(self, parts: Iterator[Frames], origin: Origin) -> Verdict:
        self.notes = _Notes()
        return super().verdict_of_parts(self._noted(parts), origin)

    def _noted(self, parts: Iterator[Frames]) -> Iterator[Frames]:
        for part in parts:
            self.notes.times += part.pts_seconds.tolist()
            self.notes.duration = max(part.duration_seconds or 0.0, self.notes.times[-1])
            yield part

    def look(self, outcome: Outcome) -> VideoLook:
        """What was noted of the video whose outcome this is."""
        if not isinstance(outcome, Verdict):
            return VideoLook(outcome)
        notes = self.notes
        problem = _partial(outcome) or notes.stats.problem()
        traces = map_of_windows(notes.windows, notes.times, notes.duration)
        raw = map_of_windows(notes.raw_windows, notes.times, notes.duration)
        return VideoLook(outcome, traces, raw, problem)


# ── other models ────────────────────────────────────────────────────────────────────────────────────────────────────


def outcome_look(video: VideoSource, outcome: Outcome | Score) -> VideoLook:
    """The look behind an outcome of any model; reads the video for its length and for whether it shows anything."""
    if isinstance(outcome, Unparsed | Failed):
        return VideoLook(outcome)
    try:
        duration, problem = _check(video)
    except VideoError as error:
        return VideoLook(Failed(error.code, str(error)))
    if isinstance(outcome, Score):
        return VideoLook(outcome, problem=problem)
    problem = _partial(outcome) or problem
    p_raw = outcome.p_fake if outcome.p_fake_raw is None else outcome.p_fake_raw
    sure, raw_sure = (1.0 if p is None else p for p in (outcome.p_fake, p_raw))
    return VideoLook(
        outcome,
        map_of_traces(outcome.traces, duration, confidence=sure),
        map_of_traces(outcome.traces, duration, confidence=raw_sure),
        problem,
    )


def _partial(verdict: Verdict) -> tuple[UnusualCode, str] | None:
    if not verdict.origin.partial:
        return None
    read, promised = verdict.origin.frames_decoded, verdict.origin.frames_declared
    return "PARTIAL_VIDEO", f"{read} pictures could be read of {'?' if promised is None else promised}"


def _check(video: VideoSource) -> tuple[float, tuple[UnusualCode, str] | None]:
    """The length in seconds, and what speaks against a reward."""
    stats, seen, last = PictureStats(), 0, 0.0
    with closing(iter_frames(video, fps=_CHECK_FPS, short_side=_CHECK_SIDE, chunk=64)) as stream:
        for part in stream:
            stats.add(part.images, seen)
            seen += len(part)
            last = float(part.pts_seconds[-1])
    declared = probe(video).length_seconds
    return max(declared or 0.0, last + 1 / _CHECK_FPS if declared is None else last), stats.problem()
