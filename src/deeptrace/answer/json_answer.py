"""Answers written as JSON: which labels are chosen in it, which probability is stated, which traces it lists."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from deeptrace.answer.loose_json import Repeated, read_value
from deeptrace.answer.values import NOT_SAID, RawTrace

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
_FIELDS: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        ("box", "bbox", "boundingbox", "bbox2d", "box2d", "bboxxyxy", "boxxyxy", "coordinates", "coordinate",
         "areacoordinates", "boxes", "bboxes", "boundingboxes"), "box",
    ),
    **dict.fromkeys(
        ("startseconds", "starttime", "start", "starttimeseconds", "startingtime", "onset", "onsetseconds", "onsettime",
         "time", "timestamp", "timeseconds", "timerange", "begin"), "onset",
    ),
    **dict.fromkeys(("endseconds", "endtime", "end", "endtimeseconds", "offset", "offsetseconds", "stop"), "offset"),
    **dict.fromkeys(("category", "categories", "type", "kind", "tracetype", "artifacttype"), "category"),
    **dict.fromkeys(
        ("explanation", "explanations", "reason", "reasoning", "rationale", "description", "justification", "why"),
        "explanation",
    ),
    "confidence": "confidence",
}  # fmt: skip
_NOT_IN_A_NAME: Final = re.compile(r"[^a-z0-9]+")
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

    @property
    def speaks_of_label(self) -> bool:
        """Whether anything in it stands where a label should."""
        return bool(self.labels or self.facts)


def read_json(text: str) -> JsonAnswer | None:
    """What the JSON in a text says, all its objects together; None where there is none that says anything we know."""
    if _BRACE_MISSING.match(text):
        text = "{" + text
    answer = JsonAnswer()
    at, found = 0, False
    for _ in range(_MOST_OBJECTS):
        opening = _OPENS.search(text, at)
        if opening is None:
            break
        value, at = read_value(text, opening.start())
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, dict):
                found = _take(item, answer, 0) or found
    return answer if found else None


def _take(row: Mapping[str, Any], answer: JsonAnswer, depth: int) -> bool:
    """Add what an object says to the answer; whether it said anything we know."""
    trace, known = RawTrace(), False
    for key, value in row.items():
        name = _NOT_IN_A_NAME.sub("", str(key).lower())
        field_name = _FIELDS.get(name)
        if field_name is not None:
            known = True
            if getattr(trace, field_name) in (NOT_SAID, None):
                setattr(trace, field_name, value)
        elif name in _TRACES and not isinstance(value, str):
            known = True
            listed = [item for item in _as_list(value) if isinstance(item, dict)]
            answer.lists_nothing = answer.lists_nothing or not listed
            for item in listed[:_MOST_TRACES]:
                answer.traces += _traces_of(item)
        elif name in _P_FAKE:
            known, answer.p_fake = True, value
        elif isinstance(value, dict) and depth < _DEEPEST:
            known = _take(value, answer, depth + 1) or known
        elif name in _LABEL:
            known = True
            answer.labels += _repeated(value)
        elif name in _FAKE_IF_TRUE or name in _REAL_IF_TRUE:
            for one in map(_truth, _repeated(value)):
                if one is not None:
                    known = True
                    answer.facts.append(one == (name in _FAKE_IF_TRUE))
    if depth == 0 and trace != RawTrace():
        _take_flat(trace, answer)
    elif trace != RawTrace():
        answer.traces += _split(trace)
    return known


def _traces_of(row: Mapping[str, Any]) -> Iterator[RawTrace]:
    trace = RawTrace()
    for key, value in row.items():
        name = _FIELDS.get(_NOT_IN_A_NAME.sub("", str(key).lower()))
        if name is not None and getattr(trace, name) in (NOT_SAID, None):
            setattr(trace, name, value)
    if trace != RawTrace():
        yield from _split(trace)


def _take_flat(trace: RawTrace, answer: JsonAnswer) -> None:
    """A trace that stands beside the label. Words alone, beside traces of their own, explain the first of these."""
    if answer.traces and trace.box is NOT_SAID and trace.onset is NOT_SAID:
        if answer.traces[0].explanation in (NOT_SAID, None):
            answer.traces[0].explanation = trace.explanation
        return
    answer.traces += _split(trace)


def _split(trace: RawTrace) -> Iterator[RawTrace]:
    """One trace for each of several boxes in a list."""
    boxes = trace.box
    if isinstance(boxes, list) and len(boxes) > 1 and all(_is_box(item) for item in boxes):
        for box in boxes[:_MOST_TRACES]:
            yield RawTrace(box, trace.onset, trace.offset, trace.category, trace.explanation, trace.confidence)
    else:
        yield trace


def _is_box(value: object) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and len(value) == 4)


def _as_list(value: object) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _repeated(value: object) -> tuple[Any, ...]:
    return value.values if isinstance(value, Repeated) else tuple(_as_list(value))


def _truth(value: object) -> bool | None:
    if isinstance(value, str):
        return {"true": True, "yes": True, "false": False, "no": False}.get(value.strip().lower())
    return value if isinstance(value, bool) else None
