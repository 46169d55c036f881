"""Places in words."""

from __future__ import annotations

from deeptrace.pages.words import place_words


def test_nine_places_and_one_that_is_everywhere() -> None:
    places = {
        (i, j): place_words((i / 3 + 0.1, j / 3 + 0.1, i / 3 + 0.2, j / 3 + 0.2)) for i in (0, 1, 2) for j in (0, 1, 2)
    }
    assert places[0, 1] == "on the left"
    assert places[2, 0] == "in the upper right"
    assert places[1, 2] == "at the bottom"
    assert places[1, 1] == "at the centre"
    assert len(set(places.values())) == 9
    assert place_words((0.05, 0.05, 0.95, 0.95)) == "over most of the frame"
