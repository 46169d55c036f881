"""``deeptrace bench run``: a model and a dataset in, a folder with every answer out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deeptrace.characters import visible
from deeptrace.cli.data import FOLDER
from deeptrace.cli.endpoint import (
    at_endpoint,
    check_money,
    check_samples,
    gpu_of,
    home_of,
    money,
    sampled,
    sharded,
    with_samples,
)
from deeptrace.cli.show import bar, print_problems, print_table, typed_command
from deeptrace.files import dumps, make_folder
from deeptrace.models import SUMMARIES, load

if TYPE_CHECKING:
    from deeptrace.bench.run.runner import RunProgress
    from deeptrace.bench.run.tracks import Variant
    from deeptrace.shards import Shard


@click.command()
@click.argument("source", metavar="DATA")
@click.option("--model", "model_name", required=True, help="Which model is asked; `deeptrace models` lists them.")
@click.option("--split", default="test", show_default=True, help="train, val, test, or all.")
@click.option("--question", help="The question that a language model is asked; default: its own.")
@click.option(
    "--track",
    type=click.Choice(["original", "normalised", "platform"]),
    default="original",
    show_default=True,
    help="The videos as they are, all in one form, or after what sites do to them.",
)
@click.option(
    "--frames",
    "view",
    type=click.Choice(["in-order", "shuffled", "single"]),
    default="in-order",
    show_default=True,
    help="What the model sees: a gain that survives shuffling is not motion.",
)
@click.option("--out", type=FOLDER, help="The folder of the run; default: bench/MODEL-SPLIT-TRACK.")
@click.option("--root", type=FOLDER, help="The folder that the videos' paths are relative to, where not DATA's own.")
@click.option(
    "--short-side", default=360, show_default=True, help="Of the normalised track; smaller ones are left out."
)
@click.option("--limit", type=click.IntRange(1), help="Only the first so many videos: to try things.")
@click.option("--workers", type=click.IntRange(1), help="Videos at once; default: what the model can take.")
@click.option("--seed", default=0, show_default=True, help="Of crops, logos, windows and shuffling.")
@at_endpoint
@sharded
@sampled
@money
@click.option("--json", "as_json", is_flag=True, help="A summary as JSON on stdout.")
def run(
    source: str,
    model_name: str,
    split: str,
    question: str | None,
    track: Any,
    view: Any,
    out: Path | None,
    root: Path | None,
    short_side: int,
    limit: int | None,
    workers: int | None,
    seed: int,
    base_url: str | tuple[str, ...] | None,
    transport: str | None,
    shard: Shard | None,
    samples: int | None,
    temperature: float | None,
    as_json: bool,
    **options: Any,
) -> int:
    """Ask a model about every video of DATA and keep its answers: journal.jsonl, verdicts.jsonl, run.json.

    Ended at any moment, it goes on where it was when run again: no video is asked about twice, but for failures that
    may pass. Exit code 1: some video has no answer.
    """
    from deeptrace.bench.run.runner import identity_of
    from deeptrace.bench.run.tracks import Steps, run_track, select
    from deeptrace.data import load_records

    check_money(options)
    check_samples(samples, temperature)
    records = load_records(source, root=root)
    print_problems(records.counts)
    whole, run_records = select(records, split), select(records, split, limit=limit)
    model_options = _model_options(model_name, question=question, base_url=base_url, transport=transport, **options)
    model = load(model_name, **model_options, **gpu_of(shard, home_of(model_name)))
    model = with_samples(model, samples, temperature, seed=seed)
    folder = make_folder(
        out
        or Path("bench") / _slug(f"{model_name}-{split}-{track}" + ("" if samples is None else f"-{samples}-samples"))
    )
    here = [record for record in run_records if shard is None or shard.holds(record.video_id)]
    with bar("asking" if shard is None else f"asking, part {shard}", len(here)) as report:
        steps = Steps(
            making=lambda what, variants, total: report(variants, total, note=f"making {what}"),
            asking=lambda now: report(now.done, now.total, note=_progress_words(now, options["max_cost"])),
        )
        variants = run_track(
            model, run_records, folder, track,
            split=split, view=view, seed=seed, workers=workers, short_side=short_side, steps=steps,
            command=typed_command(), dataset=identity_of(whole, whole.root), shard=shard,
        )  # fmt: skip
    _tell(variants, folder, as_json=as_json)
    if (what := SUMMARIES.get(model.name)) is not None:
        click.echo(f"{model.name}: {what}", err=as_json)
    return 0 if all(variant.run.complete for variant in variants) else 1


def _model_options(name: str, **choices: Any) -> dict[str, Any]:
    """The options that were given, in the words of the model's home."""
    options = {key: choices[key] for key in ("question", "base_url", "transport") if choices[key] is not None}
    if name.startswith("scripted:") and "question" in options:  # it is asked nothing; its answers are in a format
        options["format"] = options.pop("question")
    money = {key: choices[key] for key in ("max_cost", "max_requests", "prices") if choices[key] is not None}
    if choices["cache"] is not None:
        money["cache_dir"] = choices["cache"]
    if "prices" in money:
        from deeptrace.chat import Prices

        money["prices"] = Prices(*money["prices"])
    return options | money


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-.")


def _progress_words(now: RunProgress, max_cost: float | None) -> str:
    words = [f"{now.unparsed} unparsed"] if now.unparsed else []
    if now.failed:
        words.append(f"{now.failed} failed")
    if now.cost is not None:
        words.append(f"cost {now.cost:.4f}" + ("" if max_cost is None else f" of {max_cost:g}"))
    return ", ".join(words)


def _tell(variants: list[Variant], folder: Path, *, as_json: bool) -> None:
    rows = []
    for variant in variants:
        counts = variant.run.to_json()
        rows.append({"variant": variant.name, "folder": str(variant.run.folder), **counts, "lost": variant.notes})
    if as_json:
        click.echo(dumps({"schema": "deeptrace.bench.run_summary", "schema_version": 1, "runs": rows}, indent=1))
    else:
        heads = ["variant", "videos", "verdicts", "unparsed", "failed", "asked now", "cost"]
        names = ("variant", "videos", "verdict", "unparsed", "failed", "asked", "cost")
        print_table(heads, [[row[name] for name in names] for row in rows])
    for row in rows:
        for code, count in row["codes"].items():
            click.echo(f"{row['variant']}: failed {count} x {code}", err=True)
        for what, count in row["lost"].items():
            click.echo(f"{row['variant']}: {count} x {visible(what)}", err=True)
        if row["stopped"] is not None:
            why = f"{row['stopped']['code']}: {row['stopped']['reason']}"
            click.echo(f"error: stopped: {visible(why)}. Run again to go on", err=True)
    click.echo(f"run: {visible(str(folder))}", err=as_json)
