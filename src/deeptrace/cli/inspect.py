"""``deeptrace inspect`` and ``deeptrace demo``: videos in, verdicts out, as a table, JSON lines and a page."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import click
from rich.table import Table
from rich.text import Text

from deeptrace.answer import FORMATS, check_format
from deeptrace.cli.endpoint import check_money, money, print_spent
from deeptrace.cli.show import Terminal, bar, make_folder, typed_command
from deeptrace.errors import AnswerError, DeepTraceError, FileError
from deeptrace.files import dumps, write_text
from deeptrace.html import visible
from deeptrace.models import SUMMARIES, Model, load
from deeptrace.records import Failed, Outcome, Trace, Unparsed, Verdict
from deeptrace.rows import outcome_to_row, trace_to_json

VIDEO_SUFFIXES: Final = frozenset({".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi"})
"""What counts as a video in a folder. A file named on the command line is tried whatever its suffix."""

DEFAULT_MODEL: Final = "embedded"

PAGE_NAME: Final = "index.html"
ROWS_NAME: Final = "verdicts.jsonl"
MEDIA_NAME: Final = "media"


@click.command()
@click.argument("videos", nargs=-1, required=True, metavar="VIDEO...", type=click.Path())
@click.option(
    "--model", "model_name", default=DEFAULT_MODEL, show_default=True, help="Which model looks at the videos."
)
@click.option("--out", type=click.Path(file_okay=False), help="Write a page, overlay videos and verdicts.jsonl here.")
@click.option("--json", "as_json", is_flag=True, help="One JSON row a video on stdout, each as soon as it is there.")
@click.option(
    "--prior",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="For embedded: the share of fakes that you expect; shifts P(fake). Default 0.5.",
)
@click.option("--question", metavar="NAME", help="What a language model is asked; docs/answers.md lists the names.")
@click.option("--two-pass", is_flag=True, help="Let a language model look again, closely, at when it saw something.")
@click.option("--base-url", help="For openai: models: an OpenAI-compatible endpoint, up to /v1.")
@money
def inspect(
    videos: tuple[str, ...],
    model_name: str,
    out: str | None,
    as_json: bool,
    prior: float | None,
    question: str | None,
    two_pass: bool,
    base_url: str | None,
    **costs: Any,
) -> int:
    """Say of each VIDEO whether it looks fake, where, when and why.

    A VIDEO is a file, or a folder that is searched for videos. One bad video does not stop the rest. The key for
    openai: models is taken from the environment (DEEPTRACE_API_KEY).

    Exit code 0: every video has a verdict. 1: at least one has none. 2: wrong usage. 130: interrupted.
    """
    paths = list(find_videos(videos))
    if not paths:
        raise click.UsageError(f"no videos in {', '.join(visible(v) for v in videos)}")
    check_money(costs)
    model = load(model_name, **_model_options(model_name, prior=prior, question=question, base_url=base_url, **costs))
    if two_pass:
        model = _looking_twice(model)
    folder = None if out is None else make_folder(out)
    outcomes: list[Outcome] = []
    try:
        _run(model, paths, outcomes, as_json=as_json, folder=folder)
    except DeepTraceError:  # the run had to end (no key, no money): what came was paid for
        _tell(model, paths, outcomes, model_name, costs, as_json=as_json)
        raise
    _tell(model, paths, outcomes, model_name, costs, as_json=as_json)
    if folder is not None:
        _write_report(folder, paths, outcomes, err=as_json)
    return 0 if all(isinstance(outcome, Verdict) for outcome in outcomes) else 1


def _tell(
    model: Model,
    paths: Sequence[str],
    outcomes: Sequence[Outcome],
    model_name: str,
    costs: dict[str, Any],
    *,
    as_json: bool,
) -> None:
    if not as_json and outcomes:
        _print_table(paths[: len(outcomes)], outcomes, model_name)
    spent = getattr(model, "spent", None)
    if spent is not None:
        cost = None if costs["prices"] is None else spent.cost
        print_spent({"requests": spent.requests, "cost": cost}, err=True)


def _model_options(
    model_name: str, *, cache: Path | None, prices: tuple[float, float] | None, **given: Any
) -> dict[str, Any]:
    """The options that were given, in the words of the models."""
    if given["question"] is not None and given["question"] not in FORMATS:
        try:
            check_format(given["question"], 0)
        except AnswerError as error:
            raise click.UsageError(visible(str(error))) from None
    options = {name: value for name, value in given.items() if value is not None}
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


@click.command()
@click.option("--out", type=click.Path(file_okay=False), default="deeptrace-demo", show_default=True, help="Folder.")
@click.option("--model", "model_name", default=DEFAULT_MODEL, show_default=True, help="Which model looks at the clips.")
@click.option("--seed", type=click.IntRange(min=0), default=3, show_default=True, help="Another seed, another scene.")
def demo(out: str, model_name: str, seed: int) -> int:
    """Make a clip with a fake trace and its clean twin, inspect both, and write the report.

    The place and time of the trace are known, since it was put there; the table shows what the model found of it. The
    default seed is one where it finds the trace; others show how often it does not.
    """
    from deeptrace.inject import inject as put_trace
    from deeptrace.inject import render_scene
    from deeptrace.video import write_video

    folder = make_folder(out)
    model = load(model_name)
    scene = render_scene(seed, size_hw=(270, 480), fps=16.0, seconds=4.0)
    pair = put_trace(
        scene.frames, "Object Disappearance", seed=seed, strength=1.0, onset_seconds=2.0, things=scene.things
    )
    paths = [str(folder / "fake.mp4"), str(folder / "clean.mp4")]
    for path, frames in zip(paths, (pair.fake, pair.clean), strict=True):
        write_video(path, frames)
    write_text(folder / "truth.json", dumps({"fake.mp4": [trace_to_json(pair.trace)], "clean.mp4": []}, indent=1))
    outcomes: list[Outcome] = []
    _run(model, paths, outcomes, as_json=False, folder=folder)
    _print_table(paths, outcomes, model_name)
    _print_truth(pair.trace, outcomes[0])
    _write_report(folder, paths, outcomes, err=False)
    return 0 if all(isinstance(outcome, Verdict) for outcome in outcomes) else 1


# ── the run ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def find_videos(arguments: Sequence[str]) -> Iterator[str]:
    """The files named, and the videos in the folders named, sorted by name; each path once."""
    seen: set[str] = set()
    for argument in arguments:
        for path in sorted(_videos_in(argument)) if os.path.isdir(argument) else [argument]:
            if path not in seen:
                seen.add(path)
                yield path


def _videos_in(top: str) -> Iterator[str]:
    for folder, inner, names in os.walk(top, onerror=_say_walk_error):
        if {PAGE_NAME, ROWS_NAME} <= set(names) and MEDIA_NAME in inner:
            inner.remove(MEDIA_NAME)  # the copies that a report of ours plays
        for name in names:
            if os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES:
                yield os.path.join(folder, name)


def _say_walk_error(error: OSError) -> None:
    click.echo(f"note: cannot look into {visible(str(error.filename))}: {error.strerror}", err=True)


def _run(model: Model, paths: Sequence[str], outcomes: list[Outcome], *, as_json: bool, folder: Path | None) -> None:
    """Fill ``outcomes``, in order. With a folder each row is in its verdicts.jsonl as soon as it is there."""
    with bar("inspecting", len(paths)) as report, _row_file(folder) as write_row:
        for outcome in model.inspect_iter(paths):
            outcomes.append(outcome)
            line = dumps(outcome_to_row(outcome)) + "\n"
            write_row(line)
            if as_json:
                sys.stdout.write(line)
                sys.stdout.flush()
            report(len(outcomes), len(paths))


@contextmanager
def _row_file(folder: Path | None) -> Iterator[Callable[[str], object]]:
    if folder is None:
        yield lambda line: None
        return
    try:
        with open(folder / ROWS_NAME, "w", encoding="utf-8", buffering=1) as file:
            yield file.write
    except OSError as error:
        raise FileError(f"cannot write {ROWS_NAME!r}: {error.strerror}") from None


def _write_report(folder: Path, paths: Sequence[str], outcomes: Sequence[Outcome], *, err: bool) -> None:
    from deeptrace.report import ReportItem, write_report

    items = [ReportItem(path, outcome) for path, outcome in zip(paths, outcomes, strict=True)]
    with bar("writing the report", len(items)) as report:
        page = write_report(items, folder, command=typed_command(), progress=report)
    click.echo(f"report: {page}", err=err)


# ── for people ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _print_table(paths: Sequence[str], outcomes: Sequence[Outcome], model_name: str) -> None:
    """A row a video: verdict, P(fake), and of each trace when and why. Text from files and models stays text."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("video", overflow="fold", max_width=36)
    table.add_column("verdict", no_wrap=True)
    table.add_column("P(fake)", justify="right", no_wrap=True)
    table.add_column("what was seen", overflow="fold")
    for path, outcome in zip(paths, outcomes, strict=True):
        name = Text(visible(os.path.basename(os.path.normpath(path))))
        match outcome:
            case Verdict():
                table.add_row(name, _label(outcome), _number(outcome.p_fake), _findings(outcome))
            case Unparsed(reason=reason):
                table.add_row(name, Text("unparsed", "yellow"), "-", Text(visible(reason)))
            case Failed(code=code, reason=reason):
                table.add_row(name, Text("failed", "yellow"), "-", Text(f"{code}: {visible(reason)}"))
    console = Terminal()
    console.print(table)
    console.print(Text(_summary(outcomes), "bold"))
    home = model_name.partition(":")[0]
    console.print(Text(f"{home}: {SUMMARIES[home]}", "dim"))


