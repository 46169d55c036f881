"""The classical detector: no weights, no learning, one core. `Frames` in, `Verdict` out.

It undoes the camera's motion, follows what stands out from the background, and reports what motion cannot explain:
things that vanish or appear in plain view, and things that jump. Cuts split the clip; flashes and exposure jumps are
evened out or left aside; what leaves through the frame's edge or slides behind something has not vanished.

It is a baseline. It sees only abrupt, local events of things that stand apart from their background; on clips from
video generators it does not tell fake from real (docs/motion.md has the numbers). It judges no anatomy and no physics,
and its explanations are templates filled with what was measured.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from typing_extensions import override

from deeptrace.categories import Category
from deeptrace.models.base import FrameModel, Sampling, sampled_fps
from deeptrace.models.motion.blur import find_blurring
from deeptrace.models.motion.flow import Image, SteadyShot, split_shots
from deeptrace.models.motion.vanish import ONSET_SHARE, Kind, Vanishing, find_vanishing
from deeptrace.pages.words import place_words
from deeptrace.records import Box, Frames, Origin, Trace, Verdict

_CATEGORIES: Final[dict[Kind, Category]] = {
    "vanish": "Object Disappearance",
    "appear": "Redundant Object",
    "jump": "Object Trajectory",
    "blur": "Sudden Blurring",
}

_LOOKS_ALIKE: Final[dict[Kind, str]] = {
    "vanish": "a caption or a lamp that is switched off would look the same",
    "appear": "a caption or a lamp that is switched on would look the same",
    "jump": "a thing faster than 8 pictures a second can follow would look the same",
    "blur": "a lens that loses focus there would look the same",
}
"""What would make a trace of that kind wrong."""

# What no finding at all leaves of P(fake), see `probability`.
_PRIOR = 0.1
# A strength from here up to 1 is near the threshold: nothing is reported, and the verdict says that it is unsure.
_NEARLY = 0.85
_BARELY = 1.10
# Fewer frames cannot show a thing tracked, gone, and staying away.
_ENOUGH_FRAMES = 6
# Mean and deviation of grey levels below which a picture is too dark or too flat to judge.
_DARK, _FLAT = 12.0, 4.0
_MOST_TRACES = 3
# Steps longer than this many times the usual one: the criteria were set for 8 frames a second.
_THIN = 1.5

SAMPLED_THINLY: Final = "sampled_thinly"
"""Flag of a verdict on frames too far apart: what is abrupt between them may have happened in its own time."""


@dataclass(frozen=True)
class _Event:
    """A finding in the clip's own time and units."""

    kind: Kind
    strength: float
    box: Box
    onset_seconds: float
    step_seconds: float
    offset_seconds: float
    speed: float  # heights of the frame a second


class MotionModel(FrameModel):
    """Finds things that vanish, appear, jump or smear abruptly. Deterministic; needs nothing but OpenCV and NumPy."""

    name = "motion"
    revision = "1"
    # 8 frames a second: onsets are then known to 1/16 s, and a thing moves by less than its size between two of them.
    # 240 pixels: things from 12 x 12 of 427 x 240 pixels on count, in about 40 ms a frame on one core. 160 frames:
    # 20 s at full rate, longer than all but a few clips of the paper; what is longer is looked at more thinly.
    sampling = Sampling(fps=8.0, max_frames=160, short_side=240)

    @override
    def verdict(self, frames: Frames, origin: Origin) -> Verdict:
        """The verdict on these frames: label, P(fake), up to three traces, the strongest first.

        ``p_fake`` is `probability` of the strongest finding; at 0.5 and more the label is fake and there is a trace,
        below it the label is real and there is none. ``uncertain`` when the strongest finding is near the threshold,
        or when there were too few, too dark or too flat frames to find anything. Frames too far apart for what is
        looked for (a clip of more than 20 s, say) make it uncertain too, with the flag `SAMPLED_THINLY`.
        """
        images, times = frames.images, frames.pts_seconds
        events = sorted(
            _events(images, times, frames), key=lambda event: (-event.strength, event.onset_seconds, event.box)
        )
        strength = events[0].strength if events else 0.0
        p_fake = probability(strength)
        traces = tuple(_trace(event) for event in _distinct(events) if event.strength >= 1.0)[:_MOST_TRACES]
        rate = sampled_fps(frames)
        thin = rate is not None and rate < self.sampling.fps / _THIN
        return Verdict(
            label="fake" if traces else "real",
            uncertain=_NEARLY <= strength < _BARELY or thin or _hard_to_see(images),
            p_fake=p_fake,
            p_fake_raw=p_fake,
            p_trace=p_fake,
            thresholds=(probability(_NEARLY), probability(_BARELY)),
            traces=traces,
            flags=(SAMPLED_THINLY,) if thin else (),
            origin=origin,
        )


