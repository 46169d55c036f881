"""What preference training and rejection sampling bring a tiny model whose supervised training has come to its end.

    python benchmarks/preference_gain.py OUT [--seeds 5] [--arms dpo rejection ...]     # goes on where OUT stands
    python benchmarks/preference_gain.py OUT --print

Clips of two seconds in which a red square appears. A model first learns the true places and times by heart; then it
is trained on annotators who disagree: boxes off by up to a sixth of the frame, onsets by up to half a second, three
annotations a clip. Its answers become as vague as theirs, and more of the same training does not mend them (the arm
"sft twice as long"). Then the reward, which knows the true square, is all that the other arms see: they learn from
answers that the model gave itself. Measured greedily on the same clips: that a model of this size knows clips that it
was not shown is not claimed. Intervals are 95 %, by Student's t over seeds.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from scipy.stats import t

sys.path.insert(0, str(Path(__file__).parents[1]))

from deeptrace.data import load_records, write_records
from deeptrace.journal import Journal
from deeptrace.measures.video import score_video, truth_of
from deeptrace.models.hf.model import HfModel
from deeptrace.records import Annotation, Box, Record, Trace
from deeptrace.testing import tiny_model
from deeptrace.train.recipe import build
from deeptrace.train.vlm.dpo import DpoRecipe
from deeptrace.train.vlm.dpo import run as run_dpo
from deeptrace.train.vlm.measure import BlindAnswer, blind_scores, summarise
from deeptrace.train.vlm.rejection import RejectionRecipe
from deeptrace.train.vlm.rejection import run as run_rejection
from deeptrace.train.vlm.sft import run as run_sft
from tests.train.clips import make_data, sft_recipe

FAKES, REALS, ANNOTATORS = 6, 2, 3
SHIFT, DELAY = 1 / 6, 0.5
SAMPLING = {"fps": 2.0, "max_frames": 4}
OPTIM = {"learning_rate": 1e-3, "batch_size": 12, "schedule": "cosine", "warmup": 0.05}
BY_HEART_STEPS, SFT_STEPS = 300, 120
_PAIRS = {"pairs": 4, "margin": 0.02}
ARMS: dict[str, dict[str, Any]] = {
    "dpo": {"dpo": {**_PAIRS, "likelihood": 1.0}, "optim": {"learning_rate": 5e-4}},
    "dpo, less likelihood": {"dpo": {**_PAIRS, "likelihood": 0.2}, "optim": {"learning_rate": 2e-4}},
    "dpo, no likelihood": {"dpo": _PAIRS, "optim": {"learning_rate": 5e-5}},
    "rejection": {"rejection": {"least": 0.5, "keep": 1}, "optim": {"learning_rate": 5e-4}},
}
STEPS = 120
COUNT = 48


def noisy(record: Record, rng: random.Random) -> list[Record]:
    """The record once for each annotator, who is off a little."""
    copies = []
    for k in range(ANNOTATORS):
        annotations = []
        for trace in record.traces:
            assert trace.bbox_xyxy is not None
            assert trace.onset_seconds is not None
            x0, y0, x1, y1 = trace.bbox_xyxy
            dx, dy = (rng.uniform(-SHIFT, SHIFT) for _ in range(2))
            dx, dy = min(max(dx, -x0), 1 - x1), min(max(dy, -y0), 1 - y1)
            box: Box = (x0 + dx, y0 + dy, x1 + dx, y1 + dy)
            onset = min(1.75, max(0.0, trace.onset_seconds + rng.uniform(-DELAY, DELAY)))
            annotations.append(Annotation((Trace(box, round(onset, 1)),)))
        copies.append(replace(record, video_id=f"{record.video_id}-{k}", annotations=tuple(annotations)))
    return copies


def measure(checkpoint: Path, records: Sequence[Record], root: Path) -> dict[str, float]:
    """The benchmark's metrics of greedy answers."""
    model = HfModel(str(checkpoint), device="cpu", max_new_tokens=64, batch_size=6)
    outcomes = model.inspect([root / str(record.path) for record in records])
    truths = [truth_of(record) for record in records]
    return summarise(
        [score_video(truth, outcome) for truth, outcome in zip(truths, outcomes, strict=True) if truth is not None]
    )


def start(folder: Path, seed: int) -> tuple[Path, Path]:
    """The folder of clips with true and with noisy records, and a model that knows the former by heart."""
    data, model, out = folder / "data", folder / "model", folder / "by-heart"
    if not (out / "final").exists():
        for one in (data, model, out):
            shutil.rmtree(one, ignore_errors=True)
        make_data(data, fakes=FAKES, reals=REALS, seed=seed)
        clean = [
            replace(
                record, annotations=tuple(Annotation((Trace(x.bbox_xyxy, x.onset_seconds),)) for x in record.traces)
            )
            for record in load_records(data / "train.jsonl")
        ]
        write_records(data / "clean.jsonl", clean)
        rng = random.Random(seed)
        write_records(data / "noisy.jsonl", [copy for record in clean for copy in noisy(record, rng)])
        tiny_model("videollama3", model, seed=seed)
        out.mkdir(parents=True)
        optim = {**OPTIM, "batch_size": 8, "max_steps": BY_HEART_STEPS}
        run_sft(sft_recipe(model, data / "clean.jsonl", seed=seed, sampling=SAMPLING, optim=optim), out)
    return data, out / "final"


