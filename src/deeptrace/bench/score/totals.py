"""Sums over videos, and every metric of a table as a function of sums.

A `VideoScore` becomes a row of numbers (`row_of`); rows are summed, as they are or with the weights of a bootstrap, and
`paper` and `fair` turn sums ``(..., K)`` into metrics ``(...)``. So an interval, a test or a group costs a matrix
product, and every number of a table has one definition. NaN: a mean of nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from deeptrace.answer import FIELDS, Field
from deeptrace.categories import CATEGORIES
from deeptrace.metrics import STATUSES, Fields, VideoScore
from deeptrace.probabilities import BINS, bin_of, calibration_error

Floats = npt.NDArray[np.float64]
Metrics: TypeAlias = dict[str, Floats]

FAIR_VERSION: Final = 1
"""Raised when `fair_overall` or one of its parts is defined anew."""

PAPER_KEYS: Final = (
    "overall",
    "accuracy",
    "fake_accuracy",
    "real_accuracy",
    "explanation",
    "bbox_iou",
    "bbox_distance",
    "time_distance",
)
"""The columns of the paper's tables, in its order; on 0-100 there, in [0, 1] here."""

LOWER_IS_BETTER: Final = frozenset(
    {
        "bbox_distance",
        "time_distance",
        "onset_error",
        "onset_error_seconds",
        "claims_per_real_video",
        "false_alarms",
        "brier",
        "calibration_error",
    }
)

RANKED: Final = ("auroc", "tpr_at_1_fpr", "tpr_at_10_fpr")
"""Metrics of the fair protocol that are no sums: see `deeptrace.bench.measure`."""

_KINDS: Final = ("hit", "missed", "wrong")

COLUMNS: Final[tuple[str, ...]] = (
    *(f"{label}_{what}" for label in ("fake", "real") for what in ("videos", "right", *STATUSES)),
    # The paper: annotation rows of fake videos.
    *("rows", "rows_right", "box_rows", "iou", "distance", "time_rows", "time"),
    *("explained_rows", "graded_rows", "grade"),
    # All traces of fake videos; "_said": of videos whose answer is FAKE.
    *("box_videos", "box_videos_said", "truths", "truths_said", "claims", "claiming", "f1", "recall", "precision"),
    *("pairs", "viou", "onset_pairs", "onset_error", "onset_error_seconds", "tiou_pairs", "tiou"),
    *("graded_videos", "graded_videos_said", "video_grade", "video_grade_said", "ungraded_videos"),
    *("filled_onset", "filled_offset"),
    *(f"{kind}_{i}" for kind in (*_KINDS, "missed_said") for i in range(len(CATEGORIES))),
    *(f"pair_{kind}_{i}" for kind in _KINDS for i in range(len(CATEGORIES))),
    "real_claims",
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
        f"{score.label}_right": score.said == score.label,
        f"{score.label}_{score.status}": 1,
    }
    p = worst_p(score)
    values["with_p"] = score.p_fake is not None
    values["squared_error"] = (p - (score.label == "fake")) ** 2
    place = int(bin_of(np.asarray(p)))
    values |= {f"bin_{place}": 1, f"bin_p_{place}": p, f"bin_fake_{place}": score.label == "fake"}
    if score.label == "real":
        values["real_claims"] = score.claims
    else:
        _add_rows(values, score)
        _add_traces(values, score)
        _add_categories(row, score)
    for name, value in values.items():
        row[PLACE[name]] = value
    return row


def worst_p(score: VideoScore) -> float:
    """The probability of a video; where there is none, the one that is most wrong."""
    if score.p_fake is not None:
        return score.p_fake
    return 0.0 if score.label == "fake" else 1.0


def _add_rows(values: dict[str, float], score: VideoScore) -> None:
    values["rows"] = len(score.rows)
    values["rows_right"] = len(score.rows) * (score.said == "fake")
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
    said = float(score.said == "fake")
    for name in score.filled:
        values[f"filled_{name}"] = 1
    grades = [row.grade for row in score.rows if row.grade is not None]
    if grades:
        mean = sum(grades) / len(grades)
        _add(values, graded_videos=1, graded_videos_said=said, video_grade=mean, video_grade_said=said * mean)
    elif any(row.explained for row in score.rows):
        values["ungraded_videos"] = 1
    if score.truths:
        total = score.viou_sum
        values |= {"box_videos": 1, "box_videos_said": said, "truths": score.truths, "truths_said": said * score.truths}
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
    for name in ("hit", "missed", "wrong", "missed_said", "pair_hit", "pair_missed", "pair_wrong")
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
    if score.said == "fake":
        tallies["missed_said"] = score.categories_missed
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


