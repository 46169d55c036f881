"""What the commands print with: tables, a bar on stderr, a line about what was wrong in a file."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final, Protocol

import click
from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text
from typing_extensions import override

from deeptrace.characters import visible


class Report(Protocol):
    """What `bar` gives."""

    def __call__(self, done: float, total: int, /, note: str = "") -> None:
        """Say how far things are, parts of a thing included; ``note`` stands behind the bar."""


_NUMBERS: Final = re.compile(r"-|[-+\d.,%/ xof\[\]]*\d[-+\d.,%/ xof\[\]]*")  # "12", "3 of 25", "83.1 [70.6, 93.7]"
_WHOLE: Final = 24  # a longer cell may be broken over lines
_BROKEN: Final = 12  # columns that a broken one needs to be read
_NAME: Final = 16  # columns for the name of a row, where that saves a second table
_GAP: Final = 2  # blanks between two columns


class Terminal(Console):
    """A console that tells us when its reader went away, instead of ending the process as if a video had failed."""

    @override
    def on_broken_pipe(self) -> None:
        """Called by rich inside its handler of BrokenPipeError; raised again for `deeptrace.cli.main`."""
        raise BrokenPipeError


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

        def report(done: float, total: int, /, note: str = "") -> None:
            progress.update(task, completed=done, total=total, note=note)

        yield report


def print_table(
    heads: Sequence[str], rows: Iterable[Sequence[object]], *, title: str | None = None, keys: int | None = None
) -> None:
    """A table on stdout; columns of numbers are set right. Text from files stays text; None is a dash.

    ``keys``: where the terminal is too narrow, the columns are dealt over several tables that each begin with the first
    ``keys`` columns; rows that say nothing in one of them are left out there.
    """
    row_list = list(rows)
    cells = [["-" if cell is None else visible(str(cell)) for cell in row] for row in row_list]
    texts = list(zip(*cells, strict=True)) if cells else [()] * len(heads)
    columns = [Column(head, column) for head, column in zip(heads, texts, strict=True)]
    console = Terminal()
    for number, part in enumerate(_dealt(columns, keys, console.width)):
        if number:
            console.print()
        has_values = [any(row[i] is not None for i in part[keys or 0 :]) for row in row_list]
        part_rows = [[row[i] for i in part] for row, says in zip(cells, has_values, strict=True) if says or number == 0]
        _print_part([columns[i] for i in part], part_rows, console, None if number else title)


@dataclass(frozen=True)
class Column:
    """One column of a table as it is going to be printed."""

    head: str
    cells: Sequence[str]

    @cached_property
    def is_numbers(self) -> bool:
        """Whether all cells are numbers, set right."""
        return all(_NUMBERS.fullmatch(cell) for cell in self.cells)

    @cached_property
    def is_whole(self) -> bool:
        """Numbers and single words: not to be broken over lines."""
        return self._folded <= _WHOLE and all(" " not in cell or _NUMBERS.fullmatch(cell) for cell in self.cells)

    @cached_property
    def width(self) -> int:
        """Where nothing is broken."""
        return max(map(cell_len, (self.head, *self.cells)))

    @cached_property
    def _folded(self) -> int:
        return max(map(cell_len, (*_words(self.head), *self.cells)))

    @property
    def least(self) -> int:
        """What it can be read in: its head one word a line, text over several lines."""
        return self._folded if self.is_whole else min(self._folded, _BROKEN)

    def folded_head(self) -> str:
        """The head over as many lines as `least` asks for."""
        lines: list[str] = []
        for word in _words(self.head):
            if lines and cell_len(f"{lines[-1]} {word}") <= self.least:
                lines[-1] += f" {word}"
            else:
                lines.append(word)
        return "\n".join(lines)


def _words(head: str) -> list[str]:
    """The words of a head; an arrow stays with the one before it."""
    return [word.replace("\n", " ") for word in head.replace(" ↓", "\n↓").split(" ")]


def _dealt(columns: Sequence[Column], keys: int | None, width: int) -> list[list[int]]:
    """Which columns stand in which table."""
    everything = list(range(len(columns)))
    if keys is None or sum(column.width + _GAP for column in columns) - _GAP <= width:
        return [everything]
    begin = everything[:keys]
    rest = sum(columns[i].least + _GAP for i in everything[keys:])
    used = start = sum(min(columns[i].width, _WHOLE if i == 0 else _BROKEN) + _GAP for i in begin) - _GAP
    if rest + sum(min(columns[i].width, _NAME) + _GAP for i in begin) - _GAP <= width:
        return [everything]
    parts = [list(begin)]
    for i in everything[keys:]:
        need = columns[i].least + _GAP
        if used + need > width and len(parts[-1]) > keys:
            parts.append(list(begin))
            used = start
        parts[-1].append(i)
        used += need
    return parts


def _folded_heads(columns: Sequence[Column], room: int) -> set[int]:
    """Which columns' heads go over several lines: those that save the most, as many as it takes to fit."""
    needs = [column.width if column.is_whole else column.least for column in columns]
    folded = set[int]()
    for i in sorted(range(len(columns)), key=lambda i: columns[i].least - needs[i]):
        if sum(needs) <= room:
            break
        needs[i] = columns[i].least
        folded.add(i)
    return folded


def _print_part(columns: Sequence[Column], rows: Sequence[Sequence[str]], console: Console, title: str | None) -> None:
    room = console.width - _GAP * (len(columns) - 1)
    whole = sum(column.least for column in columns) <= room
    folded = _folded_heads(columns, room) if whole else set()
    table = Table(box=None, pad_edge=False, header_style="bold", title=title, title_justify="left")
    for i, column in enumerate(columns):
        keep = whole and column.is_whole
        head = column.folded_head() if i in folded else column.head
        table.add_column(head, justify="right" if column.is_numbers else "left", overflow="fold", no_wrap=keep)
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(table)


def print_look(*arguments: str | Path, at: str | None = None) -> None:
    """Say on stderr how to look at it: the explorer's command line, opened at a page."""
    parts = ["deeptrace", "explore", *map(str, arguments), *(["--at", at] if at is not None else [])]
    click.echo(f"look: {visible(shlex.join(parts))}", err=True)


def print_words(text: str) -> None:
    """A line on stdout, broken at words where the terminal ends."""
    click.echo(click.wrap_text(visible(text), Terminal().width))


def print_problems(counts: dict[str, int]) -> None:
    """What was emptied, repaired or set aside in a file, on stderr."""
    for what, count in counts.items():
        click.echo(f"note: {count} x {visible(what)}", err=True)
