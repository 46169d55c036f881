"""`Scores` as tables of text, for a terminal and for Markdown. Every table says its denominators."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from deeptrace.answer import FIELDS, Field
from deeptrace.bench.score.catalogue import METRICS, PAPER_KEYS
from deeptrace.bench.score.published import Published
from deeptrace.bench.score.result import Difference, Protocol, RunScore, Scores
from deeptrace.bench.score.statistics import Interval

Cell = str | None


@dataclass(frozen=True)
class TextTable:
    """A table of text; None is an empty cell. ``notes`` stand below it; the first ``keys`` columns name a row."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()
    keys: int = 1


def _heads(protocol: Protocol, *names: str) -> dict[str, str]:
    return {name: METRICS[protocol][name].head for name in names}


_PAPER: Final = _heads("paper", *PAPER_KEYS)
_FAIR: Final = _heads(
    "fair", "fair_overall", "viou_f1", "viou_f1_if_fake", "viou_precision", "viou_recall", "tiou",
    "onset_error_seconds", "category_f1", "explanation",
)  # fmt: skip
_PROBABILITY: Final = _heads(
    "fair", "balanced_accuracy", "informedness", "false_alarms", "auroc", "tpr_at_1_fpr", "tpr_at_10_fpr",
    "calibration_error", "brier",
)  # fmt: skip
_SHORT: Final[Sequence[tuple[Protocol, str]]] = (
    ("paper", "overall"),
    ("fair", "balanced_accuracy"),
    ("fair", "viou_f1"),
    ("fair", "category_f1"),
    ("paper", "time_distance"),
    ("fair", "whole_frame_share"),
)
_COUNTS: Final = ("videos", "unparsed", "failed", "missing")


def tables(scores: Scores) -> list[TextTable]:
    """All tables: the short one, the paper's protocol, the fair one, skill over blind, comparisons, groups.

    Scores in [0, 1] are written on 0-100, onset errors in seconds, each as ``value [low, high]``.
    """
    return without_repeats([short_table(scores), paper_table(scores), *_other_tables(scores)])


def terminal_tables(scores: Scores) -> list[TextTable]:
    """`tables` for a narrow page: where each row stands among the published ones, then the paper's with intervals.

    Scores in [0, 1] are written on 0-100.
    """
    first = [short_table(scores), standing_table(scores), paper_table(scores, published=False)]
    return without_repeats([*first, *_other_tables(scores)])


def without_repeats(tables: Iterable[TextTable]) -> list[TextTable]:
    """The tables, each note below the first of them that has it."""
    earlier_notes: set[str] = set()
    result = []
    for table in tables:
        result.append(replace(table, notes=tuple(note for note in table.notes if note not in earlier_notes)))
        earlier_notes.update(table.notes)
    return result


def short_table(scores: Scores) -> TextTable:
    """The few numbers to look at first (scores in [0, 1] on 0-100), and how many answers are behind them."""
    everyone = (*scores.runs, *scores.blind)
    judged = all(run.fair["fair_overall"].value is not None for run in everyone)
    overall = "fair_overall" if judged else "fair_overall_without_judge"
    rows = [
        (_name(run), " ".join(run.fair_fields) or None, _span(run.fair[overall], 100, 1),
         *(_bare(run, protocol, key) for protocol, key in _SHORT), *_counts(run))
        for run in _rank(everyone, "fair")
    ]  # fmt: skip
    metric_heads = (METRICS[protocol][key].head for protocol, key in _SHORT)
    heads = ("model", "overall of", METRICS["fair"][overall].head, *metric_heads, *_COUNTS)
    notes = (
        _videos(scores),
        "Only rows with equal fields under 'overall of' can be ranked against each other.",
        "Whole frame: the share of its boxes that are all of the frame, and so say nothing of where.",
        *_incomplete(scores),
    )
    return _without_empty_columns(TextTable(f"In short, {scores.split}, 0-100", heads, tuple(rows), notes))


