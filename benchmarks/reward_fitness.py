#!/usr/bin/env python3
"""Is a model's reward fit to optimise? Severity ladders, tricks, groups of one prompt, and what it goes along with.

    python benchmarks/reward_fitness.py ladder CLIPS --rows ROWS [--clips N] [--model embedded]
    python benchmarks/reward_fitness.py tricks CLIPS --rows ROWS [--clips N]
    python benchmarks/reward_fitness.py groups CLIPS --rows ROWS
    python benchmarks/reward_fitness.py show ROWS
    python benchmarks/reward_fitness.py reference ROWS     # what src/deeptrace/reward/reference.json holds

CLIPS is a folder with ``manifest.jsonl`` (``path``, ``class`` real or fake, ``generator``, ``pair``). ROWS is a
journal: a run that was stopped goes on where it was, and `show` takes whatever is there.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from scipy.stats import kendalltau, spearmanr

from deeptrace.categories import CATEGORIES, Category
from deeptrace.errors import InjectionError, VideoError
from deeptrace.inject import Things, find_things, inject, render_scene
from deeptrace.journal import Journal
from deeptrace.records import Frames
from deeptrace.reward import REWARDS, Reward, RewardResult
from deeptrace.video import sample_frames, write_video

STRENGTHS = (0.25, 0.5, 1.0)
LADDER_FPS, LADDER_FRAMES, LADDERS_A_CLIP = 8.0, 24, 4
RENDERED_SEED = 70_000  # the first of scenes that nothing else is made of
SIDE = 192  # pixels of the shorter side: the model looks at less
TRICK_SECONDS = 3.0
MARGIN = 0.5  # in standard deviations of the reward's logit over untouched clips


# ── rows ──


def clips_of(folder: Path, kind: str | None = None) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    chosen = [row for row in rows if kind is None or row["class"] == kind]
    # In an order that no name decides, so that any number of them is a fair sample of sources.
    return sorted(chosen, key=lambda row: hashlib.sha256(row["path"].encode()).hexdigest())


def row_of(outcome: Any) -> dict[str, Any]:
    if not isinstance(outcome, RewardResult):
        return {"code": outcome.code}
    forms = {name: getattr(outcome, name) for name in REWARDS}
    row: dict[str, Any] = {name: None if f is None else [f.raw, f.calibrated, f.logit] for name, f in forms.items()}
    verdict = outcome.verdict
    if verdict is not None:
        row |= {"p_fake": verdict.p_fake, "p_trace": verdict.p_trace, "p_generated": verdict.p_generated}
        row["conclusion"], row["n_traces"] = verdict.conclusion, outcome.n_traces
    return row


def frames_of(path: Path, fps: float, seconds: float) -> Frames | None:
    """The beginning of a clip, small, with even sides; None, and a line, where it cannot be read."""
    try:
        frames = sample_frames(path, fps=fps, end_seconds=seconds, max_frames=None, short_side=SIDE)
    except VideoError as error:
        print(f"{path.name}: {error}")
        return None
    height, width = (side // 2 * 2 for side in frames.images.shape[1:3])
    return replace(frames, images=np.ascontiguousarray(frames.images[:, :height, :width]))


# ── (a) the severity ladder ──


def ladder(folder: Path, journal: Journal, reward: Reward, count: int) -> None:
    """Ladders on camera clips."""
    for clip in clips_of(folder, "real")[: count or None]:
        if f"ladders {clip['path']}" in journal.rows:
            continue
        frames = frames_of(folder / clip["path"], LADDER_FPS, LADDER_FRAMES / LADDER_FPS)
        things = None if frames is None else find_things(frames, 0)
        climb(clip["path"], "camera", frames, things, journal, reward)


def rendered(folder: Path, journal: Journal, reward: Reward, count: int) -> None:
    """Ladders on rendered scenes, where every category finds its thing: what camera clips seldom offer is tried here."""
    for seed in range(RENDERED_SEED, RENDERED_SEED + count):
        name = f"rendered {seed}"
        if f"ladders {name}" not in journal.rows:
            seconds = LADDER_FRAMES / LADDER_FPS
            scene = render_scene(seed, seconds=seconds, fps=LADDER_FPS, size_hw=(SIDE, SIDE * 16 // 9 // 2 * 2))
            climb(name, "rendered", scene.frames, scene.things, journal, reward)


def climb(
    name: str, footage: str, frames: Frames | None, things: Things | None, journal: Journal, reward: Reward
) -> None:
    """Up to `LADDERS_A_CLIP` ladders in a clip, those categories first that have the fewest on such footage so far."""
    known = [
        row for row in journal.rows.values() if row["kind"] == "ladder" and row.get("footage", "camera") == footage
    ]
    done = Counter(row["category"] for row in known if has_ladder(row["levels"]))
    made = 0
    if frames is not None and things is not None and any(thing.whole for thing in things):
        clean = row_of(reward([frames])[0])
        for category in sorted(CATEGORIES, key=lambda one: done[one]):
            if made == LADDERS_A_CLIP or "code" in clean:
                break
            levels = {"0": clean, **rungs(frames, category, things, reward)}
            facts = {"kind": "ladder", "clip": name, "footage": footage, "category": category}
            journal.add(f"ladder {name} {category}", {**facts, "levels": levels})
            made += has_ladder(levels)
    journal.add(f"ladders {name}", {"kind": "laddered", "clip": name, "footage": footage, "ladders": made})


def has_ladder(levels: dict[str, dict[str, Any]]) -> bool:
    """Whether there are a clean clip and at least two strengths of the same trace with a reward."""
    return "code" not in levels["0"] and sum("code" not in row for row in levels.values()) >= 3


def rungs(frames: Frames, category: Category, things: Things, reward: Reward) -> dict[str, dict[str, Any]]:
    """The row of each strength of the same trace on the same thing; stops where full strength finds no place."""
    levels: dict[str, dict[str, Any]] = {}
    thing = None
    for strength in reversed(STRENGTHS):
        try:
            made = inject(frames, category, seed=1, strength=strength, implementation="second", things=things)
        except InjectionError as error:
            levels[str(strength)] = {"code": error.code}
            if thing is None:
                break
            continue
        thing = made.params["thing"] if thing is None else thing
        if made.params["thing"] != thing:
            levels[str(strength)] = {"code": "OTHER_THING"}
            continue
        levels[str(strength)] = row_of(reward([made.fake])[0])
    return levels


# ── (d) tricks ──


def _each(images: np.ndarray, change: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    return np.stack([change(image) for image in images])


def _text(image: np.ndarray) -> np.ndarray:
    out = np.ascontiguousarray(image)
    at = (image.shape[1] // 10, image.shape[0] * 9 // 10)
    cv2.putText(out, "REAL FOOTAGE", at, cv2.FONT_HERSHEY_SIMPLEX, image.shape[0] / 200, (255, 255, 255), 2)
    return out


def _border(image: np.ndarray) -> np.ndarray:
    out, edge = np.zeros_like(image), max(2, image.shape[0] // 8)
    size = (image.shape[1] - 2 * edge, image.shape[0] - 2 * edge)
    out[edge:-edge, edge:-edge] = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return out


def _low(image: np.ndarray) -> np.ndarray:
    small = cv2.resize(image, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    return cv2.resize(small, image.shape[1::-1], interpolation=cv2.INTER_LINEAR)


def _noise(images: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, 12, images.shape)
    return np.clip(images + noise, 0, 255).astype(np.uint8)


def _centre(images: np.ndarray) -> np.ndarray:
    height, width = images.shape[1:3]
    return images[:, height // 4 : height - height // 4, width // 4 : width - width // 4]


def _judder(images: np.ndarray) -> np.ndarray:
    index = np.arange(len(images))
    return images[index - index % 3]


TRICKS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "blur": lambda images: _each(images, lambda image: cv2.GaussianBlur(image, (0, 0), image.shape[0] / 60)),
    "freeze": lambda images: np.repeat(images[:1], len(images), axis=0),
    "blank": np.zeros_like,
    "crop": _centre,
    "speed": lambda images: images[::2],
    "text": lambda images: _each(images, _text),
    "border": lambda images: _each(images, _border),
    "shorter": lambda images: images[: max(1, len(images) * 2 // 5)],
    "one frame": lambda images: images[:1],
    "noise": _noise,
    "low resolution": lambda images: _each(images, _low),
    "judder": _judder,
}
FILE_TRICKS = ("encoded again", "encoded badly", "tail cut off")


def tricked(frames: Frames, fps: float) -> Iterator[tuple[str, Any]]:
    """Every trick, with what is given to the reward."""
    for name, change in TRICKS.items():
        yield name, Frames.from_array(change(frames.images), fps)
    with tempfile.TemporaryDirectory() as folder:
        for name, crf in (("encoded again", 23), ("encoded badly", 38)):
            path = Path(folder) / "clip.mp4"
            write_video(path, frames, fps, crf=crf)
            yield name, path.read_bytes()
            if crf == 23:
                whole = path.read_bytes()
        # The index stands at the end of these files where it is not moved: cut it and nothing opens, so cut in a copy
        # whose index stands in front (write_video does so), after two thirds.
        yield "tail cut off", whole[: len(whole) * 2 // 3]


def tricks(folder: Path, journal: Journal, reward: Reward, count: int) -> None:
    half = count // 2
    for clip in [*clips_of(folder, "fake")[: count - half], *clips_of(folder, "real")[:half]]:
        key = f"tricks {clip['path']}"
        if key in journal.rows:
            continue
        frames = frames_of(folder / clip["path"], 24.0, TRICK_SECONDS)
        if frames is None or len(frames) < 2:
            continue
        fps = 1 / float(np.median(np.diff(frames.pts_seconds)))
        rows = {"clean": row_of(reward([frames])[0])}
        for name, video in tricked(frames, fps):
            rows[name] = row_of(reward([video])[0])
        journal.add(key, {"kind": "tricks", "clip": clip["path"], "class": clip["class"], "rows": rows})


# ── (b), (c) and real generators: one pass over whole clips ──


def look_of(path: Path) -> dict[str, float]:
    """What needs no model: seconds, pixels, bytes, brightness, sharpness and motion of the clip at 8 a second."""
    frames = sample_frames(path, fps=8.0, max_frames=32, short_side=144)
    grey = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32) for image in frames.images]
    steps = [float(np.abs(b - a).mean()) for a, b in pairwise(grey)]
    return {
        "seconds": float(frames.duration_seconds or frames.pts_seconds[-1]),
        "pixels": float(frames.source_hw[0] * frames.source_hw[1]),
        "bytes": float(path.stat().st_size),
        "brightness": float(np.mean([image.mean() for image in grey])),
        "sharpness": float(np.mean([cv2.Laplacian(image, cv2.CV_32F).var() for image in grey])),
        "motion": float(np.mean(steps)) if steps else 0.0,
    }


def groups(folder: Path, journal: Journal, reward: Reward, count: int) -> None:
    clips = sorted(clips_of(folder), key=lambda row: row.get("pair") is None)  # groups first
    for clip in clips[: count or None]:
        key = f"clip {clip['path']}"
        if key in journal.rows:
            continue
        path = folder / clip["path"]
        try:
            looks = look_of(path)
        except VideoError as error:
            print(f"{clip['path']}: {error}")
            continue
        facts = {name: clip.get(name) for name in ("path", "class", "generator", "pair", "gif", "aligned")}
        journal.add(key, {"kind": "clip", **facts, "looks": looks, "row": row_of(reward([path])[0])})


# ── figures ──


def kendall(levels: list[float], values: list[float]) -> float:
    """Kendall's tau-b of how a reward falls with severity, in [-1, 1]: 1 = falls at every step, 0 = never changes."""
    if len(set(values)) == 1:
        return 0.0
    return float(kendalltau(levels, [-value for value in values]).statistic)


