"""Videos with a fake trace at a known place and time, each beside a clean twin that is the same but for the trace.

`find_things` and `inject` put a trace of any category into given frames, beside a sham that went through the same
steps and shows nothing; `render_scene` makes such frames from nothing. `make_demo_pair` renders a room with and without
a trace for `deeptrace demo`. One file per category.
"""

from __future__ import annotations

from typing import Final, Protocol

from deeptrace.categories import Category
from deeptrace.inject.engine import IMPLEMENTATIONS, Injection, inject
from deeptrace.inject.object_disappearance import object_disappearance
from deeptrace.inject.pair import InjectedPair
from deeptrace.inject.rendered import RenderedScene, render_scene
from deeptrace.inject.scene import Scene, SceneThing, make_scene
from deeptrace.inject.things import Things, TrackedThing, find_things

__all__ = [
    "IMPLEMENTATIONS",
    "INJECTORS",
    "InjectedPair",
    "Injection",
    "Injector",
    "RenderedScene",
    "Scene",
    "SceneThing",
    "Things",
    "TrackedThing",
    "find_things",
    "inject",
    "make_demo_pair",
    "make_scene",
    "object_disappearance",
    "render_scene",
]


class Injector(Protocol):
    """A scene in, two twins out; ``strength`` in (0, 1], 1 = as plain as it gets."""

    def __call__(self, scene: Scene, *, strength: float = 1.0) -> InjectedPair:
        """Put the trace into the scene."""
        ...


INJECTORS: Final[dict[Category, Injector]] = {"Object Disappearance": object_disappearance}
"""The categories that can be injected, and by what."""


def make_demo_pair(
    seed: int = 0,
    *,
    category: Category = "Object Disappearance",
    strength: float = 1.0,
    duration_seconds: float = 4.0,
    fps: float = 24.0,
    size_hw: tuple[int, int] = (360, 640),
    onset_seconds: float | None = None,
) -> InjectedPair:
    """The pair of clips that `deeptrace demo` shows: a rendered scene with and without one trace.

    ``size_hw`` are pixels, ``strength`` lies in (0, 1]; without ``onset_seconds`` the scene's own moment is taken.
    """
    scene = make_scene(seed, duration_seconds=duration_seconds, fps=fps, size_hw=size_hw, onset_seconds=onset_seconds)
    return INJECTORS[category](scene, strength=strength)
