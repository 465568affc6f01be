"""Front ends share one listening socket; whoever has fewer connections takes the next.

Left to themselves, the process that is woken first takes nearly all of them, and the others idle.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import mmap
import socket
from typing import TYPE_CHECKING, Any

import uvicorn

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_BACKLOG = 2048
_YIELD_DELAY = 0.002  # seconds in which one that has fewer connections may take a new one
_PAUSE = 1.0  # seconds after a connection that could not be taken, for want of files
_NOBODY = 2**32 - 1
_ENTRY = 4

_log = logging.getLogger("sightline")


class ConnectionCounts:
    """How many connections each front end has: 4 bytes each, in a file that all of them map."""

    def __init__(self, path: Path) -> None:
        """That at `path`, which `make` made."""
        with path.open("r+b") as file:
            self._counts = memoryview(mmap.mmap(file.fileno(), 0)).cast("I")

    @classmethod
    def make(cls, path: Path, fronts: int) -> ConnectionCounts:
        """One for so many front ends, none of which is there."""
        path.write_bytes(_NOBODY.to_bytes(_ENTRY, "big") * fronts)
        return cls(path)

    def write(self, index: int, count: int | None) -> None:
        """The front end at `index` has so many connections; None if it is not there."""
        self._counts[index] = _NOBODY if count is None else count

    def is_least(self, index: int) -> bool:
        """Whether nobody has fewer connections than the one at `index`."""
        return self._counts[index] <= min(self._counts)


class BalancedServer(uvicorn.Server):
    """uvicorn on a listening socket that others take connections from as well."""

    def __init__(self, config: uvicorn.Config, counts: ConnectionCounts, index: int) -> None:
        """For the front end at `index`."""
        super().__init__(config)
        self._counts = counts
        self._index = index

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup([])
        counted = self._counted(self.config.http_protocol_class)

        def make_protocol() -> asyncio.Protocol:
            protocol: asyncio.Protocol = counted(
                config=self.config, server_state=self.server_state, app_state=self.lifespan.state
            )
            return protocol

        self._counts.write(self._index, 0)
        # What uvicorn asks of a server is that it can be closed.
        self.servers = [
            _Acceptor(listener, make_protocol, self._may_go_first)  # type: ignore[misc]
            for listener in sockets or ()
        ]

    def _may_go_first(self) -> bool:
        return self._counts.is_least(self._index)

    def _counted(self, protocol: Any) -> Any:
        """`protocol`, but that its connections are counted."""
        counts, index, connections = self._counts, self._index, self.server_state.connections

        class Counted(protocol):  # type: ignore[misc]
            def connection_made(self, transport: asyncio.Transport) -> None:
                super().connection_made(transport)
                counts.write(index, len(connections))

            def connection_lost(self, exc: Exception | None) -> None:
                super().connection_lost(exc)
                counts.write(index, len(connections))

        return Counted


class _Acceptor:
    """Takes connections, one at a time."""

    def __init__(
        self,
        listener: socket.socket,
        make_protocol: Callable[[], asyncio.Protocol],
        may_go_first: Callable[[], bool],
    ) -> None:
        listener.listen(_BACKLOG)
        listener.setblocking(False)
        self._listener = listener
        self._make_protocol = make_protocol
        self._may_go_first = may_go_first
        self._accepting = asyncio.create_task(self._accept())

    def close(self) -> None:
        self._accepting.cancel()

    async def wait_closed(self) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await self._accepting

    async def _accept(self) -> None:
        while True:
            await self._some()
            if not self._may_go_first():
                await asyncio.sleep(_YIELD_DELAY)
            try:
                connection, _ = self._listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                continue  # another took it, or it is gone
            except OSError as error:
                _log.error("a connection could not be taken: %s", error)
                await asyncio.sleep(_PAUSE)
            else:
                await self._take(connection)

    async def _take(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await loop.connect_accepted_socket(self._make_protocol, connection)
        except Exception:  # noqa: BLE001  one connection's failure is no other's
            _log.exception("a connection could not be served")
            connection.close()

    async def _some(self) -> None:
        """Returns once there are connections to take."""
        loop, some = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._listener, some.set)
        try:
            await some.wait()
        finally:
            loop.remove_reader(self._listener)
