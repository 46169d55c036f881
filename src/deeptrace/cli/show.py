"""What the commands print with: tables, a bar on stderr, a line about what was wrong in a file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from deeptrace.html import visible

Report = Callable[[int, int], None]


@contextmanager
def bar(what: str, total: int | None = None) -> Iterator[Report]:
    """A bar on stderr, gone when done; nothing where stderr is no terminal. Call it with (done, total)."""
    console = Console(stderr=True)
    with Progress(
        TextColumn(what),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as progress:
        task = progress.add_task(what, total=total)
        yield lambda done, of: progress.update(task, completed=done, total=of)


def print_table(
    heads: Sequence[str], rows: Iterable[Sequence[object]], *, title: str | None = None, numbers_from: int = 1
) -> None:
    """A table on stdout; columns from ``numbers_from`` on are set right. Text from files stays text; None is a dash."""
    table = Table(box=None, pad_edge=False, header_style="bold", title=title, title_justify="left")
    for index, head in enumerate(heads):
        table.add_column(head, justify="right" if index >= numbers_from else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text("-" if cell is None else visible(str(cell))) for cell in row))
    Console().print(table)


def print_problems(counts: dict[str, int]) -> None:
    """What was emptied, repaired or set aside in a file, on stderr."""
    for what, count in counts.items():
        click.echo(f"note: {count} x {visible(what)}", err=True)
