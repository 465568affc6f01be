"""How much goes through, and how fast."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from sightline import errors
from sightline.api.negotiation import accepts
from sightline.api.openapi.operations import refusals
from sightline.api.schemas.detect import Metrics
from sightline.errors import NotAcceptable

if TYPE_CHECKING:
    from sightline.backend.protocols import Backend

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
async def get_metrics(request: Request, query: Annotated[MetricsQuery, Query()]) -> Metrics:
    """Of all processes of the service together, as JSON."""
    backend: Backend = request.app.state.backend
    accept = ",".join(request.headers.getlist("accept")) or "*/*"
    if query.format is None and not accepts(accept, "application/json"):
        raise NotAcceptable("Only JSON is spoken here: send Accept: application/json.")
    waiting = await request.app.state.tasks.images_waiting()
    status = await backend.status()
    default = status.models[0]
    return Metrics(
        **status.load.model_dump(),
        model=default.name,
        device=default.device,
        backlog_images=waiting,
    )
