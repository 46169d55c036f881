"""``deeptrace explore``: a dataset in the browser, to look at, compare, annotate and review."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from deeptrace.characters import visible
from deeptrace.cli.inspect.videos import find_videos
from deeptrace.cli.show import bar, print_problems
from deeptrace.errors import FileError
from deeptrace.files import clear_leftovers, make_folder, write_jsonl

if TYPE_CHECKING:
    from deeptrace.data.read.load import Records
    from deeptrace.explorer.site import Site

EXAMPLE: Final = Path("deeptrace-example")
WORK_NAME: Final = "deeptrace-explorer"
TOKEN_VARIABLE: Final = "DEEPTRACE_TOKEN"
_FOLDER: Final = click.Path(file_okay=False, path_type=Path)
_THERE: Final = click.Path(exists=True, path_type=Path)


def server_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of a server that people open in a browser."""
    options = (
        click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on."),
        click.option("--port", default=8765, show_default=True, type=click.IntRange(0, 65535), help="0: any free one."),
        click.option("--token", envvar=TOKEN_VARIABLE, help="Whoever opens a page needs it; a must where others can."),
        click.option("--allow-host", "hosts", multiple=True, help="A name that this server goes by. May be repeated."),
        click.option("--at", default="/", metavar="PAGE", help="The page to open first, e.g. '/?label=fake'."),
        click.option("--open/--no-open", "opens", default=True, show_default=True, help="Open the page in a browser."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@click.argument("data", required=False, type=_THERE)
@click.argument("verdicts", nargs=-1, type=_THERE)
@click.option("--root", type=_FOLDER, help="The folder that the videos' paths are relative to, where not DATA's own.")
@click.option(
    "--work", type=_FOLDER, help=f"Annotations and pictures lie here.  [default: {WORK_NAME} beside the data]"
)
@click.option("--annotator", "annotators", multiple=True, help="Who may work here, by name. May be repeated.")
@click.option("--passes", default=1, show_default=True, type=click.IntRange(1, 20), help="First passes a video needs.")
@click.option("--reviewers", default=1, show_default=True, type=click.IntRange(0, 20), help="Who must agree to it.")
@click.option("--import", "begun", type=_THERE, help="Go on with annotations of Labelbox, Label Studio or CVAT.")
@click.option("--export", "target", type=click.Path(dir_okay=False, path_type=Path), help="Write them here, and end.")
@click.option("--final", is_flag=True, help="With --export: settled videos alone, one annotation each.")
@server_options
def explore(
    data: Path | None,
    verdicts: tuple[Path, ...],
    root: Path | None,
    work: Path | None,
    annotators: tuple[str, ...],
    passes: int,
    reviewers: int,
    begun: Path | None,
    target: Path | None,
    final: bool,
    **server: Any,
) -> int:
    """Open a dataset in the browser: look, compare models, annotate, review.

    DATA is what `deeptrace data` reads, or a folder of videos; VERDICTS are files or folders of `inspect --out` and
    `bench run`. With neither, a small example dataset is made and opened. Nothing leaves this machine.
    """
    from deeptrace.explorer.app import make_site
    from deeptrace.explorer.outcomes import read_named_runs
    from deeptrace.explorer.site import ExplorerOptions

    if final and target is None:
        raise click.UsageError("--final says what --export writes")
    if data is None:
        data, verdicts = _example()
    records = load_any(data, root)
    print_problems(records.counts)
    runs = read_named_runs(verdicts, records)
    for run in runs:
        if run.elsewhere:
            click.echo(f"note: {run.elsewhere} rows of {visible(run.name)} are of videos that are not here", err=True)
    folder = make_folder(work or (data if data.is_dir() else data.parent) / WORK_NAME)
    clear_leftovers(folder, below=True)
    options = ExplorerOptions(visible(data.resolve().name), annotators, passes, reviewers)
    site = make_site(records, runs, folder, options)
    if begun is not None:
        _take_over(site, begun, records)
    if target is not None:
        return _export(site, target, final=final)
    return _serve(site, **server)


def load_any(source: Path, root: Path | None) -> Records:
    """The records that a path names; of a folder of plain videos, one record a video."""
    from deeptrace.data import load_records
    from deeptrace.data.read.load import Records
    from deeptrace.records import Record

    if not source.is_dir():
        return load_records(source, root=root, probe=True)
    try:
        return load_records(source, root=root)
    except FileError as error:
        paths = [os.path.relpath(path, source).replace(os.sep, "/") for path in find_videos([str(source)])]
        if not paths:
            raise FileError(f"{error}. It holds no videos either") from None
        return Records([Record(visible(path), path) for path in paths], root=source)


def _example() -> tuple[Path, tuple[Path, ...]]:
    """The example dataset in the current folder, and what the model that ships says of it; made where missing."""
    from deeptrace.data.example import make_example
    from deeptrace.lock import folder_lock
    from deeptrace.models import load
    from deeptrace.rows import outcome_to_row

    records_file = EXAMPLE / "all_data.json"
    verdicts = EXAMPLE / WORK_NAME / "embedded.jsonl"
    if not records_file.is_file():
        click.echo(f"making a small example dataset in {EXAMPLE} ...", err=True)
        make_example(EXAMPLE)
    with folder_lock(make_folder(verdicts.parent)):
        if not verdicts.is_file():
            records = load_any(EXAMPLE, None)
            model = load("embedded")
            rows = []
            with bar("the model that ships looks at it", len(records)) as report:
                for number, record in enumerate(records, 1):
                    (outcome,) = model.inspect([EXAMPLE / str(record.path)])
                    rows.append(outcome_to_row(outcome))
                    report(number, len(records))
            write_jsonl(verdicts, rows)
    return EXAMPLE, (verdicts,)


def _take_over(site: Site, begun: Path, records: Records) -> None:
    from deeptrace.data import load_records

    other = load_records(begun, root=records.root, probe=True)
    print_problems(other.counts)
    known = [record for record in other if record.video_id in site.data.index.by_id]
    count = site.data.reviews.first.take_over(known)
    for record in known:
        site.data.reviews.open_if_ready(record.video_id)
    click.echo(f"{count} first passes taken over from {visible(begun.name)}", err=True)
    if len(known) < len(other):
        click.echo(f"note: {len(other) - len(known)} of its videos are not in this dataset, by their ids", err=True)


def _export(site: Site, target: Path, *, final: bool) -> int:
    from deeptrace.data import write_records
    from deeptrace.explorer.work import export_records

    records = export_records(site, final=final)
    site.store.close()
    write_records(target, records)
    click.echo(f"{len(records)} videos in {visible(str(target))}; deeptrace data convert turns them into other formats")
    return 0


def _serve(site: Site, **server: Any) -> int:
    from deeptrace.explorer.app import guarded

    serve_pages(lambda token, hosts: guarded(site, token=token, hosts=hosts), "explorer", **server)
    return 0


def serve_pages(
    make: Callable[[str | None, tuple[str, ...]], Any],
    what: str,
    *,
    host: str,
    port: int,
    token: str | None,
    hosts: tuple[str, ...],
    at: str,
    opens: bool,
) -> None:
    """Serve until interrupted; say where, and open it."""
    from deeptrace.pages.web import serve

    if not at.startswith("/"):
        raise click.UsageError("--at: a page of this server begins with /")

    def ready(address: str) -> None:
        page = f"{address}{at}"
        if token is not None:
            page += f"{'&' if '?' in at else '?'}token={token}"
        click.echo(f"{what}: {page}  (Ctrl+C ends it)")
        if opens:
            click.launch(page)

    serve(make(token, hosts), host=host, port=port, token=token, on_ready=ready)
