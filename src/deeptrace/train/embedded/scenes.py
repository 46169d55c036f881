"""Rendered scenes for training: stills of the footage as photographs, cut-outs, painted rooms now and then."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np

from deeptrace.errors import FileError
from deeptrace.inject import RenderedScene, render_scene
from deeptrace.inject.assets import Asset, list_cutouts
from deeptrace.models.embedded.inputs import FPS
from deeptrace.train.embedded.footage import PoolClip

SceneMaker: TypeAlias = Callable[[np.random.Generator, tuple[int, int], int], RenderedScene]
"""Renders a scene from a generator of random numbers, a size and a count of frames."""

_TRIES = 20
_PAINTED = 0.15  # share of scenes in a painted room
_BALLS = 0.15  # share of scenes with painted balls and crates


def scene_maker(clips: Sequence[PoolClip], cutouts: str | None, *, test: bool = False) -> SceneMaker:
    """Scenes over stills of ``clips``. Every fourth cut-out of the folder is kept for tests and never trains.

    Raises:
        FileError: there are no cut-outs in the folder.
    """
    files: list[Path] = []
    if cutouts is not None:
        files = [path for i, path in enumerate(list_cutouts(cutouts)) if (i % 4 == 0) == test]

    def make(rng: np.random.Generator, size_hw: tuple[int, int], count: int) -> RenderedScene:
        for _ in range(_TRIES):
            photos: list[Asset] = []
            if clips and rng.random() >= _PAINTED:
                pool = clips[int(rng.integers(len(clips)))].frames()
                still = np.ascontiguousarray(pool[int(rng.integers(len(pool)))])
                photos = [still[:, ::-1].copy() if rng.random() < 0.5 else still]
            try:
                return render_scene(
                    int(rng.integers(2**31)),
                    photos=photos,
                    cutouts=files if rng.random() >= _BALLS else (),
                    size_hw=size_hw,
                    fps=FPS,
                    seconds=count / FPS,
                )
            except FileError as error:  # a folder of cut-outs holds pictures that are none
                problem = error
        raise problem

    return make
