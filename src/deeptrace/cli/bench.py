"""``deeptrace bench``: how well a model sees what people see, beside the published ones and one that sees nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from deeptrace.answer.space import SPACE_NAMES
from deeptrace.characters import visible
from deeptrace.cli.data import read_clusters
from deeptrace.cli.show import print_table, print_words
from deeptrace.files import dumps

if TYPE_CHECKING:
    from deeptrace.bench.score.run_table import RunTable

FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group()
def bench() -> None:
    """Measure models on a dataset of traces: ask them, score what they said, compare.

    DATA is a folder of the RewardData release, a records.jsonl (or its folder), or any other file of records that
    `deeptrace data` reads.
    """


@bench.command(name="score")
@click.argument("verdicts", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.argument("data", type=click.Path(exists=True, path_type=Path))
@click.option("--split", default="test", show_default=True, help="Which records to score; all: every one.")
@click.option(
    "--train",
    type=click.Path(exists=True, path_type=Path),
    help="Records whose split train the blind row learns from, where DATA's own is not meant.",
)
@click.option("--clusters", type=FILE, help="JSON of `audit --deep --json`: near-duplicates are drawn together.")
@click.option("--grades", type=FILE, help="A judge's grades of the explanations.")
@click.option("--calibration", type=FILE, help="Of one of the models: see `bench calibrate`.")
@click.option("--against", help="The run that the others are compared with, by name; otherwise the first.")
@click.option("--format", "format_", default="trained", show_default=True, help="Of foreign answers: their format.")
@click.option(
    "--space",
    default="source",
    show_default=True,
    help=f"Of foreign answers, what their boxes are in: {', '.join(SPACE_NAMES)}.",
)
@click.option("--text", is_flag=True, help="Also compare explanations by words: BLEU, ROUGE-L, chrF, embedding.")
@click.option("--replicates", default=1000, show_default=True, type=click.IntRange(0), help="Of the bootstrap.")
@click.option("--permutations", default=2000, show_default=True, type=click.IntRange(0), help="Of the tests.")
@click.option("--seed", default=0, show_default=True, help="Of replicates, permutations and the blind row.")
@click.option("--json", "as_json", is_flag=True, help="Everything as JSON.")
@click.option("--markdown", "as_markdown", is_flag=True, help="The tables in Markdown.")
def score_command(
    verdicts: tuple[Path, ...],
    data: Path,
    split: str,
    train: Path | None,
    clusters: str | None,
    grades: Path | None,
    calibration: Path | None,
    against: str | None,
    format_: str,
    space: str,
    text: bool,
    replicates: int,
    permutations: int,
    seed: int,
    as_json: bool,
    as_markdown: bool,
) -> None:
    """Score answers by the paper's protocol and by a fairer one, beside rows that see no pixels and the published ones.

    VERDICTS are verdicts.jsonl files (or folders with one), or answers made elsewhere: JSON lines of video_id and raw
    text, which may name model, format and space. No video is opened.
    """
    from deeptrace.bench.score.blind_rows import blind_rows
    from deeptrace.bench.score.conclusion import conclusion
    from deeptrace.bench.score.dataset import dataset_of
    from deeptrace.bench.score.grades import GradeBook
    from deeptrace.bench.score.reading import Foreign
    from deeptrace.bench.score.runs import read_runs
    from deeptrace.bench.score.score import score
    from deeptrace.bench.score.tables import markdown, tables, terminal_tables
    from deeptrace.data import load_records
    from deeptrace.measures.calibration import read_calibration

    if as_json and as_markdown:
        raise click.UsageError("--json and --markdown exclude each other")
    records = load_records(data)
    dataset = dataset_of(records, split)
    book = None if grades is None else GradeBook.from_file(grades)
    foreign = Foreign(format_, space)
    scale = None if calibration is None else read_calibration(calibration)
    runs = read_runs(verdicts, dataset, foreign=foreign, grades=book, calibration=scale, keep_texts=text)
    blind_records = records if train is None else load_records(train)
    blind, note = blind_rows(dataset, blind_records, grades=book, seed=seed, keep_texts=text)
    result = score(
        runs,
        dataset,
        blind,
        blind_note=note,
        clusters=read_clusters(clusters),
        replicates=replicates,
        permutations=permutations,
        seed=seed,
        against=against,
        texts=_texts([*runs, *blind]) if text else None,
    )
    if as_json:
        click.echo(dumps(result.to_json(), indent=1))
    elif as_markdown:
        click.echo(markdown(tables(result), conclusion(result)), nl=False)
    else:
        for sentence in conclusion(result):
            print_words(visible(sentence))
        click.echo()
        for table in terminal_tables(result):
            print_table(table.heads, table.rows, title=visible(table.title), keys=table.keys)
            for note in table.notes:
                print_words(note)
            click.echo()
    _say_left_aside(runs)


def _texts(runs: list[RunTable]) -> dict[str, dict[str, float]]:
    from deeptrace.bench.score.text import text_metrics

    return {run.name: text_metrics([(written, candidate) for _, written, candidate in run.texts]) for run in runs}


def _say_left_aside(runs: list[RunTable]) -> None:
    for run in runs:
        if run.unknown:
            click.echo(f"note: {run.unknown} answers of {visible(run.name)} are on videos of no record", err=True)
        if run.stale_grades:
            what = f"{run.stale_grades} grades of {visible(run.name)} are of other explanations than it gives now"
            click.echo(f"note: {what}, or by another rubric; they are left out. Run `bench judge` again", err=True)


@bench.command()
@click.argument("verdicts", type=click.Path(exists=True, path_type=Path))
@click.argument("data", type=click.Path(exists=True, path_type=Path))
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The calibration.json.")
@click.option("--split", default="val", show_default=True, help="Which records to learn from; never test.")
@click.option("--track", default="original", show_default=True, help="The form in which the videos were shown.")
@click.option("--model", help="Which model, where VERDICTS holds answers of several.")
def calibrate(verdicts: Path, data: Path, out: Path, split: str, track: str, model: str | None) -> None:
    """Learn from a model's answers on val what its probabilities mean, for one track.

    Writes slope and intercept of a Platt scaling of p_fake_raw. `bench score --calibration` applies it.
    """
    from deeptrace.bench.score.dataset import dataset_of
    from deeptrace.bench.score.raw_probabilities import check_counts, raw_probabilities
    from deeptrace.data import load_records
    from deeptrace.measures.calibration import fit_calibration, write_calibration

    probabilities = raw_probabilities(verdicts, dataset_of(load_records(data), split), model=model)
    calibration = fit_calibration(
        probabilities.p_raw,
        probabilities.is_fake,
        split=split,
        track=track,
        model=probabilities.model,
        revision=probabilities.revision,
    )
    check_counts(probabilities)
    write_calibration(out, calibration)
    click.echo(
        f"{out}: slope {calibration.slope:.3f}, intercept {calibration.intercept:.3f}, {calibration.n} videos "
        f"({probabilities.without} without a probability left out)"
    )
