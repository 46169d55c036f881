"""Sums over videos, and every metric of a table as a function of sums.

A `VideoScore` becomes a row of numbers (`row_of`); rows are summed, as they are or with the weights of a bootstrap, and
`paper` and `fair` turn sums ``(..., K)`` into metrics ``(...)``. So an interval, a test or a group costs a matrix
product, and every number of a table has one definition. NaN: a mean of nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from deeptrace.answer import FIELDS, Field
from deeptrace.bench.score.catalogue import FAIR, LOWER_IS_BETTER, METRICS, PAPER, PAPER_KEYS, RANKED, Metric
from deeptrace.categories import CATEGORIES
from deeptrace.measures.probabilities import BINS, bin_of, calibration_error
from deeptrace.measures.video import STATUSES, Fields, VideoScore

__all__ = [
    "BY_CATEGORY",
    "COLUMNS",
    "FAIR_NAME",
    "FAIR_VERSION",
    "LOWER_IS_BETTER",
    "OVERALL_PARTS",
    "PAPER_KEYS",
    "PAPER_OVERALL_FIELDS",
    "PLACE",
    "RANKED",
    "Metrics",
    "category_tallies",
    "columns_of",
    "f1_of_categories",
    "fair",
    "macro_f1",
    "overall_fields",
    "paper",
    "paper_overall_fields",
    "probability",
    "row_of",
    "worst_p",
]

Floats = npt.NDArray[np.float64]
Metrics: TypeAlias = dict[str, Floats]

FAIR_NAME: Final = "deeptrace-fair"
FAIR_VERSION: Final = 2
"""Raised when `fair_overall` or one of its parts is defined anew. 2: what is claimed of real videos costs."""

_KINDS: Final = ("hit", "missed", "wrong")

COLUMNS: Final[tuple[str, ...]] = (
    *(f"{label}_{what}" for label in ("fake", "real") for what in ("videos", "right", *STATUSES)),
    # The paper: annotation rows of fake videos.
    *("rows", "rows_right", "box_rows", "iou", "distance", "time_rows", "time"),
    *("explained_rows", "graded_rows", "grade"),
    # All traces of fake videos; "_if_fake": of videos whose answer is FAKE.
    *("box_videos", "box_videos_if_fake", "truths", "truths_if_fake"),
    *("claims", "claiming", "f1", "recall", "precision"),
    *("pairs", "viou", "onset_pairs", "onset_error", "onset_error_seconds", "tiou_pairs", "tiou"),
    *("graded_videos", "graded_videos_if_fake", "video_grade", "video_grade_if_fake", "ungraded_videos"),
    *("filled_onset", "filled_offset"),
    *(f"{kind}_{i}" for kind in (*_KINDS, "missed_if_fake") for i in range(len(CATEGORIES))),
    *(f"pair_{kind}_{i}" for kind in _KINDS for i in range(len(CATEGORIES))),
    # Real videos: answers FAKE, traces claimed, videos with one, with an explained one; "real_wrong": by category.
    *("real_called_fake", "real_claims", "real_claiming", "real_explained"),
    *(f"real_wrong_{i}" for i in range(len(CATEGORIES))),
    # Claimed boxes of all videos, and those that are the whole frame.
    *("boxes", "whole_frames"),
    # Probabilities; a video without one counts as the worst one.
    *("with_p", "squared_error"),
    *(f"{what}_{i}" for what in ("bin", "bin_p", "bin_fake") for i in range(BINS)),
)  # fmt: skip
PLACE: Final[Mapping[str, int]] = {name: i for i, name in enumerate(COLUMNS)}


# ── one video ───────────────────────────────────────────────────────────────────────────────────────────────────────


def row_of(score: VideoScore) -> Floats:
    """The numbers of one video, ``(K,)`` in the order of `COLUMNS`."""
    row = np.zeros(len(COLUMNS))
    values: dict[str, float] = {
        f"{score.label}_videos": 1,
        f"{score.label}_right": score.verdict_label == score.label,
        f"{score.label}_{score.status}": 1,
    }
    p = worst_p(score)
    values["with_p"] = score.p_fake is not None
    values["squared_error"] = (p - (score.label == "fake")) ** 2
    place = int(bin_of(np.asarray(p)))
    values |= {f"bin_{place}": 1, f"bin_p_{place}": p, f"bin_fake_{place}": score.label == "fake"}
    values |= {"boxes": score.boxes, "whole_frames": score.whole_frames}
    if score.label == "real":
        _add_real(values, row, score)
    else:
        _add_rows(values, score)
        _add_traces(values, score)
        _add_categories(row, score)
    for name, value in values.items():
        row[PLACE[name]] = value
    return row


def _add_real(values: dict[str, float], row: Floats, score: VideoScore) -> None:
    values |= {"real_called_fake": score.verdict_label == "fake", "real_claims": score.claims}
    values |= {"real_claiming": score.claims > 0, "real_explained": score.explains}
    at = PLACE["real_wrong_0"]
    row[at : at + len(CATEGORIES)] = score.categories_wrong


def worst_p(score: VideoScore) -> float:
    """The probability of a video; where there is none, the one that is most wrong."""
    if score.p_fake is not None:
        return score.p_fake
    return 0.0 if score.label == "fake" else 1.0


def _add_rows(values: dict[str, float], score: VideoScore) -> None:
    values["rows"] = len(score.rows)
    values["rows_right"] = len(score.rows) * (score.verdict_label == "fake")
    for row in score.rows:
        if row.bbox_iou is not None and row.bbox_distance is not None:
            _add(values, box_rows=1, iou=row.bbox_iou, distance=row.bbox_distance)
        if row.time_distance is not None:
            _add(values, time_rows=1, time=row.time_distance)
        if row.explained:
            _add(values, explained_rows=1)
        if row.grade is not None:
            _add(values, graded_rows=1, grade=row.grade)


def _add(values: dict[str, float], **more: float) -> None:
    for name, value in more.items():
        values[name] = values.get(name, 0.0) + value


def _add_traces(values: dict[str, float], score: VideoScore) -> None:
    called_fake = float(score.verdict_label == "fake")
    for name in score.filled:
        values[f"filled_{name}"] = 1
    grades = [row.grade for row in score.rows if row.grade is not None]
    if grades:
        mean = sum(grades) / len(grades)
        _add(
            values,
            graded_videos=1,
            graded_videos_if_fake=called_fake,
            video_grade=mean,
            video_grade_if_fake=called_fake * mean,
        )
    elif any(row.explained for row in score.rows):
        values["ungraded_videos"] = 1
    if score.truths:
        total = score.viou_sum
        values |= {
            "box_videos": 1,
            "box_videos_if_fake": called_fake,
            "truths": score.truths,
            "truths_if_fake": called_fake * score.truths,
        }
        values |= {"claims": score.claims, "claiming": score.claims > 0, "pairs": len(score.pairs), "viou": total}
        values |= {"f1": score.viou_f1 or 0.0, "recall": total / score.truths}
        values["precision"] = total / score.claims if score.claims else 0.0
    for pair in score.pairs:
        if pair.onset_error_seconds is not None and score.length_seconds:
            error = pair.onset_error_seconds
            _add(values, onset_pairs=1, onset_error=error / score.length_seconds, onset_error_seconds=error)
        if pair.tiou is not None:
            _add(values, tiou_pairs=1, tiou=pair.tiou)


_CATEGORY_AT: Final = {
    name: PLACE[f"{name}_0"]
    for name in ("hit", "missed", "wrong", "missed_if_fake", "pair_hit", "pair_missed", "pair_wrong")
}


def _add_categories(row: Floats, score: VideoScore) -> None:
    tallies = {
        "hit": score.categories_hit,
        "missed": score.categories_missed,
        "wrong": score.categories_wrong,
        "pair_hit": score.pair_categories_hit,
        "pair_missed": score.pair_categories_missed,
        "pair_wrong": score.pair_categories_wrong,
    }
    if score.verdict_label == "fake":
        tallies["missed_if_fake"] = score.categories_missed
    for name, counts in tallies.items():
        if any(counts):
            at = _CATEGORY_AT[name]
            row[at : at + len(counts)] = counts


# ── metrics of sums ─────────────────────────────────────────────────────────────────────────────────────────────────


def _get(totals: Floats, name: str) -> Floats:
    return np.asarray(totals[..., PLACE[name]], np.float64)


def _block(totals: Floats, name: str, width: int) -> Floats:
    at = PLACE[f"{name}_0"]
    return np.asarray(totals[..., at : at + width], np.float64)


def _ratio(above: Floats, below: Floats) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(below > 0, above / below, np.nan), np.float64)


def _mean_grade(totals: Floats, mean: Floats, *, judged: bool) -> Floats:
    """The mean grade; where nobody judged it stands only if no answer needed a judge."""
    if judged:
        return mean
    open_rows = _get(totals, "explained_rows") - _get(totals, "graded_rows")
    return np.where(open_rows > 0, np.nan, mean)


def columns_of(metric: Metric) -> tuple[str, ...]:
    """The columns that a metric is a mean over, those of all categories written out."""
    return tuple(column for name in metric.denominator for column in _written_out(name))


def _written_out(name: str) -> tuple[str, ...]:
    return tuple(f"{name[:-1]}{i}" for i in range(len(CATEGORIES))) if name.endswith("_*") else (name,)


def _ratios(totals: Floats, metrics: Iterable[Metric]) -> Metrics:
    """Every metric that is a ratio of sums."""
    ratios: Metrics = {}
    for metric in metrics:
        if metric.numerator:
            above, below = (
                sum(_get(totals, name) for name in names) for names in (metric.numerator, columns_of(metric))
            )
            value = _ratio(np.asarray(above), np.asarray(below))
            if metric.only_with is not None:
                value = np.where(_get(totals, metric.only_with) > 0, value, np.nan)
            ratios[metric.name] = value
    return ratios


def paper(totals: Floats, *, judged: bool) -> Metrics:
    """The paper's metrics, in [0, 1]; multiply by 100 for its tables. ``judged``: a judge graded explanations.

    ``overall`` is (accuracy + explanation + IoU + (1 - time distance)) / 4, NaN without a judge's grades;
    ``overall_without_judge`` is the mean of the other three. By hand: 2 annotation rows of fakes found and 1 missed,
    1 real of 2 found: accuracy 3 / 5, although 2 of 4 videos could be right.
    """
    metrics = _ratios(totals, PAPER)
    metrics["explanation"] = _mean_grade(totals, metrics["explanation"], judged=judged)
    others = metrics["accuracy"] + metrics["bbox_iou"] + (1 - metrics["time_distance"])
    return {"overall": (others + metrics["explanation"]) / 4, **metrics, "overall_without_judge": others / 3}


def macro_f1(hit: Floats, missed: Floats, wrong: Floats) -> Floats:
    """Mean F1 over the categories that occur in the truth, from counts ``(..., 9)``.

    By hand: one category hit 2, missed 1, wrong 1 has F1 4 / 6; another missed once has 0; the mean is 1 / 3.
    """
    known = hit + missed > 0
    return _ratio(f1_of_categories(hit, missed, wrong).sum(-1), known.sum(-1).astype(float))


def f1_of_categories(hit: Floats, missed: Floats, wrong: Floats) -> Floats:
    """F1 of each category ``(..., 9)``; 0 where it does not occur in the truth."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(hit + missed > 0, 2 * hit / (2 * hit + missed + wrong), 0.0)


