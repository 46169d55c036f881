"""Whether the RL stage teaches a tiny model to tell one clip from another, and what that hangs on: a table of arms.

    python benchmarks/grpo_gain.py OUT [--task coin sixteen four] [--seeds 3]     # goes on where OUT stands
    python benchmarks/grpo_gain.py OUT --print

Three starts, each harder than one where FAKE is right of every clip:

``coin``     two fakes, two reals; a model that says FAKE of half of what it sees, whatever that is
``sixteen``  nine fakes, seven reals; a model that half knows their labels, places and times, by supervised training
``four``     the same model, and two fakes and two reals of these

What counts is the mean reward of 24 sampled answers a clip, before and after, on the clips that are trained on: that a
model of this size knows clips that it was not shown is not claimed. *blind* says FAKE with the best constant trace, or
REAL, whichever earns more. Intervals are 95 %, by Student's t over seeds of data, weights and order.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from preference_gain import interval

sys.path.insert(0, str(Path(__file__).parents[1]))

from deeptrace.answer import Space, render
from deeptrace.data import load_records, write_records
from deeptrace.files import read_jsonl
from deeptrace.journal import Journal
from deeptrace.records import Annotation, Record, Trace, Verdict
from deeptrace.testing import tiny_model
from deeptrace.train.recipe import build
from deeptrace.train.vlm.candidates import CandidatesTable, read_candidates, try_answers
from deeptrace.train.vlm.grpo import GrpoRecipe
from deeptrace.train.vlm.grpo import run as run_grpo
from deeptrace.train.vlm.reward import blind_trace, grounded_reward
from deeptrace.train.vlm.setup import prepare
from deeptrace.train.vlm.sft import run as run_sft
from tests.train.clips import make_data, sft_recipe

SAMPLING = {"fps": 2.0, "max_frames": 4}
LABEL_ONLY, PLACES = "trained-no-box-no-time-no-explanation", "trained-no-explanation"
HALF_STEPS, LONGER_STEPS = 70, 110
ANSWERS = 24

# Each changes one thing of "plain". "warm": steps of supervised training before; "first": steps on four clips first.
PLAIN: dict[str, Any] = {"steps": 60, "grpo": {"group": 8}, "optim": {"learning_rate": 4e-4}}
ARMS: dict[str, dict[str, Any]] = {
    "plain": {},
    "learning rate 1e-3": {"optim": {"learning_rate": 1e-3}},
    "learning rate 1e-4": {"optim": {"learning_rate": 1e-4}},
    "group of 32": {"grpo": {"group": 32}},
    "KL 0.05": {"grpo": {"beta": 0.05}},
    "partial credit": {"grpo": {"credit": "partial"}},
    "longer warm-up": {"warm": LONGER_STEPS},
    "longer warm-up, held": {"warm": LONGER_STEPS, "optim": {"learning_rate": 1e-4}, "grpo": {"beta": 0.2}},
    "four clips first": {"first": 30, "steps": 30},
    "longer warm-up, 2e-4": {"warm": LONGER_STEPS, "optim": {"learning_rate": 2e-4}},
    "supervised instead": {"sft": 60},
}
OF_TASK = {
    "coin": ("plain", "learning rate 1e-3", "learning rate 1e-4", "group of 32", "KL 0.05"),
    "four": (
        "plain", "learning rate 1e-3", "learning rate 1e-4", "KL 0.05", "partial credit", "longer warm-up",
        "supervised instead",
    ),
    "sixteen": (
        "plain", "partial credit", "longer warm-up", "longer warm-up, 2e-4", "longer warm-up, held",
        "four clips first", "supervised instead",
    ),
}  # fmt: skip


def clips(folder: Path, seed: int) -> list[Record]:
    """Nine fakes and seven reals, box and onset alone, and files of what each task trains on."""
    if not (folder / "train.jsonl").exists():
        make_data(folder, seed=seed)
    records = [
        replace(record, annotations=tuple(Annotation((Trace(x.bbox_xyxy, x.onset_seconds),)) for x in record.traces))
        for record in load_records(folder / "train.jsonl")
    ]
    four = records[7:11]
    write_records(folder / "sixteen.jsonl", records)
    write_records(folder / "four.jsonl", four)
    write_records(folder / "coin.jsonl", [replace(clip, annotations=()) for clip in four])
    both = [
        replace(clip, annotations=(), video_id=f"{clip.video_id}-{label}", label=label)
        for clip in four
        for label in ("fake", "real")
    ]
    write_records(folder / "both.jsonl", both)
    return records


def start(task: str, folder: Path, seed: int, warm: int = HALF_STEPS) -> Path:
    """The checkpoint that the reward is to move."""
    data, model = folder / "data", folder / "model"
    clips(data, seed)
    if not model.exists():
        tiny_model("videollama3", model, seed=seed)
    out = folder / ("start-coin" if task == "coin" else f"start-{warm}")
    if not (out / "final").exists():
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        coin = task == "coin"
        recipe = sft_recipe(
            model,
            data / ("both.jsonl" if coin else "sixteen.jsonl"),
            seed=seed,
            question={"format": LABEL_ONLY if coin else PLACES},
            sampling=SAMPLING,
            optim={"learning_rate": 1e-3, "batch_size": 8, "max_steps": 80 if coin else warm},
            log={"every_steps": 10},
        )
        run_sft(recipe, out)
    return out / "final"


def recipe_of(task: str, base: Path, records: Path, *, seed: int, arm: dict[str, Any], steps: int) -> GrpoRecipe:
    """A recipe of the RL stage for one arm."""
    table = {
        "seed": seed,
        "kind": "grpo",
        "model": {"base": str(base)},
        "data": {"records": str(records), "workers": 0, "balance": [], "cache": str(records.parent / "cache")},
        "question": {"format": LABEL_ONLY if task == "coin" else PLACES},
        "sampling": SAMPLING,
        "grpo": {"max_new_tokens": 16 if task == "coin" else 64, **PLAIN["grpo"], **arm.get("grpo", {})},
        "optim": {
            "batch_size": 4,
            "max_steps": steps,
            "schedule": "constant",
            "warmup": 0.0,
            **PLAIN["optim"],
            **arm.get("optim", {}),
        },
        "eval": {"videos": 0},
        "save": {"every_steps": 0},
        "log": {"every_steps": 5},
        "hardware": {"device": "cpu"},
    }
    return build(GrpoRecipe, table, "grpo")


def worth(task: str, checkpoint: Path, records: Path, folder: Path) -> dict[str, float]:
    """Mean reward of sampled answers, of the best of each clip, and the share of right verdicts."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    setup = prepare(recipe_of(task, checkpoint, records, seed=0, arm={}, steps=1), folder)
    table = CandidatesTable(count=ANSWERS, max_new_tokens=16 if task == "coin" else 64)
    try_answers(setup, table, folder, device=torch.device("cpu"), process=0, processes=1)
    tried = read_candidates(setup, table, folder, processes=1)
    rewards = [[answer.reward for answer in video.candidates] for video in tried]
    flat = [reward for some in rewards for reward in some]
    right = fmean(float(reward > 0) for reward in flat)
    return {"reward": fmean(flat), "best": fmean(max(some) for some in rewards), "right": right}