def _bare(run: RunScore, protocol: Protocol, key: str) -> Cell:
    value = (run.paper if protocol == "paper" else run.fair)[key].value
    return None if value is None else f"{100 * value:.1f}"


def _other_tables(scores: Scores) -> list[TextTable]:
    first = [fair_table(scores), probability_table(scores), *skill_tables(scores)]
    first += [*ablation_tables(scores), *comparison_tables(scores)]
    return [*first, *text_tables(scores), *group_tables(scores)]


def standing_table(scores: Scores) -> TextTable:
    """The paper's protocol on 0-100 in bare numbers: measured, rows that see no pixels, published."""
    rows = [
        (_name(run), *(_span(Interval(run.paper[key].value, None, None), 100, 1) for key in _PAPER))
        for run in (*_rank(scores.runs, "paper"), *scores.blind)
    ]
    rows += [_published_row(row) for row in scores.published]
    return TextTable(
        f"Where it stands: the paper's protocol, {scores.split}, 0-100", ("model", *_PAPER.values()), tuple(rows)
    )


def _published_row(row: Published) -> tuple[Cell, ...]:
    return (f"{row.model} (published)", *(f"{getattr(row, key):.1f}" for key in _PAPER))


def paper_table(scores: Scores, *, published: bool = True) -> TextTable:
    """The paper's protocol on 0-100: measured rows, the rows that see no pixels, and below them the published ones."""
    rows = [_paper_row(run) for run in (*_rank(scores.runs, "paper"), *scores.blind)]
    if published:
        rows += [(*_published_row(row), None, None) for row in scores.published]
    notes = [
        _videos(scores),
        "Intervals: 95 %, bootstrap over clusters of near-duplicates. Accuracy weighs annotation rows.",
    ]
    if scores.published and not scores.is_release:
        notes.append("The published rows are of the release's split; these are other videos.")
    if not any(run.run.judged for run in scores.runs):
        notes.append("No judge graded explanations: Overall and Expl. are empty where an answer would need one.")
    if len({run.paper_fields for run in scores.runs}) > 1:
        notes.append("Overall gives 0 or 100 for what was not asked for: only rows of equal 'asked for' are ranked.")
    notes += _incomplete(scores)
    heads = ("model", *_PAPER.values(), "asked for", "explained, graded")
    return TextTable(f"The paper's protocol, {scores.split}, 0-100", heads, tuple(rows), tuple(notes))


def _paper_row(run: RunScore) -> tuple[Cell, ...]:
    values = [_span(run.paper[key], 100, 1) for key in _PAPER]
    graded = f"{run.counts['explained_rows']}, {run.counts['graded_rows']}"
    return (_name(run), *values, " ".join(run.paper_fields) or None, graded)


def fair_table(scores: Scores) -> TextTable:
    """The fair protocol in [0, 1], rows of equal fields together, the best first."""
    rows = [
        (_name(run), " ".join(run.fair_fields) or None, *(_span(run.fair[key], 1, 3) for key in _FAIR), _pairs(run))
        for run in _rank((*scores.runs, *scores.blind), "fair")
    ]  # fmt: skip
    heads = ("model", "overall of", *_FAIR.values(), "pairs of traces")
    notes = [
        _videos(scores),
        "Only rows with equal fields under 'overall of' can be ranked against each other.",
        "tIoU and onset error are of matched pairs. Precision is a lower bound: people did not mark every trace.",
        *(f"{run.name}: its format has no {_filled_words(run)}" for run in scores.runs if run.run.filled),
        *_not_given(scores, tuple(_FAIR)),
        *_incomplete(scores),
    ]
    return TextTable(f"The fair protocol, {scores.split}, 0-1", heads, tuple(rows), tuple(notes))


def _filled_words(run: RunScore) -> str:
    ends = {"onset": "onset, filled in with the video's start", "offset": "offset, filled in with the video's end"}
    return "; no ".join(ends[name] for name in ("onset", "offset") if run.run.filled[name])


