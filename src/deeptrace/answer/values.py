"""The values in an answer: boxes, times, categories, probabilities, as words, numbers, lists or objects.

A reader fills `RawTrace` with what stands in the text; `RawTrace.check` believes what is valid and flags the rest.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

from typing_extensions import override

from deeptrace.answer.loose_json import read_value
from deeptrace.answer.space import Space
from deeptrace.answer.times import read_times
from deeptrace.categories import Category, read_tags
from deeptrace.errors import RecordError
from deeptrace.records import Box, Trace, check_bbox, check_number

# Flags of a parsed answer: what was dropped or changed, what was not read, and what contradicts itself.
BBOX_INVALID: Final = "bbox_invalid"
BBOX_CUT: Final = "bbox_cut"
BBOX_TOO_THIN: Final = "bbox_too_thin"
BBOX_Y_FIRST: Final = "bbox_y_first"
ONSET_INVALID: Final = "onset_invalid"
OFFSET_INVALID: Final = "offset_invalid"
CATEGORY_UNKNOWN: Final = "category_unknown"
CONFIDENCE_INVALID: Final = "confidence_invalid"
EXPLANATION_INVALID: Final = "explanation_invalid"
P_FAKE_INVALID: Final = "p_fake_invalid"
TRACE_EMPTY: Final = "trace_empty"
KEYS_UNREAD: Final = "keys_unread"
TEXT_UNREAD: Final = "text_unread"
REAL_WITH_TRACE: Final = "real_with_trace"
FAKE_WITHOUT_PLACE: Final = "fake_without_place"
EXPLANATION_DISAGREES: Final = "explanation_disagrees"
P_FAKE_DISAGREES: Final = "p_fake_disagrees"

_ABSENT: Final = frozenset({"", "none", "null", "n/a", "na", "unknown"})
_LONGEST_VALUE: Final = 400
_DEEPEST: Final = 4
_MARKS: Final = str.maketrans(dict.fromkeys("*`", " "))

EDGE_SHARE: Final = 0.1
"""A box that leaves the frame by at most this share of its side is cut to the frame; beyond it the coordinates are
probably not the ones that were asked for."""


class _NotSaid:
    """Stands where an answer has no such field; a field that says null holds None."""

    @override
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
    y_first: bool = False  # the box stands under a name whose maker puts y first

    def put(self, field: str, value: Any) -> bool:
        """Take a value for a field; False where another value has it already, so that this one is not read."""
        before = getattr(self, field)
        if before is NOT_SAID or before is None:
            setattr(self, field, value)
            return True
        return value is None or value == before

    @property
    def is_null(self) -> bool:
        """Whether all that it says is null, or nothing."""
        return all(
            value is NOT_SAID or _is_absent(value)
            for value in (self.box, self.onset, self.offset, self.category, self.explanation)
        )

    @property
    def says_no_place(self) -> bool:
        """Whether it says in so many words that there is no box or no time."""
        return any(
            value is not NOT_SAID and _is_absent(value) and not (isinstance(value, str) and not value.strip())
            for value in (self.box, self.onset)
        )

    def check(self, space: Space, flags: list[str]) -> Trace:
        """The trace, of what is valid; ``flags`` grows by what was dropped or changed."""
        box = None if _is_absent(self.box) else read_box(self.box, space, flags, y_first=self.y_first)
        onset, offset = self._times(flags)
        categories = confidence = explanation = None
        if not _is_absent(self.category):
            categories, unknown = read_categories(self.category)
            if unknown:
                flags.append(CATEGORY_UNKNOWN)
        if not _is_absent(self.confidence):
            confidence = read_probability(self.confidence)
            if confidence is None:
                flags.append(CONFIDENCE_INVALID)
        if self.explanation is not NOT_SAID and self.explanation is not None:
            explanation, whole = read_words(self.explanation)
            if not whole:
                flags.append(EXPLANATION_INVALID)
        return Trace(
            bbox_xyxy=box,
            onset_seconds=onset,
            offset_seconds=offset,
            categories=categories,
            explanation=explanation,
            confidence=confidence,
        )

    def _times(self, flags: list[str]) -> tuple[float | None, float | None]:
        onset = offset = None
        if not _is_absent(self.onset):
            times = read_times(self.onset)
            onset, offset = times.onset, times.offset
            if onset is None:
                flags.append(ONSET_INVALID)
            elif times.flawed:
                flags.append(OFFSET_INVALID)
        if not _is_absent(self.offset):
            offset = read_times(self.offset).onset
            if offset is None or offset <= (onset or 0.0):
                offset = None
                flags.append(OFFSET_INVALID)
        return onset, offset


# ── boxes ───────────────────────────────────────────────────────────────────────────────────────────────────────────

# Not the digit of a name: "x0: 320" holds one number.
_NUMBER: Final = re.compile(r"(?<![A-Za-z_\d.])[-+]?\d{1,12}(?:\.\d{0,12})?(?P<percent>\s?%)?")
_NAMED_NUMBER: Final = re.compile(
    r"(?P<name>[A-Za-z](?:[A-Za-z_]{0,12}[A-Za-z])?_?\d?)[\"']?\s{0,3}[=:]?\s{0,3}[\"']?(?P<number>[-+]?\d{1,12}(?:\.\d{0,12})?)"
)
_SIDE: Final = r"([-+]?\d{1,7}(?:\.\d{0,9})?)(?:px)?"
_TO: Final = r"\s{0,3}(?:,|to|and|-|–|→)\s{0,3}"
RANGES: Final = re.compile(
    rf"\bx\b[^\d+-]{{0,12}}{_SIDE}{_TO}{_SIDE}[^\d+-]{{1,12}}\by\b[^\d+-]{{0,12}}{_SIDE}{_TO}{_SIDE}", re.IGNORECASE
)
"""A box in words: "x from 100 to 300 and y from 200 to 400"."""

_SIZE_WORDS: Final = re.compile(r"width|height", re.IGNORECASE)
_Corners: TypeAlias = tuple[float, float, float, float]
_CORNERS: Final = (
    ("x0", "y0", "x1", "y1"),
    ("x1", "y1", "x2", "y2"),
    ("left", "top", "right", "bottom"),
    ("xmin", "ymin", "xmax", "ymax"),
    ("minx", "miny", "maxx", "maxy"),
    ("startx", "starty", "endx", "endy"),
    ("xstart", "ystart", "xend", "yend"),
    ("xtl", "ytl", "xbr", "ybr"),
)
_SIZED: Final = (
    ("left", "top", "width", "height"), ("x", "y", "width", "height"), ("x", "y", "w", "h"), ("l", "t", "w", "h"),
    ("xmin", "ymin", "width", "height"),
)  # fmt: skip
_CENTRED: Final = (
    ("cx", "cy", "w", "h"), ("cx", "cy", "width", "height"), ("xcenter", "ycenter", "width", "height"),
    ("centerx", "centery", "width", "height"), ("xc", "yc", "w", "h"),
)  # fmt: skip
_PAIRS: Final = (
    ("topleft", "bottomright"), ("lefttop", "rightbottom"), ("min", "max"), ("p1", "p2"), ("point1", "point2"),
    ("start", "end"),
)  # fmt: skip
_INNER: Final = frozenset({"box", "bbox", "boundingbox", "coordinates", "coords", "xyxy", "bbox2d", "corners"})


@dataclass(frozen=True)
class _Four:
    """Four numbers as they stand; ``named``: their names said which is which; ``percent``: of the frame's sides."""

    corners: _Corners
    named: bool = False
    percent: bool = False
    leftover: bool = False  # names stand beside them that were not read


