"""Real footage for training: windows of clips, by source, at the rate and size of the embedded model.

A folder of clips goes in (with a ``manifest.jsonl`` that names each clip's source and licence, or without: then every
file is its own source); frames at every one, two or more of their own steps come out (never between two: that would
judder), from which the stream of pairs cuts, zooms and speeds. Clips are read once and kept on disk as arrays.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from deeptrace.errors import TrainError, VideoError
from deeptrace.files import atomic_write, make_folder, read_jsonl, write_text
from deeptrace.models.embedded.inputs import Bytes
from deeptrace.train.embedded.recipe import EmbeddedRecipe
from deeptrace.video import probe, sample_frames

_LEAST_FPS: Final = 14.9  # a stride of whole frames that leaves at least this, where the clip has it
POOL_SHORT_SIDE: Final = 180
_MOST_SECONDS: Final = 12.0
_FEWEST_FRAMES: Final = 16
_COLUMNS: Final = ("path", "class", "source_repo", "license", "generator", "sha256")


@dataclass(frozen=True)
class Stored:
    """Frames of a clip on disk, at every k-th of its pictures."""

    path: Path
    fps: float

    def frames(self) -> Bytes:
        """``(T, H, W, 3)`` uint8, mapped from disk."""
        return np.asarray(np.load(self.path, mmap_mode="r"))


@dataclass(frozen=True)
class PoolClip:
    """One clip of the pool: where it is from, and its frames."""

    clip_id: str
    source: str
    license: str
    label: str  # "real" or "fake"
    generator: str | None
    path: Path
    stored: Stored
    native: Path | None = None
    """The file whose middle shows the clip's pictures at the size they were made in; None: there is none."""
    scene: str | None = None
    """The same for clips of one scene: an edit and its source, or one prompt by several generators."""

    @property
    def fps(self) -> float:
        """Frames a second as stored."""
        return self.stored.fps

    def frames(self) -> Bytes:
        """The clip's frames ``(T, H, W, 3)`` uint8 at ``fps``, mapped from disk."""
        return self.stored.frames()


def read_manifest(root: Path) -> list[dict[str, Any]]:
    """The rows of ``manifest.jsonl``: path, class, source_repo, license, generator.

    Raises:
        FileError: there is none, or it cannot be read.
        JsonError: a line is not JSON.
        TrainError: a row lacks one of these; names the line.
    """
    rows = []
    for number, row in read_jsonl(root / "manifest.jsonl"):
        missing = [name for name in _COLUMNS if name not in row] if isinstance(row, dict) else _COLUMNS
        if missing:
            raise TrainError(f"{root.name}/manifest.jsonl line {number}: lacks {', '.join(missing)}")
        rows.append(row)
    return rows


def load_pool(
    root: Path, cache: Path, *, labels: Sequence[str] = ("real",), licenses: Sequence[str] = ()
) -> list[PoolClip]:
    """The clips of a folder, read into ``cache`` once. Unreadable or too short ones are left out.

    With ``licenses`` only clips under one of these.

    Raises:
        TrainError: two clips have the same name.
    """
    pool: list[PoolClip] = []
    names: set[str] = set()
    for row in read_manifest(root):
        if row["class"] not in labels or (licenses and row["license"] not in licenses):
            continue
        path = root / row["path"]
        if path.stem in names:
            raise TrainError(f"{root.name}/manifest.jsonl: two clips are called {path.stem!r}; names tell them apart")
        names.add(path.stem)
        stored = store_clip(path, row["sha256"][:16], cache)
        if stored is not None:
            pool.append(
                PoolClip(
                    clip_id=Path(row["path"]).stem,
                    source=row["source_repo"],
                    license=row["license"],
                    label=row["class"],
                    generator=row["generator"],
                    path=path,
                    stored=stored,
                    native=_native(row, root, path),
                    scene=row.get("pair"),
                )
            )
    return pool


def _native(row: dict[str, Any], root: Path, path: Path) -> Path | None:
    """Of a clip that was made smaller, the manifest names a crop (``native``), or null; else it is the file itself."""
    if "native" not in row:
        return path
    return root / row["native"] if row["native"] else None


def validation_clips(pool: Sequence[PoolClip], recipe: EmbeddedRecipe) -> list[PoolClip]:
    """The camera clips that fit calibration and thresholds, by source or by name.

    Raises:
        TrainError: there are none, or a clip that is named is not in the pool, or is of a test source.
    """
    camera = [clip for clip in pool if clip.label == "real" and clip.source not in recipe.test_sources]
    absent = set(recipe.validation_clips) - {clip.clip_id for clip in camera}
    if absent:
        raise TrainError(
            f"validation_clips: {', '.join(sorted(absent))}: no camera clip of that name could be read (under the "
            "licenses, outside the test sources)"
        )
    clips = [
        clip for clip in camera if clip.source in recipe.validation_sources or clip.clip_id in recipe.validation_clips
    ]
    if not clips:
        raise TrainError("validation_sources, validation_clips: they hold no camera clip; thresholds need some")
    return clips


def store_clip(path: Path, key: str, cache: Path) -> Stored | None:
    """The clip's first seconds, read into ``cache`` once under ``key``; None: unreadable or too short."""
    make_folder(cache)
    frames_path, meta_path = cache / f"{key}.npy", cache / f"{key}.json"
    if not meta_path.exists():
        try:
            rate = probe(path).fps or 24.0
            stride = max(1, int(rate / _LEAST_FPS))
            frames = sample_frames(path, fps=rate / stride, end_seconds=_MOST_SECONDS, short_side=POOL_SHORT_SIDE)
        except VideoError:
            return None
        step = float(np.mean(np.diff(frames.pts_seconds))) if len(frames) > 1 else 1.0
        with atomic_write(frames_path) as file:
            np.save(file, frames.images)
        write_text(meta_path, json.dumps({"fps": 1.0 / step, "frames": len(frames)}))
    meta = json.loads(meta_path.read_text(encoding="utf-8"))
    return Stored(frames_path, meta["fps"]) if meta["frames"] >= _FEWEST_FRAMES else None
