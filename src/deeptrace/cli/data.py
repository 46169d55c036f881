"""``deeptrace data``: datasets of traces, loaded, checked, counted, split and converted."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

import click
from typing_extensions import override

from deeptrace.characters import visible
from deeptrace.cli.show import bar, print_look, print_problems, print_table, typed_command
from deeptrace.data.read.problems import Problem, count_problems
from deeptrace.errors import JsonError, RecordError
from deeptrace.files import dumps, loads, read_bytes
from deeptrace.records import Record

if TYPE_CHECKING:
    from deeptrace.data.hub.extract import Extraction
    from deeptrace.data.read.infos import InfoMissing
    from deeptrace.data.read.load import Records

FOLDER: Final = click.Path(file_okay=False, path_type=Path)
SHOWN_PROBLEMS: Final = 20


def _remember(context: click.Context, option: click.Parameter, value: object) -> None:
    context.meta[f"{__name__}.{option.name}"] = value


def _source_options() -> list[click.Option]:
    return [
        click.Option(
            ["--root"],
            type=click.Path(exists=True, file_okay=False, path_type=Path),
            callback=_remember,
            expose_value=False,
            help="The folder that the videos' paths are relative to, where it is not SRC's own.",
        ),
        click.Option(
            ["--strict"], is_flag=True, callback=_remember, expose_value=False, help="Any problem in SRC is an error."
        ),
    ]


class _SourceGroup(click.Group):
    """A group whose commands with an argument SRC all take ``--root`` and ``--strict``; `load_source` obeys them."""

    @override
    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        if any(param.name == "source" for param in cmd.params):
            cmd.params += _source_options()
        super().add_command(cmd, name)


@click.group(cls=_SourceGroup)
def data() -> None:
    """Load, check, count, split and convert datasets of traces.

    SRC is a folder of the RewardData release, a records.jsonl (or its folder), or an export of Labelbox, Label Studio
    or CVAT; which one shows in its content. Exports of frame numbers need the videos' frame rate: where they do not say
    it, --root says where the videos are.
    """


def load_source(source: str) -> Records:
    """The `Records` that a command was given, by its ``--root`` and ``--strict``."""
    from deeptrace.data import load_records
    from deeptrace.data.read.infos import InfoMissing

    context = click.get_current_context()
    root, strict = (context.meta.get(f"{__name__}.{name}") for name in ("root", "strict"))
    try:
        return load_records(source, root=root, probe=root is not None, strict=bool(strict))
    except InfoMissing as error:
        raise _without_info(error, root) from None


def _without_info(error: InfoMissing, root: Path | None) -> RecordError:
    advice = "Say where the videos are: --root DIR" if root is None else "The videos cannot be read under --root"
    return RecordError("videos", f"{error.what}. {advice}")


def note_root(target: str | Path, records: Records) -> None:
    """Say which ``--root`` a written file needs, where it does not lie in the folder that paths are relative to."""
    if Path(target).resolve().parent != records.root.resolve():
        click.echo(
            f"note: paths are relative to {records.root}; pass --root {shlex.quote(str(records.root))}", err=True
        )


@data.command()
@click.argument("source", metavar="SRC")
@click.option("--json", "as_json", is_flag=True, help="The problems as JSON lines.")
def check(source: str, as_json: bool) -> int:
    """List every bad value of SRC: the file, the row, the video, the field, and what was done about it.

    Exit code 1: with --strict, there are problems.
    """
    strict = bool(click.get_current_context().meta[f"{__name__}.strict"])
    tally = _Checked()
    if as_json and not strict:
        tally.read(source, each=lambda problem: click.echo(dumps(vars(problem))))
        return 0
    tally.read(source)
    if strict and tally.bad:
        raise tally.refusal(source)
    if as_json:  # nothing is printed of what is refused, so that the file is read once more
        _Checked().read(source, each=lambda problem: click.echo(dumps(vars(problem))))
        return 0
    for problem in tally.first:
        click.echo(visible(str(problem)))
    if tally.problems > SHOWN_PROBLEMS:
        click.echo(f"... and {tally.problems - SHOWN_PROBLEMS} more; --json lists all")
    labels = ", ".join(f"{count} {label}" for label, count in tally.labels.most_common())
    for what, count in tally.earlier.items():
        click.echo(f"before this file was written: {count} x {visible(what)}")
    click.echo(f"{tally.labels.total()} videos ({labels}), {tally.problems} problems")
    return 0


class _Checked:
    """What `check` counts of a file: nothing in it grows with the file."""

    def __init__(self) -> None:
        self.labels: Counter[str] = Counter()
        self.earlier: Counter[str] = Counter()
        self.problems = self.bad = 0
        self.first: list[Problem] = []
        self.first_bad: list[Problem] = []

    def read(self, source: str, *, each: Callable[[Problem], object] | None = None) -> None:
        """Read a file; ``each`` gets its problems as they come."""
        from deeptrace.data.read.infos import InfoMissing
        from deeptrace.data.read.load import iter_checked

        root = click.get_current_context().meta[f"{__name__}.root"]

        def note(problem: Problem) -> None:
            self.problems += 1
            if len(self.first) < SHOWN_PROBLEMS:
                self.first.append(problem)
            if problem.action != "kept":
                self.bad += 1
                if len(self.first_bad) < SHOWN_PROBLEMS:
                    self.first_bad.append(problem)
            if each is not None:
                each(problem)

        try:
            records = iter_checked(
                source, root=root, probe=root is not None, on_problem=note, on_counts=self.earlier.update
            )
            self.labels.update(record.label or "unlabelled" for record in records)
        except InfoMissing as error:
            raise _without_info(error, root) from None

    def refusal(self, source: str) -> RecordError:
        """The error of ``--strict``."""
        from deeptrace.data.read.load import refusal

        return refusal(self.first_bad[0].file if self.first_bad else Path(source).name, self.first_bad, self.bad)


@data.command()
@click.argument("source", metavar="SRC")
@click.option("--json", "as_json", is_flag=True, help="All statistics as JSON.")
@click.option("--out", type=FOLDER, help="Draw the plots into this folder.")
def stats(source: str, as_json: bool, out: Path | None) -> None:
    """Count what SRC holds: per source, per category, per split; sizes, places and times of traces."""
    from deeptrace.data import describe, write_plots

    statistics = describe(load_source(source))
    if out is not None:
        for path in write_plots(statistics, out):
            click.echo(str(path), err=True)
    if as_json:
        click.echo(dumps(statistics.to_json(), indent=1))
        return
    print_problems(dict(statistics.problems))
    print_table(
        ["source", "label", "annotations", "videos", "explained %", "avg H x W", "video s", "trace s"],
        [
            (
                row.source or ("all" if row in statistics.totals else None),
                row.label,
                row.annotations,
                row.videos,
                None if row.explained_share is None else f"{100 * row.explained_share:.1f}",
                None if row.height.value is None else f"{row.height.value:.0f} x {row.width.value or 0:.0f}",
                None if row.video_seconds.value is None else f"{row.video_seconds.value:.1f}",
                None if row.trace_seconds.value is None else f"{row.trace_seconds.value:.1f}",
            )
            for row in (*statistics.sources, *statistics.totals)
        ],
    )
    click.echo()
    print_table(
        ["category", "mentions", "% of mentions"],
        [
            (row.category, row.mentions, None if row.share is None else f"{100 * row.share:.1f}")
            for row in statistics.categories
        ],
    )
    click.echo()
    print_table(
        ["split", "label", "videos", "annotations"],
        [(row.split, row.label, row.videos, row.annotations) for row in statistics.splits],
    )
    print_look(source)


@data.command()
@click.argument("source", metavar="SRC")
@click.argument("target", metavar="DST.jsonl", type=click.Path(dir_okay=False))
@click.option("--seed", default=0, show_default=True, help="Another seed, another split.")
@click.option(
    "--clusters", type=click.Path(dir_okay=False), help="JSON of `audit --json`: keeps near-duplicates together."
)
@click.option("--json", "as_json", is_flag=True, help="The assignment as JSON on stdout.")
def split(source: str, target: str, seed: int, clusters: str | None, as_json: bool) -> None:
    """Split SRC 8:1:1 by unique video and write the records with their split to DST.jsonl.

    A video that has a split keeps it. With --clusters a newcomer joins the split of its near-duplicates, and a group
    that lies in two splits already is reported.
    """
    from deeptrace.data import split as split_records
    from deeptrace.data import write_records

    records = load_source(source)
    print_problems(records.counts)
    assignment = split_records(records, seed=seed, clusters=read_clusters(clusters))
    write_records(
        target,
        [_with_split(record, assignment.splits.get(record.video_id)) for record in records],
        counts=records.counts,
    )
    note_root(target, records)
    for bridge in assignment.bridges:
        ids = "; ".join(f"{name}: {', '.join(names)}" for name, names in bridge.video_ids.items())
        click.echo(f"note: near-duplicates lie in two splits: {visible(ids)}", err=True)
    if as_json:
        click.echo(dumps(assignment.to_json(), indent=1))
        return
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


def read_clusters(path: str | None) -> dict[str, int] | None:
    """The cluster of each video id in the JSON of ``audit --deep --json``; None without a path.

    Raises:
        FileError: the file cannot be read.
        JsonError: it is not JSON.
        RecordError: it holds no clusters.
    """
    if path is None:
        return None
    name = Path(path).name
    try:
        content = loads(read_bytes(path), surrogates=True)
    except JsonError as error:
        raise JsonError(f"{name}: {error}") from None
    groups = content.get("clusters") if isinstance(content, dict) else None
    if not isinstance(groups, list) or not all(_is_cluster(group) for group in groups):
        raise RecordError(
            "clusters",
            f"{name!r} holds no lists of video ids under this name. Make it with: deeptrace data audit --deep --json",
        )
    return {video_id: number for number, group in enumerate(groups) for video_id in group}


def _is_cluster(group: object) -> bool:
    return isinstance(group, list) and all(isinstance(video_id, str) for video_id in group)


@data.command()
@click.argument("source", metavar="SRC")
@click.option("--seed", default=0, show_default=True, help="How real videos are dealt out over the folds.")
@click.option(
    "--clusters", type=click.Path(dir_okay=False), help="JSON of `audit --json`: near-duplicates of tests are left out."
)
def folds(source: str, seed: int, clusters: str | None) -> None:
    """Print folds of SRC as JSON, one for each generator: trained without it, tested on it."""
    from deeptrace.data import leave_one_source_out

    records = load_source(source)
    print_problems(records.counts)
    source_folds = leave_one_source_out(records, seed=seed, clusters=read_clusters(clusters))
    click.echo(
        dumps({"schema": "deeptrace.folds", "schema_version": 1, "seed": seed, "folds": [*map(asdict, source_folds)]})
    )


@data.command()
@click.argument("source", metavar="SRC")
@click.argument("target", metavar="DST")
@click.option("--to", "format_name", required=True, help="records, labelbox, label-studio, cvat, hf, coco or fiftyone.")
@click.option("--option", "options", metavar="KEY=VALUE", multiple=True, help="An option of the format; repeatable.")
@click.option("--json", "as_json", is_flag=True, help="What was written and what was lost as JSON on stdout.")
def convert(source: str, target: str, format_name: str, options: tuple[str, ...], as_json: bool) -> None:
    """Write SRC in another format; what the format cannot carry is listed.

    DST is a file or a folder, as the format wants it. `records` is our own records.jsonl. Options of the formats:
    labelbox shape=export|import, interpolated_frames=true|false; label-studio text=textarea|meta, url_prefix=TEXT;
    cvat density=dense|sparse, zipped=true|false; hf layout=jsonl|parquet, videos=FOLDER, title=TEXT, license=TEXT;
    coco every=N, file_name=TEXT.
    """
    from deeptrace.data import Records, write_records
    from deeptrace.data.convert import FORMATS, read_options, write
    from deeptrace.data.read.infos import InfoMissing, fill_infos

    names = ("records", *FORMATS)
    if format_name not in names:
        raise click.UsageError(f"{format_name!r} is not a format. Known: {', '.join(names)}")
    if format_name == "records" and options:
        raise click.UsageError("'records' has no options")
    texts = [text.partition("=")[::2] for text in options]
    writer_options = {} if format_name == "records" else read_options(format_name, texts)
    records = load_source(source)
    print_problems(records.counts)
    problems: list[Problem] = []
    if format_name == "records":
        write_records(target, records)
        note_root(target, records)
    else:
        root = click.get_current_context().meta[f"{__name__}.root"]
        if root is not None:
            filled = fill_infos(records, root)
            records = Records(filled, root=records.root, problems=records.problems, earlier=records.earlier)
        try:
            problems = write(target, records, format_name, **writer_options)  # type: ignore[arg-type]  # checked above
        except InfoMissing as error:
            raise _without_info(error, root) from None
        if format_name == "hf" and "videos" not in writer_options:
            click.echo("note: the videos were not copied; --option videos=FOLDER copies them from there", err=True)
    counts = count_problems(problems)
    for what, count in counts.items():
        click.echo(f"not carried: {count} x {visible(what)}", err=True)
    written = len(records) - len({problem.video_id for problem in problems if problem.action == "set_aside"})
    if as_json:
        click.echo(
            dumps({"format": format_name, "videos": written, "set_aside": len(records) - written, "lost": counts})
        )
    else:
        click.echo(f"{written} of {len(records)} videos written to {target}")


@data.command()
@click.argument("target", metavar="DIR", type=FOLDER)
@click.option("--videos", default=12, show_default=True, help="How many fakes; as many clean twins.")
@click.option("--seed", default=0, show_default=True, help="Another seed, other scenes.")
def example(target: Path, videos: int, seed: int) -> None:
    """Make a small dataset in exactly the release's layout: rendered scenes with a known trace, and their twins."""
    from deeptrace.data.example import make_example

    dataset = make_example(target, n=videos, seed=seed)
    click.echo(f"{dataset.fakes} fake and {dataset.reals} real videos, {dataset.rows} rows, in {target}")


