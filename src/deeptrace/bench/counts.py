"""The denominators: what each metric is a mean over, and how many videos and rows are behind it."""

from __future__ import annotations

from deeptrace.bench.run_table import Floats, Run
from deeptrace.bench.totals import PLACE, RANKED
from deeptrace.categories import CATEGORIES
from deeptrace.metrics import STATUSES
from deeptrace.probabilities import BINS


def _sum(total: Floats, *names: str) -> int:
    return round(sum(float(total[PLACE[name]]) for name in names))


def paper_n(total: Floats) -> dict[str, int]:
    """What each of the paper's metrics is a mean over."""
    rows, boxes = _sum(total, "rows"), _sum(total, "box_rows")
    everything = _sum(total, "rows", "real_videos")
    return {
        "overall": everything,
        "accuracy": everything,
        "fake_accuracy": rows,
        "real_accuracy": _sum(total, "real_videos"),
        "explanation": _sum(total, "graded_rows"),
        "bbox_iou": boxes,
        "bbox_distance": boxes,
        "time_distance": _sum(total, "time_rows"),
        "overall_without_judge": everything,
    }


def fair_n(total: Floats) -> dict[str, int]:
    """What each of the fair metrics is a mean over."""
    videos, fakes, reals = (
        _sum(total, "fake_videos", "real_videos"),
        _sum(total, "fake_videos"),
        _sum(total, "real_videos"),
    )
    boxes, boxes_said = _sum(total, "box_videos"), _sum(total, "box_videos_said")
    mentions, said, of_pairs = (
        _sum(total, *(f"{kind}_{i}" for kind in kinds for i in range(len(CATEGORIES))))
        for kinds in (("hit", "missed"), ("hit", "missed_said"), ("pair_hit", "pair_missed"))
    )
    return {
        "fair_overall": fakes,
        "fair_overall_without_judge": fakes,
        "accuracy": videos,
        "fake_accuracy": fakes,
        "real_accuracy": reals,
        "balanced_accuracy": videos,
        "false_alarms": reals,
        "claims_per_real_video": reals,
        "viou_f1": boxes,
        "viou_f1_if_fake": boxes_said,
        "viou_recall": boxes,
        "viou_recall_if_fake": boxes_said,
        "viou_precision": _sum(total, "claiming"),
        "viou_precision_with_real": _sum(total, "claims", "real_claims"),
        "viou_of_pairs": _sum(total, "pairs"),
        "pairs_per_trace": _sum(total, "truths"),
        "pairs_per_trace_if_fake": _sum(total, "truths_said"),
        "onset_error": _sum(total, "onset_pairs"),
        "onset_error_seconds": _sum(total, "onset_pairs"),
        "tiou": _sum(total, "tiou_pairs"),
        "category_f1": mentions,
        "category_f1_if_fake": said,
        "category_f1_of_pairs": of_pairs,
        "explanation": _sum(total, "graded_videos"),
        "explanation_if_fake": _sum(total, "graded_videos_said"),
        **dict.fromkeys(("brier", "calibration_error", *RANKED), videos),
    }


def count(run: Run, total: Floats) -> dict[str, int]:
    """Videos by status and label, annotation rows, written and graded explanations, answers that were left aside."""
    counts = {
        "videos": _sum(total, "fake_videos", "real_videos"),
        "fake_videos": _sum(total, "fake_videos"),
        "real_videos": _sum(total, "real_videos"),
        "annotation_rows": _sum(total, "rows"),
    }
    for status in STATUSES:
        counts[status] = _sum(total, f"fake_{status}", f"real_{status}")
        counts |= {f"{status}_{label}": _sum(total, f"{label}_{status}") for label in ("fake", "real")}
    explained, graded = _sum(total, "explained_rows"), _sum(total, "graded_rows")
    return counts | {
        "explained_rows": explained,
        "graded_rows": graded,
        "ungraded_rows": explained - graded,
        "with_p": _sum(total, "with_p"),
        "answers_on_other_splits": run.elsewhere,
        "answers_on_unknown_videos": run.unknown,
    }


def reliability(total: Floats) -> tuple[dict[str, float | None], ...]:
    """By bin of p_fake: its bounds, how many videos, their mean p_fake, and how many of them are fake, as a share."""
    rows: list[dict[str, float | None]] = []
    for i in range(BINS):
        n, p, fake = (float(total[PLACE[f"{name}_{i}"]]) for name in ("bin", "bin_p", "bin_fake"))
        mean, share = (p / n, fake / n) if n else (None, None)
        rows.append({"low": i / BINS, "high": (i + 1) / BINS, "n": n, "mean_p": mean, "share_fake": share})
    return tuple(rows)
