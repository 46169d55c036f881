"""Pairs of a model's own answers -> steps that make the better one likelier than the worse, as far as it was before."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, Final

import torch
from typing_extensions import override

from deeptrace.answer import render
from deeptrace.errors import TrainError
from deeptrace.journal import Journal
from deeptrace.models.hf.families import Encoded, Family
from deeptrace.records import Trace
from deeptrace.train.vlm.balance import Order
from deeptrace.train.vlm.candidates import (
    CandidatesTable,
    TriedAnswer,
    TriedVideo,
    blind_of,
    read_candidates,
    summarise_candidates,
    try_answers,
)
from deeptrace.train.vlm.dataset import AnswerDataset, Collate, TrainingItem, Weights
from deeptrace.train.vlm.example_sets import warn_of_one_label
from deeptrace.train.vlm.examples import Example
from deeptrace.train.vlm.positions import last_positions
from deeptrace.train.vlm.reward import grounded_reward
from deeptrace.train.vlm.rollouts import log_likelihoods
from deeptrace.train.vlm.trainer import RunTrainer, arguments

if TYPE_CHECKING:
    from deeptrace.train.vlm.dpo import DpoRecipe, DpoTable
    from deeptrace.train.vlm.rejection import RejectionRecipe, RejectionTable
    from deeptrace.train.vlm.setup import Setup

logger = logging.getLogger(__name__)

REFERENCE_NAME: Final = "reference"
"""Of the journals with what the starting checkpoint makes of each pair: ``reference-0.jsonl`` and so on."""


# ── from answers to what is learned ─────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class AnswerPair:
    """Two answers to one video, the one that earned more and the one that earned less."""

    index: int  # of the example
    chosen: TriedAnswer
    rejected: TriedAnswer


def pair_answers(tried: Sequence[TriedVideo], table: DpoTable) -> list[AnswerPair]:
    """The pairs of all videos, see `DpoTable`; what is left out is logged."""
    pairs: list[AnswerPair] = []
    none = 0
    for video in tried:
        ranked = video.best_first
        found = [
            AnswerPair(video.index, better, worse)
            for better, worse in zip(ranked[: len(ranked) // 2], reversed(ranked), strict=False)
            if better.reward - worse.reward >= table.margin
        ][: table.pairs]
        pairs += found
        none += not found
    logger.info("%d pairs of answers; of %d videos no two answers differ by %g", len(pairs), none, table.margin)
    return pairs


def kept_answers(tried: Sequence[TriedVideo], table: RejectionTable) -> list[tuple[int, TriedAnswer]]:
    """Each kept answer behind the example's place, see `RejectionTable`; what is left out is logged."""
    kept: list[tuple[int, TriedAnswer]] = []
    none = 0
    for video in tried:
        good = [candidate for candidate in video.best_first if candidate.reward >= table.least][: table.keep]
        kept += [(video.index, candidate) for candidate in good]
        none += not good
    logger.info("%d answers are kept; %d videos have none that earns %g", len(kept), none, table.least)
    return kept


def _try(recipe: Any, setup: Setup, out: Path) -> list[TriedVideo]:
    """The answers of all processes, each of which asks its share, on its own device."""
    given = arguments(out, setup.tables)  # begins the processes' talk to each other
    state = given.distributed_state
    process, processes = given.process_index, given.world_size
    table: CandidatesTable = recipe.candidates
    try_answers(setup, table, out, device=given.device, process=process, processes=processes)
    if state is not None:
        state.wait_for_everyone()
    tried = read_candidates(setup, table, out, processes=processes)
    logger.info("%s", summarise_candidates(tried))
    setup.model.train()
    return tried


# ── preference ──────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class PreferenceItem:
    """A pair as the model takes it: two whole texts about one video, and how likely each was at the start (nats)."""

    prompt: Encoded
    answers: tuple[list[int], list[int]]  # tokens of the chosen and the rejected, see `TriedAnswer.learned`
    before: tuple[float, float] | None = None


class PreferenceDataset:
    """A map-style data set of `PreferenceItem`; pickles, so that it can be sent to workers."""

    def __init__(self, pairs: Sequence[AnswerPair], answers: AnswerDataset) -> None:
        self.pairs = tuple(pairs)
        self.before: tuple[tuple[float, float], ...] = ()
        self._answers = answers

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def examples(self) -> list[Example]:
        """The example of each pair."""
        return [self._answers.examples[pair.index] for pair in self.pairs]

    def __getitem__(self, place: int) -> PreferenceItem:
        """The pair.

        Raises:
            TrainError: its video cannot be read.
        """
        pair, family = self.pairs[place], self._answers.family
        prompt, _ = self._answers.prompt(pair.index)
        answers = pair.chosen.learned(family), pair.rejected.learned(family)
        return PreferenceItem(prompt, answers, self.before[place] if self.before else None)


