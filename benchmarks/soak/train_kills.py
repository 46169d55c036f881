"""Embedded training under ``kill -9``: at random moments, again and again, until it has ended a few times.

    python benchmarks/soak/train_kills.py [--kills 100] [--steps 10]

Small footage, a narrow net, a checkpoint after every step. After each kill the checkpoints must be whole and no step
before the last one; each run must end with the weights of a run that nobody killed, to the bit, and log every step
once. The parent has torch loaded and forks, the makers of pairs too, and each run finds nine of ten pairs made by the
first, so that a kill costs seconds of the processor rather than a start of Python.

Known fault: a forked trainer or maker may hang on a lock, and the run then never ends. Stop it and begin again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import torch

from deeptrace.inject import render_scene
from deeptrace.train import checkpoints
from deeptrace.train.embedded import EmbeddedRecipe, loop
from deeptrace.train.recipe import build
from deeptrace.video import close, write_video


def make_footage(root: Path) -> None:
    """Four camera clips of drawn scenes."""
    rows = []
    for k in range(4):
        write_video(root / f"{k}.mp4", render_scene(k, size_hw=(144, 256), fps=16, seconds=3.5).frames)
        digest = hashlib.sha256((root / f"{k}.mp4").read_bytes()).hexdigest()
        row = {"path": f"{k}.mp4", "class": "real", "source_repo": f"camera/{k}", "license": "MIT", "sha256": digest}
        rows.append(row | {"generator": None})
    (root / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def recipe_for(footage: Path, steps: int) -> EmbeddedRecipe:
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
    }
    return build(EmbeddedRecipe, table, "soak")


class ForkedMaker:
    """The process that makes pairs, forked before there were threads: a later fork may hang on a lock of theirs."""

    def __init__(self, recipe: EmbeddedRecipe, out: Path) -> None:
        told, self._go = os.pipe()
        self._pid = os.fork()
        if not self._pid:
            os.close(self._go)
            if os.read(told, 1):
                loop.produce(recipe, out, 0, 1)
            os._exit(0)
        os.close(told)

    def is_alive(self) -> bool:
        """As of a process of multiprocessing."""
        return os.waitpid(self._pid, os.WNOHANG) == (0, 0)

    @contextmanager
    def making_pairs(self, recipe: EmbeddedRecipe, out: Path) -> Iterator[list[ForkedMaker]]:
        """In the place of `loop.making_pairs`, which starts an interpreter."""
        os.write(self._go, b"!")
        try:
            yield [self]
        finally:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)


def start(recipe: EmbeddedRecipe, out: Path) -> int:
    """A process of a group of its own that trains."""
    child = os.fork()
    if child:
        return child
    os.setsid()
    try:
        loop.making_pairs = ForkedMaker(recipe, out).making_pairs  # type: ignore[assignment]
        loop.train(recipe, out)
        os._exit(0)
    except BaseException as error:  # noqa: BLE001 - what comes out is the finding
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        os._exit(1)


def wait(child: int, seconds: float | None) -> int | None:
    """The exit status, or None when it still runs after so long."""
    until = None if seconds is None else time.monotonic() + seconds
    while until is None or time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status
        time.sleep(0.01)
    return None


def kill(child: int) -> None:
    """Kill the whole group, the process that makes pairs too."""
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)


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
    shutil.copy(first / loop.BACKBONE_NAME, out)
    (out / "spool").mkdir()
    for pair in (first / "spool").glob("*.npz"):
        if rng.random() < 0.9:
            os.link(pair, out / "spool" / pair.name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="deeptrace-kills-") as name:
        root = Path(name)
        (root / "footage").mkdir()
        make_footage(root / "footage")
        close()  # the reader's own process is not shared over a fork
        recipe = recipe_for(root / "footage", options.steps)
        first = root / "first"
        first.mkdir()
        began = time.monotonic()
        assert wait(start(recipe, first), None) == 0
        step_seconds = (time.monotonic() - began) / options.steps
        whole = state_of(first)
        done = ended = 0
        while done < options.kills or not ended:
            out = root / "out"
            shutil.rmtree(out, ignore_errors=True)
            begin(first, out, rng)
            step = 0
            while True:
                child = start(recipe, out)
                status = wait(child, rng.uniform(0, 4 * step_seconds) if done < options.kills else None)
                if status is not None:
                    assert status == 0, "a run ended with an error"
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
            check(out, whole, options.steps)
            ended += 1
        print(f"{done} kills, {ended} runs ended with the weights of the one that nobody killed; no step was lost")


if __name__ == "__main__":
    main()
