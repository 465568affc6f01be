"""The engine process, the only one with models. It serves the front ends."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from functools import partial
from typing import TYPE_CHECKING

import uvloop

from sightline.backend.rpc_server import RpcServer
from sightline.machine import budget
from sightline.wiring.runtime import open_runtime
from sightline.workers.signals import abandon

if TYPE_CHECKING:
    from collections.abc import Callable

    from sightline.backend.base import Backend
    from sightline.workers.child import WorkerConfig

_HANG_CHECK = 5.0  # seconds between checks for calls that do not return
_HUNG_CODE = 70  # EX_SOFTWARE of sysexits.h
_DRAIN_SECONDS = 24  # longer than front ends drain

_log = logging.getLogger("sightline")


def run(config: WorkerConfig) -> None:
    """Load the models and serve front ends until SIGTERM, and then until the last disconnects.

    Raises:
        ConfigError: a model cannot be loaded, or a setting is invalid.
    """
    signal.signal(signal.SIGTERM, partial(abandon, 0))
    uvloop.run(_serve(config))


async def _serve(config: WorkerConfig) -> None:
    settings = config.settings
    async with open_runtime(settings, config.notice) as runtime:
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        held = budget().uploads // (settings.workers + 1)
        server = RpcServer(runtime.backend, settings.max_upload_bytes, held)
        with socket.socket(fileno=config.listener) as listener:
            async with asyncio.TaskGroup() as tasks:
                running = [
                    tasks.create_task(server.accept(listener)),
                    tasks.create_task(end_if_hung(runtime.backend, _HANG_CHECK, os._exit)),
                ]
                await stop.wait()
                for task in running:
                    task.cancel()
                await server.drain(_DRAIN_SECONDS)


async def end_if_hung(backend: Backend, every: float, end: Callable[[int], object]) -> None:
    """End this process at once if an engine hangs in a call.

    Nothing inside a process can end such a call. The supervisor starts a new process.

    Args:
        backend: its `hung` is checked.
        every: seconds between two checks.
        end: ends the process; called with an exit code.
    """
    while not (hung := backend.hung):
        await asyncio.sleep(every)
    _log.critical("%s; this process ends", "; ".join(hung))
    logging.shutdown()  # writes the last line
    end(_HUNG_CODE)
