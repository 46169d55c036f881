"""What the commands print with: tables, a bar on stderr, a line about what was wrong in a file."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol

import click
from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from deeptrace.errors import FileError
from deeptrace.html import visible


class Report(Protocol):
    """What `bar` gives."""

    def __call__(self, done: int, total: int, /, note: str = "") -> None:
        """Say how far things are; ``note`` stands behind the bar."""


_NUMBERS: Final = re.compile(r"-|[-+\d.,%/ xof\[\]]*\d[-+\d.,%/ xof\[\]]*")  # "12", "3 of 25", "83.1 [70.6, 93.7]"
_WHOLE: Final = 24  # a longer cell may be broken over lines
_BROKEN: Final = 12  # columns that a broken one needs to be read
_GAP: Final = 2  # blanks between two columns


class Terminal(Console):
    """A console that tells us when its reader went away, instead of ending the process as if a video had failed."""

    def on_broken_pipe(self) -> None:
        """Called by rich inside its handler of BrokenPipeError; raised again for `deeptrace.cli.main`."""
        raise BrokenPipeError


def make_folder(path: str | os.PathLike[str]) -> Path:
    """The folder, made where it is missing.

    Raises:
        FileError: the system refused.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"cannot make the folder {folder.name!r}: {error.strerror}") from None
    return folder


def typed_command() -> str:
    """The command line as it was typed."""
    return shlex.join(["deeptrace", *sys.argv[1:]])


@contextmanager
def bar(what: str, total: int | None = None) -> Iterator[Report]:
    """A bar on stderr, gone when done; nothing where stderr is no terminal. See `Report`."""
    console = Terminal(stderr=True)
    with Progress(
        TextColumn(what),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as progress:
        task = progress.add_task(what, total=total, note="")

        def report(done: int, total: int, /, note: str = "") -> None:
            progress.update(task, completed=done, total=total, note=note)

        yield report


def print_table(heads: Sequence[str], rows: Iterable[Sequence[object]], *, title: str | None = None) -> None:
    """A table on stdout; columns of numbers are set right. Text from files stays text; None is a dash."""
    cells = [["-" if cell is None else visible(str(cell)) for cell in row] for row in rows]
    columns = list(zip(heads, zip(*cells, strict=True) if cells else [()] * len(heads), strict=True))
    console = Terminal()
    whole = _whole_columns(columns, console.width)
    table = Table(box=None, pad_edge=False, header_style="bold", title=title, title_justify="left")
    for (head, column), keep in zip(columns, whole, strict=True):
        numbers = all(_NUMBERS.fullmatch(cell) for cell in column)
        table.add_column(head, justify="right" if numbers else "left", overflow="fold", no_wrap=keep)
    for row in cells:
        table.add_row(*map(Text, row))
    console.print(table)


def _whole_columns(columns: Sequence[tuple[str, Sequence[str]]], width: int) -> list[bool]:
    """Which columns are not broken over lines: numbers and single words, where that leaves the others some room."""
    widths = [max(map(cell_len, (head, *column))) for head, column in columns]
    whole = [
        size <= _WHOLE and all(" " not in cell or _NUMBERS.fullmatch(cell) for cell in column)
        for size, (_, column) in zip(widths, columns, strict=True)
    ]
    least = sum(size if keep else min(size, _BROKEN) for size, keep in zip(widths, whole, strict=True))
    return whole if least + _GAP * (len(columns) - 1) <= width else [False] * len(columns)


def print_problems(counts: dict[str, int]) -> None:
    """What was emptied, repaired or set aside in a file, on stderr."""
    for what, count in counts.items():
        click.echo(f"note: {count} x {visible(what)}", err=True)
