"""``deeptrace data`` for those who make a dataset: prompts, filters, lengths, annotators, wording."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import click

from deeptrace.characters import visible
from deeptrace.cli.data import FOLDER, load_source, note_root
from deeptrace.cli.endpoint import endpoint, open_client, print_spent, summary
from deeptrace.cli.show import bar, print_problems, print_table
from deeptrace.files import dumps

FILE: Final = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("target", metavar="DIR", type=FOLDER)
@click.option("--count", type=click.IntRange(1), default=100, show_default=True, help="How many prompts are wanted.")
@click.option("--seed", default=0, show_default=True, help="Another seed, other requests.")
@click.option(
    "--blocked", metavar="WORDS", multiple=True, help="Words and phrases, between commas, that none may hold."
)
@click.option("--existing", type=FILE, help="A prompts.jsonl whose prompts are not to be repeated.")
@click.option("--decisions", type=FILE, help='What a person dropped: JSON lines {"prompt_id", "keep", "reason"}.')
@endpoint
@click.option("--json", "as_json", is_flag=True, help="A summary as JSON on stdout.")
def prompts(
    target: Path,
    count: int,
    seed: int,
    blocked: tuple[str, ...],
    existing: Path | None,
    decisions: Path | None,
    as_json: bool,
    **options: Any,
) -> int:
    """Have a language model write prompts for video generators; repeats are dropped, and why is logged.

    DIR gets prompts.jsonl and dropped.jsonl, also when the run is stopped. The key is taken from the environment
    (DEEPTRACE_API_KEY). Run again, it goes on where it was. Exit code 1: fewer than --count came.
    """
    from deeptrace.data.build.prompts import count_reasons, read_decisions, read_existing, write_prompts

    existing_prompts = () if existing is None else read_existing(existing)
    decided = None if decisions is None else read_decisions(decisions)
    words = [word.strip() for group in blocked for word in group.split(",") if word.strip()]
    with open_client(options) as client:
        with bar("writing prompts", count) as report:
            prompt_set = write_prompts(
                client,
                target,
                count=count,
                seed=seed,
                existing=existing_prompts,
                blocked=words,
                decisions=decided,
                progress=report,
            )
        spent = summary(client, options, prompt_set.stopped)
    reasons = count_reasons(prompt_set.dropped)
    if as_json:
        row = {
            "kept": len(prompt_set.prompts),
            "short_by": prompt_set.short_by,
            "dropped": reasons,
            "failed": prompt_set.failed,
            **spent,
        }
        click.echo(dumps({"schema": "deeptrace.prompts", "schema_version": 1, **row}, indent=1))
    for reason, number in reasons.items():
        click.echo(f"dropped: {number} x {visible(reason)}", err=True)
    for code, number in prompt_set.failed.items():
        click.echo(f"failed: {number} x {visible(code)}", err=True)
    click.echo(f"{len(prompt_set.prompts)} prompts in {visible(str(target))}", err=as_json)
    print_spent(spent, err=as_json)
    if prompt_set.short_by:
        why = (
            "too few could be used"
            if prompt_set.stopped is None
            else f"{prompt_set.stopped.code}: {prompt_set.stopped}"
        )
        click.echo(f"error: {prompt_set.short_by} of {count} prompts are missing: {visible(why)}", err=True)
    return 1 if prompt_set.short_by else 0


@click.command()
@click.argument("source", metavar="SRC")
@click.argument("target", metavar="DIR", type=FOLDER)
@endpoint
@click.option("--json", "as_json", is_flag=True, help="A summary as JSON on stdout.")
def standardise(source: str, target: Path, as_json: bool, **options: Any) -> int:
    """Have a language model reword the explanations of SRC evenly; the original stays beside each new text.

    DIR gets records.jsonl, and the changes as a diff to review, also when the run is stopped: what was not asked about
    is as it was, and counted. Run again, it asks only for what failed or is new. Exit code 1: it was stopped.
    """
    from deeptrace.data import write_records
    from deeptrace.data.build.standardise import standardise as run_standardise

    records = load_source(source)
    print_problems(records.counts)
    with open_client(options) as client:
        with bar("rewording") as report:
            result = run_standardise(records, client, target, progress=report)
        spent = summary(client, options, result.stopped)
    write_records(target / "records.jsonl", result.records, counts=records.counts)
    note_root(target / "records.jsonl", records)
    if as_json:
        row = {"videos": len(result.records), "explanations": dict(result.counts), **spent}
        click.echo(dumps({"schema": "deeptrace.standardise", "schema_version": 1, **row}, indent=1))
    for what, number in result.counts.items():
        click.echo(f"{number} {visible(what)}", err=as_json)
    print_spent(spent, err=as_json)
    click.echo(f"review {visible(str(target / 'rewordings.diff'))}", err=as_json)
    if result.stopped is not None:
        click.echo(
            f"error: stopped: {visible(f'{result.stopped.code}: {result.stopped}')}. Run again to go on", err=True
        )
        return 1
    return 0


@click.group()
def generations() -> None:
    """The manifest of generated clips: prompt, generator, version, seed, date, settings and terms of each."""


@generations.command()
@click.argument("manifest", metavar="FILE", type=FILE)
@click.option("--json", "as_json", is_flag=True, help="Everything as JSON.")
def check(manifest: Path, as_json: bool) -> int:
    """List what is wrong in a generation manifest (JSON lines). Exit code 1: something is."""
    from deeptrace.data.build.generations import read_generations

    rows, problems = read_generations(manifest)
    if as_json:
        content = {"valid": len(rows), "problems": [asdict(problem) for problem in problems]}
        click.echo(dumps({"schema": "deeptrace.generations_check", "schema_version": 1, **content}, indent=1))
    else:
        for problem in problems:
            click.echo(visible(str(problem)))
        click.echo(f"{len(rows)} valid rows, {len(problems)} set aside")
    return 1 if problems else 0


@click.command("filter")
@click.argument("source", metavar="SRC")
@click.argument("target", metavar="DST.jsonl", type=click.Path(dir_okay=False))
@click.option("--log", type=click.Path(dir_okay=False), required=True, help="A JSON line a decision goes here.")
@click.option("--min-seconds", default=0.0, show_default=True, help="Drop shorter videos.")
@click.option("--max-seconds", type=float, help="Drop longer videos.")
@click.option("--motion/--no-motion", default=True, show_default=True, help="Drop videos in which nothing moves.")
@click.option("--quality/--no-quality", default=True, show_default=True, help="Drop blurred, dark and blocky videos.")
def filter_(
    source: str,
    target: str,
    log: str,
    min_seconds: float,
    max_seconds: float | None,
    motion: bool,
    quality: bool,
) -> None:
    """Keep the videos of SRC that are long enough, move, and are sharp; every decision is logged with its numbers.

    What was measured is kept beside the log: run again, with the same or other limits, it reads only new videos.
    """
    from deeptrace.data import write_records
    from deeptrace.data.build.filters import filter_length, filter_motion, filter_quality, write_filter_log
    from deeptrace.data.build.filters.measure import Meter
    from deeptrace.data.read.infos import fill_lengths
    from deeptrace.journal import Journal

    records = load_source(source)
    print_problems(records.counts)
    steps = [filter_length(fill_lengths(records, records.root), min_seconds=min_seconds, max_seconds=max_seconds)]
    with Journal(f"{log}.measures", Meter.settings) as journal:
        meter = Meter(records.root, journal)
        for is_on, name, run in ((motion, "motion", filter_motion), (quality, "quality", filter_quality)):
            if is_on:
                with bar(name, len(steps[-1].records)) as report:
                    steps.append(run(steps[-1].records, records.root, meter=meter, progress=report))
    write_filter_log(log, *steps)
    write_records(target, steps[-1].records, counts=records.counts)
    note_root(target, records)
    for step in steps:
        for reason, count in Counter(f"{dropped.filter}: {dropped.reason}" for dropped in step.dropped).items():
            click.echo(f"dropped: {count} x {visible(reason)}", err=True)
    click.echo(f"{len(steps[-1].records)} of {len(records)} videos kept; decisions in {log}")


@click.command("match-lengths")
@click.argument("source", metavar="SRC")
@click.argument("target", metavar="DIR", type=FOLDER)
@click.option("--seed", default=0, show_default=True, help="Which real video serves which fake, and which part of it.")
def match_lengths(source: str, target: Path, seed: int) -> int:
    """Cut the real videos of SRC so that their lengths are distributed as those of the fakes; clips go to DIR.

    DIR is new, or of an earlier run with the same options, which then goes on. It gets the clips, copies of the unsure
    videos, records.jsonl, and match.json with the choices and distances. Exit code 1: not one clip could be cut.
    """
    from deeptrace.data.build.filters.cut import cut_clips
    from deeptrace.data.build.filters.lengths import match_lengths as run_match
    from deeptrace.data.read.infos import fill_lengths

    records = load_source(source)
    print_problems(records.counts)
    matched = run_match(fill_lengths(records, records.root), seed=seed)
    with bar("cutting", len(matched.clips) + len(matched.unsure)) as report:
        cut = cut_clips(matched, records.root, target, counts=records.counts, progress=report)
    for reason, count in cut.excluded.items():
        click.echo(f"left out: {count} x {visible(reason)}", err=True)
    without = len(matched.unmatched) + len(cut.unserved)
    click.echo(f"{len(cut.clips)} clips in {target}, {without} fakes without one, {len(cut.unsure)} unsure passed on")
    if cut.after is None:
        return 1
    for what, before, after in (
        ("Kolmogorov-Smirnov distance of lengths", f"{cut.before.ks:.3f}", f"{cut.after.ks:.3f}"),
        (
            "mean difference of lengths",
            f"{cut.before.wasserstein_seconds:.3f} s",
            f"{cut.after.wasserstein_seconds:.3f} s",
        ),
    ):
        click.echo(f"{what} {before} before, {after} after")
    return 0


@click.command()
@click.argument("source", metavar="SRC")
@click.option("--json", "as_json", is_flag=True, help="Everything as JSON.")
def agreement(source: str, as_json: bool) -> None:
    """How far the annotators of SRC agree on label, tags, place and time, before any consensus."""
    from deeptrace.data.build.annotators import agreement as run_agreement

    records = load_source(source)
    print_problems(records.counts)
    result = run_agreement(records)
    if as_json:
        click.echo(dumps(asdict(result), indent=1))
        return
    kappas = [("label", result.label), ("label, nobody unsure", result.label_decided), *result.tags.items()]
    print_table(
        ["choice", "units", "raw", "Cohen's kappa", "Fleiss' kappa", "Krippendorff's alpha"],
        [
            (name, kappa.units, *(_two(value) for value in (kappa.raw, kappa.cohen, kappa.fleiss, kappa.alpha)))
            for name, kappa in kappas
        ],
    )
    click.echo()
    spreads = [
        ("box IoU", result.box_iou),
        ("tIoU", result.tiou),
        ("onset difference, s", result.onset_difference_seconds),
    ]
    print_table(
        ["matched traces", "pairs", "mean", "median"],
        [(name, spread.n, _two(spread.mean), _two(spread.median)) for name, spread in spreads],
    )
    if result.unnamed:
        click.echo(f"note: {result.unnamed} annotations without an annotator's name are left out", err=True)
    click.echo(
        f"{result.videos} videos, {len(result.annotators)} annotators, {result.unmatched} traces without a match"
    )


def _two(value: float | None) -> str | None:
    return None if value is None else f"{value:.2f}"


@click.command()
@click.argument("source", metavar="SRC")
@click.argument("target", metavar="DST.jsonl", type=click.Path(dir_okay=False))
def merge(source: str, target: str) -> None:
    """Merge the annotators of each video of SRC into a consensus; where every field came from is kept."""
    from deeptrace.data import write_records
    from deeptrace.data.build.annotators import NOT_MERGED
    from deeptrace.data.build.annotators import merge as run_merge

    records = load_source(source)
    print_problems(records.counts)
    merged = [run_merge(record) for record in records]
    write_records(target, merged, counts=records.counts)
    note_root(target, records)
    unnamed = sum(NOT_MERGED in record.flags for record in merged)
    open_ones = sum("label: no majority" in record.flags for record in merged)
    if unnamed:
        click.echo(f"note: {unnamed} x {NOT_MERGED}", err=True)
    click.echo(f"{len(merged)} videos written to {visible(target)}, {open_ones} without a majority")


COMMANDS: Final = (agreement, filter_, generations, match_lengths, merge, prompts, standardise)
