"""Where a generated clip comes from: one row a clip, in ``generations.jsonl``, checked when written and when read."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import date
from pathlib import Path
from typing import Any, Final

from deeptrace.data.paths import check_path
from deeptrace.data.read.problems import Problem
from deeptrace.errors import JsonError, RecordError
from deeptrace.files import dumps, loads, read_bytes, write_jsonl

SCHEMA: Final = "deeptrace.generation/1"


@dataclass(frozen=True)
class GenerationManifest:
    """How one clip was made. ``path`` is relative to the data's root.

    ``date`` is ``YYYY-MM-DD``; ``seed`` is None where the generator takes none; ``settings`` is everything else that
    was chosen; ``terms_of_use`` names the terms under which the clip may be used, best by an address and a date.

    Raises:
        RecordError: a field that is missing or not valid, by name.
    """

    video_id: str
    path: str
    prompt: str
    generator: str
    generator_version: str
    date: str
    terms_of_use: str
    prompt_id: str | None = None
    seed: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    sha256: str | None = None

    def __post_init__(self) -> None:
        for name in ("video_id", "prompt", "generator", "generator_version", "terms_of_use"):
            value = getattr(self, name)
            if not isinstance(value, str) or not value.strip():
                raise RecordError(name, "is missing or empty")
        object.__setattr__(self, "path", check_path(self.path))
        if self.prompt_id is not None and (not isinstance(self.prompt_id, str) or not self.prompt_id):
            raise RecordError("prompt_id", f"{self.prompt_id!r} is not a name")
        try:
            if date.fromisoformat(self.date).isoformat() != self.date:
                raise ValueError
        except (TypeError, ValueError):
            raise RecordError("date", f"{self.date!r} is not a date like 2026-03-01") from None
        if self.seed is not None and (isinstance(self.seed, bool) or not isinstance(self.seed, int)):
            raise RecordError("seed", f"{self.seed!r} is not a whole number")
        if self.sha256 is not None and not (
            isinstance(self.sha256, str) and len(self.sha256) == 64 and set(self.sha256) <= set("0123456789abcdef")
        ):
            raise RecordError("sha256", "is not 64 hexadecimal digits")
        if not isinstance(self.settings, Mapping):
            raise RecordError("settings", "is not an object")
        try:
            object.__setattr__(self, "settings", loads(dumps(dict(self.settings))))
        except JsonError as error:
            raise RecordError("settings", str(error)) from None


def write_generations(path: str | os.PathLike[str], rows: Iterable[GenerationManifest]) -> None:
    """Write one row a clip, in the order given, atomically.

    Raises:
        RecordError: a ``video_id`` or a ``path`` stands twice.
    """
    row_list = list(rows)
    for name in ("video_id", "path"):
        values = [getattr(row, name) for row in row_list]
        if twice := {value for value in values if values.count(value) > 1} if len(set(values)) < len(values) else None:
            raise RecordError(name, f"{min(twice)!r} stands twice")
    write_jsonl(path, ({"schema": SCHEMA, **asdict(row)} for row in row_list))


def read_generations(path: str | os.PathLike[str]) -> tuple[list[GenerationManifest], list[Problem]]:
    """The rows that are valid, and what is wrong with the other lines, which are set aside.

    Raises:
        FileError: the file cannot be read.
    """
    field_names = {each.name for each in fields(GenerationManifest)}
    rows: list[GenerationManifest] = []
    problems: list[Problem] = []
    ids: set[str] = set()
    paths: set[str] = set()
    for number, line in enumerate(read_bytes(path).split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            value = loads(line)
        except JsonError as error:
            problems.append(Problem(Path(path).name, number, None, "line", f"is {error}", "set_aside"))
            continue
        identifier = value.get("video_id") if isinstance(value, dict) else None
        who = identifier if isinstance(identifier, str) else None
        try:
            if not isinstance(value, dict) or value.get("schema") != SCHEMA:
                raise RecordError("schema", f"is not {SCHEMA}")
            unknown = sorted(set(value) - field_names - {"schema"})
            if unknown:
                raise RecordError(unknown[0], "is not a field of this schema")
            lacking = [name for name in ("video_id", "path", "prompt", "generator", "date") if name not in value]
            if lacking:
                raise RecordError(lacking[0], "is missing")
            row_fields = {key: item for key, item in value.items() if key != "schema"}
            row = GenerationManifest(**{"generator_version": "", "terms_of_use": "", **row_fields})
            if row.video_id in ids:
                raise RecordError("video_id", "stands twice")
            if row.path in paths:
                raise RecordError("path", f"{row.path!r} stands twice")
        except RecordError as error:
            problems.append(Problem(Path(path).name, number, who, error.field, error.problem, "set_aside"))
            continue
        ids.add(row.video_id)
        paths.add(row.path)
        rows.append(row)
    return rows, problems
