"""Peak memory and processor time of ``deeptrace data check`` on a records.jsonl of a million rows.

python benchmarks/check_memory.py            # 1,000,000 rows; --rows N
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

TRACE = {
    "bbox_xyxy": [0.3, 0.3, 0.5, 0.6], "onset_seconds": 0.4, "offset_seconds": 1.84,
    "categories": ["Object Distortion"], "explanation": "the arm bends like rubber", "track": None, "confidence": None,
}  # fmt: skip


def row(number: int) -> dict[str, object]:
    """A record with one trace; every 1,000th has a time that is none, every 100,000th an id that stands twice."""
    name = f"video_{number - (number % 100_000 == 99_999):07d}"
    trace = TRACE | ({"onset_seconds": "soon"} if number % 1_000 == 0 else {})
    return {
        "schema": "deeptrace.record", "schema_version": 1, "video_id": name, "path": f"videos/{name}.mp4",
        "label": "fake", "prompt": "a dog runs over a lawn", "annotations": [{"traces": [trace], "annotator": "a1"}],
    }  # fmt: skip


BAR_MB = 400


def main() -> int:
    """Write the rows, check them in a process of their own, print what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "records.jsonl"
        with file.open("w", encoding="utf-8") as out:
            out.writelines(json.dumps(row(number)) + "\n" for number in range(rows))
        size = file.stat().st_size
        done = subprocess.run(
            [sys.executable, "-m", "deeptrace", "data", "check", str(file)], capture_output=True, text=True, check=True
        )
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(done.stdout.splitlines()[-1])
    print(f"{rows:,} rows, {size / 1e6:.0f} MB: peak {used.ru_maxrss / 1024:.0f} MB, {used.ru_utime:.0f} CPU-s")
    return int(used.ru_maxrss / 1024 > BAR_MB)


if __name__ == "__main__":
    sys.exit(main())