def _collate(items: list[PreferenceItem]) -> dict[str, Any]:
    return {"pairs": items}


def answer_likelihoods(
    model: Any, family: Family, items: Sequence[PreferenceItem], device: Any
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Log-likelihoods in nats of the chosen ``(N,)`` and of the rejected ``(N,)`` answers, and tokens of the former.

    ``model`` may be wrapped for several processes.
    """
    batch = family.collate([item.prompt for item in items for _ in item.answers], pad_left=True)
    ids = [tokens for item in items for tokens in item.answers]
    width = max(map(len, ids))
    tokens = torch.tensor([one + [family.pad_id] * (width - len(one)) for one in ids], device=device)
    mask = torch.tensor([[1.0] * len(one) + [0.0] * (width - len(one)) for one in ids], device=device)
    batch = {name: value.to(device) for name, value in batch.items()}
    bare = getattr(model, "module", model)
    with last_positions(bare, width + 1):
        sums = log_likelihoods(model, batch, tokens, mask, 1.0).sum(dim=1)
    return sums[0::2], sums[1::2], mask[0::2].sum(dim=1)


def preference_loss(
    chosen: torch.Tensor, rejected: torch.Tensor, before: torch.Tensor, beta: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean loss of N pairs, and how far each prefers the chosen now more than at the start (nats, times ``beta``).

    ``-log sigmoid(beta ((chosen - rejected) - (chosen - rejected at the start)))``, equation 7 of arXiv 2305.18290.
    ``chosen`` and ``rejected`` are ``(N,)`` log-likelihoods, ``before`` ``(N, 2)`` those of the start.
    """
    margin = beta * ((chosen - rejected) - (before[:, 0] - before[:, 1]))
    return -torch.nn.functional.logsigmoid(margin).mean(), margin


class DpoTrainer(RunTrainer):
    """A run whose step moves the likelihoods of pairs of answers apart."""

    def __init__(self, table: DpoTable, setup: Setup, out: Path, dataset: PreferenceDataset) -> None:
        super().__init__(
            setup.model,
            out=out,
            tables=setup.tables,
            dataset=dataset,
            collate=_collate,
            order=Order(dataset.examples, by=setup.recipe.data.balance, seed=setup.recipe.seed),
            measure=setup.measure,
            decorate=setup.decorate,
            part_of=setup.family.part_of,
            facts=setup.facts,
        )
        self.loss_is_scaled_for_ga = False
        self._table = table
        self._family = setup.family
        self._seen: list[tuple[float, float, float]] = []

    @override
    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """The loss of the pairs, as a mean over them."""
        items: list[PreferenceItem] = inputs["pairs"]
        device = self.accelerator.device
        chosen, rejected, tokens = answer_likelihoods(model, self._family, items, device)
        before = torch.tensor([item.before for item in items], device=device)
        loss, margin = preference_loss(chosen, rejected, before, self._table.beta)
        self._seen += [
            (float(one), float(better - was), float(worse - then))
            for one, better, worse, (was, then) in zip(
                margin.detach(), chosen.detach(), rejected.detach(), before.tolist(), strict=True
            )
        ]
        if self._table.likelihood:
            loss = loss - self._table.likelihood * (chosen / tokens).mean()
        return (loss, None) if return_outputs else loss

    @override
    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """What is logged anyway, and how the pairs since the last line stand.

        ``margin`` is how far the chosen answer is preferred more than at the start (nats, times beta), ``preferred``
        the share of pairs in which it is; ``chosen`` and ``rejected`` how far each moved (nats).
        """
        if "loss" in logs and self._seen:
            margins, chosen, rejected = zip(*self._seen, strict=True)
            logs = {
                **logs,
                "margin": fmean(margins),
                "preferred": fmean(float(margin > 0) for margin in margins),
                "chosen": fmean(chosen),
                "rejected": fmean(rejected),
            }
            self._seen = []
        super().log(logs, start_time)


def build_trainer(recipe: DpoRecipe, setup: Setup, out: Path) -> DpoTrainer:
    """The trainer of a recipe: answers tried and paired, and what the start makes of each pair.

    Raises:
        TrainError: no two answers to a video differ enough.
    """
    tried = _try(recipe, setup, out)
    if recipe.dpo.truth:
        blind = blind_of(setup, recipe.candidates)
        tried = [_with_truth(video, setup, blind) for video in tried]
    pairs = pair_answers(tried, recipe.dpo)
    if not pairs:
        raise TrainError(
            f"no two answers to a video differ by {recipe.dpo.margin:g} in reward: there is nothing to prefer. Raise "
            "candidates.temperature or candidates.count, or lower dpo.margin"
        )
    answers = AnswerDataset(setup.train, setup.family, setup.store, setup.asking, Weights())
    dataset = PreferenceDataset(pairs, answers)
    trainer = DpoTrainer(recipe.dpo, setup, out, dataset)
    dataset.before = tuple(_likelihoods_at_start(trainer, setup, dataset, out))
    return trainer


def _with_truth(video: TriedVideo, setup: Setup, blind: Trace) -> TriedVideo:
    frames = setup.store.frames(video.example.path, video.example.window)
    space = setup.family.space(frames, setup.asking.space)
    text = render(video.example.record, setup.asking.format, space)
    reward = grounded_reward(text, video.example.record, setup.asking.format, space, blind=blind)
    truth = TriedAnswer(text, reward.total, ended=True, tokens=tuple(setup.family.tokenize(text)))
    return TriedVideo(video.index, video.example, (*video.candidates, truth))


def _likelihoods_at_start(
    trainer: DpoTrainer, setup: Setup, dataset: PreferenceDataset, out: Path
) -> list[tuple[float, float]]:
    """How likely the starting checkpoint finds each pair, in the precision of the steps; kept for a restart."""
    process, processes = trainer.args.process_index, trainer.args.world_size
    settings = {"pairs": [[pair.index, pair.chosen.text, pair.rejected.text] for pair in dataset.pairs]}
    model: Any = trainer.accelerator.unwrap_model(trainer.model)
    was_training = model.training
    model.to(trainer.accelerator.device).eval()
    with Journal(out / f"{REFERENCE_NAME}-{process}.jsonl", settings) as journal, torch.inference_mode():
        for place in range(process, len(dataset), processes):
            if str(place) not in journal.rows:
                with trainer.accelerator.autocast():
                    chosen, rejected, _ = answer_likelihoods(
                        model, setup.family, [dataset[place]], trainer.accelerator.device
                    )
                journal.add(str(place), {"chosen": float(chosen[0]), "rejected": float(rejected[0])})
    model.train(was_training)
    trainer.accelerator.wait_for_everyone()
    found: dict[int, tuple[float, float]] = {}
    for other in range(processes):
        with Journal(out / f"{REFERENCE_NAME}-{other}.jsonl", settings) as journal:
            found |= {int(key): (row["chosen"], row["rejected"]) for key, row in journal.rows.items()}
    return [found[place] for place in range(len(dataset))]


# ── rejection sampling ──────────────────────────────────────────────────────────────────────────────────────────────


class OwnAnswers:
    """A map-style data set of `TrainingItem`: answers that the model gave itself, in the place of the records'."""

    def __init__(self, kept: Sequence[tuple[int, TriedAnswer]], answers: AnswerDataset) -> None:
        self._kept = tuple(kept)
        self._answers = answers

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def examples(self) -> list[Example]:
        """The example of each answer."""
        return [self._answers.examples[index] for index, _ in self._kept]

    def __getitem__(self, place: int) -> TrainingItem:
        """The example with this answer.

        Raises:
            TrainError: its video cannot be read.
        """
        index, answer = self._kept[place]
        return self._answers.item(index, answer.text, answer.learned(self._answers.family))


def build_rejection_trainer(recipe: RejectionRecipe, setup: Setup, out: Path) -> RunTrainer:
    """The trainer of a recipe: answers tried, the best of them kept.

    Raises:
        TrainError: no answer earns enough.
    """
    kept = kept_answers(_try(recipe, setup, out), recipe.rejection)
    if not kept:
        raise TrainError(
            f"no answer earns {recipe.rejection.least:g}: there is nothing to learn from. Lower rejection.least, try "
            "more answers (candidates.count), or begin with a checkpoint that answers better"
        )
    dataset = OwnAnswers(kept, AnswerDataset(setup.train, setup.family, setup.store, setup.asking, Weights()))
    if "label" in recipe.data.balance:
        warn_of_one_label(dataset.examples)
    return RunTrainer(
        setup.model,
        out=out,
        tables=setup.tables,
        dataset=dataset,
        collate=Collate(setup.family),
        order=Order(dataset.examples, by=recipe.data.balance, seed=recipe.seed),
        measure=setup.measure,
        decorate=setup.decorate,
        part_of=setup.family.part_of,
        facts=setup.facts,
    )
