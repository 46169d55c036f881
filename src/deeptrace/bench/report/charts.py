"""Shapes of the page's charts: numbers in, SVG points and paths out. Knows neither metrics nor HTML."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

Point = tuple[float, float]


@dataclass(frozen=True)
class Spoke:
    """One axis of a radar: its end, and where its label stands (``anchor`` as in SVG)."""

    label: str
    end: Point
    text: Point
    anchor: str


@dataclass(frozen=True)
class Radar:
    """A radar: axes, rings (radius by share), and per series the points of its closed line; None where it is empty."""

    spokes: tuple[Spoke, ...]
    rings: tuple[tuple[float, float], ...]
    series: tuple[tuple[str, str, tuple[Point, ...]], ...]
    top: float


def radar(labels: Sequence[str], series: Sequence[tuple[str, Sequence[float | None]]], *, radius: float) -> Radar:
    """A radar about (0, 0). Values in [0, 1]; the outer ring is the next of 0.1, 0.25, 0.5, 1 that holds all of them.

    A value that is not there is drawn at the centre and left out of the series' dots.
    """
    values = [value for _, row in series for value in row if value is not None]
    top = next((limit for limit in (0.1, 0.25, 0.5, 1.0) if max(values, default=0.0) <= limit), 1.0)
    turn = [2 * math.pi * i / len(labels) - math.pi / 2 for i in range(len(labels))]
    spokes = []
    for label, angle in zip(labels, turn, strict=True):
        x, y = math.cos(angle), math.sin(angle)
        anchor = "middle" if abs(x) < 0.2 else "start" if x > 0 else "end"
        spokes.append(Spoke(label, (radius * x, radius * y), ((radius + 10) * x, (radius + 12) * y + 4), anchor))
    drawn = []
    for name, row in series:
        points = [
            (radius * (value or 0.0) / top * math.cos(angle), radius * (value or 0.0) / top * math.sin(angle))
            for value, angle in zip(row, turn, strict=True)
        ]
        dots = tuple(point for point, value in zip(points, row, strict=True) if value is not None)
        drawn.append((name, " ".join(f"{x:.1f},{y:.1f}" for x, y in points), dots))
    return Radar(
        tuple(spokes), tuple((radius * share, top * share) for share in (0.25, 0.5, 0.75, 1.0)), tuple(drawn), top
    )


@dataclass(frozen=True)
class Bar:
    """A value in [0, 1] with its interval, placed on a scale of 100; ``label`` and ``note`` stand beside it."""

    label: str
    note: str
    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Reliability:
    """Dots of a reliability diagram in a unit square, y down: (x, y, radius, count), and the share below each."""

    name: str
    dots: tuple[tuple[float, float, float, int], ...]
    videos: int


def reliability(name: str, rows: Sequence[dict[str, float | None]], *, size: float) -> Reliability:
    """A dot for each bin with videos, at its mean p and its share of fakes; its area says how many."""
    total = sum(int(row["n"] or 0) for row in rows)
    dots = []
    for row in rows:
        n, p, share = int(row["n"] or 0), row["mean_p"], row["share_fake"]
        if n and p is not None and share is not None:
            dots.append((size * p, size * (1 - share), 2.0 + 9.0 * math.sqrt(n / total), n))
    return Reliability(name, tuple(dots), total)
