"""How many pairs a tiny model needs before it sees traces in clips that it was not shown: a curve, blind beside it.

    python benchmarks/held_out_curve.py OUT [--task squares vanish] [--pairs 100 300 1000 3000] [--seeds 3]
    python benchmarks/held_out_curve.py OUT --print

Every fake has a twin that is the same but for the trace. ``squares``: a plain room in which a red square appears.
``vanish``: the scenes of ``deeptrace demo``, in which a moving thing disappears, at another place and time in each.
All sizes get the same number of steps, so that what differs is how many clips were seen and not how long. The held-out
pairs are the same for all, and no seed of theirs is among those that train. Answers are greedy; *above_twin* is how
often P(fake) of the fake is above that of its twin. Intervals are 95 %,
over held-out pairs (bootstrap) of the mean over seeds of weights; *better* is model minus blind, clip by clip.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import bootstrap

sys.path.insert(0, str(Path(__file__).parents[1]))

from deeptrace.data import load_records, write_records
from deeptrace.inject import make_demo_pair
from deeptrace.journal import Journal
from deeptrace.measures.video import VideoScore, score_video, truth_of
from deeptrace.models.hf.model import HfModel
from deeptrace.records import Annotation, Box, Frames, Record, Score, Trace, Verdict
from deeptrace.testing import tiny_model
from deeptrace.train.vlm.measure import BlindAnswer
from deeptrace.train.vlm.sft import run as run_sft
from deeptrace.video import probe, write_video
from tests.train.clips import draw, sft_recipe

Pair = tuple[Frames, Frames, Trace]

HELD_OUT = 60
FIRST_HELD_OUT = 1_000_000  # the first seed of the clips that measure
SIDE, FPS, SECONDS = 112, 4.0, 2.0
SHOWN_FPS = 2.0
SIZES = {"hidden_size": 96, "num_layers": 2, "vision_hidden_size": 96, "vision_layers": 1}
ONSETS = (0.5, 1.0, 1.5)  # seconds, each at a frame that is shown
FORMAT = "trained-no-explanation"
STEPS, BATCH, RATE = 1500, 16, 1e-3


def square(seed: int) -> Pair:
    """A square of four patches at a whole patch, from one of three moments on, in one of 36 rooms."""
    rng = random.Random(seed)
    room, onset = rng.randrange(36), rng.choice(ONSETS)
    x, y = rng.randrange(0, 11) / 14, rng.randrange(0, 11) / 14
    box: Box = (x, y, x + 4 / 14, y + 4 / 14)
    trace = Trace(box, onset, categories=("Redundant Object",))
    return draw(room, box, onset), draw(room, None, onset), trace


def vanish(seed: int) -> Pair:
    """A rendered scene in which a thing disappears, at one of three moments."""
    onset = random.Random(seed).choice(ONSETS)
    pair = make_demo_pair(seed, duration_seconds=SECONDS, fps=FPS, size_hw=(SIDE, SIDE), onset_seconds=onset)
    return pair.fake, pair.clean, pair.trace


TASKS: dict[str, Callable[[int], Pair]] = {"squares": square, "vanish": vanish}


def make_clips(make: Callable[[int], Pair], folder: Path, seeds: Sequence[int], split: str) -> list[Record]:
    """The clips of these seeds, fake beside real; those that are there already are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    records = []
    with Journal(folder / "made.jsonl") as made:
        for seed in seeds:
            fake, real = folder / f"{seed}-fake.mp4", folder / f"{seed}-real.mp4"
            if str(seed) not in made.rows:
                frames, clean, trace = make(seed)
                write_video(fake, frames)
                write_video(real, clean)
                made.add(str(seed), {"box": trace.bbox_xyxy, "onset": trace.onset_seconds})
            row = made.rows[str(seed)]
            trace = Trace(tuple(row["box"]), row["onset"])
            info = probe(fake)
            marks = (Annotation((trace,)),)
            records.append(Record(fake.stem, fake.name, "fake", info, f"scene {seed}", split, annotations=marks))
            records.append(Record(real.stem, real.name, "real", info, f"scene {seed}", split))
    return records


def train(task: str, pairs: int, seed: int, out: Path, steps: int) -> Path:
    """The model after so many steps on so many pairs."""
    clips, folder = out / task, out / task / f"{pairs}-{seed}-{steps}"
    if (folder / "final").exists():
        return folder / "final"
    records = make_clips(TASKS[task], clips, range(pairs), "train")
    write_records(clips / f"train-{pairs}.jsonl", records)
    model = folder.with_name(f"model-{seed}")
    if not model.exists():
        tiny_model("videollama3", model, seed=seed, **SIZES)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    recipe = sft_recipe(
        model,
        clips / f"train-{pairs}.jsonl",
        seed=seed,
        question={"format": FORMAT},
        sampling={"fps": SHOWN_FPS, "max_frames": round(SECONDS * SHOWN_FPS)},
        optim={"learning_rate": RATE, "batch_size": BATCH, "max_steps": steps, "schedule": "cosine", "warmup": 0.05},
        log={"every_steps": 50},
    )
    run_sft(recipe, folder)
    return folder / "final"


