"""What a run of the embedded model's training is made of: one frozen record, read from TOML."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from deeptrace.schema import Count, NotNegative, Positive, Share, WholeNumber

GROUP: Final = 16
"""So many neighbouring pairs are of one size, and a step takes its new pairs from one group."""


@dataclass(frozen=True)
class EmbeddedRecipe:
    """Footage, schedule and sizes of one stage of training.

    ``footage`` is a folder of clips with a ``manifest.jsonl`` (path, class, source_repo, license, generator, sha256),
    or a dataset in the RewardData layout (then its own traces train, and nothing is injected). Clips of
    ``validation_sources`` fit calibration and thresholds, clips of ``test_sources`` are never looked at. Where sources
    are few, ``validation_clips`` names camera clips (their file's name without its ending) that join the former instead
    of training. With ``licenses`` only clips under one of these are read. ``cutouts`` is a folder of PNG files with
    alpha, the things in scenes; with ``""`` they are painted. Each step takes ``pairs`` pairs, ``fresh`` of them new;
    the others come from the last ``ring``. Up to step ``whole_from`` training looks at crops of ``crop_rows`` x
    ``crop_columns`` cells of 8 pixels around the trace, then at whole frames.
    At the end the category head is fitted, at most ``refit_epochs`` times over the last ``refit_pairs`` pairs.
    ``start_from`` is the checkpoint of an earlier stage, with its optimiser; give the next stage another ``seed``.
    """

    footage: str
    kind: Literal["embedded"] = "embedded"
    licenses: tuple[str, ...] = ()
    validation_sources: tuple[str, ...] = ()
    validation_clips: tuple[str, ...] = ()
    test_sources: tuple[str, ...] = ()
    cutouts: str | None = None
    scene_share: Share = 0.4
    start_from: str | None = None
    seed: WholeNumber = 1
    steps: Count = 1800
    pairs: Count = 6
    fresh: Count = 2
    ring: Count = 3000
    ahead: Count = 96
    makers: Count = 1
    threads: Count = 1
    width: Count = 96
    learning_rate: Positive = 1.3e-3
    warmup: WholeNumber = 100
    weight_decay: NotNegative = 0.02
    average: Share = 0.998
    crop_rows: Count = 12
    crop_columns: Count = 20
    whole_from: WholeNumber = 1450
    save_every: Count = 100
    validation_pairs: Count = 160
    refit_pairs: Count = 1500
    refit_epochs: Count = 60
    bfloat16: bool = True

    def problems(self) -> Iterable[str]:
        """What is wrong with the fields together."""
        if self.fresh > self.pairs:
            yield f"fresh: {self.fresh} new pairs do not fit into {self.pairs} a step"
        if GROUP % self.fresh:
            yield f"fresh: {self.fresh} does not divide {GROUP}, the pairs of one size"
        if self.width % 16:
            yield f"width: {self.width} is not a multiple of 16"
        if self.crop_rows % 2 or self.crop_columns % 2:
            yield "crop_rows, crop_columns: must be even"
        if self.ring < 64:
            yield f"ring: {self.ring} is less than 64"
        both = set(self.validation_sources) & set(self.test_sources)
        if both:
            yield f"test_sources: {', '.join(sorted(both))} are validation sources too"

    def learning_rate_at(self, step: int) -> float:
        """Warm-up, then a cosine down to a twentieth of the rate at the last step."""
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        done = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.learning_rate * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))