def blind(task: str, records: Sequence[Record]) -> float:
    """What the better of the two constant answers earns in the mean."""
    kind, space = LABEL_ONLY if task == "coin" else PLACES, Space("per-mille")
    trace = blind_trace(records)
    said = [Verdict("real"), Verdict("fake", traces=() if task == "coin" else (trace,))]
    texts = [render(verdict, kind, space) for verdict in said]
    return max(fmean(grounded_reward(text, x, kind, space, blind=trace).total for x in records) for text in texts)


def run_arm(task: str, name: str, folder: Path, seed: int) -> dict[str, Any]:
    """Train one arm of one seed; its worth before and after."""
    arm = {**PLAIN, **ARMS[name]}
    base = start(task, folder, seed, arm.get("warm", HALF_STEPS))
    data = folder / "data"
    records = data / f"{task}.jsonl"
    out = folder / task / name.replace(" ", "-")
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    before = worth(task, base, records, out / "before")
    checkpoint, log = base, []
    if "sft" in arm:  # the truth itself, for as many steps: what reward can hope for
        recipe = sft_recipe(
            base,
            records,
            seed=seed,
            question={"format": PLACES},
            sampling=SAMPLING,
            optim={"learning_rate": 4e-4, "batch_size": 4, "max_steps": arm["sft"]},
        )
        (out / "sft").mkdir()
        checkpoint = run_sft(recipe, out / "sft")
    else:
        stages = [(data / "four.jsonl", arm["first"])] if "first" in arm else []
        for k, (of, steps) in enumerate([*stages, (records, arm["steps"])]):
            stage = out / f"stage-{k}"
            stage.mkdir()
            checkpoint = run_grpo(recipe_of(task, checkpoint, of, seed=seed, arm=arm, steps=steps), stage)
            log += [round(row["reward"], 3) for _, row in read_jsonl(stage / "log.jsonl") if "reward" in row]
    after = worth(task, checkpoint, records, out / "after")
    constant = blind(task, list(load_records(records)))
    for stage in out.glob("stage-*"):
        shutil.rmtree(stage / "final", ignore_errors=True)
    return {"before": before, "after": after, "blind": constant, "log": log}


def print_table(rows: Sequence[dict[str, Any]]) -> None:
    """One line an arm: reward before, after, what was gained, seed by seed, and the share of right verdicts."""
    print("| task | arm | seeds | reward before | after | gained | right before | after | best of 24, before |")
    print("|---|---|---|---|---|---|---|---|---|")
    for task in OF_TASK:
        of = [row for row in rows if row["task"] == task]
        for arm in dict.fromkeys(row["arm"] for row in of):
            some = [row["result"] for row in of if row["arm"] == arm]
            cells = [
                interval([one["before"]["reward"] for one in some]),
                interval([one["after"]["reward"] for one in some]),
                interval([one["after"]["reward"] - one["before"]["reward"] for one in some]),
                f"{fmean(one['before']['right'] for one in some):.2f}",
                f"{fmean(one['after']['right'] for one in some):.2f}",
                f"{fmean(one['before']['best'] for one in some):.2f}",
            ]
            print(f"| {task} | {arm} | {len(some)} | {' | '.join(cells)} |")
        if of:
            print(f"| {task} | *blind* | | | {fmean(row['result']['blind'] for row in of):.2f} | | | | |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--task", nargs="*", choices=list(OF_TASK), default=list(OF_TASK))
    parser.add_argument("--arms", nargs="*", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--print", action="store_true", help="Only print what is there.")
    given = parser.parse_args()
    with Journal(given.out / "rows.jsonl") as journal:
        for seed in range(0 if given.print else given.seeds):
            for task in given.task:
                for arm in (name for name in given.arms if name in OF_TASK[task]):
                    key = f"{task} {arm} {seed}"
                    if key not in journal.rows:
                        result = run_arm(task, arm, given.out / f"seed-{seed}", seed)
                        journal.add(key, {"task": task, "arm": arm, "seed": seed, "result": result})
                        print(json.dumps({"key": key, **result}), flush=True)
        print_table(list(journal.rows.values()))


if __name__ == "__main__":
    main()