def numbers(score: VideoScore) -> dict[str, float]:
    """Right or not; of a fake also box IoU and time distance in [0, 1], the worst where nothing is said."""
    found = {"accuracy": float(score.verdict_label == score.label)}
    if score.label == "fake":
        row = score.rows[0]
        found |= {
            "box_iou": row.bbox_iou or 0.0,
            "time_distance": 1.0 if row.time_distance is None else row.time_distance,
        }
    return found


def measure(checkpoint: Path, records: Sequence[Record], folder: Path, blind: BlindAnswer) -> dict[str, Any]:
    """Of each clip what the model's answer is worth, and what the blind one is."""
    model = HfModel(str(checkpoint), device="cpu", max_new_tokens=64, batch_size=12)
    paths = [folder / str(record.path) for record in records]
    outcomes = model.inspect(paths)
    p_fake = {}
    for record, score in zip(records, model.score(paths), strict=True):
        assert isinstance(score, Score), score
        p_fake[record.video_id] = score.p_fake
    rows = {}
    for record, outcome in zip(records, outcomes, strict=True):
        truth = truth_of(record)
        assert truth is not None
        # Its place and time are those of one who calls every clip fake; its label is the more frequent one.
        unseen = numbers(score_video(truth, Verdict("fake", traces=(blind.trace,))))
        unseen["accuracy"] = float(record.label == blind.label)
        said = numbers(score_video(truth, outcome))
        if record.label == "fake":
            ahead = p_fake[record.video_id] - p_fake[record.video_id.replace("fake", "real")]
            said["above_twin"], unseen["above_twin"] = float(1 + np.sign(ahead)) / 2, 0.5
        rows[record.video_id] = {"model": said, "blind": unseen}
    return rows


def run(task: str, pairs: int, seed: int, out: Path, steps: int) -> dict[str, Any]:
    """Train and measure one model."""
    checkpoint = train(task, pairs, seed, out, steps)
    folder = out / task
    held = make_clips(TASKS[task], folder, range(FIRST_HELD_OUT, FIRST_HELD_OUT + HELD_OUT), "test")
    blind = BlindAnswer.fit(list(load_records(folder / f"train-{pairs}.jsonl")))
    return {
        "task": task,
        "pairs": pairs,
        "seed": seed,
        "steps": steps,
        "clips": measure(checkpoint, held, folder, blind),
    }


def cell(values: np.ndarray[Any, Any]) -> str:
    """Mean over held-out pairs and its interval."""
    mean = f"{values.mean():.2f}"
    if np.ptp(values) == 0:
        return mean
    low, high = bootstrap((values,), np.mean, method="percentile", rng=0, n_resamples=4000).confidence_interval
    return f"{mean} [{low:.2f}, {high:.2f}]"


def print_table(rows: Sequence[dict[str, Any]]) -> None:
    """One line a size: each metric, blind, and how much better; the unit of the interval is a held-out pair."""
    print("| task | pairs | steps | seeds | metric | model | blind | better |\n|---|---|---|---|---|---|---|---|")
    for task, pairs, steps in sorted({(row["task"], row["pairs"], row["steps"]) for row in rows}):
        of = [row["clips"] for row in rows if (row["task"], row["pairs"], row["steps"]) == (task, pairs, steps)]
        for metric in ("accuracy", "above_twin", "box_iou", "time_distance"):
            by_pair: dict[str, list[tuple[float, float]]] = {}
            for clips in of:
                for clip, found in clips.items():
                    if metric in found["model"]:
                        by_pair.setdefault(clip.split("-")[0], []).append(
                            (found["model"][metric], found["blind"][metric])
                        )
            values = np.array([np.mean(both, axis=0) for both in by_pair.values()])
            sign = -1 if metric == "time_distance" else 1
            cells = [cell(values[:, 0]), cell(values[:, 1]), cell(sign * (values[:, 0] - values[:, 1]))]
            print(f"| {task} | {pairs:,} | {steps:,} | {len(of)} | {metric} | {' | '.join(cells)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--task", nargs="*", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--pairs", type=int, nargs="*", default=[100, 300, 1000, 3000])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--print", action="store_true", help="Only print what is there.")
    given = parser.parse_args()
    with Journal(given.out / "rows.jsonl") as journal:
        for seed in range(0 if given.print else given.seeds):
            for task in given.task:
                for pairs in given.pairs:
                    key = f"{task} {pairs} {seed} {given.steps}"
                    if key not in journal.rows:
                        row = run(task, pairs, seed, given.out, given.steps)
                        journal.add(key, row)
                        right = np.mean([found["model"]["accuracy"] for found in row["clips"].values()])
                        print(json.dumps({"key": key, "accuracy": float(right)}), flush=True)
        print_table(list(journal.rows.values()))


if __name__ == "__main__":
    main()
