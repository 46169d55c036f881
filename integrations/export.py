"""Write a dataset as the rows of other harnesses: ``export.py DATA DST [--split test] [--format zero-shot]``."""

from __future__ import annotations

import argparse
from pathlib import Path

from deeptrace.bench.harness import DEFAULT_FORMAT, docs, write_docs, write_tsv
from deeptrace.data import load_records


def main() -> None:
    """Read the arguments and write ``test.jsonl`` and ``DeeptraceReward.tsv``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("dst", type=Path)
    parser.add_argument("--split", default="test")
    parser.add_argument("--format", default=DEFAULT_FORMAT)
    given = parser.parse_args()
    records = load_records(given.data)
    rows = list(docs((r for r in records if given.split in ("all", r.split)), records.root, given.format))
    given.dst.mkdir(parents=True, exist_ok=True)
    count = write_docs(given.dst / "test.jsonl", rows)
    write_tsv(given.dst / "DeeptraceReward.tsv", rows, records.root)
    print(f"{count} videos in {given.dst}")  # noqa: T201  a script's answer


if __name__ == "__main__":
    main()
