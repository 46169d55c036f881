"""Every per-video metric, once: what one outcome is worth against one record, by two protocols side by side.

A `Record` becomes a `Truth` (what it can be compared on), a `Truth` and an outcome become a `VideoScore`. Sums over
videos are the benchmark's (`deeptrace.bench.score.totals`). Needs no pixels.

*paper* (arXiv 2509.22646): every annotation row against the first trace of the one answer. A real answer says no box
and no time, whatever stands behind it; what is missing is the worst: IoU 0, distances 1, grade 0.

*fair*: all traces as tubes, matched one to one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, get_args

from deeptrace.answer import Field
from deeptrace.categories import CATEGORIES
from deeptrace.measures.overlap import assign, box_iou, center_distance, tiou
from deeptrace.measures.tubes import Tube, tube_of, viou
from deeptrace.records import Box, Failed, Label, Outcome, Record, Trace, Unparsed, Verdict

Fields: TypeAlias = frozenset[Field]

_PAPER_FIELDS: Final[Fields] = frozenset({"box", "onset", "explanation"})

Status = Literal["verdict", "unparsed", "failed", "missing"]
STATUSES: Final[tuple[Status, ...]] = get_args(Status)
"""What became of a video; "missing": there is no row for it."""

WHOLE_FRAME: Final = 0.95
"""A claimed box of this share of the frame or more says nothing of where: models that do not see fall back on it."""

Grades: TypeAlias = Mapping[int, float | None]
"""A judge's grade in [0, 1] by annotation row, counted from 0; None: the judge's reply could not be read."""


# ── truth ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Truth:
    """What a record can be compared on.

    ``rows``: one trace an annotation row, in order; a row that says nothing is an empty `Trace`. ``traces`` and
    ``tubes``: those of them that have a box, of a video whose length is known.
    """

    video_id: str
    label: Label
    length_seconds: float | None
    rows: tuple[Trace, ...]
    traces: tuple[Trace, ...]
    tubes: tuple[Tube, ...]


def truth_of(record: Record) -> Truth | None:
    """The truth in a record; None where its label is "unsure" or not known.

    A fake video has one row a trace, and one for each annotation without a trace: in the paper's release, one for each
    of its rows. A real video has no rows here; it counts once.
    """
    if record.label not in ("fake", "real"):
        return None
    length = record.info.length_seconds if record.info is not None else None
    rows: tuple[Trace, ...] = ()
    if record.label == "fake":
        rows = tuple(trace for annotation in record.annotations for trace in annotation.traces or (Trace(),)) or (
            Trace(),
        )
    pairs = [(trace, tube) for trace in rows if length and (tube := tube_of(trace, length)) is not None]
    return Truth(
        video_id=record.video_id,
        label=record.label,
        length_seconds=length,
        rows=rows,
        traces=tuple(trace for trace, _ in pairs),
        tubes=tuple(tube for _, tube in pairs),
    )


def is_explained(trace: Trace) -> bool:
    """Whether the trace has a written explanation."""
    return bool(trace.explanation and trace.explanation.strip())


# ── what was said ───────────────────────────────────────────────────────────────────────────────────────────────────


def status_of(outcome: Outcome | None) -> Status:
    """What became of the video."""
    match outcome:
        case Verdict():
            return "verdict"
        case Unparsed():
            return "unparsed"
        case Failed():
            return "failed"
        case None:
            return "missing"


def claimed(outcome: Outcome | None) -> tuple[Trace, ...]:
    """The traces that an outcome claims: those of an answer FAKE. An answer REAL claims none, whatever it lists."""
    return outcome.traces if isinstance(outcome, Verdict) and outcome.label == "fake" else ()


def claimed_fields(outcome: Outcome | None) -> Fields:
    """What the traces of an outcome say, of any of them."""
    fields: set[Field] = set()
    for trace in claimed(outcome):
        if trace.bbox_xyxy is not None or trace.track is not None:
            fields.add("box")
        if trace.onset_seconds is not None:
            fields.add("onset")
        if trace.offset_seconds is not None:
            fields.add("offset")
        if trace.categories is not None:
            fields.add("category")
        if is_explained(trace):
            fields.add("explanation")
    return frozenset(fields)


def onset_box(trace: Trace) -> Box | None:
    """The box of a trace where it is first seen, in fractions of the frame; None where it has none."""
    if trace.bbox_xyxy is not None:
        return trace.bbox_xyxy
    return next((key.bbox_xyxy for key in trace.track or () if key.visible and key.bbox_xyxy is not None), None)


# ── scores of one video ─────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class RowScore:
    """One annotation row by the paper's protocol; all in [0, 1]. None: the row itself does not say it, so it does not
    count, or for ``grade``: nobody graded it. ``explained``: the row has a written explanation.
    """

    bbox_iou: float | None
    bbox_distance: float | None
    time_distance: float | None
    explained: bool
    grade: float | None


@dataclass(frozen=True, slots=True)
class MatchedTraces:
    """A true trace and a claimed one that are matched, by their places in `Truth.traces` and in the answer.

    ``tiou``: n/a (None) where a time was filled in because the answer's format has none, or the truth lacks one.
    ``onset_error_seconds``: likewise. An onset or offset that was asked for and not said costs the worst: 0, and the
    video's length.
    """

    truth: int
    claim: int
    viou: float
    tiou: float | None
    onset_error_seconds: float | None


@dataclass(frozen=True, slots=True)
class VideoScore:
    """One video by both protocols. ``verdict_label`` is the model's; None where there is no verdict.

    ``claims`` counts claimed traces, ``boxes`` those of them that have a box, ``whole_frames`` the boxes that are all
    of the frame, or nearly (see `WHOLE_FRAME`). ``explains``: one of them has an explanation that was asked for.
    Categories of a real video are all wrong. ``filled`` names the times that the format of the answer does not carry
    and that were filled in: an onset with the start of the video, an offset with its end.
    """

    video_id: str
    label: Label
    status: Status
    verdict_label: Label | None
    p_fake: float | None
    length_seconds: float | None
    rows: tuple[RowScore, ...]
    truths: int
    claims: int
    boxes: int
    whole_frames: int
    explains: bool
    pairs: tuple[MatchedTraces, ...]
    filled: tuple[Literal["onset", "offset"], ...]
    categories_hit: tuple[int, ...]
    categories_missed: tuple[int, ...]
    categories_wrong: tuple[int, ...]
    pair_categories_hit: tuple[int, ...]
    pair_categories_missed: tuple[int, ...]
    pair_categories_wrong: tuple[int, ...]

    @property
    def viou_f1(self) -> float | None:
        """2 * sum of matched vIoU / (true + claimed traces); None where the truth has no box.

        0 on a real video of which a trace is claimed; None where none is: it does not count. By hand: 2 true traces, 1
        claimed, matched at vIoU 0.6: 2 * 0.6 / 3 = 0.4.
        """
        if self.label == "real":
            return 0.0 if self.claims else None
        return 2 * self.viou_sum / (self.truths + self.claims) if self.truths else None

    @property
    def viou_sum(self) -> float:
        """The sum of vIoU over matched pairs; by the true traces it is recall, by the claimed ones precision."""
        return sum(pair.viou for pair in self.pairs)


def score_video(
    truth: Truth, outcome: Outcome | None, *, fields: Fields | None = None, grades: Grades | None = None
) -> VideoScore:
    """What an outcome (None: there is none) is worth against the truth.

    ``fields``: what the question asked for; None where a model is asked nothing, and what it says is what it carries.
    ``grades``: a judge's grades of the explanations; None: there was no judge. A row whose candidate has no
    explanation, or was not asked for one, needs none: it is 0.

    Raises:
        MissingExtra: scipy is not installed, and there are several traces to match.
    """
    claims = claimed(outcome)
    pairs = _match(truth, claims, fields)
    tallies = _Tallies()
    tallies.count(truth, claims, pairs)
    boxes = [box for claim in claims if (box := onset_box(claim)) is not None]
    verdict = outcome if isinstance(outcome, Verdict) else None
    first = first_claim(outcome, fields)
    return VideoScore(
        video_id=truth.video_id,
        label=truth.label,
        status=status_of(outcome),
        verdict_label=verdict.label if verdict is not None else None,
        p_fake=verdict.p_fake if verdict is not None else None,
        length_seconds=truth.length_seconds,
        rows=tuple(_row(i, row, first, truth.length_seconds, grades) for i, row in enumerate(truth.rows)),
        truths=len(truth.tubes),
        claims=len(claims),
        boxes=len(boxes),
        whole_frames=sum((x1 - x0) * (y1 - y0) >= WHOLE_FRAME for x0, y0, x1, y1 in boxes),
        explains=(fields is None or "explanation" in fields) and any(map(is_explained, claims)),
        pairs=pairs,
        filled=_filled(claims, fields),
        categories_hit=tuple(tallies.hit),
        categories_missed=tuple(tallies.missed),
        categories_wrong=tuple(tallies.wrong),
        pair_categories_hit=tuple(tallies.pair_hit),
        pair_categories_missed=tuple(tallies.pair_missed),
        pair_categories_wrong=tuple(tallies.pair_wrong),
    )


# ── the paper's rows ────────────────────────────────────────────────────────────────────────────────────────────────


def _row(index: int, row: Trace, first: Trace, length_seconds: float | None, grades: Grades | None) -> RowScore:
    iou = distance = time = grade = None
    if row.bbox_xyxy is not None:
        iou, distance = 0.0, 1.0
        if first.bbox_xyxy is not None:
            iou, distance = box_iou(row.bbox_xyxy, first.bbox_xyxy), center_distance(row.bbox_xyxy, first.bbox_xyxy)
    if row.onset_seconds is not None and length_seconds:
        time = 1.0
        if first.onset_seconds is not None:
            time = min(1.0, abs(first.onset_seconds - row.onset_seconds) / length_seconds)
    if is_explained(row):
        grade = 0.0 if not is_explained(first) else None if grades is None else grades.get(index)
    return RowScore(iou, distance, time, is_explained(row), grade)


def first_claim(outcome: Outcome | None, fields: Fields | None) -> Trace:
    """The trace that the paper's protocol looks at: the first one claimed, without what was not asked for.

    An empty `Trace` where nothing is claimed.
    """
    claims = claimed(outcome)
    if not claims:
        return Trace()
    first = claims[0]
    if fields is None or fields >= _PAPER_FIELDS:
        return first
    return Trace(
        bbox_xyxy=first.bbox_xyxy if "box" in fields else None,
        onset_seconds=first.onset_seconds if "onset" in fields else None,
        explanation=first.explanation if "explanation" in fields else None,
    )


def needs_grade(truth: Truth, outcome: Outcome | None, fields: Fields | None) -> tuple[tuple[int, str, str], ...]:
    """What a judge has to grade: ``(row, written explanation, candidate's explanation)``; nothing where 0 is sure."""
    first = first_claim(outcome, fields)
    if not is_explained(first):
        return ()
    candidate = str(first.explanation)
    return tuple((i, str(row.explanation), candidate) for i, row in enumerate(truth.rows) if is_explained(row))


# ── matching ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _match(truth: Truth, claims: tuple[Trace, ...], fields: Fields | None) -> tuple[MatchedTraces, ...]:
    """The pairs of the largest total vIoU; of the largest total tIoU where the question asks for no box."""
    length = truth.length_seconds
    if not claims or not truth.tubes or not length:
        return ()
    by_box = fields is None or "box" in fields
    if by_box:
        tubes = [tube_of(claim, length) for claim in claims]
        table = [[0.0 if tube is None else viou(own, tube) for tube in tubes] for own in truth.tubes]
    elif fields and fields & {"onset", "offset"}:
        spans = [_span(claim, length) for claim in claims]
        table = [[tiou(_span(own, length), span) for span in spans] for own in truth.traces]
    else:  # nothing to match by
        return ()
    pairs = []
    for i, j in _assign(table):
        agreed, error = _times(truth.traces[i], claims[j], length, fields)
        pairs.append(MatchedTraces(i, j, table[i][j] if by_box else 0.0, agreed, error))
    return tuple(pairs)


def _assign(table: list[list[float]]) -> list[tuple[int, int]]:
    if len(table) == 1 and len(table[0]) == 1:
        return [(0, 0)] if table[0][0] > 0 else []
    return sorted(assign(table))


def _span(trace: Trace, length: float) -> tuple[float, float]:
    onset = min(trace.onset_seconds or 0.0, length)
    return onset, length if trace.offset_seconds is None else min(trace.offset_seconds, length)


def _times(own: Trace, claim: Trace, length: float, fields: Fields | None) -> tuple[float | None, float | None]:
    """The tIoU and the onset error of a pair, each None where it is n/a (see `MatchedTraces`)."""
    # With no question, what a trace does not say is not carried; with one, it was asked for and is missing.
    carried = fields if fields is not None else claimed_times(claim)
    if own.onset_seconds is None or "onset" not in carried:
        return None, None
    error = length if claim.onset_seconds is None else min(length, abs(claim.onset_seconds - own.onset_seconds))
    if own.offset_seconds is None or "offset" not in carried:
        return None, error
    complete = claim.onset_seconds is not None and claim.offset_seconds is not None
    return (tiou(_span(own, length), _span(claim, length)) if complete else 0.0), error


def claimed_times(trace: Trace) -> Fields:
    """Which of onset and offset a trace says."""
    fields: set[Field] = set()
    if trace.onset_seconds is not None:
        fields.add("onset")
    if trace.offset_seconds is not None:
        fields.add("offset")
    return frozenset(fields)


def _filled(claims: tuple[Trace, ...], fields: Fields | None) -> tuple[Literal["onset", "offset"], ...]:
    filled: list[Literal["onset", "offset"]] = []
    if any("onset" not in (claimed_times(claim) if fields is None else fields) for claim in claims):
        filled.append("onset")
    if any("offset" not in (claimed_times(claim) if fields is None else fields) for claim in claims):
        filled.append("offset")
    return tuple(filled)


# ── categories ──────────────────────────────────────────────────────────────────────────────────────────────────────

_PLACE: Final = {category: i for i, category in enumerate(CATEGORIES)}


class _Tallies:
    """How often each of the nine was said and true, true and not said, said and not true.

    Over all traces: a true trace without partner is missed, a claimed one without partner is wrong. A pair whose true
    trace has no category counts nowhere: nobody said which it is.
    """

    def __init__(self) -> None:
        self.hit, self.missed, self.wrong = ([0] * len(CATEGORIES) for _ in range(3))
        self.pair_hit, self.pair_missed, self.pair_wrong = ([0] * len(CATEGORIES) for _ in range(3))

    def count(self, truth: Truth, claims: tuple[Trace, ...], pairs: tuple[MatchedTraces, ...]) -> None:
        for pair in pairs:
            true_categories = set(truth.traces[pair.truth].categories or ())
            if true_categories:
                claimed_categories = set(claims[pair.claim].categories or ())
                for names, tallies in (
                    (true_categories & claimed_categories, (self.hit, self.pair_hit)),
                    (true_categories - claimed_categories, (self.missed, self.pair_missed)),
                    (claimed_categories - true_categories, (self.wrong, self.pair_wrong)),
                ):
                    for name in names:
                        for tally in tallies:
                            tally[_PLACE[name]] += 1
        matched = {pair.truth for pair in pairs}
        for i, trace in enumerate(truth.traces):
            if i not in matched:
                for name in set(trace.categories or ()):
                    self.missed[_PLACE[name]] += 1
        matched_claims = {pair.claim for pair in pairs}
        for j, claim in enumerate(claims):
            if j not in matched_claims:
                for name in set(claim.categories or ()):
                    self.wrong[_PLACE[name]] += 1
