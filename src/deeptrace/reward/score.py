"""Videos in, rewards out: two rewards, each in four forms, or a reason why there is none.

``trace_free``
    1 - the visible trace mass: confidence x area x time, see `deeptrace.reward.mass`. For best-of-N, filters and
    reinforcement learning: there every clip is generated, and what differs is how much is visibly wrong.
``looks_real``
    P(real) = 1 - ``p_fake``: how much a clip looks like camera footage as the model knows it. Among generated clips it
    sits near 0 and rewards resembling a source of data; use its ``logit`` if you use it at all.

They are never merged. The forms of each:

``raw``         from the model's own, uncalibrated probabilities, in [0, 1]
``calibrated``  from the calibrated ones, in [0, 1]
``logit``       log odds of ``calibrated``: does not saturate; between -20.7 and 20.7
``normalised``  (logit - mean) / standard deviation over the model's reference clips; None where it has none

A video that shows nothing (blank, frozen, a few frames) or that could be read only in part has no reward: else a policy
would learn to make such videos.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections import defaultdict, deque
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any, Final, Literal, TypeAlias, get_args

import numpy as np

from deeptrace.categories import Category
from deeptrace.errors import DeepTraceError, RecordError
from deeptrace.files import loads
from deeptrace.measures.probabilities import logit
from deeptrace.models import Model, load
from deeptrace.models.base import MODEL_CRASHED
from deeptrace.records import Failed, Frames, Origin, Unparsed, Verdict
from deeptrace.reward.kinds import FORMS, REWARD_KINDS, REWARDS, RewardFormName, RewardName
from deeptrace.reward.looking import VideoLook, look_at
from deeptrace.reward.mass import DenseMap
from deeptrace.reward.videos import Videos, as_videos
from deeptrace.video import VideoSource, probe

_log = logging.getLogger(__name__)

LookName = Literal["full", "fast"]

UNPARSED: Final = "UNPARSED"
"""Code of a `NotRewarded` whose model spoke and could not be understood."""
NOT_OFFERED: Final = "NOT_OFFERED"
"""Code where the model does not say what this reward is made of."""
TIMEOUT: Final = "TIMEOUT"
"""Code of a video that a server or a cluster did not score in time."""

_CONSTANT_SPREAD: Final = 1e-6
_REFERENCE_FILE: Final = "reference.json"


class RewardAlarm(UserWarning):
    """The rewards look as if nothing could be learned from them."""


@dataclass(frozen=True)
class Alarm:
    """``code``: CONSTANT_OUTPUT, GROUPS_COLLAPSED or NEW_HEAD."""

    code: str
    message: str


@dataclass(frozen=True)
class RewardForms:
    """One reward of one video, in its four forms; higher is better in each. See the head of this file."""

    raw: float
    calibrated: float
    logit: float
    normalised: float | None = None


@dataclass(frozen=True)
class RewardResult:
    """The rewards of a video by name; one that this model, looking this way, does not say is not there.

    ``n_traces`` and ``worst_category`` are of the verdict's own list of traces; None where there is no list. The
    ``verdict`` of the embedded model does not name what in a fake without a trace did most (`Verdict.highlights`).
    """

    rewards: Mapping[RewardName, RewardForms]
    origin: Origin
    n_traces: int | None = None
    worst_category: Category | None = None
    dense: DenseMap | None = None
    verdict: Verdict | None = None

    @property
    def trace_free(self) -> RewardForms | None:
        """1 - the visible trace mass; None where the model tells no traces."""
        return self.rewards.get("trace_free")

    @property
    def looks_real(self) -> RewardForms | None:
        """P(real); None where the model tells no probability."""
        return self.rewards.get("looks_real")

    def form(self, name: RewardName, form: RewardFormName) -> float | None:
        """One form of one reward; None where it is not there."""
        forms = self.rewards.get(name)
        return None if forms is None else getattr(forms, form)


@dataclass(frozen=True)
class NotRewarded:
    """Why a video has no reward. ``code`` is that of the failure, of the reading, or one of `UnusualCode`."""

    code: str
    reason: str
    origin: Origin = field(default_factory=Origin)


RewardOutcome: TypeAlias = RewardResult | NotRewarded


class Reward:
    """A model as a reward: ``Reward("embedded")(["a.mp4", "b.mp4"])``.

    ``kind`` is the reward that `values` gives, ``form`` its form. ``look`` "fast" takes a language model's
    probability after one prefill, which knows no traces; "full" lets it answer. ``options`` go to `load` where
    ``model`` is a name. Deterministic, and a video gets the same reward alone and in any batch. `alarms` lists what
    looked wrong so far; each is also logged and warned of, once. One thread at a time.

    Raises:
        ModelError: the model does not exist or cannot be loaded.
        RecordError: options that do not go together: a fast look has no traces.
    """

    def __init__(
        self,
        model: Model | str = "embedded",
        *,
        kind: RewardName = "trace_free",
        form: RewardFormName = "calibrated",
        look: LookName = "full",
        constant_after: int = 64,
        **options: Any,
    ) -> None:
        for value, name, choices in (
            (kind, "kind", REWARDS),
            (form, "form", FORMS),
            (look, "look", get_args(LookName)),
        ):
            if value not in choices:
                raise RecordError(name, f"{value!r} is not one of {', '.join(choices)}")
        if look == "fast" and not REWARD_KINDS[kind].in_fast_look:
            told = ", ".join(repr(one.name) for one in REWARD_KINDS.values() if one.in_fast_look)
            raise RecordError("look", f"a fast look does not tell {kind}: take kind {told}, or look 'full'")
        self.model: Model = load(model, **options) if isinstance(model, str) else model
        self.kind: RewardName = kind
        self.form: RewardFormName = form
        self.look: LookName = look
        self.alarms: list[Alarm] = []
        self._last: deque[float] = deque(maxlen=constant_after)
        self.reference = reference_of(self.model)
        if form == "normalised" and (self.reference is None or kind not in self.reference["rewards"]):
            raise RecordError("form", f"{self.model.name} has no reference clips for {kind}: it has no normalised form")
        if fresh := tuple(getattr(self.model, "newly_initialised", ())):
            self._alarm("NEW_HEAD", f"weights that were never trained: {', '.join(map(str, fresh[:5]))}")

    def __call__(
        self,
        videos: Videos,
        *,
        fps: float | None = None,
        dense: bool = False,
        groups: Sequence[Hashable] | None = None,
    ) -> list[RewardOutcome]:
        """The outcome of each video, in order, whatever happens to the others.

        ``fps`` is the rate of videos that are arrays. ``dense`` adds the map of traces, aligned to the frames of the
        input. ``groups`` names the prompt of each video: an alarm is raised where rewards within prompts are all alike.

        Raises:
            RecordError: ``groups`` is not as long as the videos.
        """
        outcomes = list(self.iter(videos, fps=fps, dense=dense))
        if groups is not None:
            self._watch_groups(outcomes, groups)
        return outcomes

    def iter(self, videos: Videos, *, fps: float | None = None, dense: bool = False) -> Iterator[RewardOutcome]:
        """As a call, each outcome as soon as it is there."""
        items = as_videos(videos, fps=fps)
        readable = [item for item in items if not isinstance(item, Failed)]
        looks = look_at(self.model, readable, fast=self.look == "fast")
        for item in items:
            if isinstance(item, Failed):
                yield NotRewarded(item.code, item.reason, item.origin)
                continue
            outcome = self._outcome(item, next(looks), dense=dense)
            self._watch(outcome)
            yield outcome

    def values(
        self,
        videos: Videos,
        *,
        fps: float | None = None,
        on_error: Literal["raise"] | float | None,
        groups: Sequence[Hashable] | None = None,
    ) -> list[float | None]:
        """The one number a video that a trainer wants: ``kind`` in ``form``.

        ``on_error`` says what stands for a video without a reward: "raise", None, or a number that the caller names.

        Raises:
            DeepTraceError: with "raise", for the first video that has no reward; its code is the failure's.
        """
        outcomes = self(videos, fps=fps, groups=groups)
        return [self.value(outcome, on_error=on_error) for outcome in outcomes]

    def value(self, outcome: RewardOutcome, *, on_error: Literal["raise"] | float | None) -> float | None:
        """``kind`` in ``form`` of one outcome; see `values`.

        Raises:
            DeepTraceError: with "raise", where there is no reward.
        """
        got = outcome.form(self.kind, self.form) if isinstance(outcome, RewardResult) else None
        if got is not None:
            return got
        missing = outcome if isinstance(outcome, NotRewarded) else self.not_offered(outcome)
        _log.warning("no reward for %s: %s %s", missing.origin.video_id, missing.code, missing.reason)
        if on_error == "raise":
            raise _error(missing)
        return None if on_error is None else float(on_error)

    def not_offered(self, result: RewardResult) -> NotRewarded:
        """The reason of a result that lacks this reward."""
        return NotRewarded(NOT_OFFERED, f"{self.model.name} does not tell {self.kind} when asked so", result.origin)

    # ── from a look to an outcome ──

    def _outcome(self, video: VideoSource, look: VideoLook, *, dense: bool) -> RewardOutcome:
        outcome = look.outcome
        if isinstance(outcome, Failed):
            return NotRewarded(outcome.code, outcome.reason, outcome.origin)
        if isinstance(outcome, Unparsed):
            return NotRewarded(UNPARSED, outcome.reason, outcome.origin)
        verdict = outcome if isinstance(outcome, Verdict) else None
        origin = Origin(model=self.model.name, revision=self.model.revision) if verdict is None else verdict.origin
        if look.problem is not None:
            return NotRewarded(*look.problem, origin)
        rewards: dict[RewardName, RewardForms] = {}
        for name, kind in REWARD_KINDS.items():
            raw, calibrated = kind.raw(look), kind.calibrated(look)
            if raw is not None and calibrated is not None:
                rewards[name] = self._forms(name, raw, calibrated)
        return RewardResult(
            rewards,
            origin,
            n_traces=None if verdict is None else len(verdict.traces),
            worst_category=None if verdict is None else _worst(verdict),
            dense=_aligned(look.traces, video) if dense and look.traces is not None else None,
            verdict=verdict,
        )

    def _forms(self, name: RewardName, raw: float, calibrated: float) -> RewardForms:
        raw, calibrated = (min(1.0, max(0.0, value)) for value in (raw, calibrated))
        odds = logit(calibrated)
        known = None if self.reference is None else self.reference["rewards"].get(name)
        normalised = None if known is None else (odds - known["mean"]) / known["deviation"]
        return RewardForms(raw, calibrated, odds, normalised)

    # ── alarms ──

    def _alarm(self, code: str, message: str) -> None:
        if any(alarm.code == code for alarm in self.alarms):
            return
        self.alarms.append(Alarm(code, message))
        _log.warning("%s: %s", code, message)
        warnings.warn(f"{code}: {message}", RewardAlarm, stacklevel=3)

    def _watch(self, outcome: RewardOutcome) -> None:
        got = outcome.form(self.kind, "logit") if isinstance(outcome, RewardResult) else None
        if got is None:
            return
        self._last.append(got)
        if len(self._last) == self._last.maxlen and max(self._last) - min(self._last) < _CONSTANT_SPREAD:
            self._alarm("CONSTANT_OUTPUT", f"the last {len(self._last)} videos all got the same {self.kind}")

    def _watch_groups(self, outcomes: Sequence[RewardOutcome], groups: Sequence[Hashable]) -> None:
        if len(groups) != len(outcomes):
            raise RecordError("groups", f"{len(groups)} for {len(outcomes)} videos")
        within: dict[Hashable, list[float]] = defaultdict(list)
        for group, outcome in zip(groups, outcomes, strict=True):
            got = outcome.form(self.kind, "logit") if isinstance(outcome, RewardResult) else None
            if got is not None:
                within[group].append(got)
        spreads = [max(values) - min(values) for values in within.values() if len(values) > 1]
        noise = self.noise
        if spreads and sum(spread <= noise for spread in spreads) > len(spreads) / 2:
            known = f"what encoding a clip again changes ({noise:.2g} in logit)" if noise else "nothing"
            flat = sum(spread <= noise for spread in spreads)
            self._alarm(
                "GROUPS_COLLAPSED", f"{flat} of {len(spreads)} groups differ in {self.kind} by no more than {known}"
            )

    @property
    def noise(self) -> float:
        """How much encoding a clip again changes the logit of ``kind``, typically; 0 where it was not measured."""
        known = None if self.reference is None else self.reference["rewards"].get(self.kind)
        return 0.0 if known is None else float(known["noise"])


@cache
def _references() -> Mapping[str, Any]:
    text = resources.files("deeptrace.reward").joinpath(_REFERENCE_FILE).read_text(encoding="utf-8")
    table: Mapping[str, Any] = loads(text)
    return table


def reference_of(model: Model) -> Mapping[str, Any] | None:
    """Mean, deviation and noise of a model's rewards over clips that were measured; None for another revision."""
    known: Mapping[str, Any] | None = _references().get(model.name)
    return known if known is not None and known["revision"] == model.revision else None


