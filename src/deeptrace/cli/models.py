"""``deeptrace models``: which models there are."""

from __future__ import annotations

import click

from deeptrace.cli.model_list import print_models


@click.command()
@click.option("--json", "as_json", is_flag=True, help="The list as JSON.")
def models(as_json: bool) -> None:
    """List the models that `inspect --model` takes."""
    print_models(as_json=as_json)
