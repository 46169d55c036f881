"""Options of the commands that ask a language model, the client they describe, and what it has spent."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import click

from deeptrace.characters import visible
from deeptrace.cli.data import FOLDER
from deeptrace.models import HOMES, registry
from deeptrace.models.base import Transport

if TYPE_CHECKING:
    from deeptrace.chat import ChatClient, ChatStopped
    from deeptrace.models import Model
    from deeptrace.shards import Shard

Command = TypeVar("Command", bound=Callable[..., Any])


def money(command: Command) -> Command:
    """The options that bound what a run may cost."""
    for option in (
        click.option(
            "--max-requests", type=click.IntRange(1), help="Stop before more requests than this, retries included."
        ),
        click.option(
            "--max-cost", type=click.FloatRange(0), help="Stop before costing more than this; needs --prices."
        ),
        click.option("--prices", type=(float, float), help="Price of a million tokens read, and of a million written."),
        click.option("--cache", type=FOLDER, help="Keep good replies here and never ask twice."),
    ):
        command = option(command)
    return command


def at_endpoint(command: Command) -> Command:
    """The options that say where a model behind an endpoint is, and how a video travels there."""
    for option in (
        click.option(
            "--transport",
            type=click.Choice(get_args(Transport)),
            help="For openai: models: how a video travels; default: as pictures, or as the registry says.",
        ),
        click.option(
            "--base-url",
            multiple=True,
            callback=_one_or_several,
            help="For openai: models: an OpenAI-compatible endpoint, up to /v1; repeated: several servers of it.",
        ),
    ):
        command = option(command)
    return command


def _one_or_several(
    _context: click.Context, _parameter: click.Parameter, value: tuple[str, ...]
) -> str | tuple[str, ...] | None:
    return value if len(value) > 1 else (value[0] if value else None)


def sampled(command: Command) -> Command:
    """The options of the commands that may ask a model several times."""
    for option in (
        click.option(
            "--samples",
            type=click.IntRange(2, 64),  # MAX_SAMPLES of `deeptrace.models.consensus`
            help="Ask each video so many times and say what the answers agree on; default: once, without chance.",
        ),
        click.option(
            "--temperature",
            type=click.FloatRange(0, 2, min_open=True),
            help="With --samples: how freely the answers are drawn; default 0.7.",
        ),
    ):
        command = option(command)
    return command


def _parse_shard(_context: click.Context, _parameter: click.Parameter, value: str | None) -> Shard | None:
    if value is None:
        return None
    from deeptrace.shards import ShardError, parse_shard

    try:
        return parse_shard(value)
    except ShardError as error:
        raise click.BadParameter(visible(str(error))) from None


def sharded(command: Command) -> Command:
    """The option of the commands that several processes or machines may share."""
    return click.option(
        "--shard",
        metavar="K/N",
        callback=_parse_shard,
        help="Ask only about part K of N, in a folder of its own inside --out; torchrun: as it says. "
        "Without --shard the parts are put together.",
    )(command)


def home_of(model_name: str) -> str:
    """The home of a model by its name, also of one that the registry names."""
    home = model_name.partition(":")[0]
    if home in HOMES:
        return home
    entry = registry.entries().get(model_name)
    return home if entry is None else entry.home.partition(":")[0]


def gpu_of(shard: Shard | None, home: str) -> dict[str, Any]:
    """The option that puts a model that runs here on the GPU of this part, as torchrun numbers them; none: no GPU."""
    if shard is None or shard.device is None or home != "hf":
        return {}
    from deeptrace.models.hf.library import load_transformers

    load_transformers("a language model")
    import torch

    return {"device": f"cuda:{shard.device}"} if torch.cuda.device_count() else {}


def check_samples(samples: int | None, temperature: float | None) -> None:
    """Refuse what cannot be drawn, before a model is loaded."""
    if samples is None and temperature is not None:
        raise click.UsageError("--temperature goes with --samples: one answer is taken without chance")


def with_samples(model: Model, samples: int | None, temperature: float | None, *, seed: int = 0) -> Model:
    """The model, asked several times where the options say so."""
    check_samples(samples, temperature)
    if samples is None:
        return model
    from deeptrace.models.consensus import Consensus

    return Consensus(model, samples, temperature=0.7 if temperature is None else temperature, seed=seed)


def endpoint(command: Command) -> Command:
    """The options of every command that asks a language model: which one, and for how much."""
    command = money(command)
    for option in (
        click.option("--model", "model_name", required=True, help="The model's name at the endpoint."),
        click.option("--base-url", required=True, help="An OpenAI-compatible endpoint, up to /v1."),
    ):
        command = option(command)
    return command


def check_money(options: dict[str, Any]) -> None:
    """Refuse a cap without prices: no cost would be known."""
    if options["max_cost"] is not None and options["prices"] is None:
        raise click.UsageError("--max-cost needs --prices: without them no cost is known")


def open_client(options: dict[str, Any]) -> ChatClient:
    """The client of these options."""
    from deeptrace.chat import ChatClient, ChatError, Prices

    check_money(options)
    prices = options["prices"]
    try:
        return ChatClient(
            options["base_url"],
            options["model_name"],
            cache_dir=options["cache"],
            max_requests=options["max_requests"],
            max_cost=options["max_cost"],
            prices=None if prices is None else Prices(*prices),
        )
    except ChatError as error:
        raise click.UsageError(visible(str(error))) from None


def summary(client: ChatClient, options: dict[str, Any], stopped: ChatStopped | None) -> dict[str, Any]:
    """What the run took, for a summary; ``cost`` is None where no prices were given."""
    cost = None if options["prices"] is None else client.spent.cost
    return {
        "requests": client.spent.requests,
        "cost": cost,
        "stopped": None if stopped is None else {"code": stopped.code, "reason": str(stopped)},
    }


def print_spent(spent: dict[str, Any], *, err: bool) -> None:
    """Say it in a line."""
    cost = "unknown without --prices" if spent["cost"] is None else f"{spent['cost']:.6f}"
    click.echo(f"{spent['requests']} requests, cost {cost}", err=err)