def interval(values: list[float], clusters: list[str] | None = None) -> tuple[float, float, float]:
    """Mean and its 95 % bootstrap interval, whole clusters drawn."""
    rng = np.random.default_rng(0)
    keys = clusters or [str(k) for k in range(len(values))]
    by: dict[str, list[float]] = defaultdict(list)
    for key, value in zip(keys, values, strict=True):
        by[key].append(value)
    if not by:
        return float("nan"), float("nan"), float("nan")
    pools = list(by.values())
    means = []
    for _ in range(2000):
        drawn = [pools[k] for k in rng.integers(0, len(pools), len(pools))]
        means.append(np.mean(np.concatenate(drawn)))
    low, high = np.percentile(means, (2.5, 97.5))
    return float(np.mean(values)), float(low), float(high)


def _logit(row: dict[str, Any], name: str) -> float | None:
    forms = row.get(name)
    return None if forms is None else float(forms[2])


def show_ladder(rows: list[dict[str, Any]], name: str) -> None:
    taus: dict[str, list[float]] = defaultdict(list)
    monotone: dict[str, list[float]] = defaultdict(list)
    drops: dict[str, list[float]] = defaultdict(list)
    clips: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        levels = {float(k): _logit(v, name) for k, v in row["levels"].items() if k != "sham"}
        points = sorted((k, v) for k, v in levels.items() if v is not None)
        if len(points) < 3 or points[0][0] != 0:
            continue
        values = [v for _, v in points]
        for group in (row["category"], "all"):
            taus[group].append(kendall([k for k, _ in points], values))
            monotone[group].append(float(all(b < a for a, b in pairwise(values))))
            drops[group].append(values[0] - values[-1])
            clips[group].append(row["clip"])
    print(f"\n### severity ladder, {name}: {len(set(clips['all']))} clips, {len(taus['all'])} ladders")
    print("| category | ladders | Kendall tau [95 %] | monotone [95 %] | mean drop of the logit from 0 to 1 |")
    print("|--|--|--|--|--|")
    for group in [*CATEGORIES, "all"]:
        if not taus[group]:
            print(f"| {group} | 0 | - | - | - |")
            continue
        tau, share = interval(taus[group], clips[group]), interval(monotone[group], clips[group])
        note = " **(chance)**" if tau[1] <= 0 else ""
        print(
            f"| {group}{note} | {len(taus[group])} | {tau[0]:.2f} [{tau[1]:.2f}, {tau[2]:.2f}] | "
            f"{100 * share[0]:.0f} % [{100 * share[1]:.0f}, {100 * share[2]:.0f}] | {np.mean(drops[group]):.2f} |"
        )


