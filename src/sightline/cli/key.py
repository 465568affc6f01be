"""`sightline key`: a new API key."""

from __future__ import annotations

from typing import Annotated

import typer


def key(
    name: Annotated[str, typer.Argument(help="Whose key it is; this name is in the log.")],
) -> None:
    """Make an API key: the key itself for its owner, and a line without it for the service."""
    from sightline.api.middleware.keys import new_key

    secret, entry = new_key(name)
    typer.echo(f"{secret}\n")
    typer.echo(
        "Give this key to its owner: it is not kept. For the service, one of\n"
        f"  SIGHTLINE_API_KEYS={entry}\n"
        f"  a line in the file that SIGHTLINE_API_KEYS_FILE names: {entry}"
    )
