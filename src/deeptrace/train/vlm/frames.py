"""Frames for training: read once, kept on the disk, keyed by the file's bytes, the sampling and the reading code.

A file that changed is another file, whatever its name; another sampling or another reader is another entry. An entry is
a plain array file that numpy reads without unpickling, written whole or not at all, so that many workers can share a
folder.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from dataclasses import asdict
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Final

import numpy as np

import deeptrace.video
from deeptrace.errors import VideoError
from deeptrace.files import atomic_write, dumps, make_folder
from deeptrace.models.base import Sampling
from deeptrace.records import Frames
from deeptrace.video import sample_frames

CACHE_VERSION: Final = 1
_CHUNK: Final = 1 << 20


@cache
def code_version() -> str:
    """What frames are read by: the version of PyAV, and a hash of our reader's source."""
    digest = hashlib.sha256(version("av").encode())
    for file in sorted(Path(next(iter(deeptrace.video.__path__))).glob("*.py")):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


class FrameStore:
    """Frames of files as one sampling gives them. Without a folder nothing is kept.

    Uncompressed: T x H x W x 3 bytes a video, 27 MB for ten frames of 1280 x 720; ``short_side`` of the sampling makes
    that less.
    """

    def __init__(self, sampling: Sampling, folder: Path | None = None, *, second: Sampling | None = None) -> None:
        self.sampling = sampling
        self.second = second or sampling
        self._folder = folder

    def frames(self, path: Path, window: tuple[float, float] | None = None) -> Frames:
        """The frames of a video file, ``(T, H, W, 3)`` uint8 RGB: read once, then from the folder where there is one.

        With a ``window`` in seconds those of a second look, at ``second``; their times are those of the whole video.

        Raises:
            VideoError: it cannot be read.
            FileError: the folder cannot be written.
        """
        if self._folder is None:
            return self._read(path, window)
        entry = self._folder / f"{self.key(path, window)}.npz"
        cached = _load(entry)
        if cached is not None:
            return cached
        frames = self._read(path, window)
        _store(entry, frames)
        return frames

    def key(self, path: Path, window: tuple[float, float] | None = None) -> str:
        """What an entry is called: a hash of the file's bytes, the sampling, and the code that reads frames."""
        look: list[object] = [asdict(self.sampling)] if window is None else [asdict(self.second), list(window)]
        digest = hashlib.sha256(dumps([CACHE_VERSION, code_version(), *look]).encode())
        try:
            with open(path, "rb") as file:
                while chunk := file.read(_CHUNK):
                    digest.update(chunk)
        except FileNotFoundError:
            raise VideoError("NOT_FOUND", f"no file {path.name!r}.") from None
        except OSError as error:
            raise VideoError("NOT_READABLE", f"cannot read {path.name!r}: {error.strerror}.") from None
        return digest.hexdigest()

    def _read(self, path: Path, window: tuple[float, float] | None) -> Frames:
        sampling = self.sampling if window is None else self.second
        start, end = window or (0.0, None)
        return sample_frames(
            path,
            fps=sampling.fps,
            start_seconds=start,
            end_seconds=end,
            max_frames=sampling.max_frames,
            short_side=sampling.short_side,
        )


def _store(entry: Path, frames: Frames) -> None:
    make_folder(entry.parent)
    duration = np.nan if frames.duration_seconds is None else frames.duration_seconds
    buffer = io.BytesIO()
    np.savez(
        buffer,
        images=frames.images,
        pts_seconds=frames.pts_seconds,
        source_hw=np.array(frames.source_hw),
        duration_seconds=np.array(duration),
    )
    with atomic_write(entry) as file:
        file.write(buffer.getbuffer())


def _load(entry: Path) -> Frames | None:
    """The frames in an entry; None where there is none, or one that is not whole (by hand, or a failing disk)."""
    try:
        with open(entry, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            duration = float(arrays["duration_seconds"])
            height, width = (int(side) for side in arrays["source_hw"])
            return Frames(
                images=arrays["images"],
                pts_seconds=arrays["pts_seconds"],
                source_hw=(height, width),
                duration_seconds=None if np.isnan(duration) else duration,
            )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, VideoError):
        entry.unlink(missing_ok=True)
        return None
