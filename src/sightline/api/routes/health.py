"""Is it alive, is it ready, and what is it running on?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request

from sightline import __version__
from sightline.api.schemas import Health, Live, Problem
from sightline.errors import DetectorClosed

if TYPE_CHECKING:
    from sightline.api.backend import Backend, Status

router = APIRouter(tags=["health"])

_NOT_READY: dict[int | str, dict[str, Any]] = {
    503: {"model": Problem, "description": "It cannot serve now"}
}
_HUNG: dict[int | str, dict[str, Any]] = {
    503: {"model": Problem, "description": "It hangs; end the process and start it again"}
}


@router.get("/health", summary="What serves, and on what", responses=_NOT_READY)
async def health(request: Request) -> Health:
    backend: Backend = request.app.state.backend
    status = await _ready(backend)
    if not status.models[0].loaded:
        status = await backend.status(wake=True)
    default = status.models[0]
    same: dict[str, Any] = default.model_dump(
        include={"digest", "family", "device", "engine", "precision"}
    )
    return Health(
        status="ok",
        model=default.name,
        models=[model.name for model in status.models],
        classes=len(default.labels or ()),
        gpu_available=status.gpu_available,
        confidence=request.app.state.settings.confidence,
        version=__version__,
        notice=status.notice or None,
        **same,
    )


@router.get("/health/live", summary="The process need not be restarted", responses=_HUNG)
async def live(request: Request) -> Live:
    backend: Backend = request.app.state.backend
    if hung := backend.hung:
        raise DetectorClosed(f"{'; '.join(hung)}. End the process (SIGTERM) and start it again.")
    return Live(status="ok")


@router.get("/health/ready", summary="It can serve a picture now", responses=_NOT_READY)
async def ready(request: Request) -> Live:
    await _ready(request.app.state.backend)
    return Live(status="ok")


async def _ready(backend: Backend) -> Status:
    status = await backend.status()
    if status.troubles:
        raise DetectorClosed(
            f"{'; '.join(status.troubles)}. The log has more. Restart the service if it does not "
            "recover."
        )
    return status
