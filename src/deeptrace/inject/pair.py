"""What every injector returns, and the words it describes a trace with. Knows boxes and times, no category."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from deeptrace.categories import Category
from deeptrace.records import Frames, Trace


@dataclass(frozen=True)
class InjectedPair:
    """Two clips that differ by one trace, and the truth about it.

    ``fake`` and ``clean`` have the same times and size; before ``trace.onset_seconds`` their pixels are identical.
    ``params`` holds what is needed to make the pair again, as JSON values.
    """

    category: Category
    fake: Frames
    clean: Frames
    trace: Trace
    params: Mapping[str, Any] = field(default_factory=dict)


def direction_words(velocity: tuple[float, float]) -> str:
    """Which way something moves, from its velocity in pixels a second (y points down): "moving up and to the left"."""
    vx, vy = velocity
    if max(abs(vx), abs(vy)) < 1.0:
        return "standing still"
    across = "right" if vx > 0 else "left"
    along = "down" if vy > 0 else "up"
    # tan(22.5 degrees): the eight compass directions, each 45 degrees wide.
    if abs(vy) < 0.414 * abs(vx):
        return f"moving {across}"
    if abs(vx) < 0.414 * abs(vy):
        return f"moving {along}"
    return f"moving {along} and to the {across}"
