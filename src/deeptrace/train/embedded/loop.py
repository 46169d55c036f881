"""Training of the embedded network: pairs made by other processes, one optimiser step after another, resumable.

An `EmbeddedRecipe` and a folder go in; checkpoints (weights, moving average, optimiser, step; see
`deeptrace.train.checkpoints`) and ``log.jsonl`` appear in the folder. A run that is started again goes on from its last
checkpoint; step k sees the same pairs either way.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import re
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from deeptrace.errors import DeepTraceError, FileError, TrainError
from deeptrace.files import make_folder, write_jsonl
from deeptrace.models.embedded.windows import BACKBONE_NAME
from deeptrace.models.hf.library import refusal
from deeptrace.models.hf.staging import room
from deeptrace.train import checkpoints
from deeptrace.train.embedded.draw import PairMaterial, draw_pair, size_of
from deeptrace.train.embedded.export import export_backbone
from deeptrace.train.embedded.footage import load_pool, validation_clips
from deeptrace.train.embedded.losses import TargetBatch, clip_losses, dense_losses
from deeptrace.train.embedded.network import TraceNet
from deeptrace.train.embedded.recipe import GROUP, EmbeddedRecipe
from deeptrace.train.embedded.recorded import RELEASE_NAME, Recorded
from deeptrace.train.embedded.scenes import scene_maker
from deeptrace.train.embedded.spool import FeatureMaker, PreparedPair, load_pair, save_pair

logger = logging.getLogger(__name__)

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
"""Weight of each loss in the sum (see `losses`). Chosen."""

STATE_NAME: Final = "state.pt"
"""The file in a checkpoint's folder that holds the state."""

_NEEDED: Final = (re.compile(re.escape(STATE_NAME)),)
_KEPT: Final = 2  # checkpoints: the newest, and the one before it for the case that a disk returns other bytes
_FORMER_NAME: Final = "checkpoint.pt"  # where a run's state lay before there were manifests
LOG_NAME: Final = "log.jsonl"


# ── making pairs ────────────────────────────────────────────────────────────────────────────────────────────────────


def make_material(recipe: EmbeddedRecipe, out: Path) -> PairMaterial:
    """The footage that the recipe trains on, and scenes where it wants them.

    Raises:
        TrainError: nothing is left to train on, or a validation clip is not there.
    """
    root = Path(recipe.footage)
    if (root / RELEASE_NAME).exists():
        return PairMaterial(recorded=Recorded.load(root, out / "pool"))
    pool = load_pool(root, out / "pool", licenses=recipe.licenses)
    held_out = validation_clips(pool, recipe)
    clips = [clip for clip in pool if clip.source not in recipe.test_sources and clip not in held_out]
    if not clips:
        raise TrainError(f"{root.name!r} holds no camera clip outside the validation and test sources")
    scene = scene_maker(clips, recipe.cutouts) if recipe.scene_share > 0 else None
    return PairMaterial(clips, scene, recipe.scene_share)


def produce(recipe: EmbeddedRecipe, out: Path, part: int, parts: int) -> None:
    """Make pairs ``part``, ``part + parts``, ... ahead of the trainer; drop those far behind it. Runs until killed."""
    import cv2

    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    try:
        _produce(recipe, out, part, parts)
    except OSError as error:
        logger.error("cannot write a pair into %r: %s", out.name, error.strerror or error)
        sys.exit(1)
    except DeepTraceError as error:
        logger.error("no pair could be made in %r: %s", out.name, error)
        sys.exit(1)


def _produce(recipe: EmbeddedRecipe, out: Path, part: int, parts: int) -> None:
    spool = out / "spool"
    maker = FeatureMaker(out / BACKBONE_NAME)
    material = make_material(recipe, out)
    index = part
    while os.getppid() != 1:
        cursor = _cursor(spool)
        index = max(index, _align(cursor - recipe.ring, part, parts))
        if index > cursor + recipe.ahead:
            time.sleep(0.2)
            continue
        path = pair_path(spool, index)
        if not path.exists():
            seed = (recipe.seed, index)
            sham = bool(np.random.default_rng((*seed, 7)).random() < 0.5)
            drawn = draw_pair(seed, material, size_of(index), twins=("sham" if sham else "clean",))
            wanted = drawn.params.get("wanted", drawn.category)
            if wanted != drawn.category:
                logger.warning("pair %d: no footage for %s, %s instead", index, wanted, drawn.category)
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


