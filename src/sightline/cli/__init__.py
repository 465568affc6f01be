"""The command line: thin, one file a command."""

from __future__ import annotations

import errno
import os
import sys
from typing import NoReturn

import typer

from sightline import __version__
from sightline.cli.bench import bench
from sightline.cli.demo import demo
from sightline.cli.detect import detect
from sightline.cli.key import key
from sightline.cli.models import models
from sightline.cli.pull import pull
from sightline.cli.quantize import quantize
from sightline.cli.serve import serve
from sightline.cli.tasks import tasks
from sightline.errors import SightlineError

app = typer.Typer(
    name="sightline",
    help="Object detection you can put in production.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command()(serve)
app.command()(detect)
app.command()(pull)
app.command()(models)
app.command()(key)
app.command()(bench)
app.command()(quantize)
app.add_typer(tasks, name="tasks")
app.add_typer(demo, name="demo")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sightline {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(
        False, "--version", help="Print the version.", callback=_print_version, is_eager=True
    ),
) -> None:
    """Object detection you can put in production."""


def main() -> None:
    """Entry point. What an operator can put right is one clear line, never a traceback."""
    try:
        app()
    except SightlineError as error:
        _fail(str(error))
    except OSError as error:
        if error.errno == errno.EPIPE:  # whoever read our output has had enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(0)
        _fail(f"{error.filename or 'output'}: {error.strerror}")


def _fail(message: str) -> NoReturn:
    typer.secho(f"error: {message}", fg="red", err=True)
    sys.exit(2)