def probability_table(scores: Scores) -> TextTable:
    """Labels and probabilities; rows without probabilities have only the first."""
    rows = [
        (_name(run), *(_span(run.fair[key], 1, 3) for key in _PROBABILITY), str(run.counts["with_p"]))
        for run in (*scores.runs, *scores.blind)
    ]
    heads = ("model", *_PROBABILITY.values(), "with p")
    note = "A video without a probability counts as the one that is most wrong, where the model gives any."
    notes = (note, *_not_given(scores, tuple(_PROBABILITY)))
    return TextTable(f"Labels and probabilities, {scores.split}, 0-1", heads, tuple(rows), notes)


def _not_given(scores: Scores, keys: Sequence[str]) -> list[str]:
    """Why metrics of the fair protocol, or their intervals, are not given; each reason once."""
    reasons: dict[str, None] = {}
    for run in (*scores.runs, *scores.blind):
        for key in keys:
            metric, title = run.fair[key], METRICS["fair"][key].title
            if metric.reason is not None:
                what = title if metric.value is None else f"interval of {title}"
                reasons[f"No {what}: it {metric.reason}."] = None
    return sorted(reasons)


def _pairs(run: RunScore) -> Cell:
    return f"{run.n['fair']['viou_of_pairs']} of {run.n['fair']['pairs_per_trace']}"


_ABLATION: Final[Sequence[tuple[Protocol, str, str, Field | None]]] = (
    ("paper", "accuracy", "Acc.", None),
    ("paper", "fake_accuracy", "Fake", None),
    ("paper", "real_accuracy", "Real", None),
    ("paper", "bbox_iou", "IoU", "box"),
    ("paper", "bbox_distance", "Box dist. ↓", "box"),
    ("paper", "time_distance", "Time dist. ↓", "onset"),
    ("paper", "explanation", "Expl.", "explanation"),
    ("fair", "viou_f1", "vIoU-F1", "box"),
    ("fair", "tiou", "tIoU", "offset"),
    ("fair", "category_f1", "Category F1", "category"),
)


def ablation_tables(scores: Scores) -> list[TextTable]:
    """Runs that were asked for different fields: each one's metrics of what it was asked for, and nothing else.

    Scores in [0, 1] are written on 0-100. No table where all runs were asked for the same.
    """
    if len({run.run.fields for run in scores.runs}) < 2:
        return []
    rows = []
    for run in scores.runs:
        cells = [
            _span((run.paper if protocol == "paper" else run.fair)[key], 100, 1)
            if needs is None or needs in run.run.fields
            else None
            for protocol, key, _, needs in _ABLATION
        ]
        fields = " ".join(field for field in FIELDS if field in run.run.fields) or None
        rows.append((_name(run), fields, *cells))
    heads = ("model", "asked for", *(label for _, _, label, _ in _ABLATION))
    notes = ("Each row has a value only for what it was asked for.",)
    return [TextTable(f"What was asked for, {scores.split}, 0-100", heads, tuple(rows), notes)]


def skill_tables(scores: Scores) -> list[TextTable]:
    """What each row has over the blind one, [-1, 1] written on -100 to 100; more is better, for distances too."""
    rows = [(run.name, run.skill) for run in scores.runs if run.skill]
    title = "Skill over the blind row (more is better)"
    return [_difference_table(title, rows)] if rows else []


def comparison_tables(scores: Scores) -> list[TextTable]:
    """Each measured row less the reference row: differences of scores in [0, 1], written on -100 to 100."""
    if not scores.comparisons:
        return []
    title = f"Difference from {scores.comparisons[0].against} (more is better)"
    return [_difference_table(title, [(comparison.name, comparison.differences) for comparison in scores.comparisons])]


