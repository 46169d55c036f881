"""The command line: one thin command per room. Only this folder prints; what joins two rooms is composed here.

Exit codes: 0 done, 1 something failed, 2 wrong usage, 130 interrupted, 141 the reader of our output went away.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import traceback
from pathlib import Path
from typing import NoReturn

import click
from click.shell_completion import shell_complete

from deeptrace import __version__
from deeptrace.characters import visible
from deeptrace.cli.bench import bench
from deeptrace.cli.bench_judge import judge as bench_judge
from deeptrace.cli.bench_report import report as bench_report
from deeptrace.cli.bench_run import run as bench_run
from deeptrace.cli.build import COMMANDS
from deeptrace.cli.data import data
from deeptrace.cli.doctor import doctor
from deeptrace.cli.explore import explore
from deeptrace.cli.inject import inject
from deeptrace.cli.inspect import demo, inspect
from deeptrace.cli.models import models
from deeptrace.cli.reward import reward
from deeptrace.cli.study import study
from deeptrace.cli.train import train
from deeptrace.errors import DeepTraceError, MissingExtra, ModelError
from deeptrace.models.registry import using

INTERRUPTED = 130
READER_GONE = 141

COMPLETE_VARIABLE = "_DEEPTRACE_COMPLETE"
"""The environment's word that a shell is asking what could come next, and in which way (``bash_source``, ...)."""


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="deeptrace")
@click.option(
    "--registry",
    type=click.Path(dir_okay=False),
    help="A TOML file of named models of your own, as `deeptrace models` lists them; also DEEPTRACE_REGISTRY.",
)
@click.pass_context
def cli(context: click.Context, registry: str | None) -> None:
    """Find what looks fake in a video: where, when, which kind, and why."""
    context.with_resource(using(registry))


cli.add_command(inspect)
cli.add_command(demo)
cli.add_command(inject)
cli.add_command(data)
for command in COMMANDS:
    data.add_command(command)
cli.add_command(bench)
bench.add_command(bench_run)
bench.add_command(bench_report)
bench.add_command(bench_judge)
cli.add_command(reward)
cli.add_command(explore)
cli.add_command(study)
cli.add_command(models)
cli.add_command(train)
cli.add_command(doctor)


def main() -> NoReturn:
    """Run the command line and exit with its code; an error of ours becomes one line on stderr, never a traceback."""
    for stream in (sys.stdout, sys.stderr):  # redirected on Windows, they cannot write every name
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    sys.exit(_run(sys.argv[1:]))


def _run(arguments: list[str]) -> int:
    try:
        code = _invoke(arguments)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        _end_reads()
        _drop_output()
        return READER_GONE
    except OSError as error:
        return _refused(error)


def _refused(error: OSError) -> int:
    """Say what the system refused, and of which file; nobody nearer to it did."""
    reason = error.strerror or str(error) or type(error).__name__
    if isinstance(error.filename, (str, bytes)):
        what = f"cannot use {Path(os.fsdecode(error.filename)).name!r}"
    elif _output_fails(error):
        what = "cannot write the output"
    else:
        what = "the system refused"
    with contextlib.suppress(OSError):  # stderr may be the one that is full
        click.echo(f"error: {visible(f'{what}: {reason}')}", err=True)
    return 1


def _output_fails(error: OSError) -> bool:
    """Whether it is stdout that cannot be written: a printer raised it, or what is still held fails once more."""
    *_, (last, _line) = traceback.walk_tb(error.__traceback__)
    fails = last.f_globals.get("__name__") in ("click.utils", "rich.console")
    try:
        sys.stdout.flush()
    except OSError:
        fails = True
    if fails:
        _drop_output()
    return fails


def _drop_output() -> None:
    # Python flushes stdout once more at exit; give it somewhere to go.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _invoke(arguments: list[str]) -> int:
    if instruction := os.environ.get(COMPLETE_VARIABLE):
        return shell_complete(cli, {}, "deeptrace", COMPLETE_VARIABLE, instruction)
    # Not `cli.main()`: it turns a reader that went away into exit code 1, as if a video had failed.
    try:
        with cli.make_context("deeptrace", arguments) as context:
            code = cli.invoke(context)
        return code if isinstance(code, int) else 0
    except click.exceptions.Exit as leave:
        return leave.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (ModelError, MissingExtra) as error:  # the command names something that is not there: wrong usage
        _say(error)
        return 2
    except DeepTraceError as error:
        _say(error)
        return 1
    except (click.Abort, KeyboardInterrupt):
        _end_reads()
        click.echo("interrupted", err=True)
        return INTERRUPTED


def _end_reads() -> None:
    """A read under way would hold up the end of the process."""
    if "deeptrace.video" in sys.modules:
        sys.modules["deeptrace.video"].close()


def _say(error: DeepTraceError) -> None:
    click.echo(f"error: {visible(str(error))}", err=True)
