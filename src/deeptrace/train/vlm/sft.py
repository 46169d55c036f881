"""Supervised fine-tuning (``kind = "sft"``): a video language model learns to give the right answer, word for word."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from typing_extensions import override

from deeptrace.errors import MissingExtra
from deeptrace.schema import NotNegative
from deeptrace.train import FINAL, Kind
from deeptrace.train.vlm.tables import LanguageRecipe

if TYPE_CHECKING:
    from deeptrace.train.vlm.setup import Setup
    from deeptrace.train.vlm.trainer import RunTrainer

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LossTable:
    """How much tokens weigh: those that decide (label, coordinates, times, categories), and all others.

    Scaled so that an answer's weights sum to its number of tokens. ``other = 0`` trains on what decides alone.
    """

    decisive: NotNegative = 1.0
    other: NotNegative = 1.0

    def problems(self) -> Iterator[str]:
        """What does not fit together."""
        if self.decisive == 0:
            yield "decisive: is 0, so that neither label nor place nor time would be learned"


@dataclass(frozen=True)
class SftRecipe(LanguageRecipe):
    """A recipe of ``kind = "sft"``."""

    loss: LossTable = field(default_factory=LossTable)

    @override
    def problems(self) -> Iterator[str]:
        """What does not fit together."""
        yield from super().problems()
        if self.hardware.fsdp and self.eval.videos:
            yield "eval.videos: nothing can be asked of weights that are shared out (fsdp); set it to 0"


def run(recipe: SftRecipe, out: Path) -> Path:
    """Train into the folder, from its newest checkpoint where there is one; the folder of the result.

    Raises:
        MissingExtra: torch, transformers or peft is not installed.
        TrainError: the records give no example, a video cannot be read, the loss is no number, or we were stopped.
    """
    try:
        import transformers  # noqa: F401

        from deeptrace.train.vlm.trainer import run as run_trainer
    except ImportError:
        raise MissingExtra("training", "train") from None
    from deeptrace.train.vlm.setup import finish, prepare

    setup = prepare(recipe, out)
    trainer = build_trainer(recipe, setup, out)
    run_trainer(trainer, out)
    return finish(setup, trainer, out / FINAL)


def build_trainer(recipe: SftRecipe, setup: Setup, out: Path) -> RunTrainer:
    """The trainer of a recipe."""
    from deeptrace.train.vlm.dataset import AnswerDataset, Collate, Weights
    from deeptrace.train.vlm.trainer import RunTrainer

    weights = Weights(recipe.loss.decisive, recipe.loss.other)
    return RunTrainer(
        setup.model,
        out=out,
        tables=setup.tables,
        dataset=AnswerDataset(setup.train, setup.family, setup.store, setup.asking, weights),
        collate=Collate(setup.family),
        order=setup.order,
        measure=setup.measure,
        decorate=setup.decorate,
        part_of=setup.family.part_of,
        facts=setup.facts,
    )


KIND: Final = Kind(SftRecipe, run)

__all__: Sequence[Any] = ["KIND", "LossTable", "SftRecipe", "build_trainer", "run"]