_COMPARED: Final[Sequence[tuple[Protocol, str, str]]] = (
    ("paper", "overall", "Overall"),
    ("paper", "overall_without_judge", "Overall without judge"),
    ("paper", "accuracy", "Accuracy"),
    ("paper", "bbox_iou", "IoU"),
    ("paper", "bbox_distance", "Box distance"),
    ("paper", "time_distance", "Time distance"),
    ("paper", "explanation", "Explanation"),
    ("fair", "fair_overall", "Fair overall"),
    ("fair", "viou_f1", "vIoU-F1"),
    ("fair", "category_f1", "Category F1"),
    ("fair", "auroc", "AUROC"),
)


def _difference_table(
    title: str, differences: Sequence[tuple[str, Mapping[Protocol, Mapping[str, Difference]]]]
) -> TextTable:
    rows = [
        (name, label, *_difference_cells(values[protocol][key]))
        for name, values in differences
        for protocol, key, label in _COMPARED
        if values[protocol][key].value is not None
    ]
    notes = (
        "0-100. p: paired permutation test; Holm: adjusted over the rows of the table, metric by metric.",
        "Smallest detectable: the true difference that would be found in 4 cases of 5.",
    )
    return TextTable(
        title, ("model", "metric", "difference", "p", "Holm", "smallest detectable"), tuple(rows), notes, keys=2
    )


def _difference_cells(difference: Difference) -> tuple[Cell, ...]:
    span = _span(Interval(difference.value, difference.low, difference.high), 100, 1, sign=True)
    small = None if difference.smallest_detectable is None else f"{100 * difference.smallest_detectable:.1f}"
    return span, _p(difference.p), _p(difference.p_holm), small


def _p(value: float | None) -> Cell:
    return None if value is None else "<0.001" if value < 0.001 else f"{value:.3f}"


_GROUP_METRICS: Final[Sequence[tuple[Protocol, str, str]]] = (
    ("fair", "fake_accuracy", "Fake acc."),
    ("fair", "real_accuracy", "Real acc."),
    ("fair", "false_alarms", "False alarms ↓"),
    ("paper", "bbox_iou", "IoU"),
    ("paper", "time_distance", "Time dist. ↓"),
    ("fair", "viou_f1", "vIoU-F1"),
    ("fair", "category_f1", "Category F1"),
)
_SHAM: Final = "A sham went through the editor and shows nothing: more false alarms on it mean that the editor is seen."
_GROUP_TITLES: Final = {
    "generator": "By generator",
    "real_source": "By source of real videos",
    "category": "By category",
    "length": "By length",
    "trace_size": "By size of the traces",
    "edit": "Real clips: sham edits and untouched ones",
}


def group_tables(scores: Scores) -> list[TextTable]:
    """One table a grouping: each group of each measured row, and of the blind one. Columns without a value go.

    Scores in [0, 1] are written on 0-100.
    """
    runs = (*scores.runs, *(run for run in scores.blind if run.name == "blind"))
    result = []
    for grouping, title in _GROUP_TITLES.items():
        rows = [
            (
                run.name,
                name,
                str(part.videos),
                *(_span(part.metrics[protocol][key], 100, 1) for protocol, key, _ in _GROUP_METRICS),
            )
            for run in runs
            for name, part in run.groups[grouping].items()
        ]
        if not rows:
            continue
        heads = ("model", "group", "videos", *(label for _, _, label in _GROUP_METRICS))
        notes = (_SHAM,) if grouping == "edit" else ()
        result.append(_without_empty_columns(TextTable(f"{title}, 0-100", heads, tuple(rows), notes, keys=2)))
    return result


def _without_empty_columns(table: TextTable) -> TextTable:
    columns = [i for i in range(len(table.heads)) if any(row[i] is not None for row in table.rows)]
    rows = tuple(tuple(row[i] for i in columns) for row in table.rows)
    return replace(table, heads=tuple(table.heads[i] for i in columns), rows=rows)