def _label(verdict: Verdict) -> Text:
    text = Text(verdict.label.upper(), "bold red" if verdict.label == "fake" else "bold green")
    if verdict.uncertain:
        text.append(" uncertain", "yellow")
    if verdict.origin.partial:
        text.append(" partial", "yellow")
    return text


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _findings(verdict: Verdict) -> Text:
    lines = [_trace_line(trace) for trace in verdict.traces]
    if verdict.origin.partial:
        origin = verdict.origin
        lines.append(f"read only in part: {origin.frames_decoded} of {origin.frames_declared or '?'} frames")
    if verdict.flags:
        lines.append(f"flags: {', '.join(verdict.flags)}")
    return Text(visible("\n".join(lines)) if lines else "no trace found")


def _trace_line(trace: Trace) -> str:
    when = ""
    if trace.onset_seconds is not None:
        end = "" if trace.offset_seconds is None else f"-{trace.offset_seconds:.2f}"
        when = f"{trace.onset_seconds:.2f}{end} s"
    what = ", ".join(trace.categories or ())
    head = " ".join(part for part in (when, what) if part)
    return ": ".join(part for part in (head, trace.explanation or "") if part) or "a trace, without place or time"


def _summary(outcomes: Sequence[Outcome]) -> str:
    counts: Counter[str] = Counter()
    for outcome in outcomes:
        match outcome:
            case Verdict(label=label):
                counts[label] += 1
                counts["uncertain"] += outcome.uncertain
                counts["partial"] += outcome.origin.partial
            case Unparsed():
                counts["unparsed"] += 1
            case Failed():
                counts["failed"] += 1
    parts = [f"{counts[key]} {key}" for key in ("fake", "real")]
    parts += [f"{counts[key]} {key}" for key in ("uncertain", "partial", "unparsed", "failed") if counts[key]]
    return f"{len(outcomes)} {'video' if len(outcomes) == 1 else 'videos'}: {', '.join(parts)}"


def _print_truth(truth: Trace, outcome: Outcome) -> None:
    """What was put into the demo's clip, and how much of it was found."""
    from deeptrace.overlap import box_iou

    click.echo(f"\nput into fake.mp4: {_trace_line(truth)}")
    found = outcome.traces[0] if isinstance(outcome, Verdict) and outcome.traces else None
    if found is None:
        click.echo("found: nothing")
        return
    parts = []
    if found.bbox_xyxy is not None and truth.bbox_xyxy is not None:
        parts.append(f"box IoU {box_iou(found.bbox_xyxy, truth.bbox_xyxy):.2f}")
    if found.onset_seconds is not None and truth.onset_seconds is not None:
        parts.append(f"onset {found.onset_seconds - truth.onset_seconds:+.2f} s off")
    parts.append("same category" if set(found.categories or ()) & set(truth.categories or ()) else "another category")
    click.echo(f"found: {', '.join(parts)}")
