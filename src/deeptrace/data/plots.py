"""Plots of `Stats` as PNG and SVG files. Needs matplotlib, which is imported when a plot is drawn."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from deeptrace.categories import CATEGORIES
from deeptrace.data.stats import Distribution, Stats
from deeptrace.errors import MissingExtra
from deeptrace.files import atomic_write, make_folder

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PlotFormat = Literal["png", "svg"]

_BLUE: Final = "#3b6ea5"


def write_plots(
    stats: Stats, folder: str | os.PathLike[str], *, formats: Sequence[PlotFormat] = ("png", "svg")
) -> list[Path]:
    """Draw every plot into a folder, which is made; the paths written. The same statistics give the same bytes.

    Raises:
        MissingExtra: matplotlib is not installed.
        FileError: a file cannot be written.
    """
    home, written = make_folder(folder), []
    for name, draw in _PLOTS.items():
        figure = _figure()
        draw(figure, stats)
        _place(figure)
        for format_name in formats:
            path = home / f"{name}.{format_name}"
            _save(figure, path, format_name)
            written.append(path)
    return written


def _figure() -> Figure:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtra("plots", "data") from None
    figure = Figure(figsize=(7.0, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _place(figure: Figure) -> None:
    """Lay out once: each further saving would move things a little, and the bytes would depend on the formats asked."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")
        figure.draw_without_rendering()
    figure.set_layout_engine("none")


def _save(figure: Figure, path: Path, format_name: PlotFormat) -> None:
    from matplotlib import rc_context

    image = io.BytesIO()
    # Without a salt and with a date, no two SVG files are alike. Text stays text, so that it can be searched.
    metadata = {"Date": None} if format_name == "svg" else {"Software": None}
    with rc_context({"svg.hashsalt": "deeptrace", "svg.fonttype": "none"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a name in a script that the font lacks shows as boxes
        figure.savefig(image, format=format_name, dpi=110, metadata=metadata)
    with atomic_write(path) as file:
        file.write(image.getvalue())


# ── the plots ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _categories(figure: Figure, stats: Stats) -> None:
    axes = figure.subplots()
    rows = stats.categories[::-1]
    bars = axes.barh([row.category for row in rows], [100 * (row.share or 0.0) for row in rows], color=_BLUE)
    axes.bar_label(bars, labels=[str(row.mentions) for row in rows], padding=3)
    axes.margins(x=0.12)
    axes.set(xlabel="share of category mentions, %", title=f"Categories (n = {sum(row.mentions for row in rows)})")


def _co_occurrence(figure: Figure, stats: Stats) -> None:
    axes = figure.subplots()
    image = axes.imshow(stats.co_occurrence, cmap="Blues")
    ticks = range(len(CATEGORIES))
    axes.set_xticks(ticks, CATEGORIES, rotation=40, ha="right", fontsize=7)
    axes.set_yticks(ticks, CATEGORIES, fontsize=7)
    top = max(max(row) for row in stats.co_occurrence)
    for y, row in enumerate(stats.co_occurrence):
        for x, count in enumerate(row):
            axes.text(x, y, str(count), ha="center", va="center", fontsize=6, color="w" if 2 * count > top else "k")
    axes.set_title("Traces that carry both categories")
    figure.colorbar(image, ax=axes, label="traces")


def _position(figure: Figure, stats: Stats) -> None:
    axes = figure.subplots()
    axes.set(title=f"Where the boxes are (n = {stats.box_area.n})", xlabel="x, fraction of width")
    axes.set_ylabel("y, fraction of height")
    if stats.position is None:
        axes.text(0.5, 0.5, "no boxes", ha="center")
        return
    image = axes.imshow(stats.position, cmap="magma", vmin=0.0, extent=(0.0, 1.0, 1.0, 0.0), aspect=9 / 16)
    figure.colorbar(image, ax=axes, label="share of boxes that cover the place")


def _box_size(figure: Figure, stats: Stats) -> None:
    _histograms(figure, [(stats.box_area, "area, share of the frame"), (stats.box_width, "width, fraction")])


def _time(figure: Figure, stats: Stats) -> None:
    _histograms(
        figure,
        [
            (stats.onset_seconds, "onset, s"),
            (stats.onset_share, "onset, share of the video"),
            (stats.trace_seconds, "length of the trace, s"),
            (stats.video_seconds, "length of the video, s"),
        ],
    )


def _sources(figure: Figure, stats: Stats) -> None:
    axes = figure.subplots()
    rows = stats.sources[::-1]
    names = [f"{_printable(row.source or 'no source')} ({row.label or 'no label'})" for row in rows]
    places = range(len(rows))
    axes.barh(
        [y + 0.2 for y in places], [row.annotations for row in rows], height=0.4, label="annotations", color=_BLUE
    )
    axes.barh([y - 0.2 for y in places], [row.videos for row in rows], height=0.4, label="videos", color="#a9c4e0")
    axes.set_yticks(places, names, fontsize=7, parse_math=False)
    axes.set(title="Sources", xlabel="count")
    axes.legend()


def _printable(name: str) -> str:
    """A name from data on one line: what cannot be printed as "�", at most 40 characters."""
    printable = "".join(character if character.isprintable() else "\ufffd" for character in name)
    return printable if len(printable) <= 40 else f"{printable[:39]}…"


def _histograms(figure: Figure, panels: Sequence[tuple[Distribution, str]]) -> None:
    rows = (len(panels) + 1) // 2
    grid = figure.subplots(rows, 2, squeeze=False)
    for axes, (distribution, label) in zip(grid.flat, panels, strict=True):
        _histogram(axes, distribution, label)


def _histogram(axes: Axes, distribution: Distribution, label: str) -> None:
    axes.stairs(distribution.counts, distribution.edges, fill=True, color=_BLUE)
    axes.set(xlabel=label, ylabel="count", title=f"n = {distribution.n}")


_PLOTS: Final[Mapping[str, Callable[[Figure, Stats], None]]] = {
    "categories": _categories,
    "co_occurrence": _co_occurrence,
    "position": _position,
    "box_size": _box_size,
    "time": _time,
    "sources": _sources,
}
