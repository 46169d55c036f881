"""From a recipe to everything a run needs, and from a finished run to its result. The same for every stage."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from deeptrace.data import load_records
from deeptrace.errors import FileError, MissingExtra, TrainError, VideoError
from deeptrace.models._families import Family, family_of
from deeptrace.train import checkpoints
from deeptrace.train.balance import Order, lopsided
from deeptrace.train.dataset import AnswerDataset, Asking, Weights
from deeptrace.train.examples import Example, Examples, make_examples
from deeptrace.train.frames import FrameStore
from deeptrace.train.measure import Blind, ask, blind_scores, summarise
from deeptrace.train.recipe import to_toml
from deeptrace.train.result import ADAPTER, Made, counts_of, write_cards
from deeptrace.train.tables import (
    DataTable,
    EvalTable,
    HardwareTable,
    LicenceTable,
    LogTable,
    LoraTable,
    ModelTable,
    OptimTable,
    QuestionTable,
    SamplingTable,
    SaveTable,
)
from deeptrace.train.trainer import Metrics, RunTables, RunTrainer

if TYPE_CHECKING:
    from torch import nn

logger = logging.getLogger(__name__)


class Recipe(Protocol):
    """What the recipes of all stages have."""

    @property
    def kind(self) -> str: ...  # noqa: D102
    @property
    def seed(self) -> int: ...  # noqa: D102
    @property
    def model(self) -> ModelTable: ...  # noqa: D102
    @property
    def data(self) -> DataTable: ...  # noqa: D102
    @property
    def lora(self) -> LoraTable | None: ...  # noqa: D102
    @property
    def question(self) -> QuestionTable: ...  # noqa: D102
    @property
    def sampling(self) -> SamplingTable: ...  # noqa: D102
    @property
    def optim(self) -> OptimTable: ...  # noqa: D102
    @property
    def eval(self) -> EvalTable: ...  # noqa: D102
    @property
    def save(self) -> SaveTable: ...  # noqa: D102
    @property
    def log(self) -> LogTable: ...  # noqa: D102
    @property
    def hardware(self) -> HardwareTable: ...  # noqa: D102
    @property
    def licences(self) -> LicenceTable: ...  # noqa: D102


@dataclass(frozen=True)
class Setup:
    """Everything that a run needs but its loss."""

    recipe: Recipe
    tables: RunTables
    family: Family
    model: nn.Module
    store: FrameStore
    asking: Asking
    train: tuple[Example, ...]
    eval: tuple[Example, ...]
    order: Order
    blind: Blind
    made: Made

    def decorate(self, folder: Path) -> None:
        """Put the cards into a checkpoint's folder, so that it can be used like the result."""
        write_cards(folder, self.made)

    def measure(self, trainer: RunTrainer) -> Metrics:
        """The eval split, asked and measured; each process asks its share."""
        if not self.eval:
            return {}
        accelerator = trainer.accelerator
        dataset = AnswerDataset(self.eval, self.family, self.store, self.asking, Weights())
        mine = range(accelerator.process_index, len(self.eval), accelerator.num_processes)
        asked = ask(
            accelerator.unwrap_model(trainer.model_wrapped),
            dataset,
            list(mine),
            batch_size=self.tables.eval.batch_size,
            max_new_tokens=self.tables.eval.max_new_tokens,
            device=accelerator.device,
        )
        scores, losses = list(asked.scores), [(asked.loss, len(mine))]
        if accelerator.num_processes > 1:
            from accelerate.utils import gather_object

            scores, losses = gather_object(scores), gather_object(losses)
        weight = sum(count for _, count in losses)
        blind = blind_scores([example.record for example in self.eval], self.blind)
        return {
            "answer_loss": sum(loss * count for loss, count in losses) / weight,
            **summarise(scores),
            **{f"blind_{name}": value for name, value in blind.items()},
        }


