"""Commands that are imported when they are called."""

from __future__ import annotations

from importlib import import_module
from typing import Any, cast

import typer
from typer.core import TyperCommand, TyperGroup


class LazyCommand(TyperCommand):
    """A command of which the name and the first line of help are known before it is imported."""

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        return load(self.name or "").make_context(*args, **kwargs)


def add_lazily(app: typer.Typer, commands: dict[str, str]) -> None:
    """Add `commands`, first lines of help by name, to `app`."""
    for name, summary in commands.items():
        app.command(name, cls=LazyCommand, help=summary)(_no_options)


def load(name: str) -> TyperCommand | TyperGroup:
    """The command `name`: the function or `typer.Typer` of that name in `sightline.cli.NAME`."""
    found = getattr(import_module(f"sightline.cli.{name}"), name)
    parent = typer.Typer(rich_markup_mode=None)
    if isinstance(found, typer.Typer):
        parent.add_typer(found, name=name)
    else:
        parent.command(name)(found)
    return cast("TyperCommand | TyperGroup", typer.main.get_group(parent).commands[name])


def _no_options() -> None:
    """Callback of every LazyCommand, never called: the real one has the options."""
