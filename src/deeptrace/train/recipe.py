"""A recipe: one TOML file -> one frozen dataclass, and back. Knows the form of recipes, not what a kind does.

What a table may hold is checked by `deeptrace.schema`: an unknown key is an error, since a misspelt one would train
something else than was meant.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from deeptrace.errors import RecipeError
from deeptrace.files import read_bytes
from deeptrace.schema import check

R = TypeVar("R")

MAX_BYTES: Final = 1 << 20
MAX_DEPTH: Final = 16


# ── from TOML ───────────────────────────────────────────────────────────────────────────────────────────────────────

_DEEP_KEY: Final = re.compile(r"""(?<![\w-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){64}""")
"""A dotted key of far more parts than `MAX_DEPTH`."""


def read_toml(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The tables of a TOML file of at most 1 MiB.

    Raises:
        FileError: it cannot be read.
        RecipeError: it is not TOML.
    """
    name = Path(path).name
    try:
        text = read_bytes(path, limit=MAX_BYTES).decode("utf-8-sig")
        if _DEEP_KEY.search(text):  # the parser would take the square of its length
            raise RecipeError(name, [f"is nested deeper than {MAX_DEPTH}"])
        table = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(name, [f"is not TOML: {error}"]) from None
    except (RecursionError, ValueError) as error:  # ValueError: a whole number of thousands of digits
        raise RecipeError(name, [_no_recipe(error)]) from None
    if _is_deep(table):
        raise RecipeError(name, [f"is nested deeper than {MAX_DEPTH}"])
    return table


def _no_recipe(error: Exception) -> str:
    return f"is nested deeper than {MAX_DEPTH}" if isinstance(error, RecursionError) else f"is not a recipe: {error}"


def _is_deep(value: Any) -> bool:
    """Whether tables and lists lie deeper in one another than any recipe has them. Goes down level by level."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [
            child
            for item in level
            if isinstance(item, dict | list)
            for child in (item.values() if isinstance(item, dict) else item)
        ]
    return bool(level)


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """``below`` with the keys of ``above`` put over it, table by table; a list takes the place of a list."""
    result = dict(below)
    for key, value in above.items():
        tables = isinstance(value, Mapping) and isinstance(below.get(key), Mapping)
        result[key] = merge(below[key], value) if tables else value
    return result


def override(table: Mapping[str, Any], settings: Iterable[str], name: str) -> dict[str, Any]:
    """The table with ``key.key=value`` put in; a value is TOML, or text where it is no TOML.

    Raises:
        RecipeError: a setting without ``=``, or one that goes through a value that is no table.
    """
    result: dict[str, Any] = {key: _copy(value) for key, value in table.items()}
    problems = []
    for setting in settings:
        path, equals, text = setting.partition("=")
        *tables, key = [part.strip() for part in path.split(".")]
        if len(tables) > MAX_DEPTH or len(text) > MAX_BYTES:
            problems.append(f"{setting[:60]!r}... is nested deeper than {MAX_DEPTH}, or too long")
            continue
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


def _copy(value: Any) -> Any:
    return {key: _copy(item) for key, item in value.items()} if isinstance(value, dict) else value


def _value(text: str) -> Any:
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError, ValueError):
        return text
    return text if _is_deep(value) else value


def build(recipe: type[R], table: Mapping[str, Any], name: str) -> R:
    """The recipe that a table says, see `deeptrace.schema`: a frozen dataclass, its fields checked by their types.

    TOML has no null: where a field may be None, empty text says so. A recipe that extends another needs it.

    Raises:
        RecipeError: lists everything that is wrong.
    """
    built, problems = check(recipe, table, empty_is_none=True)
    if built is None:
        raise RecipeError(name, problems)
    return built


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