def _graded(totals: Floats, mean: Floats, *, judged: bool) -> Floats:
    """The mean grade; where nobody judged it stands only if no answer needed a judge."""
    if judged:
        return mean
    open_rows = _get(totals, "explained_rows") - _get(totals, "graded_rows")
    return np.where(open_rows > 0, np.nan, mean)


def paper(totals: Floats, *, judged: bool) -> Metrics:
    """The paper's metrics, in [0, 1]; multiply by 100 for its tables. ``judged``: a judge graded explanations.

    ``overall`` is (accuracy + explanation + IoU + (1 - time distance)) / 4, NaN without a judge's grades;
    ``overall_without_judge`` is the mean of the other three. By hand: 2 annotation rows of fakes found and 1 missed,
    1 real of 2 found: accuracy 3 / 5, although 2 of 4 videos could be right.
    """
    rows, reals = _get(totals, "rows"), _get(totals, "real_videos")
    right = _get(totals, "rows_right") + _get(totals, "real_right")
    explanation = _ratio(_get(totals, "grade"), _get(totals, "graded_rows"))
    metrics = {
        "accuracy": _ratio(right, rows + reals),
        "fake_accuracy": _ratio(_get(totals, "rows_right"), rows),
        "real_accuracy": _ratio(_get(totals, "real_right"), reals),
        "explanation": _graded(totals, explanation, judged=judged),
        "bbox_iou": _ratio(_get(totals, "iou"), _get(totals, "box_rows")),
        "bbox_distance": _ratio(_get(totals, "distance"), _get(totals, "box_rows")),
        "time_distance": _ratio(_get(totals, "time"), _get(totals, "time_rows")),
    }
    others = metrics["accuracy"] + metrics["bbox_iou"] + (1 - metrics["time_distance"])
    return {"overall": (others + metrics["explanation"]) / 4, **metrics, "overall_without_judge": others / 3}


Part = Literal["all", "said"]


def macro_f1(hit: Floats, missed: Floats, wrong: Floats) -> Floats:
    """Mean F1 over the categories that occur in the truth, from counts ``(..., 9)``.

    By hand: one category hit 2, missed 1, wrong 1 has F1 4 / 6; another missed once has 0; the mean is 1 / 3.
    """
    known = hit + missed > 0
    with np.errstate(invalid="ignore", divide="ignore"):
        f1 = np.where(known, 2 * hit / (2 * hit + missed + wrong), 0.0)
    return _ratio(f1.sum(-1), known.sum(-1).astype(float))


