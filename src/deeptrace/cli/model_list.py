"""What ``deeptrace models`` prints: the homes, and the models known by name."""

from __future__ import annotations

from dataclasses import asdict

import click

from deeptrace.characters import visible
from deeptrace.cli.show import print_table, print_words
from deeptrace.files import dumps
from deeptrace.models import HOMES, SUMMARIES
from deeptrace.models.registry import RegistryEntry, entries


def print_models(*, as_json: bool) -> None:
    """The homes with what they are, then every named model with what makes it run; as tables or as one JSON list."""
    models = list(entries().values())
    if as_json:
        homes = [{"model": home, "summary": SUMMARIES[home]} for home in HOMES]
        rows = [
            {
                "model": entry.name,
                "summary": entry.title,
                **_without_name(entry),
                "status": _status(entry),
                "converted": None
                if entry.converted is None
                else dict(zip(("model", "command"), entry.converted, strict=True)),
            }
            for entry in models
        ]
        click.echo(dumps([*homes, *rows], indent=1))
        return
    print_table(["model", "what it is"], [(home, SUMMARIES[home]) for home in HOMES])
    click.echo()
    print_table(["named model", "home", "status"], [(entry.name, entry.home, _status(entry)) for entry in models])
    click.echo("not run: nobody here has run it with its real weights.")
    click.echo()
    heads = ["named model", "question", "frames", "space", "licence"]
    print_table(heads, [(entry.name, entry.question, _frames(entry), entry.space, entry.licence) for entry in models])
    for entry in models:
        if entry.converted is not None:
            form, command = entry.converted
            before, flag, value = command.rpartition(" --trained-for ")
            click.echo(f"{visible(entry.name)} is run as {visible(form)}, made once by:")
            click.echo(visible(f"  {before} \\\n   {flag}{value}"))
    for entry in models:
        if entry.source:
            instead = ", in the place of ours" if entry.overrides else ""
            click.echo(f"{visible(entry.name)} stands in {visible(entry.source)}{instead}")
    click.echo()
    published = ", ".join(entry.name for entry in models if entry.published is not None)
    print_words(f"In the paper's tables: {published}")


def _without_name(entry: RegistryEntry) -> dict[str, object]:
    return {key: value for key, value in asdict(entry).items() if key not in ("name", "title")}


def _status(entry: RegistryEntry) -> str:
    return "run" if entry.tried else "not run"


def _frames(entry: RegistryEntry) -> str:
    sampling = entry.sampling
    rate = "" if sampling.fps >= 1000 else f"{sampling.fps:g} fps"
    most = "" if sampling.max_frames is None else f"≤ {sampling.max_frames}"
    return ", ".join(part for part in (rate, most) if part)
