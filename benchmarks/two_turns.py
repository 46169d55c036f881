"""One look at a video against two, at equal tokens of pictures, on clips that were not shown in training.

    python benchmarks/two_turns.py OUT [--seeds 3] [--pairs 1000] [--steps 1000]     # goes on where OUT stands
    python benchmarks/two_turns.py OUT --print

Eight seconds of a plain room; in half of the clips a red square appears at some eighth of a second between the first
and the seventh. ``one``: eight frames, one a second. ``two``: four frames, one in two seconds, say whether and about
when; four frames of two seconds around that moment, two a second, say when and where. A step of training shows both the
same number of frames: 8 examples of eight frames, or 16 of four, half of them second looks. ``two, first look alone``
is the same checkpoint asked once: it sees half of the tokens. *blind* says FAKE with the best constant trace.

Held-out pairs, a fake and its twin, are the unit; intervals are 95 % by bootstrap of the mean over seeds of weights.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from held_out_curve import FIRST_HELD_OUT, FORMAT, HELD_OUT, RATE, SIDE, SIZES, cell, make_clips, numbers

sys.path.insert(0, str(Path(__file__).parents[1]))

from deeptrace.data import load_records, write_records
from deeptrace.journal import Journal
from deeptrace.measures.video import score_video, truth_of
from deeptrace.models.base import Sampling
from deeptrace.models.hf.model import HfModel
from deeptrace.models.two_pass import TwoPass
from deeptrace.records import Box, Frames, Trace, Verdict
from deeptrace.testing import tiny_model
from deeptrace.train.vlm.measure import BlindAnswer
from deeptrace.train.vlm.sft import run as run_sft
from tests.train.clips import sft_recipe

FPS, SECONDS = 8.0, 8.0
WINDOW = 2.0
FRAMES = {"one": Sampling(1.0, 8), "two": Sampling(0.5, 4)}
NEAR = Sampling(2.0, 4)
BATCH = {"one": 8, "two": 16}


def square(seed: int) -> tuple[Frames, Frames, Trace]:
    """A square of four patches that appears in one of 36 rooms, and the room without it."""
    rng = random.Random(seed)
    room, onset = rng.randrange(36), rng.randrange(8, 57) / 8
    x, y = rng.randrange(0, 11) / 14, rng.randrange(0, 11) / 14
    box: Box = (x, y, x + 4 / 14, y + 4 / 14)
    empty = np.empty((round(FPS * SECONDS), SIDE, SIDE, 3), np.uint8)
    empty[:] = [(30, 90, 150)[room % 3], (30, 100, 170, 240)[room // 3 % 4], (30, 130, 230)[room // 12]]
    shown = empty.copy()
    x0, y0, x1, y1 = (round(v * SIDE) for v in box)
    shown[int(onset * FPS) :, y0:y1, x0:x1] = [230, 20, 20]
    trace = Trace(box, onset, categories=("Redundant Object",))
    return Frames.from_array(shown, FPS), Frames.from_array(empty, FPS), trace


def train(arm: str, seed: int, out: Path, pairs: int, steps: int) -> Path:
    """The checkpoint of one arm."""
    folder = out / f"{arm}-{seed}-{pairs}-{steps}"
    if (folder / "final").exists():
        return folder / "final"
    write_records(out / "train.jsonl", make_clips(square, out, range(pairs), "train"))
    model = out / f"model-{seed}"
    if not model.exists():
        tiny_model("videollama3", model, seed=seed, **SIZES)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    shown = FRAMES[arm]
    tables: dict[str, Any] = {}
    if arm == "two":
        tables["second_look"] = {"share": 0.5, "window_seconds": WINDOW, "fps": NEAR.fps}
    recipe = sft_recipe(
        model,
        out / "train.jsonl",
        seed=seed,
        question={"format": FORMAT},
        sampling={"fps": shown.fps, "max_frames": shown.max_frames},
        optim={
            "learning_rate": RATE,
            "batch_size": BATCH[arm],
            "max_steps": steps,
            "schedule": "cosine",
            "warmup": 0.05,
        },
        log={"every_steps": 50},
        **tables,
    )
    run_sft(recipe, folder)
    return folder / "final"


def measure(arm: str, seed: int, out: Path, pairs: int, steps: int) -> dict[str, Any]:
    """Of each held-out clip what the answer is worth."""
    held = make_clips(square, out, range(FIRST_HELD_OUT, FIRST_HELD_OUT + HELD_OUT), "test")
    if arm == "blind":
        blind = BlindAnswer.fit(list(load_records(out / "train.jsonl")))
        outcomes: list[Any] = [Verdict("fake", traces=(blind.trace,)) for _ in held]
    else:
        checkpoint = train(arm.partition(",")[0], seed, out, pairs, steps)
        model = HfModel(str(checkpoint), device="cpu", max_new_tokens=64, batch_size=12)
        asked: Any = TwoPass(model, second=NEAR, window_seconds=WINDOW) if arm == "two" else model
        outcomes = asked.inspect([out / str(record.path) for record in held])
    rows = {}
    for record, outcome in zip(held, outcomes, strict=True):
        truth = truth_of(record)
        assert truth is not None
        rows[record.video_id] = numbers(score_video(truth, outcome))
    return rows


def print_table(rows: Sequence[dict[str, Any]]) -> None:
    """One line an arm, then how much better two looks are than one, pair by pair."""
    by: dict[str, dict[str, dict[str, list[float]]]] = {}
    for row in rows:
        for clip, found in row["clips"].items():
            for metric, value in found.items():
                pair = by.setdefault(row["arm"], {}).setdefault(metric, {})
                pair.setdefault(clip.split("-")[0], []).append(value)
    metrics = ("accuracy", "box_iou", "time_distance")
    print(f"| arm | seeds | {' | '.join(metrics)} |\n|---|---|---|---|---|")
    for arm, found in by.items():
        cells = [cell(np.array([np.mean(values) for values in found[metric].values()])) for metric in metrics]
        print(f"| {arm} | {sum(row['arm'] == arm for row in rows)} | {' | '.join(cells)} |")
    if "one" in by and "two" in by:
        gains = [
            cell(np.array([np.mean(values) - np.mean(by["one"][m][pair]) for pair, values in by["two"][m].items()]))
            for m in metrics
        ]
        print(f"| two - one | | {' | '.join(gains)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--pairs", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--print", action="store_true", help="Only print what is there.")
    given = parser.parse_args()
    with Journal(given.out / "rows.jsonl") as journal:
        for seed in range(0 if given.print else given.seeds):
            for arm in ("one", "two", "two, first look alone", "blind"):
                key = f"{arm} {seed} {given.pairs} {given.steps}"
                if key not in journal.rows:
                    clips = measure(arm, seed, given.out, given.pairs, given.steps)
                    journal.add(key, {"arm": arm, "seed": seed, "clips": clips})
                    means = {
                        m: np.mean([x[m] for x in clips.values() if m in x]).item() for m in ("accuracy", "box_iou")
                    }
                    print(json.dumps({"key": key, **means}), flush=True)
        print_table(list(journal.rows.values()))


if __name__ == "__main__":
    main()
