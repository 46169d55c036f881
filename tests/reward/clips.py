"""Small clips for rewards: something moves, at 25 frames a second."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.clips import make_clip, numbered


def images(count: int = 24, shift: int = 0) -> np.ndarray:
    """``(T, 64, 96, 3)`` uint8; another ``shift`` is another clip."""
    return np.stack([numbered(shift + k) for k in range(count)])


def folder_of_clips(folder: Path, count: int = 3) -> list[str]:
    """Clips ``c0.mp4``, ``c1.mp4``, ... and their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for index in range(count):
        path = folder / f"c{index}.mp4"
        make_clip(path, images=list(images(shift=37 * index)))
        paths.append(str(path))
    return paths
