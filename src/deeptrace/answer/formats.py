"""The registry of answer formats: their names, their versions, and what an answer in each of them can say.

A format is a form (how the question is put and the answer is written) with what it asks for. Its name says both:
``trained`` is the paper's; ``trained-no-time`` leaves the time out; ``json-no-box-with-category`` is JSON without
boxes, with categories. Name and version are stored wherever answers are.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Final, Literal, TypeAlias, get_args

from deeptrace.errors import AnswerError

Form: TypeAlias = Literal["trained", "zero-shot", "informed", "json", "informed-json"]
Field: TypeAlias = Literal["box", "onset", "offset", "category", "explanation"]

FIELDS: Final[tuple[Field, ...]] = get_args(Field)
"""What an answer can say of a trace. Each format carries some of them."""

Format: TypeAlias = str
"""The name of a format: a key of `FORMATS`."""

_VERSIONS: Final[dict[Form, int]] = {"trained": 1, "zero-shot": 1, "informed": 1, "json": 1, "informed-json": 1}
"""Raised when the words of a question or an answer change, so that what is stored under the old one is not misread."""

JSON_LABEL_PREFIX: Final = '{"label": "'


@dataclass(frozen=True)
class AnswerFormat:
    """One format. ``fields`` is what an answer says of a trace; ``probability``: whether P(fake) is asked for."""

    form: Form
    fields: frozenset[Field]
    probability: bool = False

    @property
    def name(self) -> str:
        """The form, then what is left out, then what is added, in one fixed order."""
        left_out = [name for name, field in _LEFT_OUT.items() if field not in self.fields]
        added = ["category"] if "category" in self.fields else []
        added += ["probability"] if self.probability else []
        return "".join([self.form, *(f"-no-{name}" for name in left_out), *(f"-with-{name}" for name in added)])

    @property
    def version(self) -> int:
        """The version of its form."""
        return _VERSIONS[self.form]

    @property
    def is_json(self) -> bool:
        """Whether the answer is a JSON object."""
        return self.form in ("json", "informed-json")

    @property
    def is_informed(self) -> bool:
        """Whether the question says what is shown: frame size, duration, times, coordinates."""
        return self.form in ("informed", "informed-json")

    @property
    def label_prefix(self) -> str:
        """What stands before the label in an answer: with it behind the prompt, the next token decides."""
        return JSON_LABEL_PREFIX if self.is_json else ""


_LEFT_OUT: Final[dict[str, Field]] = {"box": "box", "time": "onset", "explanation": "explanation"}


def _all_formats() -> Iterator[AnswerFormat]:
    for form in get_args(Form):
        is_json = form.endswith("json")
        for box, time, explanation, category, probability in product((True, False), repeat=5):
            if (not probability) and not is_json:
                continue
            fields: set[Field] = {"box"} if box else set()
            if time:
                fields |= {"onset", "offset"} if is_json else {"onset"}
            if explanation:
                fields.add("explanation")
            if not category:
                fields.add("category")
            yield AnswerFormat(form, frozenset(fields), probability=not probability)


FORMATS: Final[dict[Format, AnswerFormat]] = {format.name: format for format in _all_formats()}
"""Every format by its name: five forms, each without any of box, time and explanation, and with categories."""

FORMAT_VERSIONS: Final[dict[Format, int]] = {name: format.version for name, format in FORMATS.items()}
"""Name and version of an answer format are stored wherever answers are; see `check_format`."""


def known_format(name: Format) -> AnswerFormat:
    """The format of that name.

    Raises:
        AnswerError: there is none.
    """
    format = FORMATS.get(name)
    if format is None:
        parts = sorted(name.split("-"))
        close = [known for known in FORMATS if sorted(known.split("-")) == parts]  # its parts in another order
        close = close or difflib.get_close_matches(name, FORMATS, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise AnswerError(
            f"{name!r} is not an answer format. Known: {', '.join(get_args(Form))}, each with any of -no-box, "
            f"-no-time, -no-explanation, -with-category (and -with-probability in JSON), in this order.{hint}"
        )
    return format


def check_format(name: str, version: int) -> None:
    """Make sure that answers stored under this format name and version are read by this code.

    Raises:
        AnswerError: an unknown format, or another version of it; names both.
    """
    ours = known_format(name).version
    if version != ours:
        raise AnswerError(f"answer format {name!r} version {version} is stored, this code has {ours}")
