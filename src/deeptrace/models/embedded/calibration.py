"""From the network's raw numbers to evidence: what was fitted on clips of sources that it was not trained on.

Evidence is a log likelihood ratio, fake over not fake. ``embedded.json`` stands beside the weights and holds every
number; nothing here is fitted.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from deeptrace import files
from deeptrace.errors import DeepTraceError, ModelError
from deeptrace.measures.probabilities import logit, sigmoid
from deeptrace.models.embedded.windows import BACKBONE_NAME, DETAIL, LOOK, TRACES_NAME, WindowOutputs
from deeptrace.schema import Length, Range, Share, Text, check

VERSION: Final = 4
"""Of ``embedded.json``."""

_PRIOR_OF_EITHER: Final = 0.5  # one clip in two is fake, of either kind: what p_fake supposes before `at_prior`


@dataclass(frozen=True)
class DetailHead:
    """The head for crops at their own size, and how it joins that for the whole picture: both evidences are one's."""

    mean: npt.NDArray[np.float64]
    weights: npt.NDArray[np.float64]
    whole: float  # what the whole picture's evidence counts beside it
    bias: float

    def join(self, whole: float, detail: float) -> float:
        """The log likelihood ratio of both: of the whole picture's, and of the score of its middle."""
        return self.whole * whole + detail + self.bias


@dataclass(frozen=True)
class EmbeddedCalibration:
    """Numbers of ``embedded.json``. ``thresholds`` are values of p_fake at a prior of 0.5."""

    revision: str
    trace_scale: float
    trace_bias: float
    trace_threshold: float  # evidence of a window from which on its trace is reported
    knows_generated: bool  # False: there was nothing to fit the whole-clip head on, and it says nothing
    generated_mean: npt.NDArray[np.float64]
    generated_scale: npt.NDArray[np.float64]  # the deviation of each number over the clips of the fit
    generated_far: float | None  # see `unlike`; None: no clip is too far
    generated_weights: npt.NDArray[np.float64]
    generated_bias: float
    detail: DetailHead | None  # None: there was nothing to fit it on
    clip_scale: float  # of both kinds of evidence together, see `p_fake`
    clip_bias: float
    thresholds: tuple[float, float]

    def trace_evidence(self, window: WindowOutputs) -> float:
        """Log likelihood ratio of a trace in this window."""
        return self.trace_scale * window.clip + self.trace_bias

    def generated_evidence(
        self, look: npt.NDArray[np.floating[Any]], detail: npt.NDArray[np.floating[Any]] | None = None
    ) -> float:
        """Log likelihood ratio of a generated clip, from what the heads see.

        ``look`` is that of a window, or the mean of theirs, ``(510,)``; ``detail`` that of crops at their own size,
        ``(768,)``, or None where there is none: the look then stands alone, on a scale fitted for that.
        """
        alone = float((look.astype(np.float64) - self.generated_mean) @ self.generated_weights + self.generated_bias)
        if detail is None or self.detail is None:
            return alone
        return self.detail.join(alone, float((detail.astype(np.float64) - self.detail.mean) @ self.detail.weights))

    def unlike(self, look: npt.NDArray[np.floating[Any]]) -> bool:
        """Whether a clip ``(510,)`` is unlike all that the head was fitted on: farther from their mean than few are."""
        far = distance(look, self.generated_mean, self.generated_scale)
        return self.generated_far is not None and far >= self.generated_far

    def p_fake(self, trace: float, generated: float) -> float:
        """P(fake) at a prior of 0.5, from the evidence of both kinds: `evidence_of_clip`, then Platt scaling."""
        both = evidence_of_clip(trace, generated if self.knows_generated else None, threshold=self.trace_threshold)
        return sigmoid(self.clip_scale * both + self.clip_bias)


def evidence_of_clip(trace: float, generated: float | None, *, threshold: float) -> float:
    """The clip's evidence of either kind: the logit of `join`. ``generated`` None: nothing is known of that kind.

    Beside the whole-clip head, of a trace counts only what is above the ``threshold`` that camera clips seldom reach:
    below it, it goes neither with camera clips nor with generated ones, and would blur what the head says. Without the
    head it is all there is, and counts whole.
    """
    return logit(join(trace, 0.0) if generated is None else join(max(0.0, trace - threshold), generated))


def distance(look: npt.NDArray[Any], mean: npt.NDArray[np.float64], scale: npt.NDArray[np.float64]) -> float:
    """How far a look ``(510,)`` is from the mean of others, in deviations of its numbers (root mean square)."""
    return float(np.sqrt(np.mean(((look - mean) / scale) ** 2)))


def join(trace: float, generated: float) -> float:
    """P(fake) at a prior of 0.5 from the log likelihood ratios of the two kinds of evidence.

    A clip is fake when it holds a trace or is generated; the two are taken as independent, each with the prior q for
    which ``1 - (1 - q)^2 = 0.5``: ``p = 1 - (1 - p_trace) (1 - p_generated)``, see `of_kind`. At no evidence: 0.5.
    """
    return 1 - (1 - of_kind(trace)) * (1 - of_kind(generated))