def _align(index: int, part: int, parts: int) -> int:
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
    groups = [
        number
        for number in range(max(0, (newest - recipe.ring) // GROUP + 1), group)
        if size_of(number * GROUP) == size
    ]
    if not groups:
        return fresh
    picked = rng.choice(groups, recipe.pairs - recipe.fresh)
    return fresh + [int(number) * GROUP + int(rng.integers(GROUP)) for number in picked]


def collate(
    pairs: list[PreparedPair], rng: np.random.Generator, crop: tuple[int, int] | None
) -> tuple[list[Tensor], TargetBatch]:
    """Tensors of B fakes, then of their B twins, cut to ``crop`` cells (rows, columns) around the trace, if given.

    The inputs are float32: ``fine`` ``(2B, T, 40, h, w)``, ``coarse`` ``(2B, T, 112, h/2, w/2)``, ``aux``
    ``(2B, T, 13, 2h, 2w)`` and ``flow`` ``(2B, T, 2, h, w)`` in cells. Half of the batches are mirrored.
    """
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
        torch.from_numpy(
            np.concatenate([np.stack([pair[twin] for pair in arrays[key]]) for twin in (0, 1)]).astype(np.float32)
        )
        for key in ("fine", "coarse", "aux", "flow")
    ]
    if rng.random() < 0.5:  # mirrored features are near enough to features of a mirror image
        inputs = [value.flip(-1) for value in inputs]
        inputs[3][:, :, 0] *= -1
        inputs[2][:, :, [8, 10]] *= -1
        width = arrays["trace"][0].shape[2]
        arrays["trace"] = [np.ascontiguousarray(trace[..., ::-1]) for trace in arrays["trace"]]
        arrays["box"] = [
            np.stack([width - box[:, 2], box[:, 1], width - box[:, 0], box[:, 3]], 1) for box in arrays["box"]
        ]
    count = len(pairs)
    trace = torch.from_numpy(np.stack(arrays["trace"]))
    box = torch.from_numpy(np.stack(arrays["box"]).astype(np.float32))
    onset = torch.tensor([pair.onset for pair in pairs] + [-1] * count)
    category = torch.tensor([pair.category for pair in pairs] + [-1] * count)
    holds_trace = trace.flatten(1).sum(1) > 0  # the crop may miss the trace
    fake = torch.cat([holds_trace.float(), torch.zeros(count)])
    onset[:count][~holds_trace] = -1
    category[:count][~holds_trace] = -1
    return inputs, TargetBatch(
        fake, torch.cat([trace, torch.zeros_like(trace)]), torch.cat([box, torch.zeros_like(box)]), onset, category
    )


def _crop_at(
    pair: PreparedPair, rng: np.random.Generator, have: tuple[int, int], want: tuple[int, int]
) -> tuple[int, int]:
    """The even top and left of a crop that holds most of the trace."""
    cells = np.argwhere(pair.trace[pair.onset : pair.onset + 6].any(axis=0))
    if not len(cells):
        cells = np.argwhere(pair.trace.any(axis=0))
    centre = cells.mean(axis=0) if len(cells) else np.array(have) / 2
    corner = []
    for middle, size, cut in zip(centre, have, want, strict=True):
        low = int(np.clip(middle - cut / 2 + rng.uniform(-0.35, 0.35) * cut, 0, size - cut))
        corner.append(low // 2 * 2)
    return corner[0], corner[1]


# ── the loop ────────────────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def writing(out: Path) -> Iterator[None]:
    """Within, a run's files are written: what the system refuses becomes one error that says what is kept.

    Raises:
        FileError: names the file, the reason, and the checkpoint that is there.
    """
    try:
        yield
    except Exception as error:
        reason = refusal(error)
        if reason is None:
            raise
        name = Path(str(getattr(error, "filename", None) or out)).name
        raise FileError(f"cannot write {name!r} of {out.name!r}: {reason}{room(out, None)}. {_kept(out)}") from None


def _kept(out: Path) -> str:
    try:
        newest = checkpoints.latest(out)
    except FileError:
        return "The checkpoints are as they were"
    return "There is no checkpoint yet" if newest is None else f"{newest.name} is kept"


def sweep(out: Path) -> None:
    """Remove what a killed run left half written."""
    for leftover in (*out.glob(".*.tmp"), *(out / "spool").glob(".*.tmp")):
        leftover.unlink(missing_ok=True)


def train(recipe: EmbeddedRecipe, out: Path) -> Path:
    """Train until the recipe's last step; the path of the checkpoint.

    Raises:
        TrainError: there is nothing to train on, a checkpoint cannot be used, or a process that makes pairs died.
        FileError: the system refused to write; says what is kept.
    """
    with writing(out):
        return _train(recipe, out)


def _train(recipe: EmbeddedRecipe, out: Path) -> Path:
    torch.manual_seed(recipe.seed)
    torch.set_num_threads(recipe.threads)
    state = _State.new(recipe)
    sweep(out)
    first = _begin(recipe, out, state)
    _cut_log(out / LOG_NAME, first)
    spool = make_folder(out / "spool")
    if not (out / BACKBONE_NAME).exists():
        export_backbone(out / BACKBONE_NAME)
    make_material(recipe, out)  # reads the clips once, before several processes want them
    (spool / "cursor").write_text(str(first * recipe.fresh))
    with making_pairs(recipe, out) as makers:
        _steps(recipe, out, first, state, makers)
    newest = checkpoints.latest(out)
    assert newest is not None  # the last step writes one
    return newest


@contextmanager
def making_pairs(recipe: EmbeddedRecipe, out: Path) -> Iterator[Sequence[BaseProcess]]:
    """Processes that make pairs, for as long as the block lasts. Spawned: a fork may hang on a lock of our threads."""
    context = multiprocessing.get_context("spawn")
    makers: list[BaseProcess] = [
        context.Process(target=produce, args=(recipe, out, part, recipe.makers), daemon=True)
        for part in range(recipe.makers)
    ]
    for maker in makers:
        maker.start()
    try:
        yield makers
    finally:
        for maker in makers:
            maker.terminate()


def _begin(recipe: EmbeddedRecipe, out: Path, state: _State) -> int:
    """Take over where the folder stands, or what the recipe starts from; the first step to make."""
    newest = checkpoints.latest(out)
    if newest is not None:
        return state.load(newest)
    if (out / _FORMER_NAME).exists():
        raise TrainError(
            f"{out.name!r} holds {_FORMER_NAME!r}, as an earlier version wrote it, without a manifest. To go on from "
            "it, give it as start_from of a run in another folder"
        )
    if recipe.start_from is not None:
        state.load(Path(recipe.start_from))
        state.losses.clear()
    return 0


def _cut_log(log: Path, step: int) -> None:
    """Drop what a killed run logged after its last checkpoint: those steps are made again."""
    if not log.exists():
        return
    rows = []
    for line in log.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
        except ValueError:  # half a line
            continue
        if isinstance(row, dict) and row.get("step", 0) <= step:
            rows.append(row)
    write_jsonl(log, rows)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """What a checkpoint's folder, or a file like those in ``checkpoints/``, holds; nothing in it is executed.

    Raises:
        TrainError: it is not there or damaged; of a run's folder it says what there is to go on from.
    """
    if path.is_dir():
        checkpoints.verify(path, _NEEDED)
    try:
        value = torch.load(path / STATE_NAME if path.is_dir() else path, weights_only=True)
    except FileNotFoundError:
        raise TrainError(f"no checkpoint {path.name!r} in {path.parent.name or '.'!r}") from None
    except Exception as error:  # noqa: BLE001 - a damaged file raises whatever its bytes lead to
        raise TrainError(f"{path.name}: cannot be read as a checkpoint ({type(error).__name__})") from None
    if not isinstance(value, dict):
        raise TrainError(f"{path.name}: holds {type(value).__name__}, not a checkpoint")
    return value


@dataclass(frozen=True)
class _State:
    """What a checkpoint holds: the net, its moving average, the optimiser, and the losses that no log row has yet."""

    net: TraceNet
    average: TraceNet
    optimizer: torch.optim.Optimizer
    losses: dict[str, list[float]] = field(default_factory=dict)

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
        state = read_checkpoint(path)
        try:
            self.net.load_state_dict(state["net"])
            self.average.load_state_dict(state["average"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.losses.update(state.get("losses", {}))
            return int(state["step"])
        except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            words = " ".join(str(error).split())[:300]
            raise TrainError(
                f"{path.name}: not a state of this recipe's net ({type(error).__name__}: {words})"
            ) from None

    def save(self, out: Path, step: int, recipe: EmbeddedRecipe) -> None:
        """Write the checkpoint of a step into a run's folder; the one before it stays too.

        Raises:
            FileError: the system refused; says what is kept.
        """
        name = f"checkpoint-{step}"
        with checkpoints.saving(out, name, self.state_bytes()):
            staged = checkpoints.begin(out) / name
            staged.mkdir()
            value = {
                "net": self.net.state_dict(),
                "average": self.average.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "step": step,
                "losses": self.losses,
                "recipe": json.dumps(asdict(recipe)),
            }
            with open(staged / STATE_NAME, "wb") as file:
                torch.save(value, file)
            checkpoints.write_manifest(staged, step, {})
            checkpoints.publish(staged, out / name)
            checkpoints.prune(out, _KEPT)

    def state_bytes(self) -> int:
        """About how many bytes a checkpoint takes: the weights, their average, and Adam's two numbers a weight."""
        return 4 * sum(parameter.numel() * parameter.element_size() for parameter in self.net.parameters())


def _steps(recipe: EmbeddedRecipe, out: Path, first: int, state: _State, makers: Sequence[BaseProcess]) -> None:
    from tqdm import tqdm

    spool = out / "spool"
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
            state.losses.setdefault(name, []).append(float(loss.detach()))
        last = step + 1 == recipe.steps
        if (step + 1) % 25 == 0 or last:
            row = {"step": step + 1} | {name: round(float(np.mean(values)), 4) for name, values in state.losses.items()}
            state.losses.clear()
            with (out / LOG_NAME).open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        if (step + 1) % recipe.save_every == 0 or last:
            state.save(out, step + 1, recipe)


def _losses(
    recipe: EmbeddedRecipe, step: int, net: TraceNet, spool: Path, makers: Sequence[BaseProcess]
) -> dict[str, Tensor]:
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
