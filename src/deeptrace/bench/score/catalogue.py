"""Every metric of a table, once: its title, the sums it is a ratio of, the field it needs, which way is better.

`deeptrace.bench.score.totals` computes from it, `counts` takes the denominators, `tables` the titles, `harness` and
the docs the names. A metric that is no ratio of sums has no numerator here and a formula in `totals`. A new metric is
a line here, and a line in ``docs/scoring.md`` (a test compares the two).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from deeptrace.answer import Field

Protocol = Literal["paper", "fair"]
Unit = Literal["share", "seconds", "count"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. ``numerator`` and ``denominator`` name columns of `totals.COLUMNS`, which are added up.

    ``name_*`` stands for the columns of all nine categories. The denominators are what the metric is a mean over, so
    they are its ``n`` too. ``needs``: fields without which a question cannot earn it; it is then a mean of nothing.
    ``unit`` "share": within [0, 1]. ``only_with``: a column that must not be 0, where the denominator alone would make
    a number of nothing.
    """

    name: str
    title: str
    numerator: tuple[str, ...]
    denominator: tuple[str, ...]
    needs: tuple[Field, ...] = ()
    lower_is_better: bool = False
    unit: Unit = "share"
    only_with: str | None = None

    @property
    def head(self) -> str:
        """The title as the head of a column: an arrow where lower is better."""
        return f"{self.title} ↓" if self.lower_is_better else self.title


_VIDEOS: Final = ("fake_videos", "real_videos")
_ROWS: Final = ("rows", "real_videos")

PAPER: Final[tuple[Metric, ...]] = (
    Metric("overall", "Overall", (), _ROWS),
    Metric("accuracy", "Acc.", ("rows_right", "real_right"), _ROWS),
    Metric("fake_accuracy", "Fake", ("rows_right",), ("rows",)),
    Metric("real_accuracy", "Real", ("real_right",), ("real_videos",)),
    Metric("explanation", "Expl.", ("grade",), ("graded_rows",)),
    Metric("bbox_iou", "IoU", ("iou",), ("box_rows",)),
    Metric("bbox_distance", "Box dist.", ("distance",), ("box_rows",), lower_is_better=True),
    Metric("time_distance", "Time dist.", ("time",), ("time_rows",), lower_is_better=True),
    Metric("overall_without_judge", "Overall without judge", (), _ROWS),
)
"""The paper's metrics, in its order; all but the last are columns of its tables."""

# Whatever is claimed of a real video counts against a model: its denominator grows, or a category was wrong.
FAIR: Final[tuple[Metric, ...]] = (
    Metric("fair_overall", "Fair overall", (), _VIDEOS),
    Metric("fair_overall_without_judge", "Fair overall without judge", (), _VIDEOS),
    Metric("accuracy", "Acc.", ("fake_right", "real_right"), _VIDEOS),
    Metric("fake_accuracy", "Fake acc.", ("fake_right",), ("fake_videos",)),
    Metric("real_accuracy", "Real acc.", ("real_right",), ("real_videos",)),
    Metric("balanced_accuracy", "Balanced acc.", (), _VIDEOS),
    Metric("informedness", "Informedness", (), _VIDEOS),
    Metric("false_alarms", "False alarms", ("real_called_fake",), ("real_videos",), lower_is_better=True),
    Metric("claims_per_real_video", "Claims a real video", ("real_claims",), ("real_videos",), lower_is_better=True,
           unit="count"),
    Metric("viou_f1", "vIoU-F1", ("f1",), ("box_videos", "real_claiming"), ("box",), only_with="box_videos"),
    Metric("viou_f1_if_fake", "vIoU-F1 if FAKE", ("f1",), ("box_videos_if_fake",), ("box",)),
    Metric("viou_recall", "Recall", ("recall",), ("box_videos",), ("box",)),
    Metric("viou_recall_if_fake", "Recall if FAKE", ("recall",), ("box_videos_if_fake",), ("box",)),
    Metric("viou_precision", "Precision ≥", ("precision",), ("claiming",), ("box",)),
    Metric("viou_precision_with_real", "Precision, real too", ("viou",), ("claims", "real_claims"), ("box",)),
    Metric("viou_of_pairs", "vIoU of pairs", ("viou",), ("pairs",), ("box",)),
    Metric("whole_frame_share", "Whole frame", ("whole_frames",), ("boxes",), ("box",), lower_is_better=True),
    Metric("pairs_per_trace", "Pairs a trace", ("pairs",), ("truths",)),
    Metric("pairs_per_trace_if_fake", "Pairs a trace if FAKE", ("pairs",), ("truths_if_fake",)),
    Metric("onset_error", "Onset", ("onset_error",), ("onset_pairs",), ("onset",), lower_is_better=True),
    Metric("onset_error_seconds", "Onset s", ("onset_error_seconds",), ("onset_pairs",), ("onset",),
           lower_is_better=True, unit="seconds"),
    Metric("tiou", "tIoU", ("tiou",), ("tiou_pairs",), ("onset", "offset")),
    Metric("category_f1", "Category F1", (), ("hit_*", "missed_*"), ("category",)),
    Metric("category_f1_if_fake", "Category F1 if FAKE", (), ("hit_*", "missed_if_fake_*"), ("category",)),
    Metric("category_f1_of_pairs", "Category F1 of pairs", (), ("pair_hit_*", "pair_missed_*"), ("category",)),
    Metric("explanation", "Expl.", ("video_grade",), ("graded_videos", "real_explained"), ("explanation",),
           only_with="graded_videos"),
    Metric("explanation_if_fake", "Expl. if FAKE", ("video_grade_if_fake",), ("graded_videos_if_fake",),
           ("explanation",)),
)  # fmt: skip
"""The fair protocol's metrics that are made of sums."""

PROBABILITY: Final[tuple[Metric, ...]] = (
    Metric("brier", "Brier", ("squared_error",), _VIDEOS, lower_is_better=True),
    Metric("calibration_error", "ECE", (), _VIDEOS, lower_is_better=True),
    Metric("auroc", "AUROC", (), _VIDEOS),
    Metric("tpr_at_1_fpr", "TPR at 1% FPR", (), _VIDEOS),
    Metric("tpr_at_10_fpr", "TPR at 10% FPR", (), _VIDEOS),
)
"""Of models that give probabilities; they stand among the fair ones."""

RANKED: Final = ("auroc", "tpr_at_1_fpr", "tpr_at_10_fpr")
"""Metrics of the fair protocol that are no sums: see `deeptrace.bench.score.measure`."""

METRICS: Final[Mapping[Protocol, Mapping[str, Metric]]] = {
    "paper": {metric.name: metric for metric in PAPER},
    "fair": {metric.name: metric for metric in (*FAIR, *PROBABILITY)},
}
"""All of them, by protocol and name."""

PAPER_KEYS: Final = tuple(metric.name for metric in PAPER if metric.name != "overall_without_judge")
"""The columns of the paper's tables, in its order; on 0-100 there, in [0, 1] here."""

LOWER_IS_BETTER: Final = frozenset(metric.name for metric in (*PAPER, *FAIR, *PROBABILITY) if metric.lower_is_better)
