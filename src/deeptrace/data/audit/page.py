"""An `Audit` for people: one HTML page, and the rows of the terminal's tables. Numbers come from the audit alone."""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deeptrace import files
from deeptrace.data.audit import SHOWN_CLUSTERS, SHOWN_IN_CLUSTER, Audit, LabelDistribution
from deeptrace.data.audit.probes import ProbeResult, ProbeScore, Task
from deeptrace.pages import html

__all__ = ["AuditTable", "audit_tables", "write_audit", "write_audit_page"]

PROBES: Final = {
    "container": ("Container", "codec, brand and marks of tools, sound, file size, bit rate"),
    "container_without_rate": ("Container, no rate", "codec, brand and marks of tools, sound"),
    "geometry": ("Visible geometry", "width, height, aspect, frame rate, length"),
    "lowlevel": ("Low level", "coding blocks, spectrum, noise, black borders, still overlays"),
    "content": ("Content", "what the middle frame shows: colours, edges, sharpness"),
}
LEVELS: Final = {
    "annotations": "Annotations only; no file was opened",
    "headers": "Annotations and the header of every file",
    "pictures": "Annotations, headers, and every picture",
}
_TASKS: Final[dict[Task, str]] = {"fake_or_real": "Fake or real?", "generator": "Which generator?"}
_PLOT_WIDTH: Final = 240.0
_PLOT_HEIGHT: Final = 60.0
_LABELS: Final = ("fake", "real", "unsure")


