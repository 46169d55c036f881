"""Examples -> what a model takes: frames read, question put, answer written, tokens weighed. Runs in loader workers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from deeptrace.answer import QUESTIONS, Format, ShownFrames, Space, project, question, render
from deeptrace.errors import DeepTraceError, TrainError
from deeptrace.models.hf.checkpoint import SpaceKind
from deeptrace.models.hf.families import Encoded, Family
from deeptrace.records import Frames
from deeptrace.train.vlm.decisive import token_weights
from deeptrace.train.vlm.examples import Example
from deeptrace.train.vlm.frames import FrameStore

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Asking:
    """What is asked of a checkpoint, and the form in which it answers: the format and the kind of coordinates."""

    format: Format
    space: SpaceKind

    @property
    def template(self) -> str:
        """The question, whatever the video."""
        return QUESTIONS[self.format]

    def question(self, frames: Frames, space: Space, family: Family) -> str:
        """The question about these frames (their times in seconds, where the format has them), in this space."""
        shown_frames = ShownFrames.of(frames, times_beside_frames=bool(family.time_text(0.0)))
        return question(self.format, space, shown_frames)


@dataclass(frozen=True)
class Weights:
    """How much a token that decides (label, box, time, category) weighs in the loss, and how much any other."""

    decisive: float = 1.0
    other: float = 1.0

    @property
    def are_equal(self) -> bool:
        """Whether all tokens weigh the same."""
        return self.decisive == self.other


@dataclass(frozen=True)
class TrainingItem:
    """One example, ready to be collated. ``weights`` ``(1, L)`` float32 beside the labels; None: all alike."""

    encoded: Encoded
    answer: str
    weights: torch.Tensor | None = None


class AnswerDataset:
    """A map-style data set of `TrainingItem`; pickles, so that it can be sent to workers."""

    def __init__(
        self, examples: Sequence[Example], family: Family, store: FrameStore, asking: Asking, weights: Weights
    ) -> None:
        self.examples = tuple(examples)
        self.family = family
        self.store = store
        self.asking = asking
        self.weights = weights

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> TrainingItem:
        """The example as the model takes it.

        Raises:
            TrainError: its video cannot be read, or its answer cannot be written; names the video.
        """
        example = self.examples[index]
        try:
            frames = self.store.frames(example.path, example.window)
            space = self.family.space(frames, self.asking.space)
            answer = render(example.record, self.asking.format, space)
            encoded = self.family.encode(frames, self.asking.question(frames, space, self.family), answer)
            return TrainingItem(encoded, answer, self._weights(example, answer, space, encoded))
        except DeepTraceError as error:
            raise TrainError(f"video {example.record.video_id!r}: {error}") from None

    def item(self, index: int, answer: str, tokens: Sequence[int]) -> TrainingItem:
        """The example with another answer than its own, of these tokens, which all weigh the same.

        Raises:
            TrainError: its video cannot be read; names the video.
        """
        prompt, _ = self.prompt(index)
        return TrainingItem(self.family.answered(prompt, tokens), answer)

    def prompt(self, index: int) -> tuple[Encoded, Space]:
        """The example without its answer, and the space in which the answer will speak."""
        example = self.examples[index]
        try:
            frames = self.store.frames(example.path, example.window)
            space = self.family.space(frames, self.asking.space)
            return self.family.encode(frames, self.asking.question(frames, space, self.family)), space
        except DeepTraceError as error:
            raise TrainError(f"video {example.record.video_id!r}: {error}") from None

    def _weights(self, example: Example, answer: str, space: Space, encoded: Encoded) -> torch.Tensor | None:
        if self.weights.are_equal:
            return None
        import torch

        tokens = self.family.processor.tokenizer(answer, add_special_tokens=False, return_offsets_mapping=True)
        weights = token_weights(
            answer,
            tokens["offset_mapping"],
            [trace.explanation for trace in project(example.record.traces, self.asking.format, space)],
            decisive=self.weights.decisive,
            other=self.weights.other,
        )
        labels = cast("torch.Tensor", encoded.labels)
        full = torch.zeros(labels.shape, dtype=torch.float32)
        full[0, -len(weights) :] = torch.tensor(weights)
        return full


class Collate:
    """Items -> one batch, padded on the right; ``loss_weights`` beside ``labels`` where tokens differ."""

    def __init__(self, family: Family) -> None:
        self._family = family

    def __call__(self, items: Sequence[TrainingItem]) -> dict[str, Any]:
        """The batch."""
        import torch

        batch: dict[str, Any] = self._family.collate([item.encoded for item in items])
        length = batch["labels"].shape[1]
        weights = [item.weights for item in items if item.weights is not None]
        if weights:
            batch["loss_weights"] = torch.cat(
                [torch.nn.functional.pad(one, (0, length - one.shape[1])) for one in weights]
            )
        return batch
