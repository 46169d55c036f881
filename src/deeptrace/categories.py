"""The nine categories of fake traces, and the annotation tool's raw tags mapped onto them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
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

Family = Literal["texture", "motion", "identity"]
"""Coarse kind: a thing changes its look, its place, or what and how many there are."""


@dataclass(frozen=True)
class CategoryFacts:
    """All that the package knows of one category, but for how it is put into footage (its file in ``inject/``).

    ``meaning``: what is seen. ``doubt``: what makes it an honest picture after all. ``tag``: the release's raw tag; a
    tag that begins with one of ``tag_starts`` says the same. ``share``: of all tag mentions, in per cent (Fig. 4 of
    arXiv 2509.22646; 0 for a category that it does not have). ``color``: RGB, with contrast 3:1 to black and to white.
    """

    meaning: str
    doubt: str
    family: Family
    share: float
    tag: str
    tag_starts: tuple[str, ...]
    color: tuple[int, int, int]


FACTS: Final[Mapping[Category, CategoryFacts]] = {
    "Object Distortion": CategoryFacts(
        meaning="an object's shape deforms abnormally",
        doubt="the thing really bends there, or water, glass or motion blur bends its picture",
        family="texture",
        share=20.9,
        tag="Shape distortion (e.g. human arm bending as rubbery)",
        tag_starts=("shape distortion",),
        color=(0xE5, 0x48, 0x4D),
    ),
    "Sudden Blurring": CategoryFacts(
        meaning="a part of the picture loses definition abruptly",
        doubt="the camera loses focus there, or the file was compressed hard",
        family="texture",
        share=18.8,
        tag="Blurring (e.g. sudden blurring)",
        tag_starts=("blurring", "sudden blurring"),
        color=(0x2B, 0x84, 0xE0),
    ),
    "Object Trajectory": CategoryFacts(
        meaning="an object moves along an unnatural path",
        doubt="something that is not in the picture pushes it there, or pictures are missing",
        family="motion",
        share=18.3,
        tag="weird motion (e.g. unnatural movement paths / patterns)",
        tag_starts=("weird motion",),
        color=(0xD9, 0x73, 0x0D),
    ),
    "Redundant Object": CategoryFacts(
        meaning="something extra appears",
        doubt="it comes from behind something there, or is a reflection",
        family="identity",
        share=17.6,
        tag="sudden appearance",
        tag_starts=("sudden appear", "redundant"),
        color=(0x12, 0x90, 0x8E),
    ),
    "Object Merging": CategoryFacts(
        meaning="separate things fuse",
        doubt="one of them only passes behind the other",
        family="identity",
        share=11.2,
        tag="merging (e.g. two objects merge into one.)",
        tag_starts=("merging",),
        color=(0x8B, 0x6C, 0xF0),
    ),
    "Object Splitting": CategoryFacts(
        meaning="one thing divides into several",
        doubt="they were two things from the start, one behind the other",
        family="identity",
        share=4.5,
        tag="splitting (e.g. one object splits into two)",
        tag_starts=("splitting",),
        color=(0x3D, 0x9A, 0x50),
    ),
    "Background Distortion": CategoryFacts(
        meaning="the background warps",
        doubt="the lens, a stabiliser or hot air bends the picture there",
        family="texture",
        share=4.1,
        tag="overlap background distortion (e.g. because of object movement)",
        tag_starts=("overlap background distortion", "background distortion"),
        color=(0xB8, 0x8A, 0x00),
    ),
    "Object Disappearance": CategoryFacts(
        meaning="something visible vanishes",
        doubt="it goes behind something there, or a cut falls on that moment",
        family="identity",
        share=2.5,
        tag="sudden disappearance",
        tag_starts=("sudden disappear", "disappear"),
        color=(0xD6, 0x40, 0x9F),
    ),
    "Unexpected Move": CategoryFacts(
        meaning="a static thing moves by itself",
        doubt="wind, a hand or the camera itself moves it",
        family="motion",
        share=2.1,
        tag="unexpected move for still things (e.g. trail moves)",
        tag_starts=("unexpected move",),
        color=(0xA1, 0x79, 0x5C),
    ),
}
"""A new category stands at the end, here and in `Category`: seeds, and what models were trained to say, go by place."""

MEANINGS: Final[Mapping[Category, str]] = {category: facts.meaning for category, facts in FACTS.items()}
"""What is seen, in a few words."""

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
    categories: set[Category] = set()
    unknown: list[str] = []
    for tag in raw:
        key = " ".join(re.split(r"[\s_-]+", tag.strip().lower()))
        by_name = next((known for known in CATEGORIES if known.lower() == key), None)
        category = by_name or next((known for known in CATEGORIES if key.startswith(FACTS[known].tag_starts)), None)
        if category is not None:
            categories.add(category)
        elif not key.startswith(_NO_CATEGORY):
            unknown.append(tag)
    return Tags(tuple(category for category in CATEGORIES if category in categories), tuple(unknown))
