"""Every metric, option and count of the scores is described."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np

from deeptrace.answer import FIELDS
from deeptrace.bench.score.blind_rows import CONSTANT
from deeptrace.bench.score.groups import group
from deeptrace.bench.score.totals import COLUMNS, RANKED, fair, paper, probability
from deeptrace.cli import cli
from deeptrace.measures.video import STATUSES

from .world import dataset

PAGE = (Path(__file__).parents[2] / "docs" / "scoring.md").read_text()


def test_every_metric_is_described() -> None:
    nothing = np.zeros(len(COLUMNS))
    metrics = [*paper(nothing, judged=False), *fair(nothing, fields=frozenset(FIELDS), judged=False), *RANKED]
    metrics += [*probability(nothing), "bleu", "rouge_l", "chrf", "embedding_similarity"]
    assert [name for name in metrics if f"`{name}`" not in PAGE] == []


def test_every_row_status_and_group_is_described() -> None:
    words = [*CONSTANT, "blind", *STATUSES, *group(dataset())]
    assert [word for word in words if f"`{word}`" not in PAGE] == []


def test_every_option_is_described() -> None:
    bench = cli.commands["bench"]
    assert isinstance(bench, click.Group)
    for name in ("score", "calibrate"):
        options = [option.opts[0] for option in bench.commands[name].params if isinstance(option, click.Option)]
        assert [option for option in options if f"{option}" not in PAGE] == []
