"""Writes the report: ``index.html``, ``report.md``, ``scores.json`` and the pictures of the gallery."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from deeptrace import files
from deeptrace.bench.report.charts import Bar, Radar, Reliability, radar, reliability
from deeptrace.bench.report.confusion import OUTCOME_WORDS, confusion
from deeptrace.bench.report.gallery import Case, choose, make_cases
from deeptrace.bench.report.material import PROBES, ReportMaterial
from deeptrace.bench.score.conclusion import conclusion
from deeptrace.bench.score.drops import SHOWN, RungDrop
from deeptrace.bench.score.result import RunScore, Scores
from deeptrace.bench.score.statistics import Interval
from deeptrace.bench.score.tables import (
    TextTable,
    ablation_tables,
    comparison_tables,
    fair_table,
    group_tables,
    markdown,
    paper_table,
    probability_table,
    short_table,
    skill_tables,
    text_tables,
    without_repeats,
)
from deeptrace.categories import CATEGORIES
from deeptrace.characters import visible
from deeptrace.lock import folder_lock
from deeptrace.pages import html
from deeptrace.provenance import versions

PAGE_NAME: Final = "index.html"
MARKDOWN_NAME: Final = "report.md"
SCORES_NAME: Final = "scores.json"
CASES_EACH: Final = 3
RADAR_RADIUS: Final = 110.0
_SERIES: Final = 6  # runs that a radar can show apart


def write_report(
    material: ReportMaterial,
    folder: str | os.PathLike[str],
    *,
    title: str = "Benchmark report",
    command: str = "",
    cases: int = CASES_EACH,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write the report into ``folder`` (made where it is missing); the path of its page.

    ``cases`` is how many pictures there are of each kind and run: best, worst, missed, false alarm. ``progress`` is
    called after each picture.

    Raises:
        FileError: something cannot be written, or another process writes there (`LockError`). A video that cannot be
            read is no error: its case says why.
    """
    out = Path(folder)
    with folder_lock(files.make_folder(out), wait_seconds=0):
        return _write(material, out, title=title, command=command, cases=cases, progress=progress)


def _write(
    material: ReportMaterial,
    out: Path,
    *,
    title: str,
    command: str,
    cases: int,
    progress: Callable[[int, int], None] | None,
) -> Path:
    files.make_folder(out / "media")
    galleries = _galleries(material, out, cases, progress)
    tables = _tables(material)
    files.write_text(out / SCORES_NAME, files.dumps(material.scores.to_json(), indent=1) + "\n")
    files.write_text(
        out / MARKDOWN_NAME, f"# {_plain(title)}\n\n{markdown([*tables.main, *tables.more], tables.sentences)}"
    )
    page = out / PAGE_NAME
    files.write_text(page, _page(material, tables, galleries, title=title, command=command))
    return page


def _plain(text: str) -> str:
    return " ".join(visible(text).replace("<", "&lt;").split())


# ── tables ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class _PageTables:
    """The conclusion, the short table, those that are read next, and those to look things up in."""

    sentences: tuple[str, ...]
    main: tuple[TextTable, ...]
    more: tuple[TextTable, ...]


def _tables(material: ReportMaterial) -> _PageTables:
    scores = material.scores
    main = [short_table(scores), paper_table(scores), fair_table(scores), probability_table(scores)]
    main += [*skill_tables(scores), *ablation_tables(scores), *comparison_tables(scores), *text_tables(scores)]
    main += [drop_table(name, rungs) for name, rungs in material.drops.items()]
    more = [*confusion_tables(material), *group_tables(scores), denominator_table(scores)]
    whole = without_repeats([*main, *more])
    sentences = (*conclusion(scores), probe_words(material))
    return _PageTables(sentences, tuple(whole[: len(main)]), tuple(whole[len(main) :]))


