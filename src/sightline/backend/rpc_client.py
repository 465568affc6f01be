"""One connection to the engine process, with concurrent calls and streams."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from typing import TYPE_CHECKING, Any

import anyio.to_thread

from sightline.backend.framing import Frame, error_from_header, error_to_header, pack
from sightline.errors import DetectorClosed

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from sightline.backend.protocols import EncodedImage

_DIED = "The process that holds the models ended meanwhile; a new one is being started."


class RpcConnection:
    """A connection to an engine process that is ready. Matches replies to calls by `id`."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._numbers = itertools.count(1)
        # Unbounded: a call gets one frame, and a stream at most its window.
        self._waiting: dict[int, asyncio.Queue[Frame]] = {}
        self._sending = asyncio.Lock()
        self._ended = False

    async def call(self, name: str, message: bytes, image: EncodedImage | None) -> Frame:
        """The reply to a call.

        Raises:
            SightlineError: the error of the engine process.
            DetectorClosed: the engine process ended.
        """
        number, replies = self._open()
        answered = False
        try:
            await self._send({"id": number, "call": name}, message, image)
            frame = await replies.get()
            answered = True
        finally:
            self._close(number, answered=answered)
        return _good(frame)

    async def stream(self, name: str, message: bytes) -> AsyncGenerator[Frame]:
        """The replies of a stream, until it ends. Closing it cancels it in the engine process.

        Raises:
            SightlineError, DetectorClosed: as `call`.
        """
        number, replies = self._open()
        ended = False
        try:
            await self._send({"id": number, "call": name}, message, None)
            while True:
                frame = await replies.get()
                ended = not frame.header.get("more")
                if "end" in _good(frame).header:
                    return
                yield frame
                self._write(Frame({"id": number, "call": "next"}))
        finally:
            self._close(number, answered=ended)

    def take(self, frame: Frame) -> None:
        """Pass a received frame to its call."""
        replies = self._waiting.get(frame.header["id"])
        if replies is not None:
            replies.put_nowait(frame)

    def lost(self) -> None:
        """Fail every call, since the connection has ended."""
        self._ended = True
        died = error_to_header(DetectorClosed(_DIED))
        for number in self._waiting:
            self.take(Frame({"id": number} | died))

    def _open(self) -> tuple[int, asyncio.Queue[Frame]]:
        number = next(self._numbers)
        replies = self._waiting[number] = asyncio.Queue[Frame]()
        return number, replies

    def _close(self, number: int, *, answered: bool) -> None:
        del self._waiting[number]
        if not answered:
            with contextlib.suppress(DetectorClosed):
                self._write(Frame({"id": number, "call": "cancel"}))

    async def _send(
        self, header: dict[str, Any], message: bytes, image: EncodedImage | None
    ) -> None:
        if image is None:
            self._write(Frame(header, message))
            return
        # One picture at a time: the others stay in their uploads, in memory or on disk.
        async with self._sending:
            body = await anyio.to_thread.run_sync(image.load)
            self._write(Frame(header, message, body))
            image.close()
            with contextlib.suppress(ConnectionError):  # `lost` fails the call
                await self._writer.drain()

    def _write(self, frame: Frame) -> None:
        # The transport may be closed a moment before the end of the connection is read.
        if self._ended or self._writer.is_closing():
            raise DetectorClosed(_DIED)
        self._writer.writelines(pack(frame))


def _good(frame: Frame) -> Frame:
    if "error" in frame.header:
        raise error_from_header(frame.header)
    return frame
