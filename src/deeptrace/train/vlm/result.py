"""What a finished run leaves: a checkpoint that `load("hf:...")` takes, with a card for programs and one for people."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from deeptrace.answer import FORMAT_VERSIONS
from deeptrace.files import dumps, write_text
from deeptrace.models.hf.checkpoint import CheckpointCard, write_card
from deeptrace.models.hf.families import Family
from deeptrace.provenance import git_commit, versions
from deeptrace.train.vlm.dataset import Asking
from deeptrace.train.vlm.examples import Example
from deeptrace.train.vlm.licences import strictest
from deeptrace.train.vlm.tables import LicenceTable

logger = logging.getLogger(__name__)

ADAPTER: Final = "adapter"
METRICS_NAME: Final = "metrics.json"


@dataclass(frozen=True)
class Provenance:
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


def card_of(provenance: Provenance, metrics: Mapping[str, Any] | None = None) -> CheckpointCard:
    """The card for programs: how this checkpoint is to be asked, and how it came to be."""
    licence, kind = provenance.licence
    return CheckpointCard(
        format=provenance.asking.format,
        format_version=FORMAT_VERSIONS[provenance.asking.format],
        question=provenance.question,
        space=provenance.asking.space,
        sampling=provenance.family.sampling,
        size=provenance.family.size,
        system_prompt=provenance.family.system_prompt,
        extra={
            "trained": provenance.kind,
            "base": provenance.base,
            "recipe": provenance.recipe,
            "question_sha256": hashlib.sha256(provenance.question.encode()).hexdigest(),
            "records": provenance.records,
            "data": dict(provenance.counts),
            "left_out": dict(provenance.left_out),
            "licences": {
                "weights": provenance.licences.weights,
                "annotations": provenance.licences.annotations,
                "videos": provenance.licences.videos,
                "strictest": licence,
                "kind": kind,
            },
            "metrics": dict(metrics or {}),
            "versions": versions(),
            "git_commit": git_commit(),
        },
    )


def write_cards(folder: Path, provenance: Provenance, metrics: Mapping[str, Any] | None = None) -> None:
    """``deeptrace.json``, a model card and the processor, beside weights."""
    provenance.family.processor.save_pretrained(folder)
    write_card(folder, card_of(provenance, metrics))
    write_text(folder / "README.md", model_card(provenance, metrics or {}))
    if metrics:
        write_text(folder / METRICS_NAME, dumps(dict(metrics), indent=1) + "\n")


def model_card(provenance: Provenance, metrics: Mapping[str, Any]) -> str:
    """The card for people, in Markdown."""
    licence, kind = provenance.licence
    data, asking = provenance.counts, provenance.asking
    labels = ", ".join(f"{count} {label}" for label, count in data.get("labels", {}).items())
    sources = ", ".join(f"{source} {count}" for source, count in data.get("sources", {}).items())
    left_out = "".join(f"\n- left out: {count} x {reason}" for reason, count in provenance.left_out.items())
    sampling = provenance.family.sampling
    table = (
        "\n".join(f"| {name} | {_format_value(value)} |" for name, value in metrics.items()) or "| none measured | |"
    )
    return f"""---
library_name: transformers
pipeline_tag: video-text-to-text
tags: [deeptrace, ai-generated-video-detection]
license: other
license_name: {licence}
---

# Where, when and why a video looks fake

A {provenance.family.name} model, trained by [deeptrace](https://arxiv.org/abs/2509.22646) ({provenance.kind}) from
`{Path(provenance.base).name}`. Ask it as it was trained: `deeptrace inspect --model hf:<this folder> clip.mp4` reads
`deeptrace.json` and does.

**Licence: {licence}** ({kind}), the strictest of: base weights {provenance.licences.weights}; annotations
{provenance.licences.annotations}; videos {provenance.licences.videos}.

## Data
- {data.get("examples")} examples of {data.get("videos")} videos from `{Path(provenance.records).name}`: {labels}
- by source: {sources}{left_out}

## What it is asked
- format `{asking.format}` {FORMAT_VERSIONS[asking.format]}, coordinates: {asking.space}
- frames: {sampling.fps:g} a second, at most {sampling.max_frames or "all"}
- question: {provenance.question}

## Measured on the eval split
| | |
|---|---|
{table}

Shares in [0, 1]; `answer_loss` in nats a token. `blind_...` is what an answer gets that looks at nothing, fitted on the
training records.

## Recipe
```toml
{provenance.recipe.strip()}
```
"""


def _format_value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