def probability(strength: float) -> float:
    """P(fake) for the strongest finding: ``(s + 0.1) / (s + 1.2)``.

    Rises with the strength; 0.083 for nothing found, 0.5 at the threshold of 1, 0.74 at the most, which is 3. It is a
    convention, fitted to nothing.
    """
    return (strength + _PRIOR) / (strength + 1.0 + 2 * _PRIOR)


def _hard_to_see(images: Image) -> bool:
    if len(images) < _ENOUGH_FRAMES or min(images.shape[1:3]) < 48:
        return True
    small = images[:, ::4, ::4].astype(np.float32)
    return bool(small.mean() < _DARK or np.median(small.std(axis=(1, 2, 3))) < _FLAT)


# ── findings to events ──────────────────────────────────────────────────────────────────────────────────────────────


def _events(images: Image, times: np.ndarray, frames: Frames) -> list[_Event]:
    shots = split_shots(images, times)
    if frames.duration_seconds is not None and frames.duration_seconds > times[-1]:
        # Where sampling stopped early, what follows was not seen.
        step = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
        end = min(frames.duration_seconds, float(times[-1]) + max(step, 1e-3))
    else:
        end = float(times[-1]) + 1e-3
    ends = [float(shot.pts_seconds[0]) for shot in shots[1:]] + [end]
    events = []
    for shot, shot_end in zip(shots, ends, strict=True):
        findings = [(finding, shot) for finding in (*find_vanishing(shot), *find_blurring(shot))]
        backwards = shot.reversed()
        # Backwards, a jump is the same jump and was found already.
        findings += [(finding, backwards) for finding in find_vanishing(backwards) if finding.kind == "vanish"]
        events += [_event(finding, played, played is backwards, shot_end) for finding, played in findings]
    return events


def _event(finding: Vanishing, played: SteadyShot, backwards: bool, end: float) -> _Event:
    height, width = played.images.shape[1:3]
    before, after = float(played.pts_seconds[finding.index - 1]), float(played.pts_seconds[finding.index])
    first, step = (abs(after), after - before) if backwards else (before, after - before)
    # Backwards, the thing is there from the earlier of the two on: the later one, as the clip is watched.
    onset = first + ONSET_SHARE * step
    offset = end if finding.until is None else float(played.pts_seconds[finding.until])
    rect = finding.rect
    # At least one pixel, inside the frame.
    x0, y0 = min(max(rect.x, 0.0), width - 1.0), min(max(rect.y, 0.0), height - 1.0)
    x1, y1 = max(min(rect.x + rect.w, float(width)), x0 + 1.0), max(min(rect.y + rect.h, float(height)), y0 + 1.0)
    return _Event(
        kind="appear" if backwards else finding.kind,
        strength=finding.strength,
        box=(x0 / width, y0 / height, x1 / width, y1 / height),
        onset_seconds=onset,
        step_seconds=step,
        offset_seconds=max(offset, onset + step / 2),
        speed=math.hypot(*finding.velocity) / step / height,
    )


def _distinct(events: list[_Event]) -> list[_Event]:
    """The strongest event of each half second and neighbourhood: a thing and its shadow vanish together."""
    strongest: list[_Event] = []
    for event in events:
        x, y = _centre(event.box)
        if not any(
            abs(event.onset_seconds - other.onset_seconds) < 0.5
            and math.hypot(x - _centre(other.box)[0], y - _centre(other.box)[1]) < 0.5
            for other in strongest
        ):
            strongest.append(event)
    return strongest


def _centre(box: Box) -> tuple[float, float]:
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


# ── words ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _trace(event: _Event) -> Trace:
    return Trace(
        bbox_xyxy=event.box,
        onset_seconds=event.onset_seconds,
        offset_seconds=event.offset_seconds,
        categories=(_CATEGORIES[event.kind],),
        explanation=explain(event),
        confidence=probability(event.strength),
    )


def explain(event: _Event) -> str:
    """What was measured where and when, by how much it is enough, and what would make it wrong: a template."""
    share = (event.box[2] - event.box[0]) * (event.box[3] - event.box[1])
    size = "small " if share < 0.01 else "large " if share > 0.08 else ""
    # Slower than a fiftieth of the frame's height a second is standing still, as far as one pixel tells.
    what = f"A {size}{'moving' if event.speed > 0.02 else 'resting'} thing {place_words(event.box)}"
    within, when = f"within {event.step_seconds:.2f} s", f"at {event.onset_seconds:.1f} s"
    sentence = {
        "vanish": f"{what} vanishes {within} {when}",
        "appear": f"{what} appears from nowhere {within} {when}",
        "jump": f"{what} jumps {within} {when}",
        "blur": f"A {size}region {place_words(event.box)} loses its fine detail {within} {when}",
    }[event.kind]
    return f"{sentence} ({event.strength:.1f} times what is needed to say so); {_LOOKS_ALIKE[event.kind]}."
