"""The options of ``deeptrace inspect``, and what they make of a run."""

from __future__ import annotations

import contextlib
import hashlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any, Final

import click
from click.shell_completion import CompletionItem

from deeptrace import __version__
from deeptrace.answer import FORMATS, check_format
from deeptrace.characters import visible
from deeptrace.cli.endpoint import (
    at_endpoint,
    check_money,
    check_samples,
    gpu_of,
    home_of,
    money,
    print_spent,
    sampled,
    sharded,
    with_samples,
)
from deeptrace.cli.inspect.processes import Task, cores
from deeptrace.cli.inspect.run import Inspection
from deeptrace.cli.inspect.table import CSV_FIELDS, csv_values, print_table
from deeptrace.cli.inspect.videos import common_folder, find_videos, part_of
from deeptrace.cli.show import print_look
from deeptrace.errors import AnswerError, DeepTraceError
from deeptrace.files import csv_line, dumps, make_folder, read_bytes
from deeptrace.models import SUMMARIES, Model, load, registry
from deeptrace.records import Outcome
from deeptrace.rows import outcome_to_row
from deeptrace.shards import Shard

DEFAULT_MODEL: Final = "embedded"

IN_PROCESSES: Final = frozenset({"embedded", "motion", "scripted"})
"""Homes of models that a processor core runs: a process for each is faster. The others have their own ways."""


