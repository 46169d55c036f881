"""``deeptrace bench report``: runs and a dataset in, one page and one Markdown file out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from deeptrace.characters import visible
from deeptrace.cli.data import FOLDER, read_clusters
from deeptrace.cli.show import bar, print_look, print_problems, typed_command
from deeptrace.files import make_folder

if TYPE_CHECKING:
    from deeptrace.bench.report import ReportMaterial

FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)
SHOWN_PROBES: Final = ("container", "container_without_rate", "geometry")


@click.command()
@click.argument("verdicts", nargs=-1, required=True, metavar="RUN...", type=click.Path(exists=True, path_type=Path))
@click.argument("source", metavar="DATA", type=click.Path(exists=True, path_type=Path))
@click.option("--out", type=FOLDER, required=True, help="The folder of the report.")
@click.option("--split", default="test", show_default=True, help="train, val, test, or all.")
@click.option("--root", type=FOLDER, help="The folder that the videos' paths are relative to, where not DATA's own.")
@click.option("--train", type=click.Path(exists=True, path_type=Path), help="Records that the blind row learns from.")
@click.option("--clusters", type=FILE, help="JSON of `audit --deep --json`: near-duplicates are drawn together.")
@click.option("--grades", type=FILE, help="A judge's grades: judgements.jsonl of `bench judge`.")
@click.option("--against", help="The run that the others are compared with, by name; otherwise the first.")
@click.option("--probes/--no-probes", default=True, show_default=True, help="Read the videos' headers for the probes.")
@click.option("--cases", default=3, show_default=True, help="Pictures of each kind and run; 0: none.")
@click.option("--title", default="Benchmark report", show_default=True, help="Of the page.")
@click.option("--replicates", default=1000, show_default=True, type=click.IntRange(0), help="Of the bootstrap.")
@click.option("--permutations", default=2000, show_default=True, type=click.IntRange(0), help="Of the tests.")
@click.option("--seed", default=0, show_default=True, help="Of everything that is drawn by chance.")
def report(
    verdicts: tuple[Path, ...],
    source: Path,
    out: Path,
    split: str,
    root: Path | None,
    train: Path | None,
    clusters: str | None,
    grades: Path | None,
    against: str | None,
    probes: bool,
    cases: int,
    title: str,
    replicates: int,
    permutations: int,
    seed: int,
) -> int:
    """Write one page and one Markdown file about one run or several: tables, charts, best and worst cases.

    A RUN is a folder of `bench run` or a verdicts.jsonl; of a platform track, the drop on every rung is shown too.
    DATA is what the runs were made on.
    """
    from deeptrace.bench.report import ReportMaterial, gather, write_report
    from deeptrace.bench.run.platform import ORIGINAL
    from deeptrace.bench.score.blind_rows import blind_rows
    from deeptrace.bench.score.drops import is_platform, platform_drops
    from deeptrace.bench.score.grades import GradeBook
    from deeptrace.bench.score.runs import dataset_of, read_runs
    from deeptrace.bench.score.score import score
    from deeptrace.data import load_records

    records = load_records(source, root=root)
    print_problems(records.counts)
    dataset = dataset_of(records, split)
    book = None if grades is None else GradeBook.from_file(grades)
    paths = [path / ORIGINAL if is_platform(path) else path for path in verdicts]
    runs = read_runs(paths, dataset, grades=book)
    blind_records = records if train is None else load_records(train)
    blind, note = blind_rows(dataset, blind_records, grades=book, seed=seed)
    result = score(
        runs, dataset, blind,
        blind_note=note, clusters=read_clusters(clusters), replicates=replicates, permutations=permutations,
        seed=seed, against=against,
    )  # fmt: skip
    drops = {
        path.name: platform_drops(path, list(records), split, replicates=replicates, seed=seed)
        for path in verdicts
        if is_platform(path)
    }
    material = ReportMaterial(result, dataset, gather(paths, runs, dataset), root=records.root, drops=drops)
    material = _with_probes(material, seed=seed) if probes else replace(material, probes_reason="--no-probes was given")
    folder = make_folder(out)
    with bar("drawing") as progress:
        page = write_report(material, folder, title=title, command=typed_command(), cases=cases, progress=progress)
    click.echo(f"page: {visible(str(page))}")
    print_look(source, *verdicts, at="/?sort=overlap_low")
    return 0


def _with_probes(material: ReportMaterial, *, seed: int) -> ReportMaterial:
    """The material with the audit's probes of what needs no trace, on the same videos."""
    from deeptrace.data.audit import audit

    with bar("reading headers") as progress:
        header_audit = audit(
            material.dataset.records,
            probe=True,
            root=material.root,
            seed=seed,
            progress=lambda _stage, done, total: progress(done, total),
        )
    if header_audit.shortcuts is None:
        return replace(material, probes_reason=header_audit.shortcuts_reason)
    results = header_audit.shortcuts.results
    page_probes = tuple(result for result in results if result.task == "fake_or_real" and result.probe in SHOWN_PROBES)
    return replace(material, probes=page_probes)
