"""The command line: one thin command per room. Only this folder prints; what joins two rooms is composed here.

Exit codes: 0 done, 1 something failed, 2 wrong usage, 130 interrupted, 141 the reader of our output went away.
"""

from __future__ import annotations

import io
import os
import sys
from typing import NoReturn

import click

from deeptrace import __version__
from deeptrace.cli.bench import bench
from deeptrace.cli.bench_judge import judge as bench_judge
from deeptrace.cli.bench_report import report as bench_report
from deeptrace.cli.bench_run import run as bench_run
from deeptrace.cli.build import COMMANDS
from deeptrace.cli.data import data
from deeptrace.cli.doctor import doctor
from deeptrace.cli.inject import inject
from deeptrace.cli.inspect import demo, inspect
from deeptrace.cli.models import models
from deeptrace.cli.train import train
from deeptrace.errors import DeepTraceError, MissingExtra, ModelError
from deeptrace.html import visible

INTERRUPTED = 130
READER_GONE = 141


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="deeptrace")
def cli() -> None:
    """Find what looks fake in a video: where, when, which kind, and why."""


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
    # Not `cli.main()`: it turns a reader that went away into exit code 1, as if a video had failed.
    try:
        with cli.make_context("deeptrace", arguments) as context:
            code = cli.invoke(context)
        sys.stdout.flush()
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
        if "deeptrace.video" in sys.modules:  # a read under way would hold up the end of the process
            sys.modules["deeptrace.video"].close()
        click.echo("interrupted", err=True)
        return INTERRUPTED
    except BrokenPipeError:
        # Python flushes stdout once more at exit; give it somewhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return READER_GONE


def _say(error: DeepTraceError) -> None:
    click.echo(f"error: {visible(str(error))}", err=True)
