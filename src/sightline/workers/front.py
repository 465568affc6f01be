"""A front end: the HTTP service without models, which calls the engine process."""

from __future__ import annotations

import socket
import sys
from functools import partial
from typing import TYPE_CHECKING

from sightline.api.app import create_app
from sightline.api.server.config import make_config
from sightline.machine import give_memory_back
from sightline.wiring.runtime import open_front_runtime
from sightline.workers.balancing import BalancedServer, ConnectionCounts

if TYPE_CHECKING:
    from sightline.workers.child import WorkerConfig


def run(config: WorkerConfig) -> None:
    """Serve on the inherited socket until SIGTERM, then finish requests under way.

    Raises:
        ConfigError: a setting is invalid.
    """
    give_memory_back()
    settings = config.settings
    # The engine process has a share of the memory for uploads too, hence + 1.
    app = create_app(
        settings, partial(open_front_runtime, settings, config.socket), settings.workers + 1
    )
    server = BalancedServer(
        make_config(app, settings, app.upload_budget), ConnectionCounts(config.counts), config.index
    )
    with socket.socket(fileno=config.listener) as listener:
        server.run(sockets=[listener])
    if not server.started:
        sys.exit(1)
