"""``deeptrace inject``: a dataset of traces at known places and times, from footage or from nothing."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

import click

from deeptrace.categories import CATEGORIES, Category
from deeptrace.characters import visible
from deeptrace.cli.inspect import find_videos
from deeptrace.cli.show import bar, print_look, print_table
from deeptrace.errors import DeepTraceError, FileError
from deeptrace.files import atomic_write, dumps, make_folder, read_jsonl

if TYPE_CHECKING:
    from deeptrace.inject.pairs import Source
    from deeptrace.inject.plan import PairPlan, Prior
    from deeptrace.journal import Journal

_ASSETS: Final = click.Path(exists=True, file_okay=False, path_type=Path)
_LOOK: Final = 12
_INPUTS: Final = ("footage", "photos", "cutouts", "manifest")


@click.command()
@click.argument("paths", metavar="[SRC]... DST", nargs=-1, required=True)
@click.option("--n", "count", type=click.IntRange(1), help="Pairs from footage.  [default: one a video]")
@click.option("--scenes", type=click.IntRange(0), default=0, help="Pairs from rendered scenes, after those.")
@click.option("--photos", type=_ASSETS, help="Photographs as backgrounds of scenes; painted rooms without.")
@click.option("--cutouts", type=_ASSETS, help="PNG cut-outs as things in scenes; painted balls and crates without.")
@click.option("--categories", metavar="NAMES", help="Only these, between commas, e.g. 'Sudden Blurring'.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Another seed, other traces.")
@click.option("--strength", type=click.FloatRange(0, 1, min_open=True), default=0.7, show_default=True)
@click.option(
    "--implementation",
    type=click.Choice(["first", "second"]),
    default="first",
    show_default=True,
    help="second: another inpainting, blend and warp, kept for testing.",
)
@click.option("--small", is_flag=True, help="3 s at 8 fps, 224 px on the longer side, instead of 5 s at 24 fps, 480p.")
@click.option(
    "--manifest", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="JSON lines: path, license."
)
@click.option("--originals", is_flag=True, help="Keep what each sham was made from, not of the first 12 pairs alone.")
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Processes at work.")
@click.option("--json", "as_json", is_flag=True, help="A summary as JSON on stdout.")
def inject(
    paths: tuple[str, ...],
    count: int | None,
    scenes: int,
    photos: Path | None,
    cutouts: Path | None,
    categories: str | None,
    seed: int,
    strength: float,
    implementation: str,
    small: bool,
    manifest: Path | None,
    originals: bool,
    jobs: int,
    as_json: bool,
) -> int:
    """Put one fake trace into each clip of SRC (files or folders) and write a dataset of twins to DST.

    Each pair is a fake, and a real twin from the same frames through the same encoder; half of the twins carry a sham
    edit that shows nothing. With --scenes no footage is needed. Run again, it goes on where it was. DST gets
    all_data.json (RewardData's layout), videos/, real_videos/, README.md (the card), sheet.jpg, look/ (clean and
    fake side by side) and originals/ (what shams were made from). Exit code 1: some pairs could not be made.
    """
    from deeptrace.inject.assets import list_cutouts, list_photos
    from deeptrace.inject.identity import identify, require_same_inputs
    from deeptrace.inject.pairs import FULL, SMALL, Source, contact_sheet, footage_sources, scene_source
    from deeptrace.inject.plan import plan_pair
    from deeptrace.inject.quota import ROUND, assign
    from deeptrace.journal import Journal

    *arguments, target = paths
    wanted_categories = _categories(categories)
    facts = _facts(manifest)
    videos = sorted(find_videos(arguments)) if arguments else []
    if arguments and not videos:
        raise click.UsageError("no videos found in SRC")
    from_footage = len(videos) if count is None else count if videos else 0
    if from_footage + scenes == 0:
        raise click.UsageError("nothing to make: name footage, or --scenes N")
    if not videos and count is not None:
        raise click.UsageError("--n counts pairs from footage, and no SRC is named; scenes are counted by --scenes")
    assets = {
        "photos": tuple(map(str, list_photos(photos))) if photos else (),
        "cutouts": tuple(map(str, list_cutouts(cutouts))) if cutouts else (),
    }

    clips = [Source(os.path.basename(path), path, facts=facts.get(os.path.basename(path))) for path in videos]
    clips = clips[:from_footage]

    def sources(number: int) -> list[Source]:
        if number >= from_footage:
            return [scene_source(number - from_footage, assets["photos"], assets["cutouts"])]
        own = number % len(clips)
        return footage_sources(seed, number, clips[own], clips[:own] + clips[own + 1 :])

    root = make_folder(target)
    total = from_footage + scenes
    settings = {
        "seed": seed,
        "strength": strength,
        "implementation": implementation,
        "size": "small" if small else "full",
        "categories": list(wanted_categories),
        "footage_pairs": from_footage,
        "footage": identify(videos[:from_footage]),
        "photos": identify(assets["photos"]),
        "cutouts": identify(assets["cutouts"]),
        "manifest": identify([manifest] if manifest else []),
        **({"originals": True} if originals else {}),
    }
    require_same_inputs(root / "journal.jsonl", settings, _INPUTS)
    options = {"size": SMALL if small else FULL, "strength": strength, "implementation": implementation}
    with Journal(root / "journal.jsonl", settings, lock=True) as journal, bar("injecting", total) as report:
        plans = [plan_pair(seed, number, wanted_categories) for number in range(total)]
        done = 0
        with _keeping(journal, target), _workers(jobs) as work:
            # Scenes take every category: they are one round, as drawn.
            starts = [*range(0, from_footage, ROUND), *([from_footage] if scenes else [])]
            for low, high in zip(starts, [*starts[1:], total], strict=True):
                planned = plans[low:high]
                if low < from_footage:
                    planned = assign(planned, _counts(journal.rows, plans[:low]))
                todo = [plan for plan in planned if "failed" in journal.rows.get(plan.pair_id, {"failed": None})]
                done += len(planned) - len(todo)
                report(done, total)
                tasks = (
                    (root, plan, sources(plan.number), {**options, **_kept(plan.number, originals)}) for plan in todo
                )
                for pair_id, row in work(tasks):
                    journal.add(pair_id, row)
                    done += 1
                    report(done, total)
            rows = [journal.rows[plan.pair_id] for plan in plans]
            pair_rows = [row for row in rows if "failed" not in row]
            failed = Counter(row["failed"]["code"] for row in rows if "failed" in row)
            _write_dataset(root, pair_rows, failed, settings)
            contact_sheet(root, [plan.pair_id for plan in plans[:_LOOK]])
    _report(root, pair_rows, failed, rows, as_json=as_json)
    return 1 if failed else 0


def _kept(number: int, originals: bool) -> dict[str, bool]:
    """What is kept of a pair beside its twins, for people to look at."""
    return {"look": number < _LOOK, "original": originals or number < _LOOK}


@contextmanager
def _keeping(journal: Journal, target: str) -> Iterator[None]:
    """Where the system refuses to write, say what is kept and how to go on."""
    try:
        yield
    except (OSError, DeepTraceError) as error:
        if isinstance(error, OSError):
            what = f"cannot write {os.path.basename(str(error.filename or target))!r}: {error.strerror or error}"
        elif isinstance(error, FileError) or error.code == "WRITE_FAILED":
            what = str(error).rstrip(".")
        else:
            raise
        whole = sum("failed" not in row for row in journal.rows.values())
        raise FileError(
            f"{what}. In {target} {whole} finished pairs are kept; the same command goes on there"
        ) from None


def _counts(rows: Mapping[str, Any], plans: Sequence[PairPlan]) -> Counter[tuple[Prior, Category]]:
    """The pairs there are of those that were planned, by prior and category."""
    there = [rows[plan.pair_id] for plan in plans if "failed" not in rows[plan.pair_id]]
    return Counter((row["fake"]["inject_prior"], row["fake"]["inject_category"]) for row in there)


Task = tuple[Path, Any, list["Source"], dict[str, Any]]
Results = Iterator[tuple[str, dict[str, Any]]]


def _one(task: Task) -> tuple[str, dict[str, Any]]:
    """One pair: its rows, or why there is none. Runs in a process of its own where there are several jobs."""
    from deeptrace.inject.pairs import make_pair

    root, plan, sources, options = task
    try:
        return plan.pair_id, make_pair(root, plan, sources, **options)
    except DeepTraceError as error:
        if isinstance(error, FileError) or error.code == "WRITE_FAILED":  # the disk or an asset, not this clip
            raise
        return plan.pair_id, {"failed": {"source": sources[0].name, "code": error.code, "reason": str(error)}}


@contextmanager
def _workers(jobs: int) -> Iterator[Callable[[Iterator[Task]], Results]]:
    """What does tasks and yields their results as they come; only a few tasks ahead are handed out."""
    if jobs == 1:
        yield lambda tasks: map(_one, tasks)
        return
    import multiprocessing

    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"), initializer=_alone) as pool:

        def work(tasks: Iterator[Task]) -> Results:
            running: set[Future[tuple[str, dict[str, Any]]]] = set()
            for task in tasks:
                running.add(pool.submit(_one, task))
                if len(running) >= 2 * jobs:
                    finished, running = wait(running, return_when=FIRST_COMPLETED)
                    yield from (one.result() for one in finished)
            for one in running:
                yield one.result()

        try:
            yield work
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _alone() -> None:
    """Each job is one process on one core: threads inside it would only wait for each other."""
    import cv2

    cv2.setNumThreads(1)


def _categories(text: str | None) -> tuple[Category, ...]:
    if text is None:
        return CATEGORIES
    names = [name.strip().lower() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in {category.lower() for category in CATEGORIES}]
    if unknown or not names:
        raise click.UsageError(f"--categories: {', '.join(unknown) or 'nothing'} is not one of {', '.join(CATEGORIES)}")
    return tuple(category for category in CATEGORIES if category.lower() in names)


def _facts(manifest: Path | None) -> Mapping[str, Mapping[str, str]]:
    """What a manifest says of each file: its texts under ``license`` and ``source``..., by the file's name."""
    if manifest is None:
        return {}
    facts: dict[str, Mapping[str, str]] = {}
    for number, row in read_jsonl(manifest):
        if not isinstance(row, dict) or not isinstance(row.get("path"), str):
            raise FileError(f"{manifest.name} line {number}: expected an object with a path")
        text_keys = ("license", "source_repo", "source_commit", "source_path", "generator", "sha256")
        facts[os.path.basename(row["path"])] = {key: row[key] for key in text_keys if isinstance(row.get(key), str)}
    return facts


