"""Answers tried, rewarded and learned from: the step of the RL stage, on transformers' own `generate`.

TRL's GRPO trainer puts no video into a prompt: it would train on the question alone and say nothing. Here a prompt
without video tokens is an error before the first step, and what the answers still vary in is logged at every step.
"""

from __future__ import annotations

import copy
import logging
import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, pstdev
from typing import TYPE_CHECKING, Any, Final

import torch
from torch.utils.data import DataLoader
from typing_extensions import override

from deeptrace.answer import Space
from deeptrace.errors import TrainError
from deeptrace.measures.video import claimed
from deeptrace.models.hf.families import Encoded, Family
from deeptrace.records import Outcome, Record, Trace, Verdict
from deeptrace.train.vlm.dataset import AnswerDataset, Weights
from deeptrace.train.vlm.positions import last_positions
from deeptrace.train.vlm.reward import WHOLE_CLIP, GroundedReward, blind_trace, grounded_reward
from deeptrace.train.vlm.rollout_prefix import encode_prefix, likelihoods_behind, sample_from
from deeptrace.train.vlm.trainer import RunTrainer

if TYPE_CHECKING:
    from deeptrace.train.vlm.grpo import GrpoTable
    from deeptrace.train.vlm.setup import Setup

logger = logging.getLogger(__name__)

COLLAPSED: Final = 0.2
"""Below this share of what the truth varies by, answers have collapsed onto a few."""
_PARTS: Final = ("verdict", "overlap", "category")  # of a `GroundedReward`, each with a metric of its own
_ENOUGH: Final = 32  # values, before anything is said of how they vary


@dataclass(frozen=True)
class RolloutPrompt:
    """One question about one video, and the truth."""

    encoded: Encoded
    space: Space
    record: Record


class PromptDataset:
    """A map-style data set of `RolloutPrompt`; every prompt is checked for video tokens as it is made."""

    def __init__(self, answers: AnswerDataset) -> None:
        self._answers = answers
        family = answers.family
        self._pixel_id = family.processor.tokenizer.convert_tokens_to_ids(family.pixel_token)

    def __len__(self) -> int:
        return len(self._answers)

    def __getitem__(self, index: int) -> RolloutPrompt:
        """The prompt.

        Raises:
            TrainError: it holds no video, or its video cannot be read.
        """
        encoded, space = self._answers.prompt(index)
        record = self._answers.examples[index].record
        has_pixels = any(name.startswith("pixel_values") for name in encoded.inputs)  # some families show pictures
        if not has_pixels or not int((encoded.inputs["input_ids"] == self._pixel_id).sum()):
            raise TrainError(
                f"video {record.video_id!r}: the prompt holds no video tokens; the model would see nothing"
            )
        return RolloutPrompt(encoded, space, record)


def _as_list(prompts: list[RolloutPrompt]) -> list[RolloutPrompt]:
    return prompts


def check_prompts(prompts: PromptDataset, workers: int) -> None:
    """Make every prompt once with ``workers`` processes (0: in this one), before the first step.

    With a cache, this also reads every video.

    Raises:
        TrainError: one holds no video tokens, or its video cannot be read.
    """
    loader: Any = DataLoader(prompts, batch_size=1, num_workers=workers, collate_fn=_as_list)  # type: ignore[arg-type]
    count = sum(len(batch) for batch in loader)
    logger.info("%d prompts hold their video", count)


def _collate(prompts: list[RolloutPrompt]) -> dict[str, Any]:
    return {"prompts": prompts}