def vague(folder: Path, seed: int, steps: int) -> Path:
    """The model after so many steps on annotators who disagree."""
    data, by_heart = start(folder, seed)
    out = folder / f"sft-{steps}"
    if not (out / "final").exists():
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        optim = {**OPTIM, "learning_rate": 5e-4, "max_steps": steps}
        run_sft(sft_recipe(by_heart, data / "noisy.jsonl", seed=seed, sampling=SAMPLING, optim=optim), out)
    return out / "final"


def run_arm(name: str, folder: Path, seed: int) -> dict[str, float]:
    """Train one arm of one seed and measure it."""
    data, by_heart = start(folder, seed)
    clean = list(load_records(data / "clean.jsonl"))
    if name == "by heart":
        return measure(by_heart, clean, data)
    if name.startswith("sft"):
        return measure(vague(folder, seed, SFT_STEPS * (2 if "twice" in name else 1)), clean, data)
    base = vague(folder, seed, SFT_STEPS)
    out = folder / name.replace(" ", "-").replace(",", "")
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    kind: Any = RejectionRecipe if name.startswith("rejection") else DpoRecipe
    given = ARMS[name]
    table: dict[str, Any] = {
        "seed": seed,
        "model": {"base": str(base)},
        "data": {"records": str(data / "clean.jsonl"), "workers": 0, "balance": [], "cache": str(data / "cache")},
        "sampling": SAMPLING,
        "candidates": {"count": COUNT, "max_new_tokens": 64},
        "eval": {"videos": 0},
        "save": {"every_steps": 0},
        "log": {"every_steps": 10},
        "hardware": {"device": "cpu"},
        **given,
        "optim": {"batch_size": 8, "max_steps": STEPS, "schedule": "cosine", "warmup": 0.05, **given["optim"]},
    }
    table["kind"] = "rejection" if kind is RejectionRecipe else "dpo"
    run: Any = run_rejection if kind is RejectionRecipe else run_dpo
    return measure(run(build(kind, table, name), out), clean, data)


def blind(folder: Path) -> dict[str, float]:
    """What the best constant answer gets, fitted on the noisy records that training saw."""
    records = load_records(folder / "data" / "noisy.jsonl")
    return blind_scores(list(load_records(folder / "data" / "clean.jsonl")), BlindAnswer.fit(list(records)))


def interval(values: Sequence[float]) -> str:
    """Mean and 95 % interval."""
    mean = fmean(values)
    if len(values) < 2:
        return f"{mean:.2f}"
    half = float(t.ppf(0.975, len(values) - 1)) * stdev(values) / len(values) ** 0.5
    return f"{mean:.2f} [{mean - half:.2f}, {mean + half:.2f}]"


def print_table(rows: Sequence[dict[str, Any]]) -> None:
    """One line an arm: metrics over seeds, and how far vIoU-F1 is from that of the start, seed by seed."""
    by: dict[str, dict[int, dict[str, float]]] = {}
    for row in rows:
        by.setdefault(row["arm"], {})[row["seed"]] = row["metrics"]
    print(
        "| arm | seeds | vIoU-F1 | more than sft | box IoU | time distance | accuracy |\n|---|---|---|---|---|---|---|"
    )
    for arm, found in by.items():
        cells = [
            interval([metrics[name] for metrics in found.values() if name in metrics])
            for name in ("viou_f1", "box_iou", "time_distance", "accuracy")
        ]
        both = [seed for seed in found if seed in by.get("sft", {})]
        gain = interval([found[seed]["viou_f1"] - by["sft"][seed]["viou_f1"] for seed in both]) if both else "–"
        print(f"| {arm} | {len(found)} | {cells[0]} | {gain} | {cells[1]} | {cells[2]} | {cells[3]} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=0, help="The first seed.")
    parser.add_argument("--arms", nargs="*", default=list(ARMS))
    parser.add_argument("--print", action="store_true", help="Only print what is there.")
    given = parser.parse_args()
    with Journal(given.out / "rows.jsonl") as journal:
        for seed in range(given.first, given.first + (0 if given.print else given.seeds)):
            for arm in ("by heart", "sft", "sft twice as long", *given.arms, "blind"):
                key = f"{arm} {seed}"
                if key not in journal.rows:
                    folder = given.out / f"seed-{seed}"
                    metrics = blind(folder) if arm == "blind" else run_arm(arm, folder, seed)
                    journal.add(key, {"arm": arm, "seed": seed, "metrics": metrics})
                    print(json.dumps({"arm": arm, "seed": seed, "viou_f1": metrics.get("viou_f1")}), flush=True)
        print_table(list(journal.rows.values()))


if __name__ == "__main__":
    main()
