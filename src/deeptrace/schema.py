"""A table of a stranger's (TOML, JSON) -> a frozen dataclass, checked by the annotated types of its fields.

Recipes, the registry, checkpoint cards, calibrations and grades are read by this. Every mistake is told at once, by
table, key and value; a key that is not known is a mistake with the nearest known one beside it. Records and rows are
not read here: in them a bad value empties its field and is flagged, which is another promise (`deeptrace.rows`).

pydantic says as much and costs 0.28 s of every start and 10 MB; msgspec tells the first mistake only.
"""

from __future__ import annotations

import difflib
import math
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from typing import Annotated, Any, Final, Literal, Protocol, TypeVar

__all__ = ["Count", "Length", "NotNegative", "Positive", "Range", "Share", "Text", "WholeNumber", "check"]

T = TypeVar("T")


class Rule(Protocol):
    """What an annotated field must be beside its type."""

    def problem(self, value: Any) -> str | None:
        """What is wrong with a value of the right type, in words."""
        ...


@dataclass(frozen=True)
class Range:
    """Which numbers a field takes: ``low <= x <= high``, and ``x > above`` where that is given."""

    low: float = -math.inf
    high: float = math.inf
    above: float | None = None

    def problem(self, value: float) -> str | None:
        """What is wrong with a number, in words."""
        if not math.isfinite(value):
            return f"{value} is not a finite number"
        if self.above is not None and not value > self.above:
            return f"{value:g} is not greater than {self.above:g}"
        if not self.low <= value <= self.high:
            bounds = f"at least {self.low:g}" if math.isinf(self.high) else f"in [{self.low:g}, {self.high:g}]"
            return f"{value:g} is not {bounds}"
        return None


@dataclass(frozen=True)
class Length:
    """How long a text or a list may be: characters, or items."""

    low: int = 0
    high: int = 1 << 20

    def problem(self, value: Sequence[Any]) -> str | None:
        """What is wrong with a text or a list of this length, in words."""
        if isinstance(value, str) and self.low == 1 and not value.strip():
            return "is empty"
        if self.low <= len(value) <= self.high:
            return None
        many = "characters" if isinstance(value, str) else "items"
        bounds = f"{self.low}" if self.low == self.high else f"{self.low} to {self.high}"
        return f"has {len(value)} {many}, expected {bounds}"


Count = Annotated[int, Range(low=1)]
WholeNumber = Annotated[int, Range(low=0)]
Positive = Annotated[float, Range(above=0)]
NotNegative = Annotated[float, Range(low=0)]
Share = Annotated[float, Range(low=0, high=1)]
Text = Annotated[str, Length(low=1)]


def check(
    schema: type[T],
    table: Any,
    *,
    name: str = "",
    empty_is_none: bool = False,
    unknown: Literal["refused", "ignored"] = "refused",
) -> tuple[T | None, list[str]]:
    """The dataclass that a table says, and what is wrong with it: exactly one of None and an empty list.

    ``name`` leads each mistake (``name.key: ...``). ``empty_is_none``: where a field may be None, empty text says so,
    as TOML has no null. Fields may be of bool, int, float, str, Literal, a dataclass, ``tuple[X, ...]``,
    ``Mapping[str, X]``, Any, each ``| None`` and each `Annotated` with a `Rule`. A method
    ``problems() -> Iterable[str]`` of a dataclass looks at its fields together.
    """
    reading = _Reading(empty_is_none, unknown == "ignored", [])
    if isinstance(table, Mapping):
        built = reading.table(schema, table, f"{name}." if name else "")
    else:
        built = None
        reading.wrong(name or "it", table, "a table")
    return (None if reading.problems else built), reading.problems


@cache
def _hints(schema: Any) -> Mapping[str, Any]:
    return typing.get_type_hints(schema, include_extras=True)


_WORDS: Final = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
_SHOWN: Final = 200
"""Characters of a value in a message."""
_LARGEST: Final = 2**63 - 1
"""Whole numbers of a stranger's are at most this far from 0: what computes with them takes no larger ones."""


def _brief(value: Any) -> str:
    try:
        text = repr(value)
    except ValueError:  # TOML writes numbers in hexadecimal digits that Python will not write in decimal ones
        text = "a number of thousands of digits"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


@dataclass
class _Reading:
    empty_is_none: bool
    ignores_unknown: bool
    problems: list[str]

    def wrong(self, at: str, value: Any, expected: str) -> None:
        self.problems.append(f"{at}: {_brief(value)} is not {expected}")

    def table(self, schema: Any, table: Mapping[str, Any], at: str) -> Any:
        hints = _hints(schema)
        field_names = [field.name for field in fields(schema)]
        for key in table:
            if key not in field_names and not self.ignores_unknown:
                close = difflib.get_close_matches(str(key)[:_SHOWN], field_names, n=1)
                hint = f" Did you mean {close[0]!r}?" if close else f" Known: {', '.join(field_names)}."
                self.problems.append(f"{at}{str(key)[:_SHOWN]}: is not a setting.{hint}")
        values: dict[str, Any] = {}
        before = len(self.problems)
        for field in fields(schema):
            if field.name in table:
                values[field.name] = self.value(hints[field.name], table[field.name], f"{at}{field.name}")
            elif field.default is MISSING and field.default_factory is MISSING:
                self.problems.append(f"{at}{field.name}: is missing")
        if len(self.problems) > before:
            return None
        built = schema(**values)
        together = getattr(built, "problems", None)
        if together is not None:
            self.problems.extend(f"{at}{problem}" for problem in together())
        return built

    def value(self, hint: Any, value: Any, at: str) -> Any:
        origin, arguments = typing.get_origin(hint), typing.get_args(hint)
        if hint is Any:
            return value
        if origin is Annotated:
            return self.ruled(arguments[0], arguments[1:], value, at)
        if origin in (typing.Union, types.UnionType):  # X | None
            if value is None or (self.empty_is_none and value == ""):
                return None
            (inner,) = (argument for argument in arguments if argument is not type(None))
            return self.value(inner, value, at)
        if origin is Literal:
            if not any(value == one and type(value) is type(one) for one in arguments):
                self.wrong(at, value, f"one of {', '.join(map(str, arguments))}")
            return value
        if origin is tuple:
            if not isinstance(value, Sequence) or isinstance(value, str):
                return self.wrong(at, value, "a list")
            return tuple(self.value(arguments[0], item, f"{at}[{i}]") for i, item in enumerate(value))
        if origin is not None and issubclass(origin, Mapping):
            if not isinstance(value, Mapping):
                return self.wrong(at, value, "a table")
            return {str(key): self.value(arguments[1], item, f"{at}.{key}") for key, item in value.items()}
        if is_dataclass(hint):
            return self.table(hint, value, f"{at}.") if isinstance(value, Mapping) else self.wrong(at, value, "a table")
        return self.plain(hint, value, at)

    def ruled(self, hint: Any, rules: Sequence[Rule], value: Any, at: str) -> Any:
        before = len(self.problems)
        built = self.value(hint, value, at)
        for rule in rules:
            problem = rule.problem(built) if len(self.problems) == before else None
            if problem is not None:
                self.problems.append(f"{at}: {problem}")
        return built

    def plain(self, hint: Any, value: Any, at: str) -> Any:
        if hint is float and isinstance(value, int) and not isinstance(value, bool):
            try:
                return float(value)
            except OverflowError:
                return self.wrong(at, value, "a number of usual size")
        if type(value) is not hint:
            self.wrong(at, value, _WORDS[hint])
        elif hint is int and abs(value) > _LARGEST:
            self.wrong(at, value, "a number of usual size")
        return value
