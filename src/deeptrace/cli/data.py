"""``deeptrace data``: datasets of traces, loaded, checked, counted, split and converted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from deeptrace.cli.show import print_problems, print_table
from deeptrace.data.problems import count_problems
from deeptrace.files import dumps
from deeptrace.html import visible
from deeptrace.records import Record

FOLDER = click.Path(file_okay=False, path_type=Path)
SHOWN_PROBLEMS = 20


@click.group()
def data() -> None:
    """Load, check, count, split and convert datasets of traces.

    SRC is a folder of the RewardData release, a records.jsonl (or its folder), or an export of Labelbox, Label Studio
    or CVAT; which one shows in its content.
    """


def _load(source: str, *, strict: bool = False) -> Any:
    from deeptrace.data import load_records

    return load_records(source, strict=strict)


@data.command()
@click.argument("source", metavar="SRC")
@click.option("--strict", is_flag=True, help="Any problem is an error.")
@click.option("--json", "as_json", is_flag=True, help="The problems as JSON lines.")
def check(source: str, strict: bool, as_json: bool) -> int:
    """List every bad value of SRC: the file, the row, the video, the field, and what was done about it.

    Exit code 1: with --strict, there are problems.
    """
    records = _load(source, strict=strict)
    if as_json:
        for problem in records.problems:
            click.echo(dumps(vars(problem)))
        return 0
    for problem in records.problems[:SHOWN_PROBLEMS]:
        click.echo(visible(str(problem)))
    if len(records.problems) > SHOWN_PROBLEMS:
        click.echo(f"... and {len(records.problems) - SHOWN_PROBLEMS} more; --json lists all")
    labels = ", ".join(f"{n} {label}" for label, n in _count(record.label or "unlabelled" for record in records))
    click.echo(f"{len(records)} videos ({labels}), {len(records.problems)} problems")
    return 0


def _count(values: Iterable[str]) -> list[tuple[str, int]]:
    from collections import Counter

    return Counter(values).most_common()


@data.command()
@click.argument("source", metavar="SRC")
@click.option("--json", "as_json", is_flag=True, help="All statistics as JSON.")
@click.option("--out", type=FOLDER, help="Draw the plots into this folder.")
def stats(source: str, as_json: bool, out: Path | None) -> None:
    """Count what SRC holds: per source, per category, per split; sizes, places and times of traces."""
    from deeptrace.data import describe, write_plots

    found = describe(_load(source))
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        for path in write_plots(found, out):
            click.echo(str(path), err=True)
    if as_json:
        click.echo(dumps(found.to_json(), indent=1))
        return
    print_problems(dict(found.problems))
    print_table(
        ["source", "label", "annotations", "videos", "explained %", "avg H x W", "video s", "trace s"],
        [
            (
                row.source or ("all" if row in found.totals else None),
                row.label,
                row.annotations,
                row.videos,
                None if row.explained_share is None else f"{100 * row.explained_share:.1f}",
                None if row.height.value is None else f"{row.height.value:.0f} x {row.width.value or 0:.0f}",
                None if row.video_seconds.value is None else f"{row.video_seconds.value:.1f}",
                None if row.trace_seconds.value is None else f"{row.trace_seconds.value:.1f}",
            )
            for row in (*found.sources, *found.totals)
        ],
        numbers_from=2,
    )
    click.echo()
    print_table(
        ["category", "mentions", "% of mentions"],
        [
            (row.category, row.mentions, None if row.share is None else f"{100 * row.share:.1f}")
            for row in found.categories
        ],
    )
    click.echo()
    print_table(
        ["split", "label", "videos", "annotations"],
        [(row.split, row.label, row.videos, row.annotations) for row in found.splits],
        numbers_from=2,
    )


@data.command()
@click.argument("source", metavar="SRC")
@click.argument("target", metavar="DST.jsonl", type=click.Path(dir_okay=False))
@click.option("--seed", default=0, show_default=True, help="Another seed, another split.")
@click.option(
    "--clusters", type=click.Path(dir_okay=False), help="JSON of `audit --json`: keeps near-duplicates together."
)
def split(source: str, target: str, seed: int, clusters: str | None) -> None:
    """Split SRC 8:1:1 by unique video and write the records with their split to DST.jsonl.

    A video that has a split keeps it. With --clusters a newcomer joins the split of its near-duplicates, and a group
    that lies in two splits already is reported.
    """
    from deeptrace.data import split as split_records
    from deeptrace.data import write_records

    records = _load(source)
    print_problems(records.counts)
    assignment = split_records(records, seed=seed, clusters=_read_clusters(clusters))
    write_records(target, [_with_split(record, assignment.splits.get(record.video_id)) for record in records])
    for bridge in assignment.bridges:
        ids = "; ".join(f"{name}: {', '.join(names)}" for name, names in bridge.video_ids.items())
        click.echo(f"note: near-duplicates lie in two splits: {visible(ids)}", err=True)
    print_table(
        ["label", "source", "train", "val", "test"],
        [
            (label, origin, *(counts.get(name, 0) for name in ("train", "val", "test")))
            for (label, origin), counts in assignment.counts.items()
        ],
        numbers_from=2,
    )
    click.echo(f"{len(assignment.new)} videos newly assigned; written to {target}")


def _with_split(record: Record, name: str | None) -> Record:
    return record if name is None else replace(record, split=name)


def _read_clusters(path: str | None) -> dict[str, int] | None:
    from deeptrace.errors import RecordError
    from deeptrace.files import loads, read_bytes

    if path is None:
        return None
    found = loads(read_bytes(path))
    groups = found.get("near_duplicates") if isinstance(found, dict) else None
    if not isinstance(groups, list) or not all(isinstance(group, list) for group in groups):
        raise RecordError(
            "near_duplicates", f"{Path(path).name!r} holds none. Make it with: deeptrace data audit --json"
        )
    return {video_id: number for number, group in enumerate(groups) for video_id in group}


@data.command()
@click.argument("source", metavar="SRC")
@click.argument("target", metavar="DST")
@click.option("--to", "format_name", required=True, help="records, labelbox, label-studio, cvat, hf, coco or fiftyone.")
def convert(source: str, target: str, format_name: str) -> None:
    """Write SRC in another format; what the format cannot carry is listed.

    DST is a file or a folder, as the format wants it. `records` is our own records.jsonl.
    """
    from deeptrace.data import write_records
    from deeptrace.data.convert import FORMATS, write

    known = ("records", *FORMATS)
    if format_name not in known:
        raise click.UsageError(f"{format_name!r} is not a format. Known: {', '.join(known)}")
    records = _load(source)
    print_problems(records.counts)
    if format_name == "records":
        write_records(target, records)
        lost = {}
    else:
        lost = count_problems(write(target, list(records), format_name))  # type: ignore[arg-type]  # checked above
    for what, count in lost.items():
        click.echo(f"not carried: {count} x {visible(what)}", err=True)
    click.echo(f"{len(records)} videos written to {target}")
