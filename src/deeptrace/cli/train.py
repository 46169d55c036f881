"""``deeptrace train``: a recipe becomes a checkpoint."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import click

from deeptrace.cli.show import print_table


@click.command()
@click.argument("recipe", required=False)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="The folder of this run.")
@click.option("--set", "settings", multiple=True, metavar="TABLE.KEY=VALUE", help="Change one setting of the recipe.")
@click.option(
    "--resume",
    type=click.Choice(["newest", "previous"]),
    default="newest",
    show_default=True,
    help="Which checkpoint to go on from; previous puts a damaged newest one aside.",
)
@click.option("--list", "listing", is_flag=True, help="The recipes that come with deeptrace.")
@click.option("--show", is_flag=True, help="Print the recipe, every default filled in, and stop.")
def train(
    recipe: str | None, out: Path | None, settings: tuple[str, ...], resume: str, listing: bool, show: bool
) -> None:
    """Train by RECIPE, a TOML file or the name of one that comes with deeptrace, into the folder --out.

    The same command again goes on where the folder stands. Paths in a recipe are relative to the current folder.
    """
    from deeptrace import train as room
    from deeptrace.train.recipe import to_toml

    if listing:
        print_table(["recipe", "what it is"], [(name, _first_line(name)) for name in room.shipped()])
        return
    if recipe is None:
        raise click.UsageError("Name a RECIPE; --list shows those that come with deeptrace.")
    if show:
        click.echo(to_toml(room.load_recipe(recipe, settings)[1]), nl=False)
        return
    if out is None:
        raise click.UsageError("Name the folder of this run: --out runs/first")
    _say_how_it_goes()
    final = room.train(recipe, out, settings, resume="previous" if resume == "previous" else "newest")
    click.echo(f"done: {final}")


def _say_how_it_goes() -> None:
    """Lines of the run on stderr; of several processes only the first one tells more than warnings."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logger = logging.getLogger("deeptrace")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO if os.environ.get("RANK", "0") == "0" else logging.WARNING)


def _first_line(name: str) -> str:
    from deeptrace.train import recipe_text

    first = recipe_text(name).split("\n", 1)[0]
    return first.removeprefix("#").strip() if first.startswith("#") else ""