def prepare(recipe: Recipe, out: Path) -> Setup:
    """Read the records, load the checkpoint, and make ready.

    Raises:
        TrainError: the records give no example, or a video is missing.
        ModelError: the base cannot be loaded.
        MissingExtra: peft or bitsandbytes is not installed.
    """
    from transformers import set_seed

    set_seed(recipe.seed)
    family = _family(recipe)
    asking = Asking(_format(recipe.question.format), recipe.question.space or family.space_kind)
    store = FrameStore(family.sampling, None if recipe.data.cache is None else Path(recipe.data.cache))
    records = load_records(recipe.data.records, root=recipe.data.root)
    train = _readable(make_examples(records, split=recipe.data.train_split, answers=recipe.data.answers), recipe, store)
    held_out: tuple[Example, ...] = ()
    if recipe.eval.videos:
        held_out = _readable(make_examples(records, split=recipe.data.eval_split), recipe, store).examples
        held_out = _spread(held_out, recipe.eval.videos)
    examples = train.examples
    for label, count in lopsided(examples).items() if "length" in recipe.data.balance else ():
        logger.warning("%d %s examples are of lengths that no other label has: there, length tells", count, label)
    logger.info("%d examples to train on, %d to measure with", len(examples), len(held_out))
    made = Made(
        kind=recipe.kind,
        base=recipe.model.base,
        recipe=to_toml(recipe),
        asking=asking,
        question=asking.template,
        family=family,
        licences=recipe.licences,
        records=recipe.data.records,
        counts=counts_of(examples),
        left_out=train.left_out,
    )
    licence, kind = made.licence
    logger.info("strictest licence of weights, annotations and videos: %s (%s)", licence, kind)
    return Setup(
        recipe=recipe,
        tables=RunTables(
            model=recipe.model,
            optim=recipe.optim,
            save=recipe.save,
            log=recipe.log,
            eval=recipe.eval,
            hardware=recipe.hardware,
            workers=recipe.data.workers,
            seed=recipe.seed,
        ),
        family=family,
        model=load_for_training(family, recipe),
        store=store,
        asking=asking,
        train=examples,
        eval=held_out,
        order=Order(examples, by=recipe.data.balance, seed=recipe.seed),
        blind=Blind.fit([example.record for example in examples]),
        made=made,
    )


# ── the checkpoint ──────────────────────────────────────────────────────────────────────────────────────────────────


def _family(recipe: Recipe) -> Family:
    table = recipe.sampling
    size = None
    if table.shortest_edge is not None and table.longest_edge is not None:
        size = {"shortest_edge": table.shortest_edge, "longest_edge": table.longest_edge}
    family = family_of(recipe.model.base, size=size)
    said = {name: getattr(table, name) for name in ("fps", "max_frames", "short_side")}
    family.sampling = replace(family.sampling, **{name: value for name, value in said.items() if value is not None})
    return family


def load_for_training(family: Family, recipe: Recipe) -> Any:
    """The base, parts frozen or small matrices put beside its weights, as the recipe says."""
    table, lora = recipe.model, recipe.lora
    quantized = table.quantization != "none"
    model: Any = family.load_model(
        table.base,
        dtype="bfloat16" if table.precision == "bfloat16" or quantized else "float32",
        device=f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if quantized else "cpu",
        quantization=None if table.quantization == "none" else table.quantization,
    )
    if lora is not None:
        model = _with_lora(family, model, lora, quantized=quantized, recipe=recipe)
    for name, parameter in model.named_parameters():
        if lora is None:
            parameter.requires_grad_(family.part_of(name) not in table.freeze)
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    if not trained:
        raise TrainError("nothing is left to train: every part is frozen, or no module has a name in lora.modules")
    logger.info("%d of %d parameters are trained", trained, sum(parameter.numel() for parameter in model.parameters()))
    return model


def _with_lora(family: Family, model: Any, lora: LoraTable, *, quantized: bool, recipe: Recipe) -> Any:
    try:
        import peft
    except ImportError:
        raise MissingExtra("LoRA", "train") from None
    from torch import nn

    if quantized:
        ready: Any = peft.prepare_model_for_kbit_training
        model = ready(model, use_gradient_checkpointing=recipe.model.gradient_checkpointing)
    names = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
        and name.rpartition(".")[2] in lora.modules
        and family.part_of(name) in lora.parts
    ]
    if not names:
        raise TrainError(f"lora.modules: no module of {', '.join(lora.parts)} is called {', '.join(lora.modules)}")
    config = peft.LoraConfig(
        r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=names, task_type="CAUSAL_LM"
    )
    return peft.get_peft_model(model, config)


