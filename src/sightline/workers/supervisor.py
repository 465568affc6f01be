"""The process that an operator starts: it keeps one engine process and N front ends alive.

It holds both listening sockets, so that a process which ends takes no waiting connection with it.
Its children have a pipe from it as their stdin, and end when that ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import sys
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from sightline.backend.messages import Empty
from sightline.backend.operations import STATUS
from sightline.backend.remote import RemoteBackend
from sightline.errors import ConfigError
from sightline.workers.balancing import ConnectionCounts
from sightline.workers.child import WorkerConfig
from sightline.workers.restarts import SupervisedProcess, how_it_ended

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Callable

    from sightline.backend.messages import ModelInfo
    from sightline.settings import Settings
    from sightline.workers.child import Role

_BACKLOG = 1024
_FRONT_TIMEOUT = 21.0  # seconds: they drain for 20
_ENGINE_TIMEOUT = 4.0  # what is under way for tasks is finished, or given back

_log = logging.getLogger("sightline")


def supervise(
    settings: Settings, notice: str, listener: socket.socket, announce: Callable[[ModelInfo], None]
) -> int:
    """Serve with `settings.workers` front ends until a SIGTERM or SIGINT.

    Args:
        settings: of the service, with a model that is a file here.
        notice: what people should know of that model.
        listener: bound to where clients come; closed on return.
        announce: told of the default model, once it is loaded.

    Returns:
        An exit code: 0, or that of an engine process which could not start and has said why.

    Raises:
        ConfigError: the folder for temporary files cannot be used.
    """
    require_unix_sockets()
    # Open to this user alone.
    with tempfile.TemporaryDirectory(prefix="sightline-", ignore_cleanup_errors=True) as folder:
        config = WorkerConfig(settings, notice, -1, -1, Path(folder))
        with _listen(config.socket) as inner:
            return asyncio.run(_Supervisor(config, listener, inner).run(announce))


def require_unix_sockets() -> None:
    """Raises ConfigError where there are none."""
    if not hasattr(socket, "AF_UNIX") or sys.platform == "win32":
        raise ConfigError(
            "option 'workers' needs Unix sockets, which this platform has not: leave it at 0"
        )


def _listen(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(str(path))
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"no socket can be made at {path}: {error}. Set TMPDIR to a folder with a short path."
        ) from error
    listener.listen(_BACKLOG)
    return listener


class _Supervisor:
    """Everything that is alive while the service is."""

    def __init__(self, config: WorkerConfig, outer: socket.socket, inner: socket.socket) -> None:
        self._config = config
        self._outer = outer
        self._stopping = asyncio.Event()
        fronts = config.settings.workers
        counts = ConnectionCounts.make(config.counts, fronts)
        to_engine = replace(config, listener=inner.fileno())
        self._engine = SupervisedProcess(
            "the engine process", partial(_start, "engine", to_engine), self._stopping
        )
        self._fronts = [
            SupervisedProcess(
                f"front end {index + 1}",
                partial(
                    _start_front, replace(config, listener=outer.fileno(), index=index), counts
                ),
                self._stopping,
            )
            for index in range(fronts)
        ]

    async def run(self, announce: Callable[[ModelInfo], None]) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal)
        engine = await self._engine.begin()
        model = await self._first_model(engine)
        if model is None and not self._stopping.is_set():
            return _exit_code(await engine.wait())
        if model is not None:
            announce(model)
            self._engine.keep(engine)
            for front in self._fronts:
                front.keep(await front.begin())
            await self._stopping.wait()
        # Once front ends have closed it too, nobody is let in any more.
        self._outer.close()
        await asyncio.gather(*(front.end(_FRONT_TIMEOUT) for front in self._fronts))
        await self._engine.end(_ENGINE_TIMEOUT)
        return 0

    async def _first_model(self, engine: Process) -> ModelInfo | None:
        """The default model, once it is loaded; None if that is not to be."""
        ready = asyncio.create_task(self._ask())
        others = {asyncio.create_task(engine.wait()), asyncio.create_task(self._stopping.wait())}
        try:
            await asyncio.wait({ready, *others}, return_when=asyncio.FIRST_COMPLETED)
            return ready.result() if ready.done() else None
        finally:
            for task in (ready, *others):
                task.cancel()
            await asyncio.gather(ready, *others, return_exceptions=True)

    async def _ask(self) -> ModelInfo:
        async with RemoteBackend(self._config.socket, self._config.settings) as backend:
            await backend.connected()
            return (await backend.call(STATUS, Empty())).models[0]

    def _on_signal(self) -> None:
        if self._stopping.is_set():  # somebody is in a hurry
            for process in (*self._fronts, self._engine):
                process.send(signal.SIGKILL)
        self._stopping.set()


async def _start_front(config: WorkerConfig, counts: ConnectionCounts) -> Process:
    counts.write(config.index, None)  # nobody waits for one that is not there
    return await _start("front", config)


async def _start(role: Role, config: WorkerConfig) -> Process:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "sightline.workers", role,
        stdin=asyncio.subprocess.PIPE,
        pass_fds=[config.listener],
        start_new_session=True,  # Ctrl-C is for the supervisor
    )  # fmt: skip
    pipe = process.stdin
    if pipe is None:
        raise RuntimeError("a process was started without a stdin")
    pipe.write(config.to_line())
    with contextlib.suppress(ConnectionError):  # it has ended already, which its keeper sees
        await pipe.drain()
    return process


def _exit_code(code: int) -> int:
    """That of an engine process which ended before it was ready."""
    if code > 0:
        return code  # it has said why
    _log.error("the engine process %s before it was ready", how_it_ended(code))
    return 1
