"""What happens on a connection unless something else happens first."""

from __future__ import annotations

import math
import socket
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

_UNSENT = 64 * 1024  # bytes of answers that the system may hold and not have sent


class Timer:
    """At most one thing that happens later."""

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
    """The client as one who reads answers: cut if he does not."""

    def __init__(
        self,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        idle: float,
        whole: float,
    ) -> None:
        """Patience of `idle` seconds in which nothing is read, and of `whole` in all."""
        self._transport = transport
        self._idle = idle
        self._whole = whole
        self._timer = Timer(loop)
        # The system is to take no more than is under way: what it takes is then what is read.
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):  # Windows has none
            connection = transport.get_extra_info("socket")
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT)

    def awaited(self) -> None:
        """From now on, until `stop` or the end of the connection, he is waited for."""
        self._look(math.inf, self._whole)

    def stop(self) -> None:
        """He has read enough."""
        self._timer.stop()

    def _look(self, unread: float, left: float) -> None:
        waiting = self._transport.get_write_buffer_size()
        if waiting >= unread or left <= 0:
            self._transport.abort()
        elif waiting:
            seconds = min(self._idle, left)
            self._timer.start(seconds, self._look, waiting, left - seconds)
