"""The embedded model's whole-clip head and thresholds: fitted on clips, and judged on families that they did not see.

    python benchmarks/embedded_families.py cache CLIPS ... --cache DIR [--model DIR]         # goes on where it was
    python benchmarks/embedded_families.py fit CLIPS ... --cache DIR --out DIR [--model DIR]
    python benchmarks/embedded_families.py figures CLIPS ... --cache DIR [--model DIR] [--out FILE]

CLIPS are folders with a ``manifest.jsonl``. A family is all that shares a source, a kind of generator or a scene
(`deeptrace.train.embedded.generated.families_of`). ``fit`` takes the network as it is and writes a model's folder.
``figures`` judges every clip by heads, and by thresholds, that saw none of its family; intervals are 95 % by bootstrap
over families. About four processor seconds a clip, once. Needs the extra ``embedded``.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score
from tqdm import tqdm

from deeptrace.models.embedded.calibration import (
    EmbeddedCalibration,
    distance,
    evidence_of_clip,
    pool_evidence,
    read_calibration,
)
from deeptrace.models.embedded.windows import BACKBONE_NAME, TRACES_NAME, Network
from deeptrace.train.embedded.finish import FAR_SHARE, Heads, head_of, heads_of, numbers_of, write_numbers
from deeptrace.train.embedded.footage import PoolClip, load_pool
from deeptrace.train.embedded.generated import Looks, collect, families_of, spread_of
from deeptrace.train.embedded.thresholds import (
    FALSE_ALARMS,
    MISSES,
    ClipOutputs,
    above,
    below,
    detail_of,
    run_clip,
    trace_threshold_of,
)

Doubles = npt.NDArray[np.float64]
_REPLICATES: Final = 500
_FEWEST_OF_A_FAMILY: Final = 4  # camera clips, to be told apart from another family's


@dataclass(frozen=True)
class Material:
    """Clips, what the head sees of each, and what the network says of each as the model reads it."""

    clips: list[PoolClip]
    looks: Looks
    outputs: list[ClipOutputs]


def load(roots: Sequence[Path], cache: Path, folder: Path) -> Material:
    """All of it, computed by the network of ``folder`` where ``cache`` does not have it.

    What the frozen backbone sees and what the network says of traces lie apart, each under its file's hash: another
    stage of training changes only the latter.
    """
    network = Network(folder)
    seen_in, said_in = (
        cache / f"{name.split('.')[0]}-{hashlib.sha256((folder / name).read_bytes()).hexdigest()[:12]}"
        for name in (BACKBONE_NAME, TRACES_NAME)
    )
    for one in (seen_in, said_in):
        one.mkdir(parents=True, exist_ok=True)
    clips = [clip for root in roots for clip in load_pool(root, cache / "pool", labels=("real", "fake"))]
    families = families_of((clip.source, clip.generator, clip.scene) for clip in clips)
    values, outputs = [], []
    for clip, family in zip(tqdm(clips, unit="clip"), families, strict=True):
        seen, detail, said = (
            seen_in / f"{clip.clip_id}.npz",
            seen_in / f"{clip.clip_id}.detail.npz",
            said_in / f"{clip.clip_id}.npz",
        )
        if not seen.exists():
            keep(seen, windows=collect([clip], network).values)
        if not detail.exists():
            found = detail_of(clip, network)
            keep(detail, detail=np.zeros(0) if found is None else found)
        if not said.exists():
            new = run_clip(clip, family, network)
            keep(said, logits=new.logits, look=new.look)
        with np.load(seen) as one, np.load(detail) as two, np.load(said) as three:
            values.append(one["windows"])
            crop = two["detail"] if two["detail"].size else None
            outputs.append(
                ClipOutputs(clip.clip_id, family, clip.label == "fake", three["logits"], three["look"], crop)
            )
    count = [len(rows) for rows in values]
    looks = Looks(
        np.concatenate(values),
        np.repeat([clip.clip_id for clip in clips], count),
        np.repeat(families, count),
        np.repeat([int(clip.label == "fake") for clip in clips], count),
        np.repeat([clip.scene or "" for clip in clips], count),
    )
    return Material(clips, looks, outputs)


def keep(path: Path, **arrays: Doubles) -> None:
    """Write arrays, whole or not at all."""
    with path.with_suffix(".part").open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # arrays, not the option of the same call
    path.with_suffix(".part").replace(path)


def fit(material: Material, calibration: EmbeddedCalibration, source: Path, out: Path) -> None:
    """A model's folder: the network of ``source``, the heads and the thresholds fitted on all the clips."""
    heads = heads_of(head_of(material.looks), material.clips, material.outputs)
    numbers = numbers_of(material.outputs, (calibration.trace_scale, calibration.trace_bias), heads)
    out.mkdir(parents=True, exist_ok=True)
    if source.resolve() != out.resolve():
        for name in (BACKBONE_NAME, TRACES_NAME):
            shutil.copy(source / name, out)
    write_numbers(out, numbers | {"recipe": json.loads((source / "embedded.json").read_text())["recipe"]})
    shown = {name: value for name, value in numbers.items() if name not in ("generated", "detail")}
    for name in ("generated", "detail"):
        shown[f"{name}: auroc_out_of_fold"] = numbers[name] and numbers[name]["auroc_out_of_fold"]
    print(json.dumps(shown | {"counts": heads.counts}, indent=1))


