"""The RPC server in the engine process: runs the calls of front ends on a backend."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sightline.backend.framing import (
    READ_AHEAD,
    WINDOW,
    BrokenFrame,
    Frame,
    error_to_header,
    pack,
    read_frame,
)
from sightline.backend.operations import OPERATIONS, Unary
from sightline.errors import Overloaded, SightlineError

if TYPE_CHECKING:
    import socket

    from sightline.backend.base import Backend

_log = logging.getLogger("sightline")


class RpcServer:
    """Serves front ends over a Unix socket. Cancels the calls of one that disconnects."""

    def __init__(self, backend: Backend, max_upload: int, max_held: int) -> None:
        """A server that accepts no connections yet.

        Args:
            backend: runs the calls; open.
            max_upload: most bytes of a picture; a front end that sends more is cut off.
            max_held: most bytes of pictures that were received and are not queued yet; further
                ones are refused, except one alone.
        """
        self._backend = backend
        self._max_upload = max_upload
        self._budget = _ReceiveBudget(max_held)
        self._sessions: set[asyncio.Task[None]] = set()

    async def accept(self, listener: socket.socket) -> None:
        """Accept front ends until cancelled. Leaves `listener`, which is shared, open."""
        loop = asyncio.get_running_loop()
        listener.setblocking(False)
        while True:
            connection, _ = await loop.sock_accept(listener)
            reader, writer = await asyncio.open_unix_connection(sock=connection, limit=READ_AHEAD)
            session = _Session(self._backend, self._budget, writer)
            serving = asyncio.create_task(session.serve(reader, self._max_upload))
            self._sessions.add(serving)
            serving.add_done_callback(self._sessions.discard)

    async def drain(self, seconds: float) -> None:
        """Wait up to `seconds` for the last front end to disconnect; then cancel their calls."""
        if self._sessions:
            await asyncio.wait(self._sessions, timeout=seconds)
        for session in self._sessions:
            session.cancel()
        await asyncio.gather(*self._sessions, return_exceptions=True)


class _Session:
    """The connection of one front end."""

    def __init__(
        self, backend: Backend, budget: _ReceiveBudget, writer: asyncio.StreamWriter
    ) -> None:
        self._backend = backend
        self._budget = budget
        self._writer = writer
        self._calls: dict[int, _Call] = {}

    async def serve(self, reader: asyncio.StreamReader, max_upload: int) -> None:
        """Answer calls until the front end disconnects."""
        try:
            if not self._writer.is_closing():
                self._writer.writelines(pack(Frame({"device": self._backend.device})))
            while True:
                self._take(await read_frame(reader, max_upload))
        except BrokenFrame as error:
            _log.error("a front end is cut off: %s", error)
        except (EOFError, ConnectionError):
            pass  # it ended; the supervisor logs how
        finally:
            for call in list(self._calls.values()):
                call.task.cancel()
            self._writer.close()

    def _take(self, frame: Frame) -> None:
        number, name = frame.header["id"], frame.header["call"]
        if name in {"cancel", "next"}:
            call = self._calls.get(number)
            if call is None:
                return  # it has ended meanwhile
            if name == "next":
                call.window.release()
            else:
                call.task.cancel()
            return
        window = asyncio.Semaphore(WINDOW)
        task = asyncio.create_task(self._answer(frame, window))
        self._calls[number] = _Call(task, window)
        task.add_done_callback(lambda _: self._calls.pop(number))

    async def _answer(self, frame: Frame, window: asyncio.Semaphore) -> None:
        image = _Received(frame.body, self._budget)
        try:
            await self._run(frame, image, window)
        except SightlineError as error:
            await self._send(frame, error_to_header(error))
        except Exception:  # noqa: BLE001  a failed call must not end the others
            _log.exception("a call of a front end failed: %s", frame.header["call"])
            failed = SightlineError("The engine process failed; its log says how.")
            await self._send(frame, error_to_header(failed))
        finally:
            image.close()

    async def _run(self, frame: Frame, image: _Received, window: asyncio.Semaphore) -> None:
        operation = OPERATIONS[frame.header["call"]]
        request = operation.requests.decode(frame.message, b"")
        if isinstance(operation, Unary):
            image.count()
            await self._reply(frame, operation, request, image)
            return
        async with aclosing(self._backend.stream(operation, request)) as replies:
            async for reply in replies:
                await window.acquire()
                await self._send(frame, {"more": True}, *operation.replies.encode(reply))
        await self._send(frame, {"end": True})

    async def _reply(
        self, frame: Frame, operation: Unary[Any, Any], request: Any, image: _Received
    ) -> None:
        reply = await self._backend.call(operation, request, image)
        image.close()  # before the front end reads on
        await self._send(frame, {}, *operation.replies.encode(reply))

    async def _send(
        self, call: Frame, header: dict[str, Any], message: bytes = b"", body: bytes = b""
    ) -> None:
        if self._writer.is_closing():
            return  # the front end is gone
        header |= {"id": call.header["id"], "device": self._backend.device}
        try:
            self._writer.writelines(pack(Frame(header, message, body)))
            await self._writer.drain()
        except ConnectionError:
            pass  # it disconnected meanwhile


@dataclass(frozen=True, slots=True)
class _Call:
    """A call under way; `window` counts the replies of a stream that may be sent now."""

    task: asyncio.Task[None]
    window: asyncio.Semaphore


@dataclass(slots=True)
class _ReceiveBudget:
    """The bytes of pictures that were received and are not queued yet, and their limit."""

    limit: int
    held: int = 0


class _Received:
    """A received picture; empty for a call without one."""

    def __init__(self, data: bytes, budget: _ReceiveBudget) -> None:
        self._data = data
        self._budget = budget
        self._counted = 0

    def count(self) -> None:
        """Count its bytes in the budget, until it is closed.

        Raises:
            Overloaded: the budget is used up.
        """
        size = len(self._data)
        if size and self._budget.held and self._budget.held + size > self._budget.limit:
            raise Overloaded("Too many pictures wait for their place in the queue.", 1)
        self._budget.held += size
        self._counted = size

    def load(self) -> bytes:
        return self._data

    def close(self) -> None:
        self._budget.held -= self._counted
        self._counted = 0
        self._data = b""
