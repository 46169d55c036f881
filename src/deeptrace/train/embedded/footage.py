"""Real footage for training: windows of clips, by source, at the rate and size of the embedded model.

A folder of clips goes in (with a ``manifest.jsonl`` that names each clip's source and licence, or without: then every
file is its own source); frames at every one, two or more of their own steps come out (never between two: that would
judder), from which the stream of pairs cuts, zooms and speeds. Clips are read once and kept on disk as arrays.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from deeptrace.errors import VideoError
from deeptrace.models.embedded.inputs import Bytes
from deeptrace.video import probe, sample_frames

_LEAST_FPS: Final = 14.9  # a stride of whole frames that leaves at least this, where the clip has it
POOL_SHORT_SIDE: Final = 180
_MOST_SECONDS: Final = 12.0
_FEWEST_FRAMES: Final = 16


@dataclass(frozen=True)
class Clip:
    """One clip of the pool: where it is from, and where its frames lie."""

    clip_id: str
    source: str
    license: str
    label: str  # "real" or "fake"
    generator: str | None
    path: Path
    fps: float
    frames_path: Path

    def frames(self) -> Bytes:
        """The clip's frames ``(T, H, W, 3)`` uint8 at ``fps``, mapped from disk."""
        return np.asarray(np.load(self.frames_path, mmap_mode="r"))


def read_manifest(root: Path) -> list[dict[str, Any]]:
    """The rows of ``manifest.jsonl``: path, class, source_repo, license, generator."""
    text = (root / "manifest.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines() if line.strip()]


def load_pool(root: Path, cache: Path, *, labels: Sequence[str] = ("real",)) -> list[Clip]:
    """The clips of a folder, read into ``cache`` where they are not there yet. Unreadable or too short ones are left out."""
    cache.mkdir(parents=True, exist_ok=True)
    pool = []
    for row in read_manifest(root):
        if row["class"] not in labels:
            continue
        path = root / row["path"]
        key = hashlib.sha256(f"{row['sha256']} whole {POOL_SHORT_SIDE} {_MOST_SECONDS}".encode()).hexdigest()[:16]
        frames_path, meta_path = cache / f"{key}.npy", cache / f"{key}.json"
        if not meta_path.exists():
            try:
                rate = probe(path).fps or 24.0
                stride = max(1, int(rate / _LEAST_FPS))
                frames = sample_frames(path, fps=rate / stride, end_seconds=_MOST_SECONDS, short_side=POOL_SHORT_SIDE)
            except VideoError:
                continue
            step = float(np.mean(np.diff(frames.pts_seconds))) if len(frames) > 1 else 1.0
            np.save(frames_path, frames.images)
            meta_path.write_text(json.dumps({"fps": 1.0 / step, "frames": len(frames)}), encoding="utf-8")
        meta = json.loads(meta_path.read_text(encoding="utf-8"))
        if meta["frames"] < _FEWEST_FRAMES:
            continue
        pool.append(
            Clip(
                clip_id=Path(row["path"]).stem,
                source=row["source_repo"],
                license=row["license"],
                label=row["class"],
                generator=row["generator"],
                path=path,
                fps=meta["fps"],
                frames_path=frames_path,
            )
        )
    return pool
