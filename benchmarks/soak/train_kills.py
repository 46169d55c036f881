"""Embedded training under ``kill -9``: at random moments, again and again, until it has ended a few times.

    python benchmarks/soak/train_kills.py [--kills 100] [--steps 10]

Small footage, a narrow net, a checkpoint after every step; each run is ``deeptrace train`` in a process group of its
own, killed with the process that makes pairs. After each kill the checkpoints must be whole and no step before the last
one; each run must end with the weights of a run that nobody killed, to the bit, and log every step once. Each run finds
nine of ten pairs made by the first, so that most kills fall on training and saving. About eight CPU seconds a kill,
nearly all of them the start of Python and torch.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import torch

from deeptrace.inject import render_scene
from deeptrace.train import FINAL, checkpoints
from deeptrace.train.embedded import loop
from deeptrace.video import write_video


def make_footage(root: Path) -> None:
    """Four camera clips of drawn scenes."""
    rows = []
    for k in range(4):
        write_video(root / f"{k}.mp4", render_scene(k, size_hw=(144, 256), fps=16, seconds=3.5).frames)
        digest = hashlib.sha256((root / f"{k}.mp4").read_bytes()).hexdigest()
        row = {"path": f"{k}.mp4", "class": "real", "source_repo": f"camera/{k}", "license": "MIT", "sha256": digest}
        rows.append(row | {"generator": None})
    (root / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def recipe_text(footage: Path, steps: int) -> str:
    table = {
        "kind": "embedded",
        "footage": str(footage),
        "validation_sources": ["camera/3"],
        "test_sources": [],
        "scene_share": 0.0,
        "steps": steps,
        "pairs": 2,
        "fresh": 1,
        "ring": 64,
        "ahead": 6,
        "width": 32,
        "warmup": 1,
        "whole_from": 2,
        "save_every": 1,
        "makers": 1,
        "threads": 1,
        "validation_pairs": 2,
        "refit_epochs": 2,
    }
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in table.items())


def start(recipe: Path, out: Path) -> subprocess.Popen[bytes]:
    """A process of a group of its own that trains; what it prints goes into a file beside the folder."""
    words = [sys.executable, "-m", "deeptrace", "train", str(recipe), "--out", str(out)]
    quiet = os.environ | {"OMP_NUM_THREADS": "1"}
    with (out.parent / "printed").open("wb") as printed:
        return subprocess.Popen(words, start_new_session=True, env=quiet, stdout=printed, stderr=printed)


def wait(child: subprocess.Popen[bytes], seconds: float) -> int | None:
    """The exit status, or None when it still runs after so long."""
    try:
        return child.wait(seconds)
    except subprocess.TimeoutExpired:
        return None


def kill(child: subprocess.Popen[bytes]) -> None:
    """Kill the whole group, the process that makes pairs too."""
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def end(child: subprocess.Popen[bytes], out: Path) -> None:
    """Wait until the run has ended by itself, which it must within minutes."""
    status = wait(child, 600)
    if status is None:
        kill(child)
    assert status == 0, f"a run ended with {status}:\n{(out.parent / 'printed').read_text()}"


def state_of(out: Path) -> dict[str, object]:
    newest = checkpoints.latest(out)
    assert newest is not None
    for checkpoint in checkpoints.checkpoints(out)[:-1]:
        loop.read_checkpoint(checkpoint)
    return loop.read_checkpoint(newest)


def check(out: Path, whole: dict[str, object], steps: int) -> None:
    state = state_of(out)
    assert state["step"] == steps
    for part in ("net", "average"):
        same = all(torch.equal(state[part][name], value) for name, value in whole[part].items())
        assert same, f"{part} differs from that of a run that nobody killed"
    rows = [json.loads(line)["step"] for line in (out / loop.LOG_NAME).read_text().splitlines()]
    assert rows == sorted(set(rows)), f"steps logged: {rows}"
    assert rows[-1] == steps
    left = [path.name for path in out.iterdir() if path.name.startswith(".") and path.name != ".deeptrace.lock"]
    assert not left, f"half written files are left: {left}"


def begin(first: Path, out: Path, rng: random.Random) -> None:
    """A run's folder with the clips read, the backbone exported, and nine of ten pairs made."""
    shutil.copytree(first / "pool", out / "pool")
    for name in (loop.BACKBONE_NAME, "recipe.toml"):
        shutil.copy(first / name, out)
    (out / "spool").mkdir()
    for pair in (first / "spool").glob("*.npz"):
        if rng.random() < 0.9:
            os.link(pair, out / "spool" / pair.name)


def moments_of(recipe: Path, out: Path) -> tuple[float, float]:
    """Seconds from its start between which a run trains and saves, seen on one that nobody kills."""
    began = time.monotonic()
    child = start(recipe, out)
    while not (out / loop.LOG_NAME).exists() and child.poll() is None:
        time.sleep(0.01)
    first_step = time.monotonic() - began
    end(child, out)
    return 0.6 * first_step, time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory(prefix="deeptrace-kills-") as name:
        root = Path(name)
        (root / "footage").mkdir()
        make_footage(root / "footage")
        recipe = root / "recipe.toml"
        recipe.write_text(recipe_text(root / "footage", options.steps))
        first, again = root / "first", root / "again"
        first.mkdir()
        end(start(recipe, first), first)
        whole = state_of(first)
        begin(first, again, random.Random(0))
        moments = moments_of(recipe, again)
        done = ended = 0
        while done < options.kills or not ended:
            out = root / "out"
            shutil.rmtree(out, ignore_errors=True)
            begin(first, out, rng)
            step = 0
            while True:
                child = start(recipe, out)
                if done >= options.kills or wait(child, rng.uniform(*moments)) is not None:
                    end(child, out)
                    break
                kill(child)
                done += 1
                print(f"{done} kills, {ended} runs ended, step {step}", file=sys.stderr, flush=True)
                if checkpoints.latest(out) is not None:
                    now = int(np.int64(state_of(out)["step"]))
                    assert now >= step, f"step {now} after step {step}"
                    step = now
                else:
                    assert step == 0, "the checkpoint is gone"
                half = [path.name for path in out.iterdir() if path.name.startswith((".saving", ".deleting", ".c"))]
                assert len(half) <= 2, f"half written: {half}"
                if (out / FINAL).exists():  # killed after its result had its name
                    break
            check(out, whole, options.steps)
            ended += 1
        print(f"{done} kills, {ended} runs ended with the weights of the one that nobody killed; no step was lost")


if __name__ == "__main__":
    main()
