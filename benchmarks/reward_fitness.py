#!/usr/bin/env python3
"""Is a model's reward fit to optimise? Severity ladders, tricks, groups of one prompt, and what it goes along with.

    python benchmarks/reward_fitness.py ladder CLIPS --rows ROWS [--clips N] [--model embedded]
    python benchmarks/reward_fitness.py rendered CLIPS --rows ROWS --clips N
    python benchmarks/reward_fitness.py tricks CLIPS --rows ROWS [--clips N]
    python benchmarks/reward_fitness.py groups CLIPS --rows ROWS [--clips N]

CLIPS is a folder with ``manifest.jsonl`` (``path``, ``class`` real or fake, ``generator``, ``pair``). ROWS is a
journal: a run that was stopped goes on where it was. `reward_figures.py` makes the tables from whatever is there.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np

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


# ── rows ──


@dataclass(frozen=True)
class Measuring:
    """What is measured: a reward on the clips of a folder, rows into a journal."""

    folder: Path
    journal: Journal
    reward: Reward


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


def ladder(run: Measuring, count: int) -> None:
    """Ladders on camera clips."""
    for clip in clips_of(run.folder, "real")[: count or None]:
        if f"ladders {clip['path']}" in run.journal.rows:
            continue
        frames = frames_of(run.folder / clip["path"], LADDER_FPS, LADDER_FRAMES / LADDER_FPS)
        things = None if frames is None else find_things(frames, 0)
        climb(run, clip["path"], "camera", frames, things)


def rendered(run: Measuring, count: int) -> None:
    """Ladders on rendered scenes: every category finds its thing there, which camera clips seldom offer."""
    if count < 1:
        raise SystemExit("rendered: how many scenes? --clips N")
    for seed in range(RENDERED_SEED, RENDERED_SEED + count):
        name = f"rendered {seed}"
        if f"ladders {name}" not in run.journal.rows:
            seconds = LADDER_FRAMES / LADDER_FPS
            scene = render_scene(seed, seconds=seconds, fps=LADDER_FPS, size_hw=(SIDE, SIDE * 16 // 9 // 2 * 2))
            climb(run, name, "rendered", scene.frames, scene.things)


def climb(run: Measuring, name: str, footage: str, frames: Frames | None, things: Things | None) -> None:
    """Up to `LADDERS_A_CLIP` ladders in a clip, those categories first that have the fewest on such footage so far."""
    known = [row for row in run.journal.rows.values() if row["kind"] == "ladder"]
    alike = [row for row in known if row.get("footage", "camera") == footage]
    done = Counter(row["category"] for row in alike if has_ladder(row["levels"]))
    of_this = {row["category"]: row for row in alike if row["clip"] == name}  # of a run that ended within the clip
    made = sum(has_ladder(row["levels"]) for row in of_this.values())
    if frames is not None and things is not None and any(thing.whole for thing in things):
        clean = row_of(run.reward([frames])[0])
        for category in sorted(CATEGORIES, key=lambda one: done[one]):
            if made == LADDERS_A_CLIP or "code" in clean:
                break
            if category in of_this:
                continue
            levels = {"0": clean, **rungs(frames, category, things, run.reward)}
            facts = {"kind": "ladder", "clip": name, "footage": footage, "category": category}
            run.journal.add(f"ladder {name} {category}", {**facts, "levels": levels})
            made += has_ladder(levels)
    run.journal.add(f"ladders {name}", {"kind": "laddered", "clip": name, "footage": footage, "ladders": made})


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


def tricks(run: Measuring, count: int) -> None:
    half = count // 2
    for clip in [*clips_of(run.folder, "fake")[: count - half], *clips_of(run.folder, "real")[:half]]:
        key = f"tricks {clip['path']}"
        if key in run.journal.rows:
            continue
        frames = frames_of(run.folder / clip["path"], 24.0, TRICK_SECONDS)
        if frames is None or len(frames) < 2:
            continue
        fps = 1 / float(np.median(np.diff(frames.pts_seconds)))
        rows = {"clean": row_of(run.reward([frames])[0])}
        for name, video in tricked(frames, fps):
            rows[name] = row_of(run.reward([video])[0])
        run.journal.add(key, {"kind": "tricks", "clip": clip["path"], "class": clip["class"], "rows": rows})


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


def groups(run: Measuring, count: int) -> None:
    clips = sorted(clips_of(run.folder), key=lambda row: row.get("pair") is None)  # groups first
    for clip in clips[: count or None]:
        key = f"clip {clip['path']}"
        if key in run.journal.rows:
            continue
        path = run.folder / clip["path"]
        try:
            looks = look_of(path)
        except VideoError as error:
            print(f"{clip['path']}: {error}")
            continue
        facts = {name: clip.get(name) for name in ("path", "class", "generator", "pair", "gif", "aligned")}
        run.journal.add(key, {"kind": "clip", **facts, "looks": looks, "row": row_of(run.reward([path])[0])})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    work = {"ladder": ladder, "rendered": rendered, "tricks": tricks, "groups": groups}
    parser.add_argument("what", choices=list(work))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=Path, required=True)
    parser.add_argument("--clips", type=int, default=0)
    parser.add_argument("--model", default="embedded")
    options = parser.parse_args()
    reward = Reward(options.model)
    settings = {"model": reward.model.name, "revision": reward.model.revision}  # rows of two models do not mix
    with Journal(options.rows, settings) as journal:
        work[options.what](Measuring(options.folder, journal, reward), options.clips)


if __name__ == "__main__":
    main()
