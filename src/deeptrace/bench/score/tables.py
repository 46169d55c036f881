"""`Scores` as tables of text, for a terminal and for Markdown. Every table says its denominators."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from deeptrace.answer import FIELDS, Field
from deeptrace.bench.published import Published
from deeptrace.bench.result import Difference, Protocol, RunScore, Scores
from deeptrace.bench.statistics import Interval

Cell = str | None


@dataclass(frozen=True)
class Table:
    """A table of text; None is an empty cell. ``notes`` stand below it; the first ``keys`` columns name a row."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()
    keys: int = 1


_PAPER: Final[Mapping[str, str]] = {
    "overall": "Overall",
    "accuracy": "Acc.",
    "fake_accuracy": "Fake",
    "real_accuracy": "Real",
    "explanation": "Expl.",
    "bbox_iou": "IoU",
    "bbox_distance": "Box dist. ↓",
    "time_distance": "Time dist. ↓",
}
_FAIR: Final[Mapping[str, str]] = {
    "fair_overall": "Fair overall",
    "viou_f1": "vIoU-F1",
    "viou_f1_if_fake": "vIoU-F1 if FAKE",
    "viou_precision": "Precision ≥",
    "viou_recall": "Recall",
    "tiou": "tIoU",
    "onset_error_seconds": "Onset s ↓",
    "category_f1": "Category F1",
    "explanation": "Expl.",
}
_PROBABILITY: Final[Mapping[str, str]] = {
    "balanced_accuracy": "Balanced acc.",
    "auroc": "AUROC",
    "tpr_at_1_fpr": "TPR at 1% FPR",
    "tpr_at_10_fpr": "TPR at 10% FPR",
    "calibration_error": "ECE ↓",
    "brier": "Brier ↓",
}
_COUNTS: Final = ("videos", "unparsed", "failed", "missing")


def tables(scores: Scores) -> list[Table]:
    """All tables: the paper's protocol, the fair one, skill over the blind row, comparisons, groups."""
    return [paper_table(scores), *_other_tables(scores)]


def terminal_tables(scores: Scores) -> list[Table]:
    """`tables` for a narrow page: where each row stands among the published ones, then the paper's with intervals."""
    return [standing_table(scores), paper_table(scores, published=False), *_other_tables(scores)]


def _other_tables(scores: Scores) -> list[Table]:
    found = [fair_table(scores), probability_table(scores), *skill_tables(scores)]
    found += [*ablation_tables(scores), *comparison_tables(scores)]
    return [*found, *text_tables(scores), *group_tables(scores)]


def standing_table(scores: Scores) -> Table:
    """The paper's protocol on 0-100 in bare numbers: measured, rows that see no pixels, published."""
    rows = [
        (_name(run), *(_span(Interval(run.paper[key].value, None, None), 100, 1) for key in _PAPER))
        for run in (*_ranked(scores.runs, "paper"), *scores.blind)
    ]
    rows += [_published_row(row) for row in scores.published]
    return Table(
        f"Where it stands: the paper's protocol, {scores.split}, 0-100", ("model", *_PAPER.values()), tuple(rows)
    )


def _published_row(row: Published) -> tuple[Cell, ...]:
    return (f"{row.model} (published)", *(f"{getattr(row, key):.1f}" for key in _PAPER))


def paper_table(scores: Scores, *, published: bool = True) -> Table:
    """The paper's protocol on 0-100: measured rows, the rows that see no pixels, and below them the published ones."""
    rows = [_paper_row(run) for run in _ranked(scores.runs, "paper")]
    rows += [_paper_row(run) for run in scores.blind]
    if published:
        rows += [(*_published_row(row), *[None] * (len(_COUNTS) + 1)) for row in scores.published]
    notes = [
        _videos(scores),
        "Intervals: 95 %, bootstrap over clusters of near-duplicates. Accuracy weighs annotation rows.",
    ]
    if scores.published and not scores.is_release:
        notes.append("The published rows are of the release's split; these are other videos.")
    if scores.blind_note is not None:
        notes.append(scores.blind_note)
    if not any(run.run.judged for run in scores.runs):
        notes.append("No judge graded explanations: Overall and Expl. are empty where an answer would need one.")
    notes += _incomplete(scores)
    heads = ("model", *_PAPER.values(), *_COUNTS, "explained, graded")
    return Table(f"The paper's protocol, {scores.split}, 0-100", heads, tuple(rows), tuple(notes))