def probe_words(material: ReportMaterial) -> str:
    """How far labels can be told without any trace, in a sentence."""
    if material.probes is None:
        return f"Container and geometry probes were not run: {material.probes_reason or 'nobody asked for them'}."
    sentences = []
    for probe in material.probes:
        name, accuracy = PROBES.get(probe.probe, probe.probe), probe.balanced_accuracy
        if accuracy is None:
            sentences.append(f"{name}: not run ({probe.reason})")
        else:
            span = f"{100 * accuracy.value:.1f} [{100 * accuracy.low:.1f}, {100 * accuracy.high:.1f}]"
            sentences.append(f"{name}: balanced accuracy {span} (n={probe.n})")
    return "Without seeing any trace: " + "; ".join(sentences) + "."


def confusion_tables(material: ReportMaterial) -> list[TextTable]:
    """One table a run: what each generator's and each camera's videos were called, as counts."""
    tables = []
    for run, outcomes in zip(material.scores.runs, material.outcomes, strict=True):
        rows = [
            (row.source, row.label, str(row.videos), *(str(row.counts.get(word, 0)) for word in OUTCOME_WORDS),
             f"{100 * row.right / row.videos:.1f}")
            for row in confusion(material.dataset.records, outcomes)
        ]  # fmt: skip
        heads = (
            "source",
            "truth",
            "videos",
            *(f"said {word}" if word in ("fake", "real") else word for word in OUTCOME_WORDS),
            "right, %",
        )
        tables.append(TextTable(f"Confusion by source, {run.name}", heads, tuple(rows)))
    return tables


def denominator_table(scores: Scores) -> TextTable:
    """What each metric is a mean over, run by run: counts of videos, rows and pairs, not shares."""
    runs = (*scores.runs, *scores.blind)
    keys = [("paper", key) for key in runs[0].n["paper"]] + [("fair", key) for key in runs[0].n["fair"]] if runs else []
    rows = [(protocol, key, *(str(run.n[protocol].get(key, "-")) for run in runs)) for protocol, key in keys]  # type: ignore[index]
    notes = tuple(
        f"{run.name}: {run.counts['videos']} videos, of which unparsed {run.counts['unparsed']}, failed"
        f" {run.counts['failed']}, missing {run.counts['missing']}; they count as the worst in every row."
        for run in scores.runs
    )
    return TextTable("Denominators", ("protocol", "metric", *(run.name for run in runs)), tuple(rows), notes)


def drop_table(name: str, rungs: Sequence[RungDrop]) -> TextTable:
    """What a run loses on each rung of the platform track; positive: worse than on the originals."""
    rows = []
    for rung in rungs:
        cells = [_drop_cell(rung, key) for _, key in SHOWN]
        rows.append((rung.name, *cells, str(rung.videos), str(rung.unparsed), str(rung.failed)))
    heads = ("rung", *(key.replace("_", " ") for _, key in SHOWN), "videos", "unparsed", "failed")
    notes = (
        "First row: values, 0-100. Below: how much is lost on the same videos (positive: worse), with 95 % intervals.",
        *(f"{rung.name}: {rung.what}" for rung in rungs),
    )
    return TextTable(f"Platform track, {name}", heads, tuple(rows), notes)


def _drop_cell(rung: RungDrop, key: str) -> str | None:
    value: Interval = rung.drops[key] if rung.drops else rung.values[key]
    if value.value is None:
        return None
    sign = "+" if rung.drops else ""
    span = "" if value.low is None or value.high is None else f" [{100 * value.low:.1f}, {100 * value.high:.1f}]"
    return f"{100 * value.value:{sign}.1f}{span}"


# ── charts ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def accuracy_bars(material: ReportMaterial) -> list[Bar]:
    """Balanced accuracy of each run, of the blind row, and of the probes that see no trace, on one scale."""
    bars = [_run_bar(run, "") for run in material.scores.runs]
    bars += [_run_bar(run, "sees no pixels") for run in material.scores.blind if run.name == "blind"]
    for probe in material.probes or ():
        estimate = probe.balanced_accuracy
        label = PROBES.get(probe.probe, probe.probe)
        if estimate is None:
            bars.append(Bar(label, f"not run: {probe.reason}", None, None, None))
        else:
            bars.append(Bar(label, f"n={probe.n}, sees no trace", estimate.value, estimate.low, estimate.high))
    return bars


