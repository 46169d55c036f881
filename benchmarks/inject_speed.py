"""CPU seconds for a pair of `deeptrace inject`, small and full, from a clip and from a rendered scene.

    python benchmarks/inject_speed.py [CLIP ...]

CPU time of this process and of the decoder's, so other work on the machine counts little; windows that were refused and
other clips that stood in are counted too. Bars: 3 pairs a second small
and one in 5 s full, both on two cores, that is 0.67 and 10 CPU-s a pair. With CLIPs one pair is planned for each.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import cv2
import psutil

from deeptrace.errors import InjectionError
from deeptrace.inject.pairs import FULL, SMALL, Size, Source, footage_sources, make_pair
from deeptrace.inject.plan import plan_pair
from deeptrace.inject.quota import assign

BARS = {"small": 2 / 3, "full": 10.0}


def cpu_seconds() -> float:
    """Of this process and of its living children: the decoder stays alive between clips."""
    children = sum(sum(child.cpu_times()[:2]) for child in psutil.Process().children(recursive=True))
    return time.process_time() + children


def measure(sources: list[Source], size: Size, root: Path) -> tuple[float, int]:
    made = 0
    begin = cpu_seconds()
    plans = assign([plan_pair(0, number) for number in range(len(sources))], {})
    for plan, source in zip(plans, sources, strict=True):
        others = [one for one in sources if one is not source]
        windows = footage_sources(0, plan.number, source, others) if source.path else [source]
        try:
            make_pair(root, plan, windows, size=size, strength=0.7, implementation="first")
        except InjectionError as error:
            print(f"  {source.name}: {error.code}")
            continue
        made += 1
    return (cpu_seconds() - begin) / max(made, 1), made


def main() -> int:
    cv2.setNumThreads(1)
    clips = [Source(Path(path).name, path) for path in sys.argv[1:]]
    failed = False
    for name, size in (("small", SMALL), ("full", FULL)):
        scenes = [Source(f"scene {k}") for k in range(8 if name == "small" else 2)]
        for what, sources in (("scenes", scenes), ("clips", clips)):
            if not sources:
                continue
            with tempfile.TemporaryDirectory() as folder:
                cost, made = measure(sources, size, Path(folder))
            failed |= cost > BARS[name]
            print(f"{name:5} {what:6} {cost:6.2f} CPU-s a pair  (n={made}, bar {BARS[name]:.2f})")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
