"""The coordinates that a model speaks, and the way from them to fractions of the frame and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from deeptrace.errors import AnswerError
from deeptrace.records import Box, check_bbox


@dataclass(frozen=True)
class Space:
    """The coordinates that a model speaks.

    ``source``: pixels of the video as displayed. ``resized``: pixels of the model's resized input. ``per-mille``:
    0 to 1000 in both directions. ``width`` and ``height`` are needed for the first two and refused for the third.
    """

    kind: Literal["source", "resized", "per-mille"]
    width: int | None = None
    height: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in ("source", "resized", "per-mille"):
            raise AnswerError(f"{self.kind!r} is not a coordinate space. Known: source, resized, per-mille")
        sized = self.width is not None and self.height is not None
        if self.kind == "per-mille" and (self.width is not None or self.height is not None):
            raise AnswerError("the space 'per-mille' has no width and height")
        if self.kind != "per-mille" and not (sized and self._scale[0] > 0 and self._scale[1] > 0):
            raise AnswerError(f"the space {self.kind!r} needs a positive width and height")

    @property
    def _scale(self) -> tuple[int, int]:
        return (self.width or 0, self.height or 0) if self.kind != "per-mille" else (1000, 1000)

    def encode(self, bbox_xyxy: Box) -> tuple[int, int, int, int]:
        """The box in whole units of this space, at least one unit wide and high."""
        width, height = self._scale
        x0, x1 = _round_span(bbox_xyxy[0] * width, bbox_xyxy[2] * width, width)
        y0, y1 = _round_span(bbox_xyxy[1] * height, bbox_xyxy[3] * height, height)
        return (x0, y0, x1, y1)

    def decode(self, values: tuple[float, float, float, float]) -> Box:
        """The box in fractions of the frame.

        Raises:
            RecordError: the box is empty or leaves the frame.
        """
        width, height = self._scale
        x0, y0, x1, y1 = values
        return check_bbox((x0 / width, y0 / height, x1 / width, y1 / height))

    def in_words(self) -> str:
        """What a question says of its coordinates."""
        width, height = self._scale
        if self.kind == "per-mille":
            return "x and y from 0 to 1000, in thousandths of the frame's width and height, from its top left corner"
        whose = "the frames" if self.kind == "source" else "the frames as you see them"
        return f"x from 0 to {width} and y from 0 to {height}, in pixels of {whose}, from the top left corner"

    def to_json(self) -> dict[str, Any]:
        """The space as it is stored in rows and beside weights."""
        return {"kind": self.kind, "width": self.width, "height": self.height}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Space:
        """The space that `to_json` wrote.

        Raises:
            AnswerError: a missing or unknown kind, or sizes that do not fit it.
        """
        unknown = set(value) - {"kind", "width", "height"}
        if unknown or "kind" not in value:
            raise AnswerError(f"a coordinate space has kind, width and height, got {', '.join(sorted(value))}")
        for name in ("width", "height"):
            if value.get(name) is not None and (isinstance(value[name], bool) or not isinstance(value[name], int)):
                raise AnswerError(f"{name} of a coordinate space is a whole number, got {value[name]!r}")
        return cls(value["kind"], value.get("width"), value.get("height"))


def _round_span(low: float, high: float, limit: int) -> tuple[int, int]:
    start, end = round(low), round(high)
    if start < end:
        return start, end
    start = min(start, limit - 1)
    return start, start + 1
