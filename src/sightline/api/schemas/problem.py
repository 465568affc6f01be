"""The JSON of errors (RFC 9457)."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field
from pydantic.json_schema import SkipJsonSchema

Missing = SkipJsonSchema[None]
"""Where something is left out."""


def _without_default(schema: dict[str, Any]) -> None:
    """Where it has no value it is not there, rather than null."""
    schema.pop("default")


class OptionError(BaseModel):
    """A parameter that is not acceptable."""

    parameter: str
    message: str
    value: str


class Problem(BaseModel):
    """RFC 9457. `type` is stable; `detail` is for people and says what to do."""

    type: str = Field(pattern="^urn:sightline:problem:[a-z-]+$")
    title: str
    status: int = Field(ge=400, le=599, description="as the answer's")
    detail: str
    retry_after: Annotated[int, Field(ge=1)] | Missing = Field(
        default=None,
        description="With 429 and 503: seconds, as in Retry-After.",
        json_schema_extra=_without_default,
    )
    errors: list[OptionError] | Missing = Field(
        default=None,
        description="With `bad-option`: each parameter that is not acceptable.",
        json_schema_extra=_without_default,
    )