def _run_bar(run: RunScore, note: str) -> Bar:
    value, counts = run.fair["balanced_accuracy"], run.counts
    words = f"n={counts['videos']}, unparsed {counts['unparsed']}, failed {counts['failed'] + counts['missing']}"
    return Bar(run.name, ", ".join(part for part in (words, note) if part), value.value, value.low, value.high)


def category_radar(scores: Scores) -> tuple[Radar, tuple[str, ...]]:
    """vIoU-F1 in [0, 1] by category of every run and of the blind row, and the names of these rows.

    The labels say how many videos each category has. The lines are SVG pixels about the middle.
    """
    runs = [*scores.runs[: _SERIES - 1], *(run for run in scores.blind if run.name == "blind")]
    counts = [
        next((run.groups["category"][category].videos for run in runs if category in run.groups.get("category", {})), 0)
        for category in CATEGORIES
    ]
    series = [(run.name, [_group_value(run, "category", category) for category in CATEGORIES]) for run in runs]
    labels = [f"{category} ({count})" for category, count in zip(CATEGORIES, counts, strict=True)]
    return radar(labels, series, radius=RADAR_RADIUS), tuple(run.name for run in runs)


def _group_value(run: RunScore, grouping: str, name: str) -> float | None:
    part = run.groups.get(grouping, {}).get(name)
    return None if part is None else part.metrics["fair"]["viou_f1"].value


def gradients(scores: Scores) -> list[tuple[str, list[tuple[str, list[Bar]]]]]:
    """Difficulty: per grouping, per run, a bar a group: vIoU-F1 by trace size, found fakes by length.

    Values and their intervals lie in [0, 1]; None where a group has none.
    """
    charts = []
    for grouping, key, title in (
        ("trace_size", "viou_f1", "vIoU-F1 by size of the traces"),
        ("length", "fake_accuracy", "Fakes found, by length of the video"),
    ):
        rows = []
        for run in scores.runs:
            bars = []
            for name, part in run.groups.get(grouping, {}).items():
                value = part.metrics["fair"][key]
                bars.append(Bar(name, f"n={part.videos}", value.value, value.low, value.high))
            rows.append((run.name, bars))
        charts.append((title, rows))
    return charts


def calibrations(scores: Scores) -> list[Reliability]:
    """A reliability diagram for each run that gives probabilities."""
    return [
        reliability(run.name, [dict(row) for row in run.reliability], size=100.0)
        for run in scores.runs
        if run.reliability is not None
    ]


# ── the page ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _galleries(
    material: ReportMaterial, out: Path, each: int, progress: Callable[[int, int], None] | None
) -> list[tuple[str, list[Case]]]:
    if material.root is None or each < 1:
        return []
    picked = [
        choose(material.dataset.records, material.truths, outcomes, run.run.asked_fields, each=each)
        for run, outcomes in zip(material.scores.runs, material.outcomes, strict=True)
    ]
    total, done = sum(map(len, picked)), 0

    def one() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total)

    return [
        (run.name, make_cases(chosen, outcomes, material.root, out, f"run{i}", progress=one))
        for i, (run, outcomes, chosen) in enumerate(zip(material.scores.runs, material.outcomes, picked, strict=True))
    ]


def _page(
    material: ReportMaterial,
    tables: _PageTables,
    galleries: Sequence[tuple[str, list[Case]]],
    *,
    title: str,
    command: str,
) -> str:
    scores = material.scores
    drawn, names = category_radar(scores)
    values: dict[str, Any] = {
        "title": title,
        "command": command,
        "scores": scores,
        "sentences": tables.sentences,
        "short": tables.main[0],
        "main": tables.main[1:],
        "more": tables.more,
        "bars": accuracy_bars(material),
        "radar": drawn,
        "radar_names": names,
        "gradients": gradients(scores),
        "calibrations": calibrations(scores),
        "galleries": galleries,
        "versions": ", ".join(f"{name} {version}" for name, version in versions().items()),
    }
    return html.render(
        "bench.html.j2",
        style=html.asset("report.css") + html.asset("audit.css") + html.asset("bench.css"),
        script=html.asset("audit.js"),
        data={},
        **values,
    )
