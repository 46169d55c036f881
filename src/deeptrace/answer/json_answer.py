"""Answers written as JSON: which labels are chosen in it, which probability is stated, which traces it lists."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from deeptrace.answer.fields import MILLISECONDS, Y_FIRST_NAMES, field_named, plain_name, words_of
from deeptrace.answer.loose_json import Repeated, read_value
from deeptrace.answer.values import NOT_SAID, RawTrace, read_categories

_MOST_OBJECTS: Final = 200
_MOST_TRACES: Final = 1000
_DEEPEST: Final = 4

# Names of keys, in lower case without anything but letters and digits.
_LABEL: Final = frozenset(
    {"label", "verdict", "answer", "finalanswer", "classification", "prediction", "decision", "conclusion", "result"}
)
_FAKE_IF_TRUE: Final = frozenset({"fake", "isfake", "aigenerated", "isaigenerated", "isgenerated"})
_REAL_IF_TRUE: Final = frozenset({"real", "isreal", "authentic", "isauthentic"})
_P_FAKE: Final = frozenset(
    {"fakeprobability", "pfake", "probabilityfake", "probabilityoffake", "fakeprob", "probfake", "fakescore"}
)
_TRACES: Final = frozenset(
    {"traces", "faketraces", "trace", "faketrace", "unnaturalparts", "artifacts", "artefacts", "anomalies", "parts",
     "regions", "detections", "issues"}
)  # fmt: skip
_NAMES_OF_TRACES: Final = frozenset({"label", "name", "title"})
_OPENS: Final = re.compile(r"\[\s{0,20}\{|\{")
_BRACE_MISSING: Final = re.compile(r"\s*+\"[\w ]{1,40}\"\s{0,5}:")


@dataclass
class JsonAnswer:
    """What JSON in an answer says: every value that stands for a label, True or False for a fact, and the traces."""

    labels: list[Any] = field(default_factory=list)
    facts: list[bool] = field(default_factory=list)
    p_fake: Any = NOT_SAID
    traces: list[RawTrace] = field(default_factory=list)
    lists_nothing: bool = False  # it has a list of traces, and that is null or empty
    unread: list[str] = field(default_factory=list)  # keys whose values became no field
    empty_traces: int = 0  # objects in a list of traces that say nothing we know
    spans: list[tuple[int, int]] = field(default_factory=list)  # where in the text it stands

    @property
    def speaks_of_label(self) -> bool:
        """Whether anything in it stands where a label should."""
        return bool(self.labels or self.facts)


def read_json(text: str) -> JsonAnswer | None:
    """What the JSON in a text says, all its objects together; None where there is none that says anything we know."""
    added = 1 if _BRACE_MISSING.match(text) else 0
    text = "{" * added + text
    answer = JsonAnswer()
    at, is_known = 0, False
    for _ in range(_MOST_OBJECTS):
        opening = _OPENS.search(text, at)
        if opening is None:
            break
        value, at = read_value(text, opening.start())
        answer.spans.append((max(0, opening.start() - added), at - added))
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, dict):
                is_known = _take(item, answer, 0) or is_known
            elif item is not None:
                answer.unread.append("an item of a list")
    return answer if is_known else None


class _Reader:
    """An object's keys, each taken once or else left over: what no reader takes is reported by construction."""

    def __init__(self, row: Mapping[str, Any]) -> None:
        self._left = dict(row)

    def __iter__(self) -> Iterator[tuple[str, str, Any]]:
        """Each key, its plain name and its value; `take` those that are read."""
        for key, value in list(self._left.items()):
            yield key, plain_name(key), value

    def take(self, key: str) -> None:
        """The value of this key is read."""
        self._left.pop(key, None)

    def leftovers(self) -> list[str]:
        """The keys that nobody took and that say something."""
        return [key for key, value in self._left.items() if value is not None and value not in ("", [])]


def _take(row: Mapping[str, Any], answer: JsonAnswer, depth: int) -> bool:
    """Add what an object says to the answer; whether it said anything we know."""
    trace, any_known = RawTrace(), False
    reader = _Reader(row)
    for key, name, value in reader:
        is_understood = True
        if field_named(key) is not None or (depth == 0 and not isinstance(value, dict) and _is_odd_place(key)):
            is_understood = _put(trace, key, value)
        elif name in _TRACES and not isinstance(value, str):
            _take_list(value, answer)
        elif name in _P_FAKE:
            answer.p_fake = value
        elif isinstance(value, dict) and depth < _DEEPEST:
            any_known = _take(value, answer, depth + 1) or any_known
            reader.take(key)  # what it holds reports for itself
            continue
        elif name in _LABEL:
            answer.labels += _repeated(value)
        elif name in _FAKE_IF_TRUE or name in _REAL_IF_TRUE:
            facts = [one for one in map(_truth, _repeated(value)) if one is not None]
            answer.facts += [one == (name in _FAKE_IF_TRUE) for one in facts]
            is_understood = bool(facts)
        else:
            is_understood = False
        if is_understood:
            any_known = True
            reader.take(key)
    answer.unread += reader.leftovers()
    if trace == RawTrace(confidence=trace.confidence) and trace.confidence is not NOT_SAID:
        answer.unread.append("confidence")  # of the label: P(fake) has keys of its own
        return any_known
    if depth == 0 and trace != RawTrace():
        _take_flat(trace, answer)
    elif trace != RawTrace():
        answer.traces += _split(trace)
    return any_known


