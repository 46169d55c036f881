"""``deeptrace data``: datasets of traces, loaded, checked, counted, split and converted."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from deeptrace.cli.show import bar, print_problems, print_table
from deeptrace.data.problems import count_problems
from deeptrace.files import dumps, write_text
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


def load_source(source: str, *, strict: bool = False) -> Any:
    """The `Records` that a command was given."""
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
    records = load_source(source, strict=strict)
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

    found = describe(load_source(source))
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

    records = load_source(source)
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
    groups = found.get("clusters") if isinstance(found, dict) else None
    if not isinstance(groups, list) or not all(isinstance(group, list) for group in groups):
        raise RecordError(
            "near_duplicates", f"{Path(path).name!r} holds none. Make it with: deeptrace data audit --deep --json"
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
    records = load_source(source)
    print_problems(records.counts)
    if format_name == "records":
        write_records(target, records)
        lost = {}
    else:
        lost = count_problems(write(target, list(records), format_name))  # type: ignore[arg-type]  # checked above
    for what, count in lost.items():
        click.echo(f"not carried: {count} x {visible(what)}", err=True)
    click.echo(f"{len(records)} videos written to {target}")


@data.command()
@click.argument("target", metavar="DIR", type=FOLDER)
@click.option("--videos", default=12, show_default=True, help="How many fakes; as many clean twins.")
@click.option("--seed", default=0, show_default=True, help="Another seed, other scenes.")
def example(target: Path, videos: int, seed: int) -> None:
    """Make a small dataset in exactly the release's layout: rendered scenes with a known trace, and their twins."""
    from deeptrace.data.example import make_example

    made = make_example(target, n=videos, seed=seed)
    click.echo(f"{made.fakes} fake and {made.reals} real videos, {made.rows} rows, in {target}")


@data.command()
@click.argument("source", metavar="SRC")
@click.option("--probe", is_flag=True, help="Read the header of every file.")
@click.option("--deep", is_flag=True, help="Decode every picture too.")
@click.option("--group-by", help="A field whose clips stay on one side of a fold, such as source_repo.")
@click.option("--jobs", default=1, show_default=True, help="How many files are read at a time.")
@click.option("--seed", default=0, show_default=True, help="Of the folds and intervals.")
@click.option("--out", type=FOLDER, help="Write audit.json and a page here.")
@click.option("--json", "as_json", is_flag=True, help="Everything as JSON on stdout.")
def audit(
    source: str, probe: bool, deep: bool, group_by: str | None, jobs: int, seed: int, out: Path | None, as_json: bool
) -> int:
    """Look for what is wrong in SRC, and how far its labels can be told without seeing any trace.

    Exit code 1: there are errors (missing or unreadable files, leaks between splits).
    """
    from deeptrace.data.audit import audit as run_audit
    from deeptrace.data.audit_page import audit_tables, write_audit_page

    records = load_source(source)
    with bar("auditing") as report:
        found = run_audit(
            records,
            probe=probe,
            deep=deep,
            group_by=group_by,
            jobs=jobs,
            seed=seed,
            progress=lambda _stage, done, total: report(done, total),
        )
    if as_json:
        click.echo(dumps(found.to_json(), indent=1))
    else:
        for table in audit_tables(found):
            print_table(table.columns, table.rows, title=table.title)
            click.echo()
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        write_text(out / "audit.json", dumps(found.to_json(), indent=1))
        command = shlex.join(sys.argv[1:])
        page = write_audit_page(out / "index.html", found, command=f"deeptrace {command}")
        click.echo(f"page: {page}", err=as_json)
    return 1 if found.errors else 0


@data.command()
@click.argument("source", metavar="SRC")
@click.argument("target", metavar="DST", type=FOLDER)
@click.option("--aspect", default="16:9", show_default=True, help="Width to height after the centre crop.")
@click.option("--short-side", default=360, show_default=True, help="Pixels; smaller videos are left out and counted.")
@click.option("--fps", default=8.0, show_default=True, help="Frames a second; frames are dropped, never blended.")
@click.option("--duration", "duration_seconds", type=float, help="Length of every video in seconds.")
@click.option("--match-duration", is_flag=True, help="Choose the longest length that 90 % of each label have.")
@click.option("--crf", default=23, show_default=True, help="Quality of the encoder, fixed for all.")
@click.option("--gop", default=16, show_default=True, help="Frames from key frame to key frame.")
@click.option("--seed", default=0, show_default=True, help="Where the window lies in each video.")
def normalise(
    source: str,
    target: Path,
    aspect: str,
    short_side: int,
    fps: float,
    duration_seconds: float | None,
    match_duration: bool,
    crf: int,
    gop: int,
    seed: int,
) -> None:
    """Bring the videos of SRC into one form in DST: one aspect, size, rate, length and quality; no sound, no tags.

    Boxes and times are carried along. Can be ended at any moment and run again.
    """
    from deeptrace.data.normalise import normalise as run_normalise

    width, colon, height = aspect.partition(":")
    if not (colon and width.isdigit() and height.isdigit() and int(width) and int(height)):
        raise click.UsageError(f"--aspect {aspect!r} is not a pair such as 16:9")
    records = load_source(source)
    print_problems(records.counts)
    with bar("normalising") as report:
        done = run_normalise(
            records,
            records.root,
            target,
            aspect=(int(width), int(height)),
            short_side=short_side,
            fps=fps,
            duration_seconds=duration_seconds,
            match_duration=match_duration,
            crf=crf,
            gop=gop,
            seed=seed,
            progress=report,
        )
    for what, counts in (("left out", done.excluded), ("trace dropped", done.traces_dropped)):
        for reason, count in counts.items():
            click.echo(f"{what}: {count} x {visible(reason)}", err=True)
    click.echo(f"{len(done.records)} videos in {target}, {done.traces_kept} traces kept")


@data.command()
@click.argument("target", metavar="DIR", type=FOLDER)
@click.option("--revision", help="Branch, tag or commit; default: what DIR holds already, else main.")
@click.option("--endpoint", help="Another hub.")
@click.option("--no-extract", is_flag=True, help="Leave the archives packed.")
def download(target: Path, revision: str | None, endpoint: str | None, no_extract: bool) -> None:
    """Fetch the RewardData release (21 GB) from the Hugging Face hub and unpack it. Interrupted, run it again."""
    from deeptrace.data.download import download as run_download
    from deeptrace.data.extract import extract_release

    with bar("downloading") as report:
        got = run_download(
            target, revision=revision, endpoint=endpoint, progress=lambda _name, done, total: report(done, total)
        )
    click.echo(f"{len(got.files)} files of {got.repo_id} at {got.commit[:12]} in {target}")
    if no_extract:
        return
    with bar("unpacking") as report:
        for name, done in extract_release(target, progress=lambda so_far, total, _name: report(so_far, total)).items():
            click.echo(f"{name}: {len(done.written)} written, {len(done.skipped)} there, {len(done.damaged)} damaged")
            for damage in done.damaged:
                click.echo(f"damaged: {visible(str(damage))}", err=True)
