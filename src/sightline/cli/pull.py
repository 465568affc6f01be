"""`sightline pull`: downloads a model into the cache."""

from __future__ import annotations

from typing import Annotated

import typer

from sightline.cli.options import setting
from sightline.cli.progress import shown_progress
from sightline.settings import load_settings


def pull(
    model: Annotated[
        str,
        typer.Argument(
            help="A name that `sightline models` lists, or the https:// or hf://owner/repo/file "
            "address of an .onnx file."
        ),
    ],
    data_dir: Annotated[str | None, setting("data_dir")] = None,
) -> None:
    """Fetch a model, so that it can be served without a connection.

    Goes on where an earlier pull was cut off. A model that is there already is compared with what
    is offered now; one that has changed is refused. The file's path goes to stdout.
    """
    from sightline.models.pull import pull as fetch

    settings = load_settings(data_dir=data_dir)
    with shown_progress() as progress:
        path = fetch(model, settings.pulled_dir, progress)
    typer.echo(path)
