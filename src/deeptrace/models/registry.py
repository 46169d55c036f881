"""Models known by name: TOML files of entries, ours and one of the user's, read and checked when a name is asked for.

The user's file is what `using` was given, else what ``DEEPTRACE_REGISTRY`` names. Its entries join ours; one with a
name of ours takes its place.
"""

from __future__ import annotations

import os
import shlex
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from deeptrace.answer.space import Kind
from deeptrace.errors import FileError, ModelError
from deeptrace.files import read_bytes
from deeptrace.models.base import Sampling, Transport
from deeptrace.schema import Length, Text, check

FILE_NAME: Final = "registry.toml"
VARIABLE: Final = "DEEPTRACE_REGISTRY"
"""The environment's name of a user's file."""

_MAX_BYTES: Final = 1 << 20
_HOMES: Final = ("hf", "openai")


@dataclass(frozen=True)
class RegistryEntry:
    """One named model: how it is asked, and what may be done with it.

    ``home`` is what `deeptrace.models.load` takes. ``sampling`` holds fps, max_frames and short_side, as far as they
    are not the home's own. ``space`` is the coordinates it speaks. ``published`` is its row in the paper's tables;
    ``tried`` says that it was run here with its real weights. ``system_prompt`` ("": none) is for ``hf:``, None the
    checkpoint's own. ``convert``: its weights are in the format of VideoLLaMA 3's own code, and what they were trained
    for; `converted` says how they are made ready. ``transport`` is how a video travels to an ``openai:`` home, where
    not as pictures. ``source`` is the user's file that it stands in, "" for ours;
    ``overrides``: there it takes the place of one of ours.
    """

    title: Text
    home: Text
    sampling: Sampling
    space: Kind
    licence: Text
    question: Text = "zero-shot"
    published: Text | None = None
    tried: bool = False
    system_prompt: Annotated[str, Length(high=20_000)] | None = None
    convert: Literal["rewarddata", "general"] | None = None
    transport: Transport | None = None
    note: Text | None = None
    name: str = ""
    source: str = ""
    overrides: bool = False

    def problems(self) -> Iterator[str]:
        """What is wrong with the fields together."""
        if self.home.partition(":")[0] not in _HOMES:
            yield f"home: {self.home!r} does not begin with {': or '.join(_HOMES)}:"
        for key in ("system_prompt", "convert"):
            if getattr(self, key) is not None and not self.home.startswith("hf:"):
                yield f"{key}: goes with a home that begins with hf:"
        if self.transport is not None and not self.home.startswith("openai:"):
            yield "transport: goes with a home that begins with openai:"
        if self.name:
            yield "name: stands in the head of the entry"
        if self.source or self.overrides:
            yield "source, overrides: are filled in"

    def options(self) -> dict[str, Any]:
        """What the home is given."""
        options = {"question": self.question, "sampling": self.sampling, "space": self.space}
        given = {"system_prompt": self.system_prompt, "transport": self.transport}
        return options | {key: value for key, value in given.items() if value is not None}

    @property
    def converted(self) -> tuple[str, str] | None:
        """The converted form, as ``--model`` takes it, and the one command that makes it; None where none is needed."""
        if self.convert is None:
            return None
        source, target = shlex.quote(self.home.partition(":")[2]), shlex.quote(self.name)
        return f"hf:{self.name}", f"deeptrace models convert {source} {target} --trained-for {self.convert}"


_in_use: list[Path] = []


@contextmanager
def using(path: str | os.PathLike[str] | None) -> Iterator[None]:
    """Within, the user's file of entries is this one; None leaves it to the environment.

    Raises:
        ModelError: it cannot be read, or is not what it must be; all mistakes at once.
    """
    if path is None:
        yield
        return
    _in_use.append(Path(path))
    try:
        entries()
        yield
    finally:
        _in_use.pop()


def entries() -> Mapping[str, RegistryEntry]:
    """All named models: ours in the order of the file, then the user's.

    Raises:
        ModelError: a file cannot be read, or is not what it must be; all mistakes at once.
    """
    named = os.environ.get(VARIABLE)
    path = _in_use[-1] if _in_use else Path(named) if named else None
    return _own_entries() if path is None else {**_own_entries(), **_user_entries(path)}


@cache
def _own_entries() -> Mapping[str, RegistryEntry]:
    return parse(resources.files("deeptrace.models").joinpath(FILE_NAME).read_text(encoding="utf-8"))


def _user_entries(path: Path) -> Mapping[str, RegistryEntry]:
    try:
        text = read_bytes(path, limit=_MAX_BYTES).decode()
    except FileError as error:
        raise ModelError(f"the registry: {error}") from None
    except UnicodeDecodeError as error:
        raise ModelError(f"the registry {path.name!r} is not UTF-8: byte {error.start}.") from None
    ours = _own_entries()
    return {
        name: replace(entry, source=path.name, overrides=name in ours)
        for name, entry in parse(text, file_name=path.name).items()
    }


def parse(text: str, *, file_name: str = FILE_NAME) -> Mapping[str, RegistryEntry]:
    """The entries in a TOML text; see the head of ``registry.toml``. ``file_name`` is for errors.

    Raises:
        ModelError: lists every mistake, each with its entry and key.
    """
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ModelError(f"{file_name} is not TOML: {error}") from None
    except RecursionError:
        raise ModelError(f"{file_name} is nested too deeply. An entry is one table of settings.") from None
    except ValueError as error:  # a number of thousands of digits; a date that is none
        raise ModelError(f"{file_name} holds a value that cannot be read: {error}.") from None
    mistakes: list[str] = []
    entries: dict[str, RegistryEntry] = {}
    for name, table in tables.items():
        if not isinstance(table, dict):
            mistakes.append(f'{name!r} stands outside of an entry; names with a dot need quotes: ["{name}..."]')
            continue
        if ":" in name or not name.strip():
            mistakes.append(f"{name!r} is no name of a model: it is empty or has a colon")
            continue
        entry, problems = check(RegistryEntry, table, name=name)
        mistakes += problems
        if entry is not None:
            entries[name] = replace(entry, name=name)
    if mistakes:
        count = f"{len(mistakes)} mistake{'s' if len(mistakes) > 1 else ''}"
        raise ModelError("\n  ".join([f"{file_name}: {count}:", *mistakes]))
    return entries
