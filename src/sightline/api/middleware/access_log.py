"""The outermost middleware: request id, security headers, one log line, no leaked traceback."""

from __future__ import annotations

import asyncio
import logging
import re
import uuid
from http import HTTPStatus
from time import perf_counter
from typing import TYPE_CHECKING

from starlette.datastructures import MutableHeaders
from structlog.contextvars import bound_contextvars

from sightline.api.problems import answer_to
from sightline.api.request_info import CLIENT_GONE, open_info
from sightline.errors import DetectorClosed

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from sightline.api.request_info import RequestInfo

_log = logging.getLogger("sightline.request")
_GOOD_ID = re.compile(rb"[A-Za-z0-9._:/+=-]{1,128}")
# For data. The few answers that are pages set a policy of their own.
_SECURITY = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class AccessLog:
    """Gives each request a `RequestInfo`, and logs it at the end."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        client = scope.get("client")
        info = open_info(scope, _request_id(scope), client[0] if client else "")
        started = perf_counter()
        with bound_contextvars(request_id=info.request_id):
            try:
                await self._answer(scope, receive, send, info)
            finally:
                _write(scope, info, perf_counter() - started)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, info: RequestInfo) -> None:
        ended = False

        async def watched(message: Message) -> None:
            nonlocal ended
            if message["type"] in {"http.response.start", "websocket.http.response.start"}:
                info.status = message["status"]
                _complete_headers(MutableHeaders(scope=message), info)
            elif message["type"] == "websocket.accept":
                info.status = HTTPStatus.SWITCHING_PROTOCOLS
                message.setdefault("headers", [])
                MutableHeaders(scope=message)["X-Request-Id"] = info.request_id
            elif message["type"] == "http.response.body":
                info.bytes_out += len(message.get("body", b""))
                ended = not message.get("more_body", False)
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except asyncio.CancelledError:
            # The server's timeout for shutdown is over.
            if info.status != CLIENT_GONE:
                raise
            gone = DetectorClosed("The service is going down; send the request again.")
            await answer_to(gone, scope)(scope, receive, watched)
        except Exception as error:
            if info.status == CLIENT_GONE:
                await answer_to(error, scope)(scope, receive, watched)
            elif not ended:
                raise  # part of an answer is sent: the server logs it and cuts the connection


def _request_id(scope: Scope) -> str:
    given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
    return given.decode() if _GOOD_ID.fullmatch(given) else uuid.uuid4().hex


def _complete_headers(headers: MutableHeaders, info: RequestInfo) -> None:
    headers["X-Request-Id"] = info.request_id
    framed = "frame-ancestors" in headers.get("Content-Security-Policy", "")
    for name, value in _SECURITY.items():
        if name != "X-Frame-Options" or not framed:  # DENY would contradict `frame-ancestors`
            headers.setdefault(name, value)


def _write(scope: Scope, info: RequestInfo, seconds: float) -> None:
    """Write the log line, without the query, which may hold private data."""
    line = {
        "method": scope.get("method", "WEBSOCKET"),
        "path": scope.get("raw_path", b"").decode("latin-1")[:200],
        "status": info.status,
        "ms": round(1000 * seconds, 1),
        "bytes_in": info.bytes_in,
        "bytes_out": info.bytes_out,
        "client": info.client,
    }
    line |= info.counts
    if info.caller is not None:
        line["key"] = info.caller.name
    if info.problem is not None:
        line["problem"] = info.problem
    _log.info("request", extra=line)
