#!/usr/bin/env python3
"""How long the explorer takes to open a large dataset and to show a view of it, in seconds of processor time.

    python benchmarks/explorer_speed.py [FOLDER]

FOLDER gets the example dataset where it holds none; its records are repeated to 7,000.
"""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from deeptrace.data import load_records
from deeptrace.data.example import make_example
from deeptrace.data.read.load import Records
from deeptrace.explorer.index import DatasetIndex, ViewQuery

VIDEOS = 7_000
QUERIES = ((), (("sort", "disagreement"),), (("q", "ball"),), (("category", "Object Merging"),))


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(temporary) / "example"
        if not (folder / "all_data.json").is_file():
            make_example(folder)
        records = load_records(folder)
    rounds = -(-VIDEOS // len(records))
    many = [replace(r, video_id=f"{r.video_id}-{k}") for k in range(rounds) for r in records][:VIDEOS]
    began = time.process_time()
    index = DatasetIndex(Records(many, root=records.root))
    print(f"opened {len(index.entries):,} videos: {time.process_time() - began:.2f} s")
    for pairs in QUERIES:
        for turn in ("first", "again"):
            began = time.process_time()
            result = index.view(ViewQuery.from_pairs(pairs, index.names))
            print(f"{dict(pairs)} {turn}: {result.total:,} videos, {time.process_time() - began:.2f} s")


if __name__ == "__main__":
    main()