def _paper_row(run: RunScore) -> tuple[Cell, ...]:
    values = [_span(run.paper[key], 100, 1) for key in _PAPER]
    graded = f"{run.counts['explained_rows']}, {run.counts['graded_rows']}"
    return (_name(run), *values, *_counts(run), graded)


def fair_table(scores: Scores) -> Table:
    """The fair protocol in [0, 1], rows of equal fields together, the best first."""
    rows = [
        (_name(run), " ".join(run.fair_fields) or None, *(_span(run.fair[key], 1, 3) for key in _FAIR), *_pairs(run),
         *_counts(run))
        for run in _ranked((*scores.runs, *scores.blind), "fair")
    ]  # fmt: skip
    heads = ("model", "overall of", *_FAIR.values(), "pairs", "true traces", *_COUNTS)
    notes = [
        _videos(scores),
        "Only rows with equal fields under 'overall of' can be ranked against each other.",
        "tIoU and onset error are of matched pairs. Precision is a lower bound: people did not mark every trace.",
        *(f"{run.name}: its format has no {_filled(run)}" for run in scores.runs if run.run.filled),
        *_incomplete(scores),
    ]
    return Table(f"The fair protocol, {scores.split}, 0-1", heads, tuple(rows), tuple(notes))


def _filled(run: RunScore) -> str:
    ends = {"onset": "onset, filled in with the video's start", "offset": "offset, filled in with the video's end"}
    return "; no ".join(ends[name] for name in ("onset", "offset") if run.run.filled[name])


def probability_table(scores: Scores) -> Table:
    """Labels and probabilities; rows without probabilities have only the first."""
    rows = [
        (_name(run), *(_span(run.fair[key], 1, 3) for key in _PROBABILITY), str(run.counts["with_p"]), *_counts(run))
        for run in (*scores.runs, *scores.blind)
    ]
    heads = ("model", *_PROBABILITY.values(), "with p", *_COUNTS)
    notes = ("A video without a probability counts as the one that is most wrong, where the model gives any.",)
    return Table(f"Labels and probabilities, {scores.split}, 0-1", heads, tuple(rows), notes)


def _pairs(run: RunScore) -> tuple[Cell, Cell]:
    return str(run.n["fair"]["viou_of_pairs"]), str(run.n["fair"]["pairs_per_trace"])


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


def ablation_tables(scores: Scores) -> list[Table]:
    """Runs that were asked for different fields: each one's metrics of what it was asked for, and nothing else."""
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
        asked = " ".join(field for field in FIELDS if field in run.run.fields) or None
        rows.append((_name(run), asked, *cells, *_counts(run)))
    heads = ("model", "asked for", *(label for _, _, label, _ in _ABLATION), *_COUNTS)
    notes = ("The paper's Overall gives 0 or 100 for what was not asked for, so it cannot rank these rows.",)
    return [Table(f"What was asked for, {scores.split}, 0-100", heads, tuple(rows), notes)]


def skill_tables(scores: Scores) -> list[Table]:
    """What each row has over the blind one; more is better, for distances too."""
    rows = [(run.name, run.skill) for run in scores.runs if run.skill]
    title = "Skill over the blind row (more is better)"
    return [_difference_table(title, rows)] if rows else []


def comparison_tables(scores: Scores) -> list[Table]:
    """Each measured row less the reference row."""
    if not scores.comparisons:
        return []
    title = f"Difference from {scores.comparisons[0].against} (more is better)"
    return [_difference_table(title, [(c.name, c.differences) for c in scores.comparisons])]


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


