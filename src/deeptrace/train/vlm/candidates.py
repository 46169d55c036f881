"""Answers that the starting checkpoint gives of itself, with what each is worth: what preference stages learn from.

Every video of the training split is asked several times at a temperature, before the first step; each answer is
rewarded by `grounded_reward`. A journal in the run's folder keeps them, video by video, so that a run that was killed
asks no video twice. The same seed gives the same answers, whatever was asked before.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from deeptrace.errors import TrainError
from deeptrace.files import dumps
from deeptrace.journal import Journal
from deeptrace.schema import Count, Positive, Range
from deeptrace.train.vlm.examples import Example

if TYPE_CHECKING:
    import torch

    from deeptrace.models.hf.families import Family
    from deeptrace.records import Trace
    from deeptrace.train.vlm.setup import Setup

logger = logging.getLogger(__name__)

_VERSION: Final = 2  # of a journal's rows: 1 had no tokens
CANDIDATES_NAME: Final = "candidates"
"""Of the journals in a run's folder: ``candidates-0.jsonl`` is that of the first process."""


@dataclass(frozen=True)
class CandidatesTable:
    """How answers are tried before the first step.

    ``count``: answers a video. ``temperature``: of sampling. ``blind``: what pointing is measured against, see
    `deeptrace.train.vlm.reward`.
    """

    count: Annotated[int, Range(low=2)] = 8
    temperature: Positive = 1.0
    max_new_tokens: Count = 192
    blind: Literal["whole-clip", "fitted"] = "fitted"


@dataclass(frozen=True)
class TriedAnswer:
    """One answer, what it is worth, in [-1, 1], and its tokens as they were drawn, without the one that ends it.

    One that did not come to its end counts as unparsed.
    """

    text: str
    reward: float
    ended: bool
    tokens: tuple[int, ...]

    def learned(self, family: Family) -> list[int]:
        """The tokens to learn from: of an answer that was cut off those alone, else with the one that ends it."""
        return [*self.tokens, family.end_id] if self.ended else list(self.tokens)


@dataclass(frozen=True)
class TriedVideo:
    """A video, by its place among the training examples, and the answers that were tried."""

    index: int
    example: Example
    candidates: tuple[TriedAnswer, ...]

    @property
    def best_first(self) -> list[TriedAnswer]:
        """Different answers, the most rewarded first; of equal ones the first that came."""
        different: dict[str, TriedAnswer] = {}
        for candidate in self.candidates:
            different.setdefault(candidate.text, candidate)
        return sorted(different.values(), key=lambda candidate: -candidate.reward)


def try_answers(
    setup: Setup, table: CandidatesTable, out: Path, *, device: torch.device, process: int, processes: int
) -> None:
    """Ask every ``processes``-th training video, from ``process`` on, that the journal does not have.

    Raises:
        TrainError: a video cannot be read.
        FileError: the journal was begun with other settings, or cannot be written.
    """
    import torch

    from deeptrace.train.vlm.reward import grounded_reward
    from deeptrace.train.vlm.rollouts import PromptDataset, sample_answers

    prompts = PromptDataset(_answers(setup))
    blind = blind_of(setup, table)
    model: Any = setup.model
    model.to(device).eval()
    family = setup.family
    with _journal(setup, table, out, process) as journal:
        left = [index for index in range(process, len(prompts), processes) if str(index) not in journal.rows]
        for done, index in enumerate(left):
            prompt = prompts[index]
            batch = family.collate([prompt.encoded], pad_left=True)
            batch = {name: value.to(device) for name, value in batch.items()}
            seed = hashlib.sha256(f"{setup.recipe.seed} {index}".encode()).digest()
            with torch.random.fork_rng([] if device.type == "cpu" else [device]):
                torch.manual_seed(int.from_bytes(seed[:7]))
                said = sample_answers(
                    model,
                    family,
                    batch,
                    table.count,
                    temperature=table.temperature,
                    max_new_tokens=table.max_new_tokens,
                )
            rows = []
            for ids in said.tolist():
                text, end = family.decode(ids), family.end_of(ids)
                ended = end is not None
                reward = grounded_reward(
                    text, prompt.record, setup.asking.format, prompt.space, blind=blind, ended=ended
                )
                rows.append({"text": text, "reward": reward.total, "ended": ended, "tokens": ids[:end]})
            journal.add(str(index), {"video_id": prompt.record.video_id, "candidates": rows})
            if done % 50 == 0:
                logger.info("answers tried of %d videos, %d to go", len(journal.rows), len(left) - done - 1)


def blind_of(setup: Setup, table: CandidatesTable) -> Trace:
    """The constant trace that pointing is measured against, as ``table.blind`` says."""
    from deeptrace.train.vlm.reward import WHOLE_CLIP, blind_trace

    return blind_trace([example.record for example in setup.train]) if table.blind == "fitted" else WHOLE_CLIP


def read_candidates(setup: Setup, table: CandidatesTable, out: Path, *, processes: int) -> list[TriedVideo]:
    """What all processes tried, in the order of the training examples.

    Raises:
        TrainError: a video was not asked.
    """
    tried: dict[int, TriedVideo] = {}
    for process in range(processes):
        with _journal(setup, table, out, process) as journal:
            for key, row in journal.rows.items():
                candidates = tuple(
                    TriedAnswer(one["text"], one["reward"], one["ended"], tuple(one["tokens"]))
                    for one in row["candidates"]
                )
                tried[int(key)] = TriedVideo(int(key), setup.train[int(key)], candidates)
    missing = set(range(len(setup.train))) - set(tried)
    if missing:
        raise TrainError(f"{len(missing)} videos have no tried answers; start the run again")
    return [tried[index] for index in sorted(tried)]


def summarise_candidates(tried: Sequence[TriedVideo]) -> str:
    """How good the answers are, in words: their mean reward, and that of the best of each video."""
    rewards = [candidate.reward for video in tried for candidate in video.candidates]
    best = [max(candidate.reward for candidate in video.candidates) for video in tried]
    cut = sum(not candidate.ended for video in tried for candidate in video.candidates)
    return (
        f"{len(rewards)} answers to {len(tried)} videos: reward {sum(rewards) / len(rewards):.2f} in the mean, "
        f"{sum(best) / len(best):.2f} for the best of each video; {cut} were cut off, which earns least of all"
    )


def _answers(setup: Setup) -> Any:
    from deeptrace.train.vlm.dataset import AnswerDataset, Weights

    return AnswerDataset(setup.train, setup.family, setup.store, setup.asking, Weights())


def _journal(setup: Setup, table: CandidatesTable, out: Path, process: int) -> Journal:
    settings = {
        "version": _VERSION,
        "base": setup.recipe.model.base,
        "seed": setup.recipe.seed,
        "records_sha256": setup.facts["records_sha256"],
        "question": setup.asking.template,
        "count": table.count,
        "temperature": table.temperature,
        "max_new_tokens": table.max_new_tokens,
        "blind": table.blind,
    }
    return Journal(out / f"{CANDIDATES_NAME}-{process}.jsonl", json.loads(dumps(settings)))