def _write_dataset(root: Path, pair_rows: list[dict[str, Any]], failed: Counter[str], settings: dict[str, Any]) -> None:
    from deeptrace.inject.card import card

    rows = [row["fake"] for row in pair_rows] + [row["real"] for row in pair_rows]
    with atomic_write(root / "all_data.json") as file:
        file.write((dumps(rows, indent=1) + "\n").encode())
    card_settings = {name: value for name, value in settings.items() if name not in (*_INPUTS, "categories")}
    card_settings |= {name: len(settings[name]) for name in ("photos", "cutouts")}
    with atomic_write(root / "README.md") as file:
        file.write(card(pair_rows, failed, card_settings).encode())


def _report(
    root: Path, pair_rows: list[dict[str, Any]], failed: Counter[str], rows: list[dict[str, Any]], *, as_json: bool
) -> None:
    categories = Counter(row["fake"]["inject_category"] for row in pair_rows)
    if as_json:
        summary = {
            "schema": "deeptrace.inject",
            "schema_version": 1,
            "pairs": len(pair_rows),
            "shams": sum(row["real"]["sham"] for row in pair_rows),
            "categories": dict(categories),
            "failed": dict(failed),
        }
        click.echo(dumps(summary, indent=1))
    else:
        print_table(
            ["category", "pairs"], [(category, categories[category]) for category in CATEGORIES if categories[category]]
        )
    for row in rows:
        if "failed" in row:
            what = row["failed"]
            click.echo(f"failed: {visible(what['source'])}: {what['code']}: {visible(what['reason'])}", err=True)
    click.echo(f"{len(pair_rows)} pairs in {visible(root.name)}; look at sheet.jpg first", err=as_json)
    if pair_rows:
        first = next((row["fake"] for row in pair_rows if "inject_original" in row["fake"]), pair_rows[0]["fake"])
        print_look(root, at=f"/beside?{urlencode([('of', first['video_id']), ('changes', '1')])}")
