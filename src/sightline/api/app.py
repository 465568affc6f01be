"""The ASGI application of the service."""

from __future__ import annotations

from contextlib import asynccontextmanager
from math import ceil
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from fastapi.exceptions import WebSocketRequestValidationError
from starlette.datastructures import MutableHeaders
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from sightline import __version__
from sightline.api import problems
from sightline.api.context import ApiContext
from sightline.api.headers import DEVICE_HEADER, device_header
from sightline.api.middleware.access import AccessControl
from sightline.api.middleware.access_log import AccessLog
from sightline.api.middleware.body_limits import BodyLimits
from sightline.api.middleware.cors import Cors
from sightline.api.middleware.keys import Keys
from sightline.api.openapi.description import TAGS, complete
from sightline.api.routes import detect, docs, health, live, metrics, models, page, predict, results
from sightline.api.server.close_reason import close_with
from sightline.api.uploads.spool import DISK_BYTES, UploadBudget
from sightline.machine import budget

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from sightline.backend.runtime import Runtime
    from sightline.settings import Settings

    OpenRuntime = Callable[[], AbstractAsyncContextManager[Runtime]]

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


def create_app(settings: Settings, open_runtime: OpenRuntime, share: int = 1) -> Service:
    """The service's application.

    Args:
        settings: limits and defaults.
        open_runtime: opens the models, the tasks and the rest when the server starts; closed when
            it has stopped.
        share: number of processes that share the memory and the disk for uploads.

    Raises:
        ConfigError: the keys are invalid.
    """
    app = Service(
        settings,
        open_runtime,
        share,
        generate_unique_id_function=lambda route: route.name,
        docs_url=None,
        redoc_url=None,
        **DESCRIBED,
    )
    for topic in (detect, live, predict, results, models, health, metrics):
        app.include_router(topic.router)
    docs.install(app)
    page.install(app, settings)
    app.add_middleware(DeviceHeader, context=app.context)
    problems.install(app)
    return app


class Service(FastAPI):
    """FastAPI's application inside our middleware.

    Outermost first: `ProxyHeadersMiddleware`, `AccessLog`, `BodyLimits`, CORS, `AccessControl`.

    Attributes:
        keys: of clients.
        upload_budget: memory and disk for uploads.
    """

    def __init__(
        self, settings: Settings, open_runtime: OpenRuntime, share: int, **options: Any
    ) -> None:
        super().__init__(lifespan=self._open, **options)
        self._settings = settings
        self._open_runtime = open_runtime
        self._described: dict[str, Any] | None = None
        self.add_exception_handler(WebSocketRequestValidationError, close_with)
        self.keys = Keys(settings)
        memory, disk = budget().uploads // share, DISK_BYTES // share
        self.upload_budget = UploadBudget(memory, disk, ceil(settings.body_timeout))

    def context(self) -> ApiContext:
        """The context that requests share; exists once the server has started."""
        context: ApiContext = self.state.context
        return context

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        root = self._settings.root_path
        if root and scope["type"] in {"http", "websocket"}:
            scope["root_path"] = root
            if not scope["path"].startswith(f"{root}/"):  # the proxy removed it
                scope["path"] = root + scope["path"]
        await super().__call__(scope, receive, send)

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI description; made once, and again after a route is added."""
        schema = super().openapi()
        if schema is not self._described:
            complete(schema, keys=self.keys.required)
            self._described = schema
        return schema

    def build_middleware_stack(self) -> ASGIApp:
        settings = self._settings
        app: ASGIApp = super().build_middleware_stack()
        app = AccessControl(app, settings, self.keys, lambda: self.context().admission)
        if settings.cors_origins:
            app = Cors(app, settings.cors_origins)
        app = AccessLog(BodyLimits(app, settings))
        if settings.trusted_proxies:
            app = ProxyHeadersMiddleware(app, list(settings.trusted_proxies))  # type: ignore[arg-type, assignment]
        return app

    @asynccontextmanager
    async def _open(self, _: FastAPI) -> AsyncIterator[None]:
        async with self._open_runtime() as runtime:
            self.state.context = ApiContext.of(runtime, self.keys, self.upload_budget)
            yield


class DeviceHeader:
    """Adds `X-Sightline-Device: cpu; engine=…; precision=…` to each answer: what really runs.

    It describes the model that answered, else the default model.
    """

    def __init__(self, app: ASGIApp, context: Callable[[], ApiContext]) -> None:
        self._app = app
        self._context = context

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_header(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if DEVICE_HEADER not in headers and (device := self._context().backend.device):
                    headers[DEVICE_HEADER] = device_header(device)
            await send(message)

        await self._app(scope, receive, send_with_header if scope["type"] == "http" else send)
