"""Balances connections among front ends, which share one listening socket.

The front end with the fewest connections takes the next. Without this, the process that wakes first
takes nearly all of them, and the others idle.
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
_YIELD_DELAY = 0.002  # seconds for a front end with fewer connections to take a new one
_PAUSE = 1.0  # seconds after a failed accept, for want of file descriptors
_ABSENT = 2**32 - 1  # in place of the count of a front end that does not run
_ENTRY = 4  # bytes

_log = logging.getLogger("sightline")


class ConnectionCounts:
    """The number of connections of each front end: 4 bytes each, in a file that all map."""

    def __init__(self, path: Path) -> None:
        """The counts in the file at `path`, which `make` made."""
        with path.open("r+b") as file:
            self._counts = memoryview(mmap.mmap(file.fileno(), 0)).cast("I")

    @classmethod
    def make(cls, path: Path, fronts: int) -> ConnectionCounts:
        """New counts for `fronts` front ends, none of which runs."""
        path.write_bytes(_ABSENT.to_bytes(_ENTRY, "big") * fronts)
        return cls(path)

    def write(self, index: int, count: int | None) -> None:
        """Set the count of the front end at `index`; None if it does not run."""
        self._counts[index] = _ABSENT if count is None else count

    def is_least(self, index: int) -> bool:
        """Whether no front end has fewer connections than the one at `index`."""
        return self._counts[index] <= min(self._counts)


class BalancedServer(uvicorn.Server):
    """uvicorn's server on a listening socket that other processes share."""

    def __init__(self, config: uvicorn.Config, counts: ConnectionCounts, index: int) -> None:
        """The server of the front end at `index`."""
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
        # uvicorn calls only `close` and `wait_closed` of its servers.
        self.servers = [
            _Acceptor(listener, make_protocol, self._has_fewest)  # type: ignore[misc]
            for listener in sockets or ()
        ]

    def _has_fewest(self) -> bool:
        return self._counts.is_least(self._index)

    def _counted(self, protocol: Any) -> Any:
        """A subclass of `protocol` that counts its connections."""
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
    """Accepts connections, one at a time."""

    def __init__(
        self,
        listener: socket.socket,
        make_protocol: Callable[[], asyncio.Protocol],
        has_fewest: Callable[[], bool],
    ) -> None:
        listener.listen(_BACKLOG)
        listener.setblocking(False)
        self._listener = listener
        self._make_protocol = make_protocol
        self._has_fewest = has_fewest
        self._accepting = asyncio.create_task(self._accept())

    def close(self) -> None:
        self._accepting.cancel()

    async def wait_closed(self) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await self._accepting

    async def _accept(self) -> None:
        while True:
            await self._until_readable()
            if not self._has_fewest():
                await asyncio.sleep(_YIELD_DELAY)
            try:
                connection, _ = self._listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                continue  # another process took it, or the client is gone
            except OSError as error:
                _log.error("a connection could not be taken: %s", error)
                await asyncio.sleep(_PAUSE)
            else:
                await self._serve(connection)

    async def _serve(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await loop.connect_accepted_socket(self._make_protocol, connection)
        except Exception:  # noqa: BLE001  one failure must not end the loop
            _log.exception("a connection could not be served")
            connection.close()

    async def _until_readable(self) -> None:
        """Returns once there are connections to accept."""
        loop, readable = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._listener, readable.set)
        try:
            await readable.wait()
        finally:
            loop.remove_reader(self._listener)
