"""The command line: thin, one file a command, imported when it is called."""

from __future__ import annotations

import errno
import os
import sys
from typing import NoReturn

import typer

from sightline import __version__
from sightline.cli.lazy import add_lazily
from sightline.errors import SightlineError

# The first line of each command's own help: the list shows it, and imports no command.
COMMANDS = {
    "serve": "Serve object detection over HTTP.",
    "detect": "Detect objects in pictures.",
    "pull": "Fetch a model, so that it can be served without a connection.",
    "models": "List the models that --model and `sightline pull` take by name.",
    "key": "Make an API key: the key itself for its owner, and a line without it for the service.",
    "bench": "Measure a service under load, or what this machine can do with a model.",
    "quantize": "Quantise a model to INT8 for OpenVINO, and tell what is lost and gained.",
    "tasks": "The tasks of a running service: list, show, watch, cancel, retry.",
    "demo": "Make scenes of toys on a table, with the truth beside them.",
}

app = typer.Typer(
    name="sightline",
    help="Object detection you can put in production.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
add_lazily(app, COMMANDS)


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