def _is_odd_place(key: str) -> bool:
    return field_named(key, loosely=True) in ("box", "onset", "offset")


def _put(trace: RawTrace, key: str, value: Any) -> bool:
    """Give a trace the value of a key; whether it took it."""
    field_name = field_named(key, loosely=True)
    if field_name is None:
        return False
    if words_of(key) & MILLISECONDS:
        if not isinstance(value, int | float) or isinstance(value, bool):
            return False
        value = value / 1000.0
    if field_named(key) is None and isinstance(value, str) and field_name != "explanation" and not _has_digit(value):
        return False  # "region": "the left hand" is no box
    fits = trace.put(field_name, value)
    if fits and field_name == "box":
        trace.y_first = plain_name(key) in Y_FIRST_NAMES
    return fits


def _has_digit(text: str) -> bool:
    return any(char.isdigit() for char in text)


def _put_category(trace: RawTrace, value: Any) -> bool:
    """Give a trace the category that its name is; whether it is one."""
    categories, unknown = read_categories(value) if isinstance(value, str) else (None, True)
    return categories is not None and not unknown and trace.put("category", value)


def _take_list(value: Any, answer: JsonAnswer) -> None:
    """The traces in a list; a text in it explains one, four numbers are its box."""
    items = _as_list(value)
    nonempty = [item for item in items if item is not None and item not in ({}, "")]
    answer.lists_nothing = answer.lists_nothing or not nonempty
    if len(nonempty) == 4 and all(isinstance(item, int | float) for item in nonempty):
        nonempty = [nonempty]
    for item in nonempty[:_MOST_TRACES]:
        if isinstance(item, dict):
            answer.traces += _traces_of(item, answer)
        elif isinstance(item, str):
            answer.traces.append(RawTrace(explanation=item))
        elif _is_box(item):
            answer.traces.append(RawTrace(box=item))
        else:
            answer.unread.append("an item of the list of traces")
    if len(nonempty) > _MOST_TRACES:
        answer.unread.append(f"traces after {_MOST_TRACES}")


def _traces_of(row: Mapping[str, Any], answer: JsonAnswer) -> Iterator[RawTrace]:
    trace, reader = RawTrace(), _Reader(row)
    # Whole names first: "region" must not take the place of "box".
    for key, _, value in sorted(reader, key=lambda item: field_named(item[0]) is None):
        if _put(trace, key, value) or (plain_name(key) in _NAMES_OF_TRACES and _put_category(trace, value)):
            reader.take(key)
        elif isinstance(value, dict) and len(row) == 1:  # {"trace": {...}}
            reader.take(key)
            yield from _traces_of(value, answer)
            return
    answer.unread += reader.leftovers()
    if trace != RawTrace():
        yield from _split(trace)
    else:
        answer.empty_traces += 1


def _take_flat(trace: RawTrace, answer: JsonAnswer) -> None:
    """A trace that stands beside the label. Words alone, beside traces of their own, explain the first of these."""
    if answer.traces and trace.box is NOT_SAID and trace.onset is NOT_SAID:
        for name in ("explanation", "category", "offset", "confidence"):
            value = getattr(trace, name)
            if value is not NOT_SAID and not answer.traces[0].put(name, value):
                answer.unread.append(name)
        return
    answer.traces += _split(trace)


def _split(trace: RawTrace) -> Iterator[RawTrace]:
    """One trace for each of several boxes in a list."""
    boxes = trace.box
    if isinstance(boxes, list) and len(boxes) > 1 and all(_is_box(item) for item in boxes):
        for box in boxes[:_MOST_TRACES]:
            yield replace(trace, box=box)
    else:
        yield trace


def _is_box(value: object) -> bool:
    """Whether a value in a list of boxes can be one of them, and not the corner of one."""
    return (isinstance(value, dict) and set(value) != {"x", "y"}) or (isinstance(value, list) and len(value) == 4)


def _as_list(value: object) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _repeated(value: object) -> tuple[Any, ...]:
    return value.values if isinstance(value, Repeated) else tuple(_as_list(value))


def _truth(value: object) -> bool | None:
    if isinstance(value, str):
        return {"true": True, "yes": True, "false": False, "no": False}.get(value.strip().lower())
    return value if isinstance(value, bool) else None
