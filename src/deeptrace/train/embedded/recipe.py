"""What a run of the embedded model's training is made of: one frozen record, read from TOML."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class EmbeddedRecipe:
    """Footage, schedule and sizes of one stage of training.

    ``footage`` is a folder with ``manifest.jsonl``; clips of the sources in ``held_out`` are never seen. Each step takes
    ``pairs`` pairs, ``fresh`` of them new; older ones come from the last ``ring``. Up to step ``whole_from`` training
    looks at crops of ``crop`` cells (8 pixels) around the trace, then at whole frames.
    """

    footage: str
    run: str
    cache: str
    backbone: str
    held_out: tuple[str, ...] = ()
    start_from: str | None = None
    seed: int = 1
    steps: int = 4000
    pairs: int = 8
    fresh: int = 4
    ring: int = 2400
    ahead: int = 96
    makers: int = 1
    threads: int = 1
    width: int = 96
    scene_share: float = 0.0
    cutouts: str | None = None
    learning_rate: float = 1.5e-3
    warmup: int = 100
    weight_decay: float = 0.02
    average: float = 0.998
    crop: tuple[int, int] | None = (12, 20)
    whole_from: int = 3000
    save_every: int = 100
    bfloat16: bool = True

    def learning_rate_at(self, step: int) -> float:
        """Warm-up, then a cosine down to a twentieth of the rate at the last step."""
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        done = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.learning_rate * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))
