"""Timers of a connection: a restartable one, and the timeout for writing an answer."""

from __future__ import annotations

import math
import socket
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

_UNSENT = 64 * 1024  # unsent bytes of answers that the system may buffer


class Timer:
    """Calls one function later; starting it again replaces the call."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._handle: asyncio.TimerHandle | None = None

    @property
    def runs(self) -> bool:
        return self._handle is not None

    def start(self, seconds: float, then: Callable[..., Any], *arguments: Any) -> None:
        self.stop()
        self._handle = self._loop.call_later(seconds, then, *arguments)

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None


class WriteTimeout:
    """Cuts a connection whose client does not read its answer."""

    def __init__(
        self,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        idle: float,
        whole: float,
    ) -> None:
        """A stopped timeout.

        Args:
            transport: aborted on timeout.
            loop: of the transport.
            idle: most seconds in which the client reads nothing.
            whole: most seconds in all.
        """
        self._transport = transport
        self._idle = idle
        self._whole = whole
        self._timer = Timer(loop)
        # The system shall buffer little beyond what is in flight. Then what it takes from the
        # write buffer is about what the client has read.
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):  # Windows has none
            connection = transport.get_extra_info("socket")
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT)

    def start(self) -> None:
        """Begin to watch the client, until `stop` or the end of the connection."""
        self._check(math.inf, self._whole)

    def stop(self) -> None:
        """The client has read enough: watch it no longer."""
        self._timer.stop()

    def _check(self, previous: float, left: float) -> None:
        unread = self._transport.get_write_buffer_size()
        if unread >= previous or left <= 0:
            self._transport.abort()
        elif unread:
            seconds = min(self._idle, left)
            self._timer.start(seconds, self._check, unread, left - seconds)
