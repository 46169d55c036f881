"""Reading answers: which label was chosen, and the traces behind it, in whichever form the model wrote."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from deeptrace.answer.formats import AnswerFormat, Format, known_format
from deeptrace.answer.in_text import InText, read_place, readers
from deeptrace.answer.json_answer import JsonAnswer, read_json
from deeptrace.answer.labels import (
    BOTH,
    NOTHING,
    OFFERED,
    NoLabel,
    boxed_label,
    disagrees,
    is_filler,
    label_at_start,
    label_in_prose,
    label_in_value,
    unboxed,
    without_tokens,
)
from deeptrace.answer.space import Space
from deeptrace.answer.values import (
    EXPLANATION_DISAGREES,
    FAKE_WITHOUT_PLACE,
    KEYS_UNREAD,
    NOT_SAID,
    P_FAKE_DISAGREES,
    P_FAKE_INVALID,
    REAL_WITH_TRACE,
    TEXT_UNREAD,
    TRACE_EMPTY,
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
    flags: tuple[str, ...] = ()


CUT_OFF: Final = "the answer was cut off at the limit of its length"
"""The reason of the `Unparsed` that an answer is which the token limit ended; see `parse`."""


def parse(text: str, format: Format, space: Space, *, ended: bool = True) -> Verdict | Unparsed:
    """What an answer says: a `Verdict` with its traces in fractions and seconds, or `Unparsed` with the reason.

    The space is the one that the question asked for. ``flags`` of the verdict tell what was dropped and what
    contradicts itself; see the constants of `deeptrace.answer`. An answer that ignores its format but keeps another's
    is read all the same. A stated P(fake) becomes ``p_fake``. Time is linear in the length; no text raises.

    ``ended``: whether the model ended the answer itself. One that the token limit cut off is `Unparsed` with the reason
    `CUT_OFF`, whatever stands in it: inference, training's measurement and rewards all ask here, so that they agree.

    Raises:
        AnswerError: the format does not exist.
    """
    answer_format = known_format(format)
    if not ended:
        return Unparsed(CUT_OFF, text[:MAX_ANSWER_CHARACTERS])
    if len(text) > MAX_ANSWER_CHARACTERS:
        return Unparsed(f"longer than {MAX_ANSWER_CHARACTERS} characters", text[:MAX_ANSWER_CHARACTERS])
    if not text.strip():
        return Unparsed("empty", text)
    body = without_tokens(text)
    if "<" in body or "◁" in body:
        answer = _after_reasoning(body)
        if answer is None:
            return Unparsed("the reasoning was cut off before an answer", text)
        body = _in_answer_tags(answer)
        if not body.strip():
            return Unparsed("nothing follows the reasoning", text)
    outcome = _read(body, answer_format)
    return (
        Unparsed(outcome.reason, text)
        if isinstance(outcome, NoLabel)
        else _verdict(outcome, answer_format, space, text)
    )


def _verdict(raw_answer: _Read, format: AnswerFormat, space: Space, text: str) -> Verdict:
    flags: list[str] = []
    traces = _checked(raw_answer, space, flags)
    located = any(trace.bbox_xyxy is not None or trace.onset_seconds is not None for trace in traces)
    reasons = [trace.explanation for trace in traces if trace.explanation is not None]
    if raw_answer.label == "real":
        # Words alone are the reason why it is real, and stay in the text; what points somewhere is a trace.
        traces = tuple(trace for trace in traces if trace != Trace(explanation=trace.explanation))
        if traces:
            flags.append(REAL_WITH_TRACE)
    elif not located and format.fields & {"box", "onset"} and _says_no_place(raw_answer):
        flags.append(FAKE_WITHOUT_PLACE)
    elif not traces and not flags and raw_answer.traces:
        flags.append(TRACE_EMPTY)
    if any(disagrees(reason, raw_answer.label) for reason in reasons):
        flags.append(EXPLANATION_DISAGREES)
    p_fake = None
    if raw_answer.p_fake is not NOT_SAID and raw_answer.p_fake is not None:
        p_fake = read_probability(raw_answer.p_fake)
        if p_fake is None:
            flags.append(P_FAKE_INVALID)
        elif (p_fake > 0.5) != (raw_answer.label == "fake") and p_fake != 0.5:
            flags.append(P_FAKE_DISAGREES)
    return Verdict(
        raw_answer.label, p_fake=p_fake, p_fake_raw=p_fake, traces=traces, flags=tuple(dict.fromkeys(flags)), text=text
    )


def _checked(raw_answer: _Read, space: Space, flags: list[str]) -> tuple[Trace, ...]:
    """The traces of which something is left. One of which nothing is left is flagged, by what was wrong or as empty."""
    traces = []
    for raw in raw_answer.traces:
        before = len(flags)
        trace = raw.check(space, flags)
        if _says_something(trace):
            traces.append(trace)
        elif len(flags) == before and not raw.is_null:
            flags.append(TRACE_EMPTY)
    flags += raw_answer.flags
    return tuple(traces)


def _says_something(trace: Trace) -> bool:
    return any(
        value is not None
        for value in (
            trace.bbox_xyxy, trace.onset_seconds, trace.offset_seconds, trace.categories, trace.explanation,
        )
    )  # fmt: skip


def _says_no_place(raw_answer: _Read) -> bool:
    return raw_answer.lists_nothing or any(raw.says_no_place for raw in raw_answer.traces)


def _read(body: str, format: AnswerFormat) -> _Read | NoLabel:
    """What an answer says, or why it says nothing."""
    label_and_rest = boxed_label(body)
    if label_and_rest is not None:
        return (
            label_and_rest[0]
            if isinstance(label_and_rest[0], NoLabel)
            else _behind_label(label_and_rest[0], label_and_rest[1], format)
        )
    body = unboxed(body) if "\\" in body or "<|" in body else body
    start = label_at_start(body)
    if start is None and "```" in body:
        body = _without_fence(body)
        start = label_at_start(body)
    if start is not None and not isinstance(start[0], NoLabel):
        return _behind_label(start[0], start[1], format, at_start=True)
    json = read_json(body) if "{" in body or body.lstrip()[:1] == '"' else None
    if json is not None:
        in_json = _label_in_json(json)
        if not isinstance(in_json, NoLabel):
            return _from_json(in_json, json, body)
        if json.speaks_of_label:
            return in_json
    if start is not None:
        return OFFERED
    label = label_in_prose(body)
    return label if isinstance(label, NoLabel) else _behind_label(label, body, format)


def _from_json(label: Label, json: JsonAnswer, text: str) -> _Read:
    """What JSON says, with flags for keys and for words round it that became no field."""
    words, at = [], 0
    for start, end in json.spans:
        words.append(text[at:start])
        at = end
    words.append(text[at:])
    flags = [TRACE_EMPTY] * bool(json.empty_traces) + [KEYS_UNREAD] * bool(json.unread)
    if label == "fake" and not all(map(is_filler, words)):
        flags.append(TEXT_UNREAD)
    return _Read(label, json.traces, json.p_fake, json.lists_nothing, tuple(flags))


def _behind_label(label: Label, text: str, format: AnswerFormat, *, at_start: bool = False) -> _Read | NoLabel:
    """A label that words chose, with the traces in the text behind it, in whichever form there are any."""
    if _BEGINS_WITH_JSON.match(text) and (json := read_json(text)) is not None:
        in_json = _label_in_json(json)
        if not isinstance(in_json, NoLabel) and in_json != label:
            return BOTH
        return _from_json(label, json, text)
    in_text = InText(unread=[text])
    for reader in readers(trained=format.form == "trained"):
        one = reader(text)
        if one.traces and all(map(is_filler, one.unread)):  # it reads all
            return _Read(label, one.traces)
        in_text = in_text if in_text.traces else one
    if at_start and not in_text.traces:
        in_text = read_place(text)
    # Why a video is real is a matter for words, which stay in the verdict's text.
    has_unread = label == "fake" and not all(map(is_filler, in_text.unread))
    return _Read(label, in_text.traces, flags=(TEXT_UNREAD,) * has_unread)


def _label_in_json(json: JsonAnswer) -> Label | NoLabel:
    """The label that was chosen in JSON, in all places where it speaks of one."""
    labels = [label_in_value(value) for value in json.labels if isinstance(value, str)]
    choices: set[Label] = {label for label in labels if not isinstance(label, NoLabel)}
    choices.update("fake" if fact else "real" for fact in json.facts)
    if len(choices) == 1:
        return choices.pop()
    if choices or BOTH in labels:
        return BOTH
    return OFFERED if OFFERED in labels else NOTHING


# ── what stands round an answer ─────────────────────────────────────────────────────────────────────────────────────

_BEGINS_WITH_JSON: Final = re.compile(r"[\s.,:;*\"'`)\]]*+(?:json)?\s*+(?:\{|\[\s*+\{)")
_REASONING: Final = re.compile(r"(?:<|◁)(/?)(?:think|thinking)(?:>|▷)", re.IGNORECASE)
_ANSWER_TAG: Final = re.compile(r"<(/?)(?:final_)?(?:answer|output|response)>", re.IGNORECASE)


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
    inside = text[opening.end() : closing.start() if closing else len(text)]
    behind = "" if closing is None else text[closing.end() :]
    # "<answer>FAKE</answer> <coordinates>...": an answer that holds the label alone goes on behind its tag.
    alone = label_at_start(unboxed(inside))
    return f"{inside}\n{behind}" if alone is not None and not alone[1].strip(" .*`'\"\n") else inside


def _without_fence(text: str) -> str:
    stripped = text.strip()
    if not stripped.startswith("```"):
        return text
    first_line, _, body = stripped.partition("\n")
    return (body or first_line.strip("`")).removesuffix("```")
