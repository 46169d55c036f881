"""How the motion model does on clips that are labelled real or fake as a whole, and on rendered scenes.

    python benchmarks/motion_on_clips.py DIR [--json FILE] [--jobs N]
    python benchmarks/motion_on_clips.py --demo 24 [--strength 0.8]

DIR holds manifest.jsonl, one JSON object a line, with ``path`` (relative to DIR), ``class`` (real / fake) and
``source_repo``. Prints how many of each are called fake, the AUROC of p_fake with an interval that resamples whole
sources (clips of one source resemble each other), and the time a clip takes, reading included.

With --demo, the clips are N pairs of `deeptrace demo`, where the trace is known.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from deeptrace.inject import make_demo_pair
from deeptrace.measures.overlap import box_iou
from deeptrace.models.motion.model import MotionModel
from deeptrace.records import Verdict


def inspect(path: Path) -> dict[str, object]:
    """What the model says of one clip, and how long it took."""
    start = time.perf_counter()
    (outcome,) = MotionModel().inspect([path])
    seconds = time.perf_counter() - start
    if not isinstance(outcome, Verdict):
        return {"status": type(outcome).__name__.lower(), "seconds": seconds}
    return {
        "status": "verdict",
        "label": outcome.label,
        "uncertain": outcome.uncertain,
        "p_fake": outcome.p_fake,
        "categories": [category for trace in outcome.traces for category in trace.categories or ()],
        "seconds": seconds,
    }


def auroc(fake: np.ndarray, real: np.ndarray) -> float | None:
    """P(a fake clip scores higher than a real one), ties count half; None without both."""
    if not len(fake) or not len(real):
        return None
    above = (fake[:, None] > real[None, :]).sum() + 0.5 * (fake[:, None] == real[None, :]).sum()
    return float(above / (len(fake) * len(real)))


def interval(rows: list[dict], draws: int = 2000) -> tuple[float, float] | None:
    """The middle 95 % of the AUROC when whole sources are drawn with replacement, within each class."""
    rng = np.random.default_rng(0)
    by_class: dict[str, list[np.ndarray]] = {}
    for label in ("fake", "real"):
        sources: dict[str, list[float]] = {}
        for row in rows:
            if row["class"] == label:
                sources.setdefault(row["source_repo"], []).append(row["p_fake"])
        by_class[label] = [np.asarray(values) for _, values in sorted(sources.items())]
    if not by_class["fake"] or not by_class["real"]:
        return None
    values = []
    for _ in range(draws):
        drawn = [
            np.concatenate([groups[k] for k in rng.integers(0, len(groups), len(groups))])
            for groups in (by_class["fake"], by_class["real"])
        ]
        values.append(auroc(*drawn))
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def summarise(rows: list[dict]) -> dict:
    """The numbers of this page. Clips without a verdict are counted and left out of the rates."""
    said = [row for row in rows if row["status"] == "verdict"]
    result: dict = {"clips": len(rows), "without_verdict": len(rows) - len(said)}
    for label in ("real", "fake"):
        clips = [row for row in said if row["class"] == label]
        called = [row for row in clips if row["label"] == "fake"]
        result[label] = {
            "clips": len(clips),
            "sources": len({row["source_repo"] for row in clips}),
            "called_fake": len(called),
            "uncertain": sum(row["uncertain"] for row in clips),
            "categories": dict(Counter(row["categories"][0] for row in called)),
        }
    scores = [np.asarray([row["p_fake"] for row in said if row["class"] == label]) for label in ("fake", "real")]
    result["auroc"] = auroc(*scores)
    result["auroc_95"] = interval(said)
    seconds = [row["seconds"] for row in rows]
    result["seconds_per_clip"] = {"median": float(np.median(seconds)), "max": max(seconds)} if seconds else None
    return result


def on_scenes(count: int, strength: float) -> None:
    """How many traces are found with the right category, a box of IoU 0.5 and the onset within 0.15 s."""
    model, found, real, overlaps, errors = MotionModel(), 0, 0, [], []
    for seed in range(1000, 1000 + count):  # seeds that nothing was tuned on
        pair = make_demo_pair(seed, strength=strength)
        fake, clean = model.inspect([pair.fake, pair.clean])
        real += clean.label == "real"
        if not fake.traces or fake.traces[0].categories != pair.trace.categories:
            continue
        trace = fake.traces[0]
        assert trace.bbox_xyxy is not None
        assert pair.trace.bbox_xyxy is not None
        overlap = box_iou(trace.bbox_xyxy, pair.trace.bbox_xyxy)
        error = abs((trace.onset_seconds or 0.0) - (pair.trace.onset_seconds or 0.0))
        found += overlap >= 0.5 and error <= 0.15
        overlaps.append(overlap)
        errors.append(error)
    print(f"strength {strength:g}: found {found} of {count}, clean twins called real {real} of {count}")
    if overlaps:
        print(f"median IoU {np.median(overlaps):.2f}, median onset error {np.median(errors):.3f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description="The motion model on labelled clips.")
    parser.add_argument("directory", type=Path, nargs="?")
    parser.add_argument("--demo", type=int, metavar="N", help="N rendered pairs instead of a directory")
    parser.add_argument("--strength", type=float, default=1.0, help="of the rendered traces (default 1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the summary and one row a clip")
    parser.add_argument("--jobs", type=int, default=1, help="clips at once (default 1; times are honest only with 1)")
    options = parser.parse_args()
    if options.demo:
        on_scenes(options.demo, options.strength)
        return
    if options.directory is None:
        parser.error("name a directory, or --demo N")
    lines = (options.directory / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
    clips = [json.loads(line) for line in lines if line.strip()]
    paths = [options.directory / clip["path"] for clip in clips]
    if options.jobs > 1:
        with ProcessPoolExecutor(options.jobs) as pool:
            said = list(pool.map(inspect, paths))
    else:
        said = [inspect(path) for path in paths]
    keys = ("path", "class", "source_repo")
    rows = [{**{k: clip[k] for k in keys}, **row} for clip, row in zip(clips, said, strict=True)]
    summary = summarise(rows)
    if options.json:
        options.json.write_text(json.dumps({"summary": summary, "rows": rows}, indent=1), encoding="utf-8")
    for label in ("real", "fake"):
        part = summary[label]
        print(
            f"{label}: {part['called_fake']} of {part['clips']} clips ({part['sources']} sources) called fake, "
            f"{part['uncertain']} uncertain; {part['categories']}"
        )
    print(f"AUROC {summary['auroc']}, 95 % {summary['auroc_95']}; without a verdict: {summary['without_verdict']}")
    print(f"seconds per clip: {summary['seconds_per_clip']}")


if __name__ == "__main__":
    main()
