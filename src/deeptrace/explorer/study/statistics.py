"""What the answers of a study are worth: d', detection by category and strength, and people as a row of the benchmark.

In: the design and what participants answered. A participant who failed the attention checks is left out and counted;
so is a trial that nobody could watch. Sources of the formulas stand beside them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean, median
from typing import Any, Final

from deeptrace.explorer.study.design import StudyClip, StudyDesign, StudyTrial
from deeptrace.measures.overlap import box_iou
from deeptrace.records import DECIDES, Box, Label, Origin, Trace, Verdict, check_bbox

__all__ = [
    "Answer", "Dprime", "Participant", "Proportion", "StudyResults", "dprime", "dprime_of_pairs", "human_verdicts",
    "results_of", "wilson",
]  # fmt: skip

CHECKS_NEEDED: Final = 2 / 3
"""The share of attention checks that must be right for a participant to count."""

HUMAN: Final = "people (study)"
_NORMAL: Final = NormalDist()
_Z95: Final = _NORMAL.inv_cdf(0.975)
_CONFIDENCES: Final = 4


@dataclass(frozen=True)
class Answer:
    """What was answered in one trial. ``says_fake``: of a pair, whether the *true* fake was chosen.

    ``confidence`` is 1 (a guess) to 4 (certain). The first click: place in fractions of the frame, time in seconds of
    the clip. ``box`` was drawn round what was wrong.
    """

    trial: StudyTrial
    says_fake: bool
    confidence: int
    click_xy: tuple[float, float] | None = None
    click_seconds: float | None = None
    box: Box | None = None
    clicked_clip: str | None = None


@dataclass(frozen=True)
class Participant:
    """One person, known by a random code alone. ``planned``: trials, checks included; ``unwatched``: not to be seen."""

    code: str
    planned: int
    answers: tuple[Answer, ...]
    unwatched: int = 0
    withdrawn: bool = False

    @property
    def attention(self) -> float | None:
        """The share of right attention checks; None where none was answered."""
        checks = [answer.says_fake for answer in self.answers if answer.trial.kind == "check"]
        return fmean(checks) if checks else None

    @property
    def counts(self) -> bool:
        """Whether the answers are used."""
        return not self.withdrawn and (self.attention is None or self.attention >= CHECKS_NEEDED)


@dataclass(frozen=True)
class Proportion:
    """``k`` of ``n``, its share in [0, 1] and the 95 % interval of Wilson; None of nothing."""

    k: int
    n: int
    share: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Dprime:
    """Sensitivity in standard deviations, its standard error, and the criterion (above 0: slow to say fake)."""

    value: float
    standard_error: float
    criterion: float | None
    hits: Proportion
    false_alarms: Proportion | None


@dataclass(frozen=True)
class StudyResults:
    """Everything that is reported; shares in [0, 1], times in seconds.

    ``detection`` is by category and strength, ``false_alarms`` by kind of clip without a trace. ``box_iou``,
    ``pointing`` (the first click fell into the true box) and ``onset_error_seconds`` (click less onset, the time that a
    hand needs included) are of fakes that were called fake.
    """

    participants: int
    left_out: Mapping[str, int]
    trials: int
    unwatched: int
    sensitivity: Dprime | None
    pairs: Dprime | None
    detection: Mapping[tuple[str, str], Proportion]
    false_alarms: Mapping[str, Proportion]
    confidence: Mapping[str, float]
    pointing: Proportion
    box_iou: tuple[int, float | None]
    onset_error_seconds: tuple[int, float | None, float | None]

    def to_json(self) -> dict[str, Any]:
        """The results as JSON, with their schema."""
        return {
            "schema": "deeptrace.study",
            "schema_version": 1,
            "participants": self.participants,
            "left_out": dict(self.left_out),
            "trials": self.trials,
            "unwatched": self.unwatched,
            "sensitivity": _plain(self.sensitivity),
            "pairs": _plain(self.pairs),
            "detection": [{"category": c, "strength": s, **vars(p)} for (c, s), p in self.detection.items()],
            "false_alarms": {kind: vars(p) for kind, p in self.false_alarms.items()},
            "confidence": dict(self.confidence),
            "pointing": vars(self.pointing),
            "box_iou": {"n": self.box_iou[0], "mean": self.box_iou[1]},
            "onset_error_seconds": dict(zip(("n", "mean", "median"), self.onset_error_seconds, strict=True)),
        }


def _plain(value: Dprime | None) -> dict[str, Any] | None:
    if value is None:
        return None
    alarms = None if value.false_alarms is None else vars(value.false_alarms)
    return {**vars(value), "hits": vars(value.hits), "false_alarms": alarms}


# ── formulas ────────────────────────────────────────────────────────────────────────────────────────────────────────


def wilson(k: int, n: int) -> Proportion:
    """The share k / n with Wilson's 95 % interval (E. B. Wilson, JASA 22, 1927). By hand: 0 of 10 is [0, 0.28]."""
    if not n:
        return Proportion(k, n, None, None, None)
    share, z2 = k / n, _Z95 * _Z95
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z95 * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return Proportion(k, n, share, max(0.0, centre - half), min(1.0, centre + half))


