"""How long an audit takes: of 7,652 rows without opening a file, and of files by their headers.

    python benchmarks/audit_speed.py --files 300

The rows are made up in the size of the RewardData release (3,318 fake and 3,318 real videos, 7,652 rows) and go
through all checks and the geometry probe. The files are small clips written beforehand; their headers are read one at
a time. Bars: 5 s for the rows, 100 files a second on one core. Processor time of this process and of the reader's is
counted beside the clock, because a busy machine stretches only the clock.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from measuring import cpu_seconds, workers

from deeptrace import video
from deeptrace.data.audit import audit
from deeptrace.data.audit.duplicates import FRAMES, HASH_BITS, Fingerprint, near_duplicates
from deeptrace.data.audit.features import read_facts
from deeptrace.records import Annotation, Frames, Record, Trace, VideoInfo

VIDEOS, FAKE_ROWS = 3318, 4334
ROWS_BAR_SECONDS, FILES_BAR = 5.0, 100.0


def release_like() -> list[Record]:
    """As many videos and rows as the release has, with lengths and sizes of its kind."""
    rng = np.random.default_rng(0)
    records = []
    for i in range(VIDEOS):
        trace = Trace((0.2, 0.2, 0.5, 0.6), float(rng.uniform(0, 2)), 4.0, ("Sudden Blurring",), "it blurs")
        rows = 2 if i < FAKE_ROWS - VIDEOS else 1
        fake = VideoInfo(1280, 720, 24.0, 120, 5.0 + float(rng.integers(0, 6)))
        real = VideoInfo(int(rng.integers(370, 1300)), int(rng.integers(360, 1100)), 30.0, 170, 5.8)
        annotations = (Annotation((trace,)),) * rows
        records.append(Record(f"f{i}", f"videos/{i}.mp4", "fake", fake, f"g{i % 7}", "train", annotations=annotations))
        records.append(Record(f"r{i}", f"real_videos/{i}.mp4", "real", real, "camera", "train"))
    return records


def time_rows() -> dict[str, float]:
    records = release_like()
    wall, cpu = time.perf_counter(), time.process_time()
    result = audit(records)
    assert result.shortcuts is not None
    return {"rows": result.counts["rows"], "wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}


def time_headers(count: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        noise = np.random.default_rng(0).integers(0, 255, (48, 180, 320, 3), dtype=np.uint8)
        video.write_video(Path(folder, "0.mp4"), Frames.from_array(noise, 24.0))
        data = Path(folder, "0.mp4").read_bytes()
        paths = [Path(folder, f"{i}.mp4") for i in range(count)]
        for path in paths:
            path.write_bytes(data)
        read_facts(paths[0])  # the worker starts here
        theirs = sum(map(cpu_seconds, workers()))
        wall, cpu = time.perf_counter(), time.process_time()
        for path in paths:
            read_facts(path)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        cpu += sum(map(cpu_seconds, workers())) - theirs
    return {"files": count, "per_second": count / wall, "per_cpu_second": count / cpu}


def time_duplicates() -> dict[str, float]:
    rng = np.random.default_rng(0)
    prints = [Fingerprint(rng.random((FRAMES, HASH_BITS)) < 0.5) for _ in range(2 * VIDEOS)]
    wall, cpu = time.perf_counter(), time.process_time()
    near_duplicates(prints)
    return {"videos": len(prints), "wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=300)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    rows, headers, duplicates = time_rows(), time_headers(args.files), time_duplicates()
    met = rows["cpu"] <= ROWS_BAR_SECONDS and headers["per_cpu_second"] >= FILES_BAR
    if args.json:
        print(json.dumps({"rows": rows, "headers": headers, "near_duplicates": duplicates, "met": met}, indent=2))
    else:
        print(f"{rows['rows']:.0f} rows: {rows['wall']:.1f} s on the clock, {rows['cpu']:.1f} s of a core (bar 5)")
        print(
            f"{headers['files']:.0f} headers: {headers['per_second']:.0f} a second on the clock, "
            f"{headers['per_cpu_second']:.0f} a second of a core (bar 100)"
        )
        print(f"{duplicates['videos']:.0f} videos compared all with all: {duplicates['cpu']:.1f} s of a core")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
