"""Training of the embedded network: pairs made by other processes, one optimiser step after another, resumable.

An `EmbeddedRecipe` and a folder go in; ``checkpoint.pt`` (weights, moving average, optimiser, step) and ``log.jsonl``
appear in the folder. A run that is started again goes on from its last checkpoint; step k sees the same pairs either
way.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from deeptrace.errors import TrainError
from deeptrace.files import atomic_write
from deeptrace.train.embedded.draw import Material, draw_pair, size_of
from deeptrace.train.embedded.export import export_backbone
from deeptrace.train.embedded.footage import load_pool, validation_clips
from deeptrace.train.embedded.losses import Truth, clip_losses, dense_losses
from deeptrace.train.embedded.network import TraceNet
from deeptrace.train.embedded.recipe import GROUP, EmbeddedRecipe
from deeptrace.train.embedded.recorded import RELEASE_NAME, Recorded
from deeptrace.train.embedded.scenes import scene_maker
from deeptrace.train.embedded.spool import FeatureMaker, Pair, load_pair, save_pair

WEIGHTS = {
    "trace": 1.0,
    "started": 0.5,
    "box": 0.7,
    "clip": 1.0,
    "rank": 1.0,
    "category": 0.6,
    "category_there": 1.0,
    "onset": 0.4,
}
"""Weight of each loss in the sum."""

CHECKPOINT_NAME: Final = "checkpoint.pt"
BACKBONE_NAME: Final = "backbone.onnx"


# ── making pairs ────────────────────────────────────────────────────────────────────────────────────────────────────


def make_material(recipe: EmbeddedRecipe, out: Path) -> Material:
    """The footage that the recipe trains on, and scenes where it wants them.

    Raises:
        TrainError: nothing is left to train on, or a validation clip is not there.
    """
    root = Path(recipe.footage)
    if (root / RELEASE_NAME).exists():
        return Material(recorded=Recorded.load(root, out / "pool"))
    pool = load_pool(root, out / "pool", licenses=recipe.licenses)
    held_out = validation_clips(pool, recipe)
    clips = [clip for clip in pool if clip.source not in recipe.test_sources and clip not in held_out]
    if not clips:
        raise TrainError(f"{root.name!r} holds no camera clip outside the validation and test sources")
    scene = scene_maker(clips, recipe.cutouts) if recipe.scene_share > 0 else None
    return Material(clips, scene, recipe.scene_share)


def produce(recipe: EmbeddedRecipe, out: Path, part: int, parts: int) -> None:
    """Make pairs ``part``, ``part + parts``, ... ahead of the trainer; drop those far behind it. Runs until killed."""
    import cv2

    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    spool = out / "spool"
    maker = FeatureMaker(out / BACKBONE_NAME)
    material = make_material(recipe, out)
    index = part
    while os.getppid() != 1:
        cursor = _cursor(spool)
        index = max(index, _aligned(cursor - recipe.ring, part, parts))
        if index > cursor + recipe.ahead:
            time.sleep(0.2)
            continue
        path = pair_path(spool, index)
        if not path.exists():
            seed = (recipe.seed, index)
            sham = bool(np.random.default_rng((*seed, 7)).random() < 0.5)
            drawn = draw_pair(seed, material, size_of(index), twins=("sham" if sham else "clean",))
            save_pair(path, drawn, maker, sham=sham)
        pair_path(spool, index - recipe.ring - recipe.ahead).unlink(missing_ok=True)
        index += parts


def pair_path(spool: Path, index: int) -> Path:
    """Where pair ``index`` lies."""
    return spool / f"{index:07d}.npz"


def _cursor(spool: Path) -> int:
    try:
        return int((spool / "cursor").read_text())
    except (FileNotFoundError, ValueError):
        return 0


def _aligned(index: int, part: int, parts: int) -> int:
    index = max(0, index)
    return index + (part - index) % parts


# ── batches ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def batch_indices(recipe: EmbeddedRecipe, step: int) -> list[int]:
    """The pairs of a step: the next ``fresh`` ones, and ``pairs - fresh`` of the same size from the ring behind."""
    newest = (step + 1) * recipe.fresh
    fresh = list(range(step * recipe.fresh, newest))
    group = fresh[0] // GROUP
    rng = np.random.default_rng((recipe.seed, step, 3))
    size = size_of(fresh[0])
    groups = [g for g in range(max(0, (newest - recipe.ring) // GROUP + 1), group) if size_of(g * GROUP) == size]
    if not groups:
        return fresh
    picked = rng.choice(groups, recipe.pairs - recipe.fresh)
    return fresh + [int(g) * GROUP + int(rng.integers(GROUP)) for g in picked]


def collate(pairs: list[Pair], rng: np.random.Generator, crop: tuple[int, int] | None) -> tuple[list[Tensor], Truth]:
    """Tensors of fakes then twins, cut to ``crop`` cells around the trace where one is given."""
    arrays: dict[str, list[Any]] = {key: [] for key in ("fine", "coarse", "aux", "flow", "trace", "box")}
    for pair in pairs:
        rows, columns = pair.trace.shape[1:]
        y = x = 0
        high, wide = rows, columns
        if crop is not None:
            high, wide = min(rows, crop[0]), min(columns, crop[1])
            y, x = _crop_at(pair, rng, (rows, columns), (high, wide))
        arrays["fine"].append(pair.fine[..., y : y + high, x : x + wide])
        arrays["coarse"].append(pair.coarse[..., y // 2 : (y + high) // 2, x // 2 : (x + wide) // 2])
        arrays["aux"].append(pair.aux[..., 2 * y : 2 * (y + high), 2 * x : 2 * (x + wide)])
        arrays["flow"].append(pair.flow[..., y : y + high, x : x + wide])
        arrays["trace"].append(pair.trace[:, y : y + high, x : x + wide])
        arrays["box"].append(pair.box - np.array([x, y, x, y], np.float32))
    inputs = [
        torch.from_numpy(np.concatenate([np.stack([a[k] for a in arrays[key]]) for k in (0, 1)]).astype(np.float32))
        for key in ("fine", "coarse", "aux", "flow")
    ]
    if rng.random() < 0.5:  # mirrored features are near enough to features of a mirror image
        inputs = [value.flip(-1) for value in inputs]
        inputs[3][:, :, 0] *= -1
        inputs[2][:, :, [8, 10]] *= -1
        width = arrays["trace"][0].shape[2]
        arrays["trace"] = [np.ascontiguousarray(trace[..., ::-1]) for trace in arrays["trace"]]
        arrays["box"] = [np.stack([width - b[:, 2], b[:, 1], width - b[:, 0], b[:, 3]], 1) for b in arrays["box"]]
    count = len(pairs)
    trace = torch.from_numpy(np.stack(arrays["trace"]))
    box = torch.from_numpy(np.stack(arrays["box"]).astype(np.float32))
    onset = torch.tensor([pair.onset for pair in pairs] + [-1] * count)
    category = torch.tensor([pair.category for pair in pairs] + [-1] * count)
    seen = trace.flatten(1).sum(1) > 0  # the crop may miss the trace
    fake = torch.cat([seen.float(), torch.zeros(count)])
    onset[:count][~seen] = -1
    category[:count][~seen] = -1
    return inputs, Truth(
        fake, torch.cat([trace, torch.zeros_like(trace)]), torch.cat([box, torch.zeros_like(box)]), onset, category
    )


def _crop_at(pair: Pair, rng: np.random.Generator, have: tuple[int, int], want: tuple[int, int]) -> tuple[int, int]:
    """The even top and left of a crop that holds most of the trace."""
    cells = np.argwhere(pair.trace[pair.onset : pair.onset + 6].any(axis=0))
    if not len(cells):
        cells = np.argwhere(pair.trace.any(axis=0))
    centre = cells.mean(axis=0) if len(cells) else np.array(have) / 2
    found = []
    for c, n, m in zip(centre, have, want, strict=True):
        low = int(np.clip(c - m / 2 + rng.uniform(-0.35, 0.35) * m, 0, n - m))
        found.append(low // 2 * 2)
    return found[0], found[1]


# ── the loop ────────────────────────────────────────────────────────────────────────────────────────────────────────


def train(recipe: EmbeddedRecipe, out: Path) -> Path:
    """Train until the recipe's last step; the path of the checkpoint.

    Raises:
        TrainError: there is nothing to train on, a checkpoint cannot be used, or a process that makes pairs died.
    """
    torch.manual_seed(recipe.seed)
    torch.set_num_threads(recipe.threads)
    state = _State.new(recipe)
    checkpoint = out / CHECKPOINT_NAME
    first = 0
    if checkpoint.exists():
        first = state.load(checkpoint)
    elif recipe.start_from is not None:
        state.load(Path(recipe.start_from))
    spool = out / "spool"
    spool.mkdir(parents=True, exist_ok=True)
    if not (out / BACKBONE_NAME).exists():
        export_backbone(out / BACKBONE_NAME)
    make_material(recipe, out)  # reads the clips once, before several processes want them
    (spool / "cursor").write_text(str(first * recipe.fresh))
    context = multiprocessing.get_context("spawn")
    makers = [
        context.Process(target=produce, args=(recipe, out, part, recipe.makers), daemon=True)
        for part in range(recipe.makers)
    ]
    for maker in makers:
        maker.start()
    try:
        _steps(recipe, out, first, state, makers)
    finally:
        for maker in makers:
            maker.terminate()
    return checkpoint


def read_checkpoint(path: Path) -> dict[str, Any]:
    """What a checkpoint file holds; nothing in it is executed.

    Raises:
        TrainError: it is not there or damaged.
    """
    try:
        found = torch.load(path, weights_only=True)
    except FileNotFoundError:
        raise TrainError(f"no checkpoint {path.name!r} in {path.parent.name or '.'!r}") from None
    except Exception as error:  # noqa: BLE001 - a damaged file raises whatever its bytes lead to
        raise TrainError(f"{path.name}: cannot be read as a checkpoint ({type(error).__name__})") from None
    if not isinstance(found, dict):
        raise TrainError(f"{path.name}: holds {type(found).__name__}, not a checkpoint")
    return found


@dataclass(frozen=True)
class _State:
    """What a checkpoint holds: the net, its moving average, the optimiser."""

    net: TraceNet
    average: TraceNet
    optimizer: torch.optim.Optimizer

    @classmethod
    def new(cls, recipe: EmbeddedRecipe) -> _State:
        net, average = TraceNet(recipe.width), TraceNet(recipe.width)
        average.load_state_dict(net.state_dict())
        optimizer = torch.optim.AdamW(net.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
        return cls(net, average, optimizer)

    def load(self, path: Path) -> int:
        """Take over a checkpoint; its step.

        Raises:
            TrainError: it is not there, damaged, or of a net of another width.
        """
        found = read_checkpoint(path)
        try:
            self.net.load_state_dict(found["net"])
            self.average.load_state_dict(found["average"])
            self.optimizer.load_state_dict(found["optimizer"])
            return int(found["step"])
        except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            words = " ".join(str(error).split())[:300]
            raise TrainError(
                f"{path.name}: not a state of this recipe's net ({type(error).__name__}: {words})"
            ) from None

    def save(self, path: Path, step: int, recipe: EmbeddedRecipe) -> None:
        """Write the checkpoint beside the old one, then take its place: a kill leaves one that is whole."""
        with atomic_write(path) as file:
            torch.save(
                {
                    "net": self.net.state_dict(),
                    "average": self.average.state_dict(),
                    "optimizer": self.optimizer.state_dict(),
                    "step": step,
                    "recipe": json.dumps(asdict(recipe)),
                },
                file,
            )


def _steps(recipe: EmbeddedRecipe, out: Path, first: int, state: _State, makers: Sequence[Any]) -> None:
    from tqdm import tqdm

    spool = out / "spool"
    sums: dict[str, list[float]] = {}
    for step in tqdm(range(first, recipe.steps), initial=first, total=recipe.steps, unit="step"):
        torch.manual_seed(recipe.seed * 1_000_003 + step)  # dropout is the same after a restart
        for group in state.optimizer.param_groups:
            group["lr"] = recipe.learning_rate_at(step)
        losses = _losses(recipe, step, state.net, spool, makers)
        total = torch.stack([WEIGHTS[name] * loss for name, loss in losses.items()]).sum()
        state.optimizer.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(state.net.parameters(), 2.0)
        state.optimizer.step()
        _follow(state.average, state.net, min(recipe.average, (1 + step) / (10 + step)))
        (spool / "cursor").write_text(str((step + 1) * recipe.fresh))
        for name, loss in losses.items():
            sums.setdefault(name, []).append(float(loss.detach()))
        last = step + 1 == recipe.steps
        if (step + 1) % 25 == 0 or last:
            row = {"step": step + 1} | {name: round(float(np.mean(values)), 4) for name, values in sums.items()}
            sums = {}
            with (out / "log.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        if (step + 1) % recipe.save_every == 0 or last:
            state.save(out / CHECKPOINT_NAME, step + 1, recipe)


def _losses(recipe: EmbeddedRecipe, step: int, net: TraceNet, spool: Path, makers: Sequence[Any]) -> dict[str, Tensor]:
    paths = [pair_path(spool, index) for index in batch_indices(recipe, step)]
    for path in paths:
        while not path.exists():
            if not all(maker.is_alive() for maker in makers):
                raise TrainError("a process that makes pairs has died; what it said stands above")
            time.sleep(0.1)
    pairs = [load_pair(path) for path in paths]
    rng = np.random.default_rng((recipe.seed, step, 5))
    crop = (recipe.crop_rows, recipe.crop_columns) if step < recipe.whole_from else None
    inputs, truth = collate(pairs, rng, crop)
    net.train()
    with torch.autocast("cpu", torch.bfloat16, enabled=recipe.bfloat16):
        outputs = net(*inputs, truth.trace)
    return dense_losses(outputs, truth) | clip_losses(outputs, truth, len(pairs))


@torch.no_grad()
def _follow(average: TraceNet, net: TraceNet, keep: float) -> None:
    for slow, fast in zip(average.parameters(), net.parameters(), strict=True):
        slow.lerp_(fast, 1 - keep)