def read_box(value: object, space: Space, flags: list[str], *, y_first: bool = False) -> Box | None:
    """The box in fractions of the frame; None where there are not four numbers, or they are no box in the frame.

    ``flags`` grows by what was dropped or changed. ``y_first``: the answer itself says that y stands before x. Numbers
    with names, and percentages, mean what they say, whatever the space. A box that leaves the frame by at most
    `EDGE_SHARE` of its side is cut to it. One that is narrower or lower than a unit of its space is dropped: its
    numbers are fractions of something, and nobody said of what.
    """
    four = _four(value)
    if four is None:
        flags.append(BBOX_INVALID)
        return None
    if four.leftover:
        flags.append(KEYS_UNREAD)
    a, b, c, d = four.corners
    if y_first and not four.named:
        a, b, c, d = b, a, d, c
        flags.append(BBOX_Y_FIRST)
    elif not four.named and space.is_y_first:
        a, b, c, d = b, a, d, c
    wide, high = (100.0, 100.0) if four.percent else space.units
    thin = not four.percent and (0.0 < c - a < 1.0 or 0.0 < d - b < 1.0) and c > a and d > b
    corners = (a / wide, b / high, c / wide, d / high)
    if thin:
        flags.append(BBOX_TOO_THIN)
        return None
    x0, y0, x1, y1 = (min(max(value, 0.0), 1.0) for value in corners)
    cut = max(abs(inside - value) for inside, value in zip((x0, y0, x1, y1), corners, strict=True))
    try:
        box = check_bbox((x0, y0, x1, y1))
    except RecordError:
        box = None
    if box is None or cut > EDGE_SHARE:
        flags.append(BBOX_INVALID)
        return None
    if cut > 0.0:
        flags.append(BBOX_CUT)
    return box