def fair(totals: Floats, *, fields: Fields, judged: bool) -> Metrics:
    """The fair protocol's metrics of sums; what the question did not ask for (``fields``) is NaN.

    Names ending in ``_if_fake`` are over the fake videos whose answer is FAKE; the others over all. Probabilities:
    a video without one counts as the worst one, so their denominator is all videos too.
    """
    t = totals
    nine = len(CATEGORIES)
    truths = {"": "box_videos", "_if_fake": "box_videos_said"}
    metrics: Metrics = {
        "accuracy": _ratio(
            _get(t, "fake_right") + _get(t, "real_right"), _get(t, "fake_videos") + _get(t, "real_videos")
        ),
        "fake_accuracy": _ratio(_get(t, "fake_right"), _get(t, "fake_videos")),
        "real_accuracy": _ratio(_get(t, "real_right"), _get(t, "real_videos")),
        "false_alarms": _ratio(_get(t, "real_verdict") - _get(t, "real_right"), _get(t, "real_videos")),
        "claims_per_real_video": _ratio(_get(t, "real_claims"), _get(t, "real_videos")),
    }
    metrics["balanced_accuracy"] = (metrics["fake_accuracy"] + metrics["real_accuracy"]) / 2
    for end, videos in truths.items():
        metrics[f"viou_f1{end}"] = _ratio(_get(t, "f1"), _get(t, videos))
        metrics[f"viou_recall{end}"] = _ratio(_get(t, "recall"), _get(t, videos))
    metrics["viou_precision"] = _ratio(_get(t, "precision"), _get(t, "claiming"))
    metrics["viou_precision_with_real"] = _ratio(_get(t, "viou"), _get(t, "claims") + _get(t, "real_claims"))
    metrics["viou_of_pairs"] = _ratio(_get(t, "viou"), _get(t, "pairs"))
    metrics["pairs_per_trace"] = _ratio(_get(t, "pairs"), _get(t, "truths"))
    metrics["pairs_per_trace_if_fake"] = _ratio(_get(t, "pairs"), _get(t, "truths_said"))
    metrics["onset_error"] = _ratio(_get(t, "onset_error"), _get(t, "onset_pairs"))
    metrics["onset_error_seconds"] = _ratio(_get(t, "onset_error_seconds"), _get(t, "onset_pairs"))
    metrics["tiou"] = _ratio(_get(t, "tiou"), _get(t, "tiou_pairs"))
    hit, wrong = _block(t, "hit", nine), _block(t, "wrong", nine)
    metrics["category_f1"] = macro_f1(hit, _block(t, "missed", nine), wrong)
    metrics["category_f1_if_fake"] = macro_f1(hit, _block(t, "missed_said", nine), wrong)
    pair_tallies = (_block(t, f"pair_{kind}", nine) for kind in _KINDS)
    metrics["category_f1_of_pairs"] = macro_f1(*pair_tallies)
    explanation = _ratio(_get(t, "video_grade"), _get(t, "graded_videos"))
    if_fake = _ratio(_get(t, "video_grade_said"), _get(t, "graded_videos_said"))
    metrics["explanation"] = _graded(t, explanation, judged=judged)
    metrics["explanation_if_fake"] = _graded(t, if_fake, judged=judged)
    for field, names in _FIELD_METRICS.items():
        if field not in fields:
            metrics |= {name: np.full_like(metrics[name], np.nan) for name in names}
    return _overalls(metrics, fields) | metrics


_FIELD_METRICS: Final[Mapping[Field, tuple[str, ...]]] = {
    "box": (
        "viou_f1",
        "viou_f1_if_fake",
        "viou_recall",
        "viou_recall_if_fake",
        "viou_precision",
        "viou_precision_with_real",
        "viou_of_pairs",
    ),
    "onset": ("onset_error", "onset_error_seconds", "tiou"),
    "offset": ("tiou",),
    "category": ("category_f1", "category_f1_if_fake", "category_f1_of_pairs"),
    "explanation": ("explanation", "explanation_if_fake"),
}

OVERALL_PARTS: Final[Mapping[Field, str]] = {"box": "viou_f1", "explanation": "explanation", "category": "category_f1"}
"""What `fair_overall` is the mean of, by the field that must have been asked for."""


def overall_fields(fields: Fields) -> tuple[Field, ...]:
    """The fields that are in `fair_overall`; only rows of equal ones can be ranked."""
    return tuple(field for field in FIELDS if field in OVERALL_PARTS and field in fields)


def _overalls(metrics: Metrics, fields: Fields) -> Metrics:
    nothing = np.full_like(metrics["accuracy"], np.nan)
    parts = [metrics[OVERALL_PARTS[field]] for field in overall_fields(fields)]
    others = [metrics[OVERALL_PARTS[field]] for field in overall_fields(fields) if field != "explanation"]
    return {
        "fair_overall": sum(parts, np.zeros_like(nothing)) / len(parts) if parts else nothing,
        "fair_overall_without_judge": sum(others, np.zeros_like(nothing)) / len(others) if others else nothing,
    }


def probability(totals: Floats) -> Metrics:
    """Brier score and calibration error of sums. See `deeptrace.probabilities` for AUROC, which is no sum."""
    videos = _get(totals, "fake_videos") + _get(totals, "real_videos")
    return {
        "brier": _ratio(_get(totals, "squared_error"), videos),
        "calibration_error": calibration_error(
            _block(totals, "bin", BINS), _block(totals, "bin_p", BINS), _block(totals, "bin_fake", BINS)
        ),
    }
