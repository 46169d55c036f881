"""Models known by name: one TOML file of entries, read and checked when a name is asked for."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from importlib import resources
from typing import Any, Final, Literal, get_args

from deeptrace.errors import ModelError

FILE_NAME: Final = "registry.toml"

SpaceKind = Literal["source", "resized", "per-mille"]


@dataclass(frozen=True)
class Entry:
    """One named model: how it is asked, and what may be done with it.

    ``home`` is what `deeptrace.models.load` takes. ``sampling`` holds fps, max_frames and short_side, as far as they
    are not the home's own. ``space`` is the coordinates it speaks. ``published`` is its row in the paper's tables;
    ``tried`` says that it was run here with its real weights.
    """

    name: str
    title: str
    home: str
    sampling: Mapping[str, float | int]
    space: SpaceKind
    licence: str
    question: str = "zero-shot"
    published: str | None = None
    tried: bool = False
    note: str | None = None

    def options(self) -> dict[str, Any]:
        """What the home is given."""
        from deeptrace.models.base import Sampling

        return {"question": self.question, "sampling": Sampling(**self.sampling), "space": self.space}  # type: ignore[arg-type]


@cache
def entries() -> Mapping[str, Entry]:
    """All named models, in the order of the file.

    Raises:
        ModelError: the file is not what it must be; all mistakes at once.
    """
    text = resources.files("deeptrace.models").joinpath(FILE_NAME).read_text(encoding="utf-8")
    return parse(text)


def parse(text: str) -> Mapping[str, Entry]:
    """The entries in a TOML text; see the head of ``registry.toml``.

    Raises:
        ModelError: lists every mistake.
    """
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ModelError(f"{FILE_NAME} is not TOML: {error}") from None
    mistakes: list[str] = []
    found = {name: entry for name, table in tables.items() if (entry := _entry(name, table, mistakes)) is not None}
    if mistakes:
        raise ModelError("\n  ".join([f"{FILE_NAME}: {len(mistakes)} mistakes:", *mistakes]))
    return found


_REQUIRED: Final = ("home", "sampling", "space", "licence", "title")
_SAMPLING: Final[Mapping[str, type]] = {"fps": float, "max_frames": int, "short_side": int}


def _entry(name: str, table: object, mistakes: list[str]) -> Entry | None:
    if not isinstance(table, dict):
        mistakes.append(f'{name!r} stands outside of an entry; names with a dot need quotes: ["{name}..."]')
        return None
    before = len(mistakes)
    known = {field.name for field in fields(Entry)} - {"name"}
    mistakes += [f"{name}: {key!r} is not a field; known: {', '.join(sorted(known))}" for key in set(table) - known]
    mistakes += [f"{name}: {key} is missing" for key in _REQUIRED if key not in table]
    for key in known & set(table) - {"sampling", "tried"}:
        if not isinstance(table[key], str) or not table[key].strip():
            mistakes.append(f"{name}: {key} must be a text, got {table[key]!r}")
    if table.get("space") not in (*get_args(SpaceKind), None):
        mistakes.append(f"{name}: space {table['space']!r} is not one of {', '.join(get_args(SpaceKind))}")
    home = table.get("home")
    if isinstance(home, str) and home.partition(":")[0] not in ("hf", "openai"):
        mistakes.append(f"{name}: home {home!r} does not begin with hf: or openai:")
    if not isinstance(table.get("tried", False), bool):
        mistakes.append(f"{name}: tried must be true or false")
    mistakes += [f"{name}: {problem}" for problem in _sampling_problems(table.get("sampling", {"fps": 1.0}))]
    return Entry(name=name, **table) if len(mistakes) == before else None


def _sampling_problems(value: object) -> list[str]:
    if not isinstance(value, dict) or "fps" not in value:
        return [f"sampling must be a table with fps, got {value!r}"]
    problems = [f"sampling.{key} is not one of {', '.join(_SAMPLING)}" for key in set(value) - set(_SAMPLING)]
    for key, kind in _SAMPLING.items():
        number = value.get(key, 1)
        allowed = (int, float) if kind is float else (int,)
        if isinstance(number, bool) or not isinstance(number, allowed) or number <= 0:
            problems.append(f"sampling.{key} must be a positive number, got {number!r}")
    return problems