@data.command()
@click.argument("source", metavar="SRC")
@click.option("--probe", is_flag=True, help="Read the header of every file.")
@click.option("--deep", is_flag=True, help="Decode every picture too.")
@click.option("--group-by", help="A field whose clips stay on one side of a fold, such as source_repo.")
@click.option("--backbone", help="With --deep: content by a pretrained network, efficientnet-lite0.")
@click.option("--jobs", default=1, show_default=True, help="How many files are read at a time.")
@click.option("--seed", default=0, show_default=True, help="Of the folds and intervals.")
@click.option("--out", type=FOLDER, help="Write audit.json and a page here.")
@click.option("--json", "as_json", is_flag=True, help="Everything as JSON on stdout.")
def audit(
    source: str,
    probe: bool,
    deep: bool,
    group_by: str | None,
    backbone: str | None,
    jobs: int,
    seed: int,
    out: Path | None,
    as_json: bool,
) -> int:
    """Look for what is wrong in SRC, and how far its labels can be told without seeing any trace.

    Exit code 1: there are errors (missing or unreadable files, leaks between splits).
    """
    from deeptrace.data.audit import audit as run_audit
    from deeptrace.data.audit.backbones import load_backbone
    from deeptrace.data.audit.page import audit_tables, write_audit

    if backbone is not None and not deep:
        raise click.UsageError("--backbone looks at pictures: give --deep too")
    network = None if backbone is None else load_backbone(backbone)
    records = load_source(source)
    with bar("auditing") as report:
        result = run_audit(
            records,
            probe=probe,
            deep=deep,
            group_by=group_by,
            backbone=network,
            jobs=jobs,
            seed=seed,
            progress=lambda _stage, done, total: report(done, total),
        )
    if as_json:
        click.echo(dumps(result.to_json(), indent=1))
    else:
        for table in audit_tables(result):
            print_table(table.columns, table.rows, title=table.title)
            click.echo()
    if out is not None:
        page = write_audit(out, result, command=typed_command())
        click.echo(f"page: {page}", err=as_json)
    twins = next((cluster for cluster in result.clusters or () if len(cluster) > 1), None)
    print_look(source, at=None if twins is None else f"/beside?{urlencode([('id', name) for name in twins[:4]])}")
    return 1 if result.errors else 0


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
@click.option("--json", "as_json", is_flag=True, help="The counts as JSON on stdout.")
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
    as_json: bool,
) -> int:
    """Bring the videos of SRC into one form in DST: one aspect, size, rate, length and quality; no sound, no tags.

    Boxes and times are carried along. Can be ended at any moment and run again. Exit code 1: no video is left.
    """
    from deeptrace.data.normalise import normalise as run_normalise

    width, colon, height = aspect.partition(":")
    if not (colon and width.isdigit() and height.isdigit() and int(width) and int(height)):
        raise click.UsageError(f"--aspect {aspect!r} is not a pair such as 16:9")
    records = load_source(source)
    print_problems(records.counts)
    with bar("normalising") as report:
        result = run_normalise(
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
    losses = (
        ("left out", result.excluded),
        ("left out, by label", result.excluded_by_label),
        ("trace dropped", result.traces_dropped),
        ("fake without any trace left", {"flagged": result.fakes_without_trace} if result.fakes_without_trace else {}),
    )
    for what, counts in losses:
        for reason, count in counts.items():
            click.echo(f"{what}: {count} x {visible(reason)}", err=True)
    for video_id, problem in result.problems:
        click.echo(visible(f"problem: {video_id}: {problem}"), err=True)
    if as_json:
        click.echo(dumps(result.to_json(), indent=1))
    else:
        click.echo(f"{len(result.records)} videos in {target}, {result.traces_kept} traces kept")
    return 0 if result.records else 1


@data.command()
@click.argument("target", metavar="DIR", type=FOLDER)
@click.option("--revision", help="Branch, tag or commit; default: what DIR holds already, else main.")
@click.option("--endpoint", help="Another hub.")
@click.option("--no-extract", is_flag=True, help="Leave the archives packed.")
def download(target: Path, revision: str | None, endpoint: str | None, no_extract: bool) -> int:
    """Fetch the RewardData release (21 GB) from the Hugging Face hub and unpack it. Interrupted, run it again.

    Exit code 1: entries of the archives are damaged.
    """
    from deeptrace.data.hub.download import download as run_download
    from deeptrace.data.hub.extract import extract_release

    with bar("downloading") as report:
        got = run_download(
            target, revision=revision, endpoint=endpoint, progress=lambda _name, done, total: report(done, total)
        )
    click.echo(f"{len(got.files)} files of {got.repo_id} at {got.commit[:12]} in {target}")
    if no_extract:
        return 0
    with bar("unpacking") as report:
        return _say_extracted(extract_release(target, progress=lambda so_far, total, _name: report(so_far, total)))


@data.command()
@click.argument("parts", metavar="FOLDER", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--to", "target", type=FOLDER, help="Unpack into this folder; default: FOLDER itself.")
def extract(parts: Path, target: Path | None) -> int:
    """Unpack the release's archives in FOLDER, straight from their parts. Interrupted, run it again.

    Exit code 1: entries of the archives are damaged.
    """
    from deeptrace.data.hub.extract import extract_release

    with bar("unpacking") as report:
        return _say_extracted(extract_release(parts, target, progress=lambda done, total, _name: report(done, total)))


def _say_extracted(extractions: Mapping[str, Extraction]) -> int:
    for name, extraction in extractions.items():
        written, there, damaged = map(len, (extraction.written, extraction.skipped, extraction.damaged))
        click.echo(f"{name}: {written} written, {there} there, {damaged} damaged")
        for damage in extraction.damaged:
            click.echo(f"damaged: {visible(str(damage))}", err=True)
    return 1 if any(extraction.damaged for extraction in extractions.values()) else 0
