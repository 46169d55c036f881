"""``deeptrace models``: which models there are."""

from __future__ import annotations

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from deeptrace.files import dumps
from deeptrace.models import HOMES, SUMMARIES


@click.command()
@click.option("--json", "as_json", is_flag=True, help="The list as JSON.")
def models(as_json: bool) -> None:
    """List the models that `inspect --model` takes."""
    if as_json:
        click.echo(dumps([{"model": home, "summary": SUMMARIES[home]} for home in HOMES], indent=1))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("model", no_wrap=True)
    table.add_column("what it is")
    for home in HOMES:
        table.add_row(Text(home), Text(SUMMARIES[home]))
    Console().print(table)
