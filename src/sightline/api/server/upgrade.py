"""The protocol of a connection: HTTP/1.1, and WebSocket after an upgrade."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httptools

from sightline.api.server.early_errors import MALFORMED, EarlyError
from sightline.api.server.handshake import is_handshake, websocket_scope
from sightline.api.server.http import TimeoutHttpProtocol
from sightline.api.server.limits import MessageLimits
from sightline.api.server.shutdown import SHUTDOWN
from sightline.api.server.websocket import WebSocketConnection

if TYPE_CHECKING:
    import asyncio

    from sightline.api.uploads.spool import UploadBudget
    from sightline.settings import Settings


class UpgradingProtocol(TimeoutHttpProtocol):
    """An HTTP/1.1 connection that becomes a WebSocket after a handshake."""

    messages: MessageLimits  # set by `protocol_for`
    _websocket: WebSocketConnection | None = None

    def data_received(self, data: bytes) -> None:
        if self._websocket is None:
            super().data_received(data)
        elif not self._lingering:
            self._websocket.data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._websocket is not None:
            self._websocket.lost()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._websocket is not None:
            self._websocket.resume_parsing()

    def shutdown(self) -> None:
        if self._websocket is None:
            super().shutdown()
        else:
            self._shutting_down.set()  # the application closes it

    def _feed(self, data: memoryview) -> None:
        if self._websocket is None:
            super()._feed(data)
        else:  # it arrived together with the head
            self._websocket.data_received(bytes(data))

    def _on_upgrade(self, rest: memoryview) -> None:
        valid = is_handshake(self.parser.get_method(), self.headers)
        if not (valid and self._is_between_requests()):
            super()._on_upgrade(rest)
            return
        self._timer.stop()
        request: Any = self.scope
        try:
            scope = websocket_scope(request, self.url)
        except httptools.HttpParserError:
            self._refuse(EarlyError(MALFORMED, "Its target is no path on this service."))
            return
        scope[SHUTDOWN] = self._shutting_down
        self._websocket = WebSocketConnection(
            self.transport,
            self.flow,
            scope,
            self.messages,
            lambda sending: self.hang_up(client_sending=sending),
        )
        self._websocket.data_received(bytes(rest))
        task = self.loop.create_task(self._websocket.run(self.app))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)


def protocol_for(
    settings: Settings, max_connections: int, upload_budget: UploadBudget
) -> type[asyncio.Protocol]:
    """The protocol class with the limits in `settings`.

    Args:
        settings: limits.
        max_connections: further connections are refused.
        upload_budget: memory for unfinished WebSocket messages.
    """
    limits = {
        "messages": MessageLimits(
            settings.max_upload_bytes, settings.idle_timeout, settings.body_timeout, upload_budget
        ),
        "head_timeout": settings.head_timeout,
        "idle_timeout": settings.idle_timeout,
        "body_timeout": settings.body_timeout,
        "max_connections": max_connections,
    }
    return type("Protocol", (UpgradingProtocol,), limits)
