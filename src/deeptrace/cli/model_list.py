"""What ``deeptrace models`` prints: the homes, and the models known by name."""

from __future__ import annotations

from dataclasses import asdict

import click

from deeptrace.cli.show import print_table, print_words
from deeptrace.files import dumps
from deeptrace.models import HOMES, SUMMARIES
from deeptrace.models.registry import Entry, entries


def print_models(*, as_json: bool) -> None:
    """The homes with what they are, then every named model with what makes it run; as tables or as one JSON list."""
    named = list(entries().values())
    if as_json:
        homes = [{"model": home, "summary": SUMMARIES[home]} for home in HOMES]
        listed = [{"model": e.name, "summary": e.title, **_without_name(e), "status": _status(e)} for e in named]
        click.echo(dumps([*homes, *listed], indent=1))
        return
    print_table(["model", "what it is"], [(home, SUMMARIES[home]) for home in HOMES])
    click.echo()
    print_table(["named model", "home", "status"], [(e.name, e.home, _status(e)) for e in named])
    click.echo("not run: nobody here has run it with its real weights.")
    click.echo()
    heads = ["named model", "question", "frames", "space", "licence"]
    print_table(heads, [(e.name, e.question, _frames(e), e.space, e.licence) for e in named])
    published = ", ".join(e.name for e in named if e.published is not None)
    print_words(f"In the paper's tables: {published}")


def _without_name(entry: Entry) -> dict[str, object]:
    return {key: value for key, value in asdict(entry).items() if key not in ("name", "title")}


def _status(entry: Entry) -> str:
    return "run" if entry.tried else "not run"


def _frames(entry: Entry) -> str:
    said = entry.sampling
    rate = "" if said["fps"] >= 1000 else f"{said['fps']:g} fps"
    most = f"≤ {said['max_frames']}" if "max_frames" in said else ""
    return ", ".join(part for part in (rate, most) if part)