def text_tables(scores: Scores) -> list[TextTable]:
    """Explanations compared by words, where that was asked for: means in [0, 1], written on 0-100."""
    runs = [(run.name, run.texts) for run in (*scores.runs, *scores.blind) if run.texts]
    if not runs:
        return []
    keys = ("bleu", "rouge_l", "chrf", "embedding_similarity")
    rows = [
        (name, *(f"{100 * means[key]:.1f}" for key in keys), f"{means['n']:.0f}", f"{means['empty']:.0f}")
        for name, means in runs
    ]
    heads = ("model", "BLEU", "ROUGE-L", "chrF", "Embedding", "rows", "no explanation")
    return [TextTable("Explanations beside the written ones, 0-100", heads, tuple(rows))]


# ── Markdown ────────────────────────────────────────────────────────────────────────────────────────────────────────


def markdown(tables: Sequence[TextTable], sentences: Sequence[str] = ()) -> str:
    """The sentences, and below them the tables, in Markdown."""
    return "\n\n".join([*map(_escape, sentences), *(_markdown(table) for table in tables)]) + "\n"


def _markdown(table: TextTable) -> str:
    lines = [f"## {_escape(table.title)}", "", _line(table.heads), _line(["---"] * len(table.heads))]
    lines += [_line(row) for row in table.rows]
    return "\n".join([*lines, *(f"\n{_escape(note)}" for note in table.notes)])


def _line(cells: Sequence[Cell]) -> str:
    return "| " + " | ".join("-" if cell is None else _escape(cell) for cell in cells) + " |"


_NUMBERS: Final = re.compile(r"[-+<\d.,\[\] ]*")


def _escape(text: str) -> str:
    """A name from a file must not open a cell, a link, a tag or a line; numbers stay as they are."""
    if _NUMBERS.fullmatch(text):
        return text.replace("<", "&lt;")
    for char, escaped in {"&": "&amp;", "<": "&lt;", ">": "&gt;"}.items():
        text = text.replace(char, escaped)
    return " ".join(re.sub(r"([\\`*_\[\]|])", r"\\\1", text).split())


# ── cells ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _name(run: RunScore) -> str:
    return f"{run.name} (incomplete)" if run.run.incomplete else run.name


def _counts(run: RunScore) -> tuple[str, ...]:
    return tuple(str(run.counts[name]) for name in _COUNTS)


def _span(value: Interval, scale: float, digits: int, *, sign: bool = False) -> Cell:
    if value.value is None:
        return None
    plus = "+" if sign else ""
    if value.low is None or value.high is None:
        return f"{scale * value.value:{plus}.{digits}f}"
    low, high = (f"{scale * bound:.{digits}f}" for bound in (value.low, value.high))
    return f"{scale * value.value:{plus}.{digits}f} [{low}, {high}]"


def _rank(runs: Sequence[RunScore], protocol: Protocol) -> list[RunScore]:
    """The best first, where rows can be ranked; incomplete rows last."""

    name = "overall" if protocol == "paper" else "fair_overall"

    def of(run: RunScore) -> Mapping[str, Interval]:
        return run.paper if protocol == "paper" else run.fair

    if any(of(run)[name].value is None and of(run)[f"{name}_without_judge"].value is not None for run in runs):
        name = f"{name}_without_judge"  # not graded everywhere: what all of them have ranks them

    def key(run: RunScore) -> tuple[object, ...]:
        value = of(run)[name].value
        fields = run.paper_fields if protocol == "paper" else run.fair_fields
        return (run.run.incomplete, -len(fields), fields, value is None, -(value or 0.0), run.name)

    return sorted(runs, key=key)


def _videos(scores: Scores) -> str:
    unsure = f", {scores.unsure} unsure or unlabelled left out" if scores.unsure else ""
    return f"{scores.videos} videos in {scores.clusters} clusters{unsure}; {scores.replicates} replicates."


def _incomplete(scores: Scores) -> list[str]:
    names = [run.name for run in scores.runs if run.run.incomplete]
    return [f"Incomplete, so not ranked (no answer counts as the worst one): {', '.join(names)}"] if names else []
