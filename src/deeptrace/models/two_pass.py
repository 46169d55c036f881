"""Two looks at a video: a coarse one finds when something is wrong, a second one looks at that moment closely.

Wraps any `TextModel`. The first look decides the label and its probability, since it saw the whole video; where the
second look sees a trace too, it says where, when and what. Both stand in the row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from itertools import islice
from typing import Any, Final

from deeptrace.errors import ModelError
from deeptrace.models.base import Look, Sampling, sources
from deeptrace.models.text import TextModel
from deeptrace.records import Failed, Origin, Outcome, Score, Trace, Unparsed, Verdict
from deeptrace.rows import outcome_to_row
from deeptrace.video import VideoSource

SECOND_LOOK_DISAGREES: Final = "second_look_disagrees"
"""Flag of a verdict whose second look said REAL: the first look's traces are kept."""

_KEPT: Final = (
    "status", "sampling", "label", "p_fake", "p_fake_raw", "traces", "flags", "partial", "frames_decoded", "text",
    "code", "reason",
)  # fmt: skip


class TwoPass:
    """A model that looks twice.

    ``second`` is the sampling of the second look; None: four times the frames a second and twice the short side of the
    first. ``window_seconds`` is how much of the video it sees, around the earliest onset that the first look claims. A
    verdict that is real, or says no time, is not looked at again. ``sampling.second_look`` of a row holds what the
    second look was shown and said; null where there was none.

    Raises:
        ModelError: a window that is not longer than nothing, or a model that is sent whole files.
    """

    def __init__(self, model: TextModel, *, second: Sampling | None = None, window_seconds: float = 2.0) -> None:
        if not 0 < window_seconds < float("inf"):
            raise ModelError(f"window_seconds must be a positive number, got {window_seconds!r}.")
        if getattr(model, "transport", None) == "file":
            raise ModelError("two looks: transport 'file' sends the whole video at each. Choose another transport.")
        self.model = model
        self.second = second or closer(model.sampling)
        self.window_seconds = window_seconds
        self.name = f"{model.name}+two-pass"
        self.revision = model.revision
        self.question = model.question
        self.sampling = model.sampling
        self.format = model.format

    @property
    def settings(self) -> dict[str, Any]:
        """What its rows depend on besides name, revision, question and sampling."""
        return {
            **self.model.settings,
            "second_sampling": asdict(self.second),
            "second_window_seconds": self.window_seconds,
        }

    @property
    def concurrency(self) -> int:
        """How many videos it is asked about at once."""
        return max(self.model.batch_size, int(getattr(self.model, "concurrency", 1)))

    @property
    def spent(self) -> Any:
        """What the model has spent (`deeptrace.chat.Spent`), where it costs money."""
        return self.model.spent  # type: ignore[attr-defined]  # absent where the model has none

    def inspect_iter(self, videos: VideoSource | Iterable[VideoSource]) -> Iterator[Outcome]:
        """The outcome of each video, in order, as many at once as the model takes.

        What ends the run (out of money) is raised behind the outcomes that were complete by then.
        """
        iterator = iter(sources(videos))
        while chunk := list(islice(iterator, self.concurrency)):
            first, stop = self._gather(Look(video, self.model.sampling, limits=self.model.limits) for video in chunk)
            windows = [self._window(outcome) for outcome in first]
            looks = [
                Look(video, self.second, *window, limits=self.model.limits)
                for video, window in zip(chunk, windows, strict=False)  # shorter where the run was stopped
                if window is not None
            ]
            second: list[Outcome] = []
            if looks and stop is None:
                second, stop = self._gather(looks)
            closer_looks = iter(second)
            for outcome, window in zip(first, windows, strict=True):
                if window is None:
                    yield self._note(outcome, None)
                elif (another := next(closer_looks, None)) is not None:
                    yield self._join(outcome, another, window)
                else:
                    break
            if stop is not None:
                raise stop

    def inspect(self, videos: VideoSource | Iterable[VideoSource]) -> list[Outcome]:
        """The outcome of each video, in order."""
        return list(self.inspect_iter(videos))

    def score(self, videos: VideoSource | Iterable[VideoSource]) -> list[Score | Unparsed | Failed]:
        """P(fake) of each video, in order: the first look's alone."""
        return self.model.score(videos)

    def _gather(self, looks: Iterable[Look]) -> tuple[list[Outcome], Exception | None]:
        """The outcomes of looks, and what ended the run before the last of them."""
        outcomes: list[Outcome] = []
        try:
            for outcome in self.model.look_iter(looks):
                outcomes.append(outcome)
        except self.model.ends_the_run as error:
            return outcomes, error
        return outcomes, None

    def _window(self, outcome: Outcome) -> tuple[float, float] | None:
        if not isinstance(outcome, Verdict) or outcome.label != "fake":
            return None
        onsets = [trace.onset_seconds for trace in outcome.traces if trace.onset_seconds is not None]
        if not onsets:
            return None
        half = self.window_seconds / 2
        return max(0.0, min(onsets) - half), min(onsets) + half

    def _join(self, first: Outcome, second: Outcome, window: tuple[float, float]) -> Outcome:
        assert isinstance(first, Verdict)
        row = outcome_to_row(second)
        note = {"window_seconds": list(window), **{key: row[key] for key in _KEPT}}
        if isinstance(second, Verdict) and second.label == "real":
            first = replace(first, flags=_unite(first.flags, (SECOND_LOOK_DISAGREES,)))
        elif isinstance(second, Verdict) and any(_is_located(trace) for trace in second.traces):
            elsewhere = [
                trace
                for trace in first.traces
                if trace.onset_seconds is None or not _within(trace.onset_seconds, window)
            ]
            traces = sorted([*second.traces, *elsewhere], key=_onset)
            first = replace(first, traces=tuple(traces), flags=_unite(first.flags, second.flags))
        return self._note(first, note)

    def _note(self, outcome: Outcome, note: dict[str, Any] | None) -> Outcome:
        origin: Origin = outcome.origin
        sampling = {**(origin.sampling or {}), "second_look": note}
        return replace(outcome, origin=replace(origin, model=self.name, sampling=sampling))


def closer(sampling: Sampling) -> Sampling:
    """Four times the frames a second, and twice the short side; as many frames at most."""
    side = sampling.short_side
    return Sampling(4 * sampling.fps, sampling.max_frames, None if side is None else 2 * side)


def _is_located(trace: Trace) -> bool:
    return trace.bbox_xyxy is not None or trace.onset_seconds is not None


def _within(time: float, window: tuple[float, float]) -> bool:
    return window[0] <= time <= window[1]


def _onset(trace: Trace) -> float:
    return float("inf") if trace.onset_seconds is None else trace.onset_seconds


def _unite(flags: tuple[str, ...], more: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys([*flags, *more]))
