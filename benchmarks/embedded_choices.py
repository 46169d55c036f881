"""Choices of the embedded model's design, measured again: how an onset is picked.

    python benchmarks/embedded_bars.py make CLIPS DEV --split validation --first 150 --second 0
    python benchmarks/embedded_choices.py onset DEV             # error of ways to pick the onset

Test sources take no part. Needs the extra ``embedded``.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from deeptrace.models.embedded import EmbeddedModel
from deeptrace.models.embedded.finding import median, onset_chances
from deeptrace.train.embedded.bars import read_truth
from deeptrace.train.embedded.draw import COUNT
from deeptrace.video import sample_frames


def onset(folder: Path, model: EmbeddedModel) -> dict[str, float]:
    """Mean onset error, as a share of the window, of the likeliest and of the median frame."""
    errors: dict[str, list[float]] = {}
    for truth in read_truth(folder):
        said = model.network(sample_frames(folder / f"{truth['index']:04d}" / "fake.mp4", fps=8.0).images)
        chances = onset_chances(said)
        for name, frame in (("likeliest", int(chances.argmax())), ("median", median(chances))):
            errors.setdefault(name, []).append(abs(frame - truth["onset"]) / COUNT)
    return {name: round(float(np.mean(values)), 4) for name, values in errors.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["onset"])
    parser.add_argument("path", type=Path)
    parser.add_argument("--model", help="A model's folder; default: the shipped one.")
    given = parser.parse_args()
    print(json.dumps(onset(given.path, EmbeddedModel(given.model)), indent=1))


if __name__ == "__main__":
    main()
