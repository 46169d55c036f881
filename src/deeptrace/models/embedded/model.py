"""The model's home: sampling, windows, calibration, and the verdict in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib.resources import files as package_files
from pathlib import Path
from typing import Final

import numpy as np

from deeptrace.categories import Category
from deeptrace.errors import VideoError
from deeptrace.models.base import FrameModel, Sampling, origin_of, with_reading
from deeptrace.models.embedded.calibration import EmbeddedCalibration, read_calibration
from deeptrace.models.embedded.finding import Finding, find
from deeptrace.models.embedded.inputs import FPS, SHORT_SIDE
from deeptrace.models.embedded.windows import Network, Said
from deeptrace.overlap import box_iou
from deeptrace.records import Box, Failed, Frames, KeyBox, Origin, Trace, Verdict, check_number
from deeptrace.video import VideoSource, probe, sample_frames
from deeptrace.words import place_words

FAMILIES: Final[dict[Category, str]] = {
    "Object Distortion": "texture",
    "Sudden Blurring": "texture",
    "Background Distortion": "texture",
    "Object Trajectory": "motion",
    "Unexpected Move": "motion",
    "Redundant Object": "identity",
    "Object Splitting": "identity",
    "Object Merging": "identity",
    "Object Disappearance": "identity",
}
"""The coarse family of each category."""

SAMPLED_THINLY: Final = "sampled_thinly"
LOOKS_GENERATED: Final = "looks_generated_as_a_whole"
"""Flag of a verdict that is "fake" with no trace: only the clip as a whole speaks for it."""

_MOST_TRACES = 3
_MOST_FRAMES = 480  # a minute at full rate
_FEWEST_FRAMES = 6


class EmbeddedModel(FrameModel):
    """Deterministic; needs onnxruntime, OpenCV and NumPy.

    ``prior`` is the share of fakes expected among what is inspected, in (0, 1); probabilities shift with it, the
    label's threshold does not. ``path`` is a folder with ``embedded.onnx`` and ``embedded.json``; without it, the
    shipped ones.

    Raises:
        ModelError: the files are missing or damaged.
        RecordError: ``prior`` is not in (0, 1).
    """

    name = "embedded"
    sampling = Sampling(fps=FPS, max_frames=_MOST_FRAMES, short_side=SHORT_SIDE)

    def __init__(self, path: str | None = None, *, prior: float = 0.5, threads: int = 1) -> None:
        self.prior = check_number(prior, "prior", low=1e-6, high=1 - 1e-6)
        folder = Path(path) if path else Path(str(package_files("deeptrace.models.embedded") / "weights"))
        self.calibration: EmbeddedCalibration = read_calibration(folder)
        self.revision = self.calibration.revision
        self.network = Network(folder / "embedded.onnx", threads=threads)

    def _read(self, video: VideoSource) -> tuple[Frames | Failed, Origin]:
        """Frames at every k-th picture of the video, as near to 8 a second as that comes: motion must not judder."""
        origin = replace(origin_of(video), model=self.name, revision=self.revision, sampling=asdict(self.sampling))
        try:
            fps = _whole_steps(video)
            origin = replace(origin, sampling={**asdict(self.sampling), "fps": fps})
            frames = sample_frames(video, fps=fps, max_frames=_MOST_FRAMES, short_side=SHORT_SIDE)
        except VideoError as error:
            return Failed(error.code, str(error), origin), origin
        return frames, with_reading(origin, frames)

    def verdict(self, frames: Frames, origin: Origin) -> Verdict:
        """The verdict on these frames.

        ``traces`` holds up to three, each with a box per frame, the strongest first, and only where a window's evidence
        is above the threshold. The label is "fake" when ``p_fake`` at a prior of 0.5 reaches the threshold that was
        fitted on camera clips of other sources; ``uncertain`` between two such thresholds, or when there was too little
        to see.
        """
        calibration = self.calibration
        said = self.network.over(frames.images)
        evidence = np.array([calibration.trace_evidence(window) for window in said])
        trace = pooled(evidence)
        generated = calibration.generated_evidence(said)
        at_half = join(trace, generated, 0.5)
        p_fake, p_trace, p_generated = join(trace, generated, self.prior)
        traces = self._traces(frames, said, evidence)
        fake = at_half[0] >= calibration.threshold
        flags = []
        rate = 1.0 / float(np.median(np.diff(frames.pts_seconds))) if len(frames) > 1 else 0.0
        if rate < FPS / 1.5:
            flags.append(SAMPLED_THINLY)
        if fake and not traces:
            flags.append(LOOKS_GENERATED)
        low, high = calibration.uncertain
        return Verdict(
            label="fake" if fake else "real",
            uncertain=low <= at_half[0] < high or len(frames) < _FEWEST_FRAMES or bool(rate < FPS / 1.5),
            p_fake=p_fake,
            p_fake_raw=at_half[0],
            calibration=f"prior {self.prior:g}",
            p_trace=p_trace,
            p_generated=p_generated,
            traces=traces if fake else (),
            flags=tuple(flags),
            origin=origin,
        )

    def _traces(self, frames: Frames, said: Sequence[Said], evidence: np.ndarray) -> tuple[Trace, ...]:
        found: list[_Seen] = []
        for window, weight in zip(said, evidence, strict=True):
            if weight >= self.calibration.trace_threshold:
                _add(found, _Seen(find(window), float(weight)))
        found.sort(key=lambda seen: -seen.evidence)
        return tuple(_trace(seen, frames) for seen in found[:_MOST_TRACES] if seen.finding.boxes)


def join(trace: float, generated: float, prior: float) -> tuple[float, float, float]:
    """``(p_fake, p_trace, p_generated)`` from the log likelihood ratios of the two kinds of evidence.

    A clip is fake when it holds a trace or is generated; the two are taken as independent, each with the prior q for
    which ``1 - (1 - q)^2 = prior``. ``p = sigmoid(evidence + logit(q))`` each, and
    ``p_fake = 1 - (1 - p_trace) (1 - p_generated)``. At no evidence (0, 0) p_fake equals the prior.
    """
    q = 1 - math.sqrt(1 - prior)
    base = math.log(q / (1 - q))
    p_trace, p_generated = (1 / (1 + math.exp(-max(-50.0, min(50.0, e + base)))) for e in (trace, generated))
    return 1 - (1 - p_trace) * (1 - p_generated), p_trace, p_generated


def pooled(evidence: Sequence[float] | np.ndarray) -> float:
    """The clip's evidence from its windows': the log of their mean likelihood ratio.

    The trace lies in one of them, nobody knows in which: more windows need stronger evidence in one.
    """
    values = np.asarray(evidence, np.float64)
    return float(np.logaddexp.reduce(values) - math.log(len(values)))


def _whole_steps(video: VideoSource) -> float:
    """The rate of every k-th picture that is nearest to 8 a second."""
    fps = probe(video).fps
    if fps is None or fps <= FPS:
        return FPS
    return fps / max(1, round(fps / FPS))


# ── findings to traces ──────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class _Seen:
    finding: Finding
    evidence: float


def _add(found: list[_Seen], new: _Seen) -> None:
    """Add a finding, or join it to the one that it continues: at the same place at the same time."""
    for i, old in enumerate(found):
        shared = sorted(set(old.finding.boxes) & set(new.finding.boxes))
        touching = new.finding.onset <= old.finding.end and old.finding.onset <= new.finding.end
        if shared:
            overlap = float(np.mean([box_iou(old.finding.boxes[t], new.finding.boxes[t]) for t in shared]))
        elif touching and old.finding.boxes and new.finding.boxes:
            overlap = box_iou(list(old.finding.boxes.values())[-1], next(iter(new.finding.boxes.values())))
        else:
            continue
        if overlap > 0.15:
            strong, weak = (old, new) if old.evidence >= new.evidence else (new, old)
            joined = replace(
                strong.finding,
                onset=min(old.finding.onset, new.finding.onset),
                end=max(old.finding.end, new.finding.end),
                boxes=dict(sorted({**weak.finding.boxes, **strong.finding.boxes}.items())),
            )
            found[i] = _Seen(joined, strong.evidence)
            return
    found.append(new)


def _trace(seen: _Seen, frames: Frames) -> Trace:
    finding, times = seen.finding, frames.pts_seconds
    track = tuple(KeyBox(float(times[t]), box) for t, box in finding.boxes.items())
    first_box = track[0].bbox_xyxy
    assert first_box is not None
    onset = float(times[finding.onset])
    if finding.end < len(times):
        offset = float(times[finding.end])
    else:
        step = float(np.median(np.diff(times))) if len(times) > 1 else 0.1
        offset = max(frames.duration_seconds or 0.0, float(times[-1]) + step)
    category = max(finding.categories, key=lambda name: finding.categories[name])
    return Trace(
        bbox_xyxy=first_box,
        onset_seconds=onset,
        offset_seconds=offset,
        categories=(category,),
        explanation=explain(finding, first_box),
        track=track,
        confidence=1 / (1 + math.exp(-seen.evidence)),
    )


def explain(finding: Finding, box: Box) -> str:
    """What was detected, in plain words; a template, not reasoning."""
    category = max(finding.categories, key=lambda name: finding.categories[name])
    family = FAMILIES[category]
    share = sum(value for name, value in finding.categories.items() if FAMILIES[name] == family)
    place = place_words(box)
    return (
        f"Something {place} changes in a way that motion does not explain; it resembles {category.lower()} most "
        f"({100 * finding.categories[category]:.0f} %), family {family} ({100 * share:.0f} %)."
    )
