"""The RL stage (``kind = "grpo"``): a model that can answer tries several answers to each video and learns from reward.

Group-relative policy optimisation (arXiv 2402.03300), one update a rollout: of a group of sampled answers to one
prompt, those that earn more than the group's mean become likelier, the others less. The reward is `grounded_reward`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final, Literal

from typing_extensions import override

from deeptrace.errors import MissingExtra
from deeptrace.schema import Count, NotNegative, Positive, Range
from deeptrace.train import FINAL, Kind
from deeptrace.train.vlm.reward import Credit
from deeptrace.train.vlm.tables import LanguageRecipe, OptimTable, own_answers_problems

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class GrpoTable:
    """How answers are tried and weighed.

    ``group``: answers a prompt. ``temperature``: of sampling. ``beta``: how strongly the model is held near the base (a
    KL term; 0: not at all, and no second model in memory). ``scale``: divide a group's advantages by its standard
    deviation. ``blind``: what pointing is measured against, and ``credit``: whether being near counts where nothing is
    shared yet, see `deeptrace.train.vlm.reward`.
    """

    group: Annotated[int, Range(low=2)] = 8
    temperature: Positive = 1.0
    max_new_tokens: Count = 192
    beta: NotNegative = 0.0
    scale: bool = True
    blind: Literal["whole-clip", "fitted"] = "fitted"
    credit: Credit = "viou"


@dataclass(frozen=True)
class GrpoRecipe(LanguageRecipe):
    """A recipe of ``kind = "grpo"``. ``optim.batch_size`` counts prompts; each is answered ``grpo.group`` times."""

    grpo: GrpoTable = field(default_factory=GrpoTable)
    optim: OptimTable = field(default_factory=lambda: OptimTable(learning_rate=1e-6, schedule="constant"))

    @override
    def problems(self) -> Iterator[str]:
        """What does not fit together."""
        yield from own_answers_problems(self)
        yield from super().problems()


def run(recipe: GrpoRecipe, out: Path) -> Path:
    """Train into the folder, from its newest checkpoint where there is one; the folder of the result.

    Raises:
        MissingExtra: torch, transformers or peft is not installed.
        TrainError: a prompt holds no video, the records give no example, or the loss is no number.
    """
    try:
        import transformers  # noqa: F401

        from deeptrace.train.vlm.rollouts import GrpoTrainer, check_prompts
    except ImportError:
        raise MissingExtra("training", "train") from None
    from deeptrace.train.vlm.setup import finish, prepare
    from deeptrace.train.vlm.trainer import run as run_trainer

    setup = prepare(recipe, out)
    trainer = GrpoTrainer(recipe.grpo, setup, out)
    check_prompts(trainer.prompts, recipe.data.workers)
    run_trainer(trainer, out)
    return finish(setup, trainer, out / FINAL)


KIND: Final = Kind(GrpoRecipe, run)
