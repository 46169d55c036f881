"""Several answers about one video, and the one verdict that they make: votes, medians, and how far they lie apart.

`consensus` is a function of outcomes alone; `Consensus` is a model that asks another one several times at a
temperature. What goes in: `Draw`, which says how an answer is sampled.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, median
from typing import Any, Final, Protocol, runtime_checkable

from deeptrace.errors import ModelError
from deeptrace.measures.overlap import box_iou, tiou
from deeptrace.measures.tubes import tube_of, viou
from deeptrace.models.base import Sampling, score_of, sources
from deeptrace.records import Box, Failed, Label, Outcome, Score, Trace, Unparsed, Verdict
from deeptrace.video import VideoSource

MAX_SAMPLES: Final = 64

SAME_TRACE: Final = 0.1
"""Traces of two answers that are at least so alike (see `likeness`) are taken for one."""

SUPPORT: Final = 0.5
"""The share of the agreeing answers that must have a trace for the consensus to have it."""

ANSWERED: Final = 0.5
"""The share of the calls that must bring an answer for there to be a consensus; with fewer it is a failure."""

TOO_FEW_ANSWERS: Final = "TOO_FEW_ANSWERS"
"""Code of the `Failed` for a video about which too many of the calls failed. Another run asks again."""


@dataclass(frozen=True)
class Draw:
    """How one answer is sampled: at a ``temperature`` above 0, by a ``seed``, as the ``index``-th of its video."""

    temperature: float
    seed: int
    index: int

    def seed_for(self, content: str) -> int:
        """A seed of 63 bits of this answer to this video: the same wherever and beside whatever it is asked.

        ``content``: a hash of the video's bytes or frames, so that two videos of one name do not share their seeds.
        """
        digest = hashlib.sha256(f"{self.seed} {self.index} {content}".encode()).digest()
        return int.from_bytes(digest[:8], "big") >> 1


@runtime_checkable
class SampledModel(Protocol):
    """A model that can be asked several times about a video, which is read once."""

    name: str
    revision: str | None
    sampling: Sampling

    def sample_iter(
        self, videos: VideoSource | Iterable[VideoSource], draws: Sequence[Draw]
    ) -> Iterator[list[Outcome]]:
        """For each video, in order, one outcome for each of ``draws``; a single `Failed` where it cannot be read."""
        ...


class Consensus:
    """A model that asks another one ``samples`` times at a ``temperature`` and says what the answers agree on.

    See `consensus` for the verdict. The row's ``sampling.samples`` holds the votes, the spread and the temperature that
    the model was given; None: it takes none and draws at its own.

    Raises:
        ModelError: the model cannot be asked so, or the numbers make no sense.
    """

    def __init__(self, model: Any, samples: int, *, temperature: float = 0.7, seed: int = 0) -> None:
        if not isinstance(model, SampledModel):
            raise ModelError(f"{model.name!r} gives one answer, always the same: it cannot be asked several times.")
        if not 2 <= samples <= MAX_SAMPLES:
            raise ModelError(f"samples: {samples} is not from 2 to {MAX_SAMPLES}.")
        if not 0 < temperature <= 2:
            raise ModelError(f"temperature: {temperature:g} is not above 0 and at most 2.")
        self.model: Any = model
        self.draws = tuple(Draw(temperature, seed, index) for index in range(samples))
        self.name = f"{model.name}+{samples}-samples"
        self.revision: str | None = model.revision
        self.question: str | None = getattr(model, "question", None)
        self.format: str | None = getattr(model, "format", None)
        self.sampling: Sampling = self.model.sampling
        sent = getattr(model, "sent_temperature", None)
        self._asked = {
            "samples": samples,
            "temperature": temperature if sent is None else sent(temperature),
            "seed": seed,
        }
        self.settings: dict[str, Any] = {**getattr(model, "settings", {}), **self._asked}

    def __getattr__(self, name: str) -> Any:
        # What the runners ask of a model where it has it: spent, client, concurrency, call_videos, system_prompt.
        if name == "model":  # while it is unpickled
            raise AttributeError(name)
        return getattr(self.model, name)

    def inspect_iter(self, videos: VideoSource | Iterable[VideoSource]) -> Iterator[Outcome]:
        """The consensus on each video, in order."""
        for outcomes in self.model.sample_iter(sources(videos), self.draws):
            joined = consensus(outcomes)
            note = {**self._asked, **(joined.origin.sampling or {}).get("samples", {})}
            sampling = {**(joined.origin.sampling or {}), "samples": note}
            yield replace(joined, origin=replace(joined.origin, model=self.name, sampling=sampling))

    def inspect(self, videos: VideoSource | Iterable[VideoSource]) -> list[Outcome]:
        """The consensus on each video, in order."""
        return list(self.inspect_iter(videos))

    def score(self, videos: VideoSource | Iterable[VideoSource]) -> list[Score | Unparsed | Failed]:
        """P(fake) of each video by the votes, in order."""
        return [score_of(outcome) for outcome in self.inspect_iter(videos)]


# ── one verdict of many ─────────────────────────────────────────────────────────────────────────────────────────────


def consensus(outcomes: Sequence[Outcome]) -> Outcome:
    """The verdict that several answers about one video make.

    ``p_fake`` is (votes for fake + 1) / (votes + 2), Laplace's rule: unanimous answers are not certain. The label
    follows it: a tie is fake, as 0.5 is everywhere. Answers with that label agree; a trace that at least `SUPPORT` of
    them have (see `likeness`) is kept, each edge of its box and each of its times the median of theirs, its confidence
    the share that has it. Text and explanations are of the answer nearest to that. Answers that were not understood
    and calls that failed do not vote, and are counted. Where none is a verdict, the first that was not understood
    stands for all. Where fewer than `ANSWERED` of the calls brought an answer, understood or not, it is a failure that
    is worth asking again (`TOO_FEW_ANSWERS`); the first failure itself where all failed alike.

    ``origin.sampling["samples"]`` counts ``fake``, ``real``, ``unparsed``, ``failed``; ``label_token_p_fake`` is the
    mean P(fake) at the label's token, None where no answer has it (one pass over the prompt gives the same where an
    answer begins with its label); ``spread`` holds, trace by trace, ``support`` (answers), ``onset_seconds`` (mean
    distance to the median) and ``bbox_iou`` (mean with the median box); ``nearest`` is the place of the answer whose
    text stands in the row.

    Raises:
        ModelError: there are no outcomes.
    """
    if not outcomes:
        raise ModelError("a consensus of no answers.")
    verdicts = [(place, one) for place, one in enumerate(outcomes) if isinstance(one, Verdict)]
    failed = [one for one in outcomes if isinstance(one, Failed)]
    fakes = sum(one.label == "fake" for _, one in verdicts)
    counts: dict[str, Any] = {
        "fake": fakes,
        "real": len(verdicts) - fakes,
        "unparsed": sum(isinstance(one, Unparsed) for one in outcomes),
        "failed": len(failed),
        "label_token_p_fake": _label_token(outcomes),
    }
    if len(outcomes) - len(failed) < ANSWERED * len(outcomes):
        return _noted(_too_few(failed, len(outcomes)), counts)
    if not verdicts:
        first = next(one for one in outcomes if isinstance(one, Unparsed))
        return _noted(first, counts)
    p_fake = (fakes + 1) / (len(verdicts) + 2)
    label: Label = "fake" if p_fake >= 0.5 else "real"
    agreeing = [(place, one) for place, one in verdicts if one.label == label]
    clusters = _clusters([one.traces for _, one in agreeing]) if label == "fake" else []
    kept = [cluster for cluster in clusters if len(cluster) >= SUPPORT * len(agreeing)]
    traces = [_median_trace([trace for _, trace in cluster], len(agreeing)) for cluster in kept]
    near = max(range(len(agreeing)), key=lambda row: _nearness(agreeing[row][1].traces, traces))
    place, nearest = agreeing[near]
    counts |= {
        "nearest": place,
        "spread": [
            _spread([trace for _, trace in cluster], trace) for cluster, trace in zip(kept, traces, strict=True)
        ],
    }
    explained = [
        replace(trace, **_words([one for _, one in cluster], own=dict(cluster).get(near), about=trace))
        for cluster, trace in zip(kept, traces, strict=True)
    ]
    verdict = replace(
        nearest,
        label=label,
        p_fake=p_fake,
        p_fake_raw=p_fake,
        calibration=None,
        traces=tuple(sorted(explained, key=lambda trace: (trace.onset_seconds is None, trace.onset_seconds or 0.0))),
    )
    return _noted(verdict, {**counts, "p_fake_from": "votes"})


def _too_few(failed: Sequence[Failed], asked: int) -> Failed:
    first = failed[0]
    if len(failed) == asked and len({one.code for one in failed}) == 1:
        return first
    codes = ", ".join(sorted({one.code for one in failed}))
    words = f"{len(failed)} of {asked} calls brought no answer ({codes}); the first: {first.reason}. Run again"
    return replace(first, code=TOO_FEW_ANSWERS, reason=words)


def likeness(a: Trace, b: Trace) -> float:
    """How alike two traces are, in [0, 1]: vIoU of their tubes, else of boxes or of times alone.

    Two that say neither where nor when are alike (1); two that have nothing to be compared by are not (0). Tubes end
    with the later of what both say, and a second after an onset without an end.
    """
    length = max(0.1, *(_end(trace) for trace in (a, b)))
    tubes = (tube_of(a, length), tube_of(b, length))
    if tubes[0] is not None and tubes[1] is not None and None not in (a.onset_seconds, b.onset_seconds):
        return viou(tubes[0], tubes[1])
    if a.bbox_xyxy is not None and b.bbox_xyxy is not None:
        return box_iou(a.bbox_xyxy, b.bbox_xyxy)
    if a.onset_seconds is not None and b.onset_seconds is not None:
        return tiou((a.onset_seconds, _end(a)), (b.onset_seconds, _end(b)))
    return float(not any(_has_place(trace) for trace in (a, b)))


def _has_place(trace: Trace) -> bool:
    return trace.bbox_xyxy is not None or trace.onset_seconds is not None


def _end(trace: Trace) -> float:
    return trace.offset_seconds if trace.offset_seconds is not None else (trace.onset_seconds or 0.0) + 1.0


def _clusters(answers: Sequence[Sequence[Trace]]) -> list[list[tuple[int, Trace]]]:
    """Traces of several answers that are one: at most one of each answer, around the one that most others resemble."""
    claims = [(row, trace) for row, traces in enumerate(answers) for trace in traces]
    alike = [[likeness(one, other) if row != place else 0.0 for place, other in claims] for row, one in claims]
    left = set(range(len(claims)))
    clusters = []
    while left:
        grown = [_around(centre, left, claims, alike) for centre in sorted(left)]
        best = max(grown, key=lambda cluster: (len(cluster), sum(alike[cluster[0]][other] for other in cluster)))
        clusters.append([claims[claim] for claim in best])
        left -= set(best)
    return clusters


def _around(
    centre: int, left: set[int], claims: Sequence[tuple[int, Trace]], alike: Sequence[Sequence[float]]
) -> list[int]:
    """A claim and, of each other answer, the one most like it, where it is like it at all."""
    nearest: dict[int, int] = {}
    for claim in sorted(left):
        row, share = claims[claim][0], alike[centre][claim]
        if share >= SAME_TRACE and (row not in nearest or share > alike[centre][nearest[row]]):
            nearest[row] = claim
    return [centre, *nearest.values()]


def _median_trace(traces: Sequence[Trace], answers: int) -> Trace:
    boxes = [trace.bbox_xyxy for trace in traces if trace.bbox_xyxy is not None]
    onset = _median_of([trace.onset_seconds for trace in traces])
    offset = _median_of([trace.offset_seconds for trace in traces])
    if onset is not None and offset is not None and offset <= onset:
        offset = None
    return Trace(_median_box(boxes), onset, offset, confidence=len(traces) / answers)


def _median_of(values: Sequence[float | None]) -> float | None:
    """The median of what is said, where at least half say it."""
    said = [value for value in values if value is not None]
    return float(median(said)) if said and 2 * len(said) >= len(values) else None


def _median_box(boxes: Sequence[Box]) -> Box | None:
    if not boxes:
        return None
    x0, y0, x1, y1 = (float(median(box[side] for box in boxes)) for side in range(4))
    return (x0, y0, x1, y1)


def _words(cluster: Sequence[Trace], *, own: Trace | None, about: Trace) -> dict[str, Any]:
    """Explanation and categories: of the answer whose text stands in the row, where it has this trace."""
    source = own or max(cluster, key=lambda trace: likeness(trace, about))
    return {"explanation": source.explanation, "categories": source.categories}


def _nearness(traces: Sequence[Trace], wanted: Sequence[Trace]) -> float:
    """How near an answer lies to the consensus: its best likeness to each trace, less what it claims beyond them."""
    found = sum(max((likeness(trace, other) for trace in traces), default=0.0) for other in wanted)
    return found - max(0, len(traces) - len(wanted))


def _spread(traces: Sequence[Trace], middle: Trace) -> dict[str, Any]:
    onsets = [trace.onset_seconds for trace in traces if trace.onset_seconds is not None]
    boxes = [trace.bbox_xyxy for trace in traces if trace.bbox_xyxy is not None]
    onset, box = middle.onset_seconds, middle.bbox_xyxy
    return {
        "support": len(traces),
        "onset_seconds": None if onset is None else fmean(abs(one - onset) for one in onsets),
        "bbox_iou": None if box is None else fmean(box_iou(one, box) for one in boxes),
    }


def _label_token(outcomes: Sequence[Outcome]) -> float | None:
    values = [(one.origin.sampling or {}).get("label_token_p_fake") for one in outcomes]
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def _noted(outcome: Outcome, counts: dict[str, Any]) -> Outcome:
    sampling = {**(outcome.origin.sampling or {}), "samples": counts}
    if "p_fake_from" in counts:
        sampling["p_fake_from"] = counts.pop("p_fake_from")
    return replace(outcome, origin=replace(outcome.origin, sampling=sampling))
