"""The engine process: the only one that holds models. Front ends send it pictures."""

from __future__ import annotations

import asyncio
import signal
import socket
from typing import TYPE_CHECKING

import uvloop

from sightline.machine import budget
from sightline.wiring import local_backend, open_repository
from sightline.workers.hub import Hub

if TYPE_CHECKING:
    from sightline.api.local import LocalBackend
    from sightline.workers.child import Orders

_DRAIN_SECONDS = 24  # longer than front ends take to answer what is under way


def run(orders: Orders) -> None:
    """Load the models and serve front ends until a SIGTERM, and then until the last is gone.

    Raises:
        ConfigError: a model cannot be loaded, or a setting not understood.
    """
    repository = open_repository(orders.settings, orders.notice)
    uvloop.run(_serve(orders, local_backend(orders.settings, lambda: repository)))


async def _serve(orders: Orders, backend: LocalBackend) -> None:
    settings = orders.settings
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    with socket.socket(fileno=orders.listener) as listener:
        async with backend, asyncio.TaskGroup() as tasks:
            hub = Hub(
                backend, settings.max_upload_bytes, budget().uploads // (settings.workers + 1)
            )
            accepting = tasks.create_task(hub.accept(listener))
            await stop.wait()
            accepting.cancel()
            await hub.drain(_DRAIN_SECONDS)
