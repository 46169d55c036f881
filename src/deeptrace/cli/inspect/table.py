"""Outcomes for people and spreadsheets: a table with one row a video, what it means, and CSV."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from rich.table import Table
from rich.text import Text

from deeptrace.characters import visible
from deeptrace.cli.show import Terminal
from deeptrace.pages.sentences import (
    conclusion_words,
    count_words,
    distinct_names,
    doubt,
    findings,
    prior_words,
    status_of,
    threshold_words,
)
from deeptrace.records import Failed, Outcome, Trace, Unparsed, Verdict

_STYLES: Final = {"fake": "bold red", "real": "bold green"}


def print_table(paths: Sequence[str], outcomes: Sequence[Outcome], visibility: Sequence[bool], about: str) -> None:
    """A row a video that is shown: outcome, P(fake), what was seen; then the counts of all, and what they mean."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("video", overflow="fold", max_width=36)
    table.add_column("outcome", no_wrap=True)
    table.add_column("P(fake)", justify="right", no_wrap=True)
    table.add_column("what was seen", overflow="fold")
    for name, outcome, is_shown in zip(distinct_names(paths), outcomes, visibility, strict=True):
        if is_shown:
            p_fake = outcome.p_fake if isinstance(outcome, Verdict) else None
            number = "-" if p_fake is None else f"{p_fake:.2f}"
            table.add_row(Text(visible(name)), _outcome_text(outcome), number, _findings_text(outcome))
    console = Terminal()
    if table.row_count:
        console.print(table)
    hidden = visibility.count(False)
    end = f" ({len(visibility) - hidden} shown)" if hidden else ""
    console.print(Text(count_words(outcomes) + end, "bold"))
    visible_outcomes = [outcome for outcome, is_shown in zip(outcomes, visibility, strict=True) if is_shown]
    for line in [*_legend(visible_outcomes), about]:
        console.print(Text(visible(line), "dim"))


def _outcome_text(outcome: Outcome) -> Text:
    status = status_of(outcome)
    words = conclusion_words(outcome)
    text = Text(words.replace(status, status.upper(), 1), _STYLES.get(status, "yellow"))
    if outcome.origin.partial:
        text.append(" partial", "yellow")
    return text


def _findings_text(outcome: Outcome) -> Text:
    lines = [findings(outcome)]
    if isinstance(outcome, Verdict):
        if status_of(outcome) == "fake":
            lines.append(doubt(outcome))
        if outcome.origin.partial:
            origin = outcome.origin
            lines.append(f"Read only in part: {origin.frames_decoded} of {origin.frames_declared or '?'} frames.")
        if outcome.flags:
            lines.append(f"Flags: {', '.join(outcome.flags)}.")
    return Text(visible("\n".join(line for line in lines if line)))


def _legend(outcomes: Sequence[Outcome]) -> list[str]:
    """What holds for all rows alike, said once."""
    lines = [line for line in (threshold_words(outcomes), prior_words(outcomes)) if line]
    for status in ("uncertain", "real"):
        if (first := next((outcome for outcome in outcomes if status_of(outcome) == status), None)) is not None:
            lines.append(f"{status}: {doubt(first)}")
    return lines


# ── CSV ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

CSV_FIELDS: Final = (
    "path", "outcome", "leans", "p_fake", "threshold_low", "threshold_high", "seen", "onset_seconds", "offset_seconds",
    "categories", "x0", "y0", "x1", "y1", "traces", "flags", "partial", "doubt", "model", "revision", "sha256", "code",
    "reason",
)  # fmt: skip
"""The columns of ``--csv``; onset to y1 are of the trace with the highest confidence."""


def csv_values(outcome: Outcome) -> list[Any]:
    """The values of one outcome, in the order of `CSV_FIELDS`; what is absent is empty."""
    row: dict[str, Any] = dict.fromkeys(CSV_FIELDS, "")
    origin = outcome.origin
    row.update(path=origin.path, outcome=status_of(outcome), partial=str(origin.partial).lower())
    row.update(model=origin.model, revision=origin.revision, sha256=origin.sha256)
    match outcome:
        case Verdict():
            low, high = outcome.thresholds or (None, None)
            row.update(leans=outcome.label, p_fake=outcome.p_fake, threshold_low=low, threshold_high=high)
            row.update(seen=findings(outcome), doubt=doubt(outcome), flags="; ".join(outcome.flags))
            row.update(traces=len(outcome.traces), **_lead_values(outcome.traces))
        case Unparsed(reason=reason):
            row.update(reason=reason)
        case Failed(code=code, reason=reason):
            row.update(code=code, reason=reason)
    return [visible(value) if isinstance(value, str) else value for value in row.values()]


def _lead_values(traces: Sequence[Trace]) -> dict[str, Any]:
    if not traces:
        return {}
    lead = max(traces, key=lambda trace: trace.confidence or 0.0)
    box = lead.bbox_xyxy or ("", "", "", "")
    return {
        "onset_seconds": lead.onset_seconds,
        "offset_seconds": lead.offset_seconds,
        "categories": "; ".join(lead.categories or ()),
        **dict(zip(("x0", "y0", "x1", "y1"), box, strict=True)),
    }
