"""What a finished run leaves: a checkpoint that `load("hf:...")` takes, with a card for programs and one for people."""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from deeptrace import __version__
from deeptrace.answer import FORMAT_VERSIONS
from deeptrace.files import dumps, write_text
from deeptrace.models._families import Family
from deeptrace.models.checkpoint import CheckpointCard, write_card
from deeptrace.train.dataset import Asking
from deeptrace.train.examples import Example
from deeptrace.train.licences import strictest
from deeptrace.train.tables import LicenceTable

logger = logging.getLogger(__name__)

ADAPTER: Final = "adapter"
METRICS_NAME: Final = "metrics.json"
_PACKAGES: Final = ("torch", "transformers", "peft", "accelerate", "numpy", "av")


@dataclass(frozen=True)
class Made:
    """What there is to say of a checkpoint. ``counts`` are of training examples; ``metrics`` of the eval split."""

    kind: str
    base: str
    recipe: str  # the resolved recipe, as TOML
    asking: Asking
    question: str
    family: Family
    licences: LicenceTable
    records: str
    counts: Mapping[str, Any]
    left_out: Mapping[str, int]

    @property
    def licence(self) -> tuple[str, str]:
        """The strictest of the licences, and its kind."""
        return strictest((self.licences.weights, self.licences.annotations, self.licences.videos))


def counts_of(examples: Sequence[Example]) -> dict[str, Any]:
    """Examples by label and by source, and unique videos."""
    return {
        "examples": len(examples),
        "videos": len({example.record.video_id for example in examples}),
        "labels": dict(Counter(str(example.record.label) for example in examples)),
        "sources": dict(Counter(str(example.record.source) for example in examples).most_common()),
    }


def card_of(made: Made, metrics: Mapping[str, Any] | None = None) -> CheckpointCard:
    """The card for programs: how this checkpoint is to be asked, and how it came to be."""
    licence, kind = made.licence
    return CheckpointCard(
        format=made.asking.format,
        format_version=FORMAT_VERSIONS[made.asking.format],
        question=made.question,
        space=made.asking.space,
        sampling=made.family.sampling,
        size=made.family.size,
        system_prompt=made.family.system_prompt,
        extra={
            "trained": made.kind,
            "base": made.base,
            "recipe": made.recipe,
            "question_sha256": hashlib.sha256(made.question.encode()).hexdigest(),
            "records": made.records,
            "data": dict(made.counts),
            "left_out": dict(made.left_out),
            "licences": {
                "weights": made.licences.weights,
                "annotations": made.licences.annotations,
                "videos": made.licences.videos,
                "strictest": licence,
                "kind": kind,
            },
            "metrics": dict(metrics or {}),
            "versions": versions(),
            "git_commit": git_commit(),
        },
    )


def write_cards(folder: Path, made: Made, metrics: Mapping[str, Any] | None = None) -> None:
    """``deeptrace.json``, a model card and the processor, beside weights."""
    made.family.processor.save_pretrained(folder)
    write_card(folder, card_of(made, metrics))
    write_text(folder / "README.md", model_card(made, metrics or {}))
    if metrics:
        write_text(folder / METRICS_NAME, dumps(dict(metrics), indent=1) + "\n")


def versions() -> dict[str, str]:
    """Versions of what has a part in the result."""
    found = {"deeptrace": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def git_commit() -> str | None:
    """The commit of the source tree that runs, where it is one; None otherwise."""
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=os.path.dirname(__file__),
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def model_card(made: Made, metrics: Mapping[str, Any]) -> str:
    """The card for people, in Markdown."""
    licence, kind = made.licence
    data = made.counts
    labels = ", ".join(f"{count} {label}" for label, count in data.get("labels", {}).items())
    sources = ", ".join(f"{source} {count}" for source, count in data.get("sources", {}).items())
    left_out = "".join(f"\n- left out: {count} x {reason}" for reason, count in made.left_out.items())
    sampling = made.family.sampling
    table = "\n".join(f"| {name} | {_shown(value)} |" for name, value in metrics.items()) or "| none measured | |"
    return f"""---
library_name: transformers
pipeline_tag: video-text-to-text
tags: [deeptrace, ai-generated-video-detection]
license: other
license_name: {licence}
---

# Where, when and why a video looks fake

A {made.family.name} model, trained by [deeptrace](https://arxiv.org/abs/2509.22646) ({made.kind}) from
`{Path(made.base).name}`. Ask it as it was trained: `deeptrace inspect --model hf:<this folder> clip.mp4` reads
`deeptrace.json` and does.

**Licence: {licence}** ({kind}), the strictest of: base weights {made.licences.weights}; annotations
{made.licences.annotations}; videos {made.licences.videos}.

## Data
- {data.get("examples")} examples of {data.get("videos")} videos from `{Path(made.records).name}`: {labels}
- by source: {sources}{left_out}

## What it is asked
- format `{made.asking.format}` {FORMAT_VERSIONS[made.asking.format]}, coordinates: {made.asking.space}
- frames: {sampling.fps:g} a second, at most {sampling.max_frames or "all"}
- question: {made.question}

## Measured on the eval split
| | |
|---|---|
{table}

Shares in [0, 1]; `answer_loss` in nats a token. `blind_...` is what an answer gets that looks at nothing, fitted on the
training records.

## Recipe
```toml
{made.recipe.strip()}
```
"""


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