# ── figures ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def figures(material: Material, calibration: EmbeddedCalibration) -> dict[str, Any]:
    """Out of family: AUROC of each probability, outcomes, floors, and the rows that they are made of."""
    heads = heads_of(head_of(material.looks), material.clips, material.outputs)
    rows = rows_of(material, calibration, heads)
    fake = np.array([row["fake"] for row in rows])
    family = np.array([row["family"] for row in rows])
    found: dict[str, Any] = {
        "camera": int((fake == 0).sum()),
        "generated": int(fake.sum()),
        "families": len(set(family)),
    }
    for name in ("p_fake", "p_generated", "p_trace"):
        values = np.array([row[name] for row in rows])
        found[f"AUROC {name}"] = interval(family, lambda k, v=values: auroc(fake[k], v[k]))
        found[f"caught at 10 % by {name}"] = interval(
            family, lambda k, v=values: float((v[k][fake[k] == 1] > np.quantile(v[k][fake[k] == 0], 0.9)).mean())
        )
    outcome = np.array([row["outcome"] for row in rows])
    for label, words in ((0, "camera"), (1, "generated")):
        for name in ("fake", "uncertain", "real"):
            found[f"{words} {name}"] = interval(
                family, lambda k, n=name, c=label: float((outcome[k][fake[k] == c] == n).mean())
            )
    shares = [
        float((outcome[(family == name) & (fake == 0)] == "fake").mean()) for name in sorted(set(family[fake == 0]))
    ]
    found["camera fake, mean over families"] = float(np.mean(shares))
    return found | floors(material, rows) | {"rows": rows}


