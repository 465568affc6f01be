"""The ASGI application."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio.to_thread
from fastapi_offline import FastAPIOffline
from starlette.datastructures import MutableHeaders

from sightline import __version__
from sightline.api import problems
from sightline.api.routes import detect, health

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from fastapi import FastAPI
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from sightline.serving.detector import Detector
    from sightline.settings import Settings

DESCRIPTION = """
Post a picture to `/detect` and get its objects back, as JSON or (with `Accept: image/jpeg`) as
an annotated picture. Every error is an
[RFC 9457](https://www.rfc-editor.org/rfc/rfc9457) problem that says what to do.
"""


def create_app(settings: Settings, open_detector: Callable[[], Detector]) -> FastAPI:
    """The service's application.

    Args:
        settings: limits and defaults.
        open_detector: called when the server starts; the detector is closed when it stops.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.detector = await anyio.to_thread.run_sync(open_detector)
        try:
            yield
        finally:
            await anyio.to_thread.run_sync(app.state.detector.close)

    app: FastAPI = FastAPIOffline(
        title="Sightline",
        version=__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        redoc_url=None,
    )
    app.state.settings = settings
    app.include_router(detect.router)
    app.include_router(health.router)
    app.add_middleware(DeviceHeader, state=app.state)
    problems.install(app)
    return app


class DeviceHeader:
    """Says in each answer what really ran: `X-Sightline-Device: cpu; engine=…; precision=…`."""

    def __init__(self, app: ASGIApp, state: object) -> None:
        self._app = app
        self._state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_header(message: Message) -> None:
            if message["type"] == "http.response.start":
                detector: Detector = self._state.detector  # type: ignore[attr-defined]
                MutableHeaders(scope=message)["X-Sightline-Device"] = (
                    f"{detector.device}; engine={detector.engine}; precision={detector.precision}"
                )
            await send(message)

        await self._app(scope, receive, send_with_header if scope["type"] == "http" else send)
