"""What a trace changes, its sham beside it, and what both cost: by category and implementation, on clips.

    python benchmarks/inject_effect.py CLIP [CLIP ...]

One try a category on up to 24 frames at 8 a second and 126 pixels on the short side, at strength 0.7, on one thread.
Changes are mean grey levels inside the mask against the clean frames.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from deeptrace.categories import CATEGORIES
from deeptrace.errors import InjectionError
from deeptrace.inject import IMPLEMENTATIONS, find_things, inject
from deeptrace.video import sample_frames


def main() -> int:
    cv2.setNumThreads(1)
    rows: dict[tuple[str, str], list[tuple[float, float, float]]] = {}
    finding = []
    for path in tqdm([Path(path) for path in sys.argv[1:]], unit="clip"):
        frames = sample_frames(path, fps=8.0, end_seconds=3.0, short_side=126)
        begin = time.process_time()
        try:
            things = find_things(frames, seed=0)
        except InjectionError as error:
            tqdm.write(f"{path.name}: {error.code}")
            continue
        finding.append(time.process_time() - begin)
        for category in CATEGORIES:
            for way in IMPLEMENTATIONS:
                made = rows.setdefault((category, way), [])
                begin = time.process_time()
                try:
                    one = inject(frames, category, seed=1, strength=0.7, implementation=way, things=things)
                except InjectionError:
                    continue
                seconds = time.process_time() - begin
                where = one.mask > 63
                clean = one.clean.images[where].astype(np.int16)
                fake, sham = (float(np.abs(t.images[where] - clean).mean()) for t in (one.fake, one.sham))
                made.append((seconds, fake, sham / fake))
    print(f"finding the things: {np.mean(finding):.2f} CPU-s a clip (n={len(finding)})\n")
    print("| category | made | CPU-s a trace | change, grey levels | sham / fake | second: made, change, sham / fake |")
    print("|---|---|---|---|---|---|")
    for category in CATEGORIES:
        (n, first), (n2, second) = (
            (len(rows[category, way]), np.mean(rows[category, way], axis=0)) for way in IMPLEMENTATIONS
        )
        print(
            f"| {category} | {n} of {len(finding)} | {first[0]:.2f} | {first[1]:.1f} | {first[2]:.2f} "
            f"| {n2}, {second[1]:.1f}, {second[2]:.2f} |"
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
