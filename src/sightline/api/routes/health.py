"""Is it alive, is it ready, and what is it running on?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter

from sightline import __version__, errors
from sightline.api.context import Context
from sightline.api.openapi.operations import refusals
from sightline.api.schemas.health import Health, Live
from sightline.backend.messages import Empty
from sightline.backend.operations import STATUS, WAKE_DEFAULT
from sightline.errors import DetectorClosed

if TYPE_CHECKING:
    from sightline.backend.base import Backend
    from sightline.backend.messages import BackendStatus

router = APIRouter(tags=["health"])


@router.get(
    "/health",
    summary="What serves, and on what",
    response_description="It serves",
    responses=refusals(errors.ConfigError),
)
async def get_health(context: Context) -> Health:
    """The default model is loaded for it, if it had given way to others."""
    backend = context.backend
    status = await _ready(backend)
    if not status.models[0].loaded:
        await backend.call(WAKE_DEFAULT, Empty())
        status = await backend.call(STATUS, Empty())
    default = status.models[0]
    same: dict[str, Any] = {
        name: getattr(default, name)
        for name in ("digest", "family", "device", "engine", "precision")
    }
    return Health(
        status="ok",
        model=default.name,
        models=[model.name for model in status.models],
        classes=len(default.labels or ()),
        gpu_available=status.gpu_available,
        confidence=context.settings.confidence,
        version=__version__,
        notice=status.notice or None,
        **same,
    )


@router.get(
    "/health/live", summary="The process need not be restarted", response_description="It lives"
)
async def get_liveness(context: Context) -> Live:
    """503 where it hangs: end the process and start it again. Asked without a key."""
    if hung := context.backend.hung:
        raise DetectorClosed(f"{'; '.join(hung)}. End the process (SIGTERM) and start it again.")
    return Live(status="ok")


@router.get(
    "/health/ready", summary="It can serve a picture now", response_description="It is ready"
)
async def get_readiness(context: Context) -> Live:
    """503 as long as it cannot; the detail says why."""
    await _ready(context.backend)
    return Live(status="ok")


async def _ready(backend: Backend) -> BackendStatus:
    status = await backend.call(STATUS, Empty())
    if status.unhealthy_reasons:
        raise DetectorClosed(
            f"{'; '.join(status.unhealthy_reasons)}. The log has more. Restart the service if it "
            "does not recover."
        )
    return status