def finish(setup: Setup, trainer: RunTrainer, final: Path) -> Path:
    """Measure, write the result beside, give it its name when it is whole; the folder."""
    metrics: Mapping[str, Any] = {}
    if setup.eval:
        metrics = {name.removeprefix("eval_"): value for name, value in trainer.evaluate().items()}
    out = final.parent
    staging = out / checkpoints.STAGING
    if trainer.args.should_save:
        checkpoints.begin(out)
    trainer.accelerator.wait_for_everyone()
    lora = setup.recipe.lora
    target = staging / final.name
    trainer.save_model(str(target if lora is None else target / ADAPTER))
    if trainer.args.should_save:
        if lora is not None:
            _keep_lora(setup, target, lora)
        (target / "training_args.bin").unlink(missing_ok=True)
        write_cards(target, setup.made, metrics)
        checkpoints.publish(target, final)
    trainer.accelerator.wait_for_everyone()
    return final


def _keep_lora(setup: Setup, target: Path, lora: LoraTable) -> None:
    """Make ``target`` a whole model of the base and the adapter in it, or leave the adapter alone in it."""
    (target / ADAPTER / "training_args.bin").unlink(missing_ok=True)
    if lora.keep == "adapter":
        for file in (target / ADAPTER).iterdir():
            file.rename(target / file.name)
        (target / ADAPTER).rmdir()
        return
    merged(setup.family, setup.recipe.model.base, target / ADAPTER).save_pretrained(target)
    shutil.rmtree(target / ADAPTER)


def merged(family: Family, base: str | os.PathLike[str], adapter: str | os.PathLike[str]) -> Any:
    """The base with an adapter's matrices added to its weights: a model of the native class."""
    import peft

    model = family.load_model(base, device="cpu")
    return peft.PeftModel.from_pretrained(model, os.fspath(adapter)).merge_and_unload()


# ── examples ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _format(name: str) -> Any:
    from deeptrace.answer import FORMAT_VERSIONS, check_format

    check_format(name, FORMAT_VERSIONS.get(name, 0))
    return name


def _spread(examples: Sequence[Example], count: int) -> tuple[Example, ...]:
    """At most so many, evenly spread over those there are."""
    if len(examples) <= count:
        return tuple(examples)
    return tuple(examples[i * len(examples) // count] for i in range(count))


def _readable(examples: Examples, recipe: Recipe, store: FrameStore) -> Examples:
    """The examples whose videos are there; with ``unreadable = "skip"`` those whose videos can be read.

    Raises:
        TrainError: a file is missing, and none may be.
    """
    missing = [example for example in examples.examples if not example.path.is_file()]
    if recipe.data.unreadable == "error":
        if missing:
            names = ", ".join(example.record.video_id for example in missing[:5])
            raise TrainError(
                f"{len(missing)} of {len(examples.examples)} videos are not there ({names}, ...). Say where they are "
                'with data.root, or leave them out with data.unreadable = "skip"'
            )
        return examples
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(max(1, recipe.data.workers)) as pool:  # decoding is in processes of its own
        reasons = list(pool.map(partial(_unreadable, store), examples.examples))
    kept = tuple(one for one, reason in zip(examples.examples, reasons, strict=True) if reason is None)
    left_out = dict(examples.left_out)
    for example, reason in zip(examples.examples, reasons, strict=True):
        if reason is not None:
            logger.warning("left out: video %r: %s", example.record.video_id, reason)
            left_out["cannot be read"] = left_out.get("cannot be read", 0) + 1
    if not kept:
        raise TrainError("none of the videos can be read")
    return Examples(kept, left_out)


def _unreadable(store: FrameStore, example: Example) -> str | None:
    try:
        store.frames(example.path)
    except VideoError as error:
        return str(error)
    except FileError:
        raise
    return None
