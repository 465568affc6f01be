"""The body of a request that names a picture instead of sending it: `{"url": "https://…"}`."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from sightline.api.disconnect import unless_gone
from sightline.api.uploads.json_body import is_json, read_json
from sightline.api.uploads.single import read_picture
from sightline.api.uploads.spool import Upload, UploadBudget
from sightline.errors import Overloaded
from sightline.threads import FETCHES

if TYPE_CHECKING:
    from starlette.requests import Request

Fetch: TypeAlias = Callable[[str, float, threading.Event], bytes]
"""The picture at an address, within so many seconds, unless the event says that nobody waits."""

_MAX_BODY = 64 * 1024
_MAX_SHARE = (
    0.5  # the part of its time that a request may wait for a thread: the rest is the host's
)


class UrlBody(BaseModel):
    """A picture by its address."""

    model_config = ConfigDict(extra="forbid")

    url: str = Field(
        description="http(s) address of the picture, on the public internet, port 80 or 443.",
        examples=["https://example.com/photo.jpg"],
    )


class FetchPool:
    """Pictures under way from other hosts.

    Threads of their own wait for them, so that slow hosts never use up those that serve others.
    A request's time runs from its arrival and the threads take requests in their order: each is
    begun, or turned away, before its time is up.
    """

    def __init__(self, fetch: Fetch, timeout: float) -> None:
        self._fetch = fetch
        self._timeout = timeout
        self._pool = FETCHES.pool()

    async def get(self, request: Request, url: str) -> bytes:
        """The picture at `url`, for as long as the client of `request` waits.

        Raises:
            SightlineError: as `net.fetch.Fetcher.fetch`.
            ClientDisconnect: the client hung up first.
            Overloaded: all threads wait for slow hosts.
        """
        gone = threading.Event()
        future = self._pool.submit(self._run, url, gone, time.monotonic())
        try:
            return await unless_gone(request, asyncio.wrap_future(future))
        finally:
            gone.set()

    def _run(self, url: str, gone: threading.Event, asked: float) -> bytes:
        waited = time.monotonic() - asked
        if waited > self._timeout * _MAX_SHARE:
            # Whatever is under way or waits now has ended by then.
            raise Overloaded("Too many pictures are being fetched.", math.ceil(self._timeout))
        return self._fetch(url, self._timeout - waited, gone)


@asynccontextmanager
async def picture_of(
    request: Request, max_bytes: int, budget: UploadBudget, fetches: FetchPool
) -> AsyncIterator[Upload]:
    """The one picture that the body holds or names.

    Args:
        request: its body has not been touched.
        max_bytes: of the picture.
        budget: what it is held in, until the context ends.
        fetches: gets it, if it is named.

    Raises:
        RequestError: there is none; the class and the message say why.
        Overloaded: too many others are being sent or fetched.
        ClientDisconnect: the client hung up first.
    """
    if not is_json(request):
        async with read_picture(request, max_bytes, budget) as upload:
            yield upload
        return
    body = await read_json(request, UrlBody, _MAX_BODY, '{"url": "https://…"}')
    fetched = await fetches.get(request, body.url)
    upload = Upload(budget)
    upload.append(fetched)
    yield upload
