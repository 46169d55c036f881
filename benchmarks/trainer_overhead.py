"""What the trainer costs over a bare loop, and what preparing examples costs when workers do it.

The same tiny VideoLLaMA 3 (half a million parameters), the same batches of four clips, three ways in turns: a bare loop
over prepared batches, the trainer over prepared batches, the trainer with examples prepared by workers.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import TrainerCallback, set_seed

from deeptrace.models.base import Sampling
from deeptrace.models.hf.families import Family, family_of
from deeptrace.records import Annotation, Frames, Record, Trace
from deeptrace.testing import tiny_model
from deeptrace.train.vlm.balance import Order
from deeptrace.train.vlm.dataset import AnswerDataset, Asking, Collate, Weights
from deeptrace.train.vlm.decisive import answer_loss
from deeptrace.train.vlm.examples import Example
from deeptrace.train.vlm.frames import FrameStore
from deeptrace.train.vlm.positions import last_positions
from deeptrace.train.vlm.tables import EvalTable, HardwareTable, LogTable, ModelTable, OptimTable, SaveTable
from deeptrace.train.vlm.trainer import RunTables, RunTrainer
from deeptrace.video import probe, write_video

BATCH = 4
WARM_UP = 5
OVERHEAD_BAR = 1.20
WORKERS_BAR = 0.90


class Clock(TrainerCallback):
    """Processor and clock time of this process from the end of step ``WARM_UP`` to the end."""

    def __init__(self) -> None:
        self.marks: list[tuple[float, float]] = []

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Called by the trainer, and by the bare loop."""
        self.marks.append((time.process_time(), time.perf_counter()))

    def each(self) -> tuple[float, float]:
        """Seconds a step: of this process's processor time, and on the clock."""
        kept = self.marks[WARM_UP - 1 :]
        cpu, wall = (kept[-1][i] - kept[0][i] for i in (0, 1))
        return cpu / (len(kept) - 1), wall / (len(kept) - 1)


class Prepared:
    """A data set whose items are whole batches."""

    def __init__(self, batches: Sequence[dict[str, Any]]) -> None:
        self._batches = batches

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self._batches[index]


def only(batches: list[dict[str, Any]]) -> dict[str, Any]:
    return batches[0]


def make_examples(folder: Path, count: int) -> list[Example]:
    rng = np.random.default_rng(0)
    examples = []
    for i in range(count):
        images = rng.integers(0, 255, (6, 112, 112, 3), np.uint8)
        path = folder / f"{i}.mp4"
        write_video(path, Frames.from_array(images, 2.0), 2.0)
        trace = Trace((0.25, 0.25, 0.5, 0.5), 1.0, explanation="the hand of the person merges with the cup.")
        examples.append(
            Example(path, Record(f"v{i}", path.name, "fake", probe(path), annotations=(Annotation((trace,)),)))
        )
    return examples


def tables(steps: int, batch: int, workers: int) -> RunTables:
    return RunTables(
        model=ModelTable(base=""),
        optim=OptimTable(learning_rate=1e-4, max_steps=steps, batch_size=batch, schedule="constant", warmup=0.0),
        save=SaveTable(every_steps=0),
        log=LogTable(every_steps=10),
        eval=EvalTable(videos=0),
        hardware=HardwareTable(device="cpu"),
        workers=workers,
        seed=0,
    )


def bare(model: Any, batches: Sequence[dict[str, Any]], steps: int) -> tuple[float, float]:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.0)
    clock = Clock()
    model.train()
    for step in range(steps):
        batch = dict(batches[step % len(batches)])
        labels = batch.pop("labels")
        first = int((labels != -100).int().argmax(dim=1).min())
        with last_positions(model, labels.shape[1] - first + 1):
            loss = answer_loss(model(**batch, use_cache=False).logits, labels)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        model.zero_grad()
        clock.on_step_end()
    return clock.each()


def trained(
    model: Any,
    dataset: Any,
    collate: Any,
    examples: Sequence[Example],
    *,
    steps: int,
    batch: int,
    workers: int,
    out: Path,
) -> tuple[float, float]:
    trainer = RunTrainer(
        model,
        out=out,
        tables=tables(steps, batch, workers),
        dataset=dataset,
        collate=collate,
        order=Order(examples),
        measure=lambda _: {},
        decorate=lambda _: None,
    )
    clock = Clock()
    trainer.add_callback(clock)
    trainer.train()
    return clock.each()


def measure(rounds: int, steps: int, workers: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        base = tiny_model("videollama3", folder / "model", hidden_size=96)
        family: Family = family_of(base)
        family.sampling = Sampling(fps=2.0)
        examples = make_examples(folder, 32)
        store = FrameStore(family.sampling, folder / "cache")
        dataset = AnswerDataset(examples, family, store, Asking("trained", "per-mille"), Weights())
        collate = Collate(family)
        batches = [collate([dataset[i] for i in range(at, at + BATCH)]) for at in range(0, len(examples), BATCH)]
        ways: dict[str, Callable[[Any, Path], tuple[float, float]]] = {
            "bare": lambda model, _: bare(model, batches, steps),
            "trainer": lambda model, out: trained(
                model, Prepared(batches), only, examples[: len(batches)], steps=steps, batch=1, workers=0, out=out
            ),
            "workers": lambda model, out: trained(
                model, dataset, collate, examples, steps=steps, batch=BATCH, workers=workers, out=out
            ),
        }
        found: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
        for turn in range(rounds):
            for way, run in ways.items():
                set_seed(0)
                found[way].append(run(family.load_model(base, device="cpu"), folder / f"{way}{turn}"))
        parameters = sum(parameter.numel() for parameter in family.load_model(base, device="cpu").parameters())
    cpu = {way: statistics.median(each[0] for each in runs) for way, runs in found.items()}
    wall = {way: statistics.median(each[1] for each in runs) for way, runs in found.items()}
    return {
        "parameters": parameters,
        "steps": steps,
        "rounds": rounds,
        "cpu_seconds_a_step": cpu,
        "wall_seconds_a_step": wall,
        "overhead_cpu": cpu["trainer"] / cpu["bare"],
        "overhead_wall": wall["trainer"] / wall["bare"],
        "workers_speed_cpu": cpu["trainer"] / cpu["workers"],
        "workers_speed_wall": wall["trainer"] / wall["workers"],
        "load_average": os.getloadavg()[0],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    result = measure(options.rounds, options.steps, options.workers)
    if options.json:
        print(json.dumps(result, indent=1))
    else:
        print(f"{result['parameters']:,} parameters, batch {BATCH}; load average {result['load_average']:.1f}")
        print(f"{'':10}{'processor':>12}{'clock':>10}   seconds a step, this process")
        for way in ("bare", "trainer", "workers"):
            print(f"{way:10}{result['cpu_seconds_a_step'][way]:12.4f}{result['wall_seconds_a_step'][way]:10.4f}")
        print(
            f"trainer over bare: {result['overhead_cpu']:.2f} (clock {result['overhead_wall']:.2f}), bar {OVERHEAD_BAR}"
        )
        print(
            f"speed with workers to prepared: {result['workers_speed_cpu']:.2f} "
            f"(clock {result['workers_speed_wall']:.2f}), bar {WORKERS_BAR}"
        )
    return int(result["overhead_cpu"] > OVERHEAD_BAR or result["workers_speed_cpu"] < WORKERS_BAR)


if __name__ == "__main__":
    sys.exit(main())
