"""The models, their queue and the limits, in another process."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import anyio.to_thread

from sightline.api.schemas.models import ModelOut
from sightline.backend.framing import (
    READ_AHEAD,
    BrokenFrame,
    Frame,
    error_from_header,
    error_to_header,
    pack,
    read_frame,
)
from sightline.backend.limits import nothing
from sightline.backend.protocols import BackendStatus, DetectReply
from sightline.errors import DetectorClosed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from sightline.api.schemas.detect import DetectQuery
    from sightline.backend.protocols import EncodedImage
    from sightline.serving.job import LaneName
    from sightline.settings import Settings

_BYTES_A_PIXEL = 3  # of an annotated picture, at the very most: it is compressed
_STATUS_BYTES = 2**26
_TIMEOUT = 5.0  # seconds for an answer that costs nothing
_GRACE = 2.0  # seconds in which an engine process that is there says so
_PAUSE = 1.0  # seconds after a connection that could not be made
_AWAY = "The process that holds the models is not there; a new one is being started."
_DIED = "The process that holds the models ended meanwhile; a new one is being started."

_log = logging.getLogger("sightline")


class RemoteBackend:
    """The one in a front end: it asks the engine process. See `Backend`.

    It connects by itself, and again whenever the connection ends. Meanwhile every call fails.
    """

    def __init__(self, path: Path, settings: Settings) -> None:
        """Nothing is connected yet.

        Args:
            path: of the engine process's socket.
            settings: those of the engine process.
        """
        self._path = path
        self._max_payload = max(_STATUS_BYTES, _BYTES_A_PIXEL * settings.max_pixels)
        self._max_wait = settings.max_wait
        self._places = settings.max_concurrent is not None
        self._limited = self._places or settings.rate_limit is not None
        self._device: str | None = None
        self._connection: RpcConnection | None = None
        self._linked = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._connecting = asyncio.create_task(self._stay_connected())
        with contextlib.suppress(TimeoutError):  # its first clients should not meet a 503
            async with asyncio.timeout(_GRACE):
                await self.connected()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._connecting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._connecting

    async def connected(self) -> None:
        """Returns once the engine process is ready."""
        await self._linked.wait()

    @property
    def device(self) -> str | None:
        return self._device

    @property
    def hung(self) -> list[str]:
        return []  # an engine process that hangs ends itself

    async def require_room(self, model: str | None) -> None:
        # A refusal may be held back for as long as a picture may wait.
        await _soon(self._call("require_room", model=model), self._max_wait + _TIMEOUT)

    async def detect(
        self,
        picture: EncodedImage,
        query: DetectQuery,
        *,
        drawn: bool = False,
        lane: LaneName = "interactive",
    ) -> DetectReply:
        asked = query.model_dump(exclude_defaults=True)
        header, body = await self._call("detect", picture, query=asked, drawn=drawn, lane=lane)
        return DetectReply(body, header["media_type"], header["headers"])

    async def status(self, *, wake: bool = False) -> BackendStatus:
        calling = self._call("status", wake=wake)
        frame = await (calling if wake else _soon(calling))
        return BackendStatus.model_validate_json(frame.payload)

    async def load(self, name: str, source: str) -> ModelOut:
        frame = await self._call("load", name=name, source=source)
        return ModelOut.model_validate_json(frame.payload)

    async def remove(self, name: str) -> None:
        await self._call("remove", name=name)

    async def admit(self, client: str, *, place: bool) -> Callable[[], None]:
        if not self._limited:
            return nothing
        connection, place = self._live_connection(), place and self._places
        number = connection.new_number()
        await _soon(connection.call(number, "admit", None, client=client, place=place))
        # The place is held until the call is given up.
        return partial(connection.cancel, number) if place else nothing

    async def wake(self) -> None:
        await _soon(self._call("nudge"))

    async def _call(self, call: str, picture: EncodedImage | None = None, **header: Any) -> Frame:
        connection = self._live_connection()
        frame = await connection.call(connection.new_number(), call, picture, **header)
        self._device = frame.header["device"]
        return frame

    def _live_connection(self) -> RpcConnection:
        if self._connection is None:
            raise DetectorClosed(_AWAY)
        return self._connection

    async def _stay_connected(self) -> None:
        while True:
            try:
                reader, writer = await asyncio.open_unix_connection(self._path, limit=READ_AHEAD)
            except OSError as error:
                _log.warning("the engine process cannot be reached: %s", error)
                await asyncio.sleep(_PAUSE)
                continue
            try:
                # The socket is there whether or not an engine process is: this waits for one.
                self._device = (await read_frame(reader, 0)).header["device"]
                self._connection = RpcConnection(writer)
                self._linked.set()
                while True:
                    self._connection.take(await read_frame(reader, self._max_payload))
            except BrokenFrame as error:
                _log.error("the engine process is not understood: %s", error)
            except (EOFError, ConnectionError):
                pass  # it ended; the supervisor says how
            except Exception:  # noqa: BLE001  whatever it was, the next connection may work
                _log.exception("the connection to the engine process broke")
            finally:
                self._linked.clear()
                if self._connection is not None:
                    self._connection.end()
                    self._connection = None
                writer.close()


class RpcConnection:
    """One connection to an engine process that is ready."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Frame]] = {}
        self._sending = asyncio.Lock()
        self._ended = False

    def new_number(self) -> int:
        return next(self._numbers)

    async def call(
        self, number: int, call: str, picture: EncodedImage | None, **header: Any
    ) -> Frame:
        """The answer.

        Raises:
            SightlineError: what the engine process raised.
            DetectorClosed: it ended.
        """
        answer: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        header |= {"id": number, "call": call}
        try:
            if picture is None:
                self._write(header)
            else:
                await self._send(header, picture)
            frame = await answer
        except BaseException:
            self.cancel(number)
            raise
        finally:
            self._waiting.pop(number, None)
        if "error" in frame.header:
            raise error_from_header(frame.header)
        return frame

    def cancel(self, number: int) -> None:
        """Give up a call, whether or not it was made or answered."""
        with contextlib.suppress(DetectorClosed):
            self._write({"id": number, "call": "cancel"})

    def take(self, frame: Frame) -> None:
        answer = self._waiting.get(frame.header["id"])
        if answer is not None and not answer.done():
            answer.set_result(frame)

    def end(self) -> None:
        """The connection has ended."""
        self._ended = True
        died = error_to_header(DetectorClosed(_DIED))
        for number in self._waiting:
            self.take(Frame({"id": number} | died, b""))

    def _write(self, header: dict[str, Any], payload: bytes = b"") -> None:
        # The transport may be closed a moment before its end is read.
        if self._ended or self._writer.is_closing():
            raise DetectorClosed(_DIED)
        self._writer.writelines(pack(header, payload))

    async def _send(self, header: dict[str, Any], picture: EncodedImage) -> None:
        """One picture at a time: the others wait where uploads lie, in memory or on disk."""
        async with self._sending:
            payload = await anyio.to_thread.run_sync(picture.load)
            self._write(header, payload)
            picture.close()
            with contextlib.suppress(ConnectionError):  # its end is the answer's
                await self._writer.drain()


async def _soon(calling: Awaitable[Frame], timeout: float = _TIMEOUT) -> Frame:
    """The answer to a call that costs nothing.

    Raises:
        DetectorClosed: it takes too long.
    """
    try:
        async with asyncio.timeout(timeout):
            return await calling
    except TimeoutError as error:
        raise DetectorClosed(
            f"The process that holds the models did not answer within {timeout:g} s."
        ) from error