def show_tricks(rows: list[dict[str, Any]], name: str) -> None:
    clean = [v for row in rows if (v := _logit(row["rows"]["clean"], name)) is not None]
    if len(clean) < 2:
        return
    unit = float(np.std(clean))
    print(f"\n### tricks, {name}: {len(rows)} clips; 1 = {unit:.2f} of the logit, the deviation over clips as they are")
    print("| trick | refused | change [95 %] | earn more than 0.5 | |\n|--|--|--|--|--|")
    for trick in [*TRICKS, *FILE_TRICKS]:
        change, refused = [], 0
        for row in rows:
            before, after = _logit(row["rows"]["clean"], name), _logit(row["rows"][trick], name)
            if before is not None and after is None:
                refused += 1
            elif before is not None and after is not None:
                change.append((after - before) / unit)
        if not change:
            print(f"| {trick} | {refused} | - | - | |")
            continue
        mean = interval(change)
        more = float(np.mean(np.array(change) > MARGIN))
        note = "**pays**" if mean[1] > 0 and mean[0] > 0.1 else ""
        print(
            f"| {trick} | {refused} | {mean[0]:+.2f} [{mean[1]:+.2f}, {mean[2]:+.2f}] | {100 * more:.0f} % | {note} |"
        )


def noise_of(rows: list[dict[str, Any]], name: str) -> float:
    """The median over clips of how much encoding again changes the logit."""
    changes = []
    for row in rows:
        before, after = _logit(row["rows"]["clean"], name), _logit(row["rows"]["encoded again"], name)
        if before is not None and after is not None:
            changes.append(abs(after - before))
    return float(np.median(changes)) if changes else 0.0