def dprime(hits: int, fakes: int, alarms: int, others: int) -> Dprime | None:
    """d' = z(H) - z(F) of yes-no answers; None without answers on both kinds.

    Rates are log-linear, (k + 0.5) / (n + 1), so that 0 and 1 are finite (M. J. Hautus, Behavior Research Methods 27,
    1995). The standard error is of Gourevitch and Galanter (Psychometrika 32, 1967). By hand: 8 of 10 and 2 of 10 give
    rates of 0.773 and 0.227, so d' = 0.748 + 0.748 = 1.50.
    """
    if not fakes or not others:
        return None
    hit_rate, alarm_rate = (hits + 0.5) / (fakes + 1), (alarms + 0.5) / (others + 1)
    z_hit, z_alarm = _NORMAL.inv_cdf(hit_rate), _NORMAL.inv_cdf(alarm_rate)
    variance = _variance(hit_rate, z_hit, fakes) + _variance(alarm_rate, z_alarm, others)
    return Dprime(
        z_hit - z_alarm, math.sqrt(variance), -(z_hit + z_alarm) / 2, wilson(hits, fakes), wilson(alarms, others)
    )


def _variance(rate: float, z: float, n: int) -> float:
    return rate * (1 - rate) / (n * _NORMAL.pdf(z) ** 2)


def dprime_of_pairs(right: int, pairs: int) -> Dprime | None:
    """d' = sqrt(2) z(share right) of choices between two (Macmillan and Creelman, Detection Theory, 2005, ch. 7).

    By hand: 0.76 right gives sqrt(2) * 0.706 = 1.00. None without answers.
    """
    if not pairs:
        return None
    rate = (right + 0.5) / (pairs + 1)
    z = _NORMAL.inv_cdf(rate)
    return Dprime(math.sqrt(2) * z, math.sqrt(2 * _variance(rate, z, pairs)), None, wilson(right, pairs), None)


# ── results ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def results_of(design: StudyDesign, participants: Sequence[Participant]) -> StudyResults:
    """The results of everybody who counts."""
    counting = [one for one in participants if one.counts]
    left_out = Counter("withdrawn" if one.withdrawn else "attention" for one in participants if not one.counts)
    answers = [answer for one in counting for answer in one.answers if answer.trial.kind != "check"]
    clips = design.by_id
    singles = [(answer, clips[answer.trial.clips[0]]) for answer in answers if answer.trial.kind == "single"]
    pairs = [answer for answer in answers if answer.trial.kind == "pair"]
    fakes = [(answer, clip) for answer, clip in singles if clip.kind == "fake"]
    others = [(answer, clip) for answer, clip in singles if clip.kind != "fake"]
    seen = [*fakes, *((answer, _fake_of(answer, clips)) for answer in pairs)]
    right = [(answer, clip) for answer, clip in seen if answer.says_fake]
    return StudyResults(
        participants=len(counting),
        left_out=dict(left_out),
        trials=len(answers),
        unwatched=sum(one.unwatched for one in counting),
        sensitivity=dprime(_yes(fakes), len(fakes), _yes(others), len(others)),
        pairs=dprime_of_pairs(sum(answer.says_fake for answer in pairs), len(pairs)),
        detection=_shares(seen, lambda clip: (clip.category or "no category", _strength_words(clip))),
        false_alarms=_shares(others, lambda clip: clip.kind),
        confidence=_confidence(fakes, others),
        pointing=_pointing(right),
        box_iou=_overlap(right),
        onset_error_seconds=_onset_error(right),
    )  # fmt: skip


