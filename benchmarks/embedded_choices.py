"""Choices of the embedded model's design, measured again: how an onset is picked, and what tells whole clips apart.

    python benchmarks/embedded_bars.py make CLIPS DEV --split validation --first 150 --second 0
    python benchmarks/embedded_choices.py onset DEV             # error of ways to pick the onset
    python benchmarks/embedded_choices.py generated CLIPS       # AUROC over families for sets of whole-clip features

Test sources take no part. Needs the extra ``embedded``.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from embedded_bars import split_of

from deeptrace.models.embedded import EmbeddedModel
from deeptrace.models.embedded.finding import median, onset_chances
from deeptrace.models.embedded.windows import LOOK_PARTS
from deeptrace.train import load_recipe
from deeptrace.train.embedded.bars import read_truth
from deeptrace.train.embedded.draw import COUNT
from deeptrace.train.embedded.export import export_backbone
from deeptrace.train.embedded.footage import load_pool
from deeptrace.train.embedded.generated import by_clip, collect, out_of_fold
from deeptrace.train.embedded.spool import FeatureMaker
from deeptrace.video import sample_frames

_FOLDINGS = 8


def onset(folder: Path, model: EmbeddedModel) -> dict[str, float]:
    """Mean onset error, as a share of the window, of the likeliest and of the median frame."""
    errors: dict[str, list[float]] = {}
    for truth in read_truth(folder):
        said = model.network(sample_frames(folder / f"{truth['index']:04d}" / "fake.mp4", fps=8.0).images)
        chances = onset_chances(said)
        for name, frame in (("likeliest", int(chances.argmax())), ("median", median(chances))):
            errors.setdefault(name, []).append(abs(frame - truth["onset"]) / COUNT)
    return {name: round(float(np.mean(values)), 4) for name, values in errors.items()}


def generated(clips: Path, model: EmbeddedModel, cache: Path) -> dict[str, dict[str, float]]:
    """AUROC over clips, by heads that saw neither source nor generator's family: mean and deviation of the foldings."""
    from sklearn.metrics import roc_auc_score

    _, recipe = load_recipe("embedded")
    pool = [
        clip for clip in load_pool(clips, cache, labels=("real", "fake")) if split_of(clip.source, recipe) != "test"
    ]
    with tempfile.TemporaryDirectory() as folder:
        export_backbone(Path(folder) / "backbone.onnx")
        looks = collect(pool, model.network, FeatureMaker(Path(folder) / "backbone.onnx").middle)
    columns = np.arange(looks.values.shape[1])
    means, unevenness, motion = (columns[LOOK_PARTS[name]] for name in ("means", "unevenness", "motion"))
    sets: dict[str, Any] = {
        "one middle frame": looks.middle,
        "means": looks.values[:, means],
        "means, unevenness": looks.values[:, np.r_[means, unevenness]],
        "means, unevenness, motion": looks.values[:, np.r_[means, unevenness, motion]],
    }
    found = {}
    for name, values in sets.items():
        scores = []
        for seed in range(_FOLDINGS):
            score, labels, _ = by_clip(out_of_fold(values, looks, seed=seed), looks)
            scores.append(float(roc_auc_score(labels, score)))
        found[name] = {"auroc": round(float(np.mean(scores)), 3), "deviation": round(float(np.std(scores)), 3)}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["onset", "generated"])
    parser.add_argument("path", type=Path)
    parser.add_argument("--model", help="A folder with embedded.onnx; default: the shipped one.")
    parser.add_argument("--cache", type=Path, default=Path("out/pool"))
    given = parser.parse_args()
    model = EmbeddedModel(given.model)
    found = onset(given.path, model) if given.what == "onset" else generated(given.path, model, given.cache)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
