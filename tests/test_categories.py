"""Raw annotation tags onto the nine categories."""

from __future__ import annotations

import pytest

from deeptrace.categories import CATEGORIES, MEANINGS, read_tags


@pytest.mark.parametrize(
    ("tag", "category"),
    [
        ("unexpected move for still things (e.g. trail moves)", "Unexpected Move"),
        ("Shape distortion (e.g. human arm bending as rubbery)", "Object Distortion"),
        ("merging (e.g. two objects merge into one.)", "Object Merging"),
        ("splitting (e.g. one object splits into two)", "Object Splitting"),
        ("overlap background distortion (e.g. because of object movement)", "Background Distortion"),
        ("weird motion (e.g. unnatural movement paths / patterns)", "Object Trajectory"),
        ("Blurring (e.g. sudden blurring)", "Sudden Blurring"),
        ("  Sudden  Disappearance ", "Object Disappearance"),
        ("sudden appearance of a thing", "Redundant Object"),
        *((c, c) for c in CATEGORIES),
        *((c.lower().replace(" ", "_"), c) for c in CATEGORIES),
    ],
)
def test_known_tags(tag: str, category: str) -> None:
    tags = read_tags([tag])
    assert tags.categories == (category,)
    assert tags.unknown == ()


def test_unknown_tags_are_kept_and_none_of_the_above_is_known() -> None:
    tags = read_tags(["weird light", "Blurring (e.g. x)", "None of the above, but I've written in the explanations"])
    assert tags.categories == ("Sudden Blurring",)
    assert tags.unknown == ("weird light",)


def test_categories_come_once_and_in_one_order() -> None:
    tags = read_tags(["merging", "Blurring", "merging (e.g. two objects merge into one.)"])
    assert tags.categories == ("Sudden Blurring", "Object Merging")
    assert set(MEANINGS) == set(CATEGORIES)
    assert len(CATEGORIES) == 9
