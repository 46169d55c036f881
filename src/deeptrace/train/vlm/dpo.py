"""Preference training (``kind = "dpo"``): of its own answers, a model learns to prefer those that earn more.

Direct preference optimisation (arXiv 2305.18290): answers are tried once, before the first step, and paired by
`grounded_reward`, the better against the worse. TRL's trainer for this (1.16.0) takes images and no videos.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from typing_extensions import override

from deeptrace.errors import MissingExtra
from deeptrace.schema import Count, NotNegative, Positive
from deeptrace.train import FINAL, Kind
from deeptrace.train.vlm.candidates import CandidatesTable
from deeptrace.train.vlm.tables import LanguageRecipe, OptimTable, own_answers_problems


@dataclass(frozen=True)
class DpoTable:
    """How answers become pairs, and how pairs are learned from.

    ``beta``: how strongly the model is held near where it started. ``margin``: the least difference in reward of a
    pair. ``pairs``: at most so many of a video, the best against the worst, the second best against the second worst,
    and so on. ``likelihood``: weight of the better answer's own likelihood beside the preference, so that it does not
    become rarer while the worse one does faster (arXiv 2404.19733). ``truth``: the right answer from the records is one
    of the candidates.
    """

    beta: Positive = 0.1
    margin: Positive = 0.05
    pairs: Count = 2
    likelihood: NotNegative = 0.0
    truth: bool = False


@dataclass(frozen=True)
class DpoRecipe(LanguageRecipe):
    """A recipe of ``kind = "dpo"``. ``optim.batch_size`` counts pairs."""

    candidates: CandidatesTable = field(default_factory=CandidatesTable)
    dpo: DpoTable = field(default_factory=DpoTable)
    optim: OptimTable = field(default_factory=lambda: OptimTable(learning_rate=5e-6))

    @override
    def problems(self) -> Iterator[str]:
        """What does not fit together."""
        yield from own_answers_problems(self)
        yield from super().problems()


def run(recipe: DpoRecipe, out: Path) -> Path:
    """Train into the folder, from its newest checkpoint where there is one; the folder of the result.

    Raises:
        MissingExtra: torch, transformers or peft is not installed.
        TrainError: no two answers to a video differ enough, a video cannot be read, or the loss is no number.
    """
    try:
        import transformers  # noqa: F401

        from deeptrace.train.vlm.preference import build_trainer
    except ImportError:
        raise MissingExtra("training", "train") from None
    from deeptrace.train.vlm.setup import finish, prepare
    from deeptrace.train.vlm.trainer import run as run_trainer

    setup = prepare(recipe, out)
    trainer = build_trainer(recipe, setup, out)
    run_trainer(trainer, out)
    return finish(setup, trainer, out / FINAL)


KIND: Final = Kind(DpoRecipe, run)
