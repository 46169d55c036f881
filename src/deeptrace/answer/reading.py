"""Reading answers: which label was chosen, and the traces behind it, in whichever form the model wrote."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from deeptrace.answer.formats import AnswerFormat, Format, known_format
from deeptrace.answer.in_text import read_sentences, read_tags
from deeptrace.answer.json_answer import JsonAnswer, read_json
from deeptrace.answer.labels import (
    BOTH,
    NOTHING,
    OFFERED,
    NoLabel,
    disagrees,
    label_at_start,
    label_in_prose,
    label_in_value,
)
from deeptrace.answer.space import Space
from deeptrace.answer.values import (
    EXPLANATION_DISAGREES,
    FAKE_WITHOUT_PLACE,
    NOT_SAID,
    P_FAKE_DISAGREES,
    P_FAKE_INVALID,
    REAL_WITH_TRACE,
    RawTrace,
    read_probability,
)
from deeptrace.records import Label, Trace, Unparsed, Verdict

MAX_ANSWER_CHARACTERS: Final = 1_000_000
"""Longer answers are Unparsed. The paper's answers stay under a thousand characters."""


@dataclass(frozen=True)
class _Read:
    """An answer, understood but not believed: the label and what else it says."""

    label: Label
    traces: list[RawTrace]
    p_fake: Any = NOT_SAID
    lists_nothing: bool = False


def parse(text: str, format: Format, space: Space) -> Verdict | Unparsed:
    """What an answer says: a `Verdict` with its traces in fractions and seconds, or `Unparsed` with the reason.

    The space is the one that the question asked for. ``flags`` of the verdict tell what was dropped and what
    contradicts itself; see the constants of `deeptrace.answer`. An answer that ignores its format but keeps another's
    is read all the same. A stated P(fake) becomes ``p_fake``. Time is linear in the length; no text raises.

    Raises:
        AnswerError: the format does not exist.
    """
    known = known_format(format)
    if len(text) > MAX_ANSWER_CHARACTERS:
        return Unparsed(f"longer than {MAX_ANSWER_CHARACTERS} characters", text[:MAX_ANSWER_CHARACTERS])
    if not text.strip():
        return Unparsed("empty", text)
    body = text
    if "<" in text or "◁" in text:
        answer = _after_reasoning(text)
        if answer is None:
            return Unparsed("the reasoning was cut off before an answer", text)
        body = _in_answer_tags(answer)
        if not body.strip():
            return Unparsed("nothing follows the reasoning", text)
    read = _read(body, known)
    return Unparsed(read.reason, text) if isinstance(read, NoLabel) else _verdict(read, known, space, text)


def _verdict(read: _Read, format: AnswerFormat, space: Space, text: str) -> Verdict:
    flags: list[str] = []
    traces = tuple(trace for trace in (raw.check(space, flags) for raw in read.traces) if _says_something(trace))
    located = any(trace.bbox_xyxy is not None or trace.onset_seconds is not None for trace in traces)
    reasons = [trace.explanation for trace in traces if trace.explanation is not None]
    if read.label == "real":
        # Words alone are the reason why it is real, and stay in the text; what points somewhere is a trace.
        traces = tuple(trace for trace in traces if trace != Trace(explanation=trace.explanation))
        if traces:
            flags.append(REAL_WITH_TRACE)
    elif not located and format.fields & {"box", "onset"} and _says_no_place(read):
        flags.append(FAKE_WITHOUT_PLACE)
    if any(disagrees(reason, read.label) for reason in reasons):
        flags.append(EXPLANATION_DISAGREES)
    p_fake = None
    if read.p_fake is not NOT_SAID and read.p_fake is not None:
        p_fake = read_probability(read.p_fake)
        if p_fake is None:
            flags.append(P_FAKE_INVALID)
        elif (p_fake > 0.5) != (read.label == "fake") and p_fake != 0.5:
            flags.append(P_FAKE_DISAGREES)
    return Verdict(
        read.label, p_fake=p_fake, p_fake_raw=p_fake, traces=traces, flags=tuple(dict.fromkeys(flags)), text=text
    )