BY_CATEGORY: Final = ("category_f1", "category_f1_if_fake", "category_f1_of_pairs")
"""Means over the categories that occur in the truth."""


def category_tallies(totals: Floats, name: str) -> tuple[Floats, Floats, Floats]:
    """What hit, missed and was wrong, ``(..., 9)`` each, for a metric of `BY_CATEGORY`."""
    nine = len(CATEGORIES)
    if name == "category_f1_of_pairs":
        hit, missed, wrong = (_block(totals, f"pair_{kind}", nine) for kind in _KINDS)
        return hit, missed, wrong
    hit, missed, wrong = (_block(totals, kind, nine) for kind in _KINDS)
    if name == "category_f1_if_fake":
        return hit, _block(totals, "missed_if_fake", nine), wrong
    return hit, missed, wrong + _block(totals, "real_wrong", nine)


def fair(totals: Floats, *, fields: Fields, judged: bool) -> Metrics:
    """The fair protocol's metrics of sums; what the question did not ask for (``fields``) is NaN.

    Names ending in ``_if_fake`` are over the fake videos whose answer is FAKE; the others over all. Probabilities:
    a video without one counts as the worst one, so their denominator is all videos too.
    """
    metrics = _ratios(totals, FAIR)
    metrics["balanced_accuracy"] = (metrics["fake_accuracy"] + metrics["real_accuracy"]) / 2
    metrics["informedness"] = metrics["fake_accuracy"] + metrics["real_accuracy"] - 1
    for name in BY_CATEGORY:
        metrics[name] = macro_f1(*category_tallies(totals, name))
    for name in ("explanation", "explanation_if_fake"):
        metrics[name] = _mean_grade(totals, metrics[name], judged=judged)
    for metric in FAIR:
        if not fields.issuperset(metric.needs):
            metrics[metric.name] = np.full_like(metrics["accuracy"], np.nan)
    return _overalls(metrics, fields) | metrics


