"""Times as people and models write them: a moment, a span, with or without units and words round them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from deeptrace.errors import RecordError
from deeptrace.records import check_number

LONGEST_TIME: Final = 200

_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0}
_UNIT: Final = r"(?P<unit>ms|milli(?:second)?s?|s(?:ec(?:ond)?s?)?|m(?:in(?:ute)?s?)?)\b"
_TIME: Final = re.compile(
    r"(?<![\w.:])(?P<sign>[-+]?)(?:"
    r"(?P<clock>(?:\d{1,3}:)?\d{1,3}:\d{1,2}(?:[.,]\d{1,9})?)(?:\s?s(?:ec(?:ond)?s?)?\b)?"
    r"|(?P<minutes>\d{1,3})\s?m(?:in(?:ute)?s?)?,?\s?(?:and\s)?(?P<rest>\d{1,2}(?:\.\d{1,9})?)\s?s(?:ec(?:ond)?s?)?\b"
    rf"|(?P<number>\d{{1,4}},\d{{1,3}}(?=\s?s)|\d{{1,10}}(?:\.\d{{0,9}})?)(?:(?:\s|-)?{_UNIT})?"
    r")(?![\w:]|\.\d)",
    re.IGNORECASE,
)
_FRAME: Final = re.compile(r"\bframes?\b\W{0,4}(?:number\s)?\Z", re.IGNORECASE)
_LEAD: Final = re.compile(
    r"(?:\b(?:at|from|start\w*|begin\w*|onset|since|after|around|about|approximately|approx|roughly|circa|between|time|"
    r"timestamp|second|t)\b|[~≈@])\W{0,4}(?:is\s|the\s|at\s|second\s){0,2}\W{0,4}\Z",
    re.IGNORECASE,
)
_UNTIL: Final = re.compile(
    r"(?:\b(?:until|till|to|through|thru|and|end(?:s|ing)?|stops?|disappears?)\b|[-–—~→])"
    r"\W{0,4}(?:at\s|about\s|around\s|approximately\s|roughly\s|the\s|second\s){0,3}\W{0,3}\Z",
    re.IGNORECASE,
)
_LENGTH: Final = re.compile(
    r"\b(?:for|lasting|lasts|duration|long)\b\W{0,4}(?:of\s|is\s|about\s|around\s){0,2}\W{0,3}\Z", re.IGNORECASE
)
_FILLERS: Final = frozenset(
    [
        "a",
        "about",
        "after",
        "an",
        "and",
        "approx",
        "approximately",
        "around",
        "at",
        "begin",
        "beginning",
        "begins",
        "between",
        "circa",
        "clip",
        "end",
        "ending",
        "ends",
        "exact",
        "exactly",
        "for",
        "from",
        "in",
        "into",
        "is",
        "it",
        "lasting",
        "lasts",
        "mark",
        "moment",
        "of",
        "onset",
        "or",
        "roughly",
        "sec",
        "second",
        "seconds",
        "since",
        "start",
        "starting",
        "starts",
        "stop",
        "stops",
        "t",
        "the",
        "through",
        "till",
        "time",
        "timestamp",
        "to",
        "until",
        "video",
    ]
)
_MARKS: Final = str.maketrans(dict.fromkeys("*_`", " "))


@dataclass(frozen=True)
class Times:
    """Onset and offset in seconds, as far as they are said, and ``rest``: the text without them.

    ``flawed``: a time stands there that cannot be one (negative, an end that is not after the start).
    """

    onset: float | None = None
    offset: float | None = None
    rest: str = ""
    flawed: bool = False


def find_times(text: str, *, bare: bool = False) -> Times:
    """The first moment or span in a text, of which only the first `LONGEST_TIME` characters are looked at.

    A number is a time where it has a unit, is a clock ("0:02"), or a word before it says so ("from", "around");
    ``bare``: without any of these too.
    """
    head, tail = text[:LONGEST_TIME].translate(_MARKS), text[LONGEST_TIME:]
    onset = offset = None
    flawed, rest, position = False, [], 0
    for match in _TIME.finditer(head):
        before = head[position : match.start()]
        kind = _kind(match, before, head, bare=bare, onset=onset)
        if kind is None:
            continue
        value = _seconds(match)
        rest.append(before)
        position = match.end()
        if kind == "onset" and onset is None:
            onset, flawed = (None, True) if value < 0 else (value, flawed)
        elif kind != "onset" and onset is not None and offset is None:
            end = onset + value if kind == "length" else value
            offset, flawed = (end, flawed) if end > onset else (None, True)
        else:
            rest.append(match[0])
    rest += [head[position:], tail]
    return Times(onset, offset, " ".join(rest), flawed)


def _kind(match: re.Match[str], before: str, head: str, *, bare: bool, onset: float | None) -> str | None:
    """What a number in a text is: an onset, an offset, a length of time, or (None) no time at all."""
    if _FRAME.search(before):
        return None
    if onset is not None:
        if _LENGTH.search(before):
            return "length"
        return "offset" if _UNTIL.search(before) else None
    sure = bare or match["unit"] or match["clock"] or match["minutes"] or _LEAD.search(before)
    if not sure:  # "1.5 - 3.0 seconds": the unit stands behind the second number
        behind = _TIME.search(head, match.end())
        sure = behind is not None and behind["unit"] and _UNTIL.search(head[match.end() : behind.start()])
    return "onset" if sure else None


def _seconds(match: re.Match[str]) -> float:
    if match["clock"]:
        value = 0.0
        for part in match["clock"].replace(",", ".").split(":"):
            value = 60.0 * value + float(part)
    elif match["minutes"]:
        value = 60.0 * int(match["minutes"]) + float(match["rest"])
    else:
        value = float(match["number"].replace(",", ".")) * _factor(match["unit"])
    return -value if match["sign"] == "-" else value


def _factor(unit: str | None) -> float:
    name = (unit or "s").lower()
    return _UNITS["ms" if name.startswith(("ms", "milli")) else name[0]]


def is_filled(text: str) -> bool:
    """Whether nothing but words round a time stand in a text."""
    return all(word in _FILLERS for word in re.findall(r"\w+", text.lower()))


def read_seconds(text: str) -> float | None:
    """A time that a person or a model would write: ``1.2``, ``2s``, ``about 1.2 seconds``, ``0:02``, ``0:00:02.5``.

    Seconds, finite and not negative; None for anything else, a span too.
    """
    times = _read(text)
    return times.onset if times.offset is None else None


def _read(text: str) -> Times:
    """The times of a text that says nothing else; else no times."""
    if len(text) > LONGEST_TIME:
        return Times()
    times = find_times(text, bare=True)
    return times if is_filled(times.rest) else Times(flawed=True)


def read_times(value: object) -> Times:
    """The onset and, where a span is given ("1.2 - 3.4 s", ``[1.2, 3.4]``, ``{"start": 1, "end": 3}``), the offset."""
    if isinstance(value, Mapping):
        return _named(value)
    if isinstance(value, list):
        if len(value) == 1:
            return Times(flawed=True) if isinstance(value[0], list) else read_times(value[0])
        if len(value) != 2 or any(isinstance(item, list | Mapping) for item in value):
            return Times(flawed=True)
        return _span(value[0], value[1])
    if isinstance(value, str):
        return _read(value)
    try:
        return Times(check_number(value, "onset_seconds", low=0.0))
    except RecordError:
        return Times(flawed=True)


def _span(start: Any, end: Any) -> Times:
    onset, offset = read_times(start).onset, None if end is None else read_times(end).onset
    bad = onset is None or (end is not None and (offset is None or offset <= onset))
    return Times(onset, None if bad else offset, flawed=bad)


_SIDES: Final = {
    **dict.fromkeys(("start", "onset", "begin", "from", "starttime", "startseconds"), 0),
    **dict.fromkeys(("end", "offset", "stop", "to", "endtime", "endseconds"), 1),
}


def _named(value: Mapping[str, Any]) -> Times:
    sides: dict[int, Any] = {}
    for key, item in value.items():
        side = _SIDES.get(str(key).lower().replace("_", "").removesuffix("s"), _SIDES.get(str(key).lower()))
        if side is None or side in sides or isinstance(item, list | Mapping):
            return Times(flawed=True)
        sides[side] = item
    return _span(sides.get(0), sides.get(1))
