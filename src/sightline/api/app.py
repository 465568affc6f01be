"""The ASGI application."""

from __future__ import annotations

from contextlib import asynccontextmanager
from math import ceil
from typing import TYPE_CHECKING, Any

import anyio.to_thread
from fastapi import FastAPI
from starlette.datastructures import MutableHeaders, State
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from sightline import __version__
from sightline.api import problems
from sightline.api.bodies import Bodies
from sightline.api.cors import Cors
from sightline.api.gate import Gate
from sightline.api.headers import DEVICE_HEADER, device_header
from sightline.api.keys import Keys
from sightline.api.limits import Limits
from sightline.api.recording import Recording
from sightline.api.routes import detect, docs, health, models
from sightline.api.spool import DISK_BYTES, Room
from sightline.api.urls import Fetches
from sightline.machine import budget

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

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

    Raises:
        ConfigError: keys or limits cannot be understood.
    """
    app = Service(
        settings,
        title="Sightline",
        version=__version__,
        description=DESCRIPTION,
        lifespan=_lifespan,
        docs_url=None,
        redoc_url=None,
    )
    app.state.open_repository = open_repository
    app.state.open_canary = open_canary
    app.state.check_source = check_source
    app.state.fetches = Fetches(fetch, settings.url_timeout)
    app.include_router(detect.router)
    app.include_router(models.router)
    app.include_router(health.router)
    docs.install(app)
    app.add_middleware(DeviceHeader, state=app.state)
    problems.install(app)
    return app


class Service(FastAPI):
    """The framework's application, with our layers around all of it.

    Outermost first: who asks through a proxy, `Recording`, `Bodies`, CORS, `Gate`.
    """

    def __init__(self, settings: Settings, **options: Any) -> None:
        super().__init__(**options)
        self.state.settings = settings
        self.state.keys = Keys(settings)
        self.state.limits = Limits(settings)
        self.state.room = Room(budget().uploads, DISK_BYTES, ceil(settings.body_timeout))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        root = self.state.settings.root_path
        if root and scope["type"] in {"http", "websocket"}:
            scope["root_path"] = root
            if not scope["path"].startswith(f"{root}/"):  # the proxy took it off
                scope["path"] = root + scope["path"]
        await super().__call__(scope, receive, send)

    def build_middleware_stack(self) -> ASGIApp:
        settings: Settings = self.state.settings
        app: ASGIApp = super().build_middleware_stack()
        app = Gate(app, settings, self.state.keys, self.state.limits)
        if settings.cors_origins:
            app = Cors(app, settings.cors_origins)
        app = Recording(Bodies(app, settings))
        if settings.trusted_proxies:
            app = ProxyHeadersMiddleware(app, list(settings.trusted_proxies))  # type: ignore[arg-type, assignment]
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