@dataclass(frozen=True)
class AuditTable:
    """One table of the terminal: a title, heads of columns, and rows of text."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def audit_tables(audit: Audit) -> list[AuditTable]:
    """Counts, findings, loading problems and shortcuts as text; empty tables are left out. Scores are 0-100."""
    tables = [
        AuditTable("Counts", ("What", "Count"), tuple((name, f"{number:,}") for name, number in audit.counts.items()))
    ]
    if audit.release is not None:
        rows = tuple(
            (count.name, f"{count.expected:,}", f"{count.found:,}", "" if count.found == count.expected else "differs")
            for count in audit.release
        )
        tables.append(AuditTable("Beside the published counts", ("What", "Published", "Here", ""), rows))
    finding_rows = tuple(
        (
            finding.level,
            finding.code,
            f"{finding.count:,} of {finding.of:,}",
            finding.message,
            ", ".join(finding.examples[:3]),
        )
        for finding in audit.findings
    )
    tables.append(AuditTable("Findings", ("Level", "Code", "How many", "What", "For example"), finding_rows))
    loading = tuple((name, f"{number:,}") for name, number in audit.problems.items())
    tables.append(AuditTable("When the annotations were read", ("Field: action", "Count"), loading))
    if audit.shortcuts is not None:
        tables += [_shortcut_table(task, audit.shortcuts.results) for task in _TASKS]
    else:
        tables.append(AuditTable("Shortcuts", ("Not run",), ((audit.shortcuts_reason or "nobody asked for them",),)))
    return [table for table in tables if table.rows]


def score_words(estimate: ProbeScore | None) -> str:
    """A score and its interval on 0-100: "83.1 [70.6, 93.7]"."""
    if estimate is None:
        return "–"
    return f"{100 * estimate.value:.1f} [{100 * estimate.low:.1f}, {100 * estimate.high:.1f}]"


def _shortcut_table(task: Task, results: Sequence[ProbeResult]) -> AuditTable:
    """What each probe reached on one task: narrow enough for 80 columns. All probes of a task see the same clips."""
    own_results = [result for result in results if result.task == task]
    rows = tuple(_probe_row(result) for result in own_results)
    title = f"Shortcuts: {_TASKS[task].lower()}"
    if own_results and own_results[0].n:
        title += f" {own_results[0].n:,} clips in {own_results[0].groups:,} groups"
    ran = next((result for result in own_results if result.auroc is not None), None)
    if ran is not None:
        title += "; guessing gives 50.0"
        if ran.accuracy is not None:
            title += f", the largest generator {100 * ran.accuracy.chance:.1f}"
    second = "Balanced accuracy" if task == "fake_or_real" else "Accuracy"
    return AuditTable(title, ("Probe", "AUROC", second, ""), rows)


def _probe_row(result: ProbeResult) -> tuple[str, ...]:
    return (
        PROBES.get(result.probe, (result.probe, ""))[0],
        score_words(result.auroc),
        score_words(result.balanced_accuracy if result.task == "fake_or_real" else result.accuracy),
        result.reason or (result.auroc.verdict if result.auroc is not None else ""),
    )


# ── the page ────────────────────────────────────────────────────────────────────────────────────────────────────────


def write_audit(folder: str | os.PathLike[str], audit: Audit, *, title: str = "Audit", command: str = "") -> Path:
    """Write ``audit.json`` and the page, ``index.html``, into a folder, which is made; the page's path.

    Raises:
        FileError: the system refused; each file is the old or the new one.
    """
    home = files.make_folder(folder)
    files.write_text(home / "audit.json", files.dumps(audit.to_json(), indent=1))
    return write_audit_page(home / "index.html", audit, title=title, command=command)


def write_audit_page(path: str | os.PathLike[str], audit: Audit, *, title: str = "Audit", command: str = "") -> Path:
    """Write the page as one file that loads nothing from anywhere; its path.

    Raises:
        FileError: the file cannot be written.
    """
    target = Path(path)
    files.write_text(target, audit_html(audit, title=title, command=command))
    return target


def audit_html(audit: Audit, *, title: str = "Audit", command: str = "") -> str:
    """The page. Names of videos and of fields come from strangers; the template escapes them."""
    levels = {
        level: sum(finding.level == level for finding in audit.findings) for level in ("error", "warning", "note")
    }
    return html.render(
        "audit.html.j2",
        style=html.asset("report.css") + html.asset("audit.css"),
        script=html.asset("audit.js"),
        data={},
        title=title,
        command=command,
        audit=audit,
        levels=levels,
        depth=LEVELS[audit.level],
        tasks=[
            (
                task,
                words,
                [result for result in (audit.shortcuts.results if audit.shortcuts else ()) if result.task == task],
            )
            for task, words in _TASKS.items()
        ],
        probes=PROBES,
        score_words=score_words,
        groups=[cluster[:SHOWN_IN_CLUSTER] for cluster in (audit.clusters or ())[:SHOWN_CLUSTERS]],
        pictures={who: f"data:image/jpeg;base64,{b64encode(jpeg).decode()}" for who, jpeg in audit.thumbnails.items()},
        plots=[_plot(distribution) for distribution in audit.distributions if any(distribution.counts.values())],
    )


@dataclass(frozen=True)
class _Curve:
    """One label's shape in a plot: the points of an SVG polygon, and its median bin's middle."""

    label: str
    points: str
    count: int
    median: float


@dataclass(frozen=True)
class _Plot:
    name: str
    unit: str
    low: float
    high: float
    unknown: int
    curves: tuple[_Curve, ...]


def _plot(distribution: LabelDistribution) -> _Plot:
    """Shares of each label's clips by bin, on one scale of height for all labels."""
    shares = {
        label: [number / total for number in counts]
        for label in _LABELS
        if (counts := distribution.counts.get(label)) and (total := sum(counts))
    }
    highest = max((max(values) for values in shares.values()), default=1.0)
    curves = tuple(
        _Curve(label, _outline(values, highest), sum(distribution.counts[label]), _median(distribution, label))
        for label, values in shares.items()
    )
    edges = distribution.edges
    return _Plot(distribution.name, distribution.unit, edges[0], edges[-1], distribution.unknown, curves)


def _outline(shares: Sequence[float], highest: float) -> str:
    """Steps over the bins, closed along the base line."""
    wide = _PLOT_WIDTH / len(shares)
    points = [(0.0, _PLOT_HEIGHT)]
    for k, share in enumerate(shares):
        y = _PLOT_HEIGHT * (1 - share / highest)
        points += [(k * wide, y), ((k + 1) * wide, y)]
    points.append((_PLOT_WIDTH, _PLOT_HEIGHT))
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _median(distribution: LabelDistribution, label: str) -> float:
    counts, edges = distribution.counts[label], distribution.edges
    half, total = sum(counts) / 2, 0
    for k, n in enumerate(counts):
        total += n
        if total >= half:
            return (edges[k] + edges[k + 1]) / 2
    return edges[-1]