def _confidence(*groups: Sequence[tuple[Answer, StudyClip]]) -> dict[str, float]:
    named = zip(("fake", "other"), groups, strict=True)
    return {name: fmean(answer.confidence for answer, _ in group) for name, group in named if group}


def _fake_of(answer: Answer, clips: Mapping[str, StudyClip]) -> StudyClip:
    return next(clips[name] for name in answer.trial.clips if clips[name].kind == "fake")


def _strength_words(clip: StudyClip) -> str:
    return "–" if clip.strength is None else f"{clip.strength:.2f}"


def _yes(rows: Iterable[tuple[Answer, StudyClip]]) -> int:
    return sum(answer.says_fake for answer, _ in rows)


def _shares(rows: Sequence[tuple[Answer, StudyClip]], key: Callable[[StudyClip], Any]) -> dict[Any, Proportion]:
    counts: dict[Any, list[int]] = {}
    for answer, clip in rows:
        own = counts.setdefault(key(clip), [0, 0])
        own[0] += answer.says_fake
        own[1] += 1
    return {name: wilson(k, n) for name, (k, n) in sorted(counts.items())}


def _onset_box(trace: Trace, seconds: float) -> Box | None:
    return trace.box_at(seconds) or trace.bbox_xyxy


def _pointing(rows: Sequence[tuple[Answer, StudyClip]]) -> Proportion:
    inside = total = 0
    for answer, clip in rows:
        if answer.click_xy is None or clip.trace is None or answer.clicked_clip not in (None, clip.video_id):
            continue
        box = _onset_box(clip.trace, answer.click_seconds or 0.0)
        if box is not None:
            x, y = answer.click_xy
            total += 1
            inside += box[0] <= x <= box[2] and box[1] <= y <= box[3]
    return wilson(inside, total)


def _overlap(rows: Sequence[tuple[Answer, StudyClip]]) -> tuple[int, float | None]:
    values = []
    for answer, clip in rows:
        truth = None if clip.trace is None else _onset_box(clip.trace, answer.click_seconds or 0.0)
        if answer.box is not None and truth is not None:
            values.append(box_iou(answer.box, truth))
    return len(values), fmean(values) if values else None


def _onset_error(rows: Sequence[tuple[Answer, StudyClip]]) -> tuple[int, float | None, float | None]:
    values = [
        abs(answer.click_seconds - clip.trace.onset_seconds)
        for answer, clip in rows
        if answer.click_seconds is not None and clip.trace is not None and clip.trace.onset_seconds is not None
    ]
    return len(values), fmean(values) if values else None, median(values) if values else None


# ── people as a row of the benchmark ────────────────────────────────────────────────────────────────────────────────


def human_verdicts(design: StudyDesign, participants: Sequence[Participant]) -> list[Verdict]:
    """One verdict a clip that somebody judged singly: what people together say, as any model's row.

    P(fake) is the mean over people, each 0.5 plus or minus an eighth for every step of confidence. Box, onset: medians
    over those who called it fake and marked them. Scored like a model, it is the ceiling row of a report.
    """
    by_clip: dict[str, list[Answer]] = {}
    for one in participants:
        for answer in one.answers if one.counts else ():
            if answer.trial.kind == "single":
                by_clip.setdefault(answer.trial.clips[0], []).append(answer)
    known = design.by_id
    return [_human_verdict(video_id, by_clip[video_id]) for video_id in known if video_id in by_clip]


def _human_verdict(video_id: str, answers: Sequence[Answer]) -> Verdict:
    p_fake = fmean(0.5 + (1 if a.says_fake else -1) * a.confidence / (2 * _CONFIDENCES) for a in answers)
    yes = [answer for answer in answers if answer.says_fake]
    boxes = [answer.box for answer in yes if answer.box is not None]
    times = [answer.click_seconds for answer in yes if answer.click_seconds is not None]
    trace = Trace(_median_box(boxes), median(times) if times else None) if boxes or times else None
    label: Label = "fake" if p_fake >= DECIDES else "real"
    return Verdict(
        label, False, p_fake, p_fake, traces=() if trace is None or label == "real" else (trace,),
        origin=Origin(video_id=video_id, model=HUMAN),
    )  # fmt: skip


def _median_box(boxes: Sequence[Box]) -> Box | None:
    if not boxes:
        return None
    sides = [median(box[k] for box in boxes) for k in range(4)]
    return check_bbox(sides)