def _difference_table(title: str, found: Sequence[tuple[str, Mapping[Protocol, Mapping[str, Difference]]]]) -> Table:
    rows = [
        (name, label, *_difference_cells(values[protocol][key]))
        for name, values in found
        for protocol, key, label in _COMPARED
        if values[protocol][key].value is not None
    ]
    notes = (
        "0-100. p: paired permutation test; Holm: adjusted over the rows of the table, metric by metric.",
        "Smallest detectable: the true difference that would be found in 4 cases of 5.",
    )
    return Table(
        title, ("model", "metric", "difference", "p", "Holm", "smallest detectable"), tuple(rows), notes, keys=2
    )


def _difference_cells(d: Difference) -> tuple[Cell, ...]:
    span = _span(Interval(d.value, d.low, d.high), 100, 1, sign=True)
    small = None if d.smallest_detectable is None else f"{100 * d.smallest_detectable:.1f}"
    return span, _p(d.p), _p(d.p_holm), small


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


def group_tables(scores: Scores) -> list[Table]:
    """One table a grouping: each group of each measured row, and of the blind one. Columns without a value go."""
    shown = (*scores.runs, *(run for run in scores.blind if run.name == "blind"))
    found = []
    for grouping, title in _GROUP_TITLES.items():
        rows = [
            (run.name, name, str(part.videos), *(_span(part.metrics[p][key], 100, 1) for p, key, _ in _GROUP_METRICS))
            for run in shown
            for name, part in run.groups[grouping].items()
        ]
        if not rows:
            continue
        heads = ("model", "group", "videos", *(label for _, _, label in _GROUP_METRICS))
        notes = (_SHAM,) if grouping == "edit" else ()
        found.append(_without_empty_columns(Table(f"{title}, 0-100", heads, tuple(rows), notes, keys=2)))
    return found


def _without_empty_columns(table: Table) -> Table:
    kept = [i for i in range(len(table.heads)) if any(row[i] is not None for row in table.rows)]
    rows = tuple(tuple(row[i] for i in kept) for row in table.rows)
    return replace(table, heads=tuple(table.heads[i] for i in kept), rows=rows)


def text_tables(scores: Scores) -> list[Table]:
    """Explanations compared by words, where that was asked for."""
    runs = [(run.name, run.texts) for run in (*scores.runs, *scores.blind) if run.texts]
    if not runs:
        return []
    keys = ("bleu", "rouge_l", "chrf", "embedding_similarity")
    rows = [(name, *(f"{100 * t[k]:.1f}" for k in keys), f"{t['n']:.0f}", f"{t['empty']:.0f}") for name, t in runs]
    heads = ("model", "BLEU", "ROUGE-L", "chrF", "Embedding", "rows", "no explanation")
    return [Table("Explanations beside the written ones, 0-100", heads, tuple(rows))]


# ── Markdown ────────────────────────────────────────────────────────────────────────────────────────────────────────


def markdown(found: Sequence[Table]) -> str:
    """The tables in Markdown, one after another."""
    return "\n\n".join(_markdown(table) for table in found) + "\n"


def _markdown(table: Table) -> str:
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


def _ranked(runs: Sequence[RunScore], protocol: Protocol) -> list[RunScore]:
    """The best first, where rows can be ranked; incomplete rows last."""

    def key(run: RunScore) -> tuple[object, ...]:
        values = run.paper if protocol == "paper" else run.fair
        name = "overall" if protocol == "paper" else "fair_overall"
        value, other = values[name].value, values[f"{name}_without_judge"].value
        fields = "" if protocol == "paper" else "+".join(run.fair_fields)
        return (run.run.incomplete, fields, value is None, -(value or 0.0), -(other or 0.0), run.name)

    return sorted(runs, key=key)


def _videos(scores: Scores) -> str:
    unsure = f", {scores.unsure} unsure or unlabelled left out" if scores.unsure else ""
    return f"{scores.videos} videos in {scores.clusters} clusters{unsure}; {scores.replicates} replicates."


def _incomplete(scores: Scores) -> list[str]:
    names = [run.name for run in scores.runs if run.run.incomplete]
    return [f"Incomplete, so not ranked (no answer counts as the worst one): {', '.join(names)}"] if names else []
