"""``deeptrace models``: which models there are; look at a checkpoint, convert it, say what a run will take."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from deeptrace.characters import visible
from deeptrace.cli.data import FOLDER
from deeptrace.cli.model_list import print_models
from deeptrace.cli.show import bar, print_problems, print_table
from deeptrace.errors import RecordError
from deeptrace.files import dumps


@click.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="The list as JSON.")
@click.pass_context
def models(context: click.Context, as_json: bool) -> None:
    """List the models that `inspect --model` takes."""
    if context.invoked_subcommand is None:
        print_models(as_json=as_json)


@models.command()
@click.argument("src", type=click.Path())
@click.argument("dst", type=click.Path())
@click.option(
    "--trained-for",
    type=click.Choice(["rewarddata", "general"]),
    help="What SRC was trained to be asked; needed unless a deeptrace.json in SRC says it. rewarddata: the paper's "
    "question, answered in source pixels. general (a base model): zero-shot, answered in 0-1000.",
)
@click.option(
    "--frame-times",
    type=click.Choice(["as-trained", "true"]),
    default="as-trained",
    show_default=True,
    help="as-trained: show and label frames as the original code did. true: label each frame with its own time.",
)
@click.option(
    "--fps", type=click.FloatRange(min=0, min_open=True), help="Frames a second; default: what SRC says, or 2."
)
@click.option("--max-frames", type=click.IntRange(min=1), help="Frames at most [default: SRC's, or 180]")
@click.option(
    "--system-prompt",
    metavar="WORDS",
    help="What the system's turn says; '' for no such turn, as in the original training code "
    "[default: that of the released inference example]",
)
def convert(src: str, dst: str, trained_for: Any, frame_times: Any, **options: Any) -> None:
    """Convert a checkpoint of VideoLLaMA 3's own code, SRC, into the format that `hf:` loads, DST.

    Tensors are renamed and their bytes copied, a piece at a time, then read back and compared. SRC's code is not run;
    pickles are refused. DST appears when it is whole. SRC is a folder, or a model on the hub (org/name@revision).
    """
    from deeptrace.models.hf.convert import convert as run
    from deeptrace.models.hf.model import locate

    source = src if Path(src).exists() else locate(src)[0]
    with bar("converting", None) as report:
        conversion = run(source, dst, trained_for=trained_for, frame_times=frame_times, progress=report, **options)
    click.echo(f"{conversion.tensors} tensors, {conversion.nbytes:,} bytes, each compared with what was read")
    sampling = conversion.card.sampling
    assert sampling is not None
    click.echo(f"frames: {sampling.fps:g} a second, {sampling.max_frames} at most, times {conversion.card.frame_times}")
    if conversion.left_out:
        click.echo(f"keys of config.json that mean nothing here: {visible(', '.join(conversion.left_out))}", err=True)
    prompt = conversion.card.system_prompt
    click.echo(f"coordinates: {conversion.card.space}; system prompt: {visible(prompt or 'none')}")
    if conversion.skipped:
        click.echo(f"files of a trainer, never opened: {visible(', '.join(conversion.skipped))}", err=True)
    click.echo(f"try it: deeptrace inspect VIDEO --model hf:{visible(dst)}")


@models.command()
@click.argument("folder", type=click.Path())
@click.option("--base", type=click.Path(), help="The model that an adapter (LoRA) was trained on.")
@click.option("--numbers/--no-numbers", default=True, help="Read every weight for NaN and infinity (on by default).")
@click.option(
    "--compare-prompts",
    metavar="DATA",
    help="Score the labelled videos of DATA with the released system prompt and with none: which one fits?",
)
@click.option("--root", type=FOLDER, help="With --compare-prompts: what the videos' paths are relative to.")
@click.option("--split", default="val", show_default=True, help="With --compare-prompts: train, val, test, or all.")
@click.option("--json", "as_json", is_flag=True, help="The findings as JSON.")
def check(
    folder: str,
    base: str | None,
    numbers: bool,
    compare_prompts: str | None,
    root: Path | None,
    split: str,
    as_json: bool,
) -> int:
    """Look at a checkpoint without running it: tensors missing, left over, of another shape, not finite.

    A missing tensor would be filled with random numbers when the model is loaded. With --compare-prompts the model is
    run instead, over each labelled video twice.

    Exit code 1: something is wrong with it.
    """
    context = click.get_current_context()
    if compare_prompts is not None:
        for name in ("base", "numbers"):
            if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
                flag = "--base" if name == "base" else "--numbers, --no-numbers"
                raise click.UsageError(f"{flag}: does not go with --compare-prompts, which runs the model in FOLDER")
        return _compare_prompts(folder, compare_prompts, root, split, as_json=as_json)
    from deeptrace.models.hf.check import check as run

    with bar("reading weights", None) as progress:
        report = run(folder, base=base, numbers=numbers, progress=progress)
    if as_json:
        click.echo(dumps({**asdict(report), "ok": report.ok}, indent=1))
        return 0 if report.ok else 1
    print_table(
        ["what", "count"],
        [
            ("tensors", report.tensors),
            ("parameters", f"{report.parameters:,}"),
            ("bytes", f"{report.nbytes:,}"),
            ("missing (newly initialized)", len(report.missing)),
            ("left over", len(report.extra)),
            ("of another shape", len(report.wrong_shape)),
            ("with NaN or infinity", "-" if report.not_finite is None else len(report.not_finite)),
        ],
        title=report.model_type,
    )
    findings = {
        "missing": report.missing,
        "left over": report.extra,
        "of another shape": report.wrong_shape,
        "not finite": [f"{name}: {count}" for name, count in (report.not_finite or {}).items()],
        "note": report.notes,
    }
    for what, names in findings.items():
        for name in names:
            click.echo(f"{what}: {visible(name)}")
    click.echo("nothing is wrong with it" if report.ok else "do not use it")
    return 0 if report.ok else 1


def _compare_prompts(folder: str, source: str, root: Path | None, split: str, *, as_json: bool) -> int:
    from deeptrace.bench.run.tracks import select
    from deeptrace.data import load_records
    from deeptrace.data.paths import resolve
    from deeptrace.models.hf.model import HfModel
    from deeptrace.models.hf.prompts import compare_prompts

    records = load_records(source, root=root)
    print_problems(records.counts)
    labelled = select(records, split)
    paths, are_fake = list[str](), list[bool]()
    left_out = Counter({"not labelled fake or real": sum(split in ("all", one.split) for one in records)})
    left_out["not labelled fake or real"] -= len(labelled)
    for record in labelled:
        try:
            paths.append(str(resolve(records.root, record)))
        except RecordError as error:
            left_out[f"no usable path: {error}"] += 1
        else:
            are_fake.append(record.label == "fake")
    for why, count in (+left_out).items():
        click.echo(f"note: left out: {count} x {visible(why)}", err=True)
    if not paths:
        raise click.UsageError(f"no labelled video of split {split!r} in {visible(source)} has a usable path")
    found = compare_prompts(HfModel(folder), paths, are_fake)
    if as_json:
        click.echo(dumps({**asdict(found), "left_out": left_out.total()}, indent=1))
        return 0
    rows: list[tuple[str, object]] = [
        ("fakes scored", found.fakes), ("reals scored", found.reals), ("not scored", found.unscored),
        ("left out", left_out.total()),
    ]  # fmt: skip
    if found.difference is not None:
        rows += [
            ("log P(true label), released prompt", f"{found.with_released:.4f}"),
            ("log P(true label), no system turn", f"{found.with_none:.4f}"),
            ("difference", f"{found.difference:+.4f}"),
            ("with 95 % confidence between", f"{found.low:+.4f} and {found.high:+.4f}"),
        ]
    print_table(["what", "value"], rows)
    words = {
        "released": "the released system prompt fits",
        "none": "no system prompt fits: convert with --system-prompt ''",
        "cannot tell": "these videos cannot tell which one fits",
    }
    click.echo(words[found.fit])
    return 0


@models.command()
@click.argument("folder", type=click.Path())
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), default=5.0, show_default=True)
@click.option("--width", type=click.IntRange(min=1), default=1280, show_default=True, help="Pixels of a clip.")
@click.option("--height", type=click.IntRange(min=1), default=720, show_default=True, help="Pixels of a clip.")
@click.option("--batch-size", type=click.IntRange(min=1), default=1, show_default=True, help="Clips at once.")
@click.option("--max-new-tokens", type=click.IntRange(min=1), default=512, show_default=True, help="Of an answer.")
@click.option(
    "--dtype", type=click.Choice(["auto", "float32", "bfloat16", "float16"]), default="auto", show_default=True
)
@click.option("--quantization", type=click.Choice(["int8", "nf4"]), help="Packed weights.")
@click.option("--train", "training", is_flag=True, help="What training takes, rather than answering.")
@click.option("--gpus", type=click.IntRange(min=1), default=1, show_default=True, help="With --train: processes.")
@click.option("--fsdp", is_flag=True, help="With --train: weights are shared out over the GPUs.")
@click.option(
    "--precision",
    type=click.Choice(["float32", "bfloat16", "mixed"]),
    default="mixed",
    show_default=True,
    help="With --train, as in a recipe.",
)
@click.option("--gradient-checkpointing", is_flag=True, help="With --train, as in a recipe.")
@click.option("--lora-rank", type=click.IntRange(min=1), help="With --train: train small matrices of this rank.")
@click.option("--json", "as_json", is_flag=True, help="The figures as JSON.")
def estimate(folder: str, as_json: bool, training: bool, **options: Any) -> None:
    """Say what clips of a size will take with the checkpoint in FOLDER: tokens and memory. Loads no weights.

    With --train what a training step takes on each GPU and on the host, and the size of a checkpoint;
    --max-new-tokens is then the length of an answer that is learned.
    """
    only_training = ("gpus", "fsdp", "precision", "gradient_checkpointing", "lora_rank")
    if training:
        options["answer_tokens"] = options.pop("max_new_tokens")
        options.pop("dtype")
        _estimate_training(folder, as_json=as_json, **options)
        return
    context = click.get_current_context()
    for name in only_training:
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--{name.replace('_', '-')} goes with --train.")
        options.pop(name)
    from deeptrace.models.hf.estimate import estimate as run

    needs = run(folder, **options)
    if as_json:
        click.echo(dumps({**asdict(needs), "total": needs.total}, indent=1))
        return
    height, width = needs.resized_hw
    rows: list[tuple[str, str]] = [
        ("frames", f"{needs.frames}"),
        ("resized to", f"{width} x {height}"),
        ("video tokens", f"{needs.video_tokens:,}"),
        ("prompt tokens", f"{needs.prompt_tokens:,}"),
        ("weights", _gib(needs.weights)),
        ("cache", _gib(needs.cache)),
        ("activations, roughly", _gib(needs.activations)),
        ("in all", _gib(needs.total)),
    ]
    print_table(["what", "how much"], rows)


def _estimate_training(folder: str, *, as_json: bool, **options: Any) -> None:
    from deeptrace.models.hf.estimate_training import estimate_training

    bill = estimate_training(folder, **options)
    if as_json:
        click.echo(dumps({**asdict(bill), "gpu": bill.gpu}, indent=1))
        return
    rows: list[tuple[str, str]] = [
        ("parameters", f"{bill.parameters:,}"),
        ("of them trained, or beside them", f"{bill.trained:,}"),
        ("frames", f"{bill.frames}"),
        ("tokens of a clip and its answer", f"{bill.tokens:,}"),
        ("a GPU: weights", _gib(bill.weights)),
        ("a GPU: gradients", _gib(bill.gradients)),
        ("a GPU: optimiser states", _gib(bill.states)),
        ("a GPU: activations, roughly", _gib(bill.activations)),
        ("a GPU: logits", _gib(bill.logits)),
        ("a GPU: in all", _gib(bill.gpu)),
        ("host memory", _gib(bill.host)),
        ("a checkpoint on the disk", _gib(bill.checkpoint)),
        ("the result on the disk", _gib(bill.result)),
    ]
    print_table(["what", "how much"], rows)


def _gib(count: int) -> str:
    return f"{count / 2**30:.2f} GiB"


@models.command()
@click.argument("adapter", type=click.Path())
@click.argument("dst", type=click.Path())
@click.option("--base", required=True, type=click.Path(), help="The model that the adapter was trained on.")
def merge(adapter: str, dst: str, base: str) -> None:
    """Merge a LoRA ADAPTER into its base model: a checkpoint DST that `hf:` loads like any other."""
    from deeptrace.models.hf.adapter import merge as run

    report = run(adapter, base, dst)
    click.echo(f"{report.tensors} tensors, {report.nbytes:,} bytes")
