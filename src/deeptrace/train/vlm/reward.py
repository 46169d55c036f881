"""One verifiable reward for reinforcement learning: a completion and a record in, a number with its parts out.

Built on the parser and the metrics of the benchmark, so that what is rewarded is what is measured. Rule by rule:

- An answer that cannot be parsed earns `UNPARSED`, less than anything else.
- A wrong verdict costs the same either way, and earns nothing for where it points.
- A right verdict earns `VERDICT`, and `CLEAN` when nothing had to be dropped from the answer or contradicts itself.
- A rightly found fake earns `OVERLAP` times (vIoU-F1 - blind). vIoU-F1 matches claimed traces and true ones in space
  and time, so a trace too many costs. *blind* is what an answer that saw nothing would have got on this record:
  pointing at the whole frame for the whole clip, or at the best constant trace of a training set (`blind_trace`). So on
  average no constant answer gains by pointing, and FAKE is no better a guess than REAL.
- With ``credit="partial"`` half of that is how *near* the claim is, which grows even where claim and truth share
  nothing: generalised IoU of boxes and distance of onsets, matched and counted like vIoU-F1, minus what blind gets.
- `CATEGORY` times the F1 of the categories of matched traces.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from deeptrace.answer import FAKE_WITHOUT_PLACE, FORMATS, Format, Space, parse
from deeptrace.errors import RecordError
from deeptrace.measures.overlap import assign, box_giou
from deeptrace.measures.video import Truth, VideoScore, claimed, onset_box, score_video, truth_of
from deeptrace.records import Outcome, Record, Trace, Verdict

UNPARSED: Final = -1.0
WRONG: Final = -0.4
VERDICT: Final = 0.4
CLEAN: Final = 0.1
OVERLAP: Final = 0.4
CATEGORY: Final = 0.1

WHOLE_CLIP: Final = Trace(bbox_xyxy=(0.0, 0.0, 1.0, 1.0), onset_seconds=0.0)
"""The trace of one who points everywhere."""

Credit = Literal["viou", "partial"]
"""What pointing earns by: overlap alone, or half of it nearness."""

_CANDIDATES: Final = 200


@dataclass(frozen=True)
class GroundedReward:
    """``total`` in [-1, 1] and what it is made of; ``outcome`` is the answer as it was parsed."""

    total: float
    verdict: float
    clean: float
    overlap: float
    category: float
    outcome: Outcome


def grounded_reward(
    text: str,
    record: Record,
    format: Format,
    space: Space,
    *,
    blind: Trace = WHOLE_CLIP,
    ended: bool = True,
    credit: Credit = "viou",
) -> GroundedReward:
    """What a completion is worth, see the module. ``format`` and ``space`` are those that the question asked for.

    ``ended``: whether the model ended the completion itself; one that the token limit cut off cannot be parsed.

    Raises:
        RecordError: the record's label is neither fake nor real: there is nothing to verify by.
        MissingExtra: scipy is not installed, and there are several traces to match.
    """
    truth = truth_of(record)
    if truth is None:
        raise RecordError("label", f"{record.video_id!r} is labelled {record.label!r}: nothing can be verified by it")
    outcome = parse(text, format, space, ended=ended)
    if not isinstance(outcome, Verdict):
        return GroundedReward(UNPARSED, 0.0, 0.0, 0.0, 0.0, outcome)
    if outcome.label != truth.label:
        return GroundedReward(WRONG, WRONG, 0.0, 0.0, 0.0, outcome)
    # Where nobody marked a place, an answer without one says all that is known.
    pardoned = set() if truth.tubes else {FAKE_WITHOUT_PLACE}
    clean = 0.0 if set(outcome.flags) - pardoned else CLEAN
    overlap = category = 0.0
    fields = FORMATS[format].fields
    if truth.label == "fake" and truth.tubes and "box" in fields:
        score = score_video(truth, outcome, fields=fields)
        pointed = (score.viou_f1 or 0.0) - _overlap_of(truth, (blind,))
        if credit == "partial":
            pointed = (pointed + nearness(truth, claimed(outcome)) - nearness(truth, (blind,))) / 2
        overlap = OVERLAP * pointed
        category = CATEGORY * _category_f1(score)
    return GroundedReward(VERDICT + clean + overlap + category, VERDICT, clean, overlap, category, outcome)


def nearness(truth: Truth, claims: Sequence[Trace]) -> float:
    """How near claims are to the true traces that have a place, in [0, 1]: twice the sum over matches by the count.

    A pair is worth the mean of (1 + generalised IoU) / 2 of its boxes and 1 - the distance of its onsets as a share of
    the video. A claim without a box is worth nothing, one without an onset is taken to begin with the video. One claim
    too many lowers it as one too few does.

    Raises:
        MissingExtra: scipy is not installed.
    """
    if not claims or not truth.traces or not truth.length_seconds:
        return 0.0
    table = [[_near(trace, claim, truth.length_seconds) for claim in claims] for trace in truth.traces]
    return 2 * sum(table[i][j] for i, j in assign(table)) / (len(truth.traces) + len(claims))


def _near(trace: Trace, claim: Trace, length_seconds: float) -> float:
    own, said = onset_box(trace), onset_box(claim)
    if own is None or said is None:
        return 0.0
    apart = abs((trace.onset_seconds or 0.0) - (claim.onset_seconds or 0.0)) / length_seconds
    return ((1 + box_giou(own, said)) / 2 + max(0.0, 1 - apart)) / 2


def _overlap_of(truth: Truth, traces: Sequence[Trace]) -> float:
    return score_video(truth, Verdict("fake", traces=tuple(traces))).viou_f1 or 0.0


def _category_f1(score: VideoScore) -> float:
    """2 hits / (2 hits + missed + wrong) over matched traces; 0 where none of them has a category on either side."""
    hit, missed, wrong = (
        sum(counts) for counts in (score.pair_categories_hit, score.pair_categories_missed, score.pair_categories_wrong)
    )
    return 2 * hit / (2 * hit + missed + wrong) if hit else 0.0


def blind_trace(records: Iterable[Record]) -> Trace:
    """The one trace that, said of every fake video, overlaps best: fitted on training records, it sees no pixels.

    Candidates are the whole clip and up to `_CANDIDATES` of the records' own traces (evenly spread, so that the same
    records give the same trace), box and onset only. Time grows with candidates x records.
    """
    truths = [truth for record in records if (truth := truth_of(record)) is not None and truth.tubes]
    traces = [
        Trace(bbox_xyxy=trace.bbox_xyxy, onset_seconds=trace.onset_seconds)
        for truth in truths
        for trace in truth.traces
    ]
    traces = [trace for trace in traces if trace.bbox_xyxy is not None]
    step = max(1, len(traces) // _CANDIDATES)
    candidates = [WHOLE_CLIP, *traces[::step]]
    return max(candidates, key=lambda trace: sum(_overlap_of(truth, (trace,)) for truth in truths))
