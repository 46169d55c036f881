"""The coordinates that a model speaks, and the way from them to fractions of the frame and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, get_args

from deeptrace.errors import AnswerError
from deeptrace.records import Box, check_bbox

Kind: TypeAlias = Literal["source", "resized", "per-mille", "per-mille-yx"]

SPACES: Final[tuple[Kind, ...]] = get_args(Kind)
"""The kinds of coordinate spaces by name."""

SIZELESS: Final = ("per-mille", "per-mille-yx")
"""Those that have no width and height."""

SPACE_NAMES: Final = tuple("resized:WIDTHxHEIGHT" if kind == "resized" else kind for kind in SPACES)
"""How a space is named where no frames tell the size of a model's input."""


@dataclass(frozen=True)
class Space:
    """The coordinates that a model speaks.

    ``source``: pixels of the video as displayed. ``resized``: pixels of the model's resized input. ``per-mille``:
    0 to 1000 in both directions. ``per-mille-yx``: the same with y before x, ``[y0, x0, y1, x1]``, as Gemini's models
    write boxes. ``width`` and ``height`` are needed for the first two and refused for the others.
    """

    kind: Kind
    width: int | None = None
    height: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in SPACES:
            raise AnswerError(f"{self.kind!r} is not a coordinate space. Known: {', '.join(SPACES)}")
        sized = self.width is not None and self.height is not None
        if self.kind in SIZELESS and (self.width is not None or self.height is not None):
            raise AnswerError(f"the space {self.kind!r} has no width and height")
        if self.kind not in SIZELESS and not (sized and self.units[0] > 0 and self.units[1] > 0):
            raise AnswerError(f"the space {self.kind!r} needs a positive width and height")

    @classmethod
    def of(cls, kind: str, width: int | None, height: int | None) -> Space:
        """The space of that kind; ``width`` and ``height`` are left out where it has none.

        Raises:
            AnswerError: no such kind, or a size is missing that it needs.
        """
        return cls(kind) if kind in SIZELESS else cls(kind, width, height)  # type: ignore[arg-type]  # checked by it

    @property
    def units(self) -> tuple[int, int]:
        """How many units the frame is (wide, high): pixels, or 1000 and 1000."""
        return (self.width or 0, self.height or 0) if self.kind not in SIZELESS else (1000, 1000)

    @property
    def is_y_first(self) -> bool:
        """Whether a box is ``[y0, x0, y1, x1]``."""
        return self.kind == "per-mille-yx"

    def encode(self, bbox_xyxy: Box) -> tuple[int, int, int, int]:
        """The box, given in fractions of the frame, in whole units of this space and in its order of x and y.

        At least one unit wide and high, each side from 0 to the frame's own in `units`.
        """
        width, height = self.units
        x0, x1 = _round_span(bbox_xyxy[0] * width, bbox_xyxy[2] * width, width)
        y0, y1 = _round_span(bbox_xyxy[1] * height, bbox_xyxy[3] * height, height)
        return (y0, x0, y1, x1) if self.is_y_first else (x0, y0, x1, y1)

    def decode(self, values: tuple[float, float, float, float]) -> Box:
        """The box in fractions of the frame, xyxy in [0, 1], of ``values`` in this space's units and order.

        Raises:
            RecordError: the box is empty or leaves the frame.
        """
        width, height = self.units
        x0, y0, x1, y1 = (values[1], values[0], values[3], values[2]) if self.is_y_first else values
        return check_bbox((x0 / width, y0 / height, x1 / width, y1 / height))

    def in_words(self) -> str:
        """What a question says of its coordinates."""
        width, height = self.units
        if self.is_y_first:
            sides = "in thousandths of the frame's height and width"
            return f"y before x, both from 0 to 1000, {sides}, from its top left corner"
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
