"""The frozen test set of injected pairs, and the figures of a model on it.

``make_set`` writes a folder a pair: ``truth.json`` and three coded clips (fake, sham, clean); ``freeze`` a hash over
all of it. The rows of `figures` come from the shipped path: reader, network, finding.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from deeptrace.categories import CATEGORIES
from deeptrace.measures.overlap import box_iou
from deeptrace.train.embedded.draw import COUNT, PairMaterial, draw_pair, size_of

_TRIES = 400  # windows a pair: few sources are held out, and some show nothing that a category could be made of


@dataclass(frozen=True)
class BarsPlan:
    """How many pairs of which kind; the first ``first`` are made by the implementation that trains.

    Every second pair is made on footage, unless all are ``rendered`` scenes.
    """

    first: int = 420
    second: int = 220
    seed: int = 20_000
    rendered: bool = False


def make_set(folder: Path, material: PairMaterial, plan: BarsPlan) -> None:
    """Write the pairs of the plan; those that are there are left as they are."""
    for i in range(plan.first + plan.second):
        home = folder / f"{i:04d}"
        if (home / "truth.json").exists():
            continue
        home.mkdir(parents=True, exist_ok=True)
        implementation: Literal["first", "second"] = "first" if i < plan.first else "second"
        drawn = draw_pair(
            (plan.seed, i),
            material,
            size_of(i, 1),
            implementation=implementation,
            footage=i % 2 == 0 and not plan.rendered,
            paper_prior=(i // 2) % 2 == 1,
            augment=False,
            keep=home,
            tries=_TRIES,
        )
        truth = {
            "index": i,
            "implementation": implementation,
            "footage": drawn.footage,
            "paper_prior": (i // 2) % 2 == 1,
            "source": drawn.source,
            "category": drawn.category,
            "onset": drawn.onset,
            "boxes": [None if np.isnan(box).any() else [round(float(edge), 5) for edge in box] for box in drawn.boxes],
            "params": drawn.params,
        }
        (home / "truth.json").write_text(json.dumps(truth), encoding="utf-8")


def freeze(folder: Path) -> str:
    """SHA-256 over all files of the set, by name; written to ``sha256``."""
    total = hashlib.sha256()
    for path in sorted(folder.glob("*/*")):
        total.update(f"{path.parent.name}/{path.name} ".encode())
        total.update(hashlib.sha256(path.read_bytes()).digest())
    (folder / "sha256").write_text(total.hexdigest() + "\n", encoding="utf-8")
    return total.hexdigest()


def read_truth(folder: Path) -> list[dict[str, Any]]:
    """The truth of every pair, in order."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*/truth.json"))]


# ── figures ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Row:
    """One pair, seen by the model. Times are shares of the clip."""

    truth: dict[str, Any]
    fake: float
    sham: float
    clean: float
    iou: float
    onset_error: float
    category: str


def figures(rows: Sequence[Row]) -> dict[str, float]:
    """The measures of the table, over these pairs."""
    from sklearn.metrics import roc_auc_score

    fake, sham, clean = (np.array([getattr(row, name) for row in rows]) for name in ("fake", "sham", "clean"))
    labels = np.r_[np.ones(len(rows)), np.zeros(len(rows))]
    return {
        "n": len(rows),
        "auroc_sham": float(roc_auc_score(labels, np.r_[fake, sham])),
        "auroc_clean": float(roc_auc_score(labels, np.r_[fake, clean])),
        "twin_sham": float(((fake > sham) + 0.5 * (fake == sham)).mean()),
        "twin_clean": float(((fake > clean) + 0.5 * (fake == clean)).mean()),
        "box_iou": float(np.mean([row.iou for row in rows])),
        "onset_error": float(np.mean([row.onset_error for row in rows])),
        "category": float(np.mean([row.category == row.truth["category"] for row in rows])),
    }


def constants(train: Sequence[dict[str, Any]], test: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Constants fitted on ``train`` truths: median onset, best of the mean and centre boxes, commonest category."""
    onset = float(np.median([drawn["onset"] for drawn in train]))
    firsts = np.array([drawn["boxes"][drawn["onset"]] for drawn in train])
    candidates = [
        firsts.mean(0),
        np.median(firsts, 0),
        np.array([0.25, 0.25, 0.75, 0.75]),
        np.array([0.3, 0.3, 0.7, 0.7]),
    ]
    best = max(candidates, key=lambda box: float(np.mean([box_iou(box, other) for other in firsts])))
    names = [drawn["category"] for drawn in train]
    common = max(CATEGORIES, key=names.count)
    return {
        "onset_error": float(np.mean([abs(onset - drawn["onset"]) / COUNT for drawn in test])),
        "box_iou": float(np.mean([box_iou(best, drawn["boxes"][drawn["onset"]]) for drawn in test])),
        "category": float(np.mean([drawn["category"] == common for drawn in test])),
    }
