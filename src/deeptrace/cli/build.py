"""``deeptrace data`` for those who make a dataset: prompts, filters, lengths, annotators, wording."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from deeptrace.cli.data import FOLDER, load_source
from deeptrace.cli.show import bar, print_problems, print_table
from deeptrace.files import dumps
from deeptrace.html import visible

Command = TypeVar("Command", bound=Callable[..., Any])


def _endpoint(command: Command) -> Command:
    """The options of every command that asks a language model."""
    for option in (
        click.option("--max-requests", type=int, help="Stop before more requests than this, retries included."),
        click.option("--max-cost", type=float, help="Stop before costing more than this; needs --prices."),
        click.option("--prices", type=(float, float), help="Price of a million tokens read, and of a million written."),
        click.option("--cache", type=FOLDER, help="Keep good replies here and never ask twice."),
        click.option("--model", "model_name", required=True, help="The model's name at the endpoint."),
        click.option("--base-url", required=True, help="An OpenAI-compatible endpoint, up to /v1."),
    ):
        command = option(command)
    return command


def _client(endpoint: dict[str, Any]) -> Any:
    from deeptrace.chat import ChatClient, Prices

    prices = endpoint["prices"]
    return ChatClient(
        endpoint["base_url"],
        endpoint["model_name"],
        cache_dir=endpoint["cache"],
        max_requests=endpoint["max_requests"],
        max_cost=endpoint["max_cost"],
        prices=None if prices is None else Prices(*prices),
    )


@click.command()
@click.argument("target", metavar="DIR", type=FOLDER)
@click.option("--count", default=100, show_default=True, help="How many prompts are wanted.")
@click.option("--seed", default=0, show_default=True, help="Another seed, other requests.")
@_endpoint
def prompts(target: Path, count: int, seed: int, **endpoint: Any) -> int:
    """Have a language model write prompts for video generators; repeats are dropped, and why is logged.

    The key is taken from the environment. Run again, it goes on where it was. Exit code 1: fewer than --count came.
    """
    from deeptrace.data.prompts import count_reasons, write_prompts

    with _client(endpoint) as client, bar("writing prompts", count) as report:
        made = write_prompts(client, target, count=count, seed=seed, progress=report)
    for reason, number in count_reasons(made.dropped).items():
        click.echo(f"dropped: {number} x {reason}", err=True)
    for code, number in made.failed.items():
        click.echo(f"failed: {number} x {code}", err=True)
    click.echo(f"{len(made.kept)} prompts in {target}")
    return 1 if made.short_by else 0


@click.command()
@click.argument("source", metavar="SRC")
@click.argument("target", metavar="DIR", type=FOLDER)
@_endpoint
def standardise(source: str, target: Path, **endpoint: Any) -> None:
    """Have a language model reword the explanations of SRC evenly; the original stays beside each new text.

    DIR gets records.jsonl, and the changes as a diff to review. Run again, it asks only for what failed or is new.
    """
    from deeptrace.data import write_records
    from deeptrace.data.standardise import standardise as run_standardise

    records = load_source(source)
    print_problems(records.counts)
    target.mkdir(parents=True, exist_ok=True)
    with _client(endpoint) as client:
        done = run_standardise(records, client, target)
    write_records(target / "records.jsonl", done.records)
    for what, number in done.counts.items():
        click.echo(f"{number} {what}")
    click.echo(f"review {target / 'rewordings.diff'}")


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
    from deeptrace.data.filters import filter_length, filter_motion, filter_quality, write_filter_log
    from deeptrace.data.filters_measure import Meter
    from deeptrace.data.journal import Journal

    records = load_source(source)
    print_problems(records.counts)
    steps = [filter_length(records, min_seconds=min_seconds, max_seconds=max_seconds)]
    with Journal(f"{log}.measures", Meter.settings) as journal:
        meter = Meter(records.root, journal)
        for wanted, name, run in ((motion, "motion", filter_motion), (quality, "quality", filter_quality)):
            if wanted:
                with bar(name, len(steps[-1].kept)) as report:
                    steps.append(run(steps[-1].kept, records.root, meter=meter, progress=report))
    write_filter_log(log, *steps)
    write_records(target, steps[-1].kept)
    for step in steps:
        for reason, count in Counter(f"{dropped.filter}: {dropped.reason}" for dropped in step.dropped).items():
            click.echo(f"dropped: {count} x {visible(reason)}", err=True)
    click.echo(f"{len(steps[-1].kept)} of {len(records)} videos kept; decisions in {log}")


@click.command("match-lengths")
@click.argument("source", metavar="SRC")
@click.argument("target", metavar="DIR", type=FOLDER)
@click.option("--seed", default=0, show_default=True, help="Which real video serves which fake, and which part of it.")
def match_lengths(source: str, target: Path, seed: int) -> int:
    """Cut the real videos of SRC so that their lengths are distributed as those of the fakes; clips go to DIR.

    DIR is new, or of an earlier run with the same options, which then goes on. It gets the clips, copies of the unsure
    videos, records.jsonl, and match.json with the choices and distances. Exit code 1: not one clip could be cut.
    """
    from deeptrace.data.filters_cut import cut_clips
    from deeptrace.data.filters_lengths import match_lengths as run_match

    records = load_source(source)
    print_problems(records.counts)
    matched = run_match(records, seed=seed)
    with bar("cutting", len(matched.clips) + len(matched.unsure)) as report:
        cut = cut_clips(matched, records.root, target, progress=report)
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
    from deeptrace.data.annotators import agreement as run_agreement

    records = load_source(source)
    print_problems(records.counts)
    found = run_agreement(records)
    if as_json:
        click.echo(dumps(asdict(found), indent=1))
        return
    kappas = [("label", found.label), ("label, nobody unsure", found.label_decided), *found.tags.items()]
    print_table(
        ["choice", "units", "raw", "Cohen's kappa", "Fleiss' kappa", "Krippendorff's alpha"],
        [
            (name, kappa.units, *(_two(value) for value in (kappa.raw, kappa.cohen, kappa.fleiss, kappa.alpha)))
            for name, kappa in kappas
        ],
    )
    click.echo()
    spreads = [
        ("box IoU", found.box_iou),
        ("tIoU", found.tiou),
        ("onset difference, s", found.onset_difference_seconds),
    ]
    print_table(
        ["matched traces", "pairs", "mean", "median"],
        [(name, spread.n, _two(spread.mean), _two(spread.median)) for name, spread in spreads],
    )
    click.echo(f"{found.videos} videos, {len(found.annotators)} annotators, {found.unmatched} traces without a match")


def _two(value: float | None) -> str | None:
    return None if value is None else f"{value:.2f}"


@click.command()
@click.argument("source", metavar="SRC")
@click.argument("target", metavar="DST.jsonl", type=click.Path(dir_okay=False))
def merge(source: str, target: str) -> None:
    """Merge the annotators of each video of SRC into a consensus; where every field came from is kept."""
    from deeptrace.data import write_records
    from deeptrace.data.annotators import merge as run_merge

    records = load_source(source)
    print_problems(records.counts)
    merged = [run_merge(record) for record in records]
    write_records(target, merged)
    open_ones = sum(record.label is None for record in merged)
    click.echo(f"{len(merged)} videos written to {target}, {open_ones} without a majority")


COMMANDS: Final = (agreement, filter_, match_lengths, merge, prompts, standardise)