OVERALL_PARTS: Final[Mapping[Field, str]] = {"box": "viou_f1", "explanation": "explanation", "category": "category_f1"}
"""What `fair_overall` is made of, by the field that must have been asked for."""


PAPER_OVERALL_FIELDS: Final[tuple[Field, ...]] = ("box", "onset", "explanation")
"""What the paper's Overall is made of beside the label. It gives 0 or 100 for what a question does not ask for."""


def paper_overall_fields(fields: Fields) -> tuple[Field, ...]:
    """The fields that earn something in the paper's Overall; only rows of equal ones can be ranked."""
    return tuple(field for field in PAPER_OVERALL_FIELDS if field in fields)


def overall_fields(fields: Fields) -> tuple[Field, ...]:
    """The fields that are in `fair_overall`; only rows of equal ones can be ranked."""
    return tuple(field for field in FIELDS if field in OVERALL_PARTS and field in fields)


def _overalls(metrics: Metrics, fields: Fields) -> Metrics:
    """The mean of the parts, times the share of the answers FAKE that are not luck.

    A model that says FAKE of a share t of the fakes and f of the reals, and whose claims are right to a degree g, earns
    about g * t of a part. A coin that says FAKE as often finds f * t / t of the same fakes. What is left, g * (t - f),
    is the part times (t - f) / t, and t - f is the informedness: 0 for every constant answer, and scaled by 1 - q where
    a share q of the labels is changed without a look at the video. A fake that is missed costs as much as a real that
    is accused, however many of each there are. Never below 0. NaN without real videos: FAKE would be free.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        informed = np.maximum(metrics["informedness"], 0.0) / metrics["fake_accuracy"]
    informed = np.where(
        metrics["fake_accuracy"] == 0, np.where(np.isnan(metrics["informedness"]), np.nan, 0.0), informed
    )
    fields_earned = overall_fields(fields)
    overalls: Metrics = {}
    for name, parts in (
        ("fair_overall", fields_earned),
        ("fair_overall_without_judge", [field for field in fields_earned if field != "explanation"]),
    ):
        values = [metrics[OVERALL_PARTS[field]] for field in parts]
        overalls[name] = informed * np.mean(values, axis=0) if values else np.full_like(informed, np.nan)
    return overalls


def probability(totals: Floats) -> Metrics:
    """Brier score and calibration error of sums. See `deeptrace.measures.probabilities` for AUROC, which is no sum."""
    return {
        "brier": _ratios(totals, [METRICS["fair"]["brier"]])["brier"],
        "calibration_error": calibration_error(
            _block(totals, "bin", BINS), _block(totals, "bin_p", BINS), _block(totals, "bin_fake", BINS)
        ),
    }