class GrpoTrainer(RunTrainer):
    """A run whose step samples answers, rewards them, and moves towards those that earned more than their group."""

    def __init__(self, table: GrpoTable, setup: Setup, out: Path) -> None:
        answers = AnswerDataset(setup.train, setup.family, setup.store, setup.asking, Weights())
        self.prompts = PromptDataset(answers)
        super().__init__(
            setup.model,
            out=out,
            tables=setup.tables,
            dataset=self.prompts,
            collate=_collate,
            order=setup.order,
            measure=setup.measure,
            decorate=setup.decorate,
            part_of=setup.family.part_of,
            facts=setup.facts,
        )
        self.loss_is_scaled_for_ga = False
        self._table = table
        self._setup = setup
        records = [example.record for example in setup.train]
        self._blind: Trace = blind_trace(records) if table.blind == "fitted" else WHOLE_CLIP
        self._reference = _reference(self.model) if table.beta else None
        self._never = unsayable(setup.family)
        if setup.recipe.model.gradient_checkpointing:
            logger.info(
                "a prompt is encoded once for the answers that are sampled, and %d times for their gradients: "
                "model.gradient_checkpointing keeps no cache",
                table.group,
            )
        self._tried: list[tuple[Record, GroundedReward]] = []
        self._spread: list[float] = []

    @override
    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Sample, reward, and the loss: minus the mean over answers of advantage times log-likelihood a token."""
        asked: list[RolloutPrompt] = inputs["prompts"]
        prompts = [prompt for prompt in asked for _ in range(self._table.group)]
        family = self._setup.family
        tokens = self._sample(self._batch(asked))
        texts = [family.decode(ids) for ids in tokens.tolist()]
        rewards = [
            grounded_reward(
                text,
                prompt.record,
                self._setup.asking.format,
                prompt.space,
                blind=self._blind,
                ended=family.end_of(ids) is not None,
                credit=self._table.credit,
            )
            for text, ids, prompt in zip(texts, tokens.tolist(), prompts, strict=True)
        ]
        self._tried += [(prompt.record, reward) for prompt, reward in zip(prompts, rewards, strict=True)]
        advantages = self._advantages([reward.total for reward in rewards])
        mask = until_end(tokens, family.end_ids)
        logp = self._likelihoods(model, asked, tokens, mask)
        # One update a rollout, so the ratio to the policy that sampled is one, and only its gradient matters.
        gain = advantages.to(logp.device)[:, None] * torch.exp(logp - logp.detach())
        if self._table.beta:
            gain = gain - self._table.beta * self._divergence(asked, tokens, mask, logp)
        loss = -(gain * mask).sum() / mask.sum()
        return (loss, None) if return_outputs else loss

    def _sample(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """``(B, C)`` sampled tokens; what follows the token that ends an answer is padding."""
        model: Any = self.accelerator.unwrap_model(self.model_wrapped)
        was_training = model.training
        model.eval()
        tokens = sample_answers(
            model,
            self._setup.family,
            batch,
            self._table.group,
            temperature=self._table.temperature,
            max_new_tokens=self._table.max_new_tokens,
        )
        model.train(was_training)
        return tokens

    def _batch(self, prompts: Sequence[RolloutPrompt]) -> dict[str, torch.Tensor]:
        batch = self._setup.family.collate([prompt.encoded for prompt in prompts], pad_left=True)
        return {name: value.to(self.accelerator.device) for name, value in batch.items()}

    def _likelihoods(
        self, model: Any, asked: Sequence[RolloutPrompt], tokens: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor:
        """``(B * group, C)`` of the answers to each prompt, the prompt encoded once where its cache can be kept."""
        bare = self.accelerator.unwrap_model(model)
        group, temperature = self._table.group, self._table.temperature
        if self._setup.recipe.model.gradient_checkpointing and torch.is_grad_enabled():
            whole = self._batch([prompt for prompt in asked for _ in range(group)])
            with last_positions(bare, tokens.shape[1] + 1):
                return log_likelihoods(model, whole, tokens, mask, temperature, never=self._never)
        prefix = encode_prefix(model, bare, self._batch(asked), group)
        return likelihoods_behind(model, bare, prefix, tokens, mask, temperature, never=self._never)

    def _advantages(self, rewards: Sequence[float]) -> torch.Tensor:
        values: list[float] = []
        for start in range(0, len(rewards), self._table.group):
            group = rewards[start : start + self._table.group]
            mean, deviation = fmean(group), pstdev(group)
            self._spread.append(deviation)
            unit = deviation + 1e-4 if self._table.scale else 1.0
            values += [(reward - mean) / unit for reward in group]
        return torch.tensor(values)

    def _divergence(
        self, asked: Sequence[RolloutPrompt], tokens: torch.Tensor, mask: torch.Tensor, logp: torch.Tensor
    ) -> torch.Tensor:
        """An estimate, never negative, of how far the model has moved from the base: ``(B, C)`` nats a token."""
        assert self._reference is not None
        reference, without_adapter = self._reference(self.accelerator.unwrap_model(self.model_wrapped))
        with torch.no_grad(), without_adapter, self.accelerator.autocast():  # as the step computes
            before = self._likelihoods(reference, asked, tokens, mask)
        ahead = before - logp
        return torch.exp(ahead) - ahead - 1

    @override
    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """What is logged anyway, and what the rollouts since the last line earned and vary in."""
        if "loss" in logs and self._tried:
            logs = {**logs, **rollout_metrics(self._tried), "reward_spread": fmean(self._spread)}
            self._tried, self._spread = [], []
        super().log(logs, start_time)


def sample_answers(
    model: Any,
    family: Family,
    batch: Mapping[str, torch.Tensor],
    group: int,
    *,
    temperature: float,
    max_new_tokens: int,
) -> torch.Tensor:
    """``(B * group, C)`` tokens of answers to each of B prompts, drawn at a temperature by torch's own random state.

    ``batch`` was collated with ``pad_left=True`` and lies on the model's device. Each prompt is encoded once.
    """
    with torch.no_grad():
        prefix = encode_prefix(model, model, batch, group)
    return sample_from(
        model, family, prefix, temperature=temperature, max_new_tokens=max_new_tokens, never=unsayable(family)
    )


def _reference(model: Any) -> Callable[[Any], tuple[Any, Any]]:
    """How to compute with the base: without the adapter where there is one, else with a copy made now."""
    if hasattr(model, "disable_adapter"):
        return lambda wrapped: (wrapped, wrapped.disable_adapter())
    frozen = copy.deepcopy(model).eval().requires_grad_(False)
    return lambda _: (frozen, nullcontext())


def until_end(tokens: torch.Tensor, end: Sequence[int]) -> torch.Tensor:
    """``(B, C)`` 1.0 up to the first of the tokens that end an answer, that one included; 0.0 after."""
    ends = torch.isin(tokens, torch.tensor(list(end), device=tokens.device)).long()
    ended_before = ends.cumsum(dim=1) - ends
    return (ended_before == 0).float()


def unsayable(family: Family) -> list[int]:
    """The tokens that stand for pixels. In an answer, the model would look for the frames behind them, and stop."""
    return list(family.pixel_ids)


def log_likelihoods(
    model: Any,
    batch: Mapping[str, torch.Tensor],
    tokens: torch.Tensor,
    mask: torch.Tensor,
    temperature: float,
    *,
    never: Sequence[int] = (),
) -> torch.Tensor:
    """``(B, C)`` log-likelihood of each sampled token, as it was sampled: after the temperature. 0 where ``mask`` is.

    ``never``: tokens that could not be sampled.
    """
    inputs = dict(batch)
    inputs["input_ids"] = torch.cat([batch["input_ids"], tokens], dim=1)
    inputs["attention_mask"] = torch.cat([batch["attention_mask"], mask.to(batch["attention_mask"].dtype)], dim=1)
    if "mm_token_type_ids" in batch:
        kinds = batch["mm_token_type_ids"]
        inputs["mm_token_type_ids"] = torch.cat([kinds, torch.zeros_like(tokens, dtype=kinds.dtype)], dim=1)
    logits = model(**inputs, use_cache=False).logits[:, -tokens.shape[1] - 1 : -1].float() / temperature
    if never:
        logits[..., list(never)] = -torch.inf
    picked = torch.log_softmax(logits, dim=-1).gather(2, tokens[:, :, None]).squeeze(2)
    return picked * mask


# ── what rollouts vary in ───────────────────────────────────────────────────────────────────────────────────────────


def rollout_metrics(tried: Sequence[tuple[Record, GroundedReward]]) -> dict[str, float]:
    """Means of the reward and its parts, and how much the answers vary beside how much the truth does.

    ``entropy_...`` are bits. ``variety_...`` is that of the answers by that of the truth, 1 when they vary alike; there
    is none where the truth does not vary, or too few answers say it. Below `COLLAPSED` a warning is logged.
    """
    rewards = [reward for _, reward in tried]
    metrics = {
        "reward": fmean(reward.total for reward in rewards),
        **{f"reward_{part}": fmean(getattr(reward, part) for reward in rewards) for part in _PARTS},
        "reward_right": fmean(float(reward.verdict > 0) for reward in rewards),
        "reward_unparsed": fmean(float(not isinstance(reward.outcome, Verdict)) for reward in rewards),
    }
    answers: dict[str, list[Hashable]] = {"verdict": [], "box": [], "onset": []}
    truths: dict[str, list[Hashable]] = {"verdict": [], "box": [], "onset": []}
    for record, reward in tried:
        answers["verdict"].append(_label(reward.outcome))
        truths["verdict"].append(record.label)
        _places(claimed(reward.outcome), record, answers)
        _places(record.traces, record, truths)
    for name, values in answers.items():
        metrics[f"entropy_{name}"] = entropy(values)
        of_truth = entropy(truths[name])
        if of_truth > 0 and len(values) >= _ENOUGH:
            metrics[f"variety_{name}"] = variety = entropy(values) / of_truth
            if variety < COLLAPSED:
                logger.warning("answers have collapsed: %s varies %.0f%% as much as in truth", name, 100 * variety)
    return metrics


def _label(outcome: Outcome) -> str:
    return outcome.label if isinstance(outcome, Verdict) else "none"


_CELLS: Final = 4


def _places(traces: Iterable[Trace], record: Record, into: dict[str, list[Hashable]]) -> None:
    """The cell of a 4 x 4 grid in which each box has its centre, and the tenth of the video in which it begins."""
    length = record.info.length_seconds if record.info is not None else None
    for trace in traces:
        if trace.bbox_xyxy is not None:
            x0, y0, x1, y1 = trace.bbox_xyxy
            into["box"].append((int((x0 + x1) / 2 * _CELLS), int((y0 + y1) / 2 * _CELLS)))
        if trace.onset_seconds is not None:
            into["onset"].append(min(9, int(10 * trace.onset_seconds / length)) if length else trace.onset_seconds)


def entropy(values: Sequence[Hashable]) -> float:
    """Entropy of how often each value occurs, in bits. By hand: a, a, b, c: 0.5 * 1 + 2 * 0.25 * 2 = 1.5."""
    counts = Counter(values)
    return -sum(count / len(values) * math.log2(count / len(values)) for count in counts.values()) + 0.0
