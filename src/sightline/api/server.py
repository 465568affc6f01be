"""The server under the application: uvicorn, set up for this service."""

from __future__ import annotations

from typing import TYPE_CHECKING

import uvicorn

from sightline.api.protocol import protocol_for

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from sightline.settings import Settings

_DRAIN_SECONDS = 20
_KEEP_ALIVE = 75  # longer than load balancers keep a connection (60 s), so that they close it first
_SPARE_FILES = 200  # for models, uploads on disk, log, listener


def make_config(app: ASGIApp, settings: Settings) -> uvicorn.Config:
    """How uvicorn serves `app`.

    Its own access log is off (`Recording` writes one), and so is its belief in X-Forwarded-For
    (the application's, where `trusted_proxies` names somebody).
    """
    return uvicorn.Config(
        app,
        http=protocol_for(settings, _most_connections()),
        ws="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=_DRAIN_SECONDS,
    )


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
