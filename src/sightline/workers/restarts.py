"""Supervision of a process: restarts it whenever it ends."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import time
from typing import TYPE_CHECKING

from sightline.backoff import Backoff

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Awaitable, Callable

_STABLE_AFTER = 30.0  # seconds of life after which the backoff starts again
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0  # seconds; none after the first death

_log = logging.getLogger("sightline")


class SupervisedProcess:
    """Starts one process, and restarts it whenever it ends. For one event loop."""

    def __init__(
        self, name: str, start: Callable[[], Awaitable[Process]], stopping: asyncio.Event
    ) -> None:
        """A process that is not started yet.

        Args:
            name: for the log.
            start: starts the process.
            stopping: once it is set, the process is not restarted.
        """
        self._name = name
        self._start = start
        self._stopping = stopping
        self._process: Process | None = None
        self._supervising: asyncio.Task[None] | None = None

    async def begin(self) -> Process:
        """Start the process for the first time."""
        self._process = await self._start()
        return self._process

    def supervise(self, process: Process) -> None:
        """Restart the process whenever it ends: first at once, then with growing pauses."""
        self._supervising = asyncio.create_task(self._supervise(process))

    async def end(self, timeout: float) -> None:
        """End the process with SIGTERM, and after `timeout` seconds with SIGKILL."""
        if self._process is None:
            return
        ended = self._supervising or asyncio.create_task(_until_end(self._process))
        self.send(signal.SIGTERM)
        await asyncio.wait({ended}, timeout=timeout)
        if not ended.done():
            _log.warning("%s did not end within %g s and is killed", self._name, timeout)
            self.send(signal.SIGKILL)
        await ended

    def send(self, number: signal.Signals) -> None:
        """Send the process a signal, if it lives."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def _supervise(self, process: Process) -> None:
        backoff = Backoff(_FIRST_PAUSE, _LONGEST_PAUSE, immediate=1)
        while True:
            began = time.monotonic()
            code = await process.wait()
            if self._stopping.is_set():
                return
            if time.monotonic() - began > _STABLE_AFTER:
                backoff.reset()
            else:
                backoff.fail()
            pause = backoff.pause
            _log.error(
                "%s (process %d) %s; a new one is started %s",
                self._name, process.pid, how_it_ended(code), f"in {pause:g} s" if pause else "now",
            )  # fmt: skip
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause)
                return
            try:
                process = self._process = await self._start()
            except OSError as error:
                _log.error("%s cannot be started: %s", self._name, error)
            if self._stopping.is_set():
                self.send(signal.SIGTERM)


async def _until_end(process: Process) -> None:
    await process.wait()


def how_it_ended(code: int) -> str:
    """An exit code in words; negative for a signal."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:  # a real-time signal
        return f"was killed by signal {-code}"