def _says_something(trace: Trace) -> bool:
    return any(
        value is not None
        for value in (
            trace.bbox_xyxy, trace.onset_seconds, trace.offset_seconds, trace.categories, trace.explanation,
        )
    )  # fmt: skip


def _says_no_place(read: _Read) -> bool:
    return read.lists_nothing or any(raw.says_no_place for raw in read.traces)


def _read(body: str, format: AnswerFormat) -> _Read | NoLabel:
    """What an answer says, or why it says nothing."""
    start = label_at_start(body)
    if start is None and "```" in body:
        body = _without_fence(body)
        start = label_at_start(body)
    if start is not None and not isinstance(start[0], NoLabel):
        return _behind_label(start[0], start[1], format)
    json = read_json(body) if "{" in body or body.lstrip()[:1] == '"' else None
    if json is not None:
        in_json = _label_in_json(json)
        if not isinstance(in_json, NoLabel):
            return _Read(in_json, json.traces, json.p_fake, json.lists_nothing)
        if json.speaks_of_label:
            return in_json
    if start is not None:
        return OFFERED
    said = label_in_prose(body)
    return said if isinstance(said, NoLabel) else _behind_label(said, body, format)


def _behind_label(label: Label, text: str, format: AnswerFormat) -> _Read | NoLabel:
    """A label that words chose, with the traces in the text behind it, in whichever form there are any."""
    if _BEGINS_WITH_JSON.match(text) and (json := read_json(text)) is not None:
        in_json = _label_in_json(json)
        if not isinstance(in_json, NoLabel) and in_json != label:
            return BOTH
        return _Read(label, json.traces, json.p_fake, json.lists_nothing)
    first, second = (read_sentences, read_tags) if format.form == "trained" else (read_tags, read_sentences)
    return _Read(label, first(text) or second(text))


def _label_in_json(json: JsonAnswer) -> Label | NoLabel:
    """The label that was chosen in JSON, in all places where it speaks of one."""
    said = [label_in_value(value) for value in json.labels if isinstance(value, str)]
    chosen: set[Label] = {label for label in said if not isinstance(label, NoLabel)}
    chosen.update("fake" if fact else "real" for fact in json.facts)
    if len(chosen) == 1:
        return chosen.pop()
    if chosen or BOTH in said:
        return BOTH
    return OFFERED if OFFERED in said else NOTHING


# ── what stands round an answer ─────────────────────────────────────────────────────────────────────────────────────

_BEGINS_WITH_JSON: Final = re.compile(r"[\s.,:;*\"'`)\]]*+(?:json)?\s*+(?:\{|\[\s*+\{)")
_REASONING: Final = re.compile(r"(?:<|◁)(/?)(?:think|thinking)(?:>|▷)", re.IGNORECASE)
_ANSWER_TAG: Final = re.compile(r"<(/?)answer>", re.IGNORECASE)


def _after_reasoning(text: str) -> str | None:
    """The text behind the end of the reasoning; None when the reasoning never ended."""
    last = None
    for last in _REASONING.finditer(text):  # noqa: B007 - the last one counts
        pass
    if last is None:
        return text
    return text[last.end() :] if last[1] else None


def _in_answer_tags(text: str) -> str:
    """What stands in the last ``<answer>``; the text itself where there is none."""
    opening = None
    for tag in _ANSWER_TAG.finditer(text):
        if not tag[1]:
            opening = tag
    if opening is None:
        return text
    closing = _ANSWER_TAG.search(text, opening.end())
    return text[opening.end() : closing.start() if closing else len(text)]


def _without_fence(text: str) -> str:
    stripped = text.strip()
    if not stripped.startswith("```"):
        return text
    first_line, _, body = stripped.partition("\n")
    return (body or first_line.strip("`")).removesuffix("```")
