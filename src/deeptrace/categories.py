"""The nine categories of fake traces, and the annotation tool's raw tags mapped onto them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal, get_args

Category = Literal[
    "Object Distortion",
    "Sudden Blurring",
    "Object Trajectory",
    "Redundant Object",
    "Object Merging",
    "Object Splitting",
    "Background Distortion",
    "Object Disappearance",
    "Unexpected Move",
]

CATEGORIES: Final[tuple[Category, ...]] = get_args(Category)
"""The nine, most frequent first (Fig. 4 of arXiv 2509.22646)."""

MEANINGS: Final[dict[Category, str]] = {
    "Object Distortion": "an object's shape deforms abnormally",
    "Sudden Blurring": "a part of the picture loses definition abruptly",
    "Object Trajectory": "an object moves along an unnatural path",
    "Redundant Object": "something extra appears",
    "Object Merging": "separate things fuse",
    "Object Splitting": "one thing divides into several",
    "Background Distortion": "the background warps",
    "Object Disappearance": "something visible vanishes",
    "Unexpected Move": "a static thing moves by itself",
}

# How the release's raw `faketrace_check_applies` strings begin. Order matters: "overlap background distortion" is a
# background tag although it speaks of overlap and distortion, so the background comes before shape and merging.
_TAG_STARTS: Final[tuple[tuple[str, Category], ...]] = (
    ("overlap background distortion", "Background Distortion"),
    ("background distortion", "Background Distortion"),
    ("unexpected move", "Unexpected Move"),
    ("shape distortion", "Object Distortion"),
    ("merging", "Object Merging"),
    ("splitting", "Object Splitting"),
    ("weird motion", "Object Trajectory"),
    ("blurring", "Sudden Blurring"),
    ("sudden blurring", "Sudden Blurring"),
    ("sudden appear", "Redundant Object"),
    ("sudden disappear", "Object Disappearance"),
    ("disappear", "Object Disappearance"),
    ("redundant", "Redundant Object"),
)

# "None of the above, but I've written in the explanations": the annotator chose no category, on purpose.
_NO_CATEGORY: Final = "none of the above"


@dataclass(frozen=True)
class Tags:
    """Raw tags, read: ``categories`` in the order of `CATEGORIES`, without repeats; ``unknown`` as written."""

    categories: tuple[Category, ...]
    unknown: tuple[str, ...]


def read_tags(raw: Iterable[str]) -> Tags:
    """Map raw annotation tags, or category names in any case, onto the nine categories.

    A tag that says "none of the above" is known and maps to nothing. A tag that fits nothing is returned in
    ``unknown``, so that callers can keep and count it.
    """
    found: set[Category] = set()
    unknown: list[str] = []
    for tag in raw:
        key = " ".join(re.split(r"[\s_-]+", tag.strip().lower()))
        by_name = next((c for c in CATEGORIES if c.lower() == key), None)
        category = by_name or next((c for start, c in _TAG_STARTS if key.startswith(start)), None)
        if category is not None:
            found.add(category)
        elif not key.startswith(_NO_CATEGORY):
            unknown.append(tag)
    return Tags(tuple(c for c in CATEGORIES if c in found), tuple(unknown))