def complete_model(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The names of models that begin so, for the shell. Those of a registry that is broken are left out."""
    named: Mapping[str, registry.RegistryEntry] = {}
    with contextlib.suppress(DeepTraceError):  # a traceback in the middle of a line that is being typed helps nobody
        named = registry.entries()
    names = {**SUMMARIES, **{name: entry.title for name, entry in named.items()}}
    return [CompletionItem(name, help=text) for name, text in names.items() if name.startswith(incomplete)]


@click.command()
@click.argument("videos", nargs=-1, required=True, metavar="VIDEO...", type=click.Path())
@click.option(
    "--model", "model_name", default=DEFAULT_MODEL, show_default=True, shell_complete=complete_model,
    help="Which model looks at the videos.",
)  # fmt: skip
@click.option(
    "--out",
    type=click.Path(file_okay=False),
    help="Write a page, overlay videos and verdicts.jsonl here; run again, it goes on where it was.",
)
@click.option(
    "--json", "as_json", is_flag=True, help="One JSON row a video on stdout, in order, each when it is there."
)
@click.option("--csv", "as_csv", is_flag=True, help="The same as CSV, for a spreadsheet.")
@click.option(
    "--only",
    multiple=True,
    type=click.Choice(["fake", "uncertain", "real", "failed"]),
    help="Show only these outcomes, in table, rows and page. May be repeated; verdicts.jsonl holds all.",
)
@click.option(
    "--jobs", type=click.IntRange(1), help="Videos at once. Default: processor cores; for openai: 8; for hf: 1."
)
@click.option(
    "--prior",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="For embedded: the share of fakes that you expect; shifts P(fake). Default 0.5.",
)
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="For embedded: from which P(fake) on the outcome is fake; between it and the lower one it is uncertain.",
)
@click.option("--follow-links", is_flag=True, help="Read what symbolic links point to, and look into linked folders.")
@click.option("--max-pixels", type=click.IntRange(1), help="Read pictures of up to so many pixels; 8K has 35389440.")
@click.option("--question", metavar="NAME", help="What a language model is asked; docs/answers.md lists the names.")
@click.option("--two-pass", is_flag=True, help="Let a language model look again, closely, at when it saw something.")
@at_endpoint
@sharded
@sampled
@money
def inspect(
    videos: tuple[str, ...],
    model_name: str,
    out: str | None,
    as_json: bool,
    as_csv: bool,
    only: tuple[str, ...],
    jobs: int | None,
    follow_links: bool,
    max_pixels: int | None,
    two_pass: bool,
    shard: Shard | None,
    samples: int | None,
    temperature: float | None,
    **choices: Any,
) -> int:
    """Say of each VIDEO whether it looks fake, where, when and why.

    A VIDEO is a file, or a folder that is searched for videos. One bad video does not stop the rest. The key for
    openai: models is taken from the environment (DEEPTRACE_API_KEY).

    Exit code 0: every video has a verdict. 1: at least one has none. 2: wrong usage. 130: interrupted.
    """
    if as_json and as_csv:
        raise click.UsageError("--json and --csv: choose one")
    paths = list(find_videos(videos, follow_links=follow_links))
    if not paths:
        raise click.UsageError(f"no videos in {', '.join(visible(video) for video in videos)}")
    if shard is not None:
        if out is None:
            raise click.UsageError("--shard needs --out, the folder in which the parts come together")
        paths = part_of(paths, shard)
    check_money({name: choices[name] for name in ("max_cost", "prices")})
    limits: dict[str, Any] = {"follow_links": True} if follow_links else {}
    if max_pixels is not None:
        limits["max_pixels"] = max_pixels
    options = _model_options(model_name, **choices)
    home = home_of(model_name)
    if home == "openai" and jobs is not None:
        options["concurrency"] = jobs
    check_samples(samples, temperature)
    if two_pass and samples is not None:
        raise click.UsageError("--two-pass and --samples: choose one")
    if two_pass and home in IN_PROCESSES:
        raise click.UsageError(f"--two-pass is for models that are asked a question; {home!r} is not one")
    processes = _processes(home, jobs, samples=samples)
    model = with_samples(_load(model_name, options | gpu_of(shard, home), limits), samples, temperature)
    if two_pass:
        model = _looking_twice(model)
    run = Inspection(
        model,
        Task(model_name, options, limits),
        paths,
        settings_of(model, model_name, {"two_pass": two_pass, **_shifts(options)}),
        folder=_folder(out, shard),
        jobs=processes,
        only=frozenset(only),
    )
    _go(run, model_name, _row_writer(as_json=as_json, as_csv=as_csv), costs=choices)
    return 0 if run.complete else 1


def _go(run: Inspection, model_name: str, write: Callable[[Outcome], None] | None, *, costs: dict[str, Any]) -> None:
    """Run, and tell what came of it, also where it had to end early (no key, no money): what came was paid for."""
    try:
        run.go(write or (lambda outcome: None))
    except DeepTraceError:
        _tell(run, model_name, costs, table=write is None)
        raise
    except KeyboardInterrupt:
        _tell_page(run, err=True)
        raise
    _tell(run, model_name, costs, table=write is None)


def _tell(run: Inspection, model_name: str, costs: dict[str, Any], *, table: bool) -> None:
    if run.held:
        click.echo(f"{run.held} of {len(run.paths)} have a row already and were not asked about again", err=True)
    if table and run.outcomes:
        visibility = [run.is_shown(outcome) for outcome in run.in_order]
        print_table(run.done_paths, run.in_order, visibility, about_model(model_name))
    spent = getattr(run.model, "spent", None)
    if spent is not None:
        cost = None if costs["prices"] is None else spent.cost
        print_spent({"requests": spent.requests, "cost": cost}, err=True)
    _tell_page(run, err=not table)


def _tell_page(run: Inspection, *, err: bool) -> None:
    for name in run.changed:
        click.echo(f"error: {visible(name)} was replaced while it was inspected; the page does not show it", err=True)
    if run.page is not None:
        click.echo(f"report: {run.page}", err=err)
        if run.paths:  # a part of a job may hold no video
            print_look(common_folder(run.paths), Path(run.page).parent)


def _row_writer(*, as_json: bool, as_csv: bool) -> Callable[[Outcome], None] | None:
    """What writes an outcome to stdout as soon as it is there; None where a table comes at the end."""
    if as_csv:
        sys.stdout.write(csv_line(CSV_FIELDS))

    def write(outcome: Outcome) -> None:
        sys.stdout.write(dumps(outcome_to_row(outcome)) + "\n" if as_json else csv_line(csv_values(outcome)))
        sys.stdout.flush()

    return write if as_json or as_csv else None


# ── the model ───────────────────────────────────────────────────────────────────────────────────────────────────────


def about_model(model_name: str) -> str:
    """What kind of model it is, in a line."""
    home = home_of(model_name)
    return f"{home}: {SUMMARIES[home]}"


def _load(model_name: str, options: dict[str, Any], limits: dict[str, Any]) -> Model:
    from deeptrace.video import ReadLimits

    return load(model_name, limits=ReadLimits(**limits), **options)


def _processes(home: str, jobs: int | None, *, samples: int | None) -> int:
    if home in IN_PROCESSES and samples is not None:
        if jobs is not None and jobs > 1:
            raise click.UsageError("--jobs: with --samples one process asks about one video after another")
        return 1
    if home in IN_PROCESSES:
        return jobs or cores()
    if home == "hf" and jobs is not None and jobs > 1:
        raise click.UsageError("--jobs: an hf: model is loaded once and looks at one video after another")
    return 1


def _folder(out: str | None, shard: Shard | None) -> Path | None:
    if out is None:
        return None
    return make_folder(out if shard is None else shard.folder_in(Path(out)))


def _shifts(options: dict[str, Any]) -> dict[str, Any]:
    return {name: options.get(name) for name in ("prior", "threshold")}


def settings_of(model: Model, model_name: str, options: dict[str, Any]) -> dict[str, Any]:
    """Everything besides its file that a row depends on: rows of other settings are not taken for these."""
    sampling = getattr(model, "sampling", None)
    asked = getattr(model, "model", model)  # by one that looks twice
    client = getattr(asked, "client", None)
    home, _, argument = model_name.partition(":")
    prompts = [prompt for one in (model, asked) if (prompt := getattr(one, "system_prompt", None)) is not None]
    return {
        "deeptrace": __version__,
        "model": model.name,
        "revision": model.revision,
        "question": getattr(model, "question", None),
        "format": getattr(model, "format", None),
        "sampling": asdict(sampling) if is_dataclass(sampling) and not isinstance(sampling, type) else sampling,
        "base_url": getattr(client, "base_url", None),
        "script": hashlib.sha256(read_bytes(argument)).hexdigest() if home == "scripted" else None,
        **getattr(model, "settings", {}),
        **({"system_prompt": prompts[0]} if prompts else {}),
        **options,
    }


def _model_options(
    model_name: str, *, cache: Path | None, prices: tuple[float, float] | None, **choices: Any
) -> dict[str, Any]:
    """The options that were given, in the words of the models."""
    if choices["question"] is not None and choices["question"] not in FORMATS:
        try:
            check_format(choices["question"], 0)
        except AnswerError as error:
            raise click.UsageError(visible(str(error))) from None
    options = {name: value for name, value in choices.items() if value is not None}
    if model_name.startswith("scripted:") and "question" in options:  # it is asked nothing; its answers are in a format
        options["format"] = options.pop("question")
    if cache is not None:
        options["cache_dir"] = cache
    if prices is not None:
        from deeptrace.chat import Prices

        options["prices"] = Prices(*prices)
    return options


def _looking_twice(model: Model) -> Model:
    from deeptrace.models.text import TextModel
    from deeptrace.models.two_pass import TwoPass

    if not isinstance(model, TextModel):
        raise click.UsageError(f"--two-pass is for models that are asked a question; {model.name!r} is not one")
    return TwoPass(model)
