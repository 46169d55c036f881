"""``deeptrace study``: what people see of injected traces, shams and plain clips; d' and detection rates out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from deeptrace.characters import visible
from deeptrace.cli.explore import load_any, serve_pages, server_options
from deeptrace.cli.show import print_problems, print_table
from deeptrace.files import dumps, write_jsonl

if TYPE_CHECKING:
    from deeptrace.explorer.study.statistics import Dprime, Proportion, StudyResults

_FOLDER: Final = click.Path(file_okay=False, path_type=Path)


@click.group()
def study() -> None:
    """Ask people which clips were faked: run a perception study, and say what their answers are worth."""


@study.command()
@click.argument("source", metavar="SRC", type=click.Path(exists=True, path_type=Path))
@click.argument("target", metavar="DST", type=_FOLDER)
@click.option("--pairs", is_flag=True, help="A fake beside its twin: which one is it?  [default: one clip at a time]")
@click.option("--trials", default=20, show_default=True, type=click.IntRange(1, 500), help="What a participant sees.")
@click.option("--checks", default=2, show_default=True, type=click.IntRange(0, 50), help="Attention checks on top.")
@click.option("--seed", default=0, show_default=True, help="Another seed, other orders.")
@click.option("--root", type=_FOLDER, help="The folder that the videos' paths are relative to, where not SRC's own.")
@server_options
def run(
    source: Path, target: Path, pairs: bool, trials: int, checks: int, seed: int, root: Path | None, **server: Any
) -> int:
    """Serve a study of the clips in SRC to participants; answers go to DST. Ended at any moment, it goes on there.

    SRC is a dataset of `deeptrace inject` (its strengths and shams are used), or any dataset of fakes and reals, for
    example one that `deeptrace data normalise` made. Participants are known by a random code alone.
    """
    from deeptrace.explorer.study.app import guarded_study, make_study

    records = load_any(source, root)
    print_problems(records.counts)
    site = make_study(records, target, mode="pairs" if pairs else "single", trials=trials, checks=checks, seed=seed)
    serve_pages(lambda token, hosts: guarded_study(site, token=token, hosts=hosts), "study", **server)
    return 0


@study.command()
@click.argument("target", metavar="DST", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--verdicts", type=click.Path(dir_okay=False, path_type=Path), help="Write people as a row for `bench`.")
@click.option("--json", "as_json", is_flag=True, help="Everything as JSON on stdout.")
def results(target: Path, verdicts: Path | None, as_json: bool) -> int:
    """Say what the answers in DST are worth: d', detection by category and strength, places and times.

    With --verdicts people become a verdict file, which `bench score` and `bench report` take as one more run: the
    ceiling beside the models. Exit code 1: nobody's answers can be used.
    """
    from deeptrace.explorer.study.app import load_study, participants_of
    from deeptrace.explorer.study.statistics import human_verdicts, results_of
    from deeptrace.rows import outcome_to_row

    design, participants = load_study(target), participants_of(target)
    summary = results_of(design, participants)
    if verdicts is not None:
        rows = [outcome_to_row(verdict) for verdict in human_verdicts(design, participants)]
        write_jsonl(verdicts, rows)
        click.echo(f"{len(rows)} clips in {visible(str(verdicts))}", err=True)
    if as_json:
        click.echo(dumps(summary.to_json(), indent=1))
    else:
        _print(summary)
    return 0 if summary.trials else 1


def _share(part: Proportion) -> tuple[str, str]:
    if part.share is None:
        return "-", f"{part.k} of {part.n}"
    return (
        f"{100 * part.share:.1f} [{100 * (part.low or 0):.1f}, {100 * (part.high or 0):.1f}]",
        f"{part.k} of {part.n}",
    )


def _print(summary: StudyResults) -> None:
    left = ", ".join(f"{n} {why}" for why, n in summary.left_out.items()) or "none"
    trials = f"{summary.trials} trials, {summary.unwatched} unwatched"
    click.echo(f"{summary.participants} participants (left out: {left}), {trials}")
    for name, value in (("one at a time", summary.sensitivity), ("pairs", summary.pairs)):
        if value is not None:
            click.echo(_dprime_words(name, value))
    click.echo()
    rows = [(c, s, *_share(part)) for (c, s), part in summary.detection.items()]
    print_table(["category", "strength", "detected %", ""], rows, title="Detection")
    click.echo()
    print_table(
        ["clips without a trace", "called fake %", ""], [(k, *_share(p)) for k, p in summary.false_alarms.items()]
    )
    click.echo()
    n, mean, middle = summary.onset_error_seconds
    ceiling = [
        ("first click in the true box, %", _share(summary.pointing)[0], summary.pointing.n),
        (
            "box IoU at the click",
            "-" if summary.box_iou[1] is None else f"{summary.box_iou[1]:.2f}",
            summary.box_iou[0],
        ),
        ("click after onset, s: mean, median", "-" if mean is None else f"{mean:.2f}, {middle or 0:.2f}", n),
    ]
    print_table(["of fakes that were called fake", "people", "n"], ceiling)


def _dprime_words(name: str, value: Dprime) -> str:
    alarms = "" if value.false_alarms is None else f", false alarms {_share(value.false_alarms)[0]} %"
    return f"d' {value.value:.2f} ± {value.standard_error:.2f} ({name}): hits {_share(value.hits)[0]} %{alarms}"
