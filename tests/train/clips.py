"""Clips of known truth, and recipes that train tiny models on them. A red square appears in a fake one."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np

from deeptrace.data import write_records
from deeptrace.records import Annotation, Box, Frames, Record, Trace
from deeptrace.train.recipe import build
from deeptrace.train.vlm.sft import SftRecipe
from deeptrace.video import probe, write_video

SIDE = 112
FPS = 4.0
FRAMES = 8  # two seconds


def make_data(folder: Path, *, fakes: int = 9, reals: int = 7, seed: int = 0, split: str = "train") -> Path:
    """``records.jsonl`` and its clips: 2 s at 4 fps, 112 x 112 pixels, each of a colour of its own."""
    rng = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    records = []
    for i in range(fakes + reals):
        label: Any = "fake" if i < fakes else "real"
        onset = rng.choice([0.5, 1.0, 1.5])
        x, y = rng.randrange(0, 11) / 14, rng.randrange(0, 11) / 14  # at whole patches of 14 pixels
        box: Box = (x, y, x + 4 / 14, y + 4 / 14)
        path = folder / f"{split}{i:02d}.mp4"
        write_video(path, draw(i, box if label == "fake" else None, onset), FPS)
        traces = (Trace(box, onset, categories=("Redundant Object",)),) if label == "fake" else ()
        annotations = (Annotation(traces),) if traces else ()
        records.append(
            Record(path.stem, path.name, label, probe(path), f"camera {i % 2}", split, annotations=annotations)
        )
    write_records(folder / f"{split}.jsonl", records)
    return folder / f"{split}.jsonl"


def draw(i: int, box: Box | None, onset: float) -> Frames:
    """A plain room of its own colour, told from any other's at a glance; a red square from the onset on."""
    images = np.empty((FRAMES, SIDE, SIDE, 3), np.uint8)
    images[:] = [(30, 90, 150)[i % 3], (30, 100, 170, 240)[i // 3 % 4], (30, 130, 230)[i // 2 % 3]]
    images[:, (i * 7) % SIDE, :] = 200
    if box is not None:
        x0, y0, x1, y1 = (round(v * SIDE) for v in box)
        images[int(onset * FPS) :, y0:y1, x0:x1] = [230, 20, 20]
    return Frames.from_array(images, FPS)


def sft_recipe(base: Path, records: Path, **tables: Any) -> SftRecipe:
    """A recipe for a tiny model; ``tables`` are merged over it."""
    table: dict[str, Any] = {
        "kind": "sft",
        "model": {"base": str(base)},
        "data": {
            "records": str(records),
            "workers": 0,
            "balance": [],
            "cache": str(records.parent / "cache"),
            "eval_split": "train",
        },
        "sampling": {"fps": 2.0, "max_frames": 4},
        "optim": {"learning_rate": 5e-4, "batch_size": 4, "max_steps": 4, "warmup": 0.0, "schedule": "constant"},
        "eval": {"videos": 0, "max_new_tokens": 64, "batch_size": 8},
        "save": {"every_steps": 0},
        "log": {"every_steps": 1},
        "hardware": {"device": "cpu"},
    }
    for name, values in tables.items():
        table[name] = {**table.get(name, {}), **values} if isinstance(values, dict) else values
    return build(SftRecipe, table, "test")
