"""The names under which models speak of a trace's fields: keys of JSON, tags, names before a colon."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

# Whole names, in lower case without anything but letters and digits.
_NAMES: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        ("box", "bbox", "boundingbox", "bbox2d", "box2d", "bboxxyxy", "boxxyxy", "coordinates", "coordinate", "coords",
         "areacoordinates", "boxes", "bboxes", "boundingboxes", "boxcoordinates", "bboxcoordinates"), "box",
    ),
    **dict.fromkeys(
        ("startseconds", "starttime", "start", "starttimeseconds", "startingtime", "onset", "onsetseconds", "onsettime",
         "time", "times", "timestamp", "timestamps", "timeseconds", "timerange", "timespan", "timeinterval", "begin",
         "interval", "when", "startsat", "begins"), "onset",
    ),
    **dict.fromkeys(
        ("endseconds", "endtime", "end", "endtimeseconds", "endingtime", "offset", "offsetseconds", "offsettime",
         "stop", "stoptime", "endsat"), "offset",
    ),
    **dict.fromkeys(
        ("category", "categories", "type", "kind", "tracetype", "artifacttype", "faketype", "class"), "category"
    ),
    **dict.fromkeys(
        ("explanation", "explanations", "reason", "reasons", "reasoning", "rationale", "description", "justification",
         "why"), "explanation",
    ),
    "confidence": "confidence",
}  # fmt: skip

# Words in a longer name ("first_visible_timestamp"), the first kind of which one occurs decides. Only inside a trace.
_WORDS: Final = (
    ("box", {"box", "boxes", "bbox", "bboxes", "coordinates", "coordinate", "coords", "region", "location", "area",
             "position", "rect", "rectangle", "roi"}),
    ("offset", {"end", "ends", "ending", "stop", "stops", "until", "offset", "disappears", "finish", "last"}),
    ("onset", {"start", "starts", "starting", "begin", "begins", "beginning", "onset", "time", "times", "timestamp",
               "timestamps", "when", "second", "seconds", "interval", "span", "from"}),
    ("category", {"category", "categories", "type", "kind", "class"}),
    ("explanation", {"explanation", "reason", "reasoning", "rationale", "description", "why", "details", "detail",
                     "justification", "comment", "evidence", "issue", "problem", "anomaly"}),
    ("confidence", {"confidence", "certainty", "score", "probability"}),
)  # fmt: skip
_OTHER_UNITS: Final = frozenset({"frame", "frames", "duration", "index", "id", "count", "number", "fps"})
_NOT_IN_A_NAME: Final = re.compile(r"[^a-z0-9]+")
_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_LONGEST_NAME: Final = 60

Y_FIRST_NAMES: Final = frozenset({"box2d"})
"""Gemini's own key: ``box_2d`` is [y0, x0, y1, x1] wherever it is written. (Qwen's ``bbox_2d`` has x first.)"""

MILLISECONDS: Final = frozenset({"ms", "millis", "milliseconds", "msec"})


def plain_name(name: object) -> str:
    """A name in lower case, of nothing but letters and digits."""
    return _NOT_IN_A_NAME.sub("", str(name)[:_LONGEST_NAME].lower())


def words_of(name: object) -> set[str]:
    """The words of a name, in lower case: ``startTime_ms`` is start, time and ms."""
    return {word.lower() for word in _WORD.findall(str(name)[:_LONGEST_NAME])}


def field_named(name: object, *, loosely: bool = False) -> str | None:
    """The field of a trace that goes by a name; None where there is none.

    ``loosely``: one word of the name is enough, but no name of frames or lengths, which are no seconds.
    """
    whole = _NAMES.get(plain_name(name))
    if whole is not None or not loosely:
        return whole
    words = words_of(name)
    if words & _OTHER_UNITS:
        return None
    return next((field for field, field_words in _WORDS if words & field_words), None)
