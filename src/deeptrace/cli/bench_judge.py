"""``deeptrace bench judge``: a run's explanations and a judge in, grades out; people's grades beside them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from deeptrace.characters import visible
from deeptrace.cli.data import FOLDER
from deeptrace.cli.endpoint import money, open_client
from deeptrace.cli.show import bar, print_problems, print_table
from deeptrace.errors import RecordError
from deeptrace.files import dumps

if TYPE_CHECKING:
    from deeptrace.bench.judge import GradingItem, Judged
    from deeptrace.bench.judge.humans import JudgeComparison

FILE: Final = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("verdicts", metavar="RUN", type=click.Path(exists=True, path_type=Path))
@click.argument("source", metavar="DATA")
@click.option("--split", default="test", show_default=True, help="train, val, test, or all.")
@click.option("--judge", "model_name", help="The judge's name at the endpoint.")
@click.option("--base-url", help="Where the judge is: an OpenAI-compatible endpoint, up to /v1.")
@money
@click.option("--max-tokens", default=256, show_default=True, help="Of a reply; a judge that reasons needs more.")
@click.option("--controls", default=20, show_default=True, help="Planted questions of each kind, of known grade.")
@click.option("--seed", default=0, show_default=True, help="Which questions are planted, and who is on the sheet.")
@click.option("--dry-run", is_flag=True, help="Say how many questions there are and what they cost at most; ask none.")
@click.option("--sheet", type=FILE, help="Write rows drawn by chance into this CSV for people to grade; ask none.")
@click.option("--sheet-rows", default=50, show_default=True, help="How many rows go on the sheet.")
@click.option("--humans", type=FILE, help="A CSV of people's grades: video_id, row, grader, score. Asks none.")
@click.option("--out", type=FOLDER, help="The folder of the grades; default: RUN's.")
@click.option("--json", "as_json", is_flag=True, help="The summary as JSON on stdout.")
def judge(
    verdicts: Path,
    source: str,
    split: str,
    max_tokens: int,
    controls: int,
    seed: int,
    dry_run: bool,
    sheet: Path | None,
    sheet_rows: int,
    humans: Path | None,
    out: Path | None,
    as_json: bool,
    **options: Any,
) -> int:
    """Have a language model grade the explanations in RUN against what people wrote: 0, 0.5 or 1.

    RUN is the folder of a `bench run` or its verdicts.jsonl. Grades go to judgements.jsonl, which `bench score` takes
    with --grades. Replies that cannot be read are counted, never graded. Run again, it asks only for what is missing.

    With --humans the grades that are there are compared with people's, and people's mean over all rows is estimated.

    Exit code 1: a grade is missing, or the planted questions show that the judge cannot be trusted.
    """
    from deeptrace.bench.judge import estimate, grade, read_judgements
    from deeptrace.bench.judge.humans import compare, read_sheet, write_sheet

    folder = out or (verdicts if verdicts.is_dir() else verdicts.parent)
    if humans is not None:
        comparison = compare(read_judgements(folder), read_sheet(humans))
        _tell_comparison(comparison, as_json=as_json)
        return 0
    items = _items(verdicts, source, split)
    if sheet is not None:
        count = write_sheet(sheet, items, sheet_rows, seed)
        click.echo(f"{count} rows in {visible(str(sheet))}")
        return 0
    if options["prices"] is not None or dry_run:
        before = estimate(items, controls=controls, prices=_prices(options), params={"max_tokens": max_tokens})
        most = "unknown without --prices" if before["cost_at_most"] is None else f"at most {before['cost_at_most']:.4f}"
        click.echo(f"{before['rows']} rows, {before['questions']} questions, cost {most}", err=True)
        if dry_run:
            if as_json:
                click.echo(dumps(before, indent=1))
            return 0
    if options["model_name"] is None or options["base_url"] is None:
        raise click.UsageError("a judge needs --judge and --base-url")
    options["cache"] = options["cache"] or folder / "judge-cache"
    with open_client(options) as client, bar("judging") as report:
        judged = grade(
            items, client, folder,
            controls=controls, seed=seed, params={"max_tokens": max_tokens}, progress=report,
        )  # fmt: skip
    _tell(judged, folder, as_json=as_json)
    return 0 if not (judged.counts["unscored"] or judged.counts["failed"]) and judged.valid is not False else 1


def _prices(options: dict[str, Any]) -> Any:
    from deeptrace.chat import Prices

    return None if options["prices"] is None else Prices(*options["prices"])


def _items(verdicts: Path, source: str, split: str) -> list[GradingItem]:
    from deeptrace.bench.judge import items_of
    from deeptrace.bench.run.questions import fields_of
    from deeptrace.bench.run.tracks import select
    from deeptrace.bench.run.verdicts import read_verdicts
    from deeptrace.data import load_records

    records = load_records(source)
    print_problems(records.counts)
    outcomes = {}
    for outcome in read_verdicts(verdicts):
        if outcome.origin.video_id is not None:
            if outcome.origin.video_id in outcomes:
                raise RecordError(
                    "video_id", f"{outcome.origin.video_id!r} is answered twice; judge one model at a time"
                )
            outcomes[outcome.origin.video_id] = outcome
    return items_of(select(records, split), outcomes, lambda outcome: fields_of(outcome.origin))


# ── for people ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _tell(judged: Judged, folder: Path, *, as_json: bool) -> None:
    if as_json:
        click.echo(dumps(judged.to_json(), indent=1))
    counts = judged.counts
    count_graded = counts["scored"] + counts["absent"]
    summary = f"mean grade {_number(judged.mean)}  (n={count_graded}, of which absent {counts['absent']};"
    click.echo(f"{summary} unscored {counts['unscored']}, failed {counts['failed']})", err=as_json)
    for name, what in (("identical", "people's own words"), ("shuffled", "words of another video")):
        mean, count = judged.controls[name]  # type: ignore[index]
        click.echo(f"planted, {what}: {_number(mean)} (n={count})", err=as_json)
    if judged.valid is False:
        click.echo("error: the judge gave planted questions the wrong grade; its grades cannot be trusted", err=True)
    cost = "unknown without --prices" if judged.cost is None else f"{judged.cost:.6f}"
    click.echo(f"{judged.requests} requests now, cost of all {cost}", err=as_json)
    if judged.stopped is not None:
        why = visible(f"{judged.stopped.code}: {judged.stopped}")
        click.echo(f"error: stopped: {why}. Run again to go on", err=True)
    click.echo(f"grades: {visible(str(folder / 'judgements.jsonl'))}", err=as_json)


def _tell_comparison(comparison: JudgeComparison, *, as_json: bool) -> None:
    from deeptrace.bench.judge.humans import MIN_GRADED

    if as_json:
        click.echo(dumps(comparison.to_json(), indent=1))
        return
    rows = [
        ("judge and people", comparison.judge),
        *([("people and people", comparison.humans)] if comparison.humans else []),
    ]
    print_table(
        ["who", "pairs", "equal", "kappa, quadratic", "second less first"],
        [
            (name, agreement.n, *map(_number, (agreement.equal, agreement.kappa, agreement.mean_difference)))
            for name, agreement in rows
        ],
    )
    graded = f"{comparison.rows_graded} rows, {comparison.graders} graders"
    click.echo(f"{graded}; {comparison.without_judgement} rows without a judgement")
    if comparison.corrected is None:
        least = f"people must grade at least {MIN_GRADED} videos, and leave some to the judge alone"
        click.echo(f"no corrected mean: {least}")
        return
    corrected = asdict(comparison.corrected)
    alone = corrected["humans_alone"]
    print_table(
        ["mean grade of all rows", "value", "95 %"],
        [
            ("judge alone", _number(corrected["judge_alone"]), None),
            ("people alone", _number(alone[0]), f"[{alone[1]:.3f}, {alone[2]:.3f}]"),
            (
                "people, with the judge's help",
                _number(corrected["value"]),
                f"[{corrected['low']:.3f}, {corrected['high']:.3f}]",
            ),
        ],
    )
    click.echo(f"{corrected['videos_graded']} of {corrected['videos']} videos graded by people")
