"""Limits on the size of request bodies, and timeouts for them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from sightline.api.headers import declared
from sightline.api.request_info import info_of
from sightline.api.uploads.multipart import ENVELOPE_BYTES
from sightline.errors import BodyStalled, BodyTooLarge
from sightline.tasks.task import MAX_IMAGES

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from sightline.api.request_info import RequestInfo
    from sightline.settings import Settings

MANY = {"/predict": MAX_IMAGES}
"""Most pictures in one request, by path; 1 elsewhere."""


class BodyLimits:
    """Passes bodies to the application as they arrive, within the limits.

    `receive` raises in the application at the first byte beyond a limit, or on a timeout. A body
    that the application does not read is not read at all.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        pictures = MANY.get(path, 1)
        length = declared(scope["headers"])
        body = _LimitedBody(receive, self._settings, info_of(scope), length, pictures)

        async def send_with_close(message: Message) -> None:
            if message["type"] == "http.response.start" and not body.complete and body.expected:
                # The rest of the body will not be read, so the connection cannot be reused.
                message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        await self._app(scope, body.receive, send_with_close)


class _LimitedBody:
    """One request's body."""

    def __init__(
        self,
        receive: Receive,
        settings: Settings,
        info: RequestInfo,
        declared: int | None,
        pictures: int,
    ) -> None:
        """A body of `declared` bytes (None: chunked) with up to `pictures` pictures."""
        self.complete = False
        self.expected = declared != 0
        self._receive = receive
        self._info = info
        self._declared = declared or 0
        self._max_bytes = settings.max_upload_bytes
        self._pictures = pictures
        self._idle = settings.idle_timeout
        self._timeout = settings.body_timeout
        self._started: float | None = None

    async def receive(self) -> Message:
        """The next part of the body.

        Raises:
            BodyTooLarge: it is larger than its pictures and their envelopes may be.
            BodyStalled: the idle timeout, or the timeout for the whole body, has passed.
        """
        if self.complete:
            return await self._receive()  # returns when the client disconnects
        self._require_small(self._declared)
        message = await self._receive_in_time()
        if message["type"] == "http.request":
            self._info.bytes_in += len(message.get("body", b""))
            self.complete = not message.get("more_body", False)
            self._require_small(self._info.bytes_in)
        else:
            self.complete = True
        return message

    @property
    def _allowed(self) -> float:
        """Seconds for the whole body: the timeout, once more for each further picture received."""
        more = min(self._info.bytes_in // self._max_bytes, self._pictures - 1)
        return self._timeout * (1 + more)

    async def _receive_in_time(self) -> Message:
        now = asyncio.get_running_loop().time()
        self._started = self._started or now
        left = self._started + self._allowed - now
        try:
            async with asyncio.timeout(min(self._idle, left)):
                return await self._receive()
        except TimeoutError:
            if left < self._idle:
                reason = f"The body was not there within {self._allowed:g} s"
            else:
                reason = f"Nothing of the body came for {self._idle:g} s"
            raise BodyStalled(
                f"{reason}: after {self._info.bytes_in} bytes it was given up. Send it again."
            ) from None

    def _require_small(self, size: int) -> None:
        if size > self._pictures * (self._max_bytes + ENVELOPE_BYTES):
            raise BodyTooLarge(self._pictures * self._max_bytes)
