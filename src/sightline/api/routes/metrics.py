"""How much goes through, and how fast."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, HTTPException, Query, Request
from pydantic import BaseModel, ConfigDict

from sightline.api.negotiation import accepts
from sightline.api.schemas import Metrics, Problem

if TYPE_CHECKING:
    from sightline.api.backend import Backend

router = APIRouter(tags=["health"])

_ANSWERS: dict[int | str, dict[str, Any]] = {
    406: {"model": Problem, "description": "Only JSON is spoken"},
    503: {"model": Problem, "description": "It cannot serve now"},
}


class MetricsQuery(BaseModel):
    """How it is asked for."""

    model_config = ConfigDict(extra="forbid")

    format: Literal["json"] | None = None


@router.get("/metrics", summary="How much goes through, and how fast", responses=_ANSWERS)
async def metrics(request: Request, query: Annotated[MetricsQuery, Query()]) -> Metrics:
    backend: Backend = request.app.state.backend
    accept = ",".join(request.headers.getlist("accept")) or "*/*"
    if query.format is None and not accepts(accept, "application/json"):
        raise HTTPException(406, "Only JSON is spoken here: send Accept: application/json.")
    waiting = await request.app.state.tasks.images_waiting()
    status = await backend.status()
    default = status.models[0]
    return Metrics(
        **status.load.model_dump(),
        model=default.name,
        device=default.device,
        backlog_images=waiting,
    )
