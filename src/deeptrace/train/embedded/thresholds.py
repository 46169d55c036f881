"""Thresholds on what the model reads: clips in their files, through the reader, window after window.

Conformal risk control (Angelopoulos et al. 2022) over families, once for each class: of the camera clips of a new
family at most a share reaches the upper threshold, of a new family's generated ones at most a share stays below the
lower. A new clip of a known source is not what a threshold must hold for.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from deeptrace.errors import TrainError
from deeptrace.measures.calibration import fit_platt
from deeptrace.measures.probabilities import sigmoid
from deeptrace.models.embedded.calibration import evidence_of_clip, pool_evidence
from deeptrace.models.embedded.reading import read_parts
from deeptrace.models.embedded.windows import Network, windows_of
from deeptrace.train.embedded.footage import PoolClip

FALSE_ALARMS: Final = 0.08
"""Share of a new family's camera clips that the upper threshold may call fake, in the mean over families. Chosen."""

MISSES: Final = 0.2
"""Share of a new family's generated clips that the lower threshold may call real. Chosen."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ClipOutputs:
    """What the network says of one clip as the model reads it."""

    clip_id: str
    family: str
    is_fake: bool
    logits: Floats  # (W,) of a trace, one a window
    look: Floats  # (510,), the mean over the windows
    detail: Floats | None = None  # (768,), the mean over crops at their own size; None: there is none


def run_clip(clip: PoolClip, family: str, network: Network) -> ClipOutputs:
    """The network's outputs for a clip, by the road that `EmbeddedModel` takes."""
    outputs = [network(window.images, window.first) for window in windows_of(read_parts(clip.path, crops=False))]
    look: Floats = np.stack([one.look for one in outputs]).mean(axis=0, dtype=np.float64)
    logits = np.array([one.clip for one in outputs], np.float64)
    return ClipOutputs(clip.clip_id, family, clip.label == "fake", logits, look, detail_of(clip, network))


def detail_of(clip: PoolClip, network: Network) -> Floats | None:
    """What crops of a clip at their own size show, in the mean ``(768,)``; None: there is none."""
    if clip.native is None:
        return None
    crops = next(read_parts(clip.native)).crops
    return np.mean([network.detail(crop) for crop in crops], axis=0, dtype=np.float64) if crops else None


def above(values: Floats, families: Sequence[str], share: float) -> float:
    """The least threshold that values of a new family reach in at most ``share`` of cases, in expectation.

    Of F families, just above the smallest value ``v`` for which ``(sum of each family's share above v + 1) / (F + 1)``
    is at most ``share``. With too few families for that, above all values, and it holds for `promised` only.
    """
    names, counts = np.unique(np.asarray(families), return_counts=True)
    size = dict(zip(names, counts, strict=True))
    order = np.argsort(values)
    weights = np.array([1 / size[families[i]] for i in order])
    over = weights.sum() - np.cumsum(weights)  # the shares that stay, summed, above each value
    ranked = np.asarray(values, np.float64)[order]
    over = np.array([over[ranked == value].min() for value in ranked])
    fits = np.flatnonzero((over + 1) / (len(names) + 1) <= share + 1e-12)
    return float(np.nextafter(ranked[fits[0] if len(fits) else -1], np.inf))


def promised(families: Sequence[str], share: float) -> float:
    """For which share a threshold by `above` or `below` holds: ``share``, or ``1 / (F + 1)`` with F families if larger.

    A family more may lie wholly on the other side of all that was seen.
    """
    return max(share, 1 / (len(set(families)) + 1))


def below(values: Floats, families: Sequence[str], share: float) -> float:
    """The largest threshold below which values of a new family lie in at most ``share`` of cases."""
    return -above(-values, families, share)


def trace_threshold_of(camera: Sequence[ClipOutputs], trace: tuple[float, float]) -> float:
    """The evidence of a window from which on its trace is reported: at least 0, and in few camera clips reached.

    ``trace`` is scale and bias of the trace logits.
    """
    scale, bias = trace
    best = np.array([scale * float(clip.logits.max()) + bias for clip in camera])
    return max(0.0, above(best, [clip.family for clip in camera], FALSE_ALARMS))


