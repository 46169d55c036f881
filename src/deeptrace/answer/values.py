"""The values in an answer: boxes, times, categories, probabilities, as words, numbers, lists or objects.

A reader fills `RawTrace` with what stands in the text; `RawTrace.check` believes what is valid and flags the rest.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from deeptrace.answer.loose_json import read_value
from deeptrace.answer.space import Space
from deeptrace.categories import Category, read_tags
from deeptrace.errors import RecordError
from deeptrace.records import Box, Trace, check_number

# Flags of a parsed answer: what was dropped, and what contradicts itself.
BBOX_INVALID: Final = "bbox_invalid"
ONSET_INVALID: Final = "onset_invalid"
OFFSET_INVALID: Final = "offset_invalid"
CATEGORY_UNKNOWN: Final = "category_unknown"
P_FAKE_INVALID: Final = "p_fake_invalid"
REAL_WITH_TRACE: Final = "real_with_trace"
FAKE_WITHOUT_PLACE: Final = "fake_without_place"
EXPLANATION_DISAGREES: Final = "explanation_disagrees"
P_FAKE_DISAGREES: Final = "p_fake_disagrees"

_ABSENT: Final = frozenset({"", "none", "null", "n/a", "na", "unknown"})
_NULL_WORDS: Final = _ABSENT - {""}
_LONGEST_VALUE: Final = 400


class _NotSaid:
    """Stands where an answer has no such field; a field that says null holds None."""

    def __repr__(self) -> str:
        return "NOT_SAID"

    def __bool__(self) -> bool:
        return False


NOT_SAID: Final = _NotSaid()


def _is_absent(value: object) -> bool:
    return (
        value is None
        or value is NOT_SAID
        or (isinstance(value, str) and value.strip().lower() in _ABSENT)
        or (isinstance(value, list | dict) and (not value or _only_nulls(value)))
    )


def _only_nulls(value: list[Any] | dict[str, Any]) -> bool:
    return all(item is None for item in (value.values() if isinstance(value, dict) else value))


@dataclass
class RawTrace:
    """What an answer holds of one trace, before anything is believed: texts, numbers, lists, objects, or None."""

    box: Any = NOT_SAID
    onset: Any = NOT_SAID
    offset: Any = NOT_SAID
    category: Any = NOT_SAID
    explanation: Any = NOT_SAID
    confidence: Any = NOT_SAID

    @property
    def says_no_place(self) -> bool:
        """Whether it says in so many words that there is no box or no time."""
        return any(
            value is not NOT_SAID and _is_absent(value) and not (isinstance(value, str) and not value.strip())
            for value in (self.box, self.onset)
        )

    def check(self, space: Space, flags: list[str]) -> Trace:
        """The trace, of what is valid; ``flags`` grows by what was dropped."""
        box = onset = offset = confidence = None
        if not _is_absent(self.box):
            box = read_box(self.box, space)
            if box is None:
                flags.append(BBOX_INVALID)
        if not _is_absent(self.onset):
            onset, offset = read_times(self.onset)
            if onset is None:
                flags.append(ONSET_INVALID)
        if not _is_absent(self.offset):
            offset = read_times(self.offset)[0]
            if offset is None or offset <= (onset or 0.0):
                offset = None
                flags.append(OFFSET_INVALID)
        categories = None
        if not _is_absent(self.category):
            categories, unknown = read_categories(self.category)
            if unknown:
                flags.append(CATEGORY_UNKNOWN)
        if not _is_absent(self.confidence):
            confidence = read_probability(self.confidence)
        return Trace(
            bbox_xyxy=box,
            onset_seconds=onset,
            offset_seconds=offset,
            categories=categories,
            explanation=read_words(self.explanation),
            confidence=confidence,
        )


# ── boxes ───────────────────────────────────────────────────────────────────────────────────────────────────────────

# Not the digit of a name: "x0: 320" holds one number.
_NUMBER: Final = re.compile(r"(?<![A-Za-z_\d.])[-+]?\d{1,12}(?:\.\d{0,12})?")
_SIZE_WORDS: Final = re.compile(r"width|height", re.IGNORECASE)
_CORNERS: Final = (
    ("x0", "y0", "x1", "y1"),
    ("x1", "y1", "x2", "y2"),
    ("left", "top", "right", "bottom"),
    ("xmin", "ymin", "xmax", "ymax"),
    ("minx", "miny", "maxx", "maxy"),
)
_SIZED: Final = (("left", "top", "width", "height"), ("x", "y", "width", "height"), ("x", "y", "w", "h"))


def read_box(value: object, space: Space) -> Box | None:
    """The box in fractions of the frame; None where there are not four numbers, or they are no box in the frame."""
    numbers = _four(value)
    if numbers is None:
        return None
    try:
        return space.decode(numbers)
    except RecordError:
        return None


def _four(value: object) -> tuple[float, float, float, float] | None:
    if isinstance(value, str):
        return _four_in_text(value[:_LONGEST_VALUE])
    if isinstance(value, Mapping):
        return _four_named({str(key).lower().replace("_", ""): item for key, item in value.items()})
    if not isinstance(value, Sequence):
        return None
    if len(value) == 1:
        return _four(value[0])
    if len(value) == 2:  # two corners
        corners = [item for corner in value if isinstance(corner, list) and len(corner) == 2 for item in corner]
        return _four(corners) if len(corners) == 4 else None
    if len(value) != 4:
        return None
    numbers = [_number(item) for item in value]
    x0, y0, x1, y1 = numbers
    return None if x0 is None or y0 is None or x1 is None or y1 is None else (x0, y0, x1, y1)


def _four_in_text(text: str) -> tuple[float, float, float, float] | None:
    if "{" in text:
        return _four(read_value(text, text.index("{"))[0])
    numbers = [float(number) for number in _NUMBER.findall(text)]
    if len(numbers) != 4:
        return None
    x0, y0, x1, y1 = numbers
    return (x0, y0, x0 + x1, y0 + y1) if _SIZE_WORDS.search(text) else (x0, y0, x1, y1)


def _four_named(sides: Mapping[str, object]) -> tuple[float, float, float, float] | None:
    for names in (*_CORNERS, *_SIZED):
        if all(name in sides for name in names):
            numbers = [_number(sides[name]) for name in names]
            a, b, c, d = numbers
            if a is None or b is None or c is None or d is None:
                return None
            return (a, b, a + c, b + d) if names in _SIZED else (a, b, c, d)
    return None


def _number(value: object) -> float | None:
    """A number, or one that stands in a text ("320", "320px")."""
    if isinstance(value, str):
        found = _NUMBER.findall(value[:_LONGEST_VALUE])
        return float(found[0]) if len(found) == 1 else None
    try:
        return check_number(value, "number")
    except RecordError:
        return None


# ── times ───────────────────────────────────────────────────────────────────────────────────────────────────────────

_CLOCK: Final = re.compile(r"(?:(\d{1,3}):)?(\d{1,3}):(\d{1,2}(?:\.\d{0,9})?)")
_PLAIN_SECONDS: Final = re.compile(r"([-+]?\d{1,10}(?:\.\d{0,9})?)\s*(?:s|sec|secs|seconds?)?")
_ROUGHLY: Final = re.compile(r"(?:about|around|approximately|approx\.?|roughly|at|from|~|≈)\s*", re.IGNORECASE)
_RANGE: Final = re.compile(r"([^\s–—-][^–—-]{0,30}?)\s?(?:-|–|—|\bto\b|\buntil\b)\s?([^–—-]{1,30})")
_LONGEST_TIME: Final = 80


def read_seconds(text: str) -> float | None:
    """A time that a person or a model would write: ``1.2``, ``2s``, ``about 1.2 seconds``, ``0:02``, ``0:00:02.5``.

    Seconds, finite and not negative; None for anything else.
    """
    if len(text) > _LONGEST_VALUE:
        return None
    cleaned = text.strip().strip("[]()\"'`").strip().removesuffix(".").lower()
    plain = _PLAIN_SECONDS.fullmatch(cleaned)
    if plain is None and (rough := _ROUGHLY.match(cleaned)) is not None:
        cleaned = cleaned[rough.end() :]
        plain = _PLAIN_SECONDS.fullmatch(cleaned)
    if plain is not None:
        value = float(plain[1])
    else:
        clock = _CLOCK.fullmatch(cleaned)
        if clock is None:
            return None
        hours, minutes, seconds = clock.groups()
        value = 3600.0 * int(hours or 0) + 60.0 * int(minutes) + float(seconds)
    return value if value >= 0.0 else None


def read_times(value: object) -> tuple[float | None, float | None]:
    """The onset and, where a span is given ("1.2 - 3.4 s", ``[1.2, 3.4]``), the offset behind it."""
    if isinstance(value, Mapping):
        sides = {str(key).lower().partition("_")[0]: item for key, item in value.items()}
        value = [sides.get("start", sides.get("onset")), sides.get("end", sides.get("offset"))]
    if isinstance(value, list):
        if not 1 <= len(value) <= 2 or any(isinstance(item, list) for item in value):
            return None, None
        onset = read_times(value[0])[0]
        offset = read_times(value[1])[0] if len(value) == 2 else None
        return onset, offset if onset is not None and offset is not None and offset > onset else None
    if isinstance(value, str):
        onset = read_seconds(value)
        if onset is not None or len(value) > _LONGEST_TIME:
            return onset, None
        span = _RANGE.fullmatch(value.strip().strip("[]()"))
        return read_times([span[1], span[2]]) if span is not None else (None, None)
    try:
        return check_number(value, "onset_seconds", low=0.0), None
    except RecordError:
        return None, None


# ── words ───────────────────────────────────────────────────────────────────────────────────────────────────────────

_BETWEEN_CATEGORIES: Final = re.compile(r"[,;|/\n]")
_MOST_CATEGORIES: Final = 20


def read_categories(value: object) -> tuple[tuple[Category, ...] | None, bool]:
    """The categories named, and whether something was named that is none."""
    items = value if isinstance(value, list) else [value]
    names = [
        part.strip().rstrip(".")
        for item in items[:_MOST_CATEGORIES]
        for part in (_BETWEEN_CATEGORIES.split(item[:_LONGEST_VALUE]) if isinstance(item, str) else [repr(item)])
    ]
    tags = read_tags(name for name in names if name.lower() not in _ABSENT)
    return tags.categories or None, bool(tags.unknown)


def read_words(value: object) -> str | None:
    """A text on one line; texts of a list one after another. None where there are no words."""
    if isinstance(value, list):
        value = " ".join(item for item in value if isinstance(item, str))
    return " ".join(value.split()) or None if isinstance(value, str) else None


def read_probability(value: object) -> float | None:
    """A probability: ``0.95``, ``"0.95"``, ``"95%"``; None for anything that is not in [0, 1]."""
    number = _number(value)
    if number is not None and isinstance(value, str) and value.strip().endswith("%"):
        number /= 100.0
    return number if number is not None and 0.0 <= number <= 1.0 else None
