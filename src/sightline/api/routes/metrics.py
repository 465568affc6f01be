"""How much goes through, and how fast."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from sightline import errors
from sightline.api.context import Context
from sightline.api.negotiation import accepts
from sightline.api.openapi.operations import refusals
from sightline.api.schemas.health import Metrics
from sightline.backend.messages import Empty
from sightline.backend.operations import STATUS
from sightline.errors import NotAcceptable

router = APIRouter(tags=["health"])


class MetricsQuery(BaseModel):
    """How it is asked for."""

    model_config = ConfigDict(extra="forbid")

    format: Literal["json"] | None = Field(
        default=None, description="Overrides `Accept`.", examples=["json"]
    )


@router.get(
    "/metrics",
    summary="How much goes through, and how fast",
    response_description="Of now, and since the start",
    responses=refusals(errors.NotAcceptable),
)
async def get_metrics(
    request: Request, query: Annotated[MetricsQuery, Query()], context: Context
) -> Metrics:
    """Of all processes of the service together, as JSON."""
    accept = ",".join(request.headers.getlist("accept")) or "*/*"
    if query.format is None and not accepts(accept, "application/json"):
        raise NotAcceptable("Only JSON is spoken here: send Accept: application/json.")
    waiting = await context.tasks.images_waiting()
    status = await context.backend.call(STATUS, Empty())
    default = status.models[0]
    return Metrics(
        **asdict(status.load),
        model=default.name,
        device=default.device,
        backlog_images=waiting,
    )
