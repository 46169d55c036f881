"""The denominators: what each metric is a mean over, and how many videos and rows are behind it."""

from __future__ import annotations

from deeptrace.bench.score.catalogue import METRICS, Protocol
from deeptrace.bench.score.run_table import Floats, RunTable
from deeptrace.bench.score.totals import PLACE, columns_of
from deeptrace.measures.probabilities import BINS
from deeptrace.measures.video import STATUSES


def _sum(total: Floats, *names: str) -> int:
    return round(sum(float(total[PLACE[name]]) for name in names))


def denominators(total: Floats, protocol: Protocol) -> dict[str, int]:
    """What each metric of a protocol is a mean over: counts, from ``total`` ``(K,)``, the sums of `COLUMNS`."""
    return {name: _sum(total, *columns_of(metric)) for name, metric in METRICS[protocol].items()}


def count(run: RunTable, total: Floats) -> dict[str, int]:
    """Videos by status and label, annotation rows, written and graded explanations, answers that were left aside.

    ``total`` ``(K,)`` are the run's sums of `COLUMNS`.
    """
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
        "stale_grades": run.stale_grades,
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