def _four(value: object, depth: int = 0) -> _Four | None:
    if depth > _DEEPEST:
        return None
    if isinstance(value, str):
        return _four_in_text(value[:_LONGEST_VALUE], depth)
    if isinstance(value, Mapping):
        return _four_named(
            {str(key).lower().replace("_", "").replace("-", ""): item for key, item in value.items()}, depth
        )
    if not isinstance(value, Sequence):
        return None
    if len(value) == 1:
        return _four(value[0], depth + 1)
    if len(value) == 2:  # two corners
        first, second = (_pair(corner) for corner in value)
        return None if first is None or second is None else _Four((*first, *second))
    if len(value) != 4:
        return None
    return _numbers(value)


def _numbers(items: Sequence[object]) -> _Four | None:
    numbers = [_number(item) for item in items]
    percents = [isinstance(item, str) and item.strip().endswith("%") for item in items]
    x0, y0, x1, y1 = numbers
    if x0 is None or y0 is None or x1 is None or y1 is None or len(set(percents)) > 1:
        return None
    return _Four((x0, y0, x1, y1), percent=percents[0])


def _pair(value: object) -> tuple[float, float] | None:
    """A corner: ``[x, y]`` or ``{"x": 1, "y": 2}``."""
    if isinstance(value, Mapping):
        value = [value.get("x"), value.get("y")] if set(value) == {"x", "y"} else None
    if not isinstance(value, list) or len(value) != 2:
        return None
    x, y = map(_number, value)
    return None if x is None or y is None else (x, y)


def _four_in_text(text: str, depth: int) -> _Four | None:
    if "{" in text and (inner := read_value(text, text.index("{"))[0]):
        return _four(inner, depth + 1)
    text = text.translate(_MARKS)
    if (across := RANGES.search(text)) is not None:
        x0, x1, y0, y1 = map(float, across.groups())
        return _Four((x0, y0, x1, y1), named=True)
    sides = {match["name"].lower().replace("_", ""): float(match["number"]) for match in _NAMED_NUMBER.finditer(text)}
    if len(sides) == 4 and "%" not in text and (four := _four_named(sides, depth)) is not None:
        return four
    matches = list(_NUMBER.finditer(text))
    percents = {match["percent"] is not None for match in matches}
    if len(matches) != 4 or len(percents) > 1:
        return None
    x0, y0, x1, y1 = (float(match[0].rstrip("% ")) for match in matches)
    corners = (x0, y0, x0 + x1, y0 + y1) if _SIZE_WORDS.search(text) else (x0, y0, x1, y1)
    return _Four(corners, percent=percents == {True})


def _four_named(sides: Mapping[str, object], depth: int) -> _Four | None:
    for first, second in _PAIRS:
        if first in sides and second in sides:
            p, q = _pair(sides[first]), _pair(sides[second])
            return None if p is None or q is None else _Four((*p, *q), leftover=len(sides) > 2)
    if set(sides) == {"x", "y"}:  # {"x": [100, 300], "y": [200, 400]}
        across, down = _pair(sides["x"]), _pair(sides["y"])
        return _Four((across[0], down[0], across[1], down[1]), named=True) if across and down else None
    for names in (*_CORNERS, *_SIZED, *_CENTRED):
        if all(name in sides for name in names):
            four = _numbers([sides[name] for name in names])
            if four is None:
                return None
            a, b, c, d = four.corners
            if names in _CENTRED:
                a, b = a - c / 2, b - d / 2
            corners = (a, b, c, d) if names in _CORNERS else (a, b, a + c, b + d)
            return _Four(corners, named=True, percent=four.percent, leftover=len(sides) > len(names))
    inner = [item for name, item in sides.items() if name in _INNER]
    four = _four(inner[0], depth + 1) if len(inner) == 1 else None
    return four if four is None or len(sides) == 1 else replace(four, leftover=True)


def _number(value: object) -> float | None:
    """A number, or one that stands in a text ("320", "320px", "32%")."""
    if isinstance(value, str):
        matches = list(_NUMBER.finditer(value[:_LONGEST_VALUE]))
        return float(matches[0][0].rstrip("% ")) if len(matches) == 1 else None
    try:
        return check_number(value, "number")
    except RecordError:
        return None


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


def read_words(value: object) -> tuple[str | None, bool]:
    """A text on one line, texts of a list one after another (None: no words), and whether all of it was text."""
    whole = True
    if isinstance(value, list):
        words = [item for item in value if isinstance(item, str)]
        whole, value = len(words) == len(value), " ".join(words)
    if not isinstance(value, str):
        return None, False
    return " ".join(value.split()) or None, whole


def read_probability(value: object) -> float | None:
    """A probability: ``0.95``, ``"0.95"``, ``"95%"``; None for anything that is not in [0, 1]."""
    number = _number(value)
    if number is not None and isinstance(value, str) and value.strip().endswith("%"):
        number /= 100.0
    return number if number is not None and 0.0 <= number <= 1.0 else None
