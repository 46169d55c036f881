"""Hours of video through the embedded model: memory, processor time, and the windows that are named.

    python benchmarks/embedded_long.py DIR                 # 2 h of 320 x 180 at 24 frames a second
    python benchmarks/embedded_long.py DIR --every 60      # the network on one window in 60: quick

The video is two seconds over and over. With ``--every`` the other windows get what the network last said: all else is
as it is, so the memory is that of the whole, the processor time is not. Peaks so far are printed as it goes. A process
of its own, since training's libraries in ``embedded_bars.py`` would count.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import psutil
from clips import make_clip
from measuring import cpu_seconds, peak_mb, workers

from deeptrace.models.base import Progress
from deeptrace.models.embedded import EmbeddedModel
from deeptrace.models.embedded.windows import Network, Stages, WindowOutputs

REPORT_SECONDS = 600.0  # of video, between two lines


def long_clip(folder: Path, hours: float) -> Path:
    """48 frames over and over."""
    clip = folder / f"{hours:g}h.mp4"
    if not clip.exists():
        part = folder / "180p24.mp4"
        ffmpeg = ["ffmpeg", "-y", "-v", "error"]
        source = make_clip(folder, "720p24", 48)
        subprocess.run([*ffmpeg, "-i", str(source), "-vf", "scale=320:180", str(part)], check=True)
        loop = ["-stream_loop", "-1", "-i", str(part), "-t", str(round(hours * 3600)), "-c", "copy", str(clip)]
        subprocess.run([*ffmpeg, *loop], check=True)
    return clip


class OneIn:
    """The network on one window in ``every``; the last of its outputs for the others."""

    def __init__(self, network: Network, every: int) -> None:
        self._network, self._every, self._count = network, every, 0
        self._last: WindowOutputs | None = None

    def __call__(self, images: npt.NDArray[np.uint8], first: int = 0) -> WindowOutputs:
        """As `Network.__call__`, now and then."""
        due = self._last is None or len(images) != len(self._last.trace) or self._count % self._every == 0
        self._last = self._network(images, first) if due or self._last is None else replace(self._last, first=first)
        self._count += 1
        return self._last

    def stages(self, images: npt.NDArray[np.uint8]) -> Stages:
        """As `Network.stages`."""
        return self._network.stages(images)

    def detail(self, crop: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """As `Network.detail`, which is asked seldom."""
        return self._network.detail(crop)


def processes() -> list[psutil.Process]:
    return [psutil.Process(), *workers()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--every", type=int, default=1)
    given = parser.parse_args()
    clip = long_clip(given.folder, given.hours)
    model = EmbeddedModel()
    model.network = OneIn(model.network, given.every)  # type: ignore[assignment]
    told = 0.0

    def tell(progress: Progress) -> None:
        nonlocal told
        if progress.done_seconds >= told:
            told += REPORT_SECONDS
            peaks = [round(peak_mb(process)) for process in processes()]
            spent = sum(map(cpu_seconds, processes()))
            print(f"{progress.done_seconds / 60:.0f} min: peaks {peaks} MB, {spent:.0f} CPU s", flush=True)

    model.on_progress = tell
    (verdict,) = model.inspect(clip)
    peaks = [round(peak_mb(process)) for process in processes()]
    print(
        json.dumps(
            {
                "frames": verdict.origin.frames_decoded,
                "peak MB, ours and the decoder's": peaks,
                "sum": sum(peaks),
                "cpu seconds": round(sum(map(cpu_seconds, processes()))),
                "highlights": [asdict(part) for part in getattr(verdict, "highlights", ())],
            }
        )
    )


if __name__ == "__main__":
    main()