def _error(missing: NotRewarded) -> DeepTraceError:
    about = f"{missing.origin.video_id}: " if missing.origin.video_id else ""
    error = DeepTraceError(f"no reward: {about}{missing.reason}")
    error.code = missing.code
    return error


def _worst(verdict: Verdict) -> Category | None:
    """The category of the trace that is surest."""
    named = [trace for trace in verdict.traces if trace.categories]
    best = max(named, key=lambda trace: -math.inf if trace.confidence is None else trace.confidence, default=None)
    return None if best is None or not best.categories else best.categories[0]


def _aligned(traces: DenseMap, video: VideoSource) -> DenseMap:
    """The map at every frame of the input, by its declared rate for a file."""
    if isinstance(video, Frames):
        times = video.pts_seconds
    else:
        info = probe(video)
        if info.fps is None or not info.num_frames:
            return traces
        times = np.arange(info.num_frames) / info.fps
    return DenseMap(times, traces.at(times), max(traces.end_seconds, float(times[-1])))


def crashed(error: Exception) -> NotRewarded:
    """What is told of a video on which a model raised what is none of our errors."""
    return NotRewarded(MODEL_CRASHED, f"the model raised {type(error).__name__}: {error}")


def rewarded(outcomes: Iterable[RewardOutcome]) -> list[RewardResult]:
    """The outcomes that are rewards."""
    return [outcome for outcome in outcomes if isinstance(outcome, RewardResult)]
