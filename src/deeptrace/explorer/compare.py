"""Models beside people, and beside each other: confusion, categories, generators, and a point for every video.

All numbers come from the scores of single videos (`deeptrace.measures.video`); the benchmark's tables, with their
intervals and protocols, are `deeptrace bench score`'s. Every number here says of how many videos it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Final

from deeptrace.categories import CATEGORIES
from deeptrace.data.build.annotators import Agreement, Kappa, agreement
from deeptrace.explorer.index import DatasetIndex, Entry, onset_error
from deeptrace.explorer.site import Site, link_to, template_page
from deeptrace.records import Verdict

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

__all__ = ["CompareTable", "Point", "RunSummary", "compare_page", "confusion_of", "points_of", "summaries"]

ANSWERS: Final = ("fake", "real", "no verdict")
PLOT_WIDTH: Final = 720.0
PLOT_HEIGHT: Final = 300.0
SHOWN_POINTS: Final = 4_000
COLORS: Final = 10


@dataclass(frozen=True)
class RunSummary:
    """One run in a line. Shares in [0, 1]; each mean is of ``n`` videos that it can be taken on; None: of none."""

    name: str
    color: int
    answered: int
    elsewhere: int
    accuracy: float | None
    fake_accuracy: float | None
    real_accuracy: float | None
    overlap: float | None
    overlap_n: int
    onset_error_seconds: float | None
    onset_n: int


@dataclass(frozen=True)
class CompareTable:
    """A table of the page; cells may be links: a pair of text and address."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]
    note: str = ""


@dataclass(frozen=True)
class Point:
    """One video of one run: overlap in [0, 1], onset error in seconds, and where they lie in the plot, in pixels."""

    video_id: str
    color: int
    overlap: float
    onset_error_seconds: float
    x: float
    y: float
    href: str
    words: str


def compare_page(site: Site, request: Request) -> Response:
    """All runs, and the annotators among themselves."""
    index = site.data.index
    points, longest = points_of(index)
    shown = points[:SHOWN_POINTS]
    return template_page(
        site,
        "compare.html.j2",
        request,
        summaries=summaries(index),
        confusions=[(name, n % COLORS, confusion_of(index, name)) for n, name in enumerate(index.names)],
        answers=ANSWERS,
        tables=[_by_group(index, "category"), _by_group(index, "source")] if index.runs else [],
        points=shown,
        hidden=len(points) - len(shown),
        plot=(PLOT_WIDTH, PLOT_HEIGHT, longest),
        agreements=agreement_table(site),
        videos=len(index.entries),
    )


def _judged(index: DatasetIndex, run: str) -> list[tuple[Entry, str]]:
    """The videos with a truth, and what the run says of each: fake, real, or no verdict."""
    judged: list[tuple[Entry, str]] = []
    for entry in index.entries:
        if entry.record.label in ("fake", "real"):
            outcome = entry.outcomes.get(run)
            judged.append((entry, outcome.label if isinstance(outcome, Verdict) else "no verdict"))
    return judged


def summaries(index: DatasetIndex) -> list[RunSummary]:
    """One line a run. A video without a verdict counts as wrong."""
    lines = []
    for number, run in enumerate(index.runs):
        judged = _judged(index, run.name)
        right = {label: _share(judged, label) for label in ("fake", "real")}
        overlaps = [s.viou_f1 for e in index.entries if (s := e.scores.get(run.name)) and s.viou_f1 is not None]
        errors = [x for e in index.entries if (x := onset_error(e.scores.get(run.name))) is not None]
        lines.append(
            RunSummary(
                run.name,
                number % COLORS,
                len(run.outcomes),
                run.elsewhere,
                _mean(float(answer == entry.record.label) for entry, answer in judged),
                right["fake"],
                right["real"],
                _mean(overlaps),
                len(overlaps),
                _mean(errors),
                len(errors),
            )
        )
    return lines


def _share(judged: Sequence[tuple[Entry, str]], label: str) -> float | None:
    return _mean(float(answer == label) for entry, answer in judged if entry.record.label == label)


def _mean(values: Iterable[float]) -> float | None:
    listed = list(values)
    return fmean(listed) if listed else None


def confusion_of(index: DatasetIndex, run: str) -> tuple[tuple[str, tuple[tuple[int, str], ...]], ...]:
    """For each true label, how many videos the run called what, each count with the address of these videos."""
    rows = []
    for label in ("fake", "real"):
        counts = dict.fromkeys(ANSWERS, 0)
        for entry, answer in _judged(index, run):
            if entry.record.label == label:
                counts[answer] += 1
        cells = tuple((counts[answer], _cell_link(run, label, answer)) for answer in ANSWERS)
        rows.append((label, cells))
    return tuple(rows)


def _cell_link(run: str, label: str, answer: str) -> str:
    if answer == "no verdict":
        wanted = [("right", "no verdict")]
    else:
        wanted = [("right", "right" if answer == label else "missed" if label == "fake" else "false alarm")]
    return link_to("/", ("label", label), *wanted, ("run", run))


