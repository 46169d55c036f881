"""The two sets of examples of a run, to train on and to measure with: read, checked, warned of."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from deeptrace.data import load_records
from deeptrace.errors import FileError, TrainError, VideoError
from deeptrace.train.vlm.balance import Order, lopsided
from deeptrace.train.vlm.examples import Example, Examples, make_examples
from deeptrace.train.vlm.frames import FrameStore
from deeptrace.train.vlm.identity import check_files
from deeptrace.train.vlm.measure import BlindAnswer
from deeptrace.train.vlm.second_look import with_second_looks
from deeptrace.train.vlm.tables import LanguageRecipe

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExampleSets:
    """Examples to train on (with what was left out, by reason) and to measure with."""

    train: Examples
    eval: tuple[Example, ...]

    def order(self, recipe: LanguageRecipe) -> Order:
        """In which order they are trained on: balanced as the recipe says."""
        return Order(self.train.examples, by=recipe.data.balance, seed=recipe.seed)

    def blind(self) -> BlindAnswer:
        """The constants that fit the training examples best: whole videos, as those that are measured with."""
        return BlindAnswer.fit([example.record for example in self.train.examples if example.window is None])


def read_examples(recipe: LanguageRecipe, store: FrameStore, out: Path) -> ExampleSets:
    """The examples of the recipe's records. The first process compares the files with those that ``out`` began with.

    Raises:
        TrainError: the records give no example, a video is missing or, in a run that goes on, another one.
    """
    records = load_records(recipe.data.records, root=recipe.data.root)
    train = _readable(make_examples(records, split=recipe.data.train_split, answers=recipe.data.answers), recipe, store)
    if recipe.second_look.share:
        looked = with_second_looks(train.examples, recipe.second_look, seed=recipe.seed)
        train = Examples(looked, train.left_out)
    held_out: tuple[Example, ...] = ()
    if recipe.eval.videos:
        held_out = _readable(make_examples(records, split=recipe.data.eval_split), recipe, store).examples
        held_out = _spread(held_out, recipe.eval.videos)
    for label, count in lopsided(train.examples).items() if "length" in recipe.data.balance else ():
        logger.warning("%d %s examples are of lengths that no other label has: there, length tells", count, label)
    if "label" in recipe.data.balance:
        warn_of_one_label(train.examples)
    if int(os.environ.get("RANK", "0")) == 0:
        check_files([*train.examples, *held_out], out)
    logger.info("%d examples to train on, %d to measure with", len(train.examples), len(held_out))
    return ExampleSets(train, held_out)


def warn_of_one_label(examples: Sequence[Example]) -> None:
    """Log a warning where all examples have the same label."""
    labels = sorted({str(example.record.label) for example in examples})
    if len(labels) == 1:
        logger.warning(
            "all %d examples are %s: data.balance names the label, and half fake, half real cannot be kept. "
            "A model learns from this to say %s of everything",
            len(examples),
            labels[0],
            labels[0].upper(),
        )


def _spread(examples: Sequence[Example], count: int) -> tuple[Example, ...]:
    """At most so many, evenly spread over those there are."""
    if len(examples) <= count:
        return tuple(examples)
    return tuple(examples[i * len(examples) // count] for i in range(count))


def _readable(examples: Examples, recipe: LanguageRecipe, store: FrameStore) -> Examples:
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
    readable = tuple(example for example, reason in zip(examples.examples, reasons, strict=True) if reason is None)
    left_out = dict(examples.left_out)
    for example, reason in zip(examples.examples, reasons, strict=True):
        if reason is not None:
            logger.warning("left out: video %r: %s", example.record.video_id, reason)
            left_out["cannot be read"] = left_out.get("cannot be read", 0) + 1
    if not readable:
        raise TrainError("none of the videos can be read")
    return Examples(readable, left_out)


def _unreadable(store: FrameStore, example: Example) -> str | None:
    try:
        store.frames(example.path)
    except VideoError as error:
        return str(error)
    except FileError:
        raise
    return None
