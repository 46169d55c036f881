"""Traces in the words of an answer: the trained answer's sentences, the zero-shot answer's tags."""

from __future__ import annotations

import re
from typing import Any, Final

from deeptrace.answer.values import NOT_SAID, RawTrace

# One trace in the trained answer's words. Every gap is bounded, so that matching stays linear.
_PART: Final = re.compile(
    r"The unnatural parts? (?:is|are)"
    r"(?:\s{1,3}at\s{0,3}(?P<box>[\[(][^\])\n]{0,200}[\])]))?"
    r"(?:,?\s{0,3}starting(?:\s{1,3}at)?\s{1,3}(?P<onset>[\d:.+-]{1,20})\s{0,3}(?:seconds?|s)?)?"
    r"\s{0,3}\.?",
    re.IGNORECASE,
)
_CATEGORY: Final = re.compile(r"\s{0,3}The category is (?P<category>[^.\n]{1,300})\.?", re.IGNORECASE)
_REASON: Final = re.compile(r"\s{0,3}The reason is (?:because|that)[ \t]?", re.IGNORECASE)
_OPENING: Final = re.compile(
    r"The unnatural parts? (?:is|are)|The category is|The reason is (?:because|that)", re.IGNORECASE
)


def read_sentences(text: str) -> list[RawTrace]:
    """Traces in the trained answer's sentences. A line that opens no trace continues the explanation before it."""
    if _OPENING.search(text) is None:
        return []
    traces: list[RawTrace] = []
    continued: list[list[str]] = []  # the lines of each trace's explanation
    for number, line in enumerate(text.split("\n")):
        # Only the first line has words before its trace ("The video is AI-generated."); elsewhere a trace begins one,
        # so that an explanation may quote the sentence without opening a trace.
        opening = _OPENING.search(line) if number == 0 else _OPENING.match(line.lstrip())
        if opening is None:
            if traces and line.strip():
                continued[-1].append(line)
            continue
        here = line[opening.start() :] if number == 0 else line.lstrip()
        trace, lines = RawTrace(), []
        if (part := _PART.match(here)) is not None:
            trace.box, trace.onset = _or_not_said(part["box"]), _or_not_said(part["onset"])
            here = here[part.end() :]
        if (category := _CATEGORY.match(here)) is not None:
            trace.category = category["category"]
            here = here[category.end() :]
        if (reason := _REASON.match(here)) is not None:
            lines.append(here[reason.end() :])
        traces.append(trace)
        continued.append(lines)
    for trace, lines in zip(traces, continued, strict=True):
        trace.explanation = " ".join(lines) if lines else NOT_SAID
    return traces


def _or_not_said(value: str | None) -> Any:
    return NOT_SAID if value is None else value


_TAG: Final = re.compile(r"<(/?)(coordinates|start_time|category|explanation)>", re.IGNORECASE | re.ASCII)
_FIELD: Final = {"coordinates": "box", "start_time": "onset", "category": "category", "explanation": "explanation"}


def read_tags(text: str) -> list[RawTrace]:
    """Traces in the zero-shot answer's tags. A tag seen before opens the next trace; a tag cut off runs to the end."""
    traces: list[RawTrace] = []
    tags = list(_TAG.finditer(text)) if "<" in text else []
    for index, tag in enumerate(tags):
        if tag[1]:
            continue
        end = tags[index + 1].start() if index + 1 < len(tags) else len(text)
        name = _FIELD[tag[2].lower()]
        if not traces or getattr(traces[-1], name) is not NOT_SAID:
            traces.append(RawTrace())
        setattr(traces[-1], name, text[tag.end() : end])
    return traces
