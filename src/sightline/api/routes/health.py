"""Is it alive, is it ready, and what is it running on?"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request

from sightline import __version__
from sightline.api.schemas import Health, Live, Problem
from sightline.engines.devices import gpu_available
from sightline.errors import DetectorClosed

if TYPE_CHECKING:
    from sightline.serving.repository import Repository

router = APIRouter(tags=["health"])

_NOT_READY: dict[int | str, dict[str, Any]] = {
    503: {"model": Problem, "description": "It cannot serve now"}
}
_HUNG: dict[int | str, dict[str, Any]] = {
    503: {"model": Problem, "description": "It hangs; end the process and start it again"}
}


@router.get("/health", summary="What serves, and on what", responses=_NOT_READY)
def health(request: Request) -> Health:
    repository = _ready_repository(request)
    with repository.lease() as detector:
        return Health(
            status="ok",
            model=detector.spec.name,
            digest=detector.digest,
            models=[entry.name for entry in repository.entries()],
            family=detector.spec.family,
            classes=len(detector.spec.labels),
            device=detector.device,
            engine=detector.engine,
            precision=detector.precision,
            gpu_available=_gpu_available(),
            version=__version__,
            notice=repository.notice or None,
        )


@router.get("/health/live", summary="The process need not be restarted", responses=_HUNG)
async def live(request: Request) -> Live:
    repository: Repository = request.app.state.repository
    if hung := repository.hung():
        raise DetectorClosed(f"{'; '.join(hung)}. End the process (SIGTERM) and start it again.")
    return Live(status="ok")


@router.get("/health/ready", summary="It can serve a picture now", responses=_NOT_READY)
async def ready(request: Request) -> Live:
    _ready_repository(request)
    return Live(status="ok")


def _ready_repository(request: Request) -> Repository:
    repository: Repository = request.app.state.repository
    if troubles := repository.troubles():
        raise DetectorClosed(
            f"{'; '.join(troubles)}. The log has more. Restart the service if it does not recover."
        )
    return repository


@cache
def _gpu_available() -> bool:
    return gpu_available()
