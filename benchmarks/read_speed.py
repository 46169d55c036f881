"""What sampled reading costs beside a full decode: processor time of our reader, of ffmpeg and of OpenCV.

    python benchmarks/read_speed.py --rounds 5

Every round runs all three on the same clip, one after the other, so that a busy machine hurts them alike. Ratios are
to `ffmpeg -threads 1 -i clip -f null -`, its start included. Ours reads at 2 fps with a short side of 448 through a
warm worker and counts the caller and the worker. OpenCV decodes everything and resizes the same frames; only its
reading is counted, not its start.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from clips import SIZES, make_clip, megabits_per_second
from measuring import Cost, cpu_seconds, median, peak_mb, program_cost, workers

from deeptrace import video

FPS, SHORT_SIDE = 2.0, 448
BARS = {250: 0.80, 12: 0.50}  # ours / ffmpeg, by pictures per GOP
MEMORY_BAR_MB = 150.0

OPENCV = """
import sys, time, cv2
path, every, short_side = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
cpu, wall = time.process_time(), time.perf_counter()
capture, index, frames = cv2.VideoCapture(path), 0, []
step = capture.get(cv2.CAP_PROP_FPS) / every
while capture.grab():
    if index >= len(frames) * step - 1e-6:
        image = capture.retrieve()[1]
        scale = short_side / min(image.shape[:2])
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        frames.append(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
    index += 1
print(time.process_time() - cpu, time.perf_counter() - wall, len(frames))
"""


def read_with_ffmpeg(path: Path) -> Cost:
    return program_cost(["ffmpeg", "-v", "error", "-threads", "1", "-i", str(path), "-f", "null", "-"])


def read_with_opencv(path: Path) -> Cost:
    """In a process of its own: OpenCV opens files with an FFmpeg that knows no limits."""
    command = [sys.executable, "-c", OPENCV, str(path), str(FPS), str(SHORT_SIDE)]
    cpu, wall, _ = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return Cost(float(cpu), float(wall))


def read_with_deeptrace(path: Path) -> Cost:
    before = workers()
    own, start, theirs = time.process_time(), time.perf_counter(), sum(map(cpu_seconds, before))
    frames = video.sample_frames(path, fps=FPS, short_side=SHORT_SIDE)
    wall, own = time.perf_counter() - start, time.process_time() - own
    after = workers()
    if before != after:
        raise SystemExit("the worker was replaced during a reading: its processor time is not known")
    assert len(frames) == 5 * FPS
    assert frames.reading is not None
    assert not frames.reading.partial
    return Cost(own + sum(map(cpu_seconds, after)) - theirs, wall)


READERS = {"ffmpeg": read_with_ffmpeg, "deeptrace": read_with_deeptrace, "opencv": read_with_opencv}


def measure(path: Path, gop: int, rounds: int) -> dict[str, object]:
    costs: dict[str, list[Cost]] = {name: [] for name in READERS}
    read_with_deeptrace_warm(path)
    for _ in range(rounds):
        for name, read in READERS.items():
            costs[name].append(read(path))
    cpu = {name: median([cost.cpu for cost in found]) for name, found in costs.items()}
    wall = {name: median([cost.wall for cost in found]) for name, found in costs.items()}
    ratio = round(cpu["deeptrace"] / cpu["ffmpeg"], 3)
    return {
        "clip": path.stem,
        "megabits_per_second": round(megabits_per_second(path), 1),
        "cpu_seconds": cpu,
        "wall_seconds": wall,
        "ratio": ratio,
        "ratio_opencv": round(cpu["opencv"] / cpu["ffmpeg"], 3),
        "bar": BARS[gop],
        "met": ratio <= BARS[gop],
    }


def read_with_deeptrace_warm(path: Path) -> None:
    video.close()
    video.sample_frames(path, fps=FPS, short_side=SHORT_SIDE)


def worker_peak_mb(path: Path) -> float:
    """The peak of a fresh worker that read this one clip."""
    read_with_deeptrace_warm(path)
    return max(map(peak_mb, workers()))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clips", type=Path, default=Path(tempfile.gettempdir(), "deeptrace-benchmark"))
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    rows = [measure(make_clip(args.clips, size, gop), gop, args.rounds) for size in SIZES for gop in BARS]
    memory = worker_peak_mb(make_clip(args.clips, "1080p30", 250))
    result = {"rounds": args.rounds, "clips": rows, "worker_peak_mb": round(memory, 1), "memory_bar_mb": MEMORY_BAR_MB}
    if args.json:
        print(json.dumps(result, indent=2))
    else:
        print(f"{'clip':<16}{'Mb/s':>6}{'ffmpeg s':>10}{'ours s':>8}{'opencv s':>10}{'ours/ffmpeg':>13}{'bar':>6}")
        for row in rows:
            cpu = row["cpu_seconds"]
            assert isinstance(cpu, dict)
            print(
                f"{row['clip']:<16}{row['megabits_per_second']:>6}{cpu['ffmpeg']:>10.2f}{cpu['deeptrace']:>8.2f}"
                f"{cpu['opencv']:>10.2f}{row['ratio']:>13}{row['bar']:>6}{'' if row['met'] else '  MISSED'}"
            )
        print(f"peak memory of a fresh worker on 1080p30: {memory:.0f} MB (bar {MEMORY_BAR_MB:.0f})")
    return 0 if memory <= MEMORY_BAR_MB and all(row["met"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
