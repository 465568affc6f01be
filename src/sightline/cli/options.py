"""Options that several commands share, with the names and help of `settings/`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from sightline.settings import Settings

if TYPE_CHECKING:
    from typer.models import OptionInfo


def setting(name: str, flag: str | None = None) -> OptionInfo:
    """A command-line option for the setting `name`; None where the flag is not given."""
    field = Settings.model_fields[name]
    default = "" if field.default is None else f" [default: {field.default}]"
    info: Any = typer.Option(
        flag or f"--{name.replace('_', '-')}",
        help=f"{field.description}{default}",
        show_default=False,
    )
    option: OptionInfo = info
    return option


Model = Annotated[str | None, setting("model")]
Engine = Annotated[str | None, setting("engine")]
Device = Annotated[str | None, setting("device")]
Confidence = Annotated[float | None, setting("confidence")]
