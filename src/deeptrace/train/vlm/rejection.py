"""Rejection sampling (``kind = "rejection"``): a model is fine-tuned on the best of its own answers.

Answers are tried once, before the first step; of each video the best are kept that earn enough. Then it is supervised
fine-tuning, with these answers in the place of the records' own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final

from typing_extensions import override

from deeptrace.errors import MissingExtra
from deeptrace.schema import Count, Range
from deeptrace.train import FINAL, Kind
from deeptrace.train.vlm.candidates import CandidatesTable
from deeptrace.train.vlm.tables import LanguageRecipe, own_answers_problems


@dataclass(frozen=True)
class RejectionTable:
    """Which answers are kept: at most ``keep`` different ones of a video, that earn ``least`` or more.

    A right verdict without a word too much earns 0.5, and REAL can earn no more: with a higher ``least`` none but fakes
    are learned from. Pointing better than blind adds to it, pointing worse takes from it. A wrong verdict earns less
    than nothing and is never kept.
    """

    least: Annotated[float, Range(above=0.0, high=1.0)] = 0.5
    keep: Count = 1


@dataclass(frozen=True)
class RejectionRecipe(LanguageRecipe):
    """A recipe of ``kind = "rejection"``."""

    candidates: CandidatesTable = field(default_factory=CandidatesTable)
    rejection: RejectionTable = field(default_factory=RejectionTable)

    @override
    def problems(self) -> Iterator[str]:
        """What does not fit together."""
        yield from own_answers_problems(self)
        yield from super().problems()


def run(recipe: RejectionRecipe, out: Path) -> Path:
    """Train into the folder, from its newest checkpoint where there is one; the folder of the result.

    Raises:
        MissingExtra: torch, transformers or peft is not installed.
        TrainError: no answer earns enough, a video cannot be read, or the loss is no number.
    """
    try:
        import transformers  # noqa: F401

        from deeptrace.train.vlm.preference import build_rejection_trainer
    except ImportError:
        raise MissingExtra("training", "train") from None
    from deeptrace.train.vlm.setup import finish, prepare
    from deeptrace.train.vlm.trainer import run as run_trainer

    setup = prepare(recipe, out)
    trainer = build_rejection_trainer(recipe, setup, out)
    run_trainer(trainer, out)
    return finish(setup, trainer, out / FINAL)


KIND: Final = Kind(RejectionRecipe, run)
