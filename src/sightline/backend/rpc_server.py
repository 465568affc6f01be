"""The engine process's end of the Unix socket: front ends call, the backend answers."""

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
    """Serves front ends. When one is gone, all that it asked for is given up."""

    def __init__(self, backend: Backend, max_upload: int, max_held: int) -> None:
        """For front ends whose pictures have up to `max_upload` bytes.

        Args:
            backend: does the work; open.
            max_upload: bytes; a front end that sends more is cut off.
            max_held: bytes of pictures that were sent and are not queued yet; beyond it they are
                refused, but for one alone.
        """
        self._backend = backend
        self._max_upload = max_upload
        self._budget = _ReceiveBudget(max_held)
        self._sessions: set[asyncio.Task[None]] = set()

    async def accept(self, listener: socket.socket) -> None:
        """Let front ends in, until this is cancelled. `listener` is theirs too: it stays open."""
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
        """Wait until the last front end is gone, but no longer; then give up what they want."""
        if self._sessions:
            await asyncio.wait(self._sessions, timeout=seconds)
        for session in self._sessions:
            session.cancel()
        await asyncio.gather(*self._sessions, return_exceptions=True)


class _Session:
    """One front end."""

    def __init__(
        self, backend: Backend, budget: _ReceiveBudget, writer: asyncio.StreamWriter
    ) -> None:
        self._backend = backend
        self._budget = budget
        self._writer = writer
        self._calls: dict[int, _Call] = {}

    async def serve(self, reader: asyncio.StreamReader, max_upload: int) -> None:
        """Answer calls until the front end is gone."""
        try:
            if not self._writer.is_closing():
                self._writer.writelines(pack(Frame({"device": self._backend.device})))
            while True:
                self._take(await read_frame(reader, max_upload))
        except BrokenFrame as error:
            _log.error("a front end is cut off: %s", error)
        except (EOFError, ConnectionError):
            pass  # it is gone; the supervisor says how
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
        except ConnectionError:
            pass  # it has gone meanwhile
        except Exception:  # noqa: BLE001  one call's failure is no other's
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
        self, asked: Frame, header: dict[str, Any], message: bytes = b"", body: bytes = b""
    ) -> None:
        if self._writer.is_closing():
            return  # nobody is left to be answered
        header |= {"id": asked.header["id"], "device": self._backend.device}
        try:
            self._writer.writelines(pack(Frame(header, message, body)))
            await self._writer.drain()
        except ConnectionError:
            pass  # it has gone meanwhile


@dataclass(frozen=True, slots=True)
class _Call:
    """A call under way, and the replies that may still be sent before others are asked for."""

    task: asyncio.Task[None]
    window: asyncio.Semaphore


@dataclass(slots=True)
class _ReceiveBudget:
    """How many bytes of pictures were sent and are not queued yet, and how many may be."""

    limit: int
    held: int = 0


class _Received:
    """A picture that a front end sent (none, if it has no bytes)."""

    def __init__(self, data: bytes, budget: _ReceiveBudget) -> None:
        self._data = data
        self._budget = budget
        self._counted = 0

    def count(self) -> None:
        """Count its bytes, until it is closed.

        Raises:
            Overloaded: there are too many already.
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
