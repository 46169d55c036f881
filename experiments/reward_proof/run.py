#!/usr/bin/env python3
"""The experiment: is the oracle right, does the reward see what the oracle sees, and what do the arms come to?

python experiments/reward_proof/run.py oracle | gate | arms  [--out OUT] [--seeds 5]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from generator import Flow, clips_of, sample, to_vector, train
from sklearn.metrics import roc_auc_score
from world import FPS, SIZE, Clip, breaks_rules, render, sample_world

from deeptrace.records import Frames
from deeptrace.reward import REWARDS, Reward, RewardResult

GATE = 0.7
DRAWN, KEPT, ROUNDS = 64, 0.25, 6
ARMS = ("ours", "shuffled", "no selection", "motion and sharpness", "oracle")


def as_seen(clip: Clip) -> Frames:
    """Three times as large, as the model looks at it: at 64 pixels nothing has a shape."""
    return Frames.from_array(clip.repeat(3, axis=1).repeat(3, axis=2), FPS)


def rewards_of(reward: Reward, clips: list[Clip]) -> dict[str, np.ndarray]:
    """The logits of each clip, by reward; NaN where there is none."""
    outcomes = reward([as_seen(clip) for clip in clips])
    return {
        name: np.array([getattr(o, name).logit if isinstance(o, RewardResult) else np.nan for o in outcomes])
        for name in REWARDS
    }


def facts(clips: list[Clip]) -> dict[str, float]:
    """Oracle's trace rate, motion, diversity (mean distance of two clips, grey levels)."""
    stack = np.stack(clips).astype(np.float32)
    return {
        "trace_rate": float(np.mean([breaks_rules(clip) for clip in clips])),
        "motion": float(np.abs(np.diff(stack, axis=1)).mean()),
        "diversity": float(np.abs(stack - np.roll(stack, 1, axis=0)).mean()),
    }


def motion_sharpness(clip: Clip) -> float:
    values = clip.astype(np.float32).mean(axis=-1)
    edges = np.abs(np.diff(values, axis=1)).mean() + np.abs(np.diff(values, axis=2)).mean()
    return float(np.abs(np.diff(values, axis=0)).mean() + edges)


def base(seed: int) -> Flow:
    """The generator before any reward: trained on clips of which half carry a trace."""
    torch.manual_seed(seed)
    courses, _ = sample_world(20_000, seed)
    return train(Flow(), np.stack([to_vector(path) for path in courses]), steps=3000, seed=seed)


def oracle() -> float:
    courses, kinds = sample_world(400, 999)
    right = [breaks_rules(render(path)) == (kind is not None) for path, kind in zip(courses, kinds, strict=True)]
    by = {
        k: np.mean([r for r, kind in zip(right, kinds, strict=True) if kind == k])
        for k in (None, "vanish", "jump", "appear")
    }
    share = float(np.mean(right))
    print(
        f"the oracle is right on {100 * share:.1f} % of 400 clips: "
        + ", ".join(f"{k}: {100 * v:.0f} %" for k, v in by.items())
    )
    return share


def interval(hits: np.ndarray, scores: np.ndarray) -> tuple[float, float, float]:
    rng = np.random.default_rng(0)
    draws = []
    for _ in range(1000):
        index = rng.integers(0, len(hits), len(hits))
        if 0 < hits[index].sum() < len(hits):
            draws.append(roc_auc_score(hits[index], scores[index]))
    return float(roc_auc_score(hits, scores)), float(np.percentile(draws, 2.5)), float(np.percentile(draws, 97.5))


def gate(out: Path, count: int, model: str) -> bool:
    share = oracle()
    if share < 0.95:
        print("below 95 %: the experiment ends here")
        return False
    reward = Reward(model)
    flow = base(0)
    clips = clips_of(sample(flow, count, 1), 1)
    broken = np.array([breaks_rules(clip) for clip in clips])
    print(f"{count} samples of the generator: {facts(clips)}")
    table = {"oracle_right": share, "samples": count, **facts(clips)}
    values = rewards_of(reward, clips)
    values["motion and sharpness"] = np.array([motion_sharpness(clip) for clip in clips])
    for name, score in values.items():
        usable = np.isfinite(score)
        if usable.sum() < 2 or len(set(broken[usable])) < 2:
            print(f"{name}: no value for {int((~usable).sum())} of {count}")
            continue
        value, low, high = interval(~broken[usable], score[usable])
        table[name] = {"auroc": value, "low": low, "high": high, "without": int((~usable).sum())}
        without = int((~usable).sum())
        print(f"AUROC of {name} for clips without a trace: {value:.3f} [{low:.3f}, {high:.3f}], no value: {without}")
    out.mkdir(parents=True, exist_ok=True)
    ours = table.get("trace_free")
    passed = isinstance(ours, dict) and bool(ours["auroc"] >= GATE)
    table["passed"] = passed
    (out / "gate.json").write_text(json.dumps(table, indent=1))
    if ours is None:
        print("trace_free has no AUROC on these samples: the experiment stops here")
    else:
        print("the gate is passed" if passed else f"below {GATE}: the experiment stops here")
    return passed