def fit_thresholds(
    clips: Sequence[ClipOutputs],
    *,
    trace: tuple[float, float],
    generated: Callable[[ClipOutputs], float] | None,
) -> dict[str, Any]:
    """``trace.threshold``, ``clip`` and ``thresholds`` of ``embedded.json``.

    ``trace`` is scale and bias of the trace logits. ``generated`` gives the evidence of a generated clip by a head that
    never saw the clip's family; None where there is no such head. With so few families that a threshold holds for a
    larger share than was asked, that share is warned of and stands in the numbers as ``promised``.

    Raises:
        TrainError: there is no camera clip.
    """
    scale, bias = trace
    camera = [clip for clip in clips if not clip.is_fake]
    fakes = [clip for clip in clips if clip.is_fake]
    if not camera:
        raise TrainError("no camera clip could be read; thresholds need some")
    of_camera, of_fakes = ([clip.family for clip in some] for some in (camera, fakes))
    trace_threshold = trace_threshold_of(camera, trace)

    def evidence(clip: ClipOutputs) -> float:
        of_trace = pool_evidence(scale * clip.logits + bias)
        return evidence_of_clip(of_trace, generated(clip) if generated else None, threshold=trace_threshold)

    joined = {clip.clip_id: evidence(clip) for clip in clips}
    from_camera = np.array([joined[clip.clip_id] for clip in camera])
    from_fakes = np.array([joined[clip.clip_id] for clip in fakes])
    clip_scale, clip_bias = platt(from_fakes, from_camera) if fakes else (1.0, 0.0)
    high = above(from_camera, of_camera, FALSE_ALARMS)
    low = below(from_fakes, of_fakes, MISSES) if fakes else high
    return {
        "trace_threshold": trace_threshold,
        "clip": {"scale": clip_scale, "bias": clip_bias},
        "thresholds": sorted(sigmoid(clip_scale * value + clip_bias) for value in (low, high)),
        "camera_clips": len(camera),
        "camera_families": len(set(of_camera)),
        "generated_clips": len(fakes),
        "generated_families": len(set(of_fakes)),
        **_weaker(of_camera, of_fakes),
    }


def _weaker(of_camera: Sequence[str], of_fakes: Sequence[str]) -> dict[str, Any]:
    shares = {
        "false_alarms": (promised(of_camera, FALSE_ALARMS), FALSE_ALARMS, len(set(of_camera)), "camera"),
        "misses": (promised(of_fakes, MISSES), MISSES, len(set(of_fakes)), "generated"),
    }
    weaker = {
        name: round(holds, 4) for name, (holds, asked, families, _) in shares.items() if families and holds > asked
    }
    for name in weaker:
        holds, asked, families, words = shares[name]
        warnings.warn(
            f"with {families} families of {words} clips the threshold holds for {holds:.0%} of a new family's clips, "
            f"not {asked:.0%}: {math.ceil(1 / asked) - 1} families are needed",
            stacklevel=3,
        )
    return {"promised": weaker} if weaker else {}


_SLOPE_VARIANCE: Final = 10.0
"""Of the prior on the slope: a few dozen clips that separate cleanly do not become certain. Chosen."""


def platt(positive: Floats, negative: Floats) -> tuple[float, float]:
    """Scale and bias that turn logits ``(N,)`` into log likelihood ratios (Platt 1999, classes weighed alike)."""
    logits = np.r_[positive, negative]
    labels = np.r_[np.ones(len(positive)), np.zeros(len(negative))]
    balance = np.where(labels > 0, len(logits) / (2 * len(positive)), len(logits) / (2 * len(negative)))
    slope, intercept = fit_platt(logits, labels, balance, spread=_SLOPE_VARIANCE)
    return max(1e-3, slope), intercept
