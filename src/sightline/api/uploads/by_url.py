"""Requests with a picture's URL in JSON (`{"url": "https://…"}`), and the pool that fetches it."""

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
"""(URL, seconds, cancelled) -> the picture's bytes; gives up once the event is set."""

_MAX_BODY = 64 * 1024
_MAX_SHARE = 0.5  # of the timeout, for waiting for a thread; the rest is for the host


class UrlBody(BaseModel):
    """A picture by its address."""

    model_config = ConfigDict(extra="forbid")

    url: str = Field(
        description="http(s) address of the picture, on the public internet, port 80 or 443.",
        examples=["https://example.com/photo.jpg"],
    )


class FetchPool:
    """Fetches pictures from other hosts, on its own threads.

    So slow hosts never use up the threads of other work. The timeout of a request begins at its
    arrival, and requests are taken in order: each is started or refused before its timeout.
    """

    def __init__(self, fetch: Fetch, timeout: float) -> None:
        self._fetch = fetch
        self._timeout = timeout
        self._pool = FETCHES.pool()

    async def get(self, request: Request, url: str) -> bytes:
        """Fetch the picture at `url`; stops when the client of `request` disconnects.

        Raises:
            SightlineError: as `net.fetch.Fetcher.fetch`.
            ClientDisconnect: the client hung up first.
            Overloaded: all threads were busy with slow hosts.
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
            # All current fetches have ended by then.
            raise Overloaded("Too many pictures are being fetched.", math.ceil(self._timeout))
        return self._fetch(url, self._timeout - waited, gone)


@asynccontextmanager
async def picture_of(
    request: Request, max_bytes: int, budget: UploadBudget, fetches: FetchPool
) -> AsyncIterator[Upload]:
    """The picture of a request: in its body, or at the URL in its JSON body.

    Args:
        request: its body is unread.
        max_bytes: most bytes of the picture.
        budget: counts its bytes until the context ends.
        fetches: fetches a URL.

    Raises:
        RequestError: there is no valid picture; the class and the message say why.
        Overloaded: too many pictures are being sent or fetched.
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
