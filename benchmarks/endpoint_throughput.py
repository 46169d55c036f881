"""How fast our side asks an endpoint: against a server on this machine that answers at once, by each transport.

    python benchmarks/endpoint_throughput.py CLIPS [--count 60] [--rounds 3] [--concurrency 8]

CLIPS is a folder of videos. The server is a process of its own that reads a request and answers without a look, so
what is measured is ours: reading frames, coding them, sending. Processor time is of this process and of the reader's
processes; the server's does not count. Transports are asked in turns; figures are medians over the rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any, get_args

from measuring import cpu_seconds, workers

sys.path.insert(0, str(Path(__file__).parents[1]))

from deeptrace.models.base import Sampling, Transport
from deeptrace.models.openai import OpenAIModel
from deeptrace.records import Verdict
from tests.decoding_server import DecodingServer


def spent() -> float:
    """Processor seconds of this process and of the reader's, those that ended too; not of the server."""
    times = os.times()
    live = sum(cpu_seconds(one) for one in workers() if "tests.decoding_server" not in " ".join(one.cmdline()))
    return times.user + times.system + times.children_user + times.children_system + live


def ask(url: str, clips: list[Path], transport: Any, concurrency: int, sampling: Sampling) -> dict[str, float]:
    """Clips a second, processor seconds a clip and bytes a clip of one pass over the clips."""
    with OpenAIModel(
        "m", base_url=url, api_key="none", transport=transport, concurrency=concurrency, sampling=sampling
    ) as model:
        before = spent()
        start = time.perf_counter()
        outcomes = model.inspect(clips)
        wall = time.perf_counter() - start
        cpu = spent() - before
    facts = [outcome.origin.sampling or {} for outcome in outcomes if isinstance(outcome, Verdict)]
    sent = [row.get("frame_bytes") or row.get("video_bytes") or 0 for row in facts]
    return {
        "clips a second": len(clips) / wall,
        "processor seconds a clip": cpu / len(clips),
        "kilobytes a clip": statistics.fmean(sent) / 1000 if sent else float("nan"),
        "without an answer": len(clips) - len(facts),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path)
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--concurrency", type=int, default=8)
    parser.add_argument("--fps", type=float, default=2.0)
    parser.add_argument("--short-side", type=int, default=448)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    clips = sorted(path for path in given.clips.rglob("*.mp4"))[: given.count]
    if not clips:
        parser.error(f"no .mp4 in {given.clips}")
    sampling = Sampling(fps=given.fps, max_frames=40, short_side=given.short_side)
    found: dict[str, list[dict[str, float]]] = {}
    with DecodingServer("--blind") as url:
        ask(url, clips[:4], "images", given.concurrency, sampling)  # starts the reader's processes
        for _ in range(given.rounds):
            for transport in get_args(Transport):
                row = ask(url, clips, transport, given.concurrency, sampling)
                found.setdefault(transport, []).append(row)
    table = {
        name: {key: round(statistics.median(row[key] for row in rows), 3) for key in rows[0]}
        for name, rows in found.items()
    }
    if given.json:
        print(json.dumps({"clips": len(clips), "table": table}))
        return 0
    print("| transport | clips a second | processor seconds a clip | kB a clip |\n|---|---|---|---|")
    for name, row in table.items():
        print(
            f"| `{name}` | {row['clips a second']:.1f} | {row['processor seconds a clip']:.3f} "
            f"| {row['kilobytes a clip']:.0f} |"
        )
    return 0 if all(row["without an answer"] == 0 for row in table.values()) else 1


if __name__ == "__main__":
    raise SystemExit(main())
