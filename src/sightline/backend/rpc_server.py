"""The engine process's end of the Unix socket: what front ends ask for, the backend does."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sightline.api.schemas.detect import DetectQuery
from sightline.backend.framing import READ_AHEAD, BrokenFrame, error_to_header, pack, read_frame
from sightline.backend.limits import nothing
from sightline.errors import Overloaded, SightlineError

if TYPE_CHECKING:
    import socket

    from sightline.backend.protocols import Backend

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
            session = asyncio.create_task(self._serve(reader, writer))
            self._sessions.add(session)
            session.add_done_callback(self._sessions.discard)

    async def drain(self, seconds: float) -> None:
        """Wait until the last front end is gone, but no longer; then give up what they want."""
        if self._sessions:
            await asyncio.wait(self._sessions, timeout=seconds)
        for session in self._sessions:
            session.cancel()
        await asyncio.gather(*self._sessions, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        calls: dict[int, asyncio.Task[None]] = {}
        try:
            if not writer.is_closing():
                writer.writelines(pack({"device": self._backend.device}))
            while True:
                await self._take_next(reader, writer, calls)
        except BrokenFrame as error:
            _log.error("a front end is cut off: %s", error)
        except (EOFError, ConnectionError):
            pass  # it is gone; the supervisor says how
        finally:
            for call in list(calls.values()):
                call.cancel()
            writer.close()

    async def _take_next(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        calls: dict[int, asyncio.Task[None]],
    ) -> None:
        asked, payload = await read_frame(reader, self._max_upload)
        number = asked["id"]
        if asked["call"] != "cancel":
            picture = _Received(payload, self._budget)
            calls[number] = asyncio.create_task(self._answer(asked, picture, writer))
            calls[number].add_done_callback(lambda _: calls.pop(number))
        elif number in calls:
            calls[number].cancel()

    async def _answer(
        self, asked: dict[str, Any], picture: _Received, writer: asyncio.StreamWriter
    ) -> None:
        leave = nothing
        header: dict[str, Any] = {}
        payload = b""
        try:
            if asked["call"] == "admit":
                leave = await self._backend.admit(asked["client"], place=asked["place"])
            else:
                header, payload = await self._do(asked, picture)
        except SightlineError as error:
            header = error_to_header(error)
        except Exception:  # noqa: BLE001  one call's failure is no other's
            _log.exception("a call of a front end failed: %s", asked["call"])
            header = error_to_header(SightlineError("The engine process failed; its log says how."))
        finally:
            picture.close()
        try:
            header |= {"id": asked["id"], "device": self._backend.device}
            if writer.is_closing():
                return  # nobody is left to be answered
            writer.writelines(pack(header, payload))
            await writer.drain()
            if leave is not nothing:
                await asyncio.Event().wait()  # until the call is given up
        except ConnectionError:
            pass  # it has gone meanwhile
        finally:
            leave()

    async def _do(self, asked: dict[str, Any], picture: _Received) -> tuple[dict[str, Any], bytes]:
        match asked["call"]:
            case "detect":
                picture.count()
                query = DetectQuery.model_validate(asked["query"])
                answer = await self._backend.detect(
                    picture, query, drawn=asked["drawn"], lane=asked["lane"]
                )
                header = {"media_type": answer.media_type, "headers": answer.headers}
                return header, answer.body
            case "require_room":
                await self._backend.require_room(asked["model"])
                return {}, b""
            case "status":
                status = await self._backend.status(wake=asked["wake"])
                return {}, status.model_dump_json().encode()
            case "load":
                model = await self._backend.load(asked["name"], asked["source"])
                return {}, model.model_dump_json().encode()
            case "remove":
                await self._backend.remove(asked["name"])
                return {}, b""
            case "nudge":
                await self._backend.wake()
                return {}, b""
            case other:
                raise ValueError(f"there is no call {other!r}")


@dataclass(slots=True)
class _ReceiveBudget:
    """How many bytes of pictures were sent and are not queued yet, and how many may be."""

    limit: int
    held: int = 0


class _Received:
    """A picture that a front end sent."""

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
        if self._budget.held and self._budget.held + size > self._budget.limit:
            raise Overloaded("Too many pictures wait for their place in the queue.", 1)
        self._budget.held += size
        self._counted = size

    def load(self) -> bytes:
        return self._data

    def close(self) -> None:
        self._budget.held -= self._counted
        self._counted = 0
        self._data = b""
