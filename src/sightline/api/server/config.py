"""The server under the application: uvicorn, set up for this service."""

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
_KEEP_ALIVE = 75  # longer than load balancers keep a connection (60 s), so that they close it first
_SPARE_FILES = 200  # for models, uploads on disk, log, listener


def make_config(app: ASGIApp, settings: Settings, budget: UploadBudget) -> uvicorn.Config:
    """How uvicorn serves `app`; `budget` is for messages of WebSockets.

    Its own access log is off (`Recording` writes one), and so is its belief in X-Forwarded-For
    (the application's, where `trusted_proxies` names somebody).
    """
    return uvicorn.Config(
        app,
        http=protocol_for(settings, _most_connections(), budget),
        ws="none",  # the protocol speaks it
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=_DRAIN_SECONDS,
    )


class DrainingServer(uvicorn.Server):
    """uvicorn, but that it hears out all who were connected before it goes down."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # With its listener, the system closes what waits there: who connected would be cut off.
        waiting = [one for listener in sockets or () for one in _accept_all(listener)]
        for server in self.servers:
            server.close()
        for listener in sockets or ():
            listener.close()
        loop = asyncio.get_running_loop()
        for connection in waiting:
            await loop.connect_accepted_socket(self._make_protocol, connection)
        await super().shutdown(sockets)

    def _make_protocol(self) -> Any:
        protocol: Any = self.config.http_protocol_class
        return protocol(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )


def _accept_all(listener: socket.socket) -> Iterator[socket.socket]:
    listener.setblocking(False)
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:  # none is left
            return
        connection.setblocking(False)
        yield connection


def _most_connections() -> int:
    """As many as there are files for, but for some that the service needs itself."""
    files = _open_files()
    return max(files - _SPARE_FILES, files // 2)


def _open_files() -> int:
    """How many files this process may open, once that is raised as far as it goes."""
    try:
        import resource
    except ImportError:  # Windows, which has no such limit
        return 8192
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        hard = max(soft, 65536)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):  # some systems have a lower limit that they do not tell
        return soft
    return hard
