"""The supervisor: starts one engine process and N front ends, and restarts them when they end.

It holds both listening sockets, so that no waiting connection is lost when a child ends. Each child
has a pipe from the supervisor as its stdin, and ends when that closes.
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
_FRONT_TIMEOUT = 21.0  # seconds: front ends drain for 20
_ENGINE_TIMEOUT = 4.0  # seconds to finish the images of tasks, or to return them to the queue

_log = logging.getLogger("sightline")


def supervise(
    settings: Settings, notice: str, listener: socket.socket, announce: Callable[[ModelInfo], None]
) -> int:
    """Serve with `settings.workers` front ends until SIGTERM or SIGINT.

    Args:
        settings: of the service, with a model that is a local file.
        notice: a notice about that model, or "".
        listener: bound to the service's address; closed on return.
        announce: called with the default model, once it is loaded.

    Returns:
        An exit code: 0, or that of an engine process which failed to start and logged why.

    Raises:
        ConfigError: no Unix socket can be made in the folder for temporary files.
    """
    require_unix_sockets()
    # The folder is accessible to this user only.
    with tempfile.TemporaryDirectory(prefix="sightline-", ignore_cleanup_errors=True) as folder:
        config = WorkerConfig(settings, notice, -1, -1, Path(folder))
        with _listen(config.socket) as inner:
            return asyncio.run(_Supervisor(config, listener, inner).run(announce))


def require_unix_sockets() -> None:
    """Raises ConfigError on a platform without Unix sockets."""
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
    """The child processes of a service, and its sockets."""

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
            self._engine.supervise(engine)
            for front in self._fronts:
                front.supervise(await front.begin())
            await self._stopping.wait()
        # The socket is closed once the front ends have closed it too.
        self._outer.close()
        await asyncio.gather(*(front.end(_FRONT_TIMEOUT) for front in self._fronts))
        await self._engine.end(_ENGINE_TIMEOUT)
        return 0

    async def _first_model(self, engine: Process) -> ModelInfo | None:
        """The default model, once it is loaded; None if the engine ends or a signal comes first."""
        ready = asyncio.create_task(self._default_model())
        others = {asyncio.create_task(engine.wait()), asyncio.create_task(self._stopping.wait())}
        try:
            await asyncio.wait({ready, *others}, return_when=asyncio.FIRST_COMPLETED)
            return ready.result() if ready.done() else None
        finally:
            for task in (ready, *others):
                task.cancel()
            await asyncio.gather(ready, *others, return_exceptions=True)

    async def _default_model(self) -> ModelInfo:
        """The default model, once the engine process is ready."""
        async with RemoteBackend(self._config.socket, self._config.settings) as backend:
            await backend.connected()
            return (await backend.call(STATUS, Empty())).models[0]

    def _on_signal(self) -> None:
        if self._stopping.is_set():  # a second signal
            for process in (*self._fronts, self._engine):
                process.send(signal.SIGKILL)
        self._stopping.set()


async def _start_front(config: WorkerConfig, counts: ConnectionCounts) -> Process:
    counts.write(config.index, None)  # until it runs, the others need not wait for it
    return await _start("front", config)


async def _start(role: Role, config: WorkerConfig) -> Process:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "sightline.workers", role,
        stdin=asyncio.subprocess.PIPE,
        pass_fds=[config.listener],
        start_new_session=True,  # Ctrl-C goes to the supervisor only
    )  # fmt: skip
    pipe = process.stdin
    if pipe is None:
        raise RuntimeError("a process was started without a stdin")
    pipe.write(config.to_line())
    with contextlib.suppress(ConnectionError):  # it ended already: `SupervisedProcess` sees that
        await pipe.drain()
    return process


def _exit_code(code: int) -> int:
    """The exit code of a service whose engine process ended before it was ready."""
    if code > 0:
        return code  # it logged why
    _log.error("the engine process %s before it was ready", how_it_ended(code))
    return 1
