"""What is wrong with a dataset, and what gives its labels away without a trace: counts, findings, shortcut probes.

`Records` and the folder of their videos go in, an `Audit` comes out. Three depths: the annotations alone; with
``probe`` the header of every file; with ``deep`` every picture. Calls `checks` for what annotations say,
`scan` for what files say, and `probes` for shortcuts.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from deeptrace.data.audit import checks
from deeptrace.data.audit import scan as files
from deeptrace.data.audit.checks import AuditFinding, Count
from deeptrace.data.audit.duplicates import clusters, members, near_duplicates, same
from deeptrace.data.audit.features import RATE_FEATURES, FeatureTable, container_table, geometry_table, stack
from deeptrace.data.audit.probes import Shortcuts, run_probes
from deeptrace.data.audit.scan import Backbone, Scan
from deeptrace.data.read.infos import info_seconds
from deeptrace.errors import MissingExtra, RecordError
from deeptrace.records import Record, VideoInfo

__all__ = ["Audit", "AuditFinding", "Backbone", "Count", "LabelDistribution", "audit"]

Level = Literal["annotations", "headers", "pictures"]
Progress = Callable[[str, int, int], None]

SCHEMA: Final = "deeptrace.audit"
SCHEMA_VERSION: Final = 1
BINS: Final = 24
SHOWN_CLUSTERS: Final = 60
SHOWN_IN_CLUSTER: Final = 8
"""Of this many groups of like footage, this many videos each are shown as pictures."""

_KNOWN_FIELDS: Final = 20


@dataclass(frozen=True)
class LabelDistribution:
    """How one number is spread within each label: ``counts[label][k]`` clips in ``[edges[k], edges[k + 1])``.

    The last bin holds its upper edge too. ``unknown`` counts clips of which the number is not known.
    """

    name: str
    unit: str
    edges: tuple[float, ...]
    counts: Mapping[str, tuple[int, ...]]
    unknown: int


@dataclass(frozen=True)
class Audit:
    """What was found. ``findings`` come worst first; ``problems`` are the loader's, by ``field: action``.

    ``release`` compares with the published counts (None: these records are not the release). ``clusters`` lists the
    ids of videos of the same footage (None: pictures were not looked at). ``shortcuts`` is None where they could not be
    run, and ``shortcuts_reason`` says why. ``geometry_from`` says whether the geometry probe saw what files say or
    only what annotations declare.
    """

    level: Level
    counts: Mapping[str, int]
    release: tuple[Count, ...] | None
    findings: tuple[AuditFinding, ...]
    problems: Mapping[str, int]
    distributions: tuple[LabelDistribution, ...]
    clusters: tuple[tuple[str, ...], ...] | None
    shortcuts: Shortcuts | None
    shortcuts_reason: str | None
    geometry_from: Literal["files", "annotations"]
    grouped_by: tuple[str, ...]
    seed: int
    thumbnails: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """JPEGs of the videos in the first clusters, by id: for the page, not for JSON."""

    @property
    def errors(self) -> int:
        """How many findings are errors."""
        return sum(finding.level == "error" for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        """As JSON values, with schema name and version."""
        row = asdict(replace(self, thumbnails={}))
        del row["thumbnails"]
        row["shortcuts"] = None if self.shortcuts is None else self.shortcuts.to_json()
        return {"schema": SCHEMA, "schema_version": SCHEMA_VERSION, **row}


def audit(
    records: Sequence[Record],
    *,
    probe: bool = False,
    deep: bool = False,
    root: str | os.PathLike[str] | None = None,
    group_by: str | None = None,
    backbone: Backbone | None = None,
    jobs: int = 1,
    seed: int = 0,
    progress: Progress | None = None,
) -> Audit:
    """Look for what is wrong with the records, and how far their labels can be told without any trace.

    ``probe`` reads the header of every file, ``deep`` (which includes it) decodes every picture. ``root`` is the
    folder that paths are relative to; None: the records' own. Without either, files are not looked at.

    ``group_by`` names a field of ``extra`` (or "source") whose clips must not stand on both sides of a fold, such as
    the place a clip was taken from; near-duplicates never do. ``backbone`` turns middle frames ``(N, 224, 224, 3)``
    uint8 into features ``(N, D)`` and replaces the plain content features. ``jobs`` files are read at a time.
    ``progress(stage, done, total)`` is called now and then.

    Nothing is changed, and a file that cannot be read is a finding, not an error.

    Raises:
        RecordError: no record has the field ``group_by``, or the backbone does not give a row a frame.
    """
    _groups(records, None, group_by)  # a wrong name is told now, not after hours of reading
    folder = Path(root) if root is not None else getattr(records, "root", None)
    scan = Scan.nothing(len(records))
    findings = [*checks.check_labels(records), *checks.check_traces(records)]
    if folder is not None:
        findings += files.check_files(records, folder)
    if (probe or deep) and folder is not None:
        scan = files.scan(records, folder, deep=deep, backbone=backbone, jobs=jobs, progress=progress)
        findings += files.check_reading(records, scan, files.absences(records, folder))
        findings += checks.check_declared(records, scan.infos)
    pairs: list[tuple[int, int]] = []
    cluster: list[int] | None = None
    if deep and folder is not None:
        pairs = [
            *same([pictures.sha256 for pictures in scan.pictures]),
            *near_duplicates([pictures.print for pictures in scan.pictures]),
        ]
        cluster = clusters(len(records), pairs)
        findings += checks.check_duplicates(records, cluster, scan.sha256)
    if not records:
        findings.append(AuditFinding("no_records", "error", 1, 0, "there is not one record", ()))
    infos = [file_info or record.info for file_info, record in zip(scan.infos, records, strict=True)]
    findings += checks.check_times(records, infos)
    shortcuts, reason = _shortcuts(records, infos, scan, _groups(records, cluster, group_by), seed)
    level: Level = "annotations" if not scan.headers else "pictures" if scan.deep else "headers"
    return Audit(
        level=level,
        counts=checks.count(records),
        release=checks.compare_with_release(records),
        findings=tuple(
            sorted(findings, key=lambda finding: (("error", "warning", "note").index(finding.level), -finding.count))
        ),
        problems=dict(getattr(records, "counts", {})),
        distributions=tuple(_distributions(records, infos)),
        clusters=None
        if cluster is None
        else tuple(tuple(records[i].video_id for i in items) for items in members(cluster).values()),
        shortcuts=shortcuts,
        shortcuts_reason=reason,
        geometry_from="files" if scan.headers else "annotations",
        grouped_by=tuple(reason for reason in (group_by, "near-duplicates" if cluster is not None else None) if reason),
        seed=seed,
        thumbnails={} if cluster is None else _thumbnails(records, scan, cluster),
    )


def _thumbnails(records: Sequence[Record], scan: Scan, cluster: Sequence[int]) -> dict[str, bytes]:
    """Pictures of the first videos of the first clusters; a page of all of them could not be opened."""
    indices = [i for items in list(members(cluster).values())[:SHOWN_CLUSTERS] for i in items[:SHOWN_IN_CLUSTER]]
    return {records[i].video_id: image for i in indices if (image := scan.pictures[i].thumbnail) is not None}


# ── shortcuts ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _groups(records: Sequence[Record], cluster: Sequence[int] | None, group_by: str | None) -> list[int] | None:
    """The group of each record: joined by near-duplicates, and by equal values of the field; None: each its own."""
    if cluster is None and group_by is None:
        return None
    pairs = [] if cluster is None else list(enumerate(cluster))
    if group_by is not None:
        values = [record.source if group_by == "source" else record.extra.get(group_by) for record in records]
        if records and all(value is None for value in values):
            fields = ["source", *sorted({name for record in records for name in record.extra})]
            some = ", ".join(fields[:_KNOWN_FIELDS]) + (", ..." if len(fields) > _KNOWN_FIELDS else "")
            raise RecordError("group_by", f"no record has the field {group_by!r}. Known: {some}")
        pairs += same([None if value is None else str(value) for value in values])
    return clusters(len(records), pairs)


def _shortcuts(
    records: Sequence[Record],
    infos: Sequence[VideoInfo | None],
    scan: Scan,
    groups: list[int] | None,
    seed: int,
) -> tuple[Shortcuts | None, str | None]:
    tables: dict[str, FeatureTable] = {}
    if scan.headers:
        container = container_table(scan.facts)
        tables["container"] = container
        tables["container_without_rate"] = container.without(RATE_FEATURES)
    tables["geometry"] = geometry_table(infos)
    if scan.deep:
        tables["lowlevel"] = stack([pictures.lowlevel for pictures in scan.pictures])
        tables["content"] = stack([pictures.content for pictures in scan.pictures])
    try:
        shortcuts = run_probes(
            tables,
            [record.label for record in records],
            sources=[record.source for record in records],
            groups=groups,
            seed=seed,
        )
    except MissingExtra as error:
        return None, str(error)
    return shortcuts, None


# ── distributions ───────────────────────────────────────────────────────────────────────────────────────────────────


def _distributions(records: Sequence[Record], infos: Sequence[VideoInfo | None]) -> list[LabelDistribution]:
    numbers: list[tuple[str, str, list[float | None]]] = [
        ("length", "s", [info_seconds(i) for i in infos]),
        ("frame rate", "fps", [None if i is None else i.fps for i in infos]),
        ("short side", "px", [None if i is None else min(i.width, i.height) for i in infos]),
        ("aspect", "width / height", [None if i is None else i.width / i.height for i in infos]),
    ]
    return [_spread(name, unit, values, [str(record.label) for record in records]) for name, unit, values in numbers]


def _spread(name: str, unit: str, values: Sequence[float | None], labels: Sequence[str]) -> LabelDistribution:
    numbers = np.array([value for value in values if value is not None], float)
    of = np.array([label for label, value in zip(labels, values, strict=True) if value is not None])
    # A single film among clips must not flatten the rest: what lies beyond the 99th percentile is put at it.
    high = float(np.percentile(numbers, 99)) if len(numbers) else 1.0
    low = float(numbers.min()) if len(numbers) else 0.0
    edges = np.linspace(low, max(high, low + 1e-6), BINS + 1)
    counts = {
        label: tuple(int(number) for number in np.histogram(np.minimum(numbers[of == label], edges[-1]), edges)[0])
        for label in sorted(Counter(of.tolist()))
    }
    return LabelDistribution(name, unit, tuple(float(edge) for edge in edges), counts, len(values) - len(numbers))
