"""Types that options of several groups share."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from pydantic import BeforeValidator, Field
from pydantic_settings import NoDecode


def split_names(value: Any) -> Any:
    """A comma-separated text as its parts; anything else as it is."""
    if isinstance(value, str):
        return tuple(item.strip() for item in value.split(",") if item.strip())
    return value


CommaSeparated: TypeAlias = Annotated[tuple[str, ...], NoDecode, BeforeValidator(split_names)]
"""Comma-separated in the environment, a list in sightline.toml."""

FrameAncestors: TypeAlias = Annotated[
    tuple[Annotated[str, Field(pattern=r"^(self|\*|https?://[A-Za-z0-9_*.-]+(:[0-9]+)?)$")], ...],
    NoDecode,
    BeforeValidator(split_names),
]
"""Pages by their origins, as `CommaSeparated`."""

Seconds: TypeAlias = Annotated[float, Field(gt=0, allow_inf_nan=False)]
