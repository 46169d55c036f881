"""``deeptrace models``: which models there are."""

from __future__ import annotations

import click

from deeptrace.cli.show import print_table
from deeptrace.files import dumps
from deeptrace.models import HOMES, SUMMARIES


@click.command()
@click.option("--json", "as_json", is_flag=True, help="The list as JSON.")
def models(as_json: bool) -> None:
    """List the models that `inspect --model` takes."""
    if as_json:
        click.echo(dumps([{"model": home, "summary": SUMMARIES[home]} for home in HOMES], indent=1))
        return
    print_table(["model", "what it is"], [(home, SUMMARIES[home]) for home in HOMES])
