"""The ASGI application."""

from __future__ import annotations

from contextlib import asynccontextmanager
from math import ceil
from typing import TYPE_CHECKING, Any

import anyio.to_thread
from fastapi import FastAPI
from fastapi.exceptions import WebSocketRequestValidationError
from starlette.datastructures import MutableHeaders
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from sightline import __version__
from sightline.api import problems
from sightline.api.headers import DEVICE_HEADER
from sightline.api.middleware.access import AccessControl
from sightline.api.middleware.access_log import AccessLog
from sightline.api.middleware.body_limits import BodyLimits
from sightline.api.middleware.cors import Cors
from sightline.api.middleware.keys import Keys
from sightline.api.openapi.description import TAGS, complete
from sightline.api.routes import detect, docs, health, live, metrics, models, page, predict, results
from sightline.api.server.close_reason import close_with
from sightline.api.tasks.annotated import AnnotatedImages
from sightline.api.tasks.service import TaskService
from sightline.api.uploads.by_url import FetchPool
from sightline.api.uploads.spool import DISK_BYTES, UploadBudget
from sightline.machine import budget

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from sightline.api.uploads.by_url import Fetch
    from sightline.backend.protocols import Backend
    from sightline.settings import Settings
    from sightline.tasks.services import TaskServices

DESCRIBED: dict[str, Any] = {
    "title": "Sightline",
    "version": __version__,
    "license_info": {"name": "Apache 2.0", "identifier": "Apache-2.0"},
    "openapi_tags": TAGS,
    "description": """
Post a picture to `/detect` and get its objects back, as JSON or (with `Accept: image/jpeg`) as
an annotated picture. Post up to a hundred to `/predict`, and ask `/result/{task_id}` for what
came of them. Every error is an
[RFC 9457](https://www.rfc-editor.org/rfc/rfc9457) problem that says what to do.
""",
}


def create_app(
    settings: Settings,
    backend: Backend,
    fetch: Fetch,
    open_tasks: Callable[[], TaskServices],
    share: int = 1,
) -> Service:
    """The service's application.

    Args:
        settings: limits and defaults.
        backend: does the work; entered when the server starts, left when it stops.
        fetch: gets a picture that a client names by its address.
        open_tasks: called when the server starts, before the backend is entered; what it opens is
            closed when the server has stopped.
        share: how many processes divide the memory and the disk for uploads among them.

    Raises:
        ConfigError: keys cannot be understood.
    """
    app = Service(
        settings,
        backend,
        share,
        lifespan=_lifespan,
        generate_unique_id_function=lambda route: route.name,
        docs_url=None,
        redoc_url=None,
        **DESCRIBED,
    )
    app.state.fetches = FetchPool(fetch, settings.url_timeout)
    app.state.open_tasks = open_tasks
    for topic in (detect, live, predict, results, models, health, metrics):
        app.include_router(topic.router)
    docs.install(app)
    page.install(app, settings)
    app.add_middleware(DeviceHeader, backend=backend)
    problems.install(app)
    return app


class Service(FastAPI):
    """The framework's application, with our layers around all of it.

    Outermost first: who asks through a proxy, `AccessLog`, `BodyLimits`, CORS, `AccessControl`.
    """

    def __init__(self, settings: Settings, backend: Backend, share: int, **options: Any) -> None:
        super().__init__(**options)
        self._described: dict[str, Any] | None = None
        self.add_exception_handler(WebSocketRequestValidationError, close_with)
        self.state.settings = settings
        self.state.backend = backend
        self.state.keys = Keys(settings)
        memory, disk = budget().uploads // share, DISK_BYTES // share
        self.state.upload_budget = UploadBudget(memory, disk, ceil(settings.body_timeout))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        root = self.state.settings.root_path
        if root and scope["type"] in {"http", "websocket"}:
            scope["root_path"] = root
            if not scope["path"].startswith(f"{root}/"):  # the proxy took it off
                scope["path"] = root + scope["path"]
        await super().__call__(scope, receive, send)

    def openapi(self) -> dict[str, Any]:
        """The API's description: made once, and anew where a route was added."""
        schema = super().openapi()
        if schema is not self._described:
            complete(schema, keys=self.state.keys.required)
            self._described = schema
        return schema

    def build_middleware_stack(self) -> ASGIApp:
        settings: Settings = self.state.settings
        app: ASGIApp = super().build_middleware_stack()
        app = AccessControl(app, settings, self.state.keys, self.state.backend)
        if settings.cors_origins:
            app = Cors(app, settings.cors_origins)
        app = AccessLog(BodyLimits(app, settings))
        if settings.trusted_proxies:
            app = ProxyHeadersMiddleware(app, list(settings.trusted_proxies))  # type: ignore[arg-type, assignment]
        return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    services: TaskServices = await anyio.to_thread.run_sync(app.state.open_tasks)
    settings: Settings = app.state.settings
    app.state.tasks = TaskService(services, app.state.backend, settings)
    app.state.drawing = AnnotatedImages(services.blobs, settings.max_pixels)
    try:
        async with app.state.backend:
            yield
    finally:
        await anyio.to_thread.run_sync(services.close)


class DeviceHeader:
    """Says in each answer what really runs: `X-Sightline-Device: cpu; engine=…; precision=…`.

    Of the model that answered, where one did; else of the default.
    """

    def __init__(self, app: ASGIApp, backend: Backend) -> None:
        self._app = app
        self._backend = backend

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_header(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if DEVICE_HEADER not in headers and (device := self._backend.device):
                    headers[DEVICE_HEADER] = device
            await send(message)

        await self._app(scope, receive, send_with_header if scope["type"] == "http" else send)
