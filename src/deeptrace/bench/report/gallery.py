"""The best and the worst cases as pictures: what people marked beside what the model said, at the same moment."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

import numpy as np

from deeptrace.data.paths import resolve
from deeptrace.errors import RecordError, VideoError
from deeptrace.measures.video import Fields, Truth, claimed, score_video
from deeptrace.pages.overlay import chip_text, draw, write_jpeg
from deeptrace.records import Outcome, Record, Trace, Unparsed, Verdict
from deeptrace.stamps import file_stamp
from deeptrace.video import sample_frames

logger = logging.getLogger(__name__)

SHORT_SIDE: Final = 270
Kind = Literal["best", "worst", "missed", "false alarm"]


@dataclass(frozen=True)
class Case:
    """One picture: people's boxes on the left, the model's on the right. ``picture`` is None where none can be made."""

    kind: Kind
    video_id: str
    source: str
    outcome_word: str
    viou_f1: float | None
    seconds: float | None
    people: str
    model: str
    picture: str | None
    problem: str | None


def choose(
    records: Sequence[Record],
    truths: Mapping[str, Truth],
    outcomes: Mapping[str, Outcome],
    fields: Fields | None,
    *,
    each: int,
) -> list[tuple[Kind, Record, float | None]]:
    """So many of each kind: fakes found best and worst (by vIoU-F1), fakes called real, reals called fake.

    Ties go by id, so the same run shows the same cases.
    """
    candidates: dict[Kind, list[tuple[float, Record, float | None]]] = {
        "best": [],
        "worst": [],
        "missed": [],
        "false alarm": [],
    }
    for record in sorted(records, key=lambda record: record.video_id):
        truth, outcome = truths.get(record.video_id), outcomes.get(record.video_id)
        if truth is None or not isinstance(outcome, Verdict):
            continue
        sure = outcome.p_fake if outcome.p_fake is not None else 0.5
        if truth.label == "real":
            if outcome.label == "fake":
                candidates["false alarm"].append((-sure, record, None))
            continue
        f1 = score_video(truth, outcome, fields=fields).viou_f1
        if outcome.label == "real":
            candidates["missed"].append((sure, record, f1))
        elif f1 is not None:
            candidates["best"].append((-f1, record, f1))
            candidates["worst"].append((f1, record, f1))
    used_ids: set[str] = set()
    chosen: list[tuple[Kind, Record, float | None]] = []
    for kind, cases in candidates.items():
        ranked = [case for case in sorted(cases, key=lambda case: case[0]) if case[1].video_id not in used_ids][:each]
        used_ids |= {record.video_id for _, record, _ in ranked}
        chosen += [(kind, record, f1) for _, record, f1 in ranked]
    return chosen


def make_cases(
    chosen: Sequence[tuple[Kind, Record, float | None]],
    outcomes: Mapping[str, Outcome],
    root: Path,
    folder: Path,
    prefix: str,
    *,
    progress: Callable[[], None] | None = None,
) -> list[Case]:
    """Write a picture for each case into ``folder/media``; a video that cannot be read is a case without one.

    Raises:
        FileError: a picture cannot be written.
    """
    cases = []
    for number, (kind, record, f1) in enumerate(chosen, 1):
        outcome = outcomes[record.video_id]
        moment = _moment(record, outcome)
        name, problem = f"{prefix}-{number:02d}.jpg", None
        try:
            _write_picture(folder / "media" / name, record, outcome, root, moment)
        except (VideoError, RecordError) as error:
            problem = str(error)
            logger.warning("no picture of %r: %s", record.video_id, error)
        people, model = record.traces, claimed(outcome)
        cases.append(
            Case(
                kind=kind,
                video_id=record.video_id,
                source=record.source or "unknown",
                outcome_word=_outcome_word(outcome),
                viou_f1=f1,
                seconds=moment,
                people=_words(people),
                model=_words(model),
                picture=None if problem else f"media/{name}",
                problem=problem,
            )
        )
        if progress is not None:
            progress()
    return cases


def _outcome_word(outcome: Outcome) -> str:
    match outcome:
        case Verdict():
            return chip_text(outcome)
        case Unparsed():
            return "unparsed"
        case _:
            return "failed"


def _words(traces: Sequence[Trace]) -> str:
    """What the traces say, in a line each; the first three."""
    lines = []
    for trace in traces[:3]:
        when = "" if trace.onset_seconds is None else f"from {trace.onset_seconds:.1f} s"
        what = ", ".join(trace.categories or ())
        lines.append(
            ": ".join(part for part in (" ".join(word for word in (what, when) if word), trace.explanation) if part)
        )
    more = [f"and {len(traces) - 3} more"] if len(traces) > 3 else []
    return "\n".join([*(line for line in lines if line), *more]) or ("boxes alone" if traces else "no trace")


def _moment(record: Record, outcome: Outcome) -> float:
    """A time at which as much as possible is to be seen: within the first true trace, else the first claimed one."""
    for trace in (*record.traces, *claimed(outcome)):
        if trace.bbox_xyxy is not None or trace.track is not None:
            onset = trace.onset_seconds or 0.0
            offset = trace.offset_seconds if trace.offset_seconds is not None else onset + 0.5
            return (onset + min(offset, onset + 1.0)) / 2
    return 0.0


def _write_picture(path: Path, record: Record, outcome: Outcome, root: Path, moment: float) -> None:
    source = resolve(root, record)
    judged = outcome.origin.sha256
    if judged is not None and (stamp := file_stamp(source)) is not None and stamp["sha256"] != judged:
        raise RecordError("path", f"{record.path!r} is not the file that was judged: it was replaced since")
    try:
        frames = sample_frames(source, fps=1.0, start_seconds=moment, max_frames=1, short_side=SHORT_SIDE)
    except VideoError:  # a moment behind the end: a trace may be said to last longer than the video
        frames = sample_frames(source, fps=1.0, max_frames=1, short_side=SHORT_SIDE)
    image, time = frames.images[0], float(frames.pts_seconds[0])
    left = draw(image, [_trace_at(trace, time, moment) for trace in record.traces], time, label="PEOPLE")
    label = chip_text(outcome) if isinstance(outcome, Verdict) else _outcome_word(outcome).upper()
    right = draw(image, [_trace_at(trace, time, moment) for trace in claimed(outcome)], time, label=label)
    gap = np.full((image.shape[0], 6, 3), 255, np.uint8)
    write_jpeg(path, np.concatenate([left, gap, right], 1))


def _trace_at(trace: Trace, time: float, moment: float) -> Trace:
    """The trace, visible on this frame: the frame on screen at a moment can be a little earlier than its onset."""
    if trace.onset_seconds is not None and time < trace.onset_seconds <= moment:
        return replace(trace, onset_seconds=time)
    return trace
