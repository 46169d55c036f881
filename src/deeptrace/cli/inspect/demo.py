"""``deeptrace demo``: a clip with a trace that we put there, its clean twin, and what the model says of both."""

from __future__ import annotations

import click

from deeptrace.cli.inspect.command import DEFAULT_MODEL, about_model, complete_model, settings_of
from deeptrace.cli.inspect.processes import Task
from deeptrace.cli.inspect.run import Inspection
from deeptrace.cli.inspect.table import print_table
from deeptrace.files import dumps, make_folder, write_text
from deeptrace.models import load
from deeptrace.pages.sentences import time_words
from deeptrace.records import Outcome, Trace, Verdict
from deeptrace.rows import trace_to_json


@click.command()
@click.option("--out", type=click.Path(file_okay=False), default="deeptrace-demo", show_default=True, help="Folder.")
@click.option(
    "--model", "model_name", default=DEFAULT_MODEL, show_default=True, shell_complete=complete_model,
    help="Which model looks at the clips.",
)  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=8, show_default=True, help="Another seed, another scene.")
def demo(out: str, model_name: str, seed: int) -> int:
    """Make a clip with a fake trace and its clean twin, inspect both, and write the report.

    The place and time of the trace are known, since it was put there; the table shows what the model found of it. The
    default seed is the first, from 0 on, where the embedded model finds the trace, names its kind and calls the clean
    twin real. That is no fair sample: docs/embedded.md says of twenty seeds how many are so.
    """
    from deeptrace.inject import inject as put_trace
    from deeptrace.inject import render_scene
    from deeptrace.video import write_video

    folder = make_folder(out)
    model = load(model_name)
    paths = [str(folder / "fake.mp4"), str(folder / "clean.mp4")]
    truths: list[Trace] = []

    def make_clips() -> None:
        scene = render_scene(seed, size_hw=(270, 480), fps=16.0, seconds=4.0)
        pair = put_trace(
            scene.frames, "Object Disappearance", seed=seed, strength=1.0, onset_seconds=2.0, things=scene.things
        )
        for path, frames in zip(paths, (pair.fake, pair.clean), strict=True):
            write_video(path, frames)
        write_text(folder / "truth.json", dumps({"fake.mp4": [trace_to_json(pair.trace)], "clean.mp4": []}, indent=1))
        truths.append(pair.trace)

    run = Inspection(model, Task(model_name, {}, {}), paths, settings_of(model, model_name, {}), folder=folder)
    run.go(lambda outcome: None, before=make_clips)
    print_table(paths, run.in_order, [True, True], about_model(model_name))
    _print_truth(truths[0], run.in_order[0])
    click.echo(f"report: {run.page}")
    return 0 if run.complete else 1


def _print_truth(truth: Trace, outcome: Outcome) -> None:
    """What was put into the demo's clip, and how much of it was found."""
    from deeptrace.measures.overlap import box_iou

    kind = ", ".join(truth.categories or ())
    click.echo(f"\nput into fake.mp4: {kind}, {time_words(truth)}: {truth.explanation}")
    trace = outcome.traces[0] if isinstance(outcome, Verdict) and outcome.traces else None
    if trace is None:
        click.echo("found: nothing")
        return
    parts = []
    if trace.bbox_xyxy is not None and truth.bbox_xyxy is not None:
        parts.append(f"box IoU {box_iou(trace.bbox_xyxy, truth.bbox_xyxy):.2f}")
    if trace.onset_seconds is not None and truth.onset_seconds is not None:
        parts.append(f"onset {trace.onset_seconds - truth.onset_seconds:+.2f} s off")
    parts.append("same category" if set(trace.categories or ()) & set(truth.categories or ()) else "another category")
    click.echo(f"found: {', '.join(parts)}")
