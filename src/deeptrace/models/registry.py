"""Models known by name: one TOML file of entries, read and checked when a name is asked for."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import Annotated, Any, Final, Literal

from deeptrace.answer.space import Kind
from deeptrace.errors import ModelError
from deeptrace.models.base import Sampling
from deeptrace.schema import Length, Text, check

FILE_NAME: Final = "registry.toml"
_HOMES: Final = ("hf", "openai")


@dataclass(frozen=True)
class RegistryEntry:
    """One named model: how it is asked, and what may be done with it.

    ``home`` is what `deeptrace.models.load` takes. ``sampling`` holds fps, max_frames and short_side, as far as they
    are not the home's own. ``space`` is the coordinates it speaks. ``published`` is its row in the paper's tables;
    ``tried`` says that it was run here with its real weights. ``system_prompt`` ("": none) is for ``hf:``, None the
    checkpoint's own. ``convert``: its weights are in the format of VideoLLaMA 3's own code, and what they were trained
    for; `converted` says how they are made ready.
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
    note: Text | None = None
    name: str = ""

    def problems(self) -> Iterator[str]:
        """What is wrong with the fields together."""
        if self.home.partition(":")[0] not in _HOMES:
            yield f"home: {self.home!r} does not begin with {': or '.join(_HOMES)}:"
        for key in ("system_prompt", "convert"):
            if getattr(self, key) is not None and not self.home.startswith("hf:"):
                yield f"{key}: goes with a home that begins with hf:"
        if self.name:
            yield "name: stands in the head of the entry"

    def options(self) -> dict[str, Any]:
        """What the home is given."""
        options = {"question": self.question, "sampling": self.sampling, "space": self.space}
        return options if self.system_prompt is None else {**options, "system_prompt": self.system_prompt}

    @property
    def converted(self) -> tuple[str, str] | None:
        """The converted form, as ``--model`` takes it, and the one command that makes it; None where none is needed."""
        if self.convert is None:
            return None
        source = self.home.partition(":")[2]
        return f"hf:{self.name}", f"deeptrace models convert {source} {self.name} --trained-for {self.convert}"


@cache
def entries() -> Mapping[str, RegistryEntry]:
    """All named models, in the order of the file.

    Raises:
        ModelError: the file is not what it must be; all mistakes at once.
    """
    text = resources.files("deeptrace.models").joinpath(FILE_NAME).read_text(encoding="utf-8")
    return parse(text)


def parse(text: str) -> Mapping[str, RegistryEntry]:
    """The entries in a TOML text; see the head of ``registry.toml``.

    Raises:
        ModelError: lists every mistake.
    """
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ModelError(f"{FILE_NAME} is not TOML: {error}") from None
    mistakes: list[str] = []
    entries: dict[str, RegistryEntry] = {}
    for name, table in tables.items():
        if not isinstance(table, dict):
            mistakes.append(f'{name!r} stands outside of an entry; names with a dot need quotes: ["{name}..."]')
            continue
        entry, problems = check(RegistryEntry, table, name=name)
        mistakes += problems
        if entry is not None:
            entries[name] = replace(entry, name=name)
    if mistakes:
        raise ModelError("\n  ".join([f"{FILE_NAME}: {len(mistakes)} mistakes:", *mistakes]))
    return entries
