"""``deeptrace bench``: how well a model sees what people see, beside the published ones and one that sees nothing."""

from __future__ import annotations

import click


@click.group()
def bench() -> None:
    """Measure models on a dataset of traces: ask them, score what they said, compare.

    DATA is a folder of the RewardData release, a records.jsonl (or its folder), or any other file of records that
    `deeptrace data` reads.
    """
