"""The server under the application: uvicorn's configuration, and a graceful shutdown."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import uvicorn

from sightline.api.server.upgrade import protocol_for

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from starlette.types import ASGIApp

    from sightline.api.uploads.spool import UploadBudget
    from sightline.settings import Settings

_DRAIN_SECONDS = 20
_KEEP_ALIVE = 75  # seconds: longer than load balancers' 60, so that they close first
_SPARE_FILES = 200  # file descriptors for models, uploads on disk, log, listener


def make_config(app: ASGIApp, settings: Settings, budget: UploadBudget) -> uvicorn.Config:
    """The configuration with which uvicorn serves `app`.

    uvicorn's access log is off, because the middleware `AccessLog` writes one. Its handling of
    X-Forwarded-For is off too: the application does that, if `trusted_proxies` is set.

    Args:
        app: the application.
        settings: limits.
        budget: memory for unfinished WebSocket messages.
    """
    return uvicorn.Config(
        app,
        http=protocol_for(settings, _most_connections(), budget),
        ws="none",  # `UpgradingProtocol` handles WebSockets
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=_DRAIN_SECONDS,
    )


class DrainingServer(uvicorn.Server):
    """uvicorn's server, which at shutdown also serves connections that were not accepted yet."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # Closing the listener resets the connections in its backlog, so they are accepted first.
        backlog = [one for listener in sockets or () for one in _accept_all(listener)]
        for server in self.servers:
            server.close()
        for listener in sockets or ():
            listener.close()
        loop = asyncio.get_running_loop()
        for connection in backlog:
            await loop.connect_accepted_socket(self._make_protocol, connection)
        await super().shutdown(sockets)

    def _make_protocol(self) -> Any:
        protocol: Any = self.config.http_protocol_class
        return protocol(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )


def _accept_all(listener: socket.socket) -> Iterator[socket.socket]:
    """The connections in the backlog of `listener`."""
    listener.setblocking(False)
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:  # none is left
            return
        connection.setblocking(False)
        yield connection


def _most_connections() -> int:
    """The number of connections that there are file descriptors for."""
    files = _open_files()
    return max(files - _SPARE_FILES, files // 2)


def _open_files() -> int:
    """The limit on open files of this process, after raising it as far as the system allows."""
    try:
        import resource
    except ImportError:  # Windows, which has no such limit
        return 8192
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        hard = max(soft, 65536)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):  # some systems have a lower limit that they do not report
        return soft
    return hard
