"""How long it takes to read 100,000 answers: good ones, broken ones, and those that say nothing.

The answers are those of `tests/golden/answers`, in turns, each read in the format that its question asked for.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

from deeptrace.answer import Space, parse

BAR_SECONDS = 5.0
ANSWERS = Path(__file__).parents[1] / "tests" / "golden" / "answers"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = [
        json.loads(line) for file in sorted(ANSWERS.glob("*.jsonl")) for line in file.read_text().rstrip().split("\n")
    ]
    answers = [(row["text"], row["format"]) for row in rows]
    many = (answers * (options.count // len(answers) + 1))[: options.count]
    space = Space("source", 1280, 720)
    seconds = []
    for _ in range(options.rounds):
        begin = time.process_time()
        for text, format in many:
            parse(text, format, space)
        seconds.append(time.process_time() - begin)
    median = statistics.median(seconds)
    figures = {"answers": options.count, "shapes": len(answers), "cpu_seconds": round(median, 2), "bar": BAR_SECONDS}
    print(json.dumps(figures) if options.json else "\n".join(f"{name:12} {value}" for name, value in figures.items()))
    return 0 if median <= BAR_SECONDS * options.count / 100_000 else 1


if __name__ == "__main__":
    sys.exit(main())
