"""What more sources and generators would bring the embedded model's whole-clip heads: fitted on fewer families.

    python benchmarks/embedded_curve.py CLIPS ... --cache DIR [--model DIR] [--draws 8]

CLIPS and DIR as in `embedded_families.py`, which fills the cache. Families are drawn at random, heads are fitted on
them and judge each clip out of its family; the rest is left out. Prints AUROC, and a line through it over the logarithm
of the number of families, which says what twice and four times as many would give if it went on like that. Last, how
``p_fake`` joins the two kinds of evidence, beside a logistic regression on both fitted without the family.
"""

from __future__ import annotations

import argparse
import math
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from embedded_families import Material, auroc, interval, load
from sklearn.linear_model import LogisticRegression

from deeptrace.errors import TrainError
from deeptrace.models.embedded.calibration import pool_evidence, read_calibration
from deeptrace.train.embedded.finish import head_of, heads_of
from deeptrace.train.embedded.generated import Looks

SHARES = (0.25, 0.5, 0.75, 1.0)
FEWEST = 10
"""Clips of each class, for a draw to count."""


def part_of(material: Material, families: set[str]) -> Material:
    """The material of these families alone."""
    kept = [said.family in families for said in material.outputs]
    rows = np.isin(material.looks.family, sorted(families))
    looks = material.looks
    return Material(
        [clip for clip, keep in zip(material.clips, kept, strict=True) if keep],
        Looks(looks.values[rows], looks.clip[rows], looks.family[rows], looks.fake[rows], looks.scene[rows]),
        [said for said, keep in zip(material.outputs, kept, strict=True) if keep],
    )


def evidence_of(material: Material) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Evidence of a generated clip by heads that saw none of its family ``(N,)``, by the look alone and by both."""
    whole = head_of(material.looks)
    heads = heads_of(whole, material.clips, material.outputs)
    alone = [whole.unseen(said.look, said.family) for said in material.outputs]
    return np.array(alone), np.array([heads.unseen_evidence(said) for said in material.outputs])


def curve(material: Material, draws: int) -> None:
    names = sorted({said.family for said in material.outputs})
    found: list[tuple[int, float, float]] = []
    print("| families | look alone | look and detail |\n|---|---|---|")
    for share in SHARES:
        rows = []
        for draw in range(draws if share < 1 else 1):
            rng = np.random.default_rng(draw)
            part = part_of(material, set(rng.choice(names, round(share * len(names)), replace=False)))
            fake = np.array([said.is_fake for said in part.outputs])
            if min(fake.sum(), (~fake).sum()) < FEWEST:
                continue
            try:
                rows.append([auroc(fake, values) for values in evidence_of(part)])
            except TrainError:  # all of a class in one family
                continue
        count = round(share * len(names))
        mean, spread = np.mean(rows, axis=0), np.std(rows, axis=0)
        found += [(count, *row) for row in rows]
        words = [f"{one:.2f} ({two:.2f})" for one, two in zip(mean, spread, strict=True)]
        print(f"| {count} ({len(rows)} draws) | {' | '.join(words)} |", flush=True)
    counts = np.array([math.log2(row[0]) for row in found])
    # Each share counts once, however many draws it has.
    weights = np.array([1 / sum(other[0] == row[0] for other in found) for row in found])
    for name, column in (("look alone", 1), ("look and detail", 2)):
        slope, start = np.polyfit(counts, [row[column] for row in found], 1, w=np.sqrt(weights))
        further = [start + slope * math.log2(times * len(names)) for times in (1, 2, 4)]
        print(f"{name}: {slope:+.3f} a doubling; the line gives {', '.join(f'{value:.2f}' for value in further)}")


def joining(material: Material, folder: Path) -> None:
    calibration = read_calibration(folder)
    scale, bias = calibration.trace_scale, calibration.trace_bias
    trace = np.array([pool_evidence(scale * said.logits + bias) for said in material.outputs])
    generated = evidence_of(material)[1]
    family = np.array([said.family for said in material.outputs])
    fake = np.array([int(said.is_fake) for said in material.outputs])
    both = np.stack([trace, generated], axis=1)
    joined, weights = np.zeros(len(fake)), []
    for name in set(family):
        fitted = LogisticRegression(class_weight="balanced").fit(both[family != name], fake[family != name])
        weight = np.maximum(fitted.coef_[0], 0)  # more evidence is never less fake
        joined[family == name] = (both @ weight + fitted.intercept_[0])[family == name]
        weights.append(weight)
    for name, values in (
        ("logistic regression on both", joined),
        ("p_generated alone", generated),
        (
            "as it ships",
            np.array([calibration.p_fake(float(one), float(two)) for one, two in zip(trace, generated, strict=True)]),
        ),
    ):
        limit = np.quantile(values[fake == 0], 0.9)
        found = interval(family, lambda rows, values=values: auroc(fake[rows], values[rows]))
        print(f"{name}: AUROC {found}, caught at 10 % {(values[fake == 1] > limit).mean():.2f}")
    print(f"weights of trace and generated: {np.mean(weights, axis=0).round(3).tolist()}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--model", type=Path, help="A model's folder; default: the shipped one.")
    parser.add_argument("--draws", type=int, default=8)
    given = parser.parse_args()
    folder = given.model or Path(str(package_files("deeptrace.models.embedded") / "weights"))
    material = load(given.clips, given.cache, folder)
    joining(material, folder)
    curve(material, given.draws)


if __name__ == "__main__":
    main()