def rows_of(material: Material, calibration: EmbeddedCalibration, heads: Heads) -> list[dict[str, Any]]:
    """A row for each clip: evidence by a head, outcome by thresholds, that saw none of its family.

    So are the threshold on traces and the distance from which on a clip is unlike what was seen. Only the network, and
    the scale that it gave to traces, are those that ship: it trained on footage, not on which clips are generated.
    """
    scale, bias = calibration.trace_scale, calibration.trace_bias
    trace = np.array([pool_evidence(scale * clip.logits + bias) for clip in material.outputs])
    generated = np.array([heads.unseen_evidence(clip) for clip in material.outputs])
    fake = np.array([clip.is_fake for clip in material.outputs])
    family = np.array([clip.family for clip in material.outputs])
    joined, outcomes = np.zeros(len(fake)), np.full(len(fake), "uncertain", dtype=object)
    for name in set(family):
        held, camera, made = family == name, (fake == 0) & (family != name), (fake == 1) & (family != name)
        seen = [clip for clip, one in zip(material.outputs, camera, strict=True) if one]
        limit = trace_threshold_of(seen, (scale, bias))
        values = np.array(
            [
                evidence_of_clip(float(one), float(two), threshold=limit)
                for one, two in zip(trace, generated, strict=True)
            ]
        )
        high = above(values[camera], family[camera].tolist(), FALSE_ALARMS)
        low = min(below(values[made], family[made].tolist(), MISSES), high)
        mean, spread = spread_of(material.looks.values[material.looks.family != name])
        distances = np.array([distance(clip.look, mean, spread) for clip in material.outputs])
        far = above(distances[~held], family[~held].tolist(), FAR_SHARE)
        joined[held] = values[held]
        outcomes[held & (values >= high) & (distances < far)] = "fake"
        outcomes[held & (values < low) & (distances < far)] = "real"
    rows = []
    for i, clip in enumerate(material.clips):
        rows.append(
            {
                "clip": clip.clip_id,
                "family": str(family[i]),
                "source": clip.source,
                "generator": clip.generator,
                "scene": clip.scene,
                "fake": int(fake[i]),
                "p_fake": float(joined[i]),
                "p_generated": float(generated[i]),
                "p_trace": float(trace[i]),
                "outcome": outcomes[i],
            }
        )
    return rows


def floors(material: Material, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """How edits stand beside their sources, and how well camera families are told apart, by p_generated."""
    by_name = {row["clip"]: row for row in rows}
    pairs = [(by_name[edit], by_name[source]) for edit, source in material.looks.edits()]
    edited, source = (np.array([pair[side]["p_generated"] for pair in pairs]) for side in (0, 1))
    labels = np.r_[np.ones(len(pairs)), np.zeros(len(pairs))]
    sets: dict[str, list[float]] = {}
    for row in rows:
        if not row["fake"]:
            sets.setdefault(row["family"], []).append(row["p_generated"])
    large = [values for values in sets.values() if len(values) >= _FEWEST_OF_A_FAMILY]
    apart = [
        abs(auroc(np.r_[np.ones(len(one)), np.zeros(len(two))], np.r_[one, two]) - 0.5)
        for one, two in itertools.combinations(large, 2)
    ]
    return {
        "edits": len(pairs),
        "edits, AUROC": auroc(labels, np.r_[edited, source]),
        "edits above their source": float((edited > source).mean()),
        "edits, correlation": float(np.corrcoef(edited, source)[0, 1]),
        "camera families apart": float(np.mean(apart)),
    }


def auroc(labels: npt.NDArray[Any], values: npt.NDArray[Any]) -> float:
    return float(roc_auc_score(labels, values)) if len(set(labels.tolist())) == 2 else float("nan")


def interval(family: npt.NDArray[Any], measure: Callable[[npt.NDArray[Any]], float]) -> list[float]:
    """``[value, low, high]``: all clips, and the 95 % interval by bootstrap over families."""
    rng = np.random.default_rng(0)
    names = np.unique(family)
    rows = {name: np.flatnonzero(family == name) for name in names}
    drawn = []
    for _ in range(_REPLICATES):
        value = measure(np.concatenate([rows[name] for name in rng.choice(names, len(names))]))
        if np.isfinite(value):
            drawn.append(value)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return [round(value, 3) for value in (measure(np.arange(len(family))), float(low), float(high))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["cache", "fit", "figures"])
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--model", type=Path, help="A model's folder; default: the shipped one.")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    source = given.model or Path(str(package_files("deeptrace.models.embedded") / "weights"))
    given.cache.mkdir(parents=True, exist_ok=True)
    material = load(given.clips, given.cache, source)
    if given.what == "cache":
        return
    calibration = read_calibration(source)
    if given.what == "fit":
        if given.out is None:
            parser.error("fit writes a model: name its folder, --out DIR")
        fit(material, calibration, source, given.out)
        return
    found = figures(material, calibration)
    if given.out is not None:
        given.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({name: value for name, value in found.items() if name != "rows"}, indent=1))


if __name__ == "__main__":
    main()
