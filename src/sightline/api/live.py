"""Live detection over a WebSocket: only the newest waiting frame is kept."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from starlette.websockets import WebSocketDisconnect
from websockets.frames import CloseCode

from sightline.api.deadline import deadline
from sightline.api.request_info import info_of, name_of
from sightline.api.server.close_reason import accept, close_reason, close_with
from sightline.api.server.shutdown import until_shutdown
from sightline.api.uploads.spool import Upload
from sightline.backend.messages import RoomRequest
from sightline.backend.operations import DETECT, REQUIRE_ROOM
from sightline.errors import (
    BodyStalled,
    BodyTooLarge,
    DeadlineExceeded,
    ImageError,
    InferenceError,
    MalformedBody,
    SightlineError,
    TryLater,
    WorkerDied,
)

if TYPE_CHECKING:
    from starlette.types import Message
    from starlette.websockets import WebSocket

    from sightline.api.context import ApiContext
    from sightline.api.schemas.detect import DetectQuery

SILENCE = 60.0
"""Seconds without a frame after which a connection is closed."""

_MIN_INTERVAL = 0.002  # seconds between reading two frames
_PAUSE = 1.0  # most seconds without taking a frame after a refused one
# Errors of one frame, or of the moment: the next frame may succeed.
_TRANSIENT = (ImageError, MalformedBody, TryLater, DeadlineExceeded, InferenceError, WorkerDied)


class _Frame(NamedTuple):
    number: int  # from 1, in order of arrival
    picture: Upload | SightlineError  # or the error that it failed with


class LiveSession:
    """One client's session: one frame is processed at a time, and the newest other one waits."""

    def __init__(self, websocket: WebSocket, query: DetectQuery, context: ApiContext) -> None:
        """A session on a WebSocket that has not been accepted yet."""
        self._backend = context.backend
        self._admission = context.admission
        self._settings = context.settings
        self._upload_budget = context.upload_budget
        self._request = query.to_request(lane="stream")
        self._websocket = websocket
        self._info = info_of(websocket.scope)
        self._counts = self._info.counts
        self._counts |= dict.fromkeys(("frames", "answered", "refused", "dropped"), 0)
        self._newest: _Frame | None = None
        self._arrived = asyncio.Event()

    async def run(self) -> None:
        """Answer frames until the client disconnects or the service shuts down."""
        tasks: list[asyncio.Task[None]] = []
        try:
            await accept(self._websocket)
            await self._backend.call(REQUIRE_ROOM, RoomRequest(self._request.model))
            tasks = [asyncio.create_task(work()) for work in (self._answer_all, self._read)]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            next(task for task in tasks if task.done()).result()
        except WebSocketDisconnect:
            pass
        except Exception as error:  # noqa: BLE001  `close_with` hides internal errors
            await close_with(self._websocket, error)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._drop_newest()

    # From the client

    async def _read(self) -> None:
        while True:
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                return
            self._counts["frames"] += 1
            number = self._counts["frames"]
            picture = await self._picture(message)
            del message  # frees its memory while waiting for the next one
            if self._newest is not None:
                self._counts["dropped"] += 1
                self._drop_newest()
            self._newest = _Frame(number, picture)
            del picture
            self._arrived.set()
            await asyncio.sleep(_MIN_INTERVAL)

    async def _picture(self, message: Message) -> Upload | SightlineError:
        data = message.get("bytes")
        if data is None:
            return MalformedBody("A frame is one binary message, and this was text.")
        self._info.bytes_in += len(data)
        if len(data) > self._settings.max_upload_bytes:
            return BodyTooLarge(self._settings.max_upload_bytes)
        upload = Upload(self._upload_budget)
        try:
            upload.append(data)
            upload.finish()
            await upload.flush()
        except SightlineError as error:
            upload.close()
            return error
        except BaseException:
            upload.close()
            raise
        return upload

    def _drop_newest(self) -> None:
        if self._newest is not None and isinstance(self._newest.picture, Upload):
            self._newest.picture.close()
        self._newest = None

    # To the client

    async def _answer_all(self) -> None:
        scope = self._websocket.scope
        while (frame := await until_shutdown(scope, self._next())) is not None:
            pause = 0.0
            try:
                text = await self._detect(frame.picture)
                self._counts["answered"] += 1
            except _TRANSIENT as error:
                text = close_reason(error, scope).text
                self._counts["refused"] += 1
                if isinstance(error, TryLater):
                    pause = min(_PAUSE, error.retry_after)
            finally:
                if isinstance(frame.picture, Upload):
                    frame.picture.close()
            dropped = self._counts["dropped"]
            text = f'{{"frame":{frame.number},"dropped":{dropped},{text[1:]}'
            self._info.bytes_out += len(text)
            await self._websocket.send_text(text)
            await asyncio.sleep(pause)
        await self._websocket.close(CloseCode.SERVICE_RESTART, "The service is going down.")

    async def _next(self) -> _Frame:
        """The newest frame. Raises BodyStalled if none comes within `SILENCE`."""
        try:
            async with asyncio.timeout(SILENCE):
                await self._arrived.wait()
        except TimeoutError:
            raise BodyStalled(f"No frame came for {SILENCE:g} s. Connect again.") from None
        self._arrived.clear()
        frame, self._newest = self._newest, None
        if frame is None:
            raise RuntimeError("a frame was announced and is not there")
        return frame

    async def _detect(self, picture: Upload | SightlineError) -> str:
        if isinstance(picture, SightlineError):
            raise picture
        async with deadline(self._settings.request_timeout):
            await self._admission.count(name_of(self._info))
            reply = await self._backend.call(DETECT, self._request, picture)
        return reply.body.decode()