def _by_group(index: DatasetIndex, group: str) -> CompareTable:
    """Accuracy and overlap of each run, for every category (of fakes) or every generator."""
    members: dict[str, list[Entry]] = {}
    for entry in index.entries:
        if entry.record.label in ("fake", "real"):
            groups = entry.categories if group == "category" else (entry.record.source or "(none)",)
            for name in groups:
                members.setdefault(name, []).append(entry)
    order: list[str] = list(CATEGORIES) if group == "category" else sorted(members)
    names = [name for name in order if name in members]
    heads = ["Category" if group == "category" else "Generator or source", "Videos"]
    for run in index.names:
        heads += [f"{run}: right", "overlap"]
    rows = []
    for name in names:
        cells: list[object] = [(name, link_to("/", (group, name))), len(members[name])]
        for run in index.names:
            cells += _group_cells(members[name], run)
        rows.append(tuple(cells))
    title = "By category" if group == "category" else "By generator or source"
    note = "Right: share of videos with the right label, in %. Overlap: mean F1 of vIoU, 0 to 1."
    return CompareTable(title, tuple(heads), tuple(rows), note)


def _group_cells(entries: Sequence[Entry], run: str) -> list[str]:
    outcomes = [entry.outcomes.get(run) for entry in entries]
    right = _mean(
        float(isinstance(o, Verdict) and o.label == e.record.label) for e, o in zip(entries, outcomes, strict=True)
    )
    overlap = _mean(s.viou_f1 for e in entries if (s := e.scores.get(run)) and s.viou_f1 is not None)
    return ["–" if right is None else f"{100 * right:.0f}", "–" if overlap is None else f"{overlap:.2f}"]


# ── the plot ────────────────────────────────────────────────────────────────────────────────────────────────────────


def points_of(index: DatasetIndex) -> tuple[list[Point], float]:
    """A point for every video and run that has an overlap and an onset error, and the longest error of the plot (s)."""
    raw = []
    for number, run in enumerate(index.names):
        for entry in index.entries:
            score = entry.scores.get(run)
            error = onset_error(score)
            if score is not None and score.viou_f1 is not None and error is not None:
                raw.append((entry.video_id, run, number % COLORS, score.viou_f1, error))
    longest = max([0.5, *(error for *_, error in raw)])
    place: Callable[[float, float], tuple[float, float]] = lambda error, overlap: (  # noqa: E731
        round(error / longest * PLOT_WIDTH, 1),
        round((1 - overlap) * PLOT_HEIGHT, 1),
    )
    points = []
    for video_id, run, color, overlap, error in raw:
        x, y = place(error, overlap)
        words = f"{video_id}, {run}: overlap {overlap:.2f}, onset error {error:.2f} s"
        points.append(
            Point(video_id, color, overlap, error, x, y, link_to("/video", ("id", video_id), ("run", run)), words)
        )
    return points, longest


# ── annotators ──────────────────────────────────────────────────────────────────────────────────────────────────────


def agreement_table(site: Site) -> CompareTable | None:
    """How far annotators agree: those of the dataset, and those who handed in here; None where none can be compared."""
    here = site.data.reviews.first.records(list(site.data.index.records))
    rows = []
    for name, records in (("In the dataset", list(site.data.index.records)), ("Handed in here, before review", here)):
        measured = agreement([record for record in records if not _is_merged(record.annotations)])
        if measured.videos:
            rows.append((name, *_agreement_cells(measured)))
    heads = ("", "Videos", "People", "Label", "Tags", "Box IoU", "Overlap in time", "Onset apart", "Traces alone")
    note = (
        "Label and tags: share of agreeing pairs, and Krippendorff's alpha. Boxes and times: means over matched traces;"
        " traces that overlap with none of the other's stand alone."
    )
    return CompareTable("Agreement between annotators", heads, tuple(rows), note) if rows else None


def _is_merged(annotations: Sequence[object]) -> bool:
    return any(getattr(annotation, "annotator", None) == "consensus" for annotation in annotations)


def _agreement_cells(measured: Agreement) -> tuple[str, ...]:
    onset = measured.onset_difference_seconds.mean
    return (
        str(measured.videos),
        str(len(measured.annotators)),
        _kappa_words(measured.label),
        "–" if measured.tags_mean_alpha is None else f"α {measured.tags_mean_alpha:.2f}",
        "–" if measured.box_iou.mean is None else f"{measured.box_iou.mean:.2f} (n={measured.box_iou.n})",
        "–" if measured.tiou.mean is None else f"{measured.tiou.mean:.2f} (n={measured.tiou.n})",
        "–" if onset is None else f"{onset:.2f} s",
        str(measured.unmatched),
    )


def _kappa_words(kappa: Kappa) -> str:
    raw = "–" if kappa.raw is None else f"{100 * kappa.raw:.0f} %"
    return raw if kappa.alpha is None else f"{raw}, α {kappa.alpha:.2f}"