def show_clips(rows: list[dict[str, Any]], name: str, noise: float) -> None:
    usable = [row for row in rows if _logit(row["row"], name) is not None]
    fakes = [row for row in usable if row["class"] == "fake"]
    if len(fakes) < 5:
        return
    values = [float(_logit(row["row"], name) or 0) for row in fakes]
    without = len(rows) - len(usable)
    print(f"\n### {name} over {len(fakes)} generated clips ({without} of {len(rows)} clips have no reward)")
    print(f"mean {np.mean(values):.3f}, deviation {np.std(values):.3f} (logit); encoding again changes {noise:.3f}")
    print(
        "goes along with (Spearman): "
        + ", ".join(
            f"{what} {spearmanr(values, [row['looks'][what] for row in fakes]).statistic:+.2f}"
            for what in fakes[0]["looks"]
        )
    )
    by: dict[str, list[float]] = defaultdict(list)
    for row, value in zip(fakes, values, strict=True):
        if row["pair"]:
            by[row["pair"]].append(value)
    spreads = [max(v) - min(v) for v in by.values() if len(v) > 1]
    if spreads:
        share = interval([float(spread > noise) for spread in spreads])
        what = f"{percent(share)} of {len(spreads)}"
        print(f"groups of one prompt or scene whose spread exceeds that noise: {what}")