def of_kind(evidence: float) -> float:
    """P(this kind of fake) where one clip in two is fake of either kind: ``sigmoid(evidence + logit(q))``."""
    q = 1 - math.sqrt(1 - _PRIOR_OF_EITHER)
    return sigmoid(evidence + math.log(q / (1 - q)))


def pool_evidence(evidence: Sequence[float] | npt.NDArray[np.float64]) -> float:
    """The clip's evidence from that of its N windows ``(N,)``: the log of their mean likelihood ratio.

    The trace lies in one of them, nobody knows in which: more windows need stronger evidence in one.
    """
    values = np.asarray(evidence, np.float64)
    return float(np.logaddexp.reduce(values) - math.log(len(values)))


def at_prior(p_at_half: float, prior: float) -> float:
    """A probability that supposes one fake in two, at another prior: the evidence stays, the odds move (Bayes)."""
    return p_at_half if prior == _PRIOR_OF_EITHER else sigmoid(logit(p_at_half) + logit(prior))


def digest_of(folder: Path) -> str:
    """The SHA-256 of both ONNX files of a model's folder, one after the other.

    Raises:
        FileError: one of them cannot be read.
    """
    total = hashlib.sha256()
    for name in (BACKBONE_NAME, TRACES_NAME):
        total.update(files.read_bytes(folder / name))
    return total.hexdigest()


def read_calibration(folder: Path) -> EmbeddedCalibration:
    """The calibration beside the weights.

    Raises:
        ModelError: a file is missing, a number is, or the weights are not those it was fitted for.
    """
    try:
        table: Any = files.loads(files.read_bytes(folder / "embedded.json"))
        digest = digest_of(folder)
    except DeepTraceError as error:
        raise ModelError(f"the embedded model in {folder.name!r} cannot be read: {error}") from None
    name = f"{folder.name}/embedded.json"
    version = table.get("version") if isinstance(table, dict) else None
    if version != VERSION:
        raise ModelError(
            f"{name} is of version {version!r}, this deeptrace reads {VERSION}: "
            "run `deeptrace train` of its recipe again, which finishes from the last checkpoint"
        )
    fitted, problems = check(_FittedNumbers, table, name=name, unknown="ignored")
    if fitted is None:
        raise ModelError("\n  ".join(problems))
    if digest != fitted.sha256:
        raise ModelError(
            f"{folder.name}/{BACKBONE_NAME} or {TRACES_NAME} is not the file that embedded.json was fitted for"
        )
    return EmbeddedCalibration(
        revision=fitted.revision,
        trace_scale=fitted.trace.scale,
        trace_bias=fitted.trace.bias,
        trace_threshold=fitted.trace.threshold,
        knows_generated=fitted.generated.auroc_out_of_fold is not None,
        generated_mean=np.array(fitted.generated.mean, np.float64),
        generated_scale=np.array(fitted.generated.scale, np.float64),
        generated_far=fitted.generated.far,
        generated_weights=np.array(fitted.generated.weights, np.float64),
        generated_bias=fitted.generated.bias,
        detail=None if fitted.detail is None else fitted.detail.head(),
        clip_scale=fitted.clip.scale,
        clip_bias=fitted.clip.bias,
        thresholds=(fitted.thresholds[0], fitted.thresholds[1]),
    )


_Number: TypeAlias = Annotated[float, Range()]
_LookNumbers: TypeAlias = Annotated[tuple[_Number, ...], Length(LOOK, LOOK)]
_DetailNumbers: TypeAlias = Annotated[tuple[_Number, ...], Length(DETAIL, DETAIL)]


@dataclass(frozen=True)
class _TraceNumbers:
    scale: _Number
    bias: _Number
    threshold: _Number


@dataclass(frozen=True)
class _HeadNumbers:
    mean: _LookNumbers
    scale: Annotated[tuple[Annotated[float, Range(above=0.0)], ...], Length(LOOK, LOOK)]
    far: _Number | None
    weights: _LookNumbers
    bias: _Number
    auroc_out_of_fold: Share | None


@dataclass(frozen=True)
class _DetailHeadNumbers:
    mean: _DetailNumbers
    weights: _DetailNumbers
    whole: Annotated[float, Range(low=0.0)]
    bias: _Number
    auroc_out_of_fold: Share  # of both heads together, over the clips that have crops

    def head(self) -> DetailHead:
        return DetailHead(np.array(self.mean, np.float64), np.array(self.weights, np.float64), self.whole, self.bias)


@dataclass(frozen=True)
class _ClipNumbers:
    scale: _Number
    bias: _Number


@dataclass(frozen=True)
class _FittedNumbers:
    """``embedded.json`` as it lies in the file; what else it holds is about the making of it."""

    revision: Text
    sha256: Text
    trace: _TraceNumbers
    generated: _HeadNumbers
    detail: _DetailHeadNumbers | None
    clip: _ClipNumbers
    thresholds: Annotated[tuple[Share, ...], Length(2, 2)]

    def problems(self) -> Iterator[str]:
        low, high = self.thresholds
        if low > high:
            yield f"thresholds: {low:g} and {high:g} are not in order"
