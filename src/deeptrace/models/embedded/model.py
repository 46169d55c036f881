"""The model's home: which frames, window after window, evidence, and the verdict."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.resources import files as package_files
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from typing_extensions import override

from deeptrace.models.base import FrameModel, Progress, Sampling, read_origin
from deeptrace.models.embedded.attribution import Part, influence, look_without, mask_without, parts_of
from deeptrace.models.embedded.calibration import (
    EmbeddedCalibration,
    at_prior,
    of_kind,
    pool_evidence,
    read_calibration,
)
from deeptrace.models.embedded.finding import find
from deeptrace.models.embedded.inputs import FPS, SHORT_SIDE
from deeptrace.models.embedded.reading import VideoPart, as_part, read_parts
from deeptrace.models.embedded.traces import ScoredFinding, add, trace_of
from deeptrace.models.embedded.windows import DETAIL, LOOK, Network, Window, windows_of
from deeptrace.records import DECIDES, Box, Frames, Highlight, Origin, Reading, Verdict, check_number
from deeptrace.video import VideoSource

SAMPLED_THINLY: Final = "sampled_thinly"
"""Flag of a verdict on a video that has fewer pictures a second than the model needs."""
LOOKS_GENERATED: Final = "looks_generated_as_a_whole"
"""Flag of a verdict that is "fake" with no trace: only the clip as a whole speaks for it."""
UNLIKE: Final = "unlike_what_it_was_fitted_on"
"""Flag of a verdict on a video whose look is farther from the clips of the fit than those of new sources mostly are."""

LONG_SECONDS: Final = 60.0
"""From this length on a verdict names its most suspicious windows. Chosen."""

# All chosen.
_MOST_TRACES: Final = 3  # of a verdict, the strongest
_FEWEST_FRAMES: Final = 6  # of a clip (0.75 s): of fewer the verdict is uncertain
_THIN: Final = 1.5  # thinly sampled is what has fewer frames a second than `FPS` by this factor: 5.3
_NAMED_WINDOWS: Final = 3  # windows that are named, or looked at again
_NAMED_PROBLEMS: Final = 3  # of crops that could not be read
_LONE_FRAME_SECONDS: Final = 0.1  # how long the only frame of a file without a length is taken to last
_LEAST_PRIOR: Final = 1e-6  # and one minus it the largest: a prior of 0 or 1 would outweigh any evidence


class EmbeddedModel(FrameModel):
    """Deterministic; needs onnxruntime, OpenCV and NumPy. A long video is looked at window by window, all of it.

    ``prior`` is the share of fakes expected among what is inspected, in (0, 1): probabilities, label and thresholds
    move with it, the evidence does not. ``threshold`` is how sure a conclusion must be, in [0.5, 1]: fake from that
    ``p_fake`` on, real below one minus it; None takes the two fitted thresholds. ``path`` is a folder with
    ``backbone.onnx``, ``traces.onnx`` and ``embedded.json``; without it, the shipped ones.

    Raises:
        ModelError: the files are missing or damaged.
        RecordError: ``prior`` or ``threshold`` is out of its range.
    """

    name = "embedded"
    sampling = Sampling(fps=FPS, short_side=SHORT_SIDE)
    names_regions = True
    """Whether a fake without a trace gets the highlights that did most. They cost another pass of the network."""

    def __init__(
        self, path: str | None = None, *, prior: float = 0.5, threshold: float | None = None, threads: int = 1
    ) -> None:
        self.prior = check_number(prior, "prior", low=_LEAST_PRIOR, high=1 - _LEAST_PRIOR)
        self.threshold = None if threshold is None else check_number(threshold, "threshold", low=DECIDES, high=1.0)
        folder = Path(path) if path else Path(str(package_files("deeptrace.models.embedded") / "weights"))
        self.calibration: EmbeddedCalibration = read_calibration(folder)
        self.revision = self.calibration.revision
        self.network = Network(folder, threads=threads)

    @property
    def _sees_crops(self) -> bool:
        """Whether there is a head that looks at them: without one they would be read for nothing."""
        return self.calibration.detail is not None

    @property
    def thresholds(self) -> tuple[float, float]:
        """The ``p_fake`` below which a conclusion is real, and that from which on it is fake; at the model's prior.

        One is at most 0.5 and the other at least, so that a conclusion never contradicts the label.
        """
        if self.threshold is not None:
            return 1 - self.threshold, self.threshold
        low, high = (at_prior(value, self.prior) for value in self.calibration.thresholds)
        return min(low, DECIDES), max(high, DECIDES)

    @override
    def read_frames(self, video: VideoSource) -> Iterator[Frames]:
        """Every k-th picture of the video, as near to 8 a second as that comes: motion must not judder.

        With the first part come crops: the middle of some pictures at their own size, where that is large enough, and
        where the model has a head for them.
        """
        return read_parts(video, crops=self._sees_crops, limits=self.limits)

    @override
    def verdict(self, frames: Frames, origin: Origin) -> Verdict:
        """The verdict on frames at about 8 a second, see `verdict_of_parts`."""
        part = as_part(frames, crops=self._sees_crops, limits=self.limits)
        return self.verdict_of_parts(iter([part]), origin)

    @override
    def verdict_of_parts(self, parts: Iterator[Frames], origin: Origin) -> Verdict:
        """The verdict on a video.

        The label is "fake" when ``p_fake`` is at least 0.5. ``uncertain`` when it lies between the `thresholds`, when
        there was too little to see, or when the clip is unlike all that the model was fitted on (`UNLIKE`). ``traces``
        holds up to three, the strongest first, each with a box per frame, where a window's evidence is above its
        threshold and the conclusion is not real. Where a fake has none, the flag `LOOKS_GENERATED` says that only the
        clip as a whole speaks for it, and ``highlights`` which region and which moments did most. In a video of a
        minute and more they name the most suspicious windows.
        """
        state = _ClipState(self)
        following = _Following(parts, self, origin)
        for window in windows_of(following):
            state.look(window)
        state.detail = following.detail
        times, rate = following.times, following.fps
        trace, generated = pool_evidence(state.traces), state.generated_evidence(state.mean_look)
        at_half = self.calibration.p_fake(trace, generated)
        p_fake = at_prior(at_half, self.prior)
        low, high = self.thresholds
        thin = rate is None or rate < FPS / _THIN
        unlike = self.calibration.unlike(state.mean_look)
        uncertain = low <= p_fake < high or len(times) < _FEWEST_FRAMES or thin or unlike
        fake = p_fake >= DECIDES
        traces = [
            trace_of(candidate, times, following.end_seconds, at_prior(of_kind(candidate.evidence), self.prior))
            for candidate in sorted(state.findings, key=lambda candidate: -candidate.evidence)[:_MOST_TRACES]
            if candidate.finding.boxes and (fake or uncertain)
        ]
        flags = [flag for flag, holds in ((SAMPLED_THINLY, thin), (UNLIKE, unlike)) if holds]
        highlights = state.suspicious_windows(times) if following.end_seconds >= LONG_SECONDS else []
        if fake and not traces:
            flags.append(LOOKS_GENERATED)
            if self.names_regions and len(times) >= _FEWEST_FRAMES:
                highlights += state.spoke_most(times, following.end_seconds)
        return Verdict(
            label="fake" if fake else "real",
            uncertain=uncertain,
            p_fake=p_fake,
            p_fake_raw=at_half,
            calibration=None if self.prior == 0.5 else "moved to the prior",
            p_trace=at_prior(of_kind(trace), self.prior),
            p_generated=at_prior(of_kind(generated), self.prior),
            thresholds=(low, high),
            prior=self.prior,
            traces=tuple(traces),
            highlights=tuple(highlights),
            flags=tuple(flags),
            origin=following.origin(),
        )


class _Following(Iterator[Frames]):
    """Parts as they come, remembering times, rate and reading, and what their crops showed."""

    def __init__(self, parts: Iterator[Frames], model: EmbeddedModel, origin: Origin) -> None:
        self.times: list[float] = []
        self._details = np.zeros(DETAIL)
        self._crops = 0
        self._problems: list[str] = []
        self._parts = parts
        self._model = model
        self._origin = origin
        self._duration: float | None = None
        self._reading: Reading | None = None

    @override
    def __next__(self) -> Frames:
        if self.times and self._model.on_progress is not None:
            self._model.on_progress(Progress(self._origin.video_id, self.times[-1], self._duration))
        part = next(self._parts)
        self.times += part.pts_seconds.tolist()
        self._duration, self._reading = part.duration_seconds, part.reading
        if isinstance(part, VideoPart):
            for crop in part.crops:
                self._details += self._model.network.detail(crop)
            self._crops += len(part.crops)
            self._problems += part.crop_problems
        return part

    @property
    def detail(self) -> npt.NDArray[np.float64] | None:
        """What the crops showed, in the mean ``(768,)``; None: there was none."""
        return self._details / self._crops if self._crops else None

    @property
    def fps(self) -> float | None:
        """How many frames a second were looked at, from the median step; None for a single frame."""
        return None if len(self.times) < 2 else 1.0 / float(np.median(np.diff(self.times)))

    @property
    def end_seconds(self) -> float:
        """When the last frame is gone."""
        step = _LONE_FRAME_SECONDS if self.fps is None else 1.0 / self.fps
        return max(self._duration or 0.0, self.times[-1] + step)

    def origin(self) -> Origin:
        """The origin, completed by how the reading went."""
        sampling = {**asdict(self._model.sampling), **(self._origin.sampling or {}), "crops": self._crops}
        if self._problems:
            sampling["crop_problems"] = self._problems[:_NAMED_PROBLEMS]
        origin = replace(self._origin, sampling=sampling)
        return read_origin(origin, self._reading, frames=len(self.times), fps=self.fps)


@dataclass(frozen=True, order=True)
class _NamedWindow:
    """A window that may be named at the end. Ordered by how suspicious it is."""

    p_fake: float  # of the window alone, at a prior of 0.5
    first: int
    count: int


class _ClipState:
    """What was seen of a clip so far: numbers of every window, and the pictures of the few that look generated most."""

    def __init__(self, model: EmbeddedModel) -> None:
        self.traces: list[float] = []  # evidence of each window
        self.findings: list[ScoredFinding] = []
        self.detail: npt.NDArray[np.float64] | None = None  # what crops at their own size showed, once all were seen
        self._model = model
        self._looks = np.zeros(LOOK)
        self._windows: list[_NamedWindow] = []
        self._pictures: list[tuple[float, int, Window]] = []  # a heap: evidence, first frame

    @property
    def mean_look(self) -> npt.NDArray[np.float64]:
        """What the whole-clip head sees: the mean over the windows."""
        return self._looks / len(self.traces)

    def generated_evidence(self, look: npt.NDArray[np.float64]) -> float:
        """The clip's evidence of being generated, were its look this one ``(510,)``."""
        return self._model.calibration.generated_evidence(look, self.detail)

    def look(self, window: Window) -> None:
        """Take in the next window. What crops show is the clip's, not a window's, and counts at the end."""
        calibration = self._model.calibration
        outputs = self._model.network(window.images, window.first)
        trace, generated = calibration.trace_evidence(outputs), calibration.generated_evidence(outputs.look)
        self.traces.append(trace)
        self._looks += outputs.look
        self._windows.append(_NamedWindow(calibration.p_fake(trace, generated), window.first, len(window.images)))
        if trace >= calibration.trace_threshold:
            add(self.findings, ScoredFinding(find(outputs), trace))
            self._forget_weak(window.first)
        heapq.heappush(self._pictures, (generated, window.first, window))
        if len(self._pictures) > _NAMED_WINDOWS:
            heapq.heappop(self._pictures)

    def _forget_weak(self, first: int) -> None:
        """Drop findings that are over before this frame, so that nothing can join them, and among the weaker ones."""
        over = sorted(
            (candidate for candidate in self.findings if candidate.finding.end < first),
            key=lambda candidate: -candidate.evidence,
        )
        weak = set(map(id, over[_MOST_TRACES:]))
        self.findings = [candidate for candidate in self.findings if id(candidate) not in weak]

    def suspicious_windows(self, times: Sequence[float]) -> list[Highlight]:
        """The windows whose own P(fake) is highest, none of which overlap."""
        named: list[_NamedWindow] = []
        for window in sorted(self._windows, reverse=True):
            if all(abs(window.first - other.first) >= max(window.count, other.count) for other in named):
                named.append(window)
            if len(named) == _NAMED_WINDOWS:
                break
        prior = self._model.prior
        return [
            Highlight(
                times[window.first], _end(times, window.first + window.count), p_fake=at_prior(window.p_fake, prior)
            )
            for window in named
        ]

    def spoke_most(self, times: Sequence[float], end_seconds: float) -> list[Highlight]:
        """The region and the moments that bring most evidence of a generated clip, in the window that brings most."""
        _, _, window = max(self._pictures)
        stages = self._model.network.stages(window.images)
        weights = self._model.calibration.generated_weights
        brought = influence(stages, weights)
        shape = brought.shape
        whole = look_without(stages, np.ones(shape, np.bool_))
        highlights = []
        for parts in parts_of((shape[0], shape[1], shape[2])):
            most = max(parts, key=lambda part: float(brought[part.frames, part.rows, part.columns].sum()))
            lost = (whole - look_without(stages, mask_without((shape[0], shape[1], shape[2]), most))) / len(self.traces)
            without = of_kind(self.generated_evidence(self.mean_look - lost))
            first, last = window.first + most.frames.start, window.first + most.frames.stop
            end = times[last] if last < len(times) else end_seconds
            box = _box(most, shape[1], shape[2])
            highlights.append(
                Highlight(times[first], end, box, p_generated_without=at_prior(without, self._model.prior))
            )
        return highlights


def _end(times: Sequence[float], index: int) -> float:
    if index < len(times):
        return times[index]
    return times[-1] + _LONE_FRAME_SECONDS if len(times) < 2 else 2 * times[-1] - times[-2]


def _box(part: Part, rows: int, columns: int) -> Box | None:
    if part.rows == slice(0, rows) and part.columns == slice(0, columns):
        return None
    return part.columns.start / columns, part.rows.start / rows, part.columns.stop / columns, part.rows.stop / rows
