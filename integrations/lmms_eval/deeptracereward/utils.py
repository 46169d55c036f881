"""The lmms-eval task: our question, our answer format, our metrics. Values in [0, 1]; see `deeptrace.bench.harness`."""

from __future__ import annotations

from typing import Any

from deeptrace.bench import harness


def doc_to_visual(doc: dict[str, Any]) -> list[str]:
    """The video's path: the model's own adapter samples it."""
    return [doc["video"]]


def doc_to_text(doc: dict[str, Any], lmms_eval_specific_kwargs: dict[str, Any] | None = None) -> str:
    """The question as it was written down, between what a model's settings put around it."""
    around = lmms_eval_specific_kwargs or {}
    return f"{around.get('pre_prompt', '')}{doc['question']}{around.get('post_prompt', '')}"


def process_results(doc: dict[str, Any], results: list[str]) -> dict[str, dict[str, Any]]:
    """Every metric that this video has a say in, with the weight and the cluster that aggregation needs."""
    found = harness.worth(harness.record_of(doc), results[0], doc["format"])
    return {
        f"dtr_{name}": {"video_id": doc["video_id"], "score": worth.value, "weight": worth.weight}
        for name, worth in found.items()
    }


def mean(items: list[dict[str, Any]]) -> float:
    """The mean as the paper takes it: over annotation rows where a metric is one of rows. NaN of nothing."""
    value = harness.mean(harness.Worth(item["score"], item["weight"]) for item in items)
    return float("nan") if value is None else value
