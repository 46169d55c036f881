"""What people read of an outcome: its conclusion in words, one sentence of what was seen, and what would make it wrong.

The table, the page and the pictures all take their words from here. Knows outcomes; knows nothing of files or pages.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import PurePath
from typing import Final, Literal, get_args

from deeptrace.categories import FACTS
from deeptrace.errors import VideoCode
from deeptrace.pages.words import place_words
from deeptrace.records import Failed, Highlight, Outcome, Trace, Unparsed, Verdict

__all__ = [
    "STATUSES",
    "Status",
    "chip_text",
    "conclusion_words",
    "count_words",
    "distinct_names",
    "doubt",
    "findings",
    "highlight_words",
    "prior_words",
    "sentence",
    "status_of",
    "threshold_words",
    "time_words",
    "trace_name",
]

Status = Literal["fake", "uncertain", "real", "unparsed", "failed"]
STATUSES: Final[tuple[Status, ...]] = get_args(Status)
"""Every outcome is exactly one of these, so that their counts add up to the clips."""

GENERATED_FROM: Final = 0.5
"""From this P(the whole clip is generated) on, a verdict without a trace is explained by the clip as a whole."""

LOOKS_THE_SAME: Final = "would look the same"
"""How the models that ship end an explanation: with what is honest and looks like the trace."""


def status_of(outcome: Outcome) -> Status:
    """Which of the five an outcome is: the conclusion of a verdict, or why there is none."""
    match outcome:
        case Verdict(conclusion=conclusion):
            return conclusion
        case Unparsed():
            return "unparsed"
        case Failed():
            return "failed"


def conclusion_words(outcome: Outcome) -> str:
    """The outcome in a few words: "fake", "uncertain (leans fake)", "uncertain (leans real)", "real", "failed" ..."""
    status = status_of(outcome)
    return f"uncertain (leans {outcome.label})" if isinstance(outcome, Verdict) and outcome.uncertain else status


def chip_text(verdict: Verdict) -> str:
    """The conclusion and P(fake), for example ``FAKE 0.87`` or ``UNCERTAIN (leans fake) 0.55``."""
    words = verdict.label.upper() if not verdict.uncertain else f"UNCERTAIN (leans {verdict.label})"
    return words + ("" if verdict.p_fake is None else f" {verdict.p_fake:.2f}")


def count_words(outcomes: Iterable[Outcome]) -> str:
    """How many there are of each, for example "5 videos: 2 fake, 1 uncertain, 2 real; 1 read only in part"."""
    outcome_list = list(outcomes)
    counts = Counter(map(status_of, outcome_list))
    parts = [f"{counts[status]} {status}" for status in STATUSES if counts[status] or status in ("fake", "real")]
    partial = sum(outcome.origin.partial for outcome in outcome_list if isinstance(outcome, Verdict))
    end = f"; {partial} read only in part" if partial else ""
    return f"{counted(len(outcome_list), 'video')}: {', '.join(parts)}{end}"


def counted(n: int, noun: str) -> str:
    """A count and its noun, with an s where it needs one."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


# ── one outcome ─────────────────────────────────────────────────────────────────────────────────────────────────────


def sentence(outcome: Outcome) -> str:
    """The outcome in one sentence, for example "Looks fake: from 2.0 s to 4.0 s, centre left, a red ball vanishes."."""
    match outcome:
        case Failed(code=code):
            what = "the video could not be read" if code in get_args(VideoCode) else "the model could not be run"
            return f"Not inspected: {what}."
        case Unparsed():
            return "The model answered, but its answer could not be understood."
        case Verdict(label="real", uncertain=uncertain, traces=traces):
            if traces:
                return f"Called real, although {counted(len(traces), 'trace')} of fakery came with the answer."
            return (
                "Leans real, but the evidence supports neither answer."
                if uncertain
                else "Looks real: no fake trace found."
            )
        case Verdict(uncertain=uncertain, traces=traces):
            start = "Leans fake, but the evidence supports neither answer" if uncertain else "Looks fake"
            return f"{start}{_reasons(outcome)}"


def findings(outcome: Outcome) -> str:
    """What was seen, where and when, or why there is no verdict; does not repeat the conclusion."""
    match outcome:
        case Failed(code=code, reason=reason):
            return f"{code}: {reason}"
        case Unparsed(reason=reason):
            return reason
        case Verdict():
            text = _reasons(outcome).lstrip(":; ") if outcome.traces or outcome.label == "fake" else "no trace found."
            return text[:1].upper() + text[1:] if text != "." else ""


def _reasons(verdict: Verdict) -> str:
    """What speaks for a verdict, as the end of a sentence, with what it is joined by."""
    if not verdict.traces:
        if verdict.p_generated is None or verdict.p_generated < GENERATED_FROM:
            return "; no trace was pointed out."
        most = f", most {highlight_words(verdict.highlights[0])}" if verdict.highlights else ""
        return f": the clip as a whole looks generated{most}."
    lead = max(verdict.traces, key=lambda trace: trace.confidence or 0.0)
    details = ", ".join(part for part in _parts(lead) if part)
    more = f" And {counted(len(verdict.traces) - 1, 'more trace')}." if len(verdict.traces) > 1 else ""
    return (f": {details}." if details else ".") + more


