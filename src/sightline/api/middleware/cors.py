"""CORS: which pages of other origins may use the service."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from starlette.middleware.cors import CORSMiddleware

from sightline.api import deadline
from sightline.api.headers import DEVICE_HEADER, MODEL_HEADER

if TYPE_CHECKING:
    from starlette.datastructures import Headers
    from starlette.responses import Response
    from starlette.types import ASGIApp

_SENT = (
    "Authorization",
    "Content-Type",
    "Idempotency-Key",
    "If-None-Match",
    "Last-Event-ID",
    "X-API-Key",
    "X-Request-Id",
    deadline.HEADER,
)
_READ = (
    "ETag",
    "Idempotent-Replayed",
    "Location",
    "Retry-After",
    "X-Request-Id",
    DEVICE_HEADER,
    MODEL_HEADER,
)


class Cors(CORSMiddleware):
    """Starlette's CORS middleware, with empty bodies for refused preflights."""

    def __init__(self, app: ASGIApp, origins: tuple[str, ...]) -> None:
        super().__init__(
            app,
            allow_origins=origins,
            allow_methods=("GET", "POST", "PUT", "DELETE"),
            allow_headers=_SENT,
            expose_headers=_READ,
        )

    def preflight_response(self, request_headers: Headers) -> Response:
        response = super().preflight_response(request_headers)
        if response.status_code >= HTTPStatus.BAD_REQUEST:
            response.body = b""
            del response.headers["content-type"]
            response.headers["content-length"] = "0"
        return response
