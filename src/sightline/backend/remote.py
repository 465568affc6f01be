"""The backend in a front end, which calls the engine process over a Unix socket."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any, Self, TypeVar

from sightline.backend.framing import READ_AHEAD, BrokenFrame, read_frame
from sightline.backend.messages import DeviceInfo
from sightline.backend.rpc_client import RpcConnection
from sightline.errors import DetectorClosed

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable
    from pathlib import Path

    from sightline.backend.framing import Frame
    from sightline.backend.operations import Streaming, Unary
    from sightline.backend.protocols import EncodedImage
    from sightline.settings import Settings

Q = TypeVar("Q")
R = TypeVar("R")

_BYTES_A_PIXEL = 3  # of an annotated picture, an upper bound: it is compressed
_CONNECT_TIMEOUT = 2.0  # seconds to wait on entering for a running engine process
_PAUSE = 1.0  # seconds after a failed connection
_NOT_CONNECTED = "The process that holds the models is not there; a new one is being started."
_log = logging.getLogger("sightline")


class RemoteBackend:
    """Sends operations to the engine process. See `base.Backend`.

    Connects in the background, and again whenever the connection ends. Calls without a connection
    raise DetectorClosed.
    """

    def __init__(self, path: Path, settings: Settings) -> None:
        """A backend that connects when it is entered.

        Args:
            path: of the engine process's socket.
            settings: the same as the engine process has.
        """
        self._path = path
        self._max_body = _BYTES_A_PIXEL * settings.max_pixels
        self._max_wait = settings.max_wait
        self._device: DeviceInfo | None = None
        self._connection: RpcConnection | None = None
        self._connected = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._connecting = asyncio.create_task(self._stay_connected())
        with contextlib.suppress(TimeoutError):  # spares the first clients a 503
            async with asyncio.timeout(_CONNECT_TIMEOUT):
                await self.connected()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._connecting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._connecting

    async def connected(self) -> None:
        """Returns once the engine process is ready."""
        await self._connected.wait()

    @property
    def device(self) -> DeviceInfo | None:
        return self._device

    @property
    def hung(self) -> list[str]:
        return []  # an engine process that hangs ends itself

    async def call(
        self, operation: Unary[Q, R], request: Q, image: EncodedImage | None = None
    ) -> R:
        message, _ = operation.requests.encode(request)
        calling = self._live_connection().call(operation.name, message, image)
        frame = await _within(self._timeout(operation), calling)
        return self._read(operation, frame)

    async def stream(self, operation: Streaming[Q, R], request: Q) -> AsyncGenerator[R]:
        message, _ = operation.requests.encode(request)
        frames = self._live_connection().stream(operation.name, message)
        async with contextlib.aclosing(frames):
            first = await _within(self._timeout(operation), anext(frames, None))
            if first is None:
                return
            yield self._read(operation, first)
            async for frame in frames:
                yield self._read(operation, frame)

    def _read(self, operation: Unary[Any, R] | Streaming[Any, R], frame: Frame) -> R:
        self._note_device(frame)
        return operation.replies.decode(frame.message, frame.body)

    def _note_device(self, frame: Frame) -> None:
        device = frame.header["device"]
        self._device = device and DeviceInfo(*device)

    def _timeout(self, operation: Unary[Any, Any] | Streaming[Any, Any]) -> float | None:
        if operation.timeout is None or not operation.queues:
            return operation.timeout
        return operation.timeout + self._max_wait

    def _live_connection(self) -> RpcConnection:
        if self._connection is None:
            raise DetectorClosed(_NOT_CONNECTED)
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
                # The supervisor holds the socket: only the first frame shows an engine process.
                self._note_device(await read_frame(reader, 0))
                self._connection = RpcConnection(writer)
                self._connected.set()
                while True:
                    self._connection.take(await read_frame(reader, self._max_body))
            except BrokenFrame as error:
                _log.error("the engine process is not understood: %s", error)
            except (EOFError, ConnectionError):
                pass  # it ended; the supervisor logs how
            except Exception:  # noqa: BLE001  whatever it was, the next connection may work
                _log.exception("the connection to the engine process broke")
            finally:
                self._connected.clear()
                if self._connection is not None:
                    self._connection.lost()
                    self._connection = None
                writer.close()


async def _within(seconds: float | None, calling: Awaitable[R]) -> R:
    """The reply of `calling`.

    Raises:
        DetectorClosed: it did not come within `seconds`.
    """
    try:
        async with asyncio.timeout(seconds):
            return await calling
    except TimeoutError as error:
        raise DetectorClosed(
            f"The process that holds the models did not answer within {seconds:g} s."
        ) from error
