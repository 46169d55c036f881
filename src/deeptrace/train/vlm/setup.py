"""From a recipe to everything a run needs, and from a finished run to its result. The same for every stage."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deeptrace.answer import FORMAT_VERSIONS, Format, check_format
from deeptrace.errors import TrainError
from deeptrace.models.hf.families import Family
from deeptrace.models.hf.library import no_bars
from deeptrace.train import checkpoints
from deeptrace.train.recipe import to_toml
from deeptrace.train.vlm.balance import Order
from deeptrace.train.vlm.base_model import base_family, load_for_training, merge_adapter
from deeptrace.train.vlm.dataset import AnswerDataset, Asking, Weights
from deeptrace.train.vlm.example_sets import read_examples
from deeptrace.train.vlm.examples import Example
from deeptrace.train.vlm.frames import FrameStore
from deeptrace.train.vlm.identity import facts_of
from deeptrace.train.vlm.measure import BlindAnswer, ask, blind_scores, summarise
from deeptrace.train.vlm.result import ADAPTER, Provenance, counts_of, write_cards
from deeptrace.train.vlm.tables import LanguageRecipe, LoraTable
from deeptrace.train.vlm.trainer import Metrics, RunTables, RunTrainer

if TYPE_CHECKING:
    from torch import nn

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Setup:
    """Everything that a run needs but its loss."""

    recipe: LanguageRecipe
    tables: RunTables
    family: Family
    model: nn.Module
    store: FrameStore
    asking: Asking
    train: tuple[Example, ...]
    eval: tuple[Example, ...]
    order: Order
    blind: BlindAnswer
    provenance: Provenance

    @property
    def facts(self) -> dict[str, Any]:
        """What must be the same when this run goes on."""
        return facts_of(
            self.train,
            processes=int(os.environ.get("WORLD_SIZE", "1")),
            batch_size=self.tables.optim.batch_size,
            accumulate=self.tables.optim.accumulate,
        )

    def decorate(self, folder: Path) -> None:
        """Put the cards into a checkpoint's folder, so that it can be used like the result."""
        write_cards(folder, self.provenance)

    def measure(self, trainer: RunTrainer) -> Metrics:
        """The eval split, asked and measured; each process asks its share."""
        if not self.eval:
            return {}
        accelerator = trainer.accelerator
        dataset = AnswerDataset(self.eval, self.family, self.store, self.asking, Weights())
        mine = range(accelerator.process_index, len(self.eval), accelerator.num_processes)
        answers = ask(
            accelerator.unwrap_model(trainer.model_wrapped),
            dataset,
            list(mine),
            batch_size=self.tables.eval.batch_size,
            max_new_tokens=self.tables.eval.max_new_tokens,
            device=accelerator.device,
        )
        scores, losses = list(answers.scores), [(answers.loss, len(mine))]
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


def prepare(recipe: LanguageRecipe, out: Path) -> Setup:
    """Read the records, load the checkpoint, and make ready.

    Raises:
        TrainError: the records give no example, or a video is missing; or weights are to be shared out by one process.
        ModelError: the base cannot be loaded.
        MissingExtra: peft or bitsandbytes is not installed.
    """
    from transformers import set_seed

    if recipe.hardware.fsdp and int(os.environ.get("WORLD_SIZE", "1")) < 2:
        raise TrainError(
            "hardware.fsdp shares weights out over several processes, and this is one: start it by torchrun "
            "--nproc-per-node N -m deeptrace train ..., or add --set hardware.fsdp=false"
        )
    set_seed(recipe.seed)
    family = base_family(recipe)
    asking = Asking(_format(recipe.question.format), recipe.question.space or family.space_kind)
    store = FrameStore(
        family.sampling,
        None if recipe.data.cache is None else Path(recipe.data.cache),
        second=recipe.second_look.sampling(family.sampling),
    )
    sets = read_examples(recipe, store, out)
    provenance = Provenance(
        kind=recipe.kind,
        base=recipe.model.base,
        recipe=to_toml(recipe),
        asking=asking,
        question=asking.template,
        family=family,
        licences=recipe.licences,
        records=recipe.data.records,
        counts=counts_of(sets.train.examples),
        left_out=sets.train.left_out,
    )
    licence, kind = provenance.licence
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
        train=sets.train.examples,
        eval=sets.eval,
        order=sets.order(recipe),
        blind=sets.blind(),
        provenance=provenance,
    )


def finish(setup: Setup, trainer: RunTrainer, final: Path) -> Path:
    """Measure, write the result beside, give it its name when it is whole; the folder."""
    metrics: Mapping[str, Any] = {}
    if setup.eval:
        metrics = {name.removeprefix("eval_"): value for name, value in trainer.evaluate().items()}
    out = final.parent
    with checkpoints.saving(out, final.name, trainer.result_bytes()):
        _write_result(setup, trainer, final, metrics)
    return final


def _write_result(setup: Setup, trainer: RunTrainer, final: Path, metrics: Mapping[str, Any]) -> None:
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
        write_cards(target, setup.provenance, metrics)
        checkpoints.publish(target, final)
    trainer.accelerator.wait_for_everyone()


def _keep_lora(setup: Setup, target: Path, lora: LoraTable) -> None:
    """Make ``target`` a whole model of the base and the adapter in it, or leave the adapter alone in it."""
    (target / ADAPTER / "training_args.bin").unlink(missing_ok=True)
    if lora.keep == "adapter":
        for file in (target / ADAPTER).iterdir():
            file.rename(target / file.name)
        (target / ADAPTER).rmdir()
        return
    with no_bars():
        merge_adapter(setup.family, setup.recipe.model.base, target / ADAPTER).save_pretrained(target)
    shutil.rmtree(target / ADAPTER)


def _format(name: str) -> Format:
    check_format(name, FORMAT_VERSIONS.get(name, 0))
    return name