def choose(arm: str, clips: list[Clip], reward: Reward, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Which clips the generator is trained on next, and the reward of each."""
    values = rewards_of(reward, clips)["trace_free"]
    scores = {
        "ours": lambda: values,
        "shuffled": lambda: rng.permutation(values),
        "motion and sharpness": lambda: np.array([motion_sharpness(clip) for clip in clips]),
        "oracle": lambda: (
            -np.array([float(breaks_rules(clip)) for clip in clips]) + 1e-6 * rng.uniform(size=len(clips))
        ),
        "no selection": lambda: rng.uniform(size=len(clips)),
    }[arm]()
    order = np.argsort(-np.nan_to_num(scores, nan=-np.inf))
    return order[: int(KEPT * len(clips))], values


def arms(out: Path, seeds: int, model: str) -> None:
    reward = Reward(model)
    rows = []
    for seed in range(seeds):
        start = base(seed)
        for arm in ARMS:
            flow = Flow()
            flow.load_state_dict(start.state_dict())
            rng = np.random.default_rng((seed, 3))
            pool: list[np.ndarray] = []
            for turn in range(ROUNDS + 1):
                vectors = sample(flow, DRAWN, 1000 * seed + turn)
                clips = clips_of(vectors, 1000 * seed + turn)
                chosen, values = choose(arm, clips, reward, rng)
                rows.append(
                    {"seed": seed, "arm": arm, "turn": turn, "reward": float(np.nanmean(values)), **facts(clips)}
                )
                pool.append(vectors[chosen])
                if turn < ROUNDS:
                    train(flow, np.concatenate(pool), steps=150, seed=seed * 100 + turn, rate=2e-4, batch=64)
            print(rows[-1], flush=True)
            (out / "arms.json").write_text(json.dumps(rows, indent=1))
    plot(rows, out)
    judge(rows)


def judge(rows: list[dict[str, object]]) -> None:
    """Paired one-sided t-tests over seeds at the last turn, Holm's correction over the controls."""
    from scipy.stats import ttest_rel

    last = max(int(row["turn"]) for row in rows)  # type: ignore[call-overload]
    end = {arm: [float(r["trace_rate"]) for r in rows if r["arm"] == arm and r["turn"] == last] for arm in ARMS}  # type: ignore[arg-type]
    tests = {
        arm: float(ttest_rel(end["ours"], end[arm], alternative="less").pvalue)
        for arm in ARMS
        if arm not in ("ours", "oracle")
    }
    worst = 0.0
    for place, (arm, p) in enumerate(sorted(tests.items(), key=lambda item: item[1])):
        worst = max(worst, min(1.0, p * (len(tests) - place)))
        print(f"ours against {arm}: {np.mean(end['ours']):.3f} against {np.mean(end[arm]):.3f}, p {worst:.3f} (Holm)")
    print(f"oracle: {np.mean(end['oracle']):.3f}")


def plot(rows: list[dict[str, object]], out: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 4, figsize=(16, 3.6))
    for axis, what in zip(axes, ("reward", "trace_rate", "motion", "diversity"), strict=True):
        for arm in ARMS:
            turns = sorted({int(r["turn"]) for r in rows if r["arm"] == arm})  # type: ignore[call-overload]
            means = [np.mean([float(r[what]) for r in rows if r["arm"] == arm and r["turn"] == t]) for t in turns]  # type: ignore[arg-type]
            axis.plot(turns, means, label=arm)
        axis.set_title(what)
    axes[0].legend(fontsize=7)
    figure.savefig(out / "arms.png", dpi=110, bbox_inches="tight")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("what", choices=["oracle", "gate", "arms"])
    parser.add_argument("--out", type=Path, default=Path("reward_proof"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--samples", type=int, default=300)
    parser.add_argument("--model", default="embedded")
    options = parser.parse_args()
    assert SIZE % 2 == 0
    if options.what == "oracle":
        oracle()
    elif options.what == "gate":
        gate(options.out, options.samples, options.model)
    elif not (options.out / "gate.json").exists() or not json.loads((options.out / "gate.json").read_text())["passed"]:
        raise SystemExit("the gate was not passed: run `gate` first, and read what it says")
    else:
        arms(options.out, options.seeds, options.model)


if __name__ == "__main__":
    main()