def _parts(trace: Trace) -> tuple[str, ...]:
    """When, where and what. An explanation names the place itself, as far as its writer thought it worth saying."""
    if trace.explanation and trace.explanation.strip():
        return time_words(trace), _clause(trace.explanation)
    box = trace.bbox_xyxy or (trace.track[0].bbox_xyxy if trace.track else None)
    meaning = FACTS[trace.categories[0]].meaning if trace.categories else ""
    return time_words(trace), place_words(box) if box else "", meaning


def _clause(text: str, limit: int = 180) -> str:
    """An explanation as the end of a sentence: one line, not too long, no capital at its start, no full stop."""
    line = " ".join(text.split())
    if line.rstrip(".").endswith(LOOKS_THE_SAME):  # `doubt` says what would
        line = line.rpartition("; ")[0] or line
    if len(line) > limit:
        end = line.find(". ", 0, limit)
        line = line[:end] if end > 0 else line[:limit].rstrip() + "…"
    line = line.rstrip(".")
    capital = len(line) > 1 and line[0].isupper() and line[1:2].islower()
    return line[0].lower() + line[1:] if capital or line[:2] in ("A ",) else line


def highlight_words(highlight: Highlight) -> str:
    """When and where a part of a video that spoke for "fake" lies: "from 2.0 s to 3.0 s, at the centre"."""
    when = f"from {_seconds(highlight.start_seconds)} to {_seconds(highlight.end_seconds)}"
    return when if highlight.bbox_xyxy is None else f"{when}, {place_words(highlight.bbox_xyxy)}"


def doubt(outcome: Outcome) -> str:
    """What would make the verdict wrong, in one sentence; empty where there is no verdict."""
    if not isinstance(outcome, Verdict):
        return ""
    if outcome.uncertain:
        return "The evidence lies between the two thresholds: a longer or sharper copy could settle it, either way."
    if outcome.label == "real":
        return "Wrong if a trace is smaller, shorter or of another kind than this model can see."
    if outcome.traces:
        lead = max(outcome.traces, key=lambda trace: trace.confidence or 0.0)
        unsaid = "there is an honest reason for what is seen there"
        reason = FACTS[lead.categories[0]].doubt if lead.categories else unsaid
        return f"Wrong if {reason}."
    return (
        "Wrong if the clip is drawn, filmed from a screen, filtered or compressed hard: such clips can look generated."
    )


def time_words(trace: Trace) -> str:
    """When the trace is visible, in words; empty where nothing is said."""
    onset, offset = trace.onset_seconds, trace.offset_seconds
    if onset is None:
        return "" if offset is None else f"until {_seconds(offset)}"
    return f"from {_seconds(onset)} " + ("on" if offset is None else f"to {_seconds(offset)}")


def _seconds(value: float) -> str:
    text = f"{value:.2f}"
    return f"{text[:-1] if text.endswith('0') else text} s"


def trace_name(trace: Trace) -> str:
    """The trace's categories, joined; "Trace" where none is said."""
    return ", ".join(trace.categories) if trace.categories else "Trace"


# ── a whole run ─────────────────────────────────────────────────────────────────────────────────────────────────────


def threshold_words(outcomes: Iterable[Outcome]) -> str | None:
    """Where fake begins and real ends, said once for a run; None where no verdict has thresholds."""
    pairs = dict.fromkeys(
        outcome.thresholds for outcome in outcomes if isinstance(outcome, Verdict) and outcome.thresholds is not None
    )
    return "; ".join(f"fake from P(fake) {high:.2f} on, real below {low:.2f}" for low, high in pairs) or None


def prior_words(outcomes: Iterable[Outcome]) -> str | None:
    """Which share of fakes is supposed, said once for a run; None where no verdict supposes one."""
    priors = dict.fromkeys(
        outcome.prior for outcome in outcomes if isinstance(outcome, Verdict) and outcome.prior is not None
    )
    return "; ".join(f"supposing that {100 * prior:g} % of the clips are fake" for prior in priors) or None


def distinct_names(paths: Sequence[str]) -> list[str]:
    """A name for each path: its last part, with as many folders before it as tell files of one name apart."""
    parts = [PurePath(path).parts or (path,) for path in paths]
    depth = [1] * len(paths)
    while True:
        names = [
            "/".join(path_parts[-length:]).replace("//", "/") for path_parts, length in zip(parts, depth, strict=True)
        ]
        by_name: dict[str, list[int]] = {}
        for index, name in enumerate(names):
            by_name.setdefault(name, []).append(index)
        again = [
            index
            for shared in by_name.values()
            if len({parts[i] for i in shared}) > 1
            for index in shared
            if depth[index] < len(parts[index])
        ]
        if not again:
            return names
        for index in again:
            depth[index] += 1
