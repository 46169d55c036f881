"""Writes a comparison of generators: ``index.html`` and ``comparison.json``."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from deeptrace import files
from deeptrace.pages import html
from deeptrace.pages.html import PAGE_NAME
from deeptrace.reward.compare import GeneratorComparison, measures

JSON_NAME: Final = "comparison.json"
WARNING: Final = (
    "A reward tells how much of what its model looks for is there, not how good a generator is. Read the model's card: "
    "where it ranks the damage of real generators at chance, small differences here mean nothing."
)


def write_comparison(comparison: GeneratorComparison, folder: Path, *, command: str = "") -> Path:
    """Write the page and the figures into ``folder``, made where it is missing; the path of the page.

    Raises:
        FileError: something cannot be written.
    """
    files.make_folder(folder)
    files.write_text(folder / JSON_NAME, files.dumps(comparison.to_json(), indent=1) + "\n")
    names = " and ".join(generator.name for generator in comparison.generators)
    page = html.render(
        "compare.html.j2",
        style=html.asset("report.css") + html.asset("bench.css"),
        script="",
        title=f"Rewards of {names}",
        comparison=comparison,
        figures=list(measures()),
        command=command,
        warning=WARNING,
    )
    files.write_text(folder / PAGE_NAME, page)
    return folder / PAGE_NAME
