"""Every metric of a run, for the data as it is and for every bootstrap replicate. Runs in, arrays ``(1 + B,)`` out."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from deeptrace.bench.dataset import Dataset
from deeptrace.bench.result import Protocol
from deeptrace.bench.run_table import Floats, Run
from deeptrace.bench.statistics import Draws, replicate_sums
from deeptrace.bench.totals import RANKED, Metrics, fair, paper, probability
from deeptrace.probabilities import tpr_at_fpr, weighted_auroc

_BLOCK: Final = 100


@dataclass(frozen=True)
class Measured:
    """A run with every metric of every replicate, ``(1 + B,)`` each."""

    run: Run
    paper: Metrics
    fair: Metrics

    def of(self, protocol: Protocol) -> Metrics:
        """The metrics of one protocol."""
        return self.paper if protocol == "paper" else self.fair


@dataclass(frozen=True)
class Setting:
    """What all runs share."""

    dataset: Dataset
    draws: Draws
    clusters: Sequence[Hashable]
    permutations: int
    seed: int

    def measure(self, run: Run) -> Measured:
        """Every metric of a run, for every replicate."""
        sums = replicate_sums(run.rows, self.draws)
        return Measured(run, metrics_of(run, "paper")(sums), metrics_of(run, "fair")(sums) | self._ranked(run))

    def _ranked(self, run: Run) -> Metrics:
        """AUROC and hits at few false alarms; NaN where the model gives no probability."""
        if not run.gives_p:
            return {name: np.full(1 + len(self.draws), np.nan) for name in RANKED}
        found: dict[str, list[Floats]] = {name: [] for name in RANKED}
        fake = self.dataset.is_fake
        for at in range(0, 1 + len(self.draws), _BLOCK):
            weights = self.draws.weights[at : at + _BLOCK].astype(np.float64)
            found["auroc"].append(weighted_auroc(run.p, fake, weights))
            found["tpr_at_1_fpr"].append(tpr_at_fpr(run.p, fake, weights, fpr=0.01))
            found["tpr_at_10_fpr"].append(tpr_at_fpr(run.p, fake, weights, fpr=0.1))
        return {name: np.concatenate(values) for name, values in found.items()}


def metrics_of(run: Run, protocol: Protocol) -> Callable[[Floats], Metrics]:
    """A run's metrics as a function of sums: of what it was asked for, judged or not, with probabilities or not."""

    def of_fair(sums: Floats) -> Metrics:
        extra = probability(sums)
        if not run.gives_p:
            extra = {name: np.full_like(values, np.nan) for name, values in extra.items()}
        return fair(sums, fields=run.fields, judged=run.judged) | extra

    return of_fair if protocol == "fair" else lambda sums: paper(sums, judged=run.judged)
