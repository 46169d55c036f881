"""``deeptrace reward``: score, rank, pair, filter, compare, serve. Joins the reader of folders with the reward room."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import click

from deeptrace.characters import visible
from deeptrace.cli.inspect.videos import find_videos
from deeptrace.cli.show import bar, print_table, typed_command
from deeptrace.errors import DeepTraceError, FileError, RecordError
from deeptrace.files import atomic_write, dumps, make_folder
from deeptrace.journal import Journal
from deeptrace.reward.kinds import FAST_REWARD, FORMS, REWARD_KINDS, REWARDS

if TYPE_CHECKING:
    from deeptrace.reward.kinds import RewardFormName, RewardName
    from deeptrace.reward.rows import RewardRow

ROWS_SUFFIX: Final = ".jsonl"


@click.group()
def reward() -> None:
    """Score videos for training and choosing: best of N, preference pairs, filters, comparisons, a server."""


def _options(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    known = {
        "model": click.option("--model", default="embedded", show_default=True, help="Which model looks at them."),
        "look": click.option(
            "--look", type=click.Choice(["full", "fast"]), default="full", show_default=True,
            help="fast: a language model's probability after one prefill; it tells no traces.",
        ),
        "kind": click.option(
            "--reward", "kind", type=click.Choice(REWARDS), default="trace_free", show_default=True,
            help=". ".join(f"{kind.name}: {kind.about}" for kind in REWARD_KINDS.values()) + ".",
        ),
        "form": click.option(
            "--form", type=click.Choice(FORMS), default="calibrated", show_default=True,
            help="The scale of values and margins.",
        ),
        "prompts": click.option(
            "--prompts", type=click.Path(), help='JSON lines {"video": "a.mp4", "prompt": "..."}: an end of a path.'
        ),
        "scores": click.option(
            "--scores", type=click.Path(), help="Keep rewards in this file, and take those that are in it."
        ),
        "json": click.option("--json", "as_json", is_flag=True, help="One JSON row a line on stdout."),
        "videos": click.argument("videos", nargs=-1, required=True, metavar="VIDEO...", type=click.Path()),
    }  # fmt: skip

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for name in reversed(names):
            command = known[name](command)
        return command

    return decorate


@contextlib.contextmanager
def _journal(path: str | None) -> Iterator[Journal | None]:
    if path is None:
        yield None
        return
    with Journal(path, lock=False, sync_seconds=1.0) as journal:
        yield journal


def _rows(
    videos: Sequence[str], scores: str | None, *, model: str, look: str, kind: str = FAST_REWARD
) -> list[RewardRow]:
    """The rows of files named, of videos in folders, and of rewards.jsonl files that are named instead."""
    from deeptrace.reward.rows import read_rows, score_files
    from deeptrace.reward.score import Reward

    read = [row for name in videos if name.endswith(ROWS_SUFFIX) for row in read_rows(name)]
    paths = list(find_videos([name for name in videos if not name.endswith(ROWS_SUFFIX)]))
    if not paths and not read:
        raise click.UsageError(f"no videos in {', '.join(visible(v) for v in videos)}")
    if not paths:
        return read
    judge = Reward(model, look=cast(Any, look), kind=cast(Any, FAST_REWARD if look == "fast" else kind))
    with _journal(scores) as journal, bar("scoring", len(paths)) as progress:
        return read + list(score_files(judge, paths, journal, progress=progress))


def _say_failures(rows: Sequence[RewardRow]) -> int:
    """Tell of videos without a reward; the exit code."""
    failed = [row for row in rows if not row.values]
    for row in failed[:20]:
        click.echo(f"no reward: {visible(row.path)}: {row.row['code']} {visible(str(row.row['reason']))}", err=True)
    if len(failed) > 20:
        counts = Counter(str(row.row["code"]) for row in failed)
        click.echo(f"... {len(failed)} in all: {', '.join(f'{c} {n}' for c, n in counts.items())}", err=True)
    return 1 if failed else 0


@reward.command()
@_options("videos", "model", "look")
@click.option("--out", type=click.Path(), help="The file of rows; run again, what is in it is not scored again.")
@click.option(
    "--engine", type=click.Choice(["local", "ray"]), default="local", show_default=True, help="ray: Ray Data."
)
@click.option("--ray-address", help="A Ray cluster. Default: this machine.")
@click.option("--devices", type=click.IntRange(1), help="With ray: how many actors, each with a model. Default: cores.")
@_options("json")
def score(
    videos: tuple[str, ...],
    model: str,
    look: str,
    out: str | None,
    engine: str,
    ray_address: str | None,
    devices: int | None,
    as_json: bool,
) -> int:
    """Score each VIDEO: both rewards in all forms, or the reason why there is none.

    With --out each row is in the file as soon as it is there, filed under the bytes of the video: neither a second run
    nor a copy under another name is scored again. Failures are tried again.

    Exit code 0: every video has a reward. 1: at least one has none.
    """
    paths = list(find_videos(videos))
    if not paths:
        raise click.UsageError(f"no videos in {', '.join(visible(v) for v in videos)}")
    if engine == "ray":
        if out is None:
            raise click.UsageError("--engine ray needs --out")
        from deeptrace.reward.ray import score_with_ray

        with bar("scoring", len(paths)) as progress:
            rows = score_with_ray(
                paths, out, model=model, look=cast(Any, look), address=ray_address, actors=devices, progress=progress
            )
    else:
        rows = _rows(paths, out, model=model, look=look)
    if as_json:
        for row in rows:
            click.echo(dumps(dict(row.row) | {"path": row.path}))
    else:
        _print_rows(rows)
    return _say_failures(rows)


def _print_rows(rows: Sequence[RewardRow]) -> None:
    def cell(row: RewardRow, name: RewardName) -> str | None:
        value = row.value(name, "calibrated")
        return None if value is None else f"{value:.4f}"

    print_table(
        ["video", *REWARDS, "traces", "outcome"],
        [
            (
                visible(row.path),
                *(cell(row, name) for name in REWARDS),
                row.row.get("n_traces"),
                row.row.get("conclusion") or row.row.get("code"),
            )
            for row in rows
        ],
    )


def _ranking(videos: Sequence[str], prompts: str | None, **options: Any) -> tuple[Any, list[RewardRow]]:
    from deeptrace.reward.rank import rank as order
    from deeptrace.reward.rows import read_prompts, require_prompts

    form, kind = options.pop("form"), options.pop("kind")
    scores = options.pop("scores")
    rows = _rows(videos, scores, kind=kind, **options)
    table = None if prompts is None else require_prompts([row.path for row in rows], read_prompts(prompts))
    return order(rows, cast("RewardName", kind), cast("RewardFormName", form), table), rows


@reward.command()
@_options("videos", "prompts", "kind", "form", "model", "look", "scores")
@click.option("--best", type=click.IntRange(1), help="Only the first so many of each prompt: best of N.")
@_options("json")
def rank(videos: tuple[str, ...], best: int | None, as_json: bool, **options: Any) -> int:
    """Put the videos of each prompt in order, best first. A VIDEO may also be a file of rows that `score` wrote.

    Without --prompts all are of one prompt. Exit code 1: a video has no reward; it is not in the order.
    """
    ranking, rows = _ranking(videos, **options)
    chosen = ranking.ranked if best is None else ranking.best(best)
    if as_json:
        for video in chosen:
            click.echo(dumps({"path": video.path, "prompt": video.prompt, "value": video.value, "place": video.place}))
    else:
        print_table(
            ["place", "value", "video", "prompt"],
            [(f"{v.place} of {v.of}", f"{v.value:.4f}", visible(v.path), visible(v.prompt or "")) for v in chosen],
        )
    return _say_failures(rows)


@reward.command()
@_options("videos", "prompts", "kind", "form", "model", "look", "scores")
@click.option("--margin", type=click.FloatRange(0, min_open=True), required=True, help="Least difference of a pair.")
@click.option("--per-prompt", type=click.IntRange(1), help="At most so many pairs a prompt, the widest first.")
def pairs(videos: tuple[str, ...], margin: float, per_prompt: int | None, **options: Any) -> int:
    """Print preference pairs for DPO: JSON rows of prompt, chosen and rejected, whose rewards differ by --margin.

    Exit code 1: a video has no reward; it is in no pair.
    """
    from deeptrace.reward.rank import preference_pairs

    ranking, rows = _ranking(videos, **options)
    chosen = preference_pairs(ranking, margin=margin, per_prompt=per_prompt)
    for pair in chosen:
        click.echo(
            dumps(
                {
                    "prompt": pair.prompt,
                    "chosen": pair.chosen,
                    "rejected": pair.rejected,
                    "chosen_reward": pair.chosen_value,
                    "rejected_reward": pair.rejected_value,
                    "reward": options["kind"],
                    "form": options["form"],
                }
            )
        )
    click.echo(f"{len(chosen)} pairs of {len(ranking.ranked)} videos", err=True)
    return _say_failures(rows)


@reward.command("filter")
@_options("videos", "kind", "form", "model", "look", "scores")
@click.option("--at-least", type=float, help="Let through what has this reward or more.")
@click.option(
    "--best-share",
    type=click.FloatRange(0, 1, min_open=True),
    help="Let through this share, the best, of those scored.",
)
@click.option("--copy-to", type=click.Path(file_okay=False), help="Copy what is let through into this folder.")
@_options("json")
def filter_videos(
    videos: tuple[str, ...],
    at_least: float | None,
    best_share: float | None,
    copy_to: str | None,
    as_json: bool,
    **options: Any,
) -> int:
    """Print the paths of the videos that are good enough, best first. One without a reward is never let through.

    Exit code 1: a video has no reward.
    """
    from deeptrace.reward.rank import good_enough

    if (at_least is None) == (best_share is None):
        raise click.UsageError("give --at-least or --best-share, one of them")
    ranking, rows = _ranking(videos, prompts=None, **options)
    through, held = good_enough(ranking, at_least=at_least, best_share=best_share)
    for video in through:
        click.echo(dumps({"path": video.path, "value": video.value}) if as_json else visible(video.path))
    if copy_to is not None:
        _copy([video.path for video in through], Path(copy_to))
    click.echo(f"{len(through)} let through, {len(held)} held back, {len(ranking.without)} without a reward", err=True)
    return _say_failures(rows)


def _copy(paths: Sequence[str], folder: Path) -> None:
    """Copy files into a folder. Two of one name, or one that is there already with other bytes, are an error."""
    make_folder(folder)
    names = Counter(Path(path).name for path in paths)
    if twice := [name for name, count in names.items() if count > 1]:
        raise FileError(f"{len(twice)} names stand for several videos, {visible(twice[0])!r} for one; copy them apart")
    for path in paths:
        target = folder / Path(path).name
        if target.exists():
            raise FileError(f"{target.name!r} is in {folder.name!r} already")
        with open(path, "rb") as source, atomic_write(target) as copy:
            shutil.copyfileobj(source, copy)


# ── compare ──


@reward.command()
@click.argument("generators", nargs=-1, required=True, metavar="NAME=DIR...")
@_options("prompts", "model")
@click.option("--out", required=True, type=click.Path(file_okay=False), help="The folder of the page and the figures.")
@click.option(
    "--as-they-are", is_flag=True, help="Do not bring the videos into one form first: size, rate and coding may decide."
)
@click.option("--short-side", type=click.IntRange(32), default=144, show_default=True, help="Pixels, of the one form.")
@click.option("--fps", type=click.FloatRange(1), default=8.0, show_default=True, help="Of the one form.")
@click.option("--seconds", type=click.FloatRange(0, min_open=True), help="Of the one form. Default: what 90 % have.")
@click.option("--json", "as_json", is_flag=True, help="The figures on stdout, as in comparison.json.")
def compare(
    generators: tuple[str, ...],
    prompts: str | None,
    model: str,
    out: str,
    as_they_are: bool,
    short_side: int,
    fps: float,
    seconds: float | None,
    as_json: bool,
) -> int:
    """Compare generators, each a NAME and a folder of its videos: rewards, share called fake, traces, with intervals.

    All videos are brought into one form first (aspect, size, rate, length, coding), so that none of it decides. With
    --prompts intervals are over prompts, and differences are paired where prompts match.

    Exit code 1: a video has no reward.
    """
    from deeptrace.reward.compare import compare_generators
    from deeptrace.reward.compare_page import write_comparison
    from deeptrace.reward.rows import prompt_of, read_prompts, score_files
    from deeptrace.reward.score import Reward

    folders = _generators(generators)
    table = None if prompts is None else read_prompts(prompts)
    folder = make_folder(out)
    judge = Reward(model)
    rows: dict[str, list[RewardRow]] = {}
    excluded: dict[str, Mapping[str, int]] = {}
    form = {"short_side": short_side, "fps": fps, "duration_seconds": seconds}
    if not as_they_are and seconds is None:
        form["duration_seconds"] = _common_seconds(folders, fps)
    with Journal(folder / "rewards.jsonl", lock=True, sync_seconds=1.0) as journal:
        for name, source in folders.items():
            paths = list(find_videos([source]))
            if not paths:
                raise click.UsageError(f"no videos in {visible(source)}")
            if not as_they_are:
                paths, excluded[name] = _in_one_form(source, paths, folder / "one-form" / name, form)
            with bar(f"scoring {name}", len(paths)) as progress:
                rows[name] = list(score_files(judge, paths, journal, progress=progress))
    by_path = None
    if table is not None:
        known = {row.path: prompt_of(row.path, table) for members in rows.values() for row in members}
        by_path = {path: prompt for path, prompt in known.items() if prompt is not None}
    comparison = compare_generators(rows, prompts=by_path, normalised=not as_they_are)
    page = write_comparison(comparison, folder, command=typed_command())
    if as_json:
        click.echo(dumps(comparison.to_json()))
    else:
        _print_comparison(comparison)
    for name, counts in excluded.items():
        if counts:
            left_out = ", ".join(f"{reason} {count}" for reason, count in counts.items())
            click.echo(f"{visible(name)}: left out of the one form: {left_out}", err=True)
    click.echo(f"page: {visible(str(page))}", err=True)
    return _say_failures([row for members in rows.values() for row in members])


def _generators(arguments: Sequence[str]) -> dict[str, str]:
    folders: dict[str, str] = {}
    for argument in arguments:
        name, equals, folder = argument.partition("=")
        if not equals or not name or not folder or "/" in name or name.startswith("."):
            raise click.UsageError(f"{visible(argument)} is not NAME=DIR")
        if name in folders:
            raise click.UsageError(f"{visible(name)} stands twice")
        folders[name] = folder
    return folders


def _common_seconds(folders: Mapping[str, str], fps: float) -> float:
    """The longest length, in whole frames, that 90 % of the videos of each generator have."""
    from deeptrace.video import probe

    shortest = []
    for source in folders.values():
        lengths = []
        for path in find_videos([source]):
            with contextlib.suppress(DeepTraceError):  # scoring will say what is wrong with it
                lengths.append(probe(path).length_seconds or 0.0)
        lengths.sort()
        shortest.append(lengths[len(lengths) // 10] if lengths else 0.0)
    seconds = int(min(shortest) * fps + 1e-6) / fps
    if seconds <= 0:
        raise RecordError("seconds", "no length that the videos have in common; give --seconds or --as-they-are")
    return seconds


def _in_one_form(
    source: str, paths: Sequence[str], target: Path, form: Mapping[str, Any]
) -> tuple[list[str], Mapping[str, int]]:
    """The new paths, and how many videos do not have the form, by reason."""
    from deeptrace.data.normalise import normalise
    from deeptrace.records import Record

    root = Path(source) if Path(source).is_dir() else Path(source).parent
    names = [Path(path).relative_to(root).as_posix() for path in paths]
    records = [Record(video_id=name, path=name) for name in names]
    done = normalise(records, root, target, **form)
    made = [str(target / record.path) for record in done.records if record.path is not None]
    return made, done.excluded


def _print_comparison(comparison: Any) -> None:
    def cell(mean: Any) -> str | None:
        if mean.value is None:
            return None
        span = "" if mean.low is None else f" [{mean.low:.3f}, {mean.high:.3f}]"
        return f"{mean.value:.3f}{span}"

    names = [generator.name for generator in comparison.generators]
    rows: list[tuple[object, ...]] = [
        ("videos", *(generator.videos for generator in comparison.generators)),
        ("without a reward", *(sum(generator.failed.values()) for generator in comparison.generators)),
    ]
    for figure in comparison.generators[0].figures:
        rows.append((figure, *(cell(generator.figures[figure]) for generator in comparison.generators)))
    print_table(["figure", *(visible(name) for name in names)], rows)
    if comparison.differences:
        print_table(
            ["first - second", "figure", "difference", "prompts"],
            [
                (f"{visible(d.first)} - {visible(d.second)}", d.figure, cell(d.difference), d.difference.groups)
                for d in comparison.differences
            ],
        )


# ── serve ──


@reward.command()
@_options("model", "kind")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0: a free one.")
@click.option("--root", "roots", multiple=True, type=click.Path(), help="A folder whose files may be scored by path.")
@click.option("--token-file", type=click.Path(), help="A file with the token. Or DEEPTRACE_TOKEN in the environment.")
@click.option("--allow-host", "hosts", multiple=True, help="A name by which the server may be called.")
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Processes, each with the model.")
@click.option("--queue", type=click.IntRange(1), default=256, show_default=True, help="Videos inside at most.")
@click.option("--per-client", type=click.IntRange(1), default=128, show_default=True, help="Of one address at most.")
@click.option("--batch", type=click.IntRange(1), default=64, show_default=True, help="Videos of one request at most.")
@click.option("--item-seconds", type=click.FloatRange(0.1), default=60.0, show_default=True, help="For one video.")
@click.option("--request-seconds", type=click.FloatRange(0.1), default=120.0, show_default=True, help="For a request.")
@click.option("--drain-seconds", type=click.FloatRange(0), default=30.0, show_default=True, help="For the end.")
def serve(
    model: str,
    kind: str,
    host: str,
    port: int,
    roots: tuple[str, ...],
    token_file: str | None,
    drain_seconds: float,
    **limits: Any,
) -> None:
    """Serve rewards over HTTP: POST /score, GET /rewards, /health and /ready. See docs/serve.md.

    Without a token only this machine is served. Prints the address once it listens. SIGTERM ends it: what is inside is
    answered first.
    """
    from deeptrace.reward.serve import RewardServerOptions, serve_rewards

    options = RewardServerOptions(
        model=model, kind=cast(Any, kind), roots=tuple(Path(r) for r in roots), token=_token(token_file), **limits
    )
    serve_rewards(options, host=host, port=port, drain_seconds=drain_seconds, on_ready=click.echo)


def _token(path: str | None) -> str | None:
    if path is None:
        return os.environ.get("DEEPTRACE_TOKEN") or None
    from deeptrace.files import read_bytes

    return read_bytes(path, limit=4096).decode("utf-8", "strict").strip()
