"""Places in words, for explanations and reports. Knows boxes; knows nothing of videos or models."""

from __future__ import annotations

from deeptrace.records import Box


def place_words(box: Box) -> str:
    """Where a box lies, by its centre on a 3 x 3 grid: "in the upper left", "at the top", "on the right".

    The box is xyxy in fractions of the frame. One that covers more than 0.6 of the frame lies "over most of the frame".
    """
    x0, y0, x1, y1 = box
    if (x1 - x0) * (y1 - y0) > 0.6:
        return "over most of the frame"
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    column = "left" if x < 1 / 3 else "right" if x > 2 / 3 else ""
    row = "upper" if y < 1 / 3 else "lower" if y > 2 / 3 else ""
    if row and column:
        return f"in the {row} {column}"
    if row:
        return "at the top" if row == "upper" else "at the bottom"
    return f"on the {column}" if column else "at the centre"
