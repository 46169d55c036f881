"""A recipe: one TOML file -> one frozen dataclass, and back. Knows the form of recipes, not what a kind does.

All that is wrong in a file is said at once, by the name of the table and the key. An unknown key is an error: a
misspelt one would train something else than was meant.
"""

from __future__ import annotations

import difflib
import json
import math
import os
import tomllib
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

from deeptrace.errors import RecipeError
from deeptrace.files import read_bytes

R = TypeVar("R")

MAX_BYTES: Final = 1 << 20


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


Count = Annotated[int, Range(low=1)]
WholeNumber = Annotated[int, Range(low=0)]
Positive = Annotated[float, Range(above=0)]
NotNegative = Annotated[float, Range(low=0)]
Share = Annotated[float, Range(low=0, high=1)]


# ── from TOML ───────────────────────────────────────────────────────────────────────────────────────────────────────


def read_toml(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The tables of a TOML file of at most 1 MiB.

    Raises:
        FileError: it cannot be read.
        RecipeError: it is not TOML.
    """
    name = Path(path).name
    try:
        return tomllib.loads(read_bytes(path, limit=MAX_BYTES).decode("utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(name, [f"is not TOML: {error}"]) from None


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """``below`` with the keys of ``above`` put over it, table by table; a list takes the place of a list."""
    result = dict(below)
    for key, value in above.items():
        tables = isinstance(value, Mapping) and isinstance(below.get(key), Mapping)
        result[key] = merged(below[key], value) if tables else value
    return result


def override(table: Mapping[str, Any], settings: Iterable[str], name: str) -> dict[str, Any]:
    """The table with ``key.key=value`` put in; a value is TOML, or text where it is no TOML.

    Raises:
        RecipeError: a setting without ``=``, or one that goes through a value that is no table.
    """
    result: dict[str, Any] = {key: _copied(value) for key, value in table.items()}
    problems = []
    for setting in settings:
        path, equals, text = setting.partition("=")
        *tables, key = [part.strip() for part in path.split(".")]
        if not equals or not key:
            problems.append(f"{setting!r} is no setting. Write it as table.key=value")
            continue
        here: Any = result
        for part in tables:
            here = here.setdefault(part, {}) if isinstance(here, dict) else None
        if isinstance(here, dict):
            here[key] = _value(text.strip())
        else:
            problems.append(f"{path.strip()}: {'.'.join(tables)} is no table")
    if problems:
        raise RecipeError(name, problems)
    return result


def _copied(value: Any) -> Any:
    return {key: _copied(item) for key, item in value.items()} if isinstance(value, dict) else value


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def build(recipe: type[R], table: Mapping[str, Any], name: str) -> R:
    """The recipe that a table says. Fields are checked by their annotated types; see `Range`.

    TOML has no null: where a field may be None, empty text says so. A recipe that extends another needs it.
    A recipe, or a table in it, may have a method ``problems() -> Iterable[str]`` that looks at its fields together.

    Raises:
        RecipeError: lists everything that is wrong.
    """
    problems: list[str] = []
    built = _table(recipe, table, "", problems)
    if problems:
        raise RecipeError(name, problems)
    return typing.cast(R, built)


def _table(cls: Any, table: Mapping[str, Any], at: str, problems: list[str]) -> Any:
    hints = typing.get_type_hints(cls, include_extras=True)
    known = [field.name for field in fields(cls)]
    for key in table:
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else f" Known: {', '.join(known)}."
            problems.append(f"{at}{key}: is not a setting.{hint}")
    values: dict[str, Any] = {}
    before = len(problems)
    for field in fields(cls):
        if field.name in table:
            values[field.name] = _checked(hints[field.name], table[field.name], f"{at}{field.name}", problems)
        elif field.default is MISSING and field.default_factory is MISSING:
            problems.append(f"{at}{field.name}: is missing")
    if len(problems) > before:
        return None
    built = cls(**values)
    together = getattr(built, "problems", None)
    if together is not None:
        problems.extend(f"{at}{problem}" for problem in together())
    return built


def _checked(hint: Any, value: Any, at: str, problems: list[str]) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        checked = _checked(arguments[0], value, at, problems)
        if isinstance(checked, (int, float)):
            problem = arguments[1].problem(checked)
            if problem is not None:
                problems.append(f"{at}: {problem}")
        return checked
    if origin in (typing.Union, types.UnionType):  # X | None
        if value == "":
            return None
        (inner,) = (argument for argument in arguments if argument is not type(None))
        return _checked(inner, value, at, problems)
    if origin is Literal:
        if value not in arguments or isinstance(value, bool) not in {isinstance(a, bool) for a in arguments}:
            problems.append(f"{at}: {value!r} is not one of {', '.join(map(str, arguments))}")
        return value
    if origin is tuple:
        if not isinstance(value, Sequence) or isinstance(value, str):
            problems.append(f"{at}: {value!r} is not a list")
            return ()
        return tuple(_checked(arguments[0], item, f"{at}[{i}]", problems) for i, item in enumerate(value))
    if is_dataclass(hint):
        if not isinstance(value, Mapping):
            problems.append(f"{at}: {value!r} is not a table")
            return None
        return _table(hint, value, f"{at}.", problems)
    return _plain(hint, value, at, problems)


_WORDS: Final = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


def _plain(hint: Any, value: Any, at: str, problems: list[str]) -> Any:
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not hint:
        problems.append(f"{at}: {value!r} is not {_WORDS[hint]}")
    return value


# ── to TOML ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def to_toml(recipe: Any) -> str:
    """The recipe with every default filled in, as TOML that `build` reads back to an equal one. None is left out."""
    return "\n".join(_lines(recipe, "")) + "\n"


def _lines(table: Any, at: str) -> list[str]:
    plain, tables = [], []
    for field in fields(table):
        value = getattr(table, field.name)
        if is_dataclass(value):
            tables += ["", f"[{at}{field.name}]", *_lines(value, f"{at}{field.name}.")]
        elif value is not None:
            plain.append(f"{field.name} = {_toml(value)}")
    return plain + tables


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (tuple, list)):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, str):  # JSON's escapes are TOML's, but for one character that JSON leaves as it is
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)
