"""From findings of windows to traces of the clip, each with its reason in one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from deeptrace.categories import FACTS, Category, Family
from deeptrace.measures.overlap import box_iou
from deeptrace.models.embedded.finding import WindowFinding
from deeptrace.pages.words import place_words
from deeptrace.records import Box, KeyBox, Trace

_LOOKS_ALIKE: Final[dict[Family, str]] = {
    "texture": "a lens that loses focus, a change of light or strong compression would look the same",
    "motion": "a jerk of the camera or motion too fast for 8 pictures a second would look the same",
    "identity": "something that passes in front of it, or a cut, would look the same",
}
"""What would make a trace of that family wrong."""

_SAME_PLACE: Final = 0.15
"""IoU of boxes from which on findings of two windows are one trace: low, since a trace moves meanwhile. Chosen."""


@dataclass(frozen=True)
class ScoredFinding:
    """What a window shows, and how much evidence there is for it."""

    finding: WindowFinding
    evidence: float


def add(findings: list[ScoredFinding], new: ScoredFinding) -> None:
    """Add a finding, or join it to the one that it continues: at the same place at the same time."""
    for i, old in enumerate(findings):
        shared = sorted(set(old.finding.boxes) & set(new.finding.boxes))
        touching = new.finding.onset <= old.finding.end and old.finding.onset <= new.finding.end
        if shared:
            overlap = float(np.mean([box_iou(old.finding.boxes[t], new.finding.boxes[t]) for t in shared]))
        elif touching and old.finding.boxes and new.finding.boxes:
            overlap = box_iou(list(old.finding.boxes.values())[-1], next(iter(new.finding.boxes.values())))
        else:
            continue
        if overlap > _SAME_PLACE:
            strong, weak = (old, new) if old.evidence >= new.evidence else (new, old)
            joined = replace(
                strong.finding,
                onset=min(old.finding.onset, new.finding.onset),
                end=max(old.finding.end, new.finding.end),
                boxes=dict(sorted({**weak.finding.boxes, **strong.finding.boxes}.items())),
            )
            findings[i] = ScoredFinding(joined, strong.evidence)
            return
    findings.append(new)


def trace_of(candidate: ScoredFinding, times: Sequence[float], end_seconds: float, confidence: float) -> Trace:
    """The trace that a finding is: ``times`` are those of the clip's frames, ``end_seconds`` when the last one is gone.

    ``confidence`` is P(there is a trace) in [0, 1].
    """
    finding = candidate.finding
    track = tuple(KeyBox(times[t], box) for t, box in finding.boxes.items())
    first_box = track[0].bbox_xyxy
    assert first_box is not None
    onset = times[finding.onset]
    category = max(finding.categories, key=lambda name: finding.categories[name])
    return Trace(
        bbox_xyxy=first_box,
        onset_seconds=onset,
        offset_seconds=times[finding.end] if finding.end < len(times) else end_seconds,
        categories=(category,),
        explanation=explain(category, first_box, onset, confidence),
        track=track,
        confidence=confidence,
    )


def explain(category: Category, box: Box, onset_seconds: float, confidence: float) -> str:
    """What was seen where and when, how sure it is, and what would make it wrong: a template, not reasoning.

    ``box`` is xyxy in fractions of the frame, ``confidence`` P(there is a trace) in [0, 1].
    """
    return (
        f"At {onset_seconds:.1f} s something {place_words(box)} changes in a way that its motion does not explain, "
        f"most like {category.lower()} ({100 * confidence:.0f} % sure); {_LOOKS_ALIKE[FACTS[category].family]}."
    )