def percent(share: tuple[float, float, float]) -> str:
    """A share with its interval, as per cent."""
    return f"{100 * share[0]:.0f} % [{100 * share[1]:.0f}, {100 * share[2]:.0f}]"


FASTER = ("FastVideo", "TurboDiffusion", "student", "SageAttention")
"""Words in the label of a generator that is another one made faster: distilled, sparser, fewer steps."""

Scorer = Callable[[dict[str, Any]], float | None]


def better_and_worse(row: dict[str, Any], question: str) -> bool | None:
    """Whether the row is the better of its group by construction (True), the worse (False), or not asked about."""
    if question == "source above edit":
        return row["class"] == "real"
    if not str(row["pair"]).startswith(("turbo:", "sage:")):
        return None
    return not any(word in row["generator"] for word in FASTER)


def show_generators(rows: list[dict[str, Any]]) -> None:
    """In how many groups what is better by construction stands above, by each reward and by what needs no model."""
    scores: dict[str, Scorer] = {
        **{name: lambda row, name=name: _logit(row["row"], name) for name in REWARDS},  # type: ignore[misc]
        **{what: lambda row, what=what: row["looks"][what] for what in ("motion", "sharpness", "bytes")},  # type: ignore[misc]
    }
    by: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        if row["pair"]:
            by[row["pair"]].append(row)
    for question in ("source above edit", "original above accelerated"):
        print(f"\n### {question} (each pair within a group; a group counts once)")
        print("| by | groups | share right [95 % over groups] |\n|--|--|--|")
        for name, score in scores.items():
            shares = [s for members in by.values() if (s := share_right(members, score, question)) is not None]
            if not shares:
                print(f"| {name} | 0 | - |")
                continue
            share = interval(shares)
            note = " **(chance)**" if share[1] <= 0.5 <= share[2] else ""
            print(f"| {name}{note} | {len(shares)} | {percent(share)} |")


def share_right(members: list[dict[str, Any]], score: Scorer, question: str) -> float | None:
    """The share of pairs in a group in which the better one scores higher; ties count as half."""
    better, worse = (
        [v for row in members if better_and_worse(row, question) is side and (v := score(row)) is not None]
        for side in (True, False)
    )
    if not better or not worse:
        return None
    return float(np.mean([(a > b) + 0.5 * (a == b) for a in better for b in worse]))


def kinds_of(path: Path) -> dict[str, list[dict[str, Any]]]:
    """The rows of a journal by kind; of several with one key the last."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    kinds: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in {row["key"]: row for row in rows if "key" in row}.values():
        kinds[row["kind"]].append(row)
    return kinds


def reference(path: Path, reward: Reward) -> None:
    """Print the mean, deviation and noise that `Reward` normalises by."""
    kinds = kinds_of(path)
    table: dict[str, Any] = {}
    for name in REWARDS:
        values = [v for row in kinds["clip"] if row["class"] == "fake" and (v := _logit(row["row"], name)) is not None]
        table[name] = {
            "mean": round(float(np.mean(values)), 4),
            "deviation": round(float(np.std(values)), 4),
            "noise": round(noise_of(kinds["tricks"], name), 4),
        }
    clips = sum(row["class"] == "fake" for row in kinds["clip"])
    facts = {"revision": reward.model.revision, "measured_on": f"{clips} generated clips", "rewards": table}
    print(json.dumps({reward.model.name: facts}, indent=1))


def show(path: Path) -> None:
    """Print every table for which there are rows."""
    kinds = kinds_of(path)
    for name in REWARDS:
        if kinds["ladder"]:
            show_ladder(kinds["ladder"], name)
        show_tricks(kinds["tricks"], name)
        show_clips(kinds["clip"], name, noise_of(kinds["tricks"], name))
    if kinds["clip"]:
        show_generators(kinds["clip"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("what", choices=["ladder", "rendered", "tricks", "groups", "show", "reference"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=Path)
    parser.add_argument("--clips", type=int, default=0)
    parser.add_argument("--model", default="embedded")
    options = parser.parse_args()
    if options.what == "show":
        show(options.folder)
        return
    reward = Reward(options.model)
    if options.what == "reference":
        reference(options.folder, reward)
        return
    work = {"ladder": ladder, "rendered": rendered, "tricks": tricks, "groups": groups}[options.what]
    with Journal(options.rows) as journal:
        work(options.folder, journal, reward, options.clips)


if __name__ == "__main__":
    main()
