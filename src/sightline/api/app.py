"""The ASGI application."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio.to_thread
from fastapi_offline import FastAPIOffline
from starlette.datastructures import MutableHeaders, State

from sightline import __version__
from sightline.api import problems
from sightline.api.headers import DEVICE_HEADER, device_header
from sightline.api.routes import detect, health, models
from sightline.api.urls import Fetches

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from fastapi import FastAPI
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from sightline.api.urls import Fetch
    from sightline.serving.canary import Canary
    from sightline.serving.repository import Repository
    from sightline.settings import Settings

DESCRIPTION = """
Post a picture to `/detect` and get its objects back, as JSON or (with `Accept: image/jpeg`) as
an annotated picture. Every error is an
[RFC 9457](https://www.rfc-editor.org/rfc/rfc9457) problem that says what to do.
"""


def create_app(
    settings: Settings,
    open_repository: Callable[[], Repository],
    open_canary: Callable[[Repository], Canary],
    check_source: Callable[[str], None],
    fetch: Fetch,
) -> FastAPI:
    """The service's application.

    Args:
        settings: limits and defaults.
        open_repository: called when the server starts; the repository is closed when it stops.
        open_canary: called then too; closed first.
        check_source: raises if a source may not be loaded over HTTP.
        fetch: gets a picture that a client names by its address.
    """
    app: FastAPI = FastAPIOffline(
        title="Sightline",
        version=__version__,
        description=DESCRIPTION,
        lifespan=_lifespan,
        redoc_url=None,
    )
    app.state.settings = settings
    app.state.open_repository = open_repository
    app.state.open_canary = open_canary
    app.state.check_source = check_source
    app.state.fetches = Fetches(fetch, settings.url_timeout)
    app.include_router(detect.router)
    app.include_router(models.router)
    app.include_router(health.router)
    app.add_middleware(DeviceHeader, state=app.state)
    problems.install(app)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    repository: Repository = await anyio.to_thread.run_sync(app.state.open_repository)
    app.state.repository = repository
    canary: Canary = await anyio.to_thread.run_sync(app.state.open_canary, repository)
    try:
        yield
    finally:
        await anyio.to_thread.run_sync(canary.close)
        await anyio.to_thread.run_sync(repository.close)


class DeviceHeader:
    """Says in each answer what really runs: `X-Sightline-Device: cpu; engine=…; precision=…`.

    Of the model that answered, where one did; else of the default.
    """

    def __init__(self, app: ASGIApp, state: State) -> None:
        self._app = app
        self._state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_header(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                repository: Repository = self._state.repository
                served = repository.entries()[0].served
                if DEVICE_HEADER not in headers and served is not None:
                    headers[DEVICE_HEADER] = device_header(served.detector)
            await send(message)

        await self._app(scope, receive, send_with_header if scope["type"] == "http" else send)
